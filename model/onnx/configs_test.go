package onnx

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"distilvit/artifact/record"
)

// checks are those of dtypes, which are wrong on these devices.
func checks(wrong map[string][]string, dtypes ...string) []record.ExportCheck {
	var list []record.ExportCheck
	for _, dtype := range dtypes {
		c := record.ExportCheck{Dtype: dtype}
		for _, device := range []string{record.DeviceNode, record.DeviceWasm, record.DeviceWebGPU} {
			d := record.DeviceCheck{Device: device, Pictures: 4, EqualIDs: 4}
			for _, w := range wrong[dtype] {
				if w == device {
					d.EqualIDs = 1
				}
			}
			c.Devices = append(c.Devices, d)
		}
		list = append(list, c)
	}
	return list
}

// config.json names another dtype for the device that one is wrong on, and is left alone where none is.
func TestRecommendPassesOverWhatIsWrong(t *testing.T) {
	dtypes := []string{"fp32", "q8", "q4"}
	for name, c := range map[string]struct {
		wrong             map[string][]string
		processor, webgpu string
	}{
		"nothing":          {nil, "q8", "q4"},
		"q4 on WebGPU":     {map[string][]string{"q4": {"webgpu"}}, "q8", "q8"},
		"q8 in a page":     {map[string][]string{"q8": {"wasm"}}, "q4", "q4"},
		"fp32, not named":  {map[string][]string{"fp32": {"node", "webgpu"}}, "q8", "q4"},
		"all on WebGPU":    {map[string][]string{"fp32": {"webgpu"}, "q8": {"webgpu"}, "q4": {"webgpu"}}, "q8", "q4"},
		"all but the last": {map[string][]string{"q8": {"webgpu"}, "q4": {"webgpu", "node"}}, "q8", "fp32"},
	} {
		dir := t.TempDir()
		if err := WriteConfigs(dir, testConfig(32, 32), greedy, dtypes); err != nil {
			t.Fatal(err)
		}
		before, err := os.ReadFile(filepath.Join(dir, "config.json"))
		if err != nil {
			t.Fatal(err)
		}
		changed, err := Recommend(dir, checks(c.wrong, dtypes...))
		if err != nil {
			t.Fatal(err)
		}
		after, err := os.ReadFile(filepath.Join(dir, "config.json"))
		if err != nil || changed != (string(after) != string(before)) {
			t.Errorf("%s: says that it changed the file: %v, %v", name, changed, err)
		}
		var got struct {
			Defaults struct {
				Dtype  string
				Device map[string]struct{ Dtype string } `json:"device_config"`
			} `json:"transformers.js_config"`
		}
		if err := json.Unmarshal(after, &got); err != nil {
			t.Fatal(err)
		}
		webgpu := got.Defaults.Device["webgpu"].Dtype
		if webgpu == "" {
			webgpu = got.Defaults.Dtype
		}
		if got.Defaults.Dtype != c.processor || webgpu != c.webgpu {
			t.Errorf("%s: names %s and on WebGPU %s, want %s and %s", name, got.Defaults.Dtype, webgpu, c.processor, c.webgpu)
		}
		if want := c.processor != "q8" || c.webgpu != "q4"; changed != want {
			t.Errorf("%s: changed %v", name, changed)
		}
	}
}
