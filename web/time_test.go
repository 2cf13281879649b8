package web

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"distilvit/dataset/pixels"
	"distilvit/internal/bench"
	"distilvit/internal/testenv/modeltest"
	"distilvit/model"
	"distilvit/model/onnx"
)

// times says what TestCachesOfThePictureSaveTime measures, for docs/web.md.
var times = struct {
	preset                   *string
	dtypes, devices          *string
	tokens, captions, folder *string
}{
	flag.String("time", "", "sizes that times are measured of: tiny, small or base; empty: a small model, to see that it works"),
	flag.String("time-dtypes", "q8,fp32", "dtypes that times are measured of"),
	flag.String("time-devices", "wasm1", "of wasm1, wasm4 and webgpu"),
	flag.String("time-tokens", "5", "tokens of a caption"), flag.String("time-captions", "1", "captions of each"),
	flag.String("time-folder", "", "where the model is kept; empty: a temporary folder"),
}

// timed is a line of time.mjs.
type timed struct {
	Device, Dtype, Error string
	Threads              int
	Cached               bool
	First, Further       []float64 // milliseconds
	IDs                  []int
}

func (l timed) name() string {
	return strings.TrimSuffix(fmt.Sprintf("%s, %d threads", l.Device, l.Threads), ", 0 threads")
}

// The decoder whose caches begin with the picture gives the tokens of one that projects the picture at each token, as
// optimum exports it. How much less time it takes is printed.
func TestCachesOfThePictureSaveTime(t *testing.T) {
	need(t, "node", chromium, "node_modules/playwright-core", "node_modules/onnx-proto")
	dir := *times.folder
	if dir == "" {
		dir = filepath.Join(t.TempDir(), "model")
	}
	dtypes := strings.Split(*times.dtypes, ",")
	if _, err := os.Stat(filepath.Join(dir, "config.json")); err != nil {
		writeTimed(t, dir, dtypes)
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "node", "time.mjs", "--model", dir, "--chromium", chromium, "--dtypes", *times.dtypes,
		"--devices", *times.devices, "--tokens", *times.tokens, "--captions", *times.captions)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("node time.mjs: %v\n%s%s", err, out, stderr.Bytes())
	}
	forms := map[string][]timed{}
	var order []string
	for raw := range bytes.Lines(out) {
		var l timed
		check(t, json.Unmarshal(raw, &l))
		if l.Error != "" {
			t.Errorf("%s, %s: %s", l.name(), l.Dtype, l.Error)
			continue
		}
		key := l.name() + " | " + l.Dtype
		if forms[key] == nil {
			order = append(order, key)
		}
		forms[key] = append(forms[key], l)
	}
	t.Log("| device | dtype | first token, ms | as optimum | each further | as optimum | times faster |\n|---|---|---|---|---|---|---|")
	for _, key := range order {
		if len(forms[key]) != 2 {
			t.Errorf("%s: %d forms are measured, not two", key, len(forms[key]))
			continue
		}
		ours, other := forms[key][0], forms[key][1]
		if !ours.Cached || other.Cached || len(ours.IDs) == 0 || !slices.Equal(ours.IDs, other.IDs) {
			t.Errorf("%s: tokens %v, and as optimum exports %v", key, ours.IDs, other.IDs)
		}
		further, others := middle(ours.Further), middle(other.Further)
		t.Logf("| %s | %.0f | %.0f | %.1f | %.1f | %.1f |", key, middle(ours.First), middle(other.First), further, others, others/further)
	}
	if len(order) != len(dtypes)*len(strings.Split(*times.devices, ",")) {
		t.Errorf("measured %v", order)
	}
}

// middle is the median.
func middle(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// writeTimed makes the model directory: the tests' small one, or one of a preset's sizes with random weights.
func writeTimed(t *testing.T, dir string, dtypes []string) {
	if *times.preset == "" {
		check(t, modeltest.Write(dir, dtypes...))
		return
	}
	c, ok := model.Preset(*times.preset)
	if !ok {
		t.Fatalf("-time %s: use tiny, small or base", *times.preset)
	}
	network := bench.NewNetwork(*times.preset, c, bench.Defaults(*times.preset).Model.VocabSize, 1)
	config := network.Config
	tokens, err := modeltest.Words()
	check(t, err)
	check(t, tokens.WriteDir(dir))
	check(t, pixels.NewProcessor(config.Encoder.ImageSize).WriteFile(dir))
	weights := model.Init(config, 1)
	for _, dtype := range dtypes {
		_, err := onnx.Write(dir, config, weights, dtype)
		check(t, err)
	}
	check(t, onnx.WriteConfigs(dir, config, model.GenerateOptions{MaxLength: 40}, dtypes))
}
