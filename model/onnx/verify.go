package onnx

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"os"
	"path/filepath"
	"slices"

	"distilvit/metrics"
	"distilvit/model"
)

// Reference is the model that an export is compared with: a *model.Captioner.
type Reference interface {
	Generate(pixels []uint8, n int, o model.GenerateOptions) ([][]int32, error)
	Logits(pixels []uint8, ids []int32) ([]float32, error)
}

// Example is a picture at the model's size, uint8 [H, W, 3], with its reference captions.
type Example struct {
	ID         string
	Pixels     []uint8
	References []string
}

// VerifyOptions say how captions are made and what an export may differ by.
type VerifyOptions struct {
	MaxLength     int                 // tokens of a caption with the start token
	Normalization model.Normalization // of the image processor; zero: mean and standard deviation 0.5
	MaxLogitsDiff float64             // fp32: of any logit on the model's own captions; zero: 1e-3
	MaxRougeDrop  float64             // other dtypes: rougeL points (of 100) below the model's; zero: 0.5
}

// Check is what a comparison found.
type Check struct {
	Dtype         string  `json:"dtype"`
	Pictures      int     `json:"pictures"`
	MaxLogitsDiff float64 `json:"max_logits_diff"` // measured for fp32 only
	EqualIDs      int     `json:"equal_ids"`       // pictures whose token ids are all the model's
	RougeL        float64 `json:"rougeL"`          // of the export, × 100
	ModelRougeL   float64 `json:"model_rougeL"`    // of the model on the same pictures, × 100
	Bytes         int64   `json:"bytes"`           // both files
}

// Verify runs a dtype's files in ONNX Runtime on every example and compares with the model: fp32 must give the model's token ids
// on every picture and its logits within MaxLogitsDiff, other dtypes may lose MaxRougeDrop. A worse export is a *VerifyError.
// decode turns token ids into a caption.
func Verify(ctx context.Context, libraryPath, dir, dtype string, ref Reference, examples iter.Seq2[Example, error],
	decode func(ids []int32) string, o VerifyOptions) (Check, error) {
	o = o.withDefaults()
	session, err := Open(libraryPath, dir, dtype)
	if err != nil {
		return Check{}, err
	}
	defer session.Close()
	v := &verification{ctx: ctx, session: session, ref: ref, decode: decode, options: o, check: Check{Dtype: dtype}}
	if v.check.Bytes, err = sizeOf(dir, dtype); err != nil {
		return Check{}, err
	}
	for example, err := range examples {
		if err != nil {
			return Check{}, err
		}
		if err := v.add(example); err != nil {
			return Check{}, err
		}
	}
	if err := v.compare(); err != nil {
		return Check{}, err
	}
	return v.finish()
}

// verifyBatch is how many pictures the model captions at once; the export takes them one by one as Transformers.js does.
const verifyBatch = 32

func (o VerifyOptions) withDefaults() VerifyOptions {
	if o.MaxLogitsDiff == 0 {
		o.MaxLogitsDiff = 1e-3
	}
	if o.MaxRougeDrop == 0 {
		o.MaxRougeDrop = 0.5
	}
	return o
}

func sizeOf(dir, dtype string) (int64, error) {
	var n int64
	for _, name := range []string{EncoderFile(dtype), DecoderFile(dtype)} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			return 0, err
		}
		n += info.Size()
	}
	return n, nil
}

// verification is a comparison under way.
type verification struct {
	ctx     context.Context
	session *Session
	ref     Reference
	decode  func([]int32) string
	options VerifyOptions

	waiting []Example // without pixels
	pixels  []uint8   // of those waiting
	batch   int       // pictures of the largest batch so far

	check               Check
	rougeL, modelRougeL float64 // sums, 0 to 1 per picture
	differences         []Difference
}

// add takes an example, whose pixels may be overwritten afterwards.
func (v *verification) add(e Example) error {
	size := len(v.pixels) / max(1, len(v.waiting))
	if len(v.waiting) > 0 && len(e.Pixels) != size {
		return fmt.Errorf("picture %s has %d bytes, the one before has %d", e.ID, len(e.Pixels), size)
	}
	v.pixels = append(v.pixels, e.Pixels...)
	e.Pixels = nil
	if v.waiting = append(v.waiting, e); len(v.waiting) < verifyBatch {
		return nil
	}
	return v.compare()
}

// compare captions what waits.
func (v *verification) compare() error {
	n := len(v.waiting)
	if n == 0 {
		return nil
	}
	v.batch = max(v.batch, n) // the last, smaller batch is padded rather than compiled anew
	want, err := v.ref.Generate(v.pixels, n, model.GenerateOptions{MaxLength: v.options.MaxLength, NumBeams: 1, BatchSize: v.batch})
	if err != nil {
		return fmt.Errorf("caption with the model: %w", err)
	}
	size := len(v.pixels) / n
	for i, e := range v.waiting {
		if err := v.ctx.Err(); err != nil {
			return err
		}
		e.Pixels = v.pixels[i*size : (i+1)*size]
		if err := v.compareOne(e, want[i]); err != nil {
			return fmt.Errorf("%s export, picture %s: %w", v.check.Dtype, e.ID, err)
		}
	}
	v.waiting, v.pixels = v.waiting[:0], v.pixels[:0]
	return nil
}

func (v *verification) compareOne(e Example, want []int32) error {
	values := PixelValues(e.Pixels, v.options.Normalization)
	got, err := v.session.Generate(values, v.options.MaxLength)
	if err != nil {
		return err
	}
	d := Difference{ID: e.ID, Model: v.decode(want), Export: v.decode(got)}
	if v.check.Dtype == "fp32" {
		if d.Logits, err = v.logitsDifference(e.Pixels, values, want); err != nil {
			return err
		}
		v.check.MaxLogitsDiff = max(v.check.MaxLogitsDiff, d.Logits)
	}
	v.check.Pictures++
	v.rougeL += metrics.Rouge(d.Export, e.References).RL
	v.modelRougeL += metrics.Rouge(d.Model, e.References).RL
	if d.SameIDs = slices.Equal(got, want); d.SameIDs {
		v.check.EqualIDs++
	}
	if !d.SameIDs || d.Logits > v.options.MaxLogitsDiff {
		v.differences = append(v.differences, d)
	}
	return nil
}

// logitsDifference is the largest difference of any logit when both are fed the model's own caption.
func (v *verification) logitsDifference(pixels []uint8, values []float32, caption []int32) (float64, error) {
	ids := append([]int32{v.session.StartTokenID()}, caption[:len(caption)-1]...)
	want, err := v.ref.Logits(pixels, ids)
	if err != nil {
		return 0, fmt.Errorf("logits of the model: %w", err)
	}
	got, err := v.session.Logits(values, ids)
	if err != nil {
		return 0, err
	}
	if len(got) != len(want) {
		return 0, fmt.Errorf("%d logits, the model has %d", len(got), len(want))
	}
	highest := 0.0
	for i := range want {
		diff := math.Abs(float64(got[i]) - float64(want[i]))
		if math.IsNaN(diff) || math.IsInf(diff, 0) {
			return math.MaxFloat64, nil
		}
		highest = max(highest, diff)
	}
	return highest, nil
}

// finish judges what was compared.
func (v *verification) finish() (Check, error) {
	c := v.check
	if c.Pictures == 0 {
		return c, errors.New("no pictures to compare with")
	}
	c.RougeL = 100 * v.rougeL / float64(c.Pictures)
	c.ModelRougeL = 100 * v.modelRougeL / float64(c.Pictures)
	var bad bool
	if c.Dtype == "fp32" {
		bad = c.EqualIDs < c.Pictures || c.MaxLogitsDiff > v.options.MaxLogitsDiff
	} else {
		bad = c.RougeL < c.ModelRougeL-v.options.MaxRougeDrop
	}
	if bad {
		return c, &VerifyError{Check: c, Options: v.options, Differences: v.differences}
	}
	return c, nil
}

// PixelValues are a picture's pixels, uint8 [H, W, 3], as Hugging Face's image processor gives them to the encoder: float32
// [3, H, W].
func PixelValues(pixels []uint8, n model.Normalization) []float32 {
	table := n.Or(model.HalfNormalization).Table()
	plane := len(pixels) / 3
	values := make([]float32, len(pixels))
	for i := range plane {
		for c := range 3 {
			values[c*plane+i] = table[256*c+int(pixels[3*i+c])]
		}
	}
	return values
}
