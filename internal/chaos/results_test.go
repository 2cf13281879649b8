package chaos

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"distilvit/artifact/record"
	"distilvit/pipeline"
	"distilvit/storage"
	"distilvit/storage/layout"
)

// results are what a finished run leaves that no fault may change, by name:
// digests of bytes, or JSON without times.
func (r *run) results() map[string]string {
	t := r.t
	t.Helper()
	out := map[string]string{}
	store := r.open()
	r.newestCheckpoint(store, out)
	r.metrics(store, out)
	for _, prefix := range []string{"datasets/", "tokens/"} { // named by their digests
		for o, err := range store.List(t.Context(), prefix) {
			check(t, err)
			out[o.Key] = strconv.FormatInt(o.Size, 10)
		}
	}
	r.published(out)
	var result pipeline.Result
	check(t, json.Unmarshal(r.distilvit("run", "-f", r.file, "--id", runID, "-o", "json"), &result))
	for _, m := range []*record.Metrics{&result.Eval, &result.Test} {
		m.Runtime, m.SamplesPerSecond = 0, 0
	}
	result.Bytes = 0 // the card's and the report's too, which tell times
	raw, err := json.Marshal(result)
	check(t, err)
	out["result"] = string(raw)
	return out
}

// newestCheckpoint adds the weights, the moments and the state after the last step.
func (r *run) newestCheckpoint(store *storage.Store, out map[string]string) {
	t := r.t
	t.Helper()
	key := "runs/" + runID + "/checkpoints/1/" + strconv.FormatInt(r.size.steps(), 10) + "/manifest.json"
	var manifest struct {
		Files map[string]layout.Object `json:"files"`
	}
	check(t, store.GetJSON(t.Context(), key, &manifest))
	for _, name := range []string{
		"model.safetensors", "optimizer.safetensors", "state.json", "metrics.jsonl",
	} {
		o := manifest.Files[name]
		// they read back
		_, err := store.GetBytes(t.Context(), layout.Object{Key: o.Key, Size: o.Size, SHA256: o.SHA256})
		check(t, err)
		out["checkpoint "+name] = o.SHA256
	}
}

// metrics adds the steps' metrics and makes sure that every step is there once.
func (r *run) metrics(store *storage.Store, out map[string]string) {
	t := r.t
	t.Helper()
	var steps []int64
	for o, err := range store.List(t.Context(), "runs/"+runID+"/metrics/") {
		check(t, err)
		raw, err := store.GetBytes(t.Context(), o)
		check(t, err)
		for line := range bytes.Lines(raw) {
			var record struct {
				Step int64 `json:"step"`
			}
			check(t, json.Unmarshal(line, &record))
			steps = append(steps, record.Step)
		}
		out[o.Key] = digest(raw)
	}
	for i, step := range steps {
		if step != int64(i)+1 {
			t.Fatalf("metrics of step %d stand where those of step %d should", step, i+1)
		}
	}
	if int64(len(steps)) != r.size.steps() {
		t.Fatalf("metrics of %d steps, %d were to be trained", len(steps), r.size.steps())
	}
}

// published adds the model directory's files, but for those that tell times.
func (r *run) published(out map[string]string) {
	t := r.t
	t.Helper()
	dir := filepath.Join(t.TempDir(), "model")
	r.distilvit("get", runID, dir)
	check(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name := strings.TrimPrefix(path, dir+"/")
		if slices.Contains([]string{"README.md", "report.html", "manifest.json"}, name) {
			return nil
		}
		raw, err := os.ReadFile(path)
		out["model "+name] = digest(raw)
		return err
	}))
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// leavesNothing makes the Janitor remove, at once, what nothing refers to. A
// second look finds no more of it, and without the run itself nothing at all is
// left in the store.
func (r *run) leavesNothing() {
	t := r.t
	t.Helper()
	var first, second pipeline.JanitorResult
	check(t, json.Unmarshal(r.distilvit("janitor", "--grace", "0s", "-o", "json"), &first))
	check(t, json.Unmarshal(r.distilvit("janitor", "--grace", "0s", "--dry-run", "-o", "json"), &second))
	t.Logf("the Janitor removed %v", first.Removed)
	if len(second.Removed) > 0 {
		t.Errorf("it would remove %v the next time", second.Removed)
	}
	r.distilvit("rm", runID, "--model")
	r.distilvit("janitor", "--grace", "0s")
	for o, err := range r.open().List(t.Context(), "") {
		check(t, err)
		t.Errorf("left in the store: %s", o.Key)
	}
}

// same fails the test where two runs' results differ.
func same(t *testing.T, want, got map[string]string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if got[name] != want[name] {
			t.Errorf("%s: %s, undisturbed %s", name, got[name], want[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[name]; !ok {
			t.Errorf("%s is there only in the disturbed run", name)
		}
	}
	if len(want) < 20 {
		t.Errorf("only %d results to compare: %v", len(want), slices.Sorted(maps.Keys(want)))
	}
}
