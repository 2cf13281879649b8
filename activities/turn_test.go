package activities

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"distilvit/artifact/record"
	"distilvit/pipeline"
	"distilvit/storage/layout"
)

func TestTurnSeesWhetherItsSourcesHaveChanged(t *testing.T) {
	b := newBench(t)
	dir, tag := t.TempDir(), `"1"`
	write := func(name, text string) {
		check(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if tag != "" {
			w.Header().Set("ETag", tag)
		}
	}))
	defer server.Close()
	write("captions.csv", "image,caption\na.png,a cat\n")
	check(t, os.Mkdir(filepath.Join(dir, "images"), 0o755))
	write("images/a.png", "one")
	var c pipeline.Config
	c.Dataset = []pipeline.SourceConfig{
		{Kind: pipeline.KindFolder, Captions: filepath.Join(dir, "captions.csv"), Images: pipeline.Paths{filepath.Join(dir, "images")}},
		{Kind: pipeline.KindParquet, Files: pipeline.Paths{server.URL + "/a.parquet"}},
	}
	plan := func() pipeline.TurnPlan {
		t.Helper()
		return do[pipeline.TurnPlan](b, b.PlanTurn, pipeline.TurnInput{Published: "models/m", Config: c})
	}
	was := plan()
	if again := plan(); again.Data != was.Data || was.Model != "" || len(was.Unclear) > 0 {
		t.Errorf("%+v, then %+v", was, again)
	}
	for _, change := range []struct {
		what string
		make func()
	}{
		{"captions", func() { write("captions.csv", "image,caption\na.png,a dog\n") }},
		{"a picture", func() { write("images/a.png", "two") }},
		{"one more", func() { write("images/b.png", "two") }},
		{"the URL", func() { tag = `"2"` }},
		{"config", func() { c.Train.Epochs++ }},
	} {
		change.make()
		now := plan()
		if now.Data == was.Data {
			t.Errorf("%s changed, and nothing is seen", change.what)
		}
		was = now
	}
	c.Notify.Webhook = "https://example.org/hook" // who is told does not matter
	if now := plan(); now.Data != was.Data {
		t.Error("another webhook makes other data")
	}
	group, _ := b.published("r")
	tag = ""
	if now := plan(); len(now.Unclear) != 1 || now.Model != group {
		t.Errorf("%+v", now)
	}
	if listed := b.keys(""); len(listed) != 1+4 {
		t.Errorf("a turn has stored something: %s", listed)
	}
	check(t, os.RemoveAll(filepath.Join(dir, "images")))
	if _, err := try[pipeline.TurnPlan](b, b.PlanTurn, pipeline.TurnInput{Published: "models/m", Config: c}); err == nil ||
		!strings.Contains(err.Error(), "dataset[0].images") {
		t.Error(err)
	}
}

// A run is compared with the version and on the pictures that it began with.
func TestRivalIsPinned(t *testing.T) {
	b := newBench(t)
	pin := func(run string, rival pipeline.BetterThanConfig) (pipeline.BetterThanConfig, []string, error) {
		warnings, err := b.pinRival(t.Context(), run, &rival)
		return rival, warnings, err
	}
	asked := pipeline.BetterThanConfig{Model: "models/m", Margin: 0.5}
	got, warnings, err := pin("r", asked)
	if err != nil || got != (pipeline.BetterThanConfig{}) || len(warnings) != 1 {
		t.Errorf("of nothing: %+v %v %v", got, warnings, err)
	}
	for _, key := range []string{"own", "first"} {
		check(t, b.Store.Publish(t.Context(), layout.Manifest(layout.Dataset(key)), record.DatasetManifest{}))
	}
	publish := func(run string, compared *record.Comparison) string {
		m := layout.Model{Name: "m", Run: run, Branch: 1}
		check(t, b.Store.Publish(t.Context(), layout.Manifest(m.Group()), record.ModelManifest{
			Version: 1, Model: m.Group(), Run: run, Branch: 1, Dataset: layout.Manifest(layout.Dataset("own")), Comparison: compared,
		}))
		return m.Group()
	}
	first := publish("a", nil)
	if got, _, err = pin("r", asked); err != nil || got.Model != first || got.Dataset != "datasets/own" || got.Margin != 0.5 {
		t.Errorf("the first: %+v %v", got, err)
	}
	check(t, b.Store.Publish(t.Context(), layout.Run("r").Config(), pipeline.Config{
		Publish: pipeline.PublishConfig{BetterThan: got},
	}))
	second := publish("b", &record.Comparison{Dataset: layout.Manifest(layout.Dataset("first"))})
	if again, _, err := pin("r", asked); err != nil || again != got {
		t.Errorf("a later execution: %+v %v", again, err)
	}
	if got, _, err = pin("s", asked); err != nil || got.Model != second && got.Model != first {
		t.Errorf("the second: %+v %v", got, err)
	}
	if got, _, err = pin("s", pipeline.BetterThanConfig{Model: second}); err != nil || got.Dataset != "datasets/first" {
		t.Errorf("the second by name: %+v %v", got, err)
	}
	for _, wrong := range []pipeline.BetterThanConfig{{Model: "models/m/x-b1"}, {Model: first, Dataset: "datasets/none"}} {
		if got, _, err := pin("t", wrong); err == nil {
			t.Errorf("%+v is taken as %+v", wrong, got)
		}
	}
}
