package onnx

import (
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute"

	"distilvit/internal/backend"
	"distilvit/internal/testenv"
	"distilvit/model"
)

// runtimeLibrary is ONNX Runtime as `distilvit backend install onnxruntime` puts it.
func runtimeLibrary(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	path, err := backend.ONNXRuntime(filepath.Join(cache, "distilvit", "backend"))
	if err != nil {
		testenv.Without(t, err)
	}
	return path
}

// testConfig is a captioner of 32 × 32 pixels whose decoder has the encoder's width, or another.
func testConfig(encoderWidth, decoderWidth int) *model.Config {
	return &model.Config{
		Encoder: model.EncoderConfig{HiddenSize: encoderWidth, NumHiddenLayers: 2, NumAttentionHeads: 4,
			IntermediateSize: 2 * encoderWidth,
			ImageSize:        32, PatchSize: 8, NumChannels: 3, LayerNormEps: 1e-12,
			HiddenAct: "gelu", QKVBias: true},
		Decoder: model.GPT2Config{VocabSize: 301, NPositions: 40, NEmbd: decoderWidth, NLayer: 3, NHead: 2,
			NInner:           4 * decoderWidth,
			LayerNormEpsilon: 1e-5, ActivationFunction: "gelu_new"},
		DecoderStartTokenID: 300, BOSTokenID: 300, EOSTokenID: 300, PadTokenID: 300, TieWordEmbeddings: true,
	}
}

// lively are initial weights spread so that every part of the network matters and captions differ from
// picture to picture.
func lively(c *model.Config, seed uint64) model.Weights {
	w := model.Init(c, seed)
	r := rand.New(rand.NewPCG(seed, 1))
	for _, name := range slices.Sorted(maps.Keys(w)) {
		spread := 0.25
		if strings.Contains(name, "layernorm") || strings.Contains(name, "ln_") ||
			strings.HasSuffix(name, "bias") {
			spread = 0.1
		}
		for i := range w[name].Data {
			w[name].Data[i] += float32(spread * r.NormFloat64())
		}
	}
	return w
}

// picture is the n-th of the test pictures: blotches, uint8 [side, side, 3].
func picture(n, side int) []uint8 {
	r := rand.New(rand.NewPCG(uint64(n), 2))
	pixels := make([]uint8, side*side*3)
	for i := range pixels {
		pixels[i] = uint8(r.IntN(60))
	}
	for range 3 {
		x, y, size, channel := r.IntN(side), r.IntN(side), 2+r.IntN(side/2), r.IntN(3)
		for dy := range min(size, side-y) {
			for dx := range min(size, side-x) {
				pixels[((y+dy)*side+x+dx)*3+channel] = 255
			}
		}
	}
	return pixels
}

func goBackend(t *testing.T) compute.Backend {
	t.Helper()
	choice, err := backend.Choose(backend.Options{Kind: backend.Go})
	if err != nil {
		t.Fatal(err)
	}
	be, err := backend.Open(choice)
	if err != nil {
		t.Fatal(err)
	}
	return be
}

// captioner is the model on the pure-Go backend.
func captioner(t *testing.T, c *model.Config, w model.Weights) *model.Captioner {
	t.Helper()
	captioner, err := model.NewCaptioner(goBackend(t), c, w)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(captioner.Close)
	return captioner
}

// export writes a dtype's model directory.
func export(t *testing.T, c *model.Config, w model.Weights, dtype string) string {
	t.Helper()
	dir := t.TempDir()
	if _, err := Write(dir, c, w, dtype); err != nil {
		t.Fatal(err)
	}
	if err := WriteConfigs(dir, c, greedy, []string{dtype}); err != nil {
		t.Fatal(err)
	}
	return dir
}

const testMaxLength = 20

var greedy = model.GenerateOptions{MaxLength: testMaxLength, NumBeams: 1}

func open(t *testing.T, dir, dtype string) *Session {
	t.Helper()
	s, err := Open(runtimeLibrary(t), dir, dtype)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}
