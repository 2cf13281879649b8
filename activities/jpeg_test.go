package activities

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"distilvit/artifact/record"
	"distilvit/dataset/pixels"
	"distilvit/pipeline"
)

// jpegs is pictures with JPEG files under the same names.
func jpegs(t *testing.T, n int) (csv, images string) {
	t.Helper()
	csv, images = pictures(t, n)
	for i := range n {
		m := image.NewRGBA(image.Rect(0, 0, 70, 50))
		for y := range 50 {
			for x := range 70 {
				m.Set(x, y, color.RGBA{uint8(x*x + i), uint8(y * 5), uint8(x * y / 3), 255})
			}
		}
		var b bytes.Buffer
		check(t, jpeg.Encode(&b, m, nil))
		check(t, os.WriteFile(filepath.Join(images, fmt.Sprintf("p%02d.png", i)), b.Bytes(), 0o644))
	}
	return csv, images
}

func TestShardsAreDecodedAsTheDatasetWasPlannedOrNotAtAll(t *testing.T) {
	b := newBench(t)
	c := folderConfig(jpegs(t, 20))
	source := do[pipeline.DownloadResult](b, b.Download, pipeline.DownloadInput{Run: "run", Source: c.Dataset[0]})
	sources := []pipeline.DownloadResult{source}
	plan := do[pipeline.Plan](b, b.PlanPrepare, pipeline.PlanInput{
		Run: "run", Sources: sources, Image: 32, Prepare: c.Prepare,
	})
	task := plan.Shards[0]
	if task.JPEG != pixels.JPEGDecoder() {
		t.Errorf("planned for %s", task.JPEG)
	}
	prepare := func(decoder string) (pipeline.PrepareShardResult, error) {
		task.JPEG = decoder
		return try[pipeline.PrepareShardResult](b, b.PrepareShard, pipeline.PrepareShardInput{
			Run: "run", Dataset: plan.Dataset, Task: task, Sources: sources, Image: 32, Prepare: c.Prepare,
		})
	}
	old, err := prepare("") // as planned before there were two
	check(t, err)
	standard, err := prepare(pixels.JPEGStandard)
	check(t, err)
	if old.Shard != standard.Shard || old.JPEGs != task.Rows {
		t.Errorf("%+v, not %+v", old, standard)
	}
	if pixels.CheckJPEGDecoder(pixels.JPEGTurbo) == nil {
		turbo, err := prepare(pixels.JPEGTurbo)
		check(t, err)
		if turbo.Shard.Object == standard.Shard.Object {
			t.Error("both decoders made the same pixels: the picture does not tell them apart")
		}
	}
	if _, err := prepare("another"); err == nil ||
		!strings.Contains(err.Error(), "another prepares this dataset's JPEG files") {
		t.Errorf("a decoder that this worker lacks: %v", err)
	}
}

func TestDatasetOfAnotherDecoderHasAnotherKeyAndSaysSo(t *testing.T) {
	proc := pixels.NewProcessor(64)
	in := pipeline.PlanInput{Sources: []pipeline.DownloadResult{
		{Source: pipeline.SourceConfig{Kind: pipeline.KindFolder}, Digest: "d"},
	}}
	keys := map[string]bool{}
	for _, decoder := range []string{"", pixels.JPEGStandard, pixels.JPEGTurbo} {
		proc.JPEG = decoder
		key, err := prepareKey(in, proc)
		check(t, err)
		keys[key] = true
	}
	if len(keys) != 2 {
		t.Errorf("%d keys of two decoders", len(keys))
	}
	for key := range keys { // the run's dataset may have been planned by a worker that was other
		in.Dataset = "datasets/" + key
		if again, decoder, err := chooseDecoder(in, proc); err != nil || again != key {
			t.Errorf("planned again as %s with %s, %v", again, decoder, err)
		}
	}
	in.Sources[0].Source.Kind = pipeline.KindShapes
	if _, got, err := chooseDecoder(in, proc); err != nil || got != pixels.JPEGStandard {
		t.Errorf("generated pictures are decoded by %s, %v", got, err)
	}

	b := newBench(t)
	for decoder, warns := range map[string]bool{pixels.JPEGStandard: true, pixels.JPEGTurbo: false} {
		proc.JPEG = decoder
		_, err := b.Store.PutJSON(t.Context(), "datasets/"+decoder+"/plan.json",
			record.PreparePlan{Pixels: pixelsOf(proc), Examples: 3})
		check(t, err)
		m, err := b.datasetManifest(t.Context(), pipeline.FinishPrepareInput{
			Dataset: "datasets/" + decoder, Shards: []pipeline.PrepareShardResult{
				{Shard: record.Shard{Split: "train", Rows: 3}, JPEGs: 3},
			},
		})
		check(t, err)
		if warned := strings.Contains(strings.Join(m.Warnings, " "), "3 JPEG pictures were decoded by Go's image/jpeg"); warned != warns {
			t.Errorf("%s: %q", decoder, m.Warnings)
		}
	}
}
