package bench

import (
	"errors"
	"fmt"
	"os"

	"github.com/gomlx/compute"

	"distilvit/model"
	"distilvit/model/onnx"
)

// CaptionOptions say what a round of captions is.
type CaptionOptions struct {
	Batch  int // pictures at once
	Tokens int // of a caption, the start token not counted
	Rounds Rounds
}

// CaptionWeights measures greedy captions of random pictures by the weights on a backend, which with names.
func CaptionWeights(be compute.Backend, with string, n Network, o CaptionOptions) (Measurement, error) {
	g, err := model.NewCaptioner(be, n.Config, n.weights())
	if err != nil {
		return Measurement{}, err
	}
	defer g.Close()
	pixels := randomPixels(o.Batch * n.side() * n.side() * 3)
	return o.measure(n, "weights", with, func() ([][]int32, error) {
		return g.Generate(pixels, o.Batch, model.GenerateOptions{
			MaxLength: o.Tokens + 1, BatchSize: o.Batch, NumBeams: 1,
		})
	})
}

// CaptionExport measures greedy captions by an ONNX export of that dtype in ONNX Runtime, whose shared
// library is given. The export is written to a temporary directory first.
func CaptionExport(library, dtype string, n Network, o CaptionOptions) (m Measurement, err error) {
	dir, err := os.MkdirTemp("", "distilvit-bench-")
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if _, err := onnx.Write(dir, n.Config, n.weights(), dtype); err != nil {
		return m, err
	}
	generate := model.GenerateOptions{MaxLength: o.Tokens + 1}
	if err := onnx.WriteConfigs(dir, n.Config, generate, []string{dtype}); err != nil {
		return m, err
	}
	session, err := onnx.Open(library, dir, dtype)
	if err != nil {
		return m, err
	}
	defer session.Close()
	picture := n.side() * n.side() * 3
	pixels := randomPixels(o.Batch * picture)
	return o.measure(n, dtype, "ONNX Runtime", func() ([][]int32, error) {
		values := make([]float32, 0, len(pixels))
		for first := 0; first < len(pixels); first += picture {
			values = append(values, onnx.PixelValues(pixels[first:first+picture], model.HalfNormalization)...)
		}
		return session.GenerateBatch(values, o.Batch, model.GenerateOptions{MaxLength: o.Tokens + 1})
	})
}

// measure makes sure that every caption has all its tokens: shorter captions
// would be less work.
func (o CaptionOptions) measure(
	n Network, form, with string, generate func() ([][]int32, error),
) (Measurement, error) {
	m := Measurement{
		Bench: "caption", Work: "greedy captions of " + form, With: with, Preset: n.Preset,
		Pictures: o.Batch, Captions: 1, Tokens: o.Tokens, Unit: "captions",
	}
	err := o.Rounds.Measure(&m, o.Batch, func() error {
		rows, err := generate()
		if err != nil {
			return err
		}
		for _, ids := range rows {
			if len(ids) != o.Tokens {
				return fmt.Errorf("the network of --seed %d ends a caption after %d of %d tokens: use another seed",
					n.Seed, len(ids), o.Tokens)
			}
		}
		return nil
	})
	return m, err
}
