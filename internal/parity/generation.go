package parity

import (
	"encoding/json"
	"fmt"
	"slices"

	"distilvit/model"
)

// generateVectors is what generate() answered for every picture: ids without the start
// token, up to and with the end token. Options that are not given are those of the
// model's generation_config.json.
type generateVectors struct {
	Options json.RawMessage `json:"options"`
	IDs     [][]int32       `json:"ids"`
}

// captions compares generated ids. All pictures are decoded in one batch, in some cases
// in parts.
func (r *run) captions(v *modelVectors, be Backend) error {
	if len(v.generate) == 0 {
		return nil
	}
	pixels, n := v.pixels, v.b
	if v.tensors.has("generate.pixels") {
		var err error
		if pixels, n, err = v.pictures("generate.pixels"); err != nil {
			return err
		}
	}
	c, err := model.NewCaptioner(be.Compute, v.config, v.weights)
	if err != nil {
		r.row(v, greedy, be.Name).fail(v.name, err)
		return nil
	}
	defer c.Close()
	c.SetNormalization(v.pixel)
	for i, example := range v.generate {
		at := fmt.Sprintf("%s, options %s", v.name, example.Options)
		o, err := model.ReadGenerate(v.dir)
		if err != nil {
			r.row(v, greedy, be.Name).fail(v.name, err)
			return nil
		}
		if err := json.Unmarshal(example.Options, &o); err != nil {
			return layoutf("vectors %s: %w", at, err)
		}
		if len(example.IDs) != n {
			return layoutf("vectors %s: %d captions of %d pictures", at, len(example.IDs), n)
		}
		row := r.row(v, greedy, be.Name)
		if o.NumBeams > 1 {
			row = r.row(v, beams, be.Name)
		}
		if i == 1 {
			o.BatchSize = max(1, n*2/3) // in parts, the last padded
		}
		got, err := c.Generate(pixels, n, o)
		if err != nil {
			row.fail(at, err)
			continue
		}
		for j, ids := range example.IDs {
			row.same(fmt.Sprintf("%s, picture %d", at, j), slices.Equal(got[j], ids), got[j], ids)
		}
	}
	return nil
}
