package metrics

import (
	"archive/zip"
	"math"
	"os"
	"path/filepath"
	"testing"
)

func TestMeteorEqualsItsJarWithLittleData(t *testing.T) {
	d, err := OpenMeteorData("testdata/meteor")
	if err != nil {
		t.Fatal(err)
	}
	compareMeteor(t, d, func(g meteorGolden) float64 { return g.MeteorSmall })
}

func TestMeteorEqualsItsJar(t *testing.T) {
	path := os.Getenv("DISTILVIT_METEOR_DATA")
	if path == "" {
		t.Skip("DISTILVIT_METEOR_DATA does not name METEOR's data: the directory meteor of the Python package pycocoevalcap")
	}
	d, err := OpenMeteorData(path)
	if err != nil {
		t.Fatal(err)
	}
	compareMeteor(t, d, func(g meteorGolden) float64 { return g.Meteor })
}

func compareMeteor(t *testing.T, d *MeteorData, want func(meteorGolden) float64) {
	t.Helper()
	for i, corpus := range readCocoGolden(t).Corpora {
		var predictions []Prediction
		for _, e := range corpus.Examples {
			predictions = append(predictions, Prediction{Caption: e.Caption, References: e.References})
		}
		score, each, err := d.Meteor(Tokenize(predictions, RougeScoreWords))
		if err != nil {
			t.Fatal(err)
		}
		if !(math.Abs(score-want(corpus.meteorGolden)) <= 1e-12) {
			t.Errorf("corpus %d: %v, want %v", i, score, want(corpus.meteorGolden))
		}
		for j, e := range corpus.Examples {
			if !(math.Abs(each[j]-want(e.meteorGolden)) <= 1e-12) {
				t.Errorf("corpus %d, %q against %q: %v, want %v", i, e.Caption, e.References, each[j],
					want(e.meteorGolden))
			}
		}
	}
}

func TestMeteorReadsItsJar(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "data"), os.DirFS("testdata/meteor/data")); err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(filepath.Join(dir, "meteor-1.5.jar"))
	if err != nil {
		t.Fatal(err)
	}
	z := zip.NewWriter(file)
	if err := z.AddFS(os.DirFS("testdata/meteor")); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	file.Close()
	for _, path := range []string{dir, file.Name()} {
		d, err := OpenMeteorData(path)
		if err != nil {
			t.Fatal(err)
		}
		compareMeteor(t, d, func(g meteorGolden) float64 { return g.MeteorSmall })
	}
}

func TestMeteorSaysWhatItMisses(t *testing.T) {
	for _, missing := range []string{
		meteorTable, meteorFunctionWords, meteorPrefixes, meteorExceptions, meteorSynsets,
	} {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS("testdata/meteor")); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(dir, missing)); err != nil {
			t.Fatal(err)
		}
		want := "no " + missing + " in " + dir + ": " + meteorHint
		if _, err := OpenMeteorData(dir); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestMeteorOfADamagedTableIsAnError(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/meteor")); err != nil {
		t.Fatal(err)
	}
	table := filepath.Join(dir, "data", "paraphrase-en.gz")
	for _, damaged := range [][]byte{{}, []byte("no gzip")} {
		if err := os.WriteFile(table, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := OpenMeteorData(dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := d.Meteor(
			Words{Candidates: [][]string{{"a"}}, References: [][][]string{{{"a"}}}},
		); err == nil {
			t.Error("no error")
		}
	}
}
