package activities

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"distilvit/model/hub"
	"distilvit/model/hub/hubtest"
	"distilvit/pipeline"
)

// onHub gives a hub that has the files of dir as org/captioner.
func onHub(t *testing.T, dir string) *hubtest.Server {
	t.Helper()
	s := hubtest.Start(t)
	s.Put(hub.Model, "org/captioner", hubFiles(t, dir))
	return s
}

func hubFiles(t *testing.T, dir string) map[string]hubtest.File {
	t.Helper()
	entries, err := os.ReadDir(dir)
	check(t, err)
	files := map[string]hubtest.File{"README.md": {Data: []byte("# captioner")}}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		check(t, err)
		files[e.Name()] = hubtest.File{Data: data, Large: e.Name() == weightsFile}
	}
	return files
}

// fromHub is a config that starts from a model of the hub.
func fromHub(name string) pipeline.Config {
	c := tinyConfig()
	c.Model = pipeline.ModelConfig{Weights: name}
	return c
}

func TestWeightsComeFromTheHubAtTheCommitOfTheFirstExecution(t *testing.T) {
	b := newBench(t)
	dir := pretrained(t)
	s := onHub(t, dir)
	b.Hub = hub.Options{Endpoint: s.URL, CacheDir: t.TempDir()}
	commit := s.Put(hub.Model, "org/captioner", hubFiles(t, dir))

	first := do[pipeline.PreflightResult](b, b.Preflight, pipeline.PreflightInput{Run: "run", Config: fromHub("hf:org/captioner")})
	if want := "hf:org/captioner@" + commit; first.Config.Model.Weights != want {
		t.Fatalf("weights are frozen as %q instead of %q", first.Config.Model.Weights, want)
	}
	for _, r := range s.Requests() {
		if strings.HasSuffix(r.Path, weightsFile) {
			t.Error("preflight asked for the weights")
		}
	}

	// The branch moves on; the run does not.
	files := hubFiles(t, dir)
	files["README.md"] = hubtest.File{Data: []byte("# another")}
	moved := s.Put(hub.Model, "org/captioner", files)
	again := do[pipeline.PreflightResult](b, b.Preflight, pipeline.PreflightInput{Run: "run", Config: fromHub("hf:org/captioner")})
	if again.Config.Model.Weights != first.Config.Model.Weights {
		t.Errorf("a later execution uses %s", again.Config.Model.Weights)
	}
	other := do[pipeline.PreflightResult](b, b.Preflight, pipeline.PreflightInput{Run: "other", Config: fromHub("org/captioner@main")})
	if want := "hf:org/captioner@" + moved; other.Config.Model.Weights != want {
		t.Errorf("another run uses %s instead of %s", other.Config.Model.Weights, want)
	}

	local := do[pipeline.ModelRef](b, b.StorePretrained, pipeline.PretrainedInput{Run: "run", Weights: dir})
	ref := do[pipeline.ModelRef](b, b.StorePretrained, pipeline.PretrainedInput{Run: "run", Weights: first.Config.Model.Weights})
	if ref.Digest != local.Digest {
		t.Errorf("the hub's files are stored as %s, the same local ones as %s", ref.Digest, local.Digest)
	}
	only := do[pipeline.ModelRef](b, b.StorePretrained, pipeline.PretrainedInput{Run: "run", Tokenizer: "hf:org/captioner"})
	if only.Files["tokenizer.json"].SHA256 != local.Files["tokenizer.json"].SHA256 || only.Files[weightsFile].Key != "" {
		t.Errorf("a tokenizer alone is stored as %v", only.Files)
	}
	if got := baseModels(first.Config.Model); !slices.Equal(got, []string{"org/captioner"}) {
		t.Errorf("the card names %s", got)
	}
	if got := baseModels(pipeline.ModelConfig{Encoder: dir, Decoder: first.Config.Model.Weights}); !slices.Equal(got, []string{dir, "org/captioner"}) {
		t.Errorf("the card names %s", got)
	}
}

func TestWhatTheHubRefusesIsTheInputsFault(t *testing.T) {
	b := newBench(t)
	dir := pretrained(t)
	s := onHub(t, dir)
	b.Hub = hub.Options{Endpoint: s.URL, CacheDir: t.TempDir()}
	files := hubFiles(t, dir)
	delete(files, weightsFile)
	files["pytorch_model.bin"] = hubtest.File{Data: []byte("x"), Large: true}
	s.Put(hub.Model, "org/old", files)
	for name, says := range map[string]string{
		"hf:org/none": "has no model org/none", "hf:org/captioner@v9": "no revision v9", "hf:a/b/c": "is not a repository's name", "hf:org/old": "model.safetensors is needed",
	} {
		_, err := try[pipeline.PreflightResult](b, b.Preflight, pipeline.PreflightInput{Run: "run", Config: fromHub(name)})
		wantType(t, err, pipeline.InvalidInput, "model.weights: ")
		wantType(t, err, pipeline.InvalidInput, says)
	}
}
