package device

import (
	"fmt"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/distributed"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/dtypes/gotype"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
)

// Group is every device of a backend, computing one program together: XLA
// splits the program over them where its inputs are split. With one device it
// adds nothing to a Program.
type Group struct {
	be    compute.Backend
	mesh  *distributed.DeviceMesh   // nil with one device
	whole *distributed.ShardingSpec // every device has all of a tensor
	split *distributed.ShardingSpec // each device has its part of a tensor's first axis
}

// NewGroup takes all devices of the backend.
func NewGroup(be compute.Backend) (*Group, error) {
	g := &Group{be: be}
	n := be.NumDevices()
	if n <= 1 {
		return g, nil
	}
	var err error
	if g.mesh, err = distributed.NewDeviceMesh([]int{n}, []string{"batch"}); err != nil {
		return nil, fmt.Errorf("%d devices: %w", n, err)
	}
	if g.split, err = distributed.BuildSpec(g.mesh).S("batch").Done(); err != nil {
		return nil, fmt.Errorf("%d devices: %w", n, err)
	}
	g.whole = distributed.NewReplicatedShardingSpec(g.mesh)
	return g, nil
}

// First is the group of the first device alone.
func (g *Group) First() *Group { return &Group{be: g.be} }

// Size is the number of devices.
func (g *Group) Size() int {
	if g.mesh == nil {
		return 1
	}
	return g.mesh.NumDevices()
}

// Tensors is a list of tensors on a group's devices: the whole of each tensor
// on every device, or its part of the first axis on each.
type Tensors struct {
	on    [][]*tensors.Tensor // [device][tensor]
	split bool
}

// First is the list as the first device has it.
func (t Tensors) First() []*tensors.Tensor {
	if len(t.on) == 0 {
		return nil
	}
	return t.on[0]
}

// Len is the number of tensors.
func (t Tensors) Len() int { return len(t.First()) }

// Slice is the tensors from first to below end.
func (t Tensors) Slice(first, end int) Tensors {
	part := Tensors{split: t.split}
	for _, list := range t.on {
		part.on = append(part.on, list[first:end:end])
	}
	return part
}

// With is the tensors of t and then those of more.
func (t Tensors) With(more Tensors) Tensors {
	if len(t.on) == 0 {
		return more
	}
	all := Tensors{split: t.split}
	for d, list := range t.on {
		all.on = append(all.on, append(list[:len(list):len(list)], more.on[d]...))
	}
	return all
}

// Replace frees the tensors and puts others in their places, as many: in t and in
// every list that t is a slice of.
func (t Tensors) Replace(with Tensors) {
	t.Free()
	for d, list := range t.on {
		copy(list, with.on[d])
	}
}

// Free releases the tensors on every device.
func (t Tensors) Free() {
	for _, list := range t.on {
		Free(list...)
	}
}

// UploadWhole copies flat data of the given shape to every device.
func UploadWhole[T gotype.Supported](g *Group, flat []T, dims ...int) (Tensors, error) {
	return upload(g, false, func(int) []T { return flat }, dims)
}

// UploadSplit copies to each device its part of flat data, cut along the first
// axis, which the number of devices must divide.
func UploadSplit[T gotype.Supported](g *Group, flat []T, dims ...int) (Tensors, error) {
	n := g.Size()
	if len(dims) == 0 || dims[0]%n != 0 || len(flat)%n != 0 {
		return Tensors{}, fmt.Errorf("upload: shape %v cannot be split over %d devices", dims, n)
	}
	part := append([]int{dims[0] / n}, dims[1:]...)
	size := len(flat) / n
	return upload(g, true, func(d int) []T { return flat[d*size : (d+1)*size] }, part)
}

// upload puts one tensor on every device.
func upload[T gotype.Supported](
	g *Group, split bool, data func(device int) []T, dims []int,
) (Tensors, error) {
	shape := shapes.Make(dtypes.FromGenericsType[T](), dims...)
	t := Tensors{split: split}
	for d := range g.Size() {
		flat := data(d)
		if shape.Size() != len(flat) {
			t.Free()
			return Tensors{}, fmt.Errorf("upload: %d values for shape %v", len(flat), dims)
		}
		x, err := uploadTo(g.be, d, flat, shape)
		if err != nil {
			t.Free()
			return Tensors{}, err
		}
		t.on = append(t.on, []*tensors.Tensor{x})
	}
	return t, nil
}

// Parallel is a Program that a group runs.
type Parallel struct {
	group   *Group
	program *Program
}

// NewProgram wraps a function that builds a graph from its input nodes, as if
// one device held all of them. Its outputs are whole on every device.
func (g *Group) NewProgram(name string, build func(inputs []*graph.Node) []*graph.Node) (*Parallel, error) {
	p, err := NewProgram(g.be, name, build)
	if err != nil {
		return nil, err
	}
	if g.mesh != nil {
		p.exec.AutoSharding(g.mesh).WithOutputShardingSpecs(g.whole)
	}
	return &Parallel{group: g, program: p}, nil
}

// Run executes the program on every device; see Program.Run. Inputs must be
// split in the same way at each call, and may lie on more devices.
func (p *Parallel) Run(inputs ...Tensors) (Tensors, error) {
	n := p.group.Size()
	var args []*tensors.Tensor // device after device
	for d := range n {
		for _, t := range inputs {
			if t.Len() > 0 {
				args = append(args, t.on[d]...)
			}
		}
	}
	if p.group.mesh != nil {
		p.program.exec.WithInputShardingSpecs(p.group.specs(inputs)...)
	}
	flat, err := p.program.Run(args)
	if err != nil {
		return Tensors{}, err
	}
	size := len(flat) / n
	var out Tensors
	for d := range n {
		out.on = append(out.on, flat[d*size:(d+1)*size:(d+1)*size])
	}
	return out, nil
}

// specs says of each input how it lies on the devices.
func (g *Group) specs(inputs []Tensors) []*distributed.ShardingSpec {
	var specs []*distributed.ShardingSpec
	for _, t := range inputs {
		spec := g.whole
		if t.split {
			spec = g.split
		}
		for range t.Len() {
			specs = append(specs, spec)
		}
	}
	return specs
}

// Close releases the compiled graphs.
func (p *Parallel) Close() {
	if p != nil {
		p.program.Close()
	}
}
