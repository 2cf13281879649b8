package activities

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"go.temporal.io/sdk/temporal"

	"distilvit/artifact/record"
	"distilvit/hub"
	"distilvit/hub/hubtest"
	"distilvit/pipeline"
	"distilvit/storage/layout"
)

// published puts a model of small files into the store, and answers its group and files.
func (b *bench) published(run string) (group string, files map[string]string) {
	b.Helper()
	group = layout.Model{Name: "m", Run: run, Branch: 1}.Group()
	files = map[string]string{
		"README.md": "# card\n", "config.json": "{}", "model.safetensors": "weights\x00", "onnx/encoder_model.onnx": "graph",
	}
	m := record.ModelManifest{Version: 1, Model: group, Run: run, Branch: 1, Files: map[string]layout.Object{}}
	for name, text := range files {
		o, err := b.Store.PutBytes(b.Context(), layout.File(group, name), []byte(text))
		check(b.T, err)
		m.Files[name] = layout.Object{Size: o.Size, SHA256: o.SHA256}
	}
	check(b.T, b.Store.Publish(b.Context(), layout.Manifest(group), m))
	return group, files
}

func TestPublishedModelIsPushedWithItsManifest(t *testing.T) {
	b, s := newBench(t), hubtest.Start(t)
	s.Demand("hf_secret")
	group, files := b.published("r")
	in := pipeline.PushInput{Run: "r", Model: group, To: "hf:org/captioner", Private: true}
	b.Hub = hub.Options{Endpoint: s.URL, CacheDir: t.TempDir()}
	refused := func(kind, says string) {
		t.Helper()
		_, err := try[pipeline.Pushed](b, b.Push, in)
		var failed *temporal.ApplicationError
		if !errors.As(err, &failed) || failed.Type() != kind || !strings.Contains(err.Error(), says) ||
			strings.Contains(err.Error(), "hf_secret") {
			t.Errorf("%v; want %s that says %q", err, kind, says)
		}
	}
	refused(pipeline.InvalidInput, "set HF_TOKEN")
	if _, err := b.checkPush(t.Context(), in.To); err == nil {
		t.Error("preflight takes a worker without a token")
	}
	b.Hub.Token = "hf_secret"
	s.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		w.WriteHeader(http.StatusForbidden)
		return true
	})
	refused(pipeline.InvalidInput, "give the token write access to org/captioner")
	s.Intercept(nil)
	if warnings, err := b.checkPush(t.Context(), in.To); err != nil || len(warnings) > 0 {
		t.Errorf("%v %v", warnings, err)
	}

	got := do[pipeline.Pushed](b, b.Push, in)
	held, commit, private := s.Held(hub.Model, "org/captioner", hub.Main)
	if got.Commit != commit || got.Page != s.URL+"/org/captioner" || got.Sent != 13 || !private {
		t.Errorf("%+v", got)
	}
	files["manifest.json"] = b.text(layout.Manifest(group))
	for name, text := range files {
		if string(held[name].Data) != text {
			t.Errorf("%s holds %q", name, held[name].Data)
		}
	}
	if again := do[pipeline.Pushed](b, b.Push, in); again.Commit != commit || again.Sent != 0 {
		t.Errorf("pushed again: %+v", again)
	}

	b.Hub.Endpoint = "http://127.0.0.1:1"
	refused(pipeline.StorageUnavailable, "refused")
	if warnings, err := b.checkPush(t.Context(), in.To); err != nil || len(warnings) != 1 {
		t.Errorf("no connection in preflight: %v %v", warnings, err)
	}
}
