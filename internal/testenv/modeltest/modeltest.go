// Package modeltest makes small model directories for tests of what captions: random weights under which captions
// are of words and differ from picture to picture. Only tests import it.
package modeltest

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"distilvit/dataset/pixels"
	"distilvit/model"
	"distilvit/model/onnx"
	"distilvit/model/tokenizer"
)

// Side is of the model's pictures, in pixels.
const Side = 32

// MaxLength is of captions, in tokens with the start token.
const MaxLength = 10

// Write makes a model directory with these exports beside the weights.
func Write(dir string, dtypes ...string) error {
	return write(dir, func(words *tokenizer.Tokenizer) *model.Config { return Config(Encoder(), words) }, dtypes)
}

// WritePrefix makes one of PrefixConfig.
func WritePrefix(dir string, dtypes ...string) error { return write(dir, PrefixConfig, dtypes) }

func write(dir string, network func(*tokenizer.Tokenizer) *model.Config, dtypes []string) error {
	words, err := Words()
	if err != nil {
		return err
	}
	if err := words.WriteDir(dir); err != nil {
		return err
	}
	if err := pixels.NewProcessor(Side).WriteFile(dir); err != nil {
		return err
	}
	c := network(words)
	w := Lively(c)
	if err := model.WriteWeights(filepath.Join(dir, "model.safetensors"), w, nil); err != nil {
		return err
	}
	for _, dtype := range dtypes {
		if _, err := onnx.Write(dir, c, w, dtype); err != nil {
			return err
		}
	}
	return onnx.WriteConfigs(dir, c, model.GenerateOptions{MaxLength: MaxLength}, dtypes)
}

// Words are the model's tokens.
func Words() (*tokenizer.Tokenizer, error) { return tokenizer.Train(sentences, 400) }

// Encoder is the model's, a ViT.
func Encoder() model.EncoderConfig {
	return model.EncoderConfig{HiddenSize: 32, NumHiddenLayers: 2, NumAttentionHeads: 4,
		IntermediateSize: 64, ImageSize: Side, PatchSize: 8, NumChannels: 3, LayerNormEps: 1e-12,
		HiddenAct: "gelu", QKVBias: true}
}

// Config is a network of this encoder and the model's decoder.
func Config(encoder model.EncoderConfig, words *tokenizer.Tokenizer) *model.Config {
	end := int(words.EOS())
	return &model.Config{
		Encoder: encoder,
		Decoder: model.GPT2Config{VocabSize: words.VocabSize(), NPositions: 40, NEmbd: 48, NLayer: 2, NHead: 4,
			NInner: 192, LayerNormEpsilon: 1e-5, ActivationFunction: "gelu_new"},
		DecoderStartTokenID: end, BOSTokenID: end, EOSTokenID: end, PadTokenID: end, TieWordEmbeddings: true,
	}
}

// PrefixConfig is a network with a SigLIP whose vectors stand before the tokens of a Llama.
func PrefixConfig(words *tokenizer.Tokenizer) *model.Config {
	c := Config(Encoder(), words)
	c.Kind, c.Decoder = model.Prefix, model.GPT2Config{}
	c.Encoder.Kind, c.Encoder.HiddenAct, c.Encoder.Tower = model.SigLIP, "gelu_pytorch_tanh", true
	c.Projector = model.ProjectorConfig{HiddenAct: "gelu", Bias: true}
	c.Llama = model.LlamaConfig{VocabSize: words.VocabSize(), HiddenSize: 48, IntermediateSize: 96,
		NumHiddenLayers: 2, NumAttentionHeads: 6, NumKeyValueHeads: 2, HeadDim: 8, MaxPositionEmbeddings: 64,
		RMSNormEps: 1e-5, HiddenAct: "silu", RopeTheta: 10000}
	c.SetSpecialToken(int(words.EOS()))
	return c
}

// GPT2PrefixConfig is PrefixConfig with a GPT-2 in the Llama's place.
func GPT2PrefixConfig(words *tokenizer.Tokenizer) *model.Config {
	c := PrefixConfig(words)
	c.GPT2, c.Llama, c.Decoder = true, model.LlamaConfig{}, Config(Encoder(), words).Decoder
	c.Decoder.NPositions = 64
	c.SetSpecialToken(int(words.EOS()))
	return c
}

// Dir is Write's in a folder of the test.
func Dir(t testing.TB, dtypes ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "model")
	if err := Write(dir, dtypes...); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Lively are weights under which single bytes are never the likeliest tokens.
func Lively(c *model.Config) model.Weights {
	w := model.Init(c, 11)
	r := rand.New(rand.NewPCG(11, 1))
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
	clear(w[c.TableName()].Data[:256*c.DecoderWidth()])
	return w
}

// Pixels are those of the n-th test picture, uint8 [Side, Side, 3].
func Pixels(n int) []uint8 {
	r := rand.New(rand.NewPCG(uint64(n), 2))
	rgb := make([]uint8, Side*Side*3)
	for i := range rgb {
		rgb[i] = uint8(r.IntN(60))
	}
	for range 3 {
		x, y, size, channel := r.IntN(Side), r.IntN(Side), 4+r.IntN(Side/2), r.IntN(3)
		for dy := range min(size, Side-y) {
			for dx := range min(size, Side-x) {
				rgb[((y+dy)*Side+x+dx)*3+channel] = 255
			}
		}
	}
	return rgb
}

// Picture is the n-th test picture, of the model's size.
func Picture(n int) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, Side, Side))
	i := 0
	for c := range slices.Chunk(Pixels(n), 3) {
		m.SetNRGBA(i%Side, i/Side, color.NRGBA{c[0], c[1], c[2], 255})
		i++
	}
	return m
}

// PNG is the file of a picture.
func PNG(t testing.TB, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// WritePNG writes the file of the n-th test picture.
func WritePNG(name string, n int) error {
	var b bytes.Buffer
	if err := png.Encode(&b, Picture(n)); err != nil {
		return err
	}
	return os.WriteFile(name, b.Bytes(), 0o644)
}

// sentences are what the tokenizer is trained on, with the punctuation that a clean-up of spaces would
// change.
func sentences(yield func(string) bool) {
	for _, colour := range []string{"red", "green", "blue", "yellow"} {
		for _, shape := range []string{"circle", "square", "triangle", "star"} {
			for _, place := range []string{"on the left", "at the top , near the edge",
				"in the middle . It 's small", "behind you ! don 't look ?"} {
				if !yield("there is a " + colour + " " + shape + " " + place) {
					return
				}
			}
		}
	}
}
