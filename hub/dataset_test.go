package hub

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"distilvit/hub/hubtest"
)

func TestFilesOfDatasetsAreNamed(t *testing.T) {
	commit := strings.Repeat("0a", 20)
	for text, want := range map[string]Files{
		"hf:datasets/org/name":  {Repo{Dataset, "org/name", "main"}, ""},
		"hf:datasets/org/name/": {Repo{Dataset, "org/name", "main"}, ""},
		"hf:datasets/org/name/data/train-*.parquet": {
			Repo{Dataset, "org/name", "main"}, "data/train-*.parquet",
		},
		"hf:datasets/org/name@v1.0/data": {
			Repo{Dataset, "org/name", "v1.0"}, "data",
		},
		"hf://datasets/org/na.me@" + commit + "/a b/c.zip": {
			Repo{Dataset, "org/na.me", commit}, "a b/c.zip",
		},
		"hf:datasets/org/name@refs/convert/parquet/default/train": {
			Repo{Dataset, "org/name", "refs/convert/parquet"}, "default/train",
		},
		"hf:datasets/org/name@feature%2Fx/a@b.parquet": {
			Repo{Dataset, "org/name", "feature/x"}, "a@b.parquet",
		},
	} {
		got, err := ParseFiles(text)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
		if again, err := ParseFiles(got.String()); err != nil || again != got {
			t.Errorf("%s is written %s, which is %+v, %v", text, got, again, err)
		}
	}
	for text, says := range map[string]string{
		"hf:org/name":                      "names no dataset",
		"hf:datasets/name":                 "names no dataset",
		"hf:datasets/org/name@/a":          "no revision after the @",
		"hf:datasets/org/name@x%zz/a":      "no revision after the @",
		"hf:datasets/org/../x/a":           "is not a repository's name",
		"hf:datasets/org/name/../a":        "is no path inside a repository",
		"hf:datasets/org/name//a":          "is no path inside a repository",
		"hf:datasets/org/name/[a":          "syntax error in pattern",
		"hf:datasets/org/name@../x/a":      "is not a revision",
		"hf:datasets/org/name@..%2F..%2Fx": "is not a revision",
	} {
		_, err := ParseFiles(text)
		fails(t, err, says)
	}
}

func TestFilesOfDatasetsAreSelected(t *testing.T) {
	all := []string{
		"README.md", "data/train-1.parquet", "data/train-0.parquet", "data/test-0.parquet",
		"data/deep/x.PARQUET", "images.zip", ".cache/y.parquet",
	}
	for _, c := range []struct {
		path, ext string
		want      []string
		says      string
	}{
		{"data/train-*.parquet", ".parquet", []string{"data/train-0.parquet", "data/train-1.parquet"}, ""},
		{"data", ".parquet", []string{
			"data/deep/x.PARQUET", "data/test-0.parquet", "data/train-0.parquet", "data/train-1.parquet",
		}, ""},
		{"data/test-0.parquet", ".parquet", []string{"data/test-0.parquet"}, ""},
		{"images.zip", "", []string{"images.zip"}, ""},
		{"README.md", ".parquet", []string{"README.md"}, ""}, // what it holds is another question
		{"", ".zip", []string{"images.zip"}, ""},
		{"", ".parquet", []string{
			"data/deep/x.PARQUET", "data/test-0.parquet", "data/train-0.parquet", "data/train-1.parquet",
		}, ""},
		{
			"data/dev-*.parquet", ".parquet", nil,
			"no file that fits data/dev-*.parquet; it has .cache/y.parquet, data/deep/x.PARQUET, " +
				"data/test-0.parquet, data/train-0.parquet, data/train-1.parquet",
		},
		{"dat", ".parquet", nil, "no file dat; it has"},
		{"data", "", nil, "no file data; it has"},
		{"", ".csv", nil, "no .csv file"},
	} {
		got, err := Files{
			Repo: Repo{Kind: Dataset, ID: "org/name", Revision: Main}, Path: c.path,
		}.Select(c.ext)(all)
		if c.says != "" {
			fails(t, err, c.says)
		} else if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, %v", c.path, got, err)
		}
	}
	_, err := Files{
		Repo: Repo{Kind: Dataset, ID: "org/name", Revision: Main},
	}.Select(".parquet")([]string{"a.jsonl"})
	fails(
		t, err,
		"no .parquet file; the hub may have made .parquet files of it: name revision @refs/convert/parquet",
	)
}

func TestResolveFetchesNothing(t *testing.T) {
	s := hubtest.Start(t)
	commit := s.Put(Dataset, "org/name", map[string]hubtest.File{
		"data/a.parquet": {Data: []byte("a"), Large: true}, "data/b.parquet": {Data: []byte("b")},
	}, "refs/convert/parquet")
	c := newClient(t, s)
	f, err := ParseFiles("hf:datasets/org/name@refs/convert/parquet/data/*.parquet")
	check(t, err)
	got, err := c.Resolve(t.Context(), f.Repo, f.Select(".parquet"))
	check(t, err)
	digests := map[string]string{"data/a.parquet": hubtest.File{Data: []byte("a"), Large: true}.Digest()}
	if got.Commit != commit || !slices.Equal(got.Files, []string{"data/a.parquet", "data/b.parquet"}) ||
		!maps.Equal(got.SHA256, digests) || got.Dir != "" {
		t.Errorf("%+v", got)
	}
	if r := s.Requests(); len(r) != 1 {
		t.Errorf("requests %v", r)
	}
	_, err = c.Resolve(t.Context(), Repo{Kind: Dataset, ID: "org/none"}, f.Select(".parquet"))
	fails(t, err, "hugging face dataset org/none@main: ", "has no dataset org/none, or it is private")
}
