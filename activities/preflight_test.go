package activities

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"distilvit/pipeline"
)

// What a file's head tells, and an address with no server, is known before anything is read as a whole.
func TestPreflightLooksIntoSources(t *testing.T) {
	b := newBench(t)
	b.register()
	dir := t.TempDir()
	table := filepath.Join(dir, "words.csv")
	check(t, os.WriteFile(table, []byte("picture,words\na.png,a star\n"), 0o600))
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	check(t, nobody.Close())
	for _, c := range []struct {
		source pipeline.SourceConfig
		want   string
	}{
		{
			pipeline.SourceConfig{Kind: pipeline.KindFolder, Captions: table, Images: pipeline.Paths{dir}},
			"dataset[0].captions: captions file " + table + ": has no column of pictures' names",
		},
		{
			pipeline.SourceConfig{Kind: pipeline.KindFolder, Captions: dir, Images: pipeline.Paths{dir}},
			"dataset[0].captions: " + dir + " is a folder, not a file",
		},
		{
			pipeline.SourceConfig{
				Kind: pipeline.KindFolder, Captions: "http://" + nobody.Addr().String() + "/a.csv",
				Images: pipeline.Paths{dir},
			}, "is the address right",
		},
	} {
		in := pipeline.PreflightInput{Run: "run", Config: tinyConfig()}
		in.Config.Dataset = []pipeline.SourceConfig{c.source}
		_, err := try[pipeline.PreflightResult](b, b.Preflight, in)
		wantType(t, err, pipeline.InvalidInput, c.want)
	}

	in := pipeline.PreflightInput{Run: "large", Config: tinyConfig()}
	in.Config.Train.BatchSize = 64
	out := do[pipeline.PreflightResult](b, b.Preflight, in)
	if !slices.ContainsFunc(out.Warnings, func(w string) bool { return strings.Contains(w, "train.batch_size is 64") }) {
		t.Errorf("no warning of a batch larger than the dataset: %v", out.Warnings)
	}
}

// An export that will be larger than allowed is known before training: for certain with a vocabulary that is given.
func TestPreflightKnowsTheSizesOfExports(t *testing.T) {
	b := newBench(t)
	b.register()
	in := pipeline.PreflightInput{Run: "large", Config: tinyConfig()}
	in.Config.Export.Dtypes, in.Config.Export.MaxSizeMiB = []string{"fp32", "q8"}, 0.01
	out := do[pipeline.PreflightResult](b, b.Preflight, in)
	if !slices.ContainsFunc(out.Warnings, func(w string) bool {
		return strings.HasPrefix(w, "with all of model.vocab_size: ") && strings.Contains(w, "the fp32 export needs ")
	}) {
		t.Errorf("no warning of a large export: %v", out.Warnings)
	}
	in.Run, in.Config.Model.Tokenizer = "known", "../model/tokenizer/testdata/trained"
	_, err := try[pipeline.PreflightResult](b, b.Preflight, in)
	wantType(t, err, pipeline.InvalidInput, "export.max_size_mib allows 0.01: leave fp32 out")
	in.Run, in.Config.Export.PruneVocab = "pruned", pipeline.PruneAuto
	if out := do[pipeline.PreflightResult](b, b.Preflight, in); slices.ContainsFunc(out.Warnings,
		func(w string) bool { return strings.Contains(w, "export needs") }) {
		t.Errorf("what pruning leaves is not known yet: %v", out.Warnings)
	}
}

// A run that an older program began goes on as it was, though its defaults were others.
func TestPreflightGoesOnWithTheDefaultsThatARunBeganWith(t *testing.T) {
	b := newBench(t)
	b.register()
	older := tinyConfig()
	older.Train.MaxLength, older.Evaluate.MaxLength = 32, 32
	do[pipeline.PreflightResult](b, b.Preflight, pipeline.PreflightInput{Run: "older", Config: older})
	newer := older
	newer.Train.MaxLength, newer.Evaluate.MaxLength = 0, 0
	got := do[pipeline.PreflightResult](b, b.Preflight, pipeline.PreflightInput{Run: "older", Config: newer}).Config
	if got.Train.MaxLength != 32 || got.Evaluate.MaxLength != 32 {
		t.Errorf("goes on with %d and %d tokens", got.Train.MaxLength, got.Evaluate.MaxLength)
	}
	newer.Seed++
	_, err := try[pipeline.PreflightResult](b, b.Preflight, pipeline.PreflightInput{Run: "older", Config: newer})
	wantType(t, err, pipeline.InvalidInput, "run older exists with another config")
	newer.Train.MaxLength = 20
	_, err = try[pipeline.PreflightResult](b, b.Preflight, pipeline.PreflightInput{Run: "older", Config: newer})
	wantType(t, err, pipeline.InvalidInput, "run older exists with another config")
}
