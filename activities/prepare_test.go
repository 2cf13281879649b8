package activities

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"distilvit/artifact/record"
	"distilvit/dataset"
	"distilvit/dataset/pixels"
	"distilvit/model/tokenizer"
	"distilvit/pipeline"
	"distilvit/pipeline/sources"
)

// pictures writes n small pictures and a CSV of captions; those in broken are
// no pictures.
func pictures(t *testing.T, n int, broken ...int) (csv, images string) {
	t.Helper()
	dir := t.TempDir()
	images = filepath.Join(dir, "images")
	check(t, os.Mkdir(images, 0o755))
	var lines bytes.Buffer
	lines.WriteString("image,caption\n")
	for i := range n {
		name := fmt.Sprintf("p%02d.png", i)
		content := []byte("this is text, not a picture")
		if !slices.Contains(broken, i) {
			content = picture(t, uint8(i))
		}
		check(t, os.WriteFile(filepath.Join(images, name), content, 0o644))
		fmt.Fprintf(&lines, "%s,a square of shade %d\n", name, i)
	}
	csv = filepath.Join(dir, "captions.csv")
	check(t, os.WriteFile(csv, lines.Bytes(), 0o644))
	return csv, images
}

func picture(t *testing.T, shade uint8) []byte {
	t.Helper()
	m := image.NewRGBA(image.Rect(0, 0, 20, 12))
	for i := range m.Pix {
		m.Pix[i] = 255
	}
	for y := range 12 {
		for x := range 20 {
			m.Set(x, y, color.RGBA{shade * 5, 100, 200, 255})
		}
	}
	var b bytes.Buffer
	check(t, png.Encode(&b, m))
	return b.Bytes()
}

func folderConfig(csv, images string) pipeline.Config {
	c := tinyConfig()
	c.Dataset = []pipeline.SourceConfig{
		{Kind: pipeline.KindFolder, Captions: csv, Images: pipeline.Paths{images}},
	}
	c.Prepare.ValidationFraction, c.Prepare.TestFraction = 0.2, 0.1
	return c
}

func TestFolderIsPackedPreparedAndReusedWithAnotherTokenizer(t *testing.T) {
	b := newBench(t)
	c := folderConfig(pictures(t, 40))
	w, sources := b.work("one", c)
	if n := w.Dataset.Rows["train"] + w.Dataset.Rows["validation"] + w.Dataset.Rows["test"]; n != 40 ||
		w.Dataset.Bad != 0 {
		t.Errorf("dataset %+v", w.Dataset)
	}
	if f := sources[0].Files; len(f) != 2 || f[1].Name != "images-0000.zip" ||
		!strings.HasPrefix(f[1].Object.Key, "sources/"+f[1].Object.SHA256+"/") {
		t.Errorf("files %+v", f)
	}
	stored := b.keys("datasets/")

	// The same pictures and captions elsewhere on the disk, another vocabulary.
	c.Model.VocabSize = 260
	csv, images := pictures(t, 40)
	c.Dataset[0].Captions, c.Dataset[0].Images = csv, pipeline.Paths{images}
	again, _ := b.work("two", c)
	if again.Dataset.Manifest != w.Dataset.Manifest || !slices.Equal(b.keys("datasets/"), stored) {
		t.Error("the pictures were stored again")
	}
	if again.Tokens.Manifest == w.Tokens.Manifest || again.Model.Digest == w.Model.Digest {
		t.Error("another tokenizer has the same tokens")
	}

	c.Prepare.ExifOrientation = true
	turned, _ := b.work("three", c)
	if turned.Dataset.Manifest == w.Dataset.Manifest {
		t.Error("turned pictures have the same key")
	}
}

func TestBadPicturesAreListedAndTooManyFail(t *testing.T) {
	b := newBench(t)
	csv, images := pictures(t, 40, 7, 11)
	c := folderConfig(csv, images)
	c.Prepare.MaxBadFraction = 0.1
	w, _ := b.work("run", c)
	if w.Dataset.Bad != 2 || !slices.ContainsFunc(w.Dataset.Warnings, func(s string) bool {
		return strings.Contains(s, "2 of 40 pictures were left out")
	}) {
		t.Errorf("dataset %+v", w.Dataset)
	}
	var m record.DatasetManifest
	check(t, b.Store.GetJSON(t.Context(), w.Dataset.Manifest, &m))
	var ids []string
	for _, o := range m.BadLists {
		raw, err := b.Store.GetBytes(t.Context(), o)
		check(t, err)
		var bad []dataset.Bad
		check(t, json.Unmarshal(raw, &bad))
		for _, e := range bad {
			if e.Reason == "" {
				t.Errorf("no reason for %s", e.ID)
			}
			ids = append(ids, e.ID)
		}
	}
	slices.Sort(ids)
	if len(ids) != 2 || !strings.Contains(ids[0], "p07") || !strings.Contains(ids[1], "p11") {
		t.Errorf("listed: %v", ids)
	}
	_, err := try[pipeline.Dataset](b, b.FinishPrepare, pipeline.FinishPrepareInput{
		Run: "run", Dataset: strings.TrimSuffix(w.Dataset.Manifest, "/manifest.json"),
		Prepare: pipeline.PrepareConfig{MaxBadFraction: 0.01},
	})
	wantType(t, err, pipeline.InvalidInput,
		"2 of 40 pictures cannot be used (5.0 %), prepare.max_bad_fraction allows 1.0 %; for example p")
}

func TestURLsAreDownloadedOnceAndChecked(t *testing.T) {
	b := newBench(t)
	csv, _ := pictures(t, 3)
	content, err := os.ReadFile(csv)
	check(t, err)
	var gets int
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			gets++
		}
		if r.URL.Path != "/captions.csv" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("ETag", `"one"`)
		w.Write(content)
	}))
	defer server.Close()
	in := pipeline.DownloadInput{Run: "run", Source: pipeline.SourceConfig{
		Kind: pipeline.KindFolder, Captions: server.URL + "/captions.csv",
	}}
	first := do[pipeline.DownloadResult](b, b.Download, in)
	if second := do[pipeline.DownloadResult](b, b.Download, in); second.Digest != first.Digest || gets != 1 {
		t.Errorf("%d downloads of one version", gets)
	}
	local := do[pipeline.DownloadResult](b, b.Download, pipeline.DownloadInput{
		Run: "run", Source: pipeline.SourceConfig{Kind: pipeline.KindFolder, Captions: csv},
	})
	if local.Digest != first.Digest {
		t.Error("the same bytes from a file and a URL have different digests")
	}
	in.Source.SHA256 = map[string]string{"captions": strings.Repeat("0", 64)}
	_, err = try[pipeline.DownloadResult](b, b.Download, in)
	wantType(t, err, pipeline.InvalidInput, "dataset[0].captions")
	in.Source.Captions = csv
	_, err = try[pipeline.DownloadResult](b, b.Download, in)
	wantType(t, err, pipeline.InvalidInput, "the config expects 0000")
	in.Source.Captions = server.URL + "/nothing.csv"
	_, err = try[pipeline.DownloadResult](b, b.Download, in)
	wantType(t, err, pipeline.InvalidInput, "404 Not Found")
}

// The server lets in who knows the password and the token; nothing that the run leaves knows them.
func TestSecretsOfURLsAreUsedAndNotKept(t *testing.T) {
	b := newBench(t)
	const password, token = "correct-horse", "battery-staple"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, given, _ := r.BasicAuth()
		if given != password || r.URL.Query().Get("token") != token {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		w.Header().Set("ETag", `"one"`)
		w.Write([]byte("image,caption\na.jpg,x\n"))
	}))
	defer server.Close()
	secrets := map[string]string{"DISTILVIT_SECRET_P": password, "DISTILVIT_SECRET_T": token}
	b.Secrets = func(name string) (string, bool, error) { v, ok := secrets[name]; return v, ok, nil }
	from := strings.Replace(server.URL, "://", "://me:${DISTILVIT_SECRET_P}@", 1) + "/c.csv?token=${DISTILVIT_SECRET_T}"
	in := pipeline.DownloadInput{Run: "run", Source: pipeline.SourceConfig{Kind: pipeline.KindFolder, Captions: from}}
	check(t, b.checkSource(t.Context(), 0, in.Source, sources.Spec(in.Source, pipeline.PrepareConfig{})))
	out := do[pipeline.DownloadResult](b, b.Download, in)
	said, err := json.Marshal(out)
	check(t, err)
	secrets["DISTILVIT_SECRET_T"] = "tr0ub4dor"
	_, refused := try[pipeline.DownloadResult](b, b.Download, in)
	wantType(t, refused, pipeline.InvalidInput, "the server answers 401")
	server.Close()
	_, away := try[pipeline.DownloadResult](b, b.Download, in)
	delete(secrets, "DISTILVIT_SECRET_T")
	_, missing := try[pipeline.DownloadResult](b, b.Download, in)
	wantType(t, missing, pipeline.InvalidInput, "the worker's environment has no DISTILVIT_SECRET_T")
	for _, text := range []string{string(said), refused.Error(), away.Error(), missing.Error()} {
		for _, secret := range []string{password, token, "tr0ub4dor"} {
			if strings.Contains(text, secret) {
				t.Errorf("the secret %s is in %s", secret, text)
			}
		}
	}
	for o, err := range b.Store.List(t.Context(), "") {
		check(t, err)
		if strings.Contains(o.Key, token) || strings.Contains(o.Key, password) {
			t.Errorf("the store has %s", o.Key)
		}
	}
}

func TestParquetFilesArePreparedWithTheirOwnSplits(t *testing.T) {
	b := newBench(t)
	c := tinyConfig()
	dir := t.TempDir()
	content, err := os.ReadFile("../dataset/testdata/parquet/hf_list.parquet")
	check(t, err)
	check(t, os.WriteFile(filepath.Join(dir, "train-00000-of-00001.parquet"), content, 0o644))
	c.Dataset = []pipeline.SourceConfig{{
		Kind: pipeline.KindParquet, Files: pipeline.Paths{filepath.Join(dir, "train-*.parquet")},
		SplitColumn: "split",
	}}
	w, sources := b.work("one", c)
	if got := w.Dataset.Rows; got["train"] != 5 || got["validation"] != 3 || got["test"] != 3 ||
		w.Dataset.Bad != 0 {
		t.Errorf("dataset %+v", w.Dataset)
	}
	if f := sources[0].Files; len(f) != 1 || f[0].Role != "files" ||
		f[0].Name != "train-00000-of-00001.parquet" {
		t.Errorf("files %+v", f)
	}
	c.Dataset[0].Files = pipeline.Paths{dir}
	if again, _ := b.work("two", c); again.Dataset.Manifest != w.Dataset.Manifest {
		t.Error("a folder with the same file makes another dataset")
	}
	c.Dataset[0].IDColumn = "img_id"
	if other, _ := b.work("three", c); other.Dataset.Manifest == w.Dataset.Manifest {
		t.Error("other columns make the same dataset")
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "test-*.parquet"): "dataset[0].files: " + filepath.Join(dir, "test-*.parquet") +
			": no file fits this pattern",
		t.TempDir():                        "no .parquet files in it",
		filepath.Join(dir, "none.parquet"): "no such file",
	} {
		c.Dataset[0].Files = pipeline.Paths{path}
		_, err := try[pipeline.PreflightResult](b, b.Preflight, pipeline.PreflightInput{Run: "bad", Config: c})
		wantType(t, err, pipeline.InvalidInput, want)
	}
	c.Dataset[0].Files, c.Dataset[0].SHA256 = pipeline.Paths{dir}, map[string]string{"files": strings.Repeat("0", 64)}
	_, err = try[pipeline.DownloadResult](b, b.Download, pipeline.DownloadInput{Run: "run", Source: c.Dataset[0]})
	wantType(t, err, pipeline.InvalidInput, "a sha256 can only be given for a file")
}

func TestKarpathysSplitsArePreparedFromSeveralArchives(t *testing.T) {
	b := newBench(t)
	c := tinyConfig()
	dir := "../dataset/testdata/captions/"
	c.Dataset = []pipeline.SourceConfig{
		{Kind: pipeline.KindKarpathy, Captions: dir + "dataset_coco.json", Images: pipeline.Paths{
			dir + "train2014.zip", dir + "val2014.zip",
		}},
		{
			Kind: pipeline.KindCOCO, Split: "train",
			Captions: dir + "annotations_trainval2017.zip#annotations/captions_train2017.json",
			Images:   pipeline.Paths{dir + "train2017.zip"},
		},
	}
	for _, s := range c.Dataset {
		check(t, b.checkSource(t.Context(), 0, s, sources.Spec(s, pipeline.PrepareConfig{})))
	}
	w, _ := b.work("one", c)
	if got := w.Dataset.Rows; got["train"] != 6 || got["validation"] != 1 || got["test"] != 1 ||
		w.Dataset.Bad != 0 {
		t.Errorf("dataset %+v", w.Dataset)
	}
}

func TestWeightsChooseAmongTheSamePreparedPictures(t *testing.T) {
	b := newBench(t)
	c := folderConfig(pictures(t, 40))
	csv, images := pictures(t, 10)
	c.Dataset = append(c.Dataset, pipeline.SourceConfig{
		Kind: pipeline.KindFolder, Split: "train", Captions: csv, Images: pipeline.Paths{images}, Weight: 2.5,
	})
	w, _ := b.work("one", c)
	first := w.Dataset.Rows["train"] - 10
	if w.Dataset.Seen != first+25 || !slices.Equal(w.Dataset.Weights, []float64{1, 2.5}) {
		t.Errorf("dataset %+v", w.Dataset)
	}
	if got, want := stepsPerEpoch(w), int64(first+25+c.Train.BatchSize-1)/int64(c.Train.BatchSize); got != want {
		t.Errorf("%d steps an epoch, not %d", got, want)
	}
	a := b.Activities
	pairs, done, err := a.pairs(t.Context(), &pulse{}, w, pipeline.SplitTrain)
	check(t, err)
	defer done()
	loader, err := dataset.NewLoader(pairs, dataset.LoaderConfig{
		BatchSize: c.Train.BatchSize, CaptionsPerPicture: 1, Width: 32, Height: 32,
	})
	check(t, err)
	defer loader.Close()
	if loader.StepsPerEpoch() != stepsPerEpoch(w) {
		t.Errorf("the trainer takes %d steps, the schedule has %d", loader.StepsPerEpoch(), stepsPerEpoch(w))
	}
	c.Dataset[1].Weight = 0.5
	again, _ := b.work("two", c)
	if again.Dataset.Manifest != w.Dataset.Manifest || again.Tokens.Manifest != w.Tokens.Manifest ||
		again.Dataset.Seen != first+5 {
		t.Errorf("another weight: %+v", again.Dataset)
	}
	c.Dataset[1].Weight = 1
	if plain, _ := b.work("three", c); plain.Dataset.Manifest == w.Dataset.Manifest ||
		plain.Dataset.Seen != 0 {
		t.Errorf("without weights: %+v", plain.Dataset)
	}
}

// Names of prepared data hang on these: a new key of Spec must not change them.
func TestDatasetKeysOfOlderConfigsStay(t *testing.T) {
	in := pipeline.PlanInput{Sources: []pipeline.DownloadResult{{
		Source: pipeline.SourceConfig{
			Kind: pipeline.KindCOCO, Split: "train", Limit: 3, Captions: "c.json",
			Images: pipeline.Paths{"i.zip"},
		},
		Digest: "d",
	}}, Prepare: pipeline.PrepareConfig{ShardRows: 10}}
	proc := pixels.NewProcessor(64)
	proc.JPEG = pixels.JPEGStandard
	key, err := prepareKey(in, proc)
	check(t, err)
	in.Sources[0].Source.Clean.Lower = true
	cleaned, err := prepareKey(in, proc)
	check(t, err)
	if cleaned == key {
		t.Error("cleaned captions have the same key")
	}
	if want := "96b2b85a5f1dfc996e244ef87ac73feb1417208ca327299a756f655bd8537300"; key != want {
		t.Errorf("key %s, not %s", key, want)
	}
}

func TestPreflightNamesWhatIsWrong(t *testing.T) {
	b := newBench(t)
	good := tinyConfig()
	first := do[pipeline.PreflightResult](b, b.Preflight, pipeline.PreflightInput{Run: "run", Config: good})
	again := do[pipeline.PreflightResult](b, b.Preflight, pipeline.PreflightInput{Run: "run", Config: good})
	if again.Object != first.Object {
		t.Errorf("%+v, %+v", first, again)
	}
	csv, images := pictures(t, 3)
	for _, c := range []struct {
		change func(*pipeline.Config)
		text   string
	}{
		{func(c *pipeline.Config) { c.Seed++ }, "run run exists with another config"},
		{func(c *pipeline.Config) { c.Train.BatchSize = 0 }, "train.batch_size"},
		{
			func(c *pipeline.Config) { c.Dataset = folderConfig(csv+"x", images).Dataset },
			"dataset[0].captions: open " + csv + "x: no such file",
		},
		{func(c *pipeline.Config) { c.Model = pipeline.ModelConfig{Weights: images} }, "model.weights"},
		{func(c *pipeline.Config) { c.Model.Tokenizer = images }, "model.tokenizer"},
	} {
		config := good
		config.Dataset = slices.Clone(good.Dataset)
		c.change(&config)
		_, err := try[pipeline.PreflightResult](
			b, b.Preflight, pipeline.PreflightInput{Run: "run", Config: config},
		)
		wantType(t, err, pipeline.InvalidInput, c.text)
	}
	bad := good
	bad.Backend = pipeline.BackendCUDA
	_, err := try[pipeline.PreflightResult](
		b, b.Preflight, pipeline.PreflightInput{Run: "run", Config: bad, Device: true},
	)
	wantType(t, err, pipeline.InvalidInput, "cuda")
}

func TestCompatSeedStoresPaddedLabelsOfOneCaption(t *testing.T) {
	b := newBench(t)
	c := tinyConfig()
	c.Model.Positions = 128
	plain, _ := b.work("plain", c)
	c.Compat, c.Train.MaxLength = pipeline.CompatSeed, 0
	c = c.Resolve()
	check(t, c.Validate())
	w, _ := b.work("seed", c)
	if w.Tokens.Manifest == plain.Tokens.Manifest || w.Dataset.Manifest == plain.Dataset.Manifest {
		t.Error("the same data as without compat")
	}
	pairs, done, err := b.pairs(t.Context(), &pulse{}, w, pipeline.SplitValidation)
	check(t, err)
	defer done()
	for batch, err := range dataset.Sequential(t.Context(), pairs, 4, 0) {
		check(t, err)
		if batch.K != 1 || batch.T != 128 || slices.Contains(batch.Labels, dataset.Masked) ||
			len(batch.Captions[0]) != 1 {
			t.Errorf("%d captions of %d labels, references %q", batch.K, batch.T, batch.Captions)
		}
	}
}

// Names of token shards of older configs hang on this.
func TestTokenKeysWithoutCompatStay(t *testing.T) {
	words, err := tokenizer.Load("../model/testdata/seed")
	check(t, err)
	in := pipeline.TokenizeInput{Dataset: pipeline.Dataset{Manifest: "m"}, MaxLength: 32}
	key, err := tokensPrefix(in, words)
	check(t, err)
	if want := "tokens/2d84a8e5249f12e8799e3d4baa7bce5b6adf3e1137a1a913a52e080112ef8987"; key != want {
		t.Errorf("key %s, not %s", key, want)
	}
	in.Compat = pipeline.CompatSeed
	if seed, err := tokensPrefix(in, words); err != nil || seed == key {
		t.Errorf("compat: seed has the same key, %v", err)
	}
}
