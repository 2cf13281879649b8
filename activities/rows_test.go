package activities

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"distilvit/dataset"
	"distilvit/dataset/pixels"
	"distilvit/pipeline"
	"distilvit/pipeline/sources"
)

// twoSources is a dataset of a folder without splits, of every format of pictures but
// JPEG and one file that is none, and of Parquet rows with splits of their own.
func twoSources(t *testing.T) pipeline.Config {
	t.Helper()
	dir := t.TempDir()
	images := filepath.Join(dir, "images")
	check(t, os.Mkdir(images, 0o755))
	var lines bytes.Buffer
	lines.WriteString("image,caption\n")
	for i, name := range []string{
		"bilevel.png", "bilevel.tiff", "exif3.webp", "exif5.png", "exif6.png", "exif8.png", "first.gif",
		"grey.bmp", "grey.gif", "grey16.tiff",
		"grey_alpha.png", "interlaced.gif", "lossless_alpha.webp", "lossy_45x33.webp", "lossy_alpha.webp",
		"lzw.tiff", "offset.gif",
		"palette.bmp", "palette.png", "rgb16.png", "rgb_large.png", "rgb_odd.png", "rgba.bmp", "rgba16.png",
		"text.png", "turned.tiff",
	} {
		content := []byte("this is text, not a picture")
		if name != "text.png" {
			var err error
			content, err = os.ReadFile(filepath.Join("../dataset/pixels/testdata", name))
			check(t, err)
		}
		check(t, os.WriteFile(filepath.Join(images, name), content, 0o644))
		fmt.Fprintf(&lines, "%s,picture %d of the folder\n%s,it is called %s\n", name, i, name, name)
	}
	csv := filepath.Join(dir, "captions.csv")
	check(t, os.WriteFile(csv, lines.Bytes(), 0o644))
	c := folderConfig(csv, images)
	c.Dataset = append(c.Dataset, pipeline.SourceConfig{
		Kind: pipeline.KindParquet, Files: pipeline.Paths{"../dataset/testdata/parquet/hf_list.parquet"},
		SplitColumn: "split",
	})
	c.Prepare.ShardRows, c.Prepare.MaxBadFraction = 7, 0.5
	return c
}

// Every stored byte of a prepared dataset and its tokens, once and for all: what was
// prepared by an older program is found by the names that this one makes. The reason why a
// picture is bad is a text for people: where that changes, so do the list of bad pictures
// and the manifest that names it, and nothing else may.
func TestBytesOfAPreparedDatasetStay(t *testing.T) {
	b := newBench(t)
	b.work("run", twoSources(t))
	var all strings.Builder
	for _, prefix := range []string{"datasets/", "tokens/"} {
		for _, key := range b.keys(prefix) {
			sum := sha256.Sum256([]byte(b.text(prefix + key)))
			fmt.Fprintln(&all, prefix+key, hex.EncodeToString(sum[:]))
		}
	}
	want := map[string]string{ // by the decoder of JPEG files, which is a part of the key
		pixels.JPEGStandard: "219c8a3404949d8f42d57cc911f9de00e6a26782e8abe7c51cd4d4b4774f7275",
		pixels.JPEGTurbo:    "4b22d7f1f479b5307c73c278cb591da57eb74cbf74e272fc17ed8fdfadcdc1ec",
	}[pixels.JPEGDecoder()]
	sum := sha256.Sum256([]byte(all.String()))
	if got := hex.EncodeToString(sum[:]); got != want {
		t.Errorf("%s, not %s:\n%s", got, want, all.String())
	}
}

// evaluate and compare read files of this machine where a run reads the object store:
// both must see the same examples in the same splits and order, and make the same rows.
func TestARunsExamplesAreThoseOfLocalFiles(t *testing.T) {
	b := newBench(t)
	c := twoSources(t)
	var stored []pipeline.DownloadResult
	for i, s := range c.Dataset {
		stored = append(stored, do[pipeline.DownloadResult](
			b, b.Download, pipeline.DownloadInput{Run: "run", Index: i, Source: s},
		))
	}
	plan := do[pipeline.Plan](b, b.PlanPrepare, pipeline.PlanInput{
		Run: "run", Sources: stored, Image: c.Model.ImageSize, Prepare: c.Prepare, Seed: c.Seed,
	})
	planned, prepared := map[string][]dataset.Example{}, map[string][]string{}
	for _, task := range plan.Shards {
		raw, err := b.Store.GetBytes(t.Context(), task.Work)
		check(t, err)
		var work []dataset.Example
		check(t, json.Unmarshal(raw, &work))
		planned[task.Split] = append(planned[task.Split], work...)
		shard := do[pipeline.PrepareShardResult](b, b.PrepareShard, pipeline.PrepareShardInput{
			Run: "run", Dataset: plan.Dataset, Task: task, Sources: stored, Image: c.Model.ImageSize,
			Prepare: c.Prepare,
		}).Shard
		r, err := b.Store.VerifiedReaderAt(t.Context(), shard.Object)
		check(t, err)
		defer r.Close()
		s, err := dataset.OpenShard(r, r.Size())
		check(t, err)
		for row, err := range s.Rows() {
			check(t, err)
			prepared[task.Split] = append(prepared[task.Split], rowText(row))
		}
	}

	local, err := sources.Local{Dir: t.TempDir()}.Open(t.Context(), c.Dataset, c.Prepare)
	check(t, err)
	list, err := dataset.Catalog(t.Context(), t.TempDir(), local, c.Seed)
	check(t, err)
	defer list.Close()
	reader, err := dataset.NewReader(local, pixels.NewProcessor(c.Model.ImageSize))
	check(t, err)
	defer reader.Close()
	for _, split := range []string{dataset.Train, dataset.Validation, dataset.Test} {
		examples, err := list.Examples(list.Split(split))
		check(t, err)
		if len(examples) == 0 || !reflect.DeepEqual(examples, planned[split]) {
			t.Errorf("%s: local files have %+v, the run %+v", split, examples, planned[split])
		}
		var rows []string
		for _, e := range examples {
			row, err := reader.Row(t.Context(), e)
			if bad := (*dataset.Bad)(nil); errors.As(err, &bad) {
				continue
			}
			check(t, err)
			rows = append(rows, rowText(row))
		}
		if !slices.Equal(rows, prepared[split]) {
			t.Errorf("%s: local files make other rows than the run", split)
		}
	}
}

func rowText(r dataset.Row) string {
	return fmt.Sprintf("%s %s %q %x", r.ID, r.Group, r.Captions, sha256.Sum256(r.Pixels))
}
