package activities

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"distilvit/artifact/record"
	"distilvit/hub"
	"distilvit/hub/hubtest"
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

	first := do[pipeline.PreflightResult](b, b.Preflight, pipeline.PreflightInput{
		Run: "run", Config: fromHub("hf:org/captioner"),
	})
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
	again := do[pipeline.PreflightResult](b, b.Preflight, pipeline.PreflightInput{
		Run: "run", Config: fromHub("hf:org/captioner"),
	})
	if again.Config.Model.Weights != first.Config.Model.Weights {
		t.Errorf("a later execution uses %s", again.Config.Model.Weights)
	}
	other := do[pipeline.PreflightResult](b, b.Preflight, pipeline.PreflightInput{
		Run: "other", Config: fromHub("org/captioner@main"),
	})
	if want := "hf:org/captioner@" + moved; other.Config.Model.Weights != want {
		t.Errorf("another run uses %s instead of %s", other.Config.Model.Weights, want)
	}

	local := do[record.ModelRef](b, b.StorePretrained, pipeline.PretrainedInput{Run: "run", Weights: dir})
	ref := do[record.ModelRef](b, b.StorePretrained, pipeline.PretrainedInput{
		Run: "run", Weights: first.Config.Model.Weights,
	})
	if ref.Digest != local.Digest {
		t.Errorf("the hub's files are stored as %s, the same local ones as %s", ref.Digest, local.Digest)
	}
	only := do[record.ModelRef](b, b.StorePretrained, pipeline.PretrainedInput{
		Run: "run", Tokenizer: "hf:org/captioner",
	})
	if only.Files["tokenizer.json"].SHA256 != local.Files["tokenizer.json"].SHA256 ||
		only.Files[weightsFile].Key != "" {
		t.Errorf("a tokenizer alone is stored as %v", only.Files)
	}
	if got := startedFrom(first.Config.Model); !slices.Equal(got, []string{"org/captioner"}) {
		t.Errorf("the card names %s", got)
	}
	parts := pipeline.ModelConfig{Encoder: dir, Decoder: first.Config.Model.Weights}
	if got := startedFrom(parts); !slices.Equal(got, []string{filepath.Base(dir), "org/captioner"}) {
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
	s.Put(hub.Model, "org/bare", files)
	for name, says := range map[string]string{
		"hf:org/none":         "has no model org/none",
		"hf:org/captioner@v9": "no revision v9", "hf:a/b/c": "is not a repository's name",
		"hf:org/bare": "neither model.safetensors nor pytorch_model.bin",
	} {
		_, err := try[pipeline.PreflightResult](
			b, b.Preflight, pipeline.PreflightInput{Run: "run", Config: fromHub(name)},
		)
		wantType(t, err, pipeline.InvalidInput, "model.weights: ")
		wantType(t, err, pipeline.InvalidInput, says)
	}
}

func TestWithoutTheHubAPresetSaysWhatToBring(t *testing.T) {
	b := newBench(t)
	b.Hub = hub.Options{Endpoint: "http://127.0.0.1:1", CacheDir: t.TempDir(), Offline: true}
	c := tinyConfig()
	c.Model = pipeline.ModelConfig{Preset: "distilvit"}
	_, err := try[pipeline.PreflightResult](b, b.Preflight, pipeline.PreflightInput{Run: "run", Config: c})
	wantType(t, err, pipeline.InvalidInput, "hugging face model Mozilla/distilvit")
	wantType(t, err, pipeline.InvalidInput, "bring a directory with its files (config.json,")
	wantType(t, err, pipeline.InvalidInput, "model.weights: DIRECTORY")
}

// Without a connection nothing is waited for: storage that does not answer is, for half an hour.
func TestNoConnectionToTheHubIsSaidAtOnce(t *testing.T) {
	b := newBench(t)
	nobody := httptest.NewServer(nil)
	nobody.Close()
	b.Hub = hub.Options{Endpoint: nobody.URL, CacheDir: t.TempDir()}
	c := tinyConfig()
	c.Model = pipeline.ModelConfig{Preset: "distilvit"}
	_, err := try[pipeline.PreflightResult](b, b.Preflight, pipeline.PreflightInput{Run: "run", Config: c})
	wantType(t, err, pipeline.InvalidInput, "connection refused")
	wantType(t, err, pipeline.InvalidInput, "model.weights: DIRECTORY")

	c = tinyConfig()
	c.Dataset = []pipeline.SourceConfig{{Kind: pipeline.KindParquet, Files: pipeline.Paths{"hf:datasets/org/pictures"}}}
	_, err = try[pipeline.PreflightResult](b, b.Preflight, pipeline.PreflightInput{Run: "run", Config: c})
	wantType(t, err, pipeline.InvalidInput, "bring the files and name them: dataset[0].files: PATH")
}

// datasetOnHub gives a hub that has a Parquet fixture as shards of org/pictures, and
// captions apart from their pictures.
func datasetOnHub(t *testing.T, b *bench) (s *hubtest.Server, files map[string]hubtest.File) {
	t.Helper()
	rows, err := os.ReadFile("../dataset/testdata/parquet/hf_list.parquet")
	check(t, err)
	const karpathy = "../dataset/testdata/captions/"
	files = map[string]hubtest.File{
		"README.md":                         {Data: []byte("# pictures")},
		"data/train-00000-of-00002.parquet": {Data: rows, Large: true},
		"data/text.parquet":                 {Data: []byte("no Parquet")},
	}
	for _, name := range []string{"dataset_coco.json", "train2014.zip", "val2014.zip"} {
		data, err := os.ReadFile(karpathy + name)
		check(t, err)
		files["coco/"+name] = hubtest.File{Data: data, Large: strings.HasSuffix(name, ".zip")}
	}
	s = hubtest.Start(t)
	s.Put(hub.Dataset, "org/pictures", files)
	b.Hub = hub.Options{Endpoint: s.URL, CacheDir: t.TempDir()}
	return s, files
}

func parquetConfig(files string) pipeline.Config {
	c := tinyConfig()
	c.Dataset = []pipeline.SourceConfig{
		{Kind: pipeline.KindParquet, Files: pipeline.Paths{files}, SplitColumn: "split"},
	}
	return c
}

func TestDatasetsComeFromTheHubAtTheCommitOfTheFirstExecution(t *testing.T) {
	b := newBench(t)
	s, files := datasetOnHub(t, b)
	commit := s.Put(hub.Dataset, "org/pictures", files)
	in := pipeline.PreflightInput{
		Run: "run", Config: parquetConfig("hf:datasets/org/pictures/data/train-*.parquet"),
	}
	first := do[pipeline.PreflightResult](b, b.Preflight, in)
	pinned := "hf:datasets/org/pictures@" + commit + "/data/train-*.parquet"
	if got := first.Config.Dataset[0].Files; got.String() != pinned {
		t.Fatalf("files are frozen as %s instead of %s", got, pinned)
	}
	if r := s.Requests(); len(r) != 1 {
		t.Errorf("preflight asked for more than the list of files: %v", r)
	}

	// The repository gets another shard; the run does not. The first connection is cut.
	more := maps.Clone(files)
	more["data/train-00001-of-00002.parquet"] = files["data/train-00000-of-00002.parquet"]
	s.Put(hub.Dataset, "org/pictures", more)
	if again := do[pipeline.PreflightResult](b, b.Preflight, in); !reflect.DeepEqual(again, first) {
		t.Errorf("a later execution uses %+v", again.Config.Dataset)
	}
	cuts := 0
	s.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, "/large/") || cuts > 0 {
			return false
		}
		cuts++
		s.Cut(w, r, 1000)
		return true
	})
	s.Requests()
	w, sources := b.work("run", first.Config)
	if cuts != 1 ||
		!slices.ContainsFunc(s.Requests(), func(r hubtest.Request) bool { return r.Range == "bytes=1000-" }) {
		t.Error("a cut download did not go on")
	}
	if f := sources[0].Files; len(f) != 1 || f[0].Name != "train-00000-of-00002.parquet" ||
		f[0].Object.Key != "sources/"+f[0].Object.SHA256+"/"+f[0].Name {
		t.Errorf("files %+v", f)
	}
	if got := w.Dataset.Rows; got["train"] != 5 || got["validation"] != 3 || got["test"] != 3 ||
		w.Dataset.Bad != 0 {
		t.Errorf("dataset %+v", w.Dataset)
	}
	r := &readable{in: pipeline.PublishInput{Sources: sources}}
	if d := r.datasets(); len(d) != 1 || d[0].Name != "org/pictures" ||
		d[0].Note != "data/train-*.parquet, commit "+commit {
		t.Errorf("the card names %+v", d)
	}
	local, _ := b.work("local", parquetConfig("../dataset/testdata/parquet/hf_list.parquet"))
	if local.Dataset.Rows["train"] != 5 {
		t.Errorf("local dataset %+v", local.Dataset)
	}

	// Another worker has an empty cache and finds the files stored.
	cache := b.Hub.CacheDir
	b.Hub.CacheDir = t.TempDir()
	s.Requests()
	download := pipeline.DownloadInput{Run: "run", Source: first.Config.Dataset[0]}
	if again := do[pipeline.DownloadResult](b, b.Download, download); !reflect.DeepEqual(again, sources[0]) {
		t.Errorf("downloaded again: %+v", again)
	}
	if r := s.Requests(); len(r) != 1 {
		t.Errorf("asked for what is stored: %v", r)
	}

	// Without the hub, from its cache.
	b.Hub.CacheDir = cache
	b.Hub.Endpoint, b.Hub.Offline = "http://127.0.0.1:1", true
	in = pipeline.PreflightInput{Run: "offline", Config: first.Config}
	if offline := do[pipeline.PreflightResult](b, b.Preflight, in); offline.Config.Dataset[0].Files.String() != pinned {
		t.Errorf("offline %+v", offline.Config.Dataset)
	}
	if again := do[pipeline.DownloadResult](b, b.Download, download); again.Digest != sources[0].Digest {
		t.Error("the cache has other files")
	}
}

func TestEveryKindOfSourceComesFromTheHub(t *testing.T) {
	b := newBench(t)
	s, _ := datasetOnHub(t, b)
	c := tinyConfig()
	const repo = "hf:datasets/org/pictures/coco"
	c.Dataset = []pipeline.SourceConfig{
		{Kind: pipeline.KindKarpathy, Captions: repo + "/dataset_coco.json", Images: pipeline.Paths{repo}},
		{
			Kind: pipeline.KindParquet, SplitColumn: "split",
			Files: pipeline.Paths{"hf:datasets/org/pictures/data/train-00000-of-00002.parquet"},
		},
	}
	c = do[pipeline.PreflightResult](b, b.Preflight, pipeline.PreflightInput{Run: "run", Config: c}).Config
	if r := s.Requests(); len(r) != 3 {
		t.Errorf("%d requests for three paths", len(r))
	}
	w, sources := b.work("run", c)
	if len(sources[0].Files) != 3 || w.Dataset.Rows["train"] != 3+5 || w.Dataset.Bad != 0 {
		t.Errorf("files %+v, dataset %+v", sources[0].Files, w.Dataset)
	}
}

func TestWhatTheHubDoesNotHaveOfADatasetIsTheInputsFault(t *testing.T) {
	b := newBench(t)
	s, _ := datasetOnHub(t, b)
	for files, says := range map[string]string{
		"hf:datasets/org/none/data":        "dataset[0].files: hugging face dataset org/none@main: ",
		"hf:datasets/org/pictures@v9/data": "it has no revision v9",
		"hf:datasets/org/pictures/data/tset-*.parquet": "it has no file that fits data/tset-*.parquet; " +
			"it has data/text.parquet, data/train-00000-of-00002.parquet",
		"hf:org/pictures": "names no dataset of the Hugging Face hub; use hf:datasets/ORG/NAME[@REVISION]/PATH",
		"hf:datasets/org/pictures/data/../../x.parquet": "is no path inside a repository",
	} {
		_, err := try[pipeline.PreflightResult](b, b.Preflight, pipeline.PreflightInput{
			Run: "run", Config: parquetConfig(files),
		})
		wantType(t, err, pipeline.InvalidInput, says)
	}
	c := tinyConfig()
	c.Dataset = []pipeline.SourceConfig{{
		Kind: pipeline.KindKarpathy, Captions: "hf:datasets/org/pictures/coco/*",
		Images: pipeline.Paths{"hf:datasets/org/pictures/coco"},
	}}
	_, err := try[pipeline.PreflightResult](b, b.Preflight, pipeline.PreflightInput{Run: "run", Config: c})
	wantType(t, err, pipeline.InvalidInput,
		"dataset[0].captions: hf:datasets/org/pictures/coco/* names 3 files; one is wanted")

	source := parquetConfig("hf:datasets/org/pictures/data/train-*.parquet").Dataset[0]
	source.SHA256 = map[string]string{"files": strings.Repeat("0", 64)}
	_, err = try[pipeline.DownloadResult](b, b.Download, pipeline.DownloadInput{Run: "run", Source: source})
	wantType(t, err, pipeline.InvalidInput, "the config expects 0000")
	source = parquetConfig("hf:datasets/org/pictures/data/text.parquet").Dataset[0]
	text := do[pipeline.DownloadResult](b, b.Download, pipeline.DownloadInput{Run: "run", Source: source})
	_, err = try[pipeline.Plan](b, b.PlanPrepare, pipeline.PlanInput{
		Run: "run", Sources: []pipeline.DownloadResult{text}, Image: 32,
	})
	wantType(t, err, pipeline.InvalidInput, "text.parquet")

	s.Demand("hf_right")
	private := pipeline.PreflightInput{Run: "run", Config: parquetConfig("hf:datasets/org/pictures/data")}
	_, err = try[pipeline.PreflightResult](b, b.Preflight, private)
	wantType(t, err, pipeline.InvalidInput, "for a private one set HF_TOKEN")
	b.Hub.Token = "hf_wrong"
	_, err = try[pipeline.PreflightResult](b, b.Preflight, private)
	wantType(t, err, pipeline.InvalidInput, "does not accept the token")
	b.Hub.Token = "hf_right"
	do[pipeline.PreflightResult](b, b.Preflight, private)
}
