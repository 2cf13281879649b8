package onnx

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"distilvit/internal/atomicfile"
	"distilvit/model"
)

func TestSameWeightsSameBytes(t *testing.T) {
	c := testConfig(32, 48)
	for _, dtype := range Dtypes() {
		first, second := export(t, c, lively(c, 1), dtype), export(t, c, lively(c, 1), dtype)
		other := export(t, c, lively(c, 2), dtype)
		for _, name := range []string{EncoderFile(dtype), DecoderFile(dtype)} {
			a, b := read(t, first, name), read(t, second, name)
			if !bytes.Equal(a, b) {
				t.Errorf("%s differs from run to run", name)
			}
			if bytes.Equal(a, read(t, other, name)) {
				t.Errorf("%s is the same for other weights", name)
			}
		}
	}
}

func TestWriteNamesFilesAsTransformersJSExpects(t *testing.T) {
	c := testConfig(32, 32)
	want := map[string][]string{
		"fp32": {"onnx/encoder_model.onnx", "onnx/decoder_model_merged.onnx"},
		"q8":   {"onnx/encoder_model_quantized.onnx", "onnx/decoder_model_merged_quantized.onnx"},
		"int8": {"onnx/encoder_model_int8.onnx", "onnx/decoder_model_merged_int8.onnx"},
		"fp16": {"onnx/encoder_model_fp16.onnx", "onnx/decoder_model_merged_fp16.onnx"},
		"q4":   {"onnx/encoder_model_q4.onnx", "onnx/decoder_model_merged_q4.onnx"},

		"q4f16": {"onnx/encoder_model_q4f16.onnx", "onnx/decoder_model_merged_q4f16.onnx"},
	}
	for dtype, names := range want {
		dir := t.TempDir()
		got, err := Write(dir, c, lively(c, 1), dtype)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, names) {
			t.Errorf("%s: files %v, want %v", dtype, got, names)
		}
		entries, err := os.ReadDir(filepath.Join(dir, Folder))
		if err != nil || len(entries) != 2 {
			t.Errorf("%s: %d files in the folder (%v), want 2 and nothing temporary", dtype,
				len(entries), err)
		}
	}
}

func TestWriteRefusesDamagedWeightsAndLeavesNothing(t *testing.T) {
	c := testConfig(32, 32)
	const name = "decoder.transformer.h.1.mlp.c_fc.weight"
	for want, damage := range map[string]func(model.Weights){
		"1 tensors missing: " + name: func(w model.Weights) { delete(w, name) },
		name + " is [3 4] instead of [32 128]": func(w model.Weights) {
			w[name] = &model.Tensor{Shape: []int{3, 4}, Data: make([]float32, 12)}
		},
		name + ": element 5 is NaN": func(w model.Weights) {
			w[name].Data[5] = float32(math.NaN())
		},
		"encoder.layernorm.bias: element 0 is +": func(w model.Weights) {
			w["encoder.layernorm.bias"].Data[0] = float32(math.Inf(1))
		},
	} {
		w, dir := lively(c, 1), t.TempDir()
		damage(w)
		if _, err := Write(dir, c, w, "q8"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
		if _, err := os.Stat(filepath.Join(dir, DecoderFile("q8"))); err == nil {
			t.Errorf("%s: a decoder was left behind", want)
		}
	}
	if _, err := Write(t.TempDir(), c, lively(c, 1), "fp8"); err == nil ||
		!strings.Contains(err.Error(), `unknown dtype "fp8"`) {
		t.Errorf("error %v of an unknown dtype", err)
	}
}

func TestUnwritableFolderLeavesNoTemporaryFile(t *testing.T) {
	c, dir := testConfig(32, 32), t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, DecoderFile("fp32"), "in the way"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Write(dir, c, lively(c, 1), "fp32"); err == nil {
		t.Fatal("a folder in the decoder's place was no error")
	}
	left, err := filepath.Glob(filepath.Join(dir, Folder, "*"+atomicfile.Partial+"*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
}

func TestConfigsNameTheSmallOnesAsDefault(t *testing.T) {
	c := testConfig(32, 32)
	for _, test := range []struct {
		dtypes       []string
		want, webgpu string
	}{
		{[]string{"fp32", "q8"}, "q8", ""}, {[]string{"q8"}, "q8", ""}, {[]string{"int8", "q8"}, "int8", ""},
		{[]string{"fp32"}, "fp32", ""}, {[]string{"fp32", "fp16"}, "fp16", ""},
		{[]string{"fp32", "fp16", "q4f16"}, "q4f16", "fp16"}, {[]string{"fp32", "q4"}, "q4", ""},
		{[]string{"fp32", "q4f16"}, "q4f16", "fp32"}, {[]string{"q4", "q8"}, "q4", ""},
		{Dtypes(), "q8", "q4"}, {nil, "", ""},
	} {
		dir := t.TempDir()
		if err := WriteConfigs(dir, c, model.GenerateOptions{MaxLength: 33}, test.dtypes); err != nil {
			t.Fatal(err)
		}
		var config struct {
			ModelType        string `json:"model_type"`
			IsEncoderDecoder bool   `json:"is_encoder_decoder"`
			Encoder          struct {
				ModelType string `json:"model_type"`
			}
			Decoder struct {
				ModelType string `json:"model_type"`
				NLayer    int    `json:"n_layer"`
				NHead     int    `json:"n_head"`
				NEmbd     int    `json:"n_embd"`
			}
			JS struct {
				Dtype   string
				Devices struct{ WebGPU struct{ Dtype string } } `json:"device_config"`
			} `json:"transformers.js_config"`
		}
		decode(t, read(t, dir, "config.json"), &config)
		if config.JS.Dtype != test.want || config.JS.Devices.WebGPU.Dtype != test.webgpu {
			t.Errorf("%v: default dtypes %+v, want %q and on WebGPU %q", test.dtypes, config.JS, test.want,
				test.webgpu)
		}
		if config.ModelType != "vision-encoder-decoder" || !config.IsEncoderDecoder ||
			config.Encoder.ModelType != "vit" ||
			config.Decoder.ModelType != "gpt2" || config.Decoder.NLayer != 3 || config.Decoder.NHead != 2 ||
			config.Decoder.NEmbd != 32 {
			t.Errorf("config.json lacks what Transformers.js reads: %+v", config)
		}
		back, err := model.ReadConfig(dir)
		if err != nil {
			t.Fatal(err)
		}
		if back.Decoder != c.Decoder || back.Encoder != c.Encoder || back.EOSTokenID != c.EOSTokenID {
			t.Errorf("config.json reads back as %+v", back)
		}
		var generation map[string]int
		decode(t, read(t, dir, "generation_config.json"), &generation)
		if generation["max_length"] != 33 || generation["num_beams"] != 1 ||
			generation["eos_token_id"] != 300 ||
			generation["decoder_start_token_id"] != 300 || generation["pad_token_id"] != 300 {
			t.Errorf("generation_config.json is %v", generation)
		}
	}
}

func read(t *testing.T, dir, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func decode(t *testing.T, b []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatal(err)
	}
}

// Size is what Write writes.
func TestSizeIsThatOfTheFiles(t *testing.T) {
	c := testConfig(32, 40)
	w := lively(c, 3)
	for _, dtype := range Dtypes() {
		want, err := FilesSize(export(t, c, w, dtype), dtype)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Size(c, dtype, nil); err != nil || got != want {
			t.Errorf("%s: %d bytes, the files have %d, %v", dtype, got, want, err)
		}
	}
}
