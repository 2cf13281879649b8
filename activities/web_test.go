package activities

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"distilvit/artifact"
	"distilvit/artifact/record"
	"distilvit/internal/testenv"
	"distilvit/internal/transformersjs"
	"distilvit/pipeline"
	"distilvit/storage/layout"
)

// What exports do in Transformers.js stands in manifest and card, and what is required and cannot be checked is
// refused before anything is trained.
func TestExportsAreCheckedInTransformersJS(t *testing.T) {
	node, modules := testenv.Tool(t, "node"), filepath.Join(testenv.Root(), "web", "node_modules")
	if _, err := os.Stat(modules); err != nil {
		testenv.Without(t, err)
	}
	b := newBench(t)
	b.FindWeb = func() (transformersjs.Runner, error) {
		return transformersjs.Runner{Library: transformersjs.In(modules, "4.3.1"), Node: node}, nil
	}
	c := tinyConfig()
	c.Export.Require = []string{record.DeviceWebGPU}
	_, err := try[pipeline.PreflightResult](b, b.Preflight, pipeline.PreflightInput{Run: "other", Config: c})
	wantType(t, err, pipeline.InvalidInput, "webgpu cannot be checked here")

	c.Export.Require = []string{record.DeviceNode}
	dir, _ := publishSmall(b, c)
	raw, err := os.ReadFile(filepath.Join(dir, layout.ManifestFile))
	check(t, err)
	var m record.ModelManifest
	check(t, json.Unmarshal(raw, &m))
	for _, c := range m.Checks {
		if len(c.Devices) != 1 || !c.Devices[0].Right() || c.Devices[0].Pictures != 4 || c.Devices[0].Version != "4.3.1" {
			t.Errorf("%s: %+v", c.Dtype, c.Devices)
		}
	}
	card, err := os.ReadFile(filepath.Join(dir, cardFile))
	check(t, err)
	if !strings.Contains(string(card), "| export | Node |\n|---|---|\n| fp32 | ok (4 of 4) |\n") {
		t.Errorf("the card is silent:\n%s", card)
	}

	no := false
	if web, _, err := b.web(pipeline.ExportConfig{CheckWeb: &no}); web != nil || err != nil {
		t.Errorf("checked although the config says no: %v, %v", web, err)
	}
	b.FindWeb = func() (transformersjs.Runner, error) { return transformersjs.Runner{}, os.ErrNotExist }
	if web, _, err := b.web(pipeline.ExportConfig{}); web != nil || err != nil {
		t.Errorf("what nobody asks for is %v, %v where nothing is found", web, err)
	}
	yes := true
	if _, _, err := b.web(pipeline.ExportConfig{CheckWeb: &yes}); err == nil {
		t.Error("a check that is asked for and cannot be made is no error")
	}
}

// A browser that is named and is not there is said by preflight, and does not end the check under Node.
func TestABrowserThatIsNotThereIsAWarningOfTheRun(t *testing.T) {
	b := newBench(t)
	b.FindWeb = func() (transformersjs.Runner, error) {
		_, err := transformersjs.Find(t.TempDir(), "/no/such/chromium")
		return transformersjs.Runner{Library: transformersjs.Library{Module: "any", Version: "4.3.1"}, Node: "node"}, err
	}
	pre, err := try[pipeline.PreflightResult](b, b.Preflight, pipeline.PreflightInput{Run: "other", Config: tinyConfig()})
	check(t, err)
	if !slices.ContainsFunc(pre.Warnings, func(w string) bool {
		return strings.Contains(w, "DISTILVIT_CHROMIUM") && strings.Contains(w, "/no/such/chromium")
	}) {
		t.Errorf("warnings are %q", pre.Warnings)
	}
	web, _, err := b.web(tinyConfig().Export)
	if err != nil || web == nil || !slices.Equal(web.Devices(), []string{record.DeviceNode}) {
		t.Errorf("checked in %+v, %v", web, err)
	}
}

// Two attempts whose browsers disagree leave one export, the first; one that names files that are gone is no export.
func TestExportThatWasFirstCountsUnlessItsFilesAreGone(t *testing.T) {
	b := newBench(t)
	ctx := t.Context()
	export := func(name string) record.Export {
		o, err := b.Store.PutBytes(ctx, "runs/r/blobs/"+name, []byte(name))
		check(t, err)
		return record.Export{Files: map[string]layout.Object{"onnx/model.onnx": o}, Checks: []record.ExportCheck{{Dtype: name}}}
	}
	const key = "runs/r/exports/k.json"
	first, second := export("first"), export("second")
	for _, step := range []struct {
		publish, want record.Export
		lose          string
	}{
		{first, first, ""},
		{second, first, ""},
		{second, second, first.Files["onnx/model.onnx"].Key},
	} {
		if step.lose != "" {
			check(t, b.Store.Remove(ctx, step.lose))
		}
		got, err := b.publishExport(ctx, key, step.publish, true)
		check(t, err)
		stored, err := artifact.FindExport(ctx, b.Store, key)
		check(t, err)
		if got.Checks[0].Dtype != step.want.Checks[0].Dtype ||
			stored == nil || stored.Checks[0].Dtype != step.want.Checks[0].Dtype {
			t.Errorf("published %+v, stored %+v, want %+v", got, stored, step.want)
		}
	}
	if _, err := b.publishExport(ctx, key, first, false); kindOf(err) != pipeline.Nondeterministic {
		t.Errorf("where no browser had a say, other bytes are %v", err)
	}
}
