package metrics

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
)

// unicodeGolden is what make_golden_unicode.py makes.
type unicodeGolden struct {
	Texts []struct {
		Text  string
		Words []string
	}
	Corpora []struct {
		Language    string
		Predictions []struct {
			Caption    string
			References []string
			Rouge      [4]float64
		}
		Bleu       [4]float64
		Cider      float64
		RougeLCoco float64 `json:"rougeL_coco"`
	}
}

func readUnicodeGolden(t *testing.T) (g unicodeGolden) {
	t.Helper()
	if err := json.Unmarshal(golden(t, "golden_unicode.json.gz"), &g); err != nil {
		t.Fatal(err)
	}
	if len(g.Texts) < 500 || len(g.Corpora) < 16 {
		t.Fatalf("%d texts, %d corpora", len(g.Texts), len(g.Corpora))
	}
	return g
}

func TestUnicodeWordsEqualTwoImplementationsOfUAX29(t *testing.T) {
	for _, c := range readUnicodeGolden(t).Texts {
		if got := UnicodeTokenize(c.Text); !slices.Equal(got, c.Words) {
			t.Errorf("%q: %q, want %q", c.Text, got, c.Words)
		}
	}
}

func TestScoresOnUnicodeWordsEqualThePythonPackages(t *testing.T) {
	for _, c := range readUnicodeGolden(t).Corpora {
		var list []Prediction
		for _, p := range c.Predictions {
			list = append(list, Prediction{Caption: p.Caption, References: p.References})
			r := Rouge(p.Caption, p.References, UnicodeWords)
			for i, got := range []float64{r.R1, r.R2, r.RL, r.RLsum} {
				if math.Abs(got-p.Rouge[i]) > 1e-12 {
					t.Errorf("%s: %q against %q: ROUGE %d is %v, want %v",
						c.Language, p.Caption, p.References, i, got, p.Rouge[i])
				}
			}
		}
		s, _ := Score(list, UnicodeWords)
		w := Tokenize(list, UnicodeWords)
		coco, _ := CocoRougeL(w.Candidates, w.References)
		got := []float64{s.Bleu1 / 100, s.Bleu2 / 100, s.Bleu3 / 100, s.Bleu4 / 100, s.Cider / 100, coco}
		for i, want := range append(slices.Clone(c.Bleu[:]), c.Cider, c.RougeLCoco) {
			if math.Abs(got[i]-want) > 1e-12 {
				t.Errorf("%s: BLEU-1 to 4, CIDEr, ROUGE-L of pycocoevalcap: number %d is %v, want %v",
					c.Language, i, got[i], want)
			}
		}
	}
}

func TestWordsAreChosenByTheLettersThatWouldBeLost(t *testing.T) {
	english := strings.Repeat("a man rides a wave on a beach near the ocean ", 10)
	for _, c := range []struct {
		references []string
		want       WordRule
		lost       float64
	}{
		{nil, RougeScoreWords, 0},
		{[]string{"", "...", "🐕"}, RougeScoreWords, 0},
		{[]string{english, "A dog's 2nd ball."}, RougeScoreWords, 0},
		{[]string{english, "a café"}, RougeScoreWords, 1.0 / 345},
		{[]string{"a café"}, UnicodeWords, 0.2},
		{[]string{"一个男人"}, UnicodeWords, 1},
		{[]string{"một người đàn ông"}, UnicodeWords, 6.0 / 14},
		{[]string{"ein großer Hund auf der Straße"}, UnicodeWords, 2.0 / 25},
		{[]string{"ผู้ชาย"}, UnicodeWords, 1},
	} {
		rule, lost := ChooseWords(slices.Values(c.references))
		if rule != c.want || math.Abs(lost-c.lost) > 1e-12 {
			t.Errorf("%q: %s, %v lost, want %s, %v", c.references, rule, lost, c.want, c.lost)
		}
	}
}

func TestWordsForSaysWhyTheyAreNotTheUsualOnes(t *testing.T) {
	chinese := []Prediction{{Caption: "x", References: []string{"一个男人"}}}
	english := []Prediction{{Caption: "x", References: []string{"a man"}}}
	for _, c := range []struct {
		setting string
		of      []Prediction
		want    WordRule
		said    bool
	}{
		{"auto", chinese, UnicodeWords, true},
		{"", chinese, UnicodeWords, true},
		{"rouge_score", chinese, RougeScoreWords, false},
		{"auto", english, RougeScoreWords, false},
		{"unicode", english, UnicodeWords, false},
	} {
		rule, note := WordsFor(c.setting, c.of)
		if rule != c.want || (note != "") != c.said || c.said && !strings.Contains(note, "100.0%") {
			t.Errorf("%q: %s, %q", c.setting, rule, note)
		}
	}
}

func FuzzUnicodeWordsAreMadeOfTheText(f *testing.F) {
	for _, text := range []string{"", "Hello 世界 don't", "ไทยcafé\xff", "\u0301a"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, word := range UnicodeTokenize(text) {
			if !strings.ContainsFunc(word, isLetter) {
				t.Fatalf("%q: %q is no word", text, word)
			}
		}
		r := Rouge(text, []string{text}, UnicodeWords)
		if want := float64(min(1, len(UnicodeTokenize(text)))); r.R1 != want || r.RL != want {
			t.Fatalf("%q against itself: %+v", text, r)
		}
	})
}
