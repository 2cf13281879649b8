package web

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"distilvit/artifact/record"
	"distilvit/dataset/pixels"
	"distilvit/internal/backend"
	"distilvit/internal/testenv"
	"distilvit/internal/testenv/modeltest"
	"distilvit/model"
	"distilvit/model/onnx"
	"distilvit/model/tokenizer"
)

const (
	maxLength = modeltest.MaxLength
	margin    = 0.1 // between the two likeliest tokens
)

const usualPictures = 8

var pictures = flag.Int("pictures", usualPictures, "pictures of each check")

// quantized are the dtypes whose captions are those of ONNX Runtime in Go, not the model's.
var quantized = []string{"fp16", "q8", "int8", "q4", "q4f16"}

// published is a model directory with pictures beside it and what Go says of them.
type published struct {
	folder  string // of all
	dir     string
	images  []string
	lines   map[string][]line // dtype → captions
	config  *model.Config
	tokens  *tokenizer.Tokenizer
	weights model.Weights
	pixels  []uint8 // of the images, [len(images), modeltest.Side, modeltest.Side, 3]
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

// publish makes the model directory of a captioner with a ViT, once for all tests.
func publish(t *testing.T) *published { return publishKind(t, model.ViT) }

// publishKind makes that of a captioner with another encoder.
func publishKind(t *testing.T, kind model.EncoderKind) *published {
	t.Helper()
	encoder := modeltest.Encoder()
	encoder.Kind = kind
	processor := pixels.NewProcessor(modeltest.Side)
	switch kind {
	case model.SigLIP:
		encoder.HiddenAct, processor.Resample = "gelu_pytorch_tanh", pixels.Bicubic
	case model.CLIP:
		encoder.HiddenAct = "quick_gelu"
		processor.Resample, processor.Resized = pixels.Bicubic, pixels.Resized{ShortestEdge: modeltest.Side}
	}
	return publishOnce(t, encoder.Name(), processor, func(words *tokenizer.Tokenizer) *model.Config {
		return modeltest.Config(encoder, words)
	})
}

// publishPrefix makes that of one whose pictures stand before the captions of a Llama.
func publishPrefix(t *testing.T) *published {
	return publishBehind(t, "prefix", modeltest.PrefixConfig)
}

// publishGPT2Prefix makes that of one whose pictures stand before the captions of a GPT-2.
func publishGPT2Prefix(t *testing.T) *published {
	return publishBehind(t, "prefix-gpt2", modeltest.GPT2PrefixConfig)
}

func publishBehind(t *testing.T, name string, network func(*tokenizer.Tokenizer) *model.Config) *published {
	t.Helper()
	processor := pixels.NewProcessor(modeltest.Side)
	processor.Resample = pixels.Bicubic
	return publishOnce(t, name, processor, network)
}

var shared = struct {
	sync.Mutex
	published map[string]*published
}{published: map[string]*published{}}

func publishOnce(
	t *testing.T, name string, processor pixels.Processor, network func(*tokenizer.Tokenizer) *model.Config,
) *published {
	t.Helper()
	cache, err := os.UserCacheDir()
	check(t, err)
	library, err := backend.ONNXRuntime(filepath.Join(cache, "distilvit", "backend"))
	if err != nil {
		testenv.Without(t, err)
	}
	shared.Lock()
	defer shared.Unlock()
	if p := shared.published[name]; p != nil {
		return p
	}
	p, err := makePublished(library, name, processor, network)
	check(t, err)
	shared.published[name] = p
	return p
}

func makePublished(
	library, name string, processor pixels.Processor, network func(*tokenizer.Tokenizer) *model.Config,
) (*published, error) {
	p := &published{folder: filepath.Join(work, name), lines: map[string][]line{}}
	p.dir = filepath.Join(p.folder, "model")
	tokens, err := modeltest.Words()
	if err != nil {
		return nil, err
	}
	if err := tokens.WriteDir(p.dir); err != nil {
		return nil, err
	}
	if err := processor.WriteFile(p.dir); err != nil {
		return nil, err
	}
	c := network(tokens)
	w := modeltest.Lively(c)
	p.config, p.weights, p.tokens = c, w, tokens
	if err := model.WriteWeights(filepath.Join(p.dir, "model.safetensors"), w, nil); err != nil {
		return nil, err
	}
	for _, dtype := range onnx.Dtypes() {
		if _, err := onnx.Write(p.dir, c, w, dtype); err != nil {
			return nil, err
		}
	}
	if err := onnx.WriteConfigs(p.dir, c, model.GenerateOptions{MaxLength: maxLength}, onnx.Dtypes()); err != nil {
		return nil, err
	}

	if _, err := onnx.WriteLlava(p.dir, c, model.GenerateOptions{MaxLength: maxLength}); err != nil {
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
	if err := p.draw(sessions, tokens); err != nil {
		return nil, err
	}
	ids, err := p.captionByModel(model.GenerateOptions{MaxLength: maxLength, NumBeams: 1})
	if err != nil {
		return nil, err
	}
	for i := range p.images {
		p.lines["fp32"] = append(p.lines["fp32"], line{
			Image: p.images[i], Caption: tokens.Decode(ids[0][i], true), TokenIDs: ids[0][i],
		})
	}
	for dtype, lines := range p.lines {
		different := map[string]bool{}
		for _, l := range lines {
			different[l.Caption] = true
		}
		if len(different) < 4 {
			return nil, fmt.Errorf("%s: only %d different captions of %d pictures", dtype,
				len(different), *pictures)
		}
	}
	return p, nil
}

// draw writes pictures and their captions by the quantized files in ONNX Runtime.
// Pictures for which two tokens are almost equally likely are left out: quantizing amplifies the last bits,
// which differ from version to version.
func (p *published) draw(sessions map[string]*onnx.Session, tokens *tokenizer.Tokenizer) error {
	said := map[string]int{} // captions so far: none may be the half of all
	for n := 0; len(p.images) < *pictures; n++ {
		if n == 200**pictures {
			return fmt.Errorf("only %d of %d pictures have clear captions", len(p.images), n)
		}
		pixels := modeltest.Pixels(n)
		captions, err := clearCaptions(sessions, onnx.PixelValues(pixels, model.HalfNormalization),
			tokens.VocabSize())
		if err != nil {
			return err
		}
		if captions == nil {
			continue
		}
		if said[fmt.Sprint(captions["q8"])]++; said[fmt.Sprint(captions["q8"])] > 1+*pictures/8 {
			continue
		}
		name := filepath.Join(p.folder, fmt.Sprintf("%02d.png", len(p.images)))
		if err := modeltest.WritePNG(name, n); err != nil {
			return err
		}
		p.pixels = append(p.pixels, pixels...)
		p.images = append(p.images, name)
		for dtype, ids := range captions {
			p.lines[dtype] = append(p.lines[dtype], line{Image: name, Caption: tokens.Decode(ids, true), TokenIDs: ids})
		}
	}
	return nil
}

// on is p with as many pictures as a device is asked for: SwiftShader's WebGPU takes seconds for each, so that it has few
// unless more than usual are asked for.
func (p *published) on(device string) *published {
	if device != record.DeviceWebGPU || *pictures > usualPictures {
		return p
	}
	few := *p
	few.images = p.images[:3]
	return &few
}

// clearCaptions are a picture's token ids by dtype; nil if in one of them two tokens are almost equally
// likely.
func clearCaptions(
	sessions map[string]*onnx.Session, values []float32, vocabulary int,
) (map[string][]int32, error) {
	captions := map[string][]int32{}
	for dtype, session := range sessions {
		ids, err := session.Generate(values, model.GenerateOptions{MaxLength: maxLength})
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

// captionByModel captions with the model in pure Go: the token ids by options and picture.
func (p *published) captionByModel(options ...model.GenerateOptions) ([][][]int32, error) {
	choice, err := backend.Choose(backend.Options{Kind: backend.Go})
	if err != nil {
		return nil, err
	}
	be, err := backend.Open(choice)
	if err != nil {
		return nil, err
	}
	defer be.Finalize()
	captioner, err := model.NewCaptioner(be, p.config, p.weights)
	if err != nil {
		return nil, err
	}
	defer captioner.Close()
	var all [][][]int32
	for _, o := range options {
		ids, err := captioner.Generate(p.pixels, len(p.images), o)
		if err != nil {
			return nil, err
		}
		all = append(all, ids)
	}
	return all, nil
}
