package onnx

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"os"
	"path/filepath"
	"slices"

	"distilvit/artifact/record"
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
	Generate      model.GenerateOptions // how captions are made: greedily, whatever beams are asked for
	Normalization model.Normalization   // of the image processor; zero: mean and standard deviation 0.5
	MaxLogitsDiff float64               // fp32: of any logit on the model's own captions; zero: 1e-3

	// MaxRougeDrop is for other dtypes: rougeL points (of 100) below the model's, and twice as many for those
	// of 4 bits; zero: 0.5.
	MaxRougeDrop float64

	// MinEqual is for other dtypes: the share of pictures, 0 to 1, whose token ids must all be the
	// model's, whatever the captions' language makes of rougeL. Zero: 0.9 of fp16, 0.7 of 8 bits, 0.5 of 4,
	// and nothing where MaxRougeDrop is 100 or more, which lets every export pass.
	MinEqual float64

	// Sure, if not nil, is told of pictures that the export captions as the model does, with the token ids and
	// by how much each leads before every other token, the least of these leads; among the first pictures.
	Sure func(e Example, ids []int32, lead float64)
}

// Verify runs a dtype's files in ONNX Runtime on every example and compares with the model: fp32 must give
// the model's token ids on every picture and its logits within MaxLogitsDiff, other dtypes may lose
// MaxRougeDrop and must give the same token ids on MinEqual of the pictures. A worse export is a
// *VerifyError. decode turns token ids into a caption.
func Verify(
	ctx context.Context, libraryPath, dir, dtype string, ref Reference, examples iter.Seq2[Example, error],
	decode func(ids []int32) string, o VerifyOptions,
) (record.ExportCheck, error) {
	o = o.withDefaults(dtype)
	session, err := Open(libraryPath, dir, dtype)
	if err != nil {
		return record.ExportCheck{}, err
	}
	defer session.Close()
	v := &verification{
		ctx: ctx, session: session, ref: ref, decode: decode, options: o,
		check: record.ExportCheck{Dtype: dtype},
	}
	if v.check.Bytes, err = FilesSize(dir, dtype); err != nil {
		return record.ExportCheck{}, err
	}
	for example, err := range examples {
		if err != nil {
			return record.ExportCheck{}, err
		}
		if err := v.add(example); err != nil {
			return record.ExportCheck{}, err
		}
	}
	if err := v.compare(); err != nil {
		return record.ExportCheck{}, err
	}
	return v.finish()
}

// verifyBatch is how many pictures the model captions at once; the export takes them one by one as
// Transformers.js does.
const verifyBatch = 32

func (o VerifyOptions) withDefaults(dtype string) VerifyOptions {
	if o.MaxLogitsDiff == 0 {
		o.MaxLogitsDiff = 1e-3
	}
	if o.MaxRougeDrop == 0 {
		o.MaxRougeDrop = 0.5
	}
	if o.MinEqual == 0 && o.MaxRougeDrop < 100 {
		o.MinEqual = dtypes[dtype].minEqual
	}
	if _, ok := dtypes[dtype].numbers.(nibbles); ok {
		o.MaxRougeDrop *= 2
	}
	return o
}

// FilesSize is the bytes of a dtype's two files in a model directory; an error where one is not there.
func FilesSize(dir, dtype string) (int64, error) {
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

	divergence float64 // Σ over tokens
	tokens     int     // whose distributions were compared

	check                   record.ExportCheck
	captions, modelCaptions []metrics.Prediction // without ids
	differences             []Difference
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
	greedy := v.options.Generate
	greedy.NumBeams, greedy.BatchSize = 1, v.batch
	want, err := v.ref.Generate(v.pixels, n, greedy)
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
	got, err := v.session.Generate(values, v.options.Generate)
	if err != nil {
		return err
	}
	d := Difference{ID: e.ID, Model: v.decode(want), Export: v.decode(got), SameIDs: slices.Equal(got, want)}
	if v.check.Dtype == "fp32" || v.check.Pictures < divergencePictures {
		var ahead float64
		if d.Logits, ahead, err = v.logitsDifference(e.Pixels, values, want); err != nil {
			return err
		}
		if v.options.Sure != nil && d.SameIDs {
			v.options.Sure(e, got, ahead)
		}
	}
	if v.check.Dtype == "fp32" {
		v.check.MaxLogitsDiff = max(v.check.MaxLogitsDiff, d.Logits)
	}
	v.check.Pictures++
	v.captions = append(v.captions, metrics.Prediction{Caption: d.Export, References: e.References})
	v.modelCaptions = append(v.modelCaptions, metrics.Prediction{Caption: d.Model, References: e.References})
	if d.SameIDs {
		v.check.EqualIDs++
	}
	if !d.SameIDs || v.check.Dtype == "fp32" && d.Logits > v.options.MaxLogitsDiff {
		v.differences = append(v.differences, d)
	}
	return nil
}

// divergencePictures are how many pictures' logits are compared of dtypes other than fp32: two more runs of each.
const divergencePictures = 100

// logitsDifference is the largest difference of any logit when both are fed the model's own caption, and by how
// much the export prefers that. It also adds up how far the export's distributions are from the model's.
func (v *verification) logitsDifference(
	pixels []uint8, values []float32, caption []int32,
) (highest, ahead float64, err error) {
	start := v.session.StartTokenID()
	if id := v.options.Generate.DecoderStartTokenID; id != nil {
		start = *id
	}
	ids := append([]int32{start}, caption[:len(caption)-1]...)
	want, err := v.ref.Logits(pixels, ids)
	if err != nil {
		return 0, 0, fmt.Errorf("logits of the model: %w", err)
	}
	got, err := v.session.Logits(values, ids)
	if err != nil {
		return 0, 0, err
	}
	if len(got) != len(want) {
		return 0, 0, fmt.Errorf("%d logits, the model has %d", len(got), len(want))
	}
	for i := range want {
		diff := math.Abs(float64(got[i]) - float64(want[i]))
		if math.IsNaN(diff) || math.IsInf(diff, 0) {
			return math.MaxFloat64, 0, nil
		}
		highest = max(highest, diff)
	}
	vocabulary := len(want) / len(ids)
	for i := range ids {
		v.divergence += divergence(want[i*vocabulary:][:vocabulary], got[i*vocabulary:][:vocabulary])
		v.tokens++
	}
	return highest, lead(got, caption), nil
}

// lead is by how much each token of a caption is likelier than every other, the least of them; below 0 where one
// is not. logits are [len(caption), vocabulary].
func lead(logits []float32, caption []int32) float64 {
	vocabulary, least := len(logits)/len(caption), math.Inf(1)
	for i, id := range caption {
		row := logits[i*vocabulary:][:vocabulary]
		for other, v := range row {
			if int32(other) != id {
				least = min(least, float64(row[id]-v))
			}
		}
	}
	return least
}

// divergence is the Kullback-Leibler divergence of softmax(got) from softmax(want), Σ p·ln(p/q), nats.
func divergence(want, got []float32) float64 {
	lp, lq := logSum(want), logSum(got)
	sum := 0.0
	for i := range want {
		p := float64(want[i]) - lp
		sum += math.Exp(p) * (p - float64(got[i]) + lq)
	}
	return max(0, sum) // rounding may take it below
}

// logSum is ln Σ exp(x).
func logSum(x []float32) float64 {
	highest := float64(slices.Max(x))
	sum := 0.0
	for _, v := range x {
		sum += math.Exp(float64(v) - highest)
	}
	return highest + math.Log(sum)
}

// finish judges what was compared.
func (v *verification) finish() (record.ExportCheck, error) {
	c := v.check
	if c.Pictures == 0 {
		return c, errors.New("no pictures to compare with")
	}
	c.RougeL, c.ModelRougeL = RougeL(v.captions), RougeL(v.modelCaptions)
	c.Divergence = v.divergence / float64(max(v.tokens, 1))
	c.Differences = v.mostDifferent()
	var bad bool
	if c.Dtype == "fp32" {
		bad = c.EqualIDs < c.Pictures || c.MaxLogitsDiff > v.options.MaxLogitsDiff
	} else {
		bad = c.RougeL < c.ModelRougeL-v.options.MaxRougeDrop || equal(c) < v.options.MinEqual
	}
	if bad {
		return c, &VerifyError{Check: c, Options: v.options, Differences: v.differences}
	}
	return c, nil
}

// mostDifferent are the captions that differ most from the model's.
func (v *verification) mostDifferent() []record.CaptionDifference {
	rule, _ := metrics.ChooseWords(metrics.ReferencesOf(v.captions))
	var out []record.CaptionDifference
	for _, d := range v.differences {
		if d.Model != d.Export {
			out = append(out, record.CaptionDifference{
				ImageID: d.ID, Model: d.Model, Export: d.Export,
				RougeL: 100 * metrics.Rouge(d.Export, []string{d.Model}, rule).RL,
			})
		}
	}
	slices.SortStableFunc(out, func(x, y record.CaptionDifference) int {
		return cmp.Or(cmp.Compare(x.RougeL, y.RougeL), cmp.Compare(x.ImageID, y.ImageID))
	})
	return out[:min(len(out), record.MostDifferences)]
}

// equal is the share of pictures, 0 to 1, whose token ids are all the model's.
func equal(c record.ExportCheck) float64 { return float64(c.EqualIDs) / float64(max(c.Pictures, 1)) }

// RougeL is the mean over captions, × 100, on words that fit the references' language.
func RougeL(captions []metrics.Prediction) float64 {
	rule, _ := metrics.ChooseWords(metrics.ReferencesOf(captions))
	sum := 0.0
	for _, p := range captions {
		sum += metrics.Rouge(p.Caption, p.References, rule).RL
	}
	return 100 * sum / float64(len(captions))
}

// PixelValues are a picture's pixels, uint8 [H, W, 3], as Hugging Face's image processor gives them to the
// encoder: float32 [3, H, W].
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
