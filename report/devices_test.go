package report

import (
	"strings"
	"testing"

	"distilvit/artifact/record"
)

// What came of each device stands in card and report, where exports were checked on one.
func TestDevicesAreTold(t *testing.T) {
	on := func(device string, equal int, failed string) record.DeviceCheck {
		return record.DeviceCheck{Device: device, Version: "4.3.1", Pictures: 4, EqualIDs: equal, Error: failed}
	}
	list := []record.ExportCheck{
		{Dtype: "q8", Devices: []record.DeviceCheck{on("wasm", 4, ""), on("webgpu", 0, "")}},
		{Dtype: "fp16", Devices: []record.DeviceCheck{on("wasm", 3, ""), on("webgpu", 0, "no float16")}}, {Dtype: "q4"},
	}
	card := string(ModelCard(Card{Checks: list}))
	for _, want := range []string{
		"in Transformers.js 4.3.1", "| export | WebAssembly | WebGPU |\n|---|---|---|\n",
		"| q8 | ok (4 of 4) | wrong (0 of 4 captions) |\n", "| fp16 | ok (3 of 4) | does not run: no float16 |\n",
		"| q4 | not checked | not checked |\n",
	} {
		if !strings.Contains(card, want) {
			t.Errorf("the card lacks %q:\n%s", want, card)
		}
	}
	page := string(HTML(Run{Checks: list}))
	if !strings.Contains(page, "<th>in Transformers.js 4.3.1</th><th>WebAssembly</th><th>WebGPU</th>") ||
		!strings.Contains(page, "wrong (0 of 4 captions)") {
		t.Errorf("the report lacks the devices")
	}
	for i := range list {
		list[i].Devices = nil
	}
	if strings.Contains(string(ModelCard(Card{Checks: list})), "Node, and in Chromium") {
		t.Error("the card tells of a check that was not made")
	}
}
