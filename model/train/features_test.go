package train

import (
	"encoding/binary"
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/gomlx/compute"

	"distilvit/artifact/record"
	"distilvit/dataset"
	"distilvit/internal/backend"
	"distilvit/internal/backend/backendtest"
	"distilvit/model"
)

// frozenEncoder is training that features may stand for.
func frozenEncoder(c *Config, _ model.Weights) {
	c.Parts = []Part{{Match: "encoder", Freeze: some(true)}}
	c.Dropout = 0.1
}

// frozenGolden is the golden model and batch, with a frozen encoder.
func frozenGolden(t *testing.T) (*dataset.Batch, *model.Config, model.Weights, Config) {
	t.Helper()
	g, b, c, w, err := readGolden()
	if err != nil {
		t.Fatal(err)
	}
	config := goldenConfig(g)
	frozenEncoder(&config, w)
	return b, c, w, config
}

func goldenBatch(t *testing.T) *dataset.Batch {
	t.Helper()
	_, b, _, _, err := readGolden()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// encodedBatch is b with features, as numbers of float32, in the place of pixels.
func encodedBatch(t *testing.T, tr *Trainer, b *dataset.Batch) *dataset.Batch {
	t.Helper()
	x, err := tr.Encode(b.Pixels, b.N)
	if err != nil {
		t.Fatal(err)
	}
	out := *b
	out.Pixels, out.Format = nil, FeaturesFormat(tr.model, dataset.FeaturesFloat32, 1)
	for _, v := range x {
		out.Features = binary.LittleEndian.AppendUint32(out.Features, math.Float32bits(v))
	}
	return &out
}

// Ten steps give the weights of a frozen encoder that encodes at each step, bit for bit: on both backends a picture's
// vectors are the same whether they are computed alone or in the step's graph.
func TestTrainingOnFeaturesIsTrainingWithTheFrozenEncoder(t *testing.T) {
	b, c, w, config := frozenGolden(t)
	backendtest.Each(t, func(t *testing.T, be compute.Backend) {
		digests := map[bool]string{}
		for _, stored := range []bool{false, true} {
			tr, err := New(be, c, w, config)
			if err != nil {
				t.Fatal(err)
			}
			batch := b
			if stored {
				batch = encodedBatch(t, tr, b)
			}
			for range 10 {
				if _, err := tr.Step(batch); err != nil {
					t.Fatal(err)
				}
			}
			after, err := tr.Weights()
			if err != nil {
				t.Fatal(err)
			}
			digests[stored] = Digest(c.Names(), after)
			tr.Close()
		}
		if digests[true] != digests[false] || digests[true] == Digest(c.Names(), w) {
			t.Errorf("weights are %s with features, %s without, %s before", digests[true], digests[false],
				Digest(c.Names(), w))
		}
	})
}

// Loss and captions of an evaluation are the same of features as of pixels, bit for bit and token for token, on both
// backends: that of the golden batch, and of fewer pictures than the captioner takes at once.
func TestEvaluatingFeaturesIsEvaluatingPixels(t *testing.T) {
	b, c, w, config := frozenGolden(t)
	backendtest.Each(t, func(t *testing.T, be compute.Backend) {
		tr, err := New(be, c, w, config)
		if err != nil {
			t.Fatal(err)
		}
		defer tr.Close()
		encoded := encodedBatch(t, tr, b)
		want, _, err := tr.Loss(b)
		if err != nil {
			t.Fatal(err)
		}
		if got, _, err := tr.Loss(encoded); err != nil || got != want {
			t.Errorf("loss of features is %v, %v, of pixels %v", got, err, want)
		}
		captioner, err := tr.Captioner()
		if err != nil {
			t.Fatal(err)
		}
		defer captioner.Close()
		for _, o := range []model.GenerateOptions{{BatchSize: 3}, {BatchSize: 2, NumBeams: 3, NumReturnSequences: 2}} {
			o.MaxLength = 8
			want, err := captioner.Generate(b.Pixels, b.N, o)
			if err != nil {
				t.Fatal(err)
			}
			got, err := captioner.GenerateEncoded(encoded.Format.Numbers(encoded.Features), b.N, o)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%+v: captions of features are %v, %v, of pixels %v", o, got, err, want)
			}
		}
		if _, err := captioner.GenerateEncoded(make([]float32, 7), b.N, model.GenerateOptions{}); err == nil {
			t.Error("7 numbers were captioned")
		}
	})
}

// A step on features computes nothing with the encoder's weights, and what pixels are for still does.
func TestAStepOnFeaturesHasNoEncoder(t *testing.T) {
	b := goldenBatch(t)
	broken, _ := newTrainer(t, func(c *Config, w model.Weights) {
		frozenEncoder(c, w)
		x := w["encoder.encoder.layer.0.output.dense.weight"]
		x.Data = slices.Clone(x.Data)
		x.Data[0] = float32(math.NaN())
	})
	sound, _ := newTrainer(t, frozenEncoder)
	batch := encodedBatch(t, sound, b)
	want, err := sound.Step(batch)
	if err != nil {
		t.Fatal(err)
	}
	got, err := broken.Step(batch)
	if err != nil || got != want {
		t.Errorf("a step with a broken encoder is %+v, %v, with a sound one %+v", got, err, want)
	}
	if sum, _, err := broken.Loss(b); err != nil || !notFinite(sum) {
		t.Errorf("the loss of pixels is %v, %v with a broken encoder", sum, err)
	}
	if sum, _, err := sound.Loss(batch); err != nil || notFinite(sum) {
		t.Errorf("the loss of features is %v, %v", sum, err)
	}
}

func TestFeaturesInBfloat16ComeNear(t *testing.T) {
	b := goldenBatch(t)
	tr, _ := newTrainer(t, frozenEncoder)
	exact := encodedBatch(t, tr, b)
	rounded := *exact
	rounded.Format.DType, rounded.Features = dataset.FeaturesBFloat16, nil
	for i := 0; i < len(exact.Features); i += 4 {
		bits := binary.LittleEndian.Uint32(exact.Features[i:])
		rounded.Features = binary.LittleEndian.AppendUint16(rounded.Features, uint16((bits+0x7fff+bits>>16&1)>>16))
	}
	want, _, err := tr.Loss(exact)
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := tr.Loss(&rounded)
	if err != nil || got == want || math.Abs(got-want) > 2e-3*want {
		t.Errorf("loss of bfloat16 features is %v, %v, of float32 %v", got, err, want)
	}
}

func TestFeaturesOfAnEncoderThatIsTrainedAreRefused(t *testing.T) {
	b := goldenBatch(t)
	frozen, _ := newTrainer(t, frozenEncoder)
	batch := encodedBatch(t, frozen, b)
	trained, _ := newTrainer(t, nil)
	if _, err := trained.Step(batch); err == nil {
		t.Error("a trainer of all weights took features")
	}
	for name, change := range map[string]func(*dataset.Batch){
		"cut":             func(b *dataset.Batch) { b.Features = b.Features[:len(b.Features)-4] },
		"other width":     func(b *dataset.Batch) { b.Format.Width *= 2 },
		"a dtype unknown": func(b *dataset.Batch) { b.Format.DType = "float16" },
	} {
		bad := *batch
		change(&bad)
		if _, err := frozen.Step(&bad); err == nil {
			t.Errorf("%s: was trained on", name)
		}
	}
	g, _, c, _, err := readGolden()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]struct {
		change func(*Config)
		ok     bool
	}{
		"encoder": {func(c *Config) { frozenEncoder(c, nil) }, true},
		"all":     {func(*Config) {}, false},
		"but a layer": {func(c *Config) {
			frozenEncoder(c, nil)
			c.Parts = append(c.Parts, Part{Match: "encoder.layers.0", Freeze: some(false)})
		}, false},
		"adapters in it":     {func(c *Config) { c.LoRA = &model.LoRA{R: 2, Alpha: 4} }, false},
		"adapters behind it": {func(c *Config) { c.LoRA = &model.LoRA{R: 2, Alpha: 4, TargetModules: []string{"c_attn"}} }, true},
	} {
		config := goldenConfig(g)
		want.change(&config)
		if err := CheckFeatures(c, config); (err == nil) != want.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A checkpoint of a training on features, and of one with a teacher, goes on to the same bytes.
func TestTrainingOnFeaturesAndWithATeacherGoesOnBitExactFromACheckpoint(t *testing.T) {
	features := goldenBatch(t)
	fresh := func() *Trainer {
		tr, _ := newTrainer(t, frozenEncoder)
		return tr
	}
	goesOnBitExact(t, encodedBatch(t, fresh(), features), fresh)

	_, b, c, w, config := taught(t)
	config.Dropout = 0.1
	goesOnBitExact(t, b, func() *Trainer {
		tr, err := New(backendtest.Open(t, backend.Go), c, w, config)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(tr.Close)
		return tr
	})
}

func goesOnBitExact(t *testing.T, batch *dataset.Batch, fresh func() *Trainer) {
	t.Helper()
	steps := func(tr *Trainer, n int) {
		for range n {
			if _, err := tr.Step(batch); err != nil {
				t.Fatal(err)
			}
		}
	}
	whole := fresh()
	steps(whole, 2)
	dir := filepath.Join(t.TempDir(), "2")
	if _, err := whole.Save(dir, record.State{}); err != nil {
		t.Fatal(err)
	}
	steps(whole, 2)
	resumed := fresh()
	if _, err := resumed.Load(dir); err != nil {
		t.Fatal(err)
	}
	steps(resumed, 2)
	want, err := whole.Save(filepath.Join(t.TempDir(), "4"), record.State{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := resumed.Save(filepath.Join(t.TempDir(), "4"), record.State{})
	if err != nil || got[weightsFile] != want[weightsFile] || got[momentsFile] != want[momentsFile] {
		t.Errorf("files are %v, %v, undisturbed %v", got, err, want)
	}
}
