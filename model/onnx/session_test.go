package onnx

import (
	"math"
	"slices"
	"strings"
	"testing"

	"distilvit/model"
)

// The network in ONNX Runtime and in Go: the same token ids, logits within 1e-4.
func TestExportComputesWhatTheModelComputes(t *testing.T) {
	for name, change := range map[string]func(*model.Config){
		"one width":       func(*model.Config) {},
		"two widths":      func(c *model.Config) { *c = *testConfig(32, 48) },
		"n_inner of 4×":   func(c *model.Config) { c.Decoder.NInner = 0 },
		"no bias in ViT":  func(c *model.Config) { c.Encoder.QKVBias = false },
		"no mlp of 4×":    func(c *model.Config) { c.Decoder.NInner = 56 },
		"a single layer":  func(c *model.Config) { c.Encoder.NumHiddenLayers, c.Decoder.NLayer = 1, 1 },
		"one patch a row": func(c *model.Config) { c.Encoder.PatchSize = 32 },
		"untied lm_head":  func(c *model.Config) { c.TieWordEmbeddings = false },
		"DeiT":            func(c *model.Config) { c.Encoder.Kind = model.DeiT },
		"SigLIP":          kindOf(model.SigLIP),
		"CLIP":            kindOf(model.CLIP),
		"DINOv2":          kindOf(model.DINOv2),
		"relu": func(c *model.Config) {
			c.Encoder.HiddenAct, c.Decoder.ActivationFunction = "relu", "relu"
		},
		"gelu exchanged": func(c *model.Config) {
			c.Encoder.HiddenAct, c.Decoder.ActivationFunction = "gelu_new", "gelu"
		},
		"scores by layer": func(c *model.Config) { c.Decoder.Unscaled, c.Decoder.ScaleByLayer = true, true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := testConfig(32, 32)
			change(c)
			wantExported(t, c, lively(c, 7))
		})
	}
}

// wantExported compares a model with its fp32 files.
func wantExported(t *testing.T, c *model.Config, w model.Weights) {
	t.Helper()
	reference, session := captioner(t, c, w), open(t, export(t, c, w, "fp32"), "fp32")
	captions := map[string]bool{}
	for n := range 4 {
		pixels := picture(n, c.Encoder.ImageSize)
		values := PixelValues(pixels, model.HalfNormalization)
		want, err := reference.Generate(pixels, 1, greedy)
		if err != nil {
			t.Fatal(err)
		}
		got, err := session.Generate(values, greedy)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want[0]) {
			t.Errorf("picture %d: ids %v, the model's %v", n, got, want[0])
		}
		captions[string(encode(got))] = true
		inputs := append([]int32{session.StartTokenID()}, want[0][:len(want[0])-1]...)
		wantLogits, err := reference.Logits(pixels, inputs)
		if err != nil {
			t.Fatal(err)
		}
		gotLogits, err := session.Logits(values, inputs)
		if err != nil {
			t.Fatal(err)
		}
		if d := distance(gotLogits, wantLogits); d > 1e-4 {
			t.Errorf("picture %d: logits differ by %g", n, d)
		}
	}
	if len(captions) < 2 {
		t.Error("all pictures have the same caption: the test shows nothing of the encoder")
	}
}

// kindOf makes the encoder one of another kind, with that kind's activation and epsilon.
func kindOf(kind model.EncoderKind) func(*model.Config) {
	return func(c *model.Config) {
		e := &c.Encoder
		e.Kind, e.LayerNormEps = kind, 1e-6
		switch kind {
		case model.SigLIP:
			e.HiddenAct = "gelu_pytorch_tanh"
		case model.CLIP:
			e.HiddenAct = "quick_gelu"
		}
	}
}

// The quantized graph is near the model on the model's own captions, and is the same on every run.
func TestQuantizedExportIsClose(t *testing.T) {
	for name, change := range map[string]func(*model.Config){
		"two widths":     func(c *model.Config) { *c = *testConfig(32, 48) },
		"untied lm_head": func(c *model.Config) { c.TieWordEmbeddings = false },
		"DeiT":           func(c *model.Config) { c.Encoder.Kind = model.DeiT },
		"SigLIP":         kindOf(model.SigLIP),
		"CLIP":           kindOf(model.CLIP),
		"DINOv2":         kindOf(model.DINOv2),
	} {
		c := testConfig(32, 32)
		change(c)
		t.Run(name, func(t *testing.T) { wantQuantizedClose(t, c) })
	}
}

func wantQuantizedClose(t *testing.T, c *model.Config) {
	w, ids := lively(c, 3), []int32{5, 17, 255, 0, 299, 64, 128, 3}
	reference := captioner(t, c, w)
	var want [][]float32
	for n := range 4 {
		logits, err := reference.Logits(picture(n, c.Encoder.ImageSize), ids)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, logits)
	}
	for dtype, least := range map[string]float64{
		"fp16": 0.9999, "q8": 0.998, "int8": 0.995, "q4": 0.9, "q4f16": 0.9,
	} {
		session := open(t, export(t, c, w, dtype), dtype)
		var dot, a, b float64
		for n := range want {
			values := PixelValues(picture(n, c.Encoder.ImageSize), model.HalfNormalization)
			got, err := session.Logits(values, ids)
			if err != nil {
				t.Fatal(err)
			}
			for i, v := range want[n] {
				dot += float64(v) * float64(got[i])
				a += float64(v) * float64(v)
				b += float64(got[i]) * float64(got[i])
			}
			again, err := session.Logits(values, ids)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, again) {
				t.Errorf("%s: a second run gives other logits", dtype)
			}
		}
		if cosine := dot / math.Sqrt(a*b); cosine < least {
			t.Errorf("%s: cosine of the logits is %.5f, want %v", dtype, cosine, least)
		}
	}
}

func TestGenerateStopsAtEndTokenAndAtMaxLength(t *testing.T) {
	c := testConfig(32, 32)
	w := lively(c, 7)
	values := PixelValues(picture(0, 32), model.HalfNormalization)
	ids, err := open(t, export(t, c, w, "fp32"), "fp32").Generate(values, model.GenerateOptions{MaxLength: 6})
	if err != nil {
		t.Fatal(err)
	}
	if len(ids) != 5 {
		t.Fatalf("%d ids after the start token, want 5 of max length 6", len(ids))
	}
	c.EOSTokenID = int(ids[2])
	end := slices.Index(ids, ids[2])
	got, err := open(t, export(t, c, w, "fp32"), "fp32").Generate(values, greedy)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, ids[:end+1]) {
		t.Errorf("ids %v, want %v with the end token last", got, ids[:end+1])
	}
}

func TestABatchIsCaptionedAsEachPictureByItself(t *testing.T) {
	c := testConfig(32, 32)
	w := lively(c, 7)
	first := func(s *Session) [][]int32 {
		var rows [][]int32
		for n := range 4 {
			ids, err := s.Generate(PixelValues(picture(n, 32), model.HalfNormalization), greedy)
			if err != nil {
				t.Fatal(err)
			}
			rows = append(rows, ids)
		}
		return rows
	}
	c.EOSTokenID = int(first(open(t, export(t, c, w, "fp32"), "fp32"))[1][2]) // one ends before the others
	session := open(t, export(t, c, w, "fp32"), "fp32")
	var values []float32
	for n := range 4 {
		values = append(values, PixelValues(picture(n, 32), model.HalfNormalization)...)
	}
	got, err := session.GenerateBatch(values, 4, greedy)
	if err != nil {
		t.Fatal(err)
	}
	want := first(session)
	if !slices.EqualFunc(got, want, slices.Equal[[]int32]) {
		t.Errorf("ids %v of a batch, %v one by one", got, want)
	}
	if len(want[1]) == len(want[0]) && len(want[1]) == len(want[2]) {
		t.Error("all captions are of the same length: the test shows nothing of their ends")
	}
}

func TestOpenNamesWhatIsWrong(t *testing.T) {
	c := testConfig(32, 32)
	dir := export(t, c, lively(c, 1), "q8")
	lib := runtimeLibrary(t)
	for want, open := range map[string]func() (*Session, error){
		"encoder_model.onnx":    func() (*Session, error) { return Open(lib, dir, "fp32") },
		`unknown dtype "q3"`:    func() (*Session, error) { return Open(lib, dir, "q3") },
		"no such file":          func() (*Session, error) { return Open("/no/libonnxruntime.so", dir, "q8") },
		"/no/such/model has no": func() (*Session, error) { return Open(lib, "/no/such/model", "q8") },
	} {
		s, err := open()
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	s := open(t, dir, "q8")
	if _, err := s.Generate(make([]float32, 5), greedy); err == nil ||
		!strings.Contains(err.Error(), "5 pixel values, the model takes 3×32×32") {
		t.Errorf("error %v of a picture of the wrong size", err)
	}
}

func distance(a, b []float32) float64 {
	if len(a) != len(b) {
		return math.Inf(1)
	}
	d := 0.0
	for i := range a {
		d = max(d, math.Abs(float64(a[i]-b[i])))
	}
	return d
}

func encode(ids []int32) (b []byte) {
	for _, id := range ids {
		b = append(b, byte(id), byte(id>>8))
	}
	return b
}
