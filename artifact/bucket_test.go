package artifact

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"distilvit/artifact/record"
	"distilvit/internal/devstack/s3d/s3test"
	"distilvit/storage"
	"distilvit/storage/layout"
)

func TestMain(m *testing.M) { s3test.Main(m) }

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// recorded is a store with the bucket of a tiny run, as a release wrote it: one run that
// trained for an epoch of 5 steps with a checkpoint after every second one, and published.
// Large objects are zeros of the same length. Each release adds its own:
// activities/bucket_test.go says how.
func recorded(t *testing.T, file string) (s *storage.Store, run layout.Run, documents []string) {
	server := s3test.Start(t)
	s, err := storage.Open(t.Context(), storage.Config{
		Endpoint: server.Endpoint, AccessKey: server.AccessKey, SecretKey: server.SecretKey, Bucket: "test",
	})
	check(t, err)
	z, err := zip.OpenReader(file)
	check(t, err)
	defer z.Close()
	for _, f := range z.File {
		r, err := f.Open()
		check(t, err)
		content, err := io.ReadAll(r)
		check(t, err)
		if f.Name == "lengths.json" {
			var lengths map[string]int64
			check(t, json.Unmarshal(content, &lengths))
			for key, n := range lengths {
				_, err := s.PutBytes(t.Context(), key, make([]byte, n))
				check(t, err)
			}
			continue
		}
		_, err = s.PutBytes(t.Context(), f.Name, content)
		check(t, err)
		documents = append(documents, f.Name)
	}
	return s, "tiny", documents
}

func TestBucketsOfEveryReleaseAreRead(t *testing.T) {
	files, err := filepath.Glob("testdata/buckets/*.zip")
	check(t, err)
	if len(files) == 0 {
		t.Fatal("no bucket is recorded")
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".zip"), func(t *testing.T) {
			s, run, documents := recorded(t, file)
			readDocuments(t, s, documents)
			readCheckpoints(t, Checkpoints{s, run})
			readPrepared(t, s, documents)
			readModel(t, s)
		})
	}
}

// readDocuments reads each JSON document into its type, which knows all its keys.
func readDocuments(t *testing.T, s *storage.Store, keys []string) {
	seen := map[string]int{}
	for _, key := range keys {
		_, kind, _, _ := layout.InRun(key)
		_, manifest := layout.ManifestOf(key)
		var into any
		switch area := layout.AreaOf(key); {
		case manifest && area == layout.Datasets:
			into = &record.DatasetManifest{}
		case manifest && area == layout.Tokens:
			into = &record.TokensManifest{}
		case manifest && area == layout.Models:
			into = &record.ModelManifest{}
		case area == layout.Datasets && strings.HasSuffix(key, "/plan.json"):
			into = &record.PreparePlan{}
		case kind == layout.Checkpoints:
			into = &record.CheckpointManifest{}
		case kind == layout.Progress:
			into = &record.Progress{}
		case kind == layout.Exports:
			into = &record.Export{}
		default:
			continue
		}
		raw, err := s.GetBytes(t.Context(), layout.Object{Key: key})
		check(t, err)
		d := json.NewDecoder(bytes.NewReader(raw))
		d.DisallowUnknownFields()
		if err := d.Decode(into); err != nil {
			t.Errorf("%s: %v", key, err)
		}
		seen[layout.AreaOf(key)+"/"+string(kind)]++
	}
	want := map[string]int{
		"datasets/": 2, "tokens/": 1, "models/": 1, "runs/checkpoints": 3, "runs/progress": 1,
		"runs/exports": 1,
	}
	if !maps.Equal(seen, want) {
		t.Errorf("read %v, want %v", seen, want)
	}
}

func readCheckpoints(t *testing.T, log Checkpoints) {
	ctx := t.Context()
	keys, err := log.List(ctx, 1)
	check(t, err)
	var steps []int64
	for _, key := range keys {
		m, err := ReadCheckpoint(ctx, log.Store, key)
		check(t, err)
		if m.Ref().Manifest != key || m.Loss() <= 0 || m.Training == "" || len(m.Fingerprint) == 0 ||
			len(m.Files) != 4 {
			t.Errorf("%s: %+v", key, m)
		}
		steps = append(steps, m.Step)
	}
	if want := []int64{5, 4, 2}; !slices.Equal(steps, want) {
		t.Errorf("checkpoints of steps %v, want %v", steps, want)
	}
	progress, err := NewestProgress(ctx, log.Store, log.Run, nil)
	check(t, err)
	newest, err := log.Newest(ctx, progress.Branch)
	check(t, err)
	if *newest != *progress.Last || *newest != progress.Best.Checkpoint || newest.Epoch != 1 {
		t.Errorf("newest %+v, recorded %+v", newest, progress)
	}
	last, err := ReadCheckpoint(ctx, log.Store, newest.Manifest)
	check(t, err)
	without, err := log.Without(ctx, []string{last.Files["model.safetensors"].Key, "runs/other/blobs/x"})
	check(t, err)
	if !slices.Equal(without, []string{newest.Manifest}) {
		t.Errorf("without the newest weights %v lack something", without)
	}

	// Without its weights the newest one does not count; pruning leaves what is named.
	check(t, log.Store.Remove(ctx, last.Files["model.safetensors"].Key))
	if older, err := log.Newest(ctx, 1); err != nil || older.Step != 4 {
		t.Errorf("newest complete one: %+v, %v", older, err)
	}
	check(t, log.Prune(ctx, 1))
	left, err := log.List(ctx, 0)
	if check(t, err); !slices.Equal(left, []string{newest.Manifest}) {
		t.Errorf("left %v", left)
	}
}

func readPrepared(t *testing.T, s *storage.Store, keys []string) {
	ctx := t.Context()
	model, err := ReadModel(ctx, s, "models/shapes/tiny-b1")
	check(t, err)
	dataset, _ := layout.GroupOf(model.Dataset)
	tokens := keys[slices.IndexFunc(keys, func(key string) bool {
		_, manifest := layout.ManifestOf(key)
		return manifest && layout.AreaOf(key) == layout.Tokens
	})]
	for split, want := range map[string]int{"train": 3, "validation": 1, "test": 1} {
		if pairs, err := Pairs(ctx, s, model.Dataset, tokens, split); err != nil || len(pairs) != want {
			t.Errorf("%s: %d shards, %v", split, len(pairs), err)
		}
	}
	m, err := ReadDataset(ctx, s, model.Dataset)
	check(t, err)
	if lacking, err := Unprepared(ctx, s, dataset); err != nil || lacking == nil || len(lacking) > 0 {
		t.Errorf("lacks %v, %v", lacking, err)
	}
	check(t, s.Remove(ctx, m.Shards[1].Object.Key))
	lacking, err := Unprepared(ctx, s, dataset)
	if want := map[int]bool{m.Shards[1].Index: true}; err != nil || !maps.Equal(lacking, want) {
		t.Errorf("lacks %v, %v", lacking, err)
	}
}

func readModel(t *testing.T, s *storage.Store) {
	ctx := t.Context()
	group, err := FindModel(ctx, s, "tiny")
	if check(t, err); group != "models/shapes/tiny-b1" {
		t.Errorf("found %s", group)
	}
	if _, err := FindModel(ctx, s, "tin"); !errors.Is(err, ErrNotPublished) {
		t.Errorf("of a run that published nothing: %v", err)
	}
	m, err := ReadModel(ctx, s, group)
	check(t, err)
	if m.Run != "tiny" || m.Branch != 1 || m.Checkpoint.Step != 5 || m.Test.Samples != 10 ||
		len(m.Checks) != 2 {
		t.Errorf("%+v", m)
	}
	if export, err := FindExport(ctx, s, "runs/tiny/exports/none.json"); export != nil || err != nil {
		t.Errorf("%v, %v", export, err)
	}
	other := m
	other.Files = maps.Clone(m.Files)
	other.Files["config.json"] = layout.Object{Size: 1}
	if SameModel(m, m) != nil || !errors.Is(SameModel(other, m), ErrOther) {
		t.Error("files are not compared with those that are published")
	}

	// What is not what the manifest says is not fetched: here the recording's zeros.
	dir := t.TempDir()
	var fetched []string
	fetchErr := FetchModel(ctx, s, group, dir, func(o layout.Object) { fetched = append(fetched, o.Key) })
	if !errors.Is(fetchErr, storage.ErrCorrupt) || !slices.Contains(fetched, group+"/config.json") {
		t.Errorf("fetched %v, %v", fetched, fetchErr)
	}
	links, _, err := ModelLinks(ctx, s, group, time.Hour)
	check(t, err)
	names := map[string]bool{}
	for _, link := range links {
		names[link.Name] = link.Key == layout.File(group, link.Name) && strings.Contains(link.URL, link.Key+"?")
	}
	for _, name := range append(slices.Collect(maps.Keys(m.Files)), layout.ManifestFile) {
		if !names[name] || len(names) != len(m.Files)+1 {
			t.Errorf("%s has no URL, or %d have", name, len(names))
		}
	}
	if _, _, err := ModelLinks(ctx, s, "models/shapes/none-b1", time.Hour); !errors.Is(err, ErrNotPublished) {
		t.Errorf("URLs of a model that is not published: %v", err)
	}
	if broken := BrokenKeys(fetchErr); !slices.Equal(broken, []string{group + "/model.safetensors"}) {
		t.Errorf("broken: %v", broken)
	}
	if _, err := os.Stat(filepath.Join(dir, "model.safetensors")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a broken file is kept: %v", err)
	}
	o := m.Files["config.json"]
	o.Key = layout.File(group, "config.json")
	if err := Fetch(ctx, s, map[string]layout.Object{"../x": o}, dir); !errors.Is(err, ErrFileName) {
		t.Errorf("a file outside of the directory: %v", err)
	}
}
