package hub

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"distilvit/hub/hubtest"
)

// pythonCache is what huggingface_hub 0.36.2 left of a model and a dataset that
// hubtest served: snapshot_download of two files and hf_hub_download of one. A
// link is written as -> and its target. The other direction was tried by hand
// with the same version: under HF_HUB_OFFLINE=1 it found what Fetch had left,
// scan_cache_dir had no warnings, each went on with the other's .incomplete
// files, and six processes of both kinds at once shared one transfer.
var pythonCache = map[string]string{
	".locks/models--org--py-test/0053b8695ecb57068dca6f56fd5625f8c1d8685f.lock": "",
	".locks/models--org--py-test/9e26dfeeb6e641a33dae4961196235bdb965b21b.lock": "",
	"models--org--py-test/blobs/0053b8695ecb57068dca6f56fd5625f8c1d8685f":       `{"a":2}`,
	"models--org--py-test/blobs/9e26dfeeb6e641a33dae4961196235bdb965b21b":       `{}`,
	"models--org--py-test/refs/main":                                            "3cae2fd53ead7dc8aeb607f55d73916278611b79",
	"models--org--py-test/snapshots/3cae2fd53ead7dc8aeb607f55d73916278611b79/config.json": "-> " +
		"../../blobs/9e26dfeeb6e641a33dae4961196235bdb965b21b",
	"models--org--py-test/snapshots/3cae2fd53ead7dc8aeb607f55d73916278611b79/tokenizer.json": "-> " +
		"../../blobs/0053b8695ecb57068dca6f56fd5625f8c1d8685f",
	"datasets--org--ds/blobs/2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881": "x",
	"datasets--org--ds/refs/refs/convert/parquet":                                              "5075dd18cc6f07c6983f590ad6352685234bd4ad",
	"datasets--org--ds/snapshots/5075dd18cc6f07c6983f590ad6352685234bd4ad/data/a.parquet": "-> " +
		"../../../blobs/2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
	".locks/datasets--org--ds/2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881.lock": "",
}

// writePythonCache makes that tree.
func writePythonCache(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range pythonCache {
		path := filepath.Join(dir, name)
		check(t, os.MkdirAll(filepath.Dir(path), 0o755))
		if target, link := strings.CutPrefix(content, "-> "); link {
			check(t, os.Symlink(target, path))
		} else {
			check(t, os.WriteFile(path, []byte(content), 0o644))
		}
	}
	return dir
}

func TestCacheOfHuggingFaceHubIsUsed(t *testing.T) {
	s := hubtest.Start(t)
	dir := writePythonCache(t)
	files := map[string]hubtest.File{
		"config.json": {Data: []byte(`{}`)}, "tokenizer.json": {Data: []byte(`{"a":2}`)},
		"data/a.parquet": {Data: []byte("x"), Large: true},
	}
	offline := newClient(t, s, func(o *Options) { o.CacheDir, o.Offline = dir, true })
	got, err := offline.Fetch(t.Context(), Repo{ID: "org/py-test"}, Patterns("*.json"), nil)
	check(t, err)
	holds(t, got, files, "config.json", "tokenizer.json")
	got, err = offline.Fetch(t.Context(), Repo{Kind: Dataset, ID: "org/ds", Revision: "refs/convert/parquet"},
		Patterns("data/*"), nil)
	check(t, err)
	holds(t, got, files, "data/a.parquet")

	// A new commit of which the cache has one file's bytes already.
	files["vocab.json"] = hubtest.File{Data: []byte("{}")}
	s.Put(Model, "org/py-test", files)
	online := newClient(t, s, func(o *Options) { o.CacheDir = dir })
	got, err = online.Fetch(t.Context(), Repo{ID: "org/py-test"}, Patterns("*.json"), nil)
	check(t, err)
	holds(t, got, files, "config.json", "tokenizer.json", "vocab.json")
	for _, r := range s.Requests() {
		if r.Method == "GET" && !strings.HasPrefix(r.Path, "/api/") {
			t.Errorf("fetched again: %s", r.Path)
		}
	}
	ref, err := os.ReadFile(filepath.Join(dir, "models--org--py-test/refs/main"))
	check(t, err)
	if string(ref) != got.Commit {
		t.Errorf("refs/main holds %s", ref)
	}
}
