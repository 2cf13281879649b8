package main

import (
	"slices"
	"strings"
	"testing"

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
