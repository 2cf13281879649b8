package trainer

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"distilvit/dataset"
	"distilvit/internal/backend"
	"distilvit/model"
)

// writeSharded writes the weights as two files and their index.
func writeSharded(t *testing.T, dir string, w model.Weights) {
	t.Helper()
	names, index := slices.Sorted(maps.Keys(w)), map[string]string{}
	for file, part := range map[string][]string{
		"model-00001-of-00002.safetensors": names[:len(names)/2],
		"model-00002-of-00002.safetensors": names[len(names)/2:],
	} {
		some := model.Weights{}
		for _, name := range part {
			some[name], index[name] = w[name], file
		}
		check(t, model.WriteWeights(filepath.Join(dir, file), some, nil))
	}
	raw, err := json.Marshal(map[string]any{"weight_map": index})
	check(t, err)
	check(t, os.WriteFile(filepath.Join(dir, "model.safetensors.index.json"), raw, 0o644))
}

func TestShardedWeightsAreEvaluatedAndExportedAsOneFileWouldBe(t *testing.T) {
	choice, err := backend.Choose(backend.Options{Kind: backend.Go})
	check(t, err)
	l := newLab(t, choice)
	dir, out := l.open.ModelDir, t.TempDir()
	config, err := model.ReadConfig(dir)
	check(t, err)
	weights := model.Init(config, 99)
	loss := func(run string) float64 {
		p := l.lease(run)
		defer p.Release()
		done, err := p.Do(t.Context(), Command{Do: DoEvaluate, Evaluate: &EvaluateArgs{
			Shards: []dataset.ShardPair{l.shard}, BatchSize: 8, Limit: 8,
			Generate: model.GenerateOptions{MaxLength: 4}, Out: filepath.Join(out, run),
		}}, nothing)
		check(t, err)
		return done.Evaluated.LossSum
	}
	drawn := loss("drawn")
	check(t, model.WriteWeights(filepath.Join(dir, "model.safetensors"), weights, nil))
	whole := loss("whole")
	check(t, os.Rename(filepath.Join(dir, "model.safetensors"), filepath.Join(out, "want")))
	writeSharded(t, dir, weights)
	if sharded := loss("sharded"); sharded != whole || sharded == drawn {
		t.Errorf("loss %g of shards, %g of one file, %g of drawn weights", sharded, whole, drawn)
	}

	check(t, writeWeights(dir, weights, filepath.Join(out, "got")))
	want, err := os.ReadFile(filepath.Join(out, "want"))
	check(t, err)
	if got, err := os.ReadFile(filepath.Join(out, "got")); err != nil || string(got) != string(want) {
		t.Errorf("shards are exported as %d bytes, not %d, %v", len(got), len(want), err)
	}
	check(t, os.Remove(filepath.Join(dir, "model-00002-of-00002.safetensors")))
	if _, err := l.pool.Open(t.Context(), "cut", l.open, nothing); err == nil {
		t.Error("a missing shard is no error")
	}
}
