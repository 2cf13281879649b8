package model

import (
	"fmt"
	"slices"

	"github.com/gomlx/compute"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"distilvit/internal/device"
)

// Moments say in which directions a matrix must be right: Σ xᵀx over rows x [Width] that it multiplied. An error e
// [Width] of one of its columns changes what comes out by e·Sum·eᵀ, squared and summed.
type Moments struct {
	Width int
	Sum   []float64 // upper triangle, row by row: Width·(Width+1)/2
}

// Row is the part of row i that is on and right of the diagonal.
func (m *Moments) Row(i int) []float64 {
	first := i*m.Width - i*(i-1)/2
	return m.Sum[first : first+m.Width-i]
}

// Observer sums up the moments of a network's matrices while it reads captions of pictures: products in float32 within
// a batch, float64 over batches, in their order. It is for one goroutine.
type Observer struct {
	config  *Config
	norm    Normalization
	weights []*tensors.Tensor
	be      compute.Backend
	program *device.Program
	groups  [][]string // matrices that multiply the same, in the order of the program's results
	sums    []*Moments // of each group
}

// NewObserver uploads weights to the backend's device.
func NewObserver(be compute.Backend, c *Config, w Weights, n Normalization) (*Observer, error) {
	list, err := Upload(be, c, w)
	if err != nil {
		return nil, err
	}
	o := &Observer{config: c, norm: n.Or(HalfNormalization), weights: list, be: be}
	if o.program, err = device.NewProgram(be, "observe matrices", o.build); err != nil {
		device.Free(list...)
		return nil, err
	}
	return o, nil
}

// Close frees what the observer holds on the device.
func (o *Observer) Close() {
	o.program.Close()
	device.Free(o.weights...)
}

// Observed is a batch: n pictures, and k captions of each.
type Observed struct {
	Pixels []uint8   // [n, H, W, 3]
	IDs    []int32   // [n·k, T], as the decoder gets them: the start token first
	Real   []float32 // [n·k, T], 1 where there is a token, 0 where there is padding
}

// Add reads a batch. Batches of one size are compiled once.
func (o *Observer) Add(b Observed, n, captions int) error {
	side, t := o.config.Encoder.ImageSize, len(b.IDs)/(n*captions)
	if len(b.Pixels) != n*side*side*3 || len(b.IDs) != n*captions*t || len(b.Real) != len(b.IDs) {
		return fmt.Errorf("observe %d pictures with %d captions each: %d bytes of pixels, %d ids, %d marks",
			n, captions, len(b.Pixels), len(b.IDs), len(b.Real))
	}
	var in []*tensors.Tensor
	defer func() { device.Free(in...) }()
	var failed error
	add := func(x *tensors.Tensor, err error) {
		if in = append(in, x); err != nil {
			failed = err
		}
	}
	add(device.Upload(o.be, b.Pixels, n, side, side, 3))
	add(device.Upload(o.be, b.IDs, n*captions, t))
	add(device.Upload(o.be, b.Real, n*captions, t))
	if failed != nil {
		return failed
	}
	out, err := o.program.Run(o.weights, in)
	if err != nil {
		return err
	}
	defer device.Free(out...)
	for i, x := range out {
		flat, err := device.Download[float32](x)
		if err != nil {
			return err
		}
		if o.sums == nil {
			o.sums = make([]*Moments, len(out))
		}
		o.add(i, x.Shape().Dim(0), flat)
	}
	return nil
}

// add adds a batch's moments [width, width] to those of a group.
func (o *Observer) add(group, width int, flat []float32) {
	if o.sums[group] == nil {
		o.sums[group] = &Moments{Width: width, Sum: make([]float64, width*(width+1)/2)}
	}
	for i := range width {
		row := o.sums[group].Row(i)
		for j, v := range flat[i*width+i : (i+1)*width] {
			row[j] += float64(v)
		}
	}
}

// Moments are those of every matrix that is multiplied, by its tensor's name. Several have the same where they
// multiply the same. What a matrix multiplies of pictures and what of captions is summed up.
func (o *Observer) Moments() map[string]*Moments {
	of := map[string][]int{}
	for i, names := range o.groups {
		for _, name := range names {
			of[name] = append(of[name], i)
		}
	}
	all, joined := map[string]*Moments{}, map[string]*Moments{}
	for name, groups := range of {
		if len(groups) == 1 {
			all[name] = o.sums[groups[0]]
			continue
		}
		key := fmt.Sprint(groups)
		if joined[key] == nil {
			sum := *o.sums[groups[0]]
			sum.Sum = slices.Clone(sum.Sum)
			for _, i := range groups[1:] {
				for j, v := range o.sums[i].Sum {
					sum.Sum[j] += v
				}
			}
			joined[key] = &sum
		}
		all[name] = joined[key]
	}
	return all
}

// build: weights, pixels [n, H, W, 3], ids [n·k, T], real [n·k, T] → the moments [width, width] of each group
func (o *Observer) build(in []*Node) []*Node {
	w := len(o.config.Names())
	m := New(o.config, o.config.BindNodes(in[:w]))
	pixels, ids, real := in[w], in[w+1], InsertAxes(in[w+2], -1)

	var out []*Node
	groups, groupOf := [][]string{}, map[*Node]int{}
	see := func(name string, x, real *Node) {
		if i, ok := groupOf[x]; ok {
			groups[i] = append(groups[i], name)
			return
		}
		groupOf[x], groups = len(out), append(groups, []string{name})
		if real != nil {
			x = Mul(x, real)
		}
		x = Reshape(x, -1, x.Shape().Dim(-1))
		out = append(out, DotGeneral(x, []int{0}, nil, x, []int{0}, nil))
	}
	watch := func(real *Node) {
		for _, l := range m.linears() {
			*l.seen = func(x *Node) { see(l.name+".weight", x, real) }
		}
	}
	m.Encoder.Embeddings.Projection.seen = func(x *Node) {
		see(o.config.Encoder.Names().Patches+".weight", asConvolution(x, &o.config.Encoder), nil)
	}
	watch(nil)
	pictures := m.CrossKV(m.Encode(pixels, o.norm))
	watch(real)
	head := o.config.HeadName()
	if o.config.TieWordEmbeddings {
		head = o.config.TableName()
	}
	see(head, m.Decoder.Forward(ids, pictures, nil), real)
	o.groups = groups
	return out
}

// asConvolution puts patches [B, n, p·p·C] into the order of the weight, C·p·p.
func asConvolution(x *Node, c *EncoderConfig) *Node {
	d, p := x.Shape().Dimensions, c.PatchSize
	x = Reshape(x, d[0], d[1], p*p, c.NumChannels)
	return Reshape(TransposeAllAxes(x, 0, 1, 3, 2), d[0], d[1], d[2])
}
