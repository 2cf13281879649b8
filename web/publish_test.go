package web

import (
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"distilvit/dataset"
	"distilvit/internal/backend"
	"distilvit/internal/testenv"
	"distilvit/model"
	"distilvit/model/onnx"
	"distilvit/model/tokenizer"
)

const (
	side      = 32 // of pictures, pixels
	pictures  = 24
	maxLength = 10
	margin    = 0.1 // between the two likeliest tokens
)

// quantized are the dtypes whose captions are those of ONNX Runtime in Go, not the model's.
var quantized = []string{"q8", "int8"}

// published is a model directory with pictures beside it and what Go says of them.
type published struct {
	dir      string
	expected map[string]string // dtype → JSON lines of captions
	images   []string
	lines    map[string][]line // dtype → captions
}

// work is the folder of what the tests share.
var work string

func TestMain(m *testing.M) {
	var err error
	if work, err = os.MkdirTemp("", "distilvit-web-*"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(work)
	os.Exit(code)
}

// publish makes the model directory, once for all tests.
func publish(t *testing.T) *published {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	library, err := backend.ONNXRuntime(filepath.Join(cache, "distilvit", "backend"))
	if err != nil {
		testenv.Without(t, err)
	}
	p, err := publishOnce(library)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var shared struct {
	sync.Once
	*published
	err error
}

func publishOnce(library string) (*published, error) {
	shared.Do(func() { shared.published, shared.err = makePublished(library) })
	return shared.published, shared.err
}

func makePublished(library string) (*published, error) {
	p := &published{dir: filepath.Join(work, "model"), expected: map[string]string{}, lines: map[string][]line{}}
	tokens, err := tokenizer.Train(sentences, 400)
	if err != nil {
		return nil, err
	}
	if err := tokens.WriteDir(p.dir); err != nil {
		return nil, err
	}
	if err := dataset.NewProcessor(side).WriteFile(p.dir); err != nil {
		return nil, err
	}
	end := int(tokens.EOS())
	c := &model.Config{
		Encoder: model.ViTConfig{HiddenSize: 32, NumHiddenLayers: 2, NumAttentionHeads: 4, IntermediateSize: 64,
			ImageSize: side, PatchSize: 8, NumChannels: 3, LayerNormEps: 1e-12, HiddenAct: "gelu", QKVBias: true},
		Decoder: model.GPT2Config{VocabSize: tokens.VocabSize(), NPositions: 40, NEmbd: 48, NLayer: 2, NHead: 4, NInner: 192,
			LayerNormEpsilon: 1e-5, ActivationFunction: "gelu_new"},
		DecoderStartTokenID: end, BOSTokenID: end, EOSTokenID: end, PadTokenID: end, TieWordEmbeddings: true,
	}
	w := lively(c)
	for _, dtype := range onnx.Dtypes() {
		if _, err := onnx.Write(p.dir, c, w, dtype); err != nil {
			return nil, err
		}
	}
	if err := onnx.WriteConfigs(p.dir, c, maxLength, onnx.Dtypes()); err != nil {
		return nil, err
	}

	sessions := map[string]*onnx.Session{}
	for _, dtype := range quantized {
		session, err := onnx.Open(library, p.dir, dtype)
		if err != nil {
			return nil, err
		}
		defer session.Close()
		sessions[dtype] = session
	}
	pixels, err := p.draw(sessions, tokens)
	if err != nil {
		return nil, err
	}
	if err := p.captionByModel(c, w, pixels, tokens); err != nil {
		return nil, err
	}
	for dtype, lines := range p.lines {
		different := map[string]bool{}
		for _, l := range lines {
			different[l.Caption] = true
		}
		if len(different) < pictures/2 {
			return nil, fmt.Errorf("%s: only %d different captions of %d pictures", dtype, len(different), pictures)
		}
		p.expected[dtype] = filepath.Join(work, dtype+".jsonl")
		if err := writeLines(p.expected[dtype], lines); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// draw writes pictures and their captions by the quantized files in ONNX Runtime, and returns the pixels. Pictures for which two
// tokens are almost equally likely are left out: quantizing amplifies the last bits, which differ from version to version.
func (p *published) draw(sessions map[string]*onnx.Session, tokens *tokenizer.Tokenizer) ([]uint8, error) {
	var all []uint8
	for n := 0; len(p.images) < pictures; n++ {
		if n == 50*pictures {
			return nil, fmt.Errorf("only %d of %d pictures have clear captions", len(p.images), n)
		}
		pixels := picture(n)
		captions, err := clearCaptions(sessions, onnx.PixelValues(pixels, model.HalfNormalization), tokens.VocabSize())
		if err != nil {
			return nil, err
		}
		if captions == nil {
			continue
		}
		name := filepath.Join(work, fmt.Sprintf("%02d.png", len(p.images)))
		if err := writePNG(name, pixels); err != nil {
			return nil, err
		}
		all = append(all, pixels...)
		p.images = append(p.images, name)
		for dtype, ids := range captions {
			p.lines[dtype] = append(p.lines[dtype], line{name, tokens.Decode(ids, true), ids})
		}
	}
	return all, nil
}

// clearCaptions are a picture's token ids by dtype; nil if in one of them two tokens are almost equally likely.
func clearCaptions(sessions map[string]*onnx.Session, values []float32, vocabulary int) (map[string][]int32, error) {
	captions := map[string][]int32{}
	for dtype, session := range sessions {
		ids, err := session.Generate(values, maxLength)
		if err != nil {
			return nil, err
		}
		logits, err := session.Logits(values, append([]int32{session.StartTokenID()}, ids[:len(ids)-1]...))
		if err != nil {
			return nil, err
		}
		if !clearWinners(logits, vocabulary) {
			return nil, nil
		}
		captions[dtype] = ids
	}
	return captions, nil
}

// clearWinners reports whether at every position [positions, vocabulary] one token leads by the margin.
func clearWinners(logits []float32, vocabulary int) bool {
	for row := range slices.Chunk(logits, vocabulary) {
		sorted := slices.Sorted(slices.Values(row))
		if sorted[vocabulary-1]-sorted[vocabulary-2] < margin {
			return false
		}
	}
	return true
}

// captionByModel captions with the model in pure Go.
func (p *published) captionByModel(c *model.Config, w model.Weights, pixels []uint8, tokens *tokenizer.Tokenizer) error {
	choice, err := backend.Choose(backend.Options{Kind: backend.Go})
	if err != nil {
		return err
	}
	be, err := backend.Open(choice)
	if err != nil {
		return err
	}
	defer be.Finalize()
	captioner, err := model.NewCaptioner(be, c, w)
	if err != nil {
		return err
	}
	defer captioner.Close()
	ids, err := captioner.Generate(pixels, pictures, model.GenerateOptions{MaxLength: maxLength, NumBeams: 1})
	if err != nil {
		return err
	}
	for i := range ids {
		p.lines["fp32"] = append(p.lines["fp32"], line{p.images[i], tokens.Decode(ids[i], true), ids[i]})
	}
	return nil
}

// lively are weights under which captions differ from picture to picture and are of words: single bytes are never the likeliest.
func lively(c *model.Config) model.Weights {
	w := model.Init(c, 11)
	r := rand.New(rand.NewPCG(11, 1))
	for _, name := range slices.Sorted(maps.Keys(w)) {
		spread := 0.25
		if strings.Contains(name, "layernorm") || strings.Contains(name, "ln_") || strings.HasSuffix(name, "bias") {
			spread = 0.1
		}
		for i := range w[name].Data {
			w[name].Data[i] += float32(spread * r.NormFloat64())
		}
	}
	clear(w["decoder.transformer.wte.weight"].Data[:256*c.Decoder.NEmbd])
	return w
}

// picture is the n-th test picture, uint8 [side, side, 3].
func picture(n int) []uint8 {
	r := rand.New(rand.NewPCG(uint64(n), 2))
	pixels := make([]uint8, side*side*3)
	for i := range pixels {
		pixels[i] = uint8(r.IntN(60))
	}
	for range 3 {
		x, y, size, channel := r.IntN(side), r.IntN(side), 4+r.IntN(side/2), r.IntN(3)
		for dy := range min(size, side-y) {
			for dx := range min(size, side-x) {
				pixels[((y+dy)*side+x+dx)*3+channel] = 255
			}
		}
	}
	return pixels
}

func writePNG(name string, pixels []uint8) error {
	m := image.NewRGBA(image.Rect(0, 0, side, side))
	for i := range side * side {
		m.SetRGBA(i%side, i/side, color.RGBA{pixels[3*i], pixels[3*i+1], pixels[3*i+2], 255})
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	if err := png.Encode(f, m); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

func writeLines(name string, lines []line) error {
	var b strings.Builder
	for _, l := range lines {
		text, err := json.Marshal(l)
		if err != nil {
			return err
		}
		b.Write(append(text, '\n'))
	}
	return os.WriteFile(name, []byte(b.String()), 0o644)
}

// sentences are what the tokenizer is trained on, with the punctuation that a clean-up of spaces would change.
func sentences(yield func(string) bool) {
	for _, colour := range []string{"red", "green", "blue", "yellow"} {
		for _, shape := range []string{"circle", "square", "triangle", "star"} {
			for _, place := range []string{"on the left", "at the top , near the edge", "in the middle . It 's small", "behind you ! don 't look ?"} {
				if !yield("there is a " + colour + " " + shape + " " + place) {
					return
				}
			}
		}
	}
}
