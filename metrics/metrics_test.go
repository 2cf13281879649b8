package metrics

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"math"
	"os"
	"reflect"
	"strings"
	"testing"
)

func golden(t *testing.T, name string) []byte {
	t.Helper()
	f, err := os.Open("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestRougeEqualsRougeScore(t *testing.T) {
	var cases []struct {
		Prediction string
		References []string
		Scores     [4]float64
	}
	if err := json.Unmarshal(golden(t, "golden.json.gz"), &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) < 300 {
		t.Fatalf("%d pairs", len(cases))
	}
	for _, c := range cases {
		r := Rouge(c.Prediction, c.References, RougeScoreWords)
		for i, got := range []float64{r.R1, r.R2, r.RL, r.RLsum} {
			if math.Abs(got-c.Scores[i]) > 1e-15 {
				t.Errorf("%q against %q: metric %d is %v, want %v", c.Prediction, c.References,
					i, got, c.Scores[i])
			}
		}
	}
}

func TestStemEqualsNLTK(t *testing.T) {
	lines := strings.Split(strings.TrimSpace(string(golden(t, "stems.txt.gz"))), "\n")
	if len(lines) < 3000 {
		t.Fatalf("%d words", len(lines))
	}
	for _, line := range lines {
		word, want, _ := strings.Cut(line, " ")
		if got := stem(word); got != want {
			t.Errorf("stem(%q) = %q, want %q", word, got, want)
		}
	}
}

func TestScoreReportsGroupsApart(t *testing.T) {
	predictions := []Prediction{
		{
			Caption: "a red dog", TokenIDs: []int32{1, 2, 3, 4}, References: []string{"a red dog"},
			Group: "seen",
		},
		{
			Caption: " a red dog ", TokenIDs: []int32{1, 2},
			References: []string{"something else", "a red dog"}, Group: "seen",
		},
		{Caption: "nothing", TokenIDs: nil, References: []string{"blue sky"}, Group: "unseen"},
		{Caption: "no references"},
	}
	all, groups := Score(predictions, RougeScoreWords)
	if math.Abs(all.Bleu1-600.0/9) > 1e-6 || math.Abs(groups["seen"].Bleu3-100) > 1e-6 ||
		groups["unseen"].Bleu1 > 1e-6 {
		t.Errorf("BLEU: %+v, %+v", all, groups)
	}
	all = withoutCorpusScores(all)
	for name, scores := range groups {
		groups[name] = withoutCorpusScores(scores)
	}
	want := Scores{
		Rouge1: 50, Rouge2: 50, RougeL: 50, RougeLsum: 50, GenLen: 1.5, ExactMatch: 50, Distinct: 75,
		Commonest: 50, N: 4,
	}
	if all != want {
		t.Errorf("all: %+v", all)
	}
	wantGroups := map[string]Scores{
		"seen": {
			Rouge1: 100, Rouge2: 100, RougeL: 100, RougeLsum: 100, GenLen: 3, ExactMatch: 100, Distinct: 50,
			Commonest: 100, N: 2,
		},
		"unseen": {Distinct: 100, Commonest: 100, N: 1},
	}
	if !reflect.DeepEqual(groups, wantGroups) {
		t.Errorf("groups: %+v", groups)
	}
}

// withoutCorpusScores leaves what is a mean of single predictions' scores.
func withoutCorpusScores(s Scores) Scores {
	s.Bleu1, s.Bleu2, s.Bleu3, s.Bleu4, s.Cider = 0, 0, 0, 0, 0
	return s
}

func TestScoreOfNothingIsZero(t *testing.T) {
	all, groups := Score(nil, RougeScoreWords)
	if all != (Scores{}) || groups != nil {
		t.Errorf("%+v, %v", all, groups)
	}
}

func FuzzRougeStaysBetween0And1(f *testing.F) {
	f.Add("two dogs", "two dogs\nrunning")
	f.Add("", "\n")
	f.Fuzz(func(t *testing.T, prediction, reference string) {
		r := Rouge(prediction, []string{reference}, RougeScoreWords)
		for _, v := range []float64{r.R1, r.R2, r.RL, r.RLsum} {
			if !(v >= 0 && v <= 1) {
				t.Fatalf("%+v", r)
			}
		}
	})
}
