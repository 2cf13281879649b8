package model

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func tiny(t *testing.T) Config {
	t.Helper()
	c, ok := Preset("tiny")
	if !ok {
		t.Fatal("no preset tiny")
	}
	c.Decoder.VocabSize = 300
	c.SetSpecialToken(299)
	return c
}

func TestConfigSurvivesWritingAndReading(t *testing.T) {
	c := tiny(t)
	c.Decoder.NInner, c.DecoderStartTokenID = 100, 5
	dir := t.TempDir()
	if err := c.WriteFile(dir); err != nil {
		t.Fatal(err)
	}
	got, err := ReadConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(*got, c) {
		t.Errorf("got %+v instead of %+v", *got, c)
	}
}

func TestTransformersConfigIsRead(t *testing.T) {
	c, err := ReadConfig("testdata/differ")
	if err != nil {
		t.Fatal(err)
	}
	if c.Encoder.HiddenSize != 24 || c.Encoder.PatchSize != 8 || !c.Encoder.QKVBias ||
		c.Decoder.NEmbd != 16 || c.Decoder.Inner() != 32 ||
		c.Decoder.VocabSize != 40 || c.DecoderStartTokenID != 39 || c.EOSTokenID != 39 ||
		c.PadTokenID != 39 || !c.TieWordEmbeddings {
		t.Errorf("got %+v", c)
	}
}

func TestConfigMistakesNameTheValue(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"encoder.patch_size is 7; must divide image_size 64": func(c *Config) {
			c.Encoder.PatchSize = 7
		},
		"encoder.num_attention_heads is 3; must divide": func(c *Config) {
			c.Encoder.NumAttentionHeads = 3
		},
		"decoder.n_head is 0": func(c *Config) { c.Decoder.NHead = 0 },
		"decoder.n_layer is 2000000000": func(c *Config) {
			c.Decoder.NLayer = 2000000000
		},
		"encoder.hidden_act is \"silu\"; must be one of gelu, g": func(c *Config) {
			c.Encoder.HiddenAct = "silu"
		},
		"decoder.activation_function is \"silu\"": func(c *Config) {
			c.Decoder.ActivationFunction = "silu"
		},
		"eos_token_id is 300; must be from 0 to below vocab_size": func(c *Config) { c.EOSTokenID = 300 },
		"decoder.vocab_size is 0": func(c *Config) {
			c.Decoder.VocabSize = 0
		},
		"encoder.num_channels is 1; must be 3": func(c *Config) {
			c.Encoder.NumChannels = 1
		},
	} {
		c := tiny(t)
		change(&c)
		err := c.Validate()
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func TestUnsupportedArchitecturesAreRefused(t *testing.T) {
	b, err := json.Marshal(tiny(t))
	if err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string][2]string{
		`encoder.model_type is "swin"`:        {`"vit"`, `"swin"`},
		`decoder.model_type is "bert"`:        {`"gpt2"`, `"bert"`},
		`model_type is "blip"`:                {`"vision-encoder-decoder"`, `"blip"`},
		`add_cross_attention is false`:        {`"add_cross_attention":true`, `"add_cross_attention":false`},
		`size [64,32] is not square`:          {`"image_size":64`, `"image_size":[64,32]`},
		`cannot unmarshal string into Go str`: {`"n_layer":3`, `"n_layer":"three"`},
	} {
		changed := strings.Replace(string(b), change[0], change[1], 1)
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(changed), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadConfig(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	if _, err := ReadConfig(t.TempDir()); err == nil || !strings.Contains(err.Error(), "has no config.json") {
		t.Errorf("empty directory: %v", err)
	}
}

func TestPresets(t *testing.T) {
	base, _ := Preset("base")
	if err := base.Validate(); err != nil {
		t.Error(err)
	}
	parameters := 0
	for _, shape := range base.Shapes() {
		parameters += elements(shape)
	}
	// ViT-base without pooler, DistilGPT2, and six cross-attentions with their norms
	if want := 85_798_656 + 81_912_576 + 6*(4*768*768+4*768+2*768); parameters != want {
		t.Errorf("base has %d parameters instead of %d", parameters, want)
	}
	for _, name := range []string{"tiny", "small"} {
		c, _ := Preset(name)
		c.Decoder.VocabSize = 400
		c.SetSpecialToken(399)
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, ok := Preset("huge"); ok {
		t.Error("there is a preset huge")
	}
}

// What Python writes for a number of no use here is no reason to refuse a model.
func TestConfigMayHoldPythonsInfinity(t *testing.T) {
	dir := t.TempDir()
	b, err := os.ReadFile(filepath.Join("testdata", "same", "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	b = bytes.Replace(b, []byte("{"), []byte(`{"unused": [Infinity, -Infinity, NaN],`), 1)
	if err := os.WriteFile(filepath.Join(dir, "config.json"), b, 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := ReadConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	want, err := ReadConfig(filepath.Join("testdata", "same"))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
}
