package onnx

import (
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"distilvit/model"
)

// What stands below llava is the same captioner, and lengths there count what follows the picture.
func TestConfigsForPythonAreTheSameCaptioner(t *testing.T) {
	c, err := model.ReadConfig("../testdata/llava/siglip")
	if err != nil {
		t.Fatal(err)
	}
	o := model.GenerateOptions{MaxLength: 12, MinLength: 3, NoRepeatNGramSize: 2}
	dir := t.TempDir()
	names, err := WriteLlava(dir, c, o)
	if want := []string{"llava/config.json", "llava/generation_config.json"}; err != nil || !slices.Equal(names, want) {
		t.Fatalf("wrote %v, %v", names, err)
	}
	got, err := model.ReadConfig(filepath.Join(dir, LlavaFolder))
	if err != nil || !reflect.DeepEqual(got, c) {
		t.Errorf("got %+v, %v instead of %+v", got, err, c)
	}
	back, err := model.ReadGenerate(filepath.Join(dir, LlavaFolder))
	if err != nil || back.MaxLength != o.MaxLength || back.MinLength != o.MinLength || back.NoRepeatNGramSize != 2 ||
		!slices.Equal(back.Ends(c), []int32{39}) {
		t.Errorf("got %+v, %v", back, err)
	}
	other, _ := model.Preset("tiny")
	if names, err := WriteLlava(dir, &other, o); err != nil || names != nil {
		t.Errorf("of cross-attention %v, %v", names, err)
	}
}
