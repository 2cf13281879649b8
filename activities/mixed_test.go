package activities

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"distilvit/artifact/record"
	"distilvit/model"
	"distilvit/model/onnx"
	"distilvit/pipeline"
	"distilvit/storage/layout"
)

// A run whose weights are rounded by what is multiplied, and that keeps the layers hurt most in 8 bits, publishes files
// within the size that it may have, and manifest, card and report say which layers those are.
func TestMixedExportIsPublished(t *testing.T) {
	b := newBench(t)
	c := tinyConfig()
	c.Export.Dtypes = []string{pipeline.DtypeQ8, pipeline.DtypeQ4}
	c.Export.Calibrate, c.Export.Damage, c.Export.Mixed, c.Export.MinEqual = 3, 4, true, 0
	dir, w := publishSmall(b, c)

	raw, err := os.ReadFile(filepath.Join(dir, layout.ManifestFile))
	check(t, err)
	var m record.ModelManifest
	check(t, json.Unmarshal(raw, &m))
	if m.Calibration == nil || m.Calibration.Pictures != 3 || len(m.Damage) != 2 || m.Damage[0].Dtype != "q8" {
		t.Fatalf("the manifest says %+v, %+v", m.Calibration, m.Damage)
	}
	for _, d := range m.Damage {
		if d.Pictures != 4 || d.Tokens < 8 || len(d.Layers) < 4 {
			t.Errorf("%s: %d pictures, %d tokens, %d layers", d.Dtype, d.Pictures, d.Tokens, len(d.Layers))
		}
		for _, l := range d.Layers {
			if !(l.KL > 0 && l.KL <= l.MaxKL && l.Bytes > 0) {
				t.Errorf("%s: %+v", d.Dtype, l)
			}
		}
	}
	q4 := m.Damage[1]
	size, err := onnx.FilesSize(dir, "q4")
	check(t, err)
	if len(q4.Kept()) == 0 || len(q4.Kept()) == len(q4.Layers) || size <= q4.PlainBytes || size > q4.MaxBytes ||
		m.Checks[1].Bytes != size || len(m.Damage[0].Kept()) != 0 {
		t.Errorf("%d of %d layers are kept: %d bytes, %d without them, %d at most", len(q4.Kept()), len(q4.Layers), size,
			q4.PlainBytes, q4.MaxBytes)
	}
	network, err := model.ReadConfig(dir)
	check(t, err)
	var kept []string
	for _, l := range q4.Kept() {
		kept = append(kept, l.Layer)
	}
	if want, err := onnx.Size(network, "q4", kept); err != nil || want != size {
		t.Errorf("%d bytes, %v with the layers that the manifest names, want %d", want, err, size)
	}
	card, err := os.ReadFile(filepath.Join(dir, cardFile))
	check(t, err)
	html, err := os.ReadFile(filepath.Join(dir, "report.html"))
	check(t, err)
	for _, name := range kept {
		if !strings.Contains(string(card), "`"+name+"`") {
			t.Errorf("the card does not name %s", name)
		}
	}
	if n := strings.Count(string(html), `<td class="n">8 bits</td>`); n != len(kept) {
		t.Errorf("the report marks %d layers, want %d", n, len(kept))
	}

	checkpoint := m.Checkpoint
	again := do[record.Export](b, b.Export, pipeline.ExportInput{
		Work: w, Checkpoint: checkpoint, Export: c.Export, MaxLength: c.Evaluate.MaxLength + 1,
	})
	if name := "onnx/decoder_model_merged_q4.onnx"; again.Files[name].SHA256 != m.Files[name].SHA256 ||
		!slices.Equal(again.Damage[1].Layers, q4.Layers) {
		t.Errorf("another export of the same weights is another: %+v", again.Damage[1].Layers)
	}

	small := c.Export
	small.MaxSizeMiB = float64(q4.PlainBytes+1000) / (1 << 20) // too little for q8
	_, err = try[record.Export](b, b.Export, pipeline.ExportInput{
		Work: w, Checkpoint: checkpoint, Export: small, MaxLength: c.Evaluate.MaxLength,
	})
	if err == nil || !strings.Contains(err.Error(), "the q8 export needs") || !strings.Contains(err.Error(), "max_size_mib") {
		t.Errorf("an export that is too large: %v", err)
	}
}
