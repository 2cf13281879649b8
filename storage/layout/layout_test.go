package layout

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const digest = "0a11c8e1b0d7c9f0a5b3c4d2e6f708192a3b4c5d6e7f8091a2b3c4d5e6f70819"

// Every object that docs/storage.md lists is what a function here makes of the same
// parts, and the other way round.
func TestKeysAreThoseThatTheDocumentationLists(t *testing.T) {
	made := []string{
		SourceFile(digest, "a.zip"), Blob(Source(digest), digest, ".json"), File(ModelDir(digest), "a.zip"),
		Blob(Dataset("key"), digest, ".parquet"), Blob(Dataset("key"), digest, ".json"),
		Plan(Dataset("key")), Manifest(Dataset("key")),
		Blob(TokenShards("key"), digest, ".parquet"), Blob(TokenShards("key"), digest, ".json"), Manifest(TokenShards("key")),
		Blob(FeatureShards("key"), digest, ".safetensors"), Manifest(FeatureShards("key")),
		Blob(TeacherShards("key"), digest, ".safetensors"), Manifest(TeacherShards("key")),
		Run("r-b7").Config(), Run("r-b7").Report(), Run("r-b7").Ref(Dataset("key")),
		Blob(Run("r-b7").Blobs(), digest, ""), Run("r-b7").Checkpoint(2, 30), Run("r-b7").Metrics(2, 4),
		Run("r-b7").Predictions(2, 30, "test", 0), Run("r-b7").Predictions(2, 30, "test", 9),
		Run("r-b7").Progress(2, 5), Run("r-b7").Export("key"), Run("r-b7").Log("20260101T000000.1-77.log"),
		Run("r-b7").Events(4),
		File(Model{"m", "r-b7", 2}.Group(), "onnx/a.onnx"), Condemned(Dataset("key")), Check("XYZ"),
		Marker, Latest("m"), SweepReport("s"), SweepDocument("s"),
	}
	listed := documented(t)
	for _, key := range listed {
		if !slices.Contains(made, key) {
			t.Errorf("docs/storage.md lists %s, which nothing here makes", key)
		}
	}
	for _, key := range made {
		if !slices.Contains(listed, key) {
			t.Errorf("docs/storage.md does not list %s", key)
		}
	}
}

// documented are the keys of the block "Objects", with values in the placeholders.
func documented(t *testing.T) []string {
	raw, err := os.ReadFile("../../docs/storage.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(raw), "\n## Objects\n")
	section, _, _ = strings.Cut(section, "\n### ")
	block := regexp.MustCompile(`(?m)^    (\S.*)$`).FindAllStringSubmatch(section, -1)
	values := strings.NewReplacer(
		"<digest>", digest, "<sha256>", digest, "<file>", "a.zip", "<key>", "key", "<group>", "datasets/key",
		"<run>", "r-b7",
		"<step>", "30", "<split>", "test", "<limit>", "9", "<time>", "20260101T000000.1", "<pid>", "77",
		"<name>", "m", "<sweep>", "s", "<random>", "XYZ", "…", "onnx/a.onnx",
		"metrics/<branch>-<epoch>", "metrics/0002-000004", "progress/<branch>-<epochs>",
		"progress/0002-000005", "<branch>", "2", "<epoch>", "0000000004",
	)
	var keys []string
	for _, line := range block {
		patterns, _, _ := strings.Cut(line[1], "  ") // a description follows
		folder := ""
		for pattern := range strings.SplitSeq(patterns, ", ") {
			if !strings.Contains(pattern, "/") {
				pattern = folder + pattern
			}
			folder = pattern[:strings.LastIndex(pattern, "/")+1]
			key := values.Replace(pattern)
			option := regexp.MustCompile(`\[(.*)\]`)
			for _, k := range slices.Compact(
				[]string{option.ReplaceAllString(key, ""), option.ReplaceAllString(key, "$1")},
			) {
				if strings.ContainsAny(k, "<>[] ") {
					t.Errorf("docs/storage.md: %q has parts that this test does not know", line[1])
				}
				keys = append(keys, k)
			}
		}
	}
	return keys
}

func TestKeysAreReadAsTheyWereMade(t *testing.T) {
	run := Run("r-b7")
	if r, branch, step, ok := ParseCheckpoint(run.Checkpoint(12, 345)); r != run || branch != 12 ||
		step != 345 || !ok {
		t.Errorf("checkpoint: %s, %d, %d, %v", r, branch, step, ok)
	}
	if branch, epoch, ok := ParseMetrics(run.Metrics(12, 345)); branch != 12 || epoch != 345 || !ok {
		t.Errorf("metrics: %d, %d, %v", branch, epoch, ok)
	}
	if group, ok := RefOf(run.Ref("models/m/r-b1")); group != "models/m/r-b1" || !ok {
		t.Errorf("reference: %q, %v", group, ok)
	}
	m := Model{"m", "r-b7", 12}
	if got, ok := ParseModel(m.Group()); got != m || !ok {
		t.Errorf("model: %+v, %v", got, ok)
	}
	if group, ok := ManifestOf(Manifest(m.Group())); group != m.Group() || !ok {
		t.Errorf("manifest: %q, %v", group, ok)
	}
	if name, ok := NameIn(m.Group(), File(m.Group(), "onnx/a.onnx")); name != "onnx/a.onnx" || !ok {
		t.Errorf("name: %q, %v", name, ok)
	}
	for _, key := range []string{Latest("m"), "models/m", "models/m/"} {
		if name, ok := NameOf(key); name != "m" || !ok {
			t.Errorf("name of %s: %q, %v", key, name, ok)
		}
	}
	if sum, ok := DigestOf(Blob(Dataset("key"), digest, ".parquet")); sum != digest || !ok {
		t.Errorf("digest: %q, %v", sum, ok)
	}
	if r, kind, rest, ok := InRun(run.Log("x.log")); r != run || kind != Logs || rest != "x.log" || !ok {
		t.Errorf("log: %s, %s, %s, %v", r, kind, rest, ok)
	}
}

func TestWhatHasNotTheFormOfAKeyIsNotReadAsOne(t *testing.T) {
	for _, key := range []string{
		"", "runs", "runs/", "elsewhere/x/y", "/runs/r/x", "run/r/x", ".check/x", "condemned/runs/r.json",
	} {
		if group, ok := GroupOf(key); ok {
			t.Errorf("group of %q: %q", key, group)
		}
	}
	for key, want := range map[string]string{
		"datasets/k/x": "datasets/k", "runs/r/blobs/x": "runs/r", "models/m/r-b1/onnx/x": "models/m/r-b1",
		"datasets/k": "", "models/m/x": "", "runs//x": "", "models//r-b1/x": "",
	} {
		if group, ok := GroupOf(key); group != want || ok != (want != "") {
			t.Errorf("group of %q: %q, %v", key, group, ok)
		}
	}
	for _, key := range []string{
		"models/m/r", "models/m/r-b", "models/m/-b1", "models/m/r-bx", "models/m/r-b+1", "models/m/r-b-1",
		"models/m", "runs/m/r-b1",
	} {
		if m, ok := ParseModel(key); ok {
			t.Errorf("model %q: %+v", key, m)
		}
	}
	for _, key := range []string{
		"runs/r/checkpoints/1/2/other.json", "runs/r/checkpoints/1/2", "runs/r/blobs/1/2/manifest.json",
		"runs/r/checkpoints/x/2/manifest.json", "runs/r/checkpoints/1/2/3/manifest.json",
	} {
		if _, _, _, ok := ParseCheckpoint(key); ok {
			t.Errorf("checkpoint %q", key)
		}
	}
	for _, key := range []string{"models/m/r-b1", "models", "models/", "models//latest", "runs/m", "models/m/latest/x"} {
		if name, ok := NameOf(key); ok {
			t.Errorf("name of %s: %q", key, name)
		}
	}
	if group, ok := GroupOf(Latest("m")); ok {
		t.Errorf("%s is of group %s", Latest("m"), group)
	}
	if _, ok := DigestOf("sources/" + digest + "/a.zip"); ok {
		t.Error("a source's key names no digest of its bytes")
	}
	if got := SafeName("../ä b.zip"); got != "___b.zip" {
		t.Errorf("safe name %q", got)
	}
}
