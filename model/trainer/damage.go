package trainer

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/gomlx/compute"

	"distilvit/artifact/record"
	"distilvit/model"
	"distilvit/model/onnx"
)

// mixedGrowth is by what share a mixed dtype's files may be larger than in 4 bits alone where no bound is given.
const mixedGrowth = 0.1

// fits refuses a dtype whose files would be larger than is allowed, before anything is written.
func (n network) fits(a ExportArgs) error {
	err := onnx.CheckSizes(n.config, a.Dtypes, a.MaxBytes)
	if large := (*onnx.SizeError)(nil); errors.As(err, &large) {
		return &Error{Kind: InvalidInput, Message: large.Error()}
	}
	return err
}

// damage measures what rounding each layer does, dtype by dtype, on one caption of each picture, and chooses the layers
// that keep 8 bits. It takes a pass over the pictures for each layer of each dtype.
func (s *server) damage(
	ctx context.Context, a ExportArgs, be compute.Backend, n network, normalization model.Normalization,
	known *onnx.Calibration,
) ([]record.Damage, error) {
	s.phase(PhaseExport, "reading pictures to measure rounding on")
	pictures, err := n.choose(ctx, a, a.Damage)
	if err != nil {
		return nil, err
	}
	longest := 1
	pictures = slices.DeleteFunc(pictures, func(p shown) bool { return len(p.captions) == 0 })
	made := record.Damage{Pictures: len(pictures)}
	for i, p := range pictures {
		pictures[i].captions = p.captions[:1]
		longest = max(longest, len(p.captions[0]))
		made.Tokens += len(p.captions[0])
	}
	if made.Tokens == 0 {
		return nil, errorf(InvalidInput, "no captions to measure rounding on: leave export.damage and export.mixed out")
	}
	d, err := model.NewDivergences(be, n.config, n.weights, normalization)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	for batch := range slices.Chunk(pictures, calibrationBatch) {
		s.send(Event{Event: EventProgress, Phase: PhaseExport, Message: "reading captions with the model"})
		if err := d.Add(observed(batch, 1, longest, n.generate.Start(n.config)), len(batch)); err != nil {
			return nil, fmt.Errorf("measure rounding: %w", err)
		}
	}
	var all []record.Damage
	for _, dtype := range a.Dtypes {
		layers, err := onnx.Layers(n.config, n.weights, dtype, known)
		if err != nil {
			return nil, err
		}
		if len(layers) == 0 {
			continue
		}
		made := made
		made.Dtype = dtype
		if made.Layers, err = s.rounded(ctx, dtype, layers, n, d); err != nil {
			return nil, err
		}
		if a.Mixed && onnx.Mixes(dtype) {
			if err := n.mix(&made, a.MaxBytes); err != nil {
				return nil, err
			}
		}
		all = append(all, made)
	}
	return all, nil
}

// rounded measures each layer of a dtype, one after the other.
func (s *server) rounded(
	ctx context.Context, dtype string, layers []onnx.Layer, n network, d *model.Divergences,
) ([]record.LayerDamage, error) {
	var out []record.LayerDamage
	for i, l := range layers {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		s.send(Event{
			Event: EventProgress, Phase: PhaseExport, Message: "measuring layers in " + dtype, Done: int64(i),
			Total: int64(len(layers)),
		})
		w := model.Weights{}
		err := l.Rounded(func(name string, data []float32) error {
			t := *n.weights[name]
			t.Data = data
			w[name] = &t
			return nil
		})
		if err != nil {
			return nil, err
		}
		damage := record.LayerDamage{Layer: l.Name, Bytes: l.Bytes}
		if damage.KL, damage.MaxKL, err = d.With(w); err != nil {
			return nil, fmt.Errorf("measure %s in %s: %w", l.Name, dtype, err)
		}
		out = append(out, damage)
	}
	return out, nil
}

// mix chooses the layers that keep 8 bits.
func (n network) mix(d *record.Damage, most int64) (err error) {
	if d.PlainBytes, err = onnx.Size(n.config, d.Dtype, nil); err != nil {
		return err
	}
	if d.MaxBytes = most; most == 0 {
		d.MaxBytes = d.PlainBytes + int64(mixedGrowth*float64(d.PlainBytes))
	}
	damage := map[string]float64{}
	for _, l := range d.Layers {
		damage[l.Layer] = l.KL
	}
	kept, _, err := onnx.Mix(n.config, n.weights, d.Dtype, damage, d.MaxBytes)
	for i, l := range d.Layers {
		d.Layers[i].EightBits = slices.Contains(kept, l.Layer)
	}
	return err
}

// keptBy are the layers that a dtype keeps in 8 bits.
func keptBy(all []record.Damage, dtype string) []string {
	var kept []string
	for _, d := range all {
		if d.Dtype != dtype {
			continue
		}
		for _, l := range d.Kept() {
			kept = append(kept, l.Layer)
		}
	}
	return kept
}
