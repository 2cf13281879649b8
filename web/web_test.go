// Package web holds the checks of published models in Transformers.js; its tests run them on a small model.
package web

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"distilvit/artifact/record"
	"distilvit/internal/testenv"
	"distilvit/internal/transformersjs"
	"distilvit/model"
	"distilvit/model/onnx"
	"distilvit/report"
)

type line = transformersjs.Line

// Encoders of every kind caption under Node as in Go: in TestMatrix is the one that it leaves out.
func TestOtherEncodersCaptionAsInGo(t *testing.T) {
	need(t, "node", "node_modules/@huggingface/transformers", "node_modules/tjs3")
	for _, kind := range []model.EncoderKind{model.SigLIP, model.CLIP, model.DINOv2} {
		p := publishKind(t, kind)
		for _, version := range []string{"3", "4"} {
			got := p.run(t, version, record.DeviceNode)
			for _, dtype := range onnx.Dtypes() {
				if same := p.compare(t, dtype, got[dtype]); same < len(p.images) {
					t.Errorf("%s, version %s, %s: %d of %d captions are Go's", filepath.Base(p.folder), version,
						dtype, same, len(p.images))
				}
			}
		}
	}
}

// The Python example of the card gives Go's captions in transformers 5 for every kind of encoder.
func TestCardsPythonExampleCaptionsAsGoDoes(t *testing.T) {
	python, card := testenv.Transformers5(t), report.ModelCard(report.Card{})
	for _, kind := range []model.EncoderKind{model.ViT, model.DeiT, model.SigLIP, model.CLIP, model.DINOv2} {
		wantExampleToCaption(t, python, card, publishKind(t, kind))
	}
	for _, p := range []*published{publishPrefix(t), publishGPT2Prefix(t)} {
		wantExampleToCaption(t, python, report.ModelCard(report.Card{
			Prefix: p.config.PrefixLength(), StartTokenID: p.config.DecoderStartTokenID,
		}), p)
	}
}

func wantExampleToCaption(t *testing.T, python string, card []byte, p *published) {
	t.Helper()
	said := testenv.RunCardExample(t, python, card, p.dir, p.images)
	for i, l := range p.lines["fp32"] {
		if said[i] != l.Caption {
			t.Errorf("%s, picture %d: %q, want %q", filepath.Base(p.folder), i, said[i], l.Caption)
		}
	}
}

// A directory without fp32 loads without saying a dtype, because its config.json names q8.
func TestQuantizedOnlyDirectoryLoadsByDefault(t *testing.T) {
	need(t, "node", "node_modules/@huggingface/transformers", "node_modules/tjs3")
	p := publish(t)
	dir := filepath.Join(t.TempDir(), "model")
	if err := os.CopyFS(dir, os.DirFS(p.dir)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{onnx.EncoderFile("fp32"), onnx.DecoderFile("fp32")} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	c, err := model.ReadConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := onnx.WriteConfigs(dir, c, model.GenerateOptions{MaxLength: maxLength}, []string{"q8"}); err != nil {
		t.Fatal(err)
	}
	for _, version := range []string{"3", "4"} {
		got := run(t, version, record.DeviceNode, []string{dir}, transformersjs.Work{Images: p.images[:1]})
		if !slices.Equal(got[0].TokenIDs, p.lines["q8"][0].TokenIDs) {
			t.Errorf("version %s: ids %v, want %v", version, got[0].TokenIDs, p.lines["q8"][0].TokenIDs)
		}
	}
}

const (
	chromium = "/usr/bin/chromium"
	firefox  = "/usr/bin/firefox-esr"
)

// need skips where a program or package is not installed, but not in CI.
func need(t *testing.T, things ...string) {
	t.Helper()
	for _, thing := range things {
		_, err := exec.LookPath(thing)
		if strings.HasPrefix(thing, "node_modules/") {
			_, err = os.Stat(thing)
		}
		if err != nil {
			testenv.Without(t, fmt.Sprintf("%v (npm ci in web/ installs the packages)", err))
		}
	}
}

// libraries are the versions of Transformers.js that the tests run.
func libraries(t *testing.T) map[string]transformersjs.Library {
	t.Helper()
	modules, err := filepath.Abs("node_modules")
	check(t, err)
	old := func(version, name, module string) transformersjs.Library {
		dist := filepath.Join(modules, name, "dist")
		return transformersjs.Library{
			Version: version, Module: filepath.Join(modules, name, module), Script: dist, Wasm: dist,
		}
	}
	return map[string]transformersjs.Library{
		"2": old("2", "tjs2", "src/transformers.js"), "3": old("3", "tjs3", "dist/transformers.node.mjs"),
		"4": transformersjs.In(modules, "4"),
	}
}

// run captions work with models in a version of Transformers.js on a device.
func run(t *testing.T, version, device string, models []string, work ...transformersjs.Work) (lines []line) {
	t.Helper()
	r := transformersjs.Runner{Library: libraries(t)[version], Node: "node", Chromium: chromium}
	err := r.Captions(t.Context(), device, models, work, func(l line) { lines = append(lines, l) })
	if err != nil {
		t.Fatalf("version %s, %s: %v", version, device, err)
	}
	return lines
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
