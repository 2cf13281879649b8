// Package web holds the checks of published models in Transformers.js; its tests run them on a small model.
package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"distilvit/internal/testenv"
	"distilvit/model"
	"distilvit/model/onnx"
)

// line is a caption as `distilvit caption` and caption.mjs print it.
type line struct {
	Image    string  `json:"image"`
	Caption  string  `json:"caption"`
	TokenIDs []int32 `json:"token_ids"`
}

// Versions 3 and 4 under Node give Go's token ids: those of the Go model for fp32, those of ONNX Runtime in Go for the others.
func TestTransformersJSCaptionsAsGoDoes(t *testing.T) {
	need(t, "node", "node_modules/@huggingface/transformers", "node_modules/tjs3")
	p := publish(t)
	for _, dtype := range onnx.Dtypes() {
		out, err := exec.CommandContext(t.Context(), "node", "check.mjs", "--model", p.dir, "--expected", p.expected[dtype], "--dtypes", dtype).CombinedOutput()
		t.Logf("%s", out)
		if err != nil {
			t.Errorf("%s: %v", dtype, err)
		}
	}
}

// A check that compares with other captions fails and shows them.
func TestCheckFailsOnOtherCaptions(t *testing.T) {
	need(t, "node", "node_modules/@huggingface/transformers")
	p := publish(t)
	lines := slices.Clone(p.lines["fp32"])
	lines[3] = line{lines[3].Image, "quite another caption", []int32{1, 2, 3}}
	expected := filepath.Join(t.TempDir(), "expected.jsonl")
	if err := writeLines(expected, lines); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "node", "check.mjs", "--model", p.dir, "--expected", expected, "--versions", "4", "--dtypes", "fp32").CombinedOutput()
	if err == nil || !bytes.Contains(out, []byte("FAILED")) || !bytes.Contains(out, []byte("expected quite another caption")) {
		t.Errorf("error %v, output\n%s", err, out)
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
	if err := onnx.WriteConfigs(dir, c, maxLength, []string{"q8"}); err != nil {
		t.Fatal(err)
	}
	for _, version := range []string{"3", "4"} {
		got := run(t, "caption.mjs", "--model", dir, "--version", version, p.images[0])
		if !slices.Equal(got[0].TokenIDs, p.lines["q8"][0].TokenIDs) {
			t.Errorf("version %s: ids %v, want %v", version, got[0].TokenIDs, p.lines["q8"][0].TokenIDs)
		}
	}
}

// Chromium that can reach nothing but the model's server gives the same captions.
func TestBrowserCaptionsAsGoDoes(t *testing.T) {
	need(t, "node", "node_modules/@huggingface/transformers", "node_modules/playwright-core")
	need(t, chromium)
	p := publish(t)
	for _, dtype := range quantized {
		got := run(t, append([]string{"browser.mjs", "--model", p.dir, "--dtype", dtype, "--chromium", chromium}, p.images[:8]...)...)
		for i, want := range p.lines[dtype][:8] {
			if !slices.Equal(got[i].TokenIDs, want.TokenIDs) || got[i].Caption != strings.TrimSpace(want.Caption) {
				t.Errorf("%s, %s: %v %q, want %v %q", dtype, want.Image, got[i].TokenIDs, got[i].Caption, want.TokenIDs, want.Caption)
			}
		}
	}
}

const chromium = "/usr/bin/chromium"

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

// run runs a script and reads the captions that it prints.
func run(t *testing.T, args ...string) []line {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "node", args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("node %s: %v\n%s", args[0], err, stderr.Bytes())
	}
	var lines []line
	for _, text := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("node %s printed %q: %v", args[0], text, err)
		}
		lines = append(lines, l)
	}
	return lines
}
