package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"distilvit/dataset"
	"distilvit/dataset/pixels"
	"distilvit/hub"
	"distilvit/hub/hubtest"
	"distilvit/model"
	"distilvit/model/tokenizer"
)

// openExamples is openDataset without the hub.
func openExamples(t *testing.T, f datasetFlags) (*examples, string, error) {
	t.Helper()
	var said bytes.Buffer
	a := &app{stderr: &said, env: environment(map[string]string{})}
	e, err := a.openDataset(t.Context(), f, 64, newProgress(a.stderr))
	if err == nil {
		t.Cleanup(e.close)
	}
	return e, said.String(), err
}

// all reads the examples that are taken.
func (e *examples) all(t *testing.T) []dataset.Example {
	t.Helper()
	list, err := e.catalogue.Examples(e.numbers)
	require.NoError(t, err)
	return list
}

func (e *examples) ids(t *testing.T) []string {
	t.Helper()
	var ids []string
	for _, x := range e.all(t) {
		ids = append(ids, x.ID)
	}
	return ids
}

// canBeRead makes pixels of an example's picture.
func (e *examples) canBeRead(t *testing.T, x dataset.Example) {
	t.Helper()
	r, err := e.reader(pixels.NewProcessor(8))
	require.NoError(t, err)
	defer r.Close()
	row, err := r.Row(t.Context(), x)
	require.NoError(t, err)
	require.Len(t, row.Pixels, 3*8*8)
}

func TestParquetFilesAreADatasetOfTheCommandLine(t *testing.T) {
	file, err := filepath.Abs("../../dataset/testdata/parquet/hf_list.parquet")
	require.NoError(t, err)
	e, _, err := openExamples(t, datasetFlags{name: "parquet:" + file})
	require.NoError(t, err)
	require.Len(t, e.numbers, 11, "without splits all are taken")
	e.canBeRead(t, e.all(t)[10])

	config := write(
		t, t.TempDir(), "d.yaml", "dataset: [{kind: parquet, files: "+file+", split_column: split}]",
	)
	v, _, err := openExamples(t, datasetFlags{name: config, split: "validation"})
	require.NoError(t, err)
	require.Len(t, v.numbers, 3)
	require.Equal(t, []string{"picture 1, told once.", "picture 1, told twice."}, v.all(t)[0].Captions)

	for text, want := range map[string]string{
		"parquet:": "use parquet:FILES",
		"parquet:https://x.org/a.parquet": "files https://x.org/a.parquet: only local files and " +
			"the Hugging Face hub are read here",
		"parquet:none*.parquet": "no file fits this pattern",
	} {
		_, _, err := openExamples(t, datasetFlags{name: text})
		require.ErrorContains(t, err, want)
		var usage *usageError
		require.ErrorAs(t, err, &usage, text)
	}
}

func TestKarpathysSplitsAreEvaluatedByName(t *testing.T) {
	const dir = "../../dataset/testdata/captions/"
	for split, want := range map[string]int{"train": 3, "validation": 1, "test": 1, "": 1} {
		e, _, err := openExamples(t, datasetFlags{
			name:  "karpathy:" + dir + "dataset_coco.json," + dir + "train2014.zip," + dir + "val2014.zip",
			split: split,
		})
		require.NoError(t, err)
		require.Len(t, e.numbers, want, split)
	}
	file := write(t, t.TempDir(), "d.yaml", "dataset: [{kind: coco, split: test, captions: "+
		"annotations_trainval2017.zip#annotations/captions_train2017.json, images: train2017.zip}]")
	t.Chdir(dir)
	e, _, err := openExamples(t, datasetFlags{name: file})
	require.NoError(t, err)
	require.Len(t, e.numbers, 3, "a captions file in a zip")
}

// writeFolder makes a source of kind folder of n pictures, the first of which is none.
func writeFolder(t *testing.T, n int) (captions, images string) {
	t.Helper()
	dir := t.TempDir()
	images = filepath.Join(dir, "images")
	require.NoError(t, os.Mkdir(images, 0o755))
	lines := "image,caption\n"
	for i := range n {
		raw, err := pixels.EncodePNG(bytes.Repeat([]byte{uint8(i)}, 3*6*4), 6, 4)
		require.NoError(t, err)
		if i == 0 {
			raw = []byte("text")
		}
		name := fmt.Sprintf("%02d.png", i)
		write(t, images, name, string(raw))
		lines += name + ",picture " + name + "\n"
	}
	return write(t, dir, "c.csv", lines), images
}

func TestALimitTakesOfEverySourceAsARunDoes(t *testing.T) {
	large, images := writeFolder(t, 30)
	small, others := writeFolder(t, 10)
	file := write(
		t, t.TempDir(), "d.yaml",
		fmt.Sprintf("dataset:\n- {kind: folder, split: test, captions: %s, images: %s}\n- {kind: folder, "+
			"split: test, captions: %s, images: %s}\n", large, images, small, others),
	)
	e, _, err := openExamples(t, datasetFlags{name: file, limit: 8})
	require.NoError(t, err)
	require.Equal(t, []string{
		"0/00.png", "0/01.png", "1/00.png", "0/02.png", "0/03.png", "0/04.png", "1/01.png", "0/05.png",
	}, e.ids(t))

	whole, _, err := openExamples(t, datasetFlags{name: file})
	require.NoError(t, err)
	require.Len(t, whole.numbers, 40)
	require.Equal(t, e.ids(t), whole.ids(t)[:8])

	dir := t.TempDir()
	pairs, tally, err := whole.writeShards(
		t.Context(), dir, pixels.NewProcessor(8), func(string) []int32 { return []int32{1} }, func(int) {},
	)
	require.NoError(t, err)
	require.Len(t, pairs, 1)
	require.Equal(t, 38, pairs[0].Rows)
	require.Equal(t, 38, tally.Rows)
	require.Equal(t, []string{"0/00.png", "1/00.png"}, []string{tally.Bad[0].ID, tally.Bad[1].ID})

	said := new(bytes.Buffer)
	read, err := e.readable(t.Context(), pixels.NewProcessor(8), func(int) {})
	require.NoError(t, err)
	e.tell(newProgress(said), read)
	require.Contains(
		t, said.String(), "warning: 2 of 8 pictures are left out; the first: 0/00.png: picture: not JPEG",
	)
	require.Len(t, e.list, 6)
	require.Equal(t, "0/01.png", e.list[0].ID)
}

// A picture that a run with prepare.exif_orientation would turn is not taken as it lies without a word.
func TestPicturesThatLieAreSaid(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "c.csv", "image,caption\n6.png,a scene\n6-upright.png,a scene\n")
	turned, err := filepath.Abs("testdata/turned")
	require.NoError(t, err)
	config := fmt.Sprintf("dataset: [{captions: c.csv, images: '%s', split: test}]\n", turned)
	for prepare, want := range map[string]string{
		"":                                    "warning: 1 pictures say in an EXIF tag that they lie on their side, and are not turned",
		"prepare: {exif_orientation: true}\n": "",
	} {
		a := &app{stderr: io.Discard, env: environment(nil)}
		said := new(bytes.Buffer)
		p := newProgress(said)
		e, err := a.openDataset(t.Context(), datasetFlags{name: write(t, dir, "c.yaml", config+prepare)}, 8, newProgress(io.Discard))
		require.NoError(t, err)
		defer e.close()
		tally, err := e.readable(t.Context(), pixels.NewProcessor(8), func(int) {})
		require.NoError(t, err)
		require.Equal(t, 2, tally.Rows)
		e.tell(p, tally)
		require.Contains(t, said.String(), want)
		require.Equal(t, want == "", said.Len() == 0)
	}
}

func TestAConfigIsEvaluatedInTheSplitsOfItsRun(t *testing.T) {
	captions, images := writeFolder(t, 40)
	file := write(t, t.TempDir(), "d.yaml", fmt.Sprintf("dataset: [{kind: folder, captions: %s, images: "+
		"%s}]\nprepare: {validation_fraction: 0.2, test_fraction: 0.3}\n", captions, images))
	var all []string
	for _, split := range []string{"train", "validation", "test"} {
		e, said, err := openExamples(t, datasetFlags{name: file, split: split})
		require.NoError(t, err)
		require.Contains(t, said, "dataset[0] has no splits: its "+split+" pictures are those that a run "+
			"takes for it (prepare.validation_fraction 0.2, test_fraction 0.3)")
		all = append(all, e.ids(t)...)
		if split == "test" {
			unsaid, _, err := openExamples(t, datasetFlags{name: file})
			require.NoError(t, err)
			require.Equal(t, e.ids(t), unsaid.ids(t))
		}
	}
	slices.Sort(all)
	require.Len(t, slices.Compact(all), 40)

	named := "folder:" + captions + "," + images
	whole, said, err := openExamples(t, datasetFlags{name: named})
	require.NoError(t, err)
	require.Len(t, whole.numbers, 40)
	require.Empty(t, said)
	held, _, err := openExamples(t, datasetFlags{name: named, split: "train"})
	require.NoError(t, err)
	require.Less(t, len(held.numbers), 40)
}

func TestDatasetsOfTheHubAreEvaluated(t *testing.T) {
	rows, err := os.ReadFile("../../dataset/testdata/parquet/hf_list.parquet")
	require.NoError(t, err)
	s := hubtest.Start(t)
	s.Put(hub.Dataset, "org/pictures", map[string]hubtest.File{
		"data/test-00000-of-00001.parquet": {Data: rows, Large: true},
		"data/text.parquet":                {Data: []byte("no Parquet")},
	})
	env := map[string]string{"HF_ENDPOINT": s.URL, "HF_HOME": t.TempDir()}
	a := &app{stderr: new(bytes.Buffer), env: environment(env)}
	open := func(f datasetFlags) (*examples, error) {
		return a.openDataset(t.Context(), f, 64, newProgress(a.stderr))
	}
	const name = "parquet:hf:datasets/org/pictures/data/test-*.parquet"
	e, err := open(datasetFlags{name: name})
	require.NoError(t, err)
	defer e.close()
	require.Len(t, e.numbers, 11)
	require.Len(t, e.all(t)[10].Captions, 2)
	e.canBeRead(t, e.all(t)[10])

	seed, err := open(datasetFlags{name: name, compat: "seed", limit: 3})
	require.NoError(t, err)
	defer seed.close()
	require.Len(t, seed.numbers, 3)
	require.Len(t, seed.all(t)[2].Captions, 1)

	env["HF_ENDPOINT"], env["HF_HUB_OFFLINE"] = "http://127.0.0.1:1", "1"
	cached, err := open(datasetFlags{name: name})
	require.NoError(t, err)
	defer cached.close()
	env["HF_ENDPOINT"], env["HF_HUB_OFFLINE"] = s.URL, ""
	file := write(t, t.TempDir(), "d.yaml", "dataset: [{kind: parquet, files: hf:datasets/org/pictures@v1}]")
	keep := write(
		t, t.TempDir(), "d.yaml", "dataset: [{kind: parquet, files: a.parquet, clean: {keep: last}}]",
	)
	for name, says := range map[string]string{
		"parquet:hf:datasets/org/none": "has no dataset org/none, or it is private",
		"parquet:hf:datasets/org/pictures/data/x-*": "it has no file that fits data/x-*; it has " +
			"data/test-00000-of-00001.parquet, data/text.parquet",
		"parquet:hf:datasets/org/pictures/data/text.parquet": "text.parquet",
		"parquet:hf:org/pictures":                            "names no dataset of the Hugging Face hub",
		"parquet:hf:datasets/org/pictures@/x":                "no revision after the @",

		file: "no revision v1",
		keep: `dataset[0].clean.keep: is "last"; must be one of all, first`,
	} {
		_, err := open(datasetFlags{name: name})
		require.ErrorContains(t, err, says, name)
	}
}

func TestShardedWeightsAreCompared(t *testing.T) {
	const dir = "../../model/testdata/variants/sharded"
	list, err := contendersOf([]string{dir}, compareOptions{models: []string{"m"}})
	require.NoError(t, err)
	var size int64
	for _, name := range []string{"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"} {
		info, err := os.Stat(dir + "/" + name)
		require.NoError(t, err)
		size += info.Size()
	}
	require.Len(t, list, 1)
	require.Equal(t, weightsForm, list[0].Form)
	require.Equal(t, size, list[0].Bytes)
	_, err = contendersOf(
		[]string{t.TempDir()}, compareOptions{models: []string{"m"}, forms: []string{"weights"}},
	)
	require.ErrorContains(t, err, "MODEL m has no weights: ")
}

func TestCompatSeedNeedsThePositionsItPadsTo(t *testing.T) {
	words, err := tokenizer.Load("../../model/testdata/seed")
	require.NoError(t, err)
	w := &workbench{tokenizer: words, config: &model.Config{Decoder: model.GPT2Config{NPositions: 128}}}
	for compat, want := range map[string]int{"": len(words.Encode("A surfer")) + 1, "seed": 128} {
		labels, err := w.labels(compat)
		require.NoError(t, err)
		require.Len(t, labels("A surfer"), want)
		require.Len(t, labels(strings.Repeat("a ", 200)), 128)
		require.NotContains(t, labels("A surfer"), int32(dataset.Masked))
	}
	w.config.Decoder.NPositions = 64
	_, err = w.labels("seed")
	require.ErrorContains(
		t, err, "--compat seed pads captions to 128 tokens; the model's decoder has 64 positions",
	)
}
