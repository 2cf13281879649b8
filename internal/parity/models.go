package parity

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"distilvit/dataset"
	"distilvit/dataset/pixels"
	"distilvit/model"
	"distilvit/model/train"
)

// sorted are a map's keys in order.
func sorted[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// modelVectors are those of models/NAME: vectors.safetensors, vectors.json and the model.
type modelVectors struct {
	name    string
	dir     string
	config  *model.Config
	weights model.Weights
	pixel   model.Normalization
	tensors *tensorFile

	pixels   []uint8 // [B, H, W, 3]
	labels   []int32 // [B, K, T]
	b, k, t  int
	training *trainingVectors
	generate []generateVectors
}

// model compares everything that there are vectors of.
func (r *run) model(dir string) error {
	v := &modelVectors{name: r.name(dir), dir: dir}
	var err error
	if v.tensors, err = openTensors(filepath.Join(dir, "vectors.safetensors")); err != nil {
		return err
	}
	defer v.tensors.close()
	if !exists(dir, "config.json") {
		return layoutf("vectors %s: no config.json", dir)
	}
	if err := v.open(); err != nil {
		r.row(v, weightsKept, "").fail(v.name, err)
		return nil
	}
	if err := v.inputs(); err != nil {
		return err
	}
	if err := r.weights(v); err != nil {
		return err
	}
	for _, be := range r.Backends {
		for _, compare := range []func(*modelVectors, Backend) error{r.logits, r.training, r.captions} {
			if err := compare(v, be); err != nil {
				return err
			}
		}
	}
	return nil
}

// open reads the model as any command does.
func (v *modelVectors) open() (err error) {
	if v.config, err = model.ReadConfig(v.dir); err != nil {
		return err
	}
	if v.weights, err = model.ReadWeights(v.dir, v.config); err != nil {
		return err
	}
	v.pixel = model.HalfNormalization
	if exists(v.dir, pixels.ProcessorFile) {
		p, err := pixels.ReadProcessor(v.dir)
		if err != nil {
			return err
		}
		v.pixel = train.NormalizationOf(p)
	}
	return nil
}

// row is that of a kind for the model's kind of captioner.
func (r *run) row(v *modelVectors, k *kind, backend string) *Row {
	of := ""
	if v.config != nil && v.config.Kind == model.Prefix {
		of = "prefix"
	}
	return r.table.rowOf(k, of, backend)
}

// modelJSON is vectors.json of models/NAME.
type modelJSON struct {
	Training *trainingVectors  `json:"training"`
	Generate []generateVectors `json:"generate"`
}

// inputs reads what is not a tensor, and pixels and labels.
func (v *modelVectors) inputs() error {
	var j modelJSON
	if exists(v.dir, "vectors.json") || exists(v.dir, "vectors.json.gz") {
		if err := readJSON(filepath.Join(v.dir, "vectors.json"), &j); err != nil {
			return err
		}
	}
	v.training, v.generate = j.Training, j.Generate
	var err error
	if v.pixels, v.b, err = v.pictures("pixels"); err != nil {
		return err
	}
	if !v.tensors.has("labels") {
		return nil
	}
	shape := v.tensors.shape("labels")
	if len(shape) == 2 { // one caption a picture
		shape = []int{shape[0], 1, shape[1]}
	}
	if len(shape) != 3 || shape[0] != v.b || shape[2] < 1 || shape[2] > v.config.Positions() {
		return layoutf("vectors %s: labels has shape %v; must be [%d, captions, tokens], at most %d tokens",
			v.tensors.path, shape, v.b, v.config.Positions())
	}
	v.k, v.t = shape[1], shape[2]
	labels, err := v.tensors.ints("labels", dataset.Masked, int64(v.config.VocabSize())-1,
		v.tensors.shape("labels")...)
	if err != nil {
		return err
	}
	for _, id := range labels {
		v.labels = append(v.labels, int32(id))
	}
	return nil
}

// pictures reads a tensor of pixels, uint8 [n, H, W, 3] at the encoder's size.
func (v *modelVectors) pictures(name string) (pixels []uint8, n int, err error) {
	side := v.config.Encoder.ImageSize
	x, err := v.tensors.ints(name, 0, 255, -1, side, side, 3)
	if err != nil {
		return nil, 0, err
	}
	for _, p := range x {
		pixels = append(pixels, uint8(p))
	}
	return pixels, v.tensors.shape(name)[0], nil
}

// weights compares the weights read with those that PyTorch read, where there are
// such, and then with what is read of a copy that distilvit wrote.
func (r *run) weights(v *modelVectors) error {
	for _, name := range sorted(v.weights) {
		if !v.tensors.has("weight." + name) {
			continue
		}
		w := v.weights[name]
		want, err := v.tensors.floats("weight."+name, w.Shape...)
		if err != nil {
			return err
		}
		compareBits(r.row(v, weightsRead, ""), v.name+", "+name, w.Data, want)
	}
	row := r.row(v, weightsKept, "")
	again, err := rewritten(v)
	if err != nil {
		row.fail(v.name, err)
		return nil
	}
	for _, name := range sorted(v.weights) {
		compareBits(row, v.name+", "+name, again[name].Data, v.weights[name].Data)
	}
	return nil
}

// rewritten writes config and weights into a directory of its own and reads them.
func rewritten(v *modelVectors) (model.Weights, error) {
	dir, err := os.MkdirTemp("", "distilvit-parity-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := v.config.WriteFile(dir); err != nil {
		return nil, err
	}
	if err := model.WriteWeights(filepath.Join(dir, "model.safetensors"), v.weights, nil); err != nil {
		return nil, err
	}
	config, err := model.ReadConfig(dir)
	if err != nil {
		return nil, err
	}
	if !reflect.DeepEqual(config, v.config) {
		return nil, fmt.Errorf("config is read back as %+v instead of %+v", *config, *v.config)
	}
	return model.ReadWeights(dir, config)
}

// compareBits demands that every bit is equal.
func compareBits(row *Row, at string, got, want []float32) {
	for i := range want {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			row.same(fmt.Sprintf("%s[%d]", at, i), false, got[i], want[i])
			return
		}
	}
	row.same(at, true, nil, nil)
}

// logits compares those at every position of every caption.
func (r *run) logits(v *modelVectors, be Backend) error {
	if !v.tensors.has("logits") {
		return nil
	}
	if v.labels == nil {
		return layoutf("vectors %s: logits without labels", v.tensors.path)
	}
	shape := []int{v.b, v.k, v.t, v.config.VocabSize()}
	if len(v.tensors.shape("labels")) == 2 {
		shape = []int{v.b, v.t, v.config.VocabSize()}
	}
	want, err := v.tensors.floats("logits", shape...)
	if err != nil {
		return err
	}
	row := r.row(v, logits, be.Name)
	c, err := model.NewCaptioner(be.Compute, v.config, v.weights)
	if err != nil {
		row.fail(v.name, err)
		return nil
	}
	defer c.Close()
	c.SetNormalization(v.pixel)
	scale := largest(want)
	picture, caption := len(v.pixels)/v.b, v.t*v.config.VocabSize()
	for i := range v.b * v.k {
		first := i / v.k * picture
		got, err := c.Logits(v.pixels[first:first+picture], v.decoderInput(i))
		if err != nil {
			row.fail(v.name, err)
			return nil
		}
		expected := want[i*caption : (i+1)*caption]
		j, d := worstOf(got, expected)
		row.near(fmt.Sprintf("%s, caption %d, logit %d", v.name, i, j), d/scale, got[j], expected[j])
	}
	return nil
}

// decoderInput is the start token and every label of a caption but the last, padding where there is none.
func (v *modelVectors) decoderInput(caption int) []int32 {
	ids := []int32{int32(v.config.DecoderStartTokenID)}
	for _, id := range v.labels[caption*v.t : (caption+1)*v.t-1] {
		if id == dataset.Masked {
			id = int32(v.config.PadTokenID)
		}
		ids = append(ids, id)
	}
	return ids
}

// largest is the largest absolute value.
func largest(x []float32) float64 {
	most := 0.0
	for _, v := range x {
		most = max(most, math.Abs(float64(v)))
	}
	return most
}
