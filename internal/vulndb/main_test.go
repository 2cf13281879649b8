package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestIndexNamesWhatAffectsEachModule(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	for id, packages := range map[string]string{
		"GO-1": `{"package":{"name":"b.org/m"}},{"package":{"name":"b.org/m"}}`,
		"GO-2": `{"package":{"name":"stdlib"}},{"package":{"name":"a.org/m"}}`,
	} {
		text := `{"id":"` + id + `","modified":"2026-01-0` + id[3:] + `T00:00:00Z","affected":[` + packages + `]}`
		if err := os.WriteFile(filepath.Join(from, id+".json"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := convert(from, to); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"db": `{"modified":"2026-01-02T00:00:00Z"}`,
		"modules": `[{"path":"a.org/m","vulns":[{"id":"GO-2","modified":"2026-01-02T00:00:00Z"}]},` +
			`{"path":"b.org/m","vulns":[{"id":"GO-1","modified":"2026-01-01T00:00:00Z"}]},` +
			`{"path":"stdlib","vulns":[{"id":"GO-2","modified":"2026-01-02T00:00:00Z"}]}]`,
	} {
		if got, err := os.ReadFile(filepath.Join(to, "index", name+".json")); string(got) != want || err != nil {
			t.Errorf("%s: %s %v", name, got, err)
		}
	}
	if _, err := os.Stat(filepath.Join(to, "ID", "GO-1.json")); err != nil {
		t.Error(err)
	}
	if convert(t.TempDir(), to) == nil {
		t.Error("an empty list is taken")
	}
}
