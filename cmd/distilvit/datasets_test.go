package main

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"distilvit/dataset"
	"distilvit/model"
	"distilvit/model/hub"
	"distilvit/model/hub/hubtest"
	"distilvit/model/tokenizer"
	"distilvit/pipeline"
)

func listExamples(t *testing.T, sources []pipeline.SourceConfig, split string) (*examples, error) {
	t.Helper()
	e := &examples{}
	return e, e.open(t.Context(), sources, split, 1)
}

func TestParquetFilesAreADatasetOfTheCommandLine(t *testing.T) {
	const file = "../../dataset/testdata/parquet/hf_list.parquet"
	sources, err := parseDataset("parquet:"+file, 64)
	if err != nil {
		t.Fatal(err)
	}
	whole := func(split string) (*examples, error) { return listExamples(t, sources, split) }
	e, err := whole("test")
	if err != nil {
		t.Fatal(err)
	}
	defer e.close()
	if len(e.list) != 11 {
		t.Errorf("without splits %d pictures, not all 11", len(e.list))
	}
	if raw, err := e.openers[0].Open(t.Context(), e.list[10].Image); err != nil || len(raw) == 0 {
		t.Errorf("picture: %v", err)
	}
	sources[0].SplitColumn = "split"
	v, err := whole("validation")
	if err != nil {
		t.Fatal(err)
	}
	defer v.close()
	if len(v.list) != 3 || !slices.Equal(v.list[0].Captions, []string{"picture 1, told once.", "picture 1, told twice."}) {
		t.Errorf("validation: %+v", v.list)
	}
	for text, want := range map[string]string{
		"parquet:":                        "use parquet:FILES",
		"parquet:https://x.org/a.parquet": "reads local files and the Hugging Face hub only",
		"parquet:none*.parquet":           "no file fits this pattern",
	} {
		sources, err := parseDataset(text, 64)
		if err == nil {
			_, err = listExamples(t, sources, "test")
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestKarpathysSplitsAreEvaluatedByName(t *testing.T) {
	const dir = "../../dataset/testdata/captions/"
	sources, err := parseDataset("karpathy:"+dir+"dataset_coco.json,"+dir+"train2014.zip,"+dir+"val2014.zip", 64)
	if err != nil {
		t.Fatal(err)
	}
	for split, want := range map[string]int{"train": 3, "validation": 1, "test": 1} {
		e, err := listExamples(t, sources, split)
		if err != nil || len(e.list) != want {
			t.Errorf("%s: %+v, %v", split, e, err)
			continue
		}
		e.close()
	}
	file := write(t, t.TempDir(), "d.yaml", "dataset: [{kind: coco, captions: annotations_trainval2017.zip#annotations/captions_train2017.json, images: train2017.zip}]")
	t.Chdir(dir)
	if sources, err = parseDataset(file, 64); err != nil {
		t.Fatal(err)
	}
	e, err := listExamples(t, sources, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer e.close()
	if len(e.list) != 3 {
		t.Errorf("a captions file in a zip: %+v", e.list)
	}
}

func TestDatasetsOfTheHubAreEvaluated(t *testing.T) {
	rows, err := os.ReadFile("../../dataset/testdata/parquet/hf_list.parquet")
	require.NoError(t, err)
	s := hubtest.Start(t)
	s.Put(hub.Dataset, "org/pictures", map[string]hubtest.File{
		"data/test-00000-of-00001.parquet": {Data: rows, Large: true}, "data/text.parquet": {Data: []byte("no Parquet")},
	})
	env := map[string]string{"HF_ENDPOINT": s.URL, "HF_HOME": t.TempDir()}
	a := &app{stderr: new(bytes.Buffer), env: environment(env)}
	open := func(f datasetFlags) (*examples, error) {
		f.split = "test"
		return a.openDataset(t.Context(), f, 64, newProgress(a.stderr))
	}
	const name = "parquet:hf:datasets/org/pictures/data/test-*.parquet"
	e, err := open(datasetFlags{name: name})
	require.NoError(t, err)
	defer e.close()
	require.Len(t, e.list, 11)
	require.Len(t, e.list[10].Captions, 2)
	raw, err := e.openers[0].Open(t.Context(), e.list[10].Image)
	require.NoError(t, err)
	require.NotEmpty(t, raw)

	seed, err := open(datasetFlags{name: name, compat: "seed", limit: 3})
	require.NoError(t, err)
	defer seed.close()
	require.Len(t, seed.list, 3)
	require.Len(t, seed.list[2].Captions, 1)

	env["HF_ENDPOINT"], env["HF_HUB_OFFLINE"] = "http://127.0.0.1:1", "1"
	cached, err := open(datasetFlags{name: name})
	require.NoError(t, err)
	defer cached.close()
	env["HF_ENDPOINT"], env["HF_HUB_OFFLINE"] = s.URL, ""
	file := write(t, t.TempDir(), "d.yaml", "dataset: [{kind: parquet, files: hf:datasets/org/pictures@v1}]")
	keep := write(t, t.TempDir(), "d.yaml", "dataset: [{kind: parquet, files: a.parquet, clean: {keep: last}}]")
	for name, says := range map[string]string{
		"parquet:hf:datasets/org/none":                       "has no dataset org/none, or it is private",
		"parquet:hf:datasets/org/pictures/data/x-*":          "it has no file that fits data/x-*; it has data/test-00000-of-00001.parquet, data/text.parquet",
		"parquet:hf:datasets/org/pictures/data/text.parquet": "text.parquet",
		"parquet:hf:org/pictures":                            "names no dataset of the Hugging Face hub",
		"parquet:hf:datasets/org/pictures@/x":                "no revision after the @",
		file:                                                 "no revision v1",
		keep:                                                 `dataset[0].clean.keep: is "last"; must be one of all, first`,
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
	_, err = contendersOf([]string{t.TempDir()}, compareOptions{models: []string{"m"}, forms: []string{"weights"}})
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
	require.ErrorContains(t, err, "--compat seed pads captions to 128 tokens; the model's decoder has 64 positions")
}
