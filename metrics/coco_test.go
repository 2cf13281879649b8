package metrics

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
)

// cocoGolden is golden_coco.json.gz, which testdata/make_golden_coco.py makes.
type cocoGolden struct {
	Corpora []struct {
		Examples []struct {
			Caption    string
			References []string
			Bleu       BleuScores
			Cider      float64
			RougeL     float64
			meteorGolden
		}
		Bleu   BleuScores
		Cider  float64
		RougeL float64
		meteorGolden
	}
	Lines [][2]string // a caption and its words
}

type meteorGolden struct {
	Meteor      float64 // with METEOR's data
	MeteorSmall float64 `json:"meteor_small"` // with testdata/meteor
}

func readCocoGolden(t *testing.T) cocoGolden {
	t.Helper()
	var g cocoGolden
	if err := json.Unmarshal(golden(t, "golden_coco.json.gz"), &g); err != nil {
		t.Fatal(err)
	}
	return g
}

func TestPTBTokenizeEqualsPycocoevalcap(t *testing.T) {
	lines := readCocoGolden(t).Lines
	if len(lines) < 1000 {
		t.Fatalf("%d lines", len(lines))
	}
	captions := make([]string, len(lines))
	for i, line := range lines {
		captions[i] = line[0]
	}
	for i, words := range PTBTokenize(captions) {
		if got := strings.Join(words, " "); got != lines[i][1] {
			t.Errorf("%q: %q, want %q", lines[i][0], got, lines[i][1])
		}
	}
}

// The quick way for plain words must not see anything that the rules do not.
func TestPlainWordsAreWhatTheRulesGive(t *testing.T) {
	plain := 0
	for _, line := range readCocoGolden(t).Lines {
		for at := range line[0] {
			text := line[0][at:]
			n := plainWord(text)
			if n == 0 {
				continue
			}
			plain++
			if token, length := ptbToken(text); token != text[:n] || length != n {
				t.Errorf("%q: %q", text, token)
			}
		}
	}
	if plain < 1000 {
		t.Fatalf("%d plain words", plain)
	}
}

// A rule is tried only where its first byte fits: that must not lose a match.
func TestRulesAreTriedWhereverTheyMatch(t *testing.T) {
	rules := ptbRules()
	for _, line := range readCocoGolden(t).Lines[:400] {
		for at := range line[0] {
			text := line[0][at:]
			for i := range rules {
				if !rules[i].first[text[0]] && rules[i].re.MatchString(text) {
					t.Fatalf("%v is not tried on %q", rules[i].re, text)
				}
			}
		}
	}
}

func TestALineEndsWhereTheCaptionEnds(t *testing.T) {
	got := PTBTokenize([]string{"a\rdog <a b='", "c'> The letter C.\v", "\n", "A cat"})
	want := []string{"a dog < a b =", "c > the letter c", "", "a cat"}
	for i, words := range got {
		if strings.Join(words, " ") != want[i] {
			t.Errorf("line %d: %q", i, words)
		}
	}
}

func TestBleuCiderRougeLEqualPycocoevalcap(t *testing.T) {
	for i, corpus := range readCocoGolden(t).Corpora {
		var predictions []Prediction
		for _, e := range corpus.Examples {
			predictions = append(predictions, Prediction{Caption: e.Caption, References: e.References})
		}
		w := Tokenize(predictions, RougeScoreWords)
		same := func(what string, example int, got, want float64) {
			if !(math.Abs(got-want) <= 1e-12) {
				t.Errorf("corpus %d, example %d: %s is %v, want %v", i, example, what, got, want)
			}
		}
		bleu, bleus := Bleu(w.Candidates, w.References)
		cider, ciders := Cider(w.Candidates, w.References)
		rouge, rouges := CocoRougeL(w.Candidates, w.References)
		for n := range bleu {
			same("BLEU", -1, bleu[n], corpus.Bleu[n])
		}
		same("CIDEr", -1, cider, corpus.Cider)
		same("ROUGE-L", -1, rouge, corpus.RougeL)
		for j, e := range corpus.Examples {
			for n := range bleu {
				same("BLEU", j, bleus[j][n], e.Bleu[n])
			}
			same("CIDEr", j, ciders[j], e.Cider)
			same("ROUGE-L", j, rouges[j], e.RougeL)
		}
	}
}

func TestNothingIsScoredZero(t *testing.T) {
	bleu, _ := Bleu(nil, nil)
	cider, _ := Cider(nil, nil)
	rouge, _ := CocoRougeL(nil, nil)
	if bleu[3] > 1e-5 || cider != 0 || rouge != 0 {
		t.Error(bleu, cider, rouge)
	}
	_, each := Bleu([][]string{{"a", "dog"}}, [][][]string{nil})
	if each[0][0] > 1e-9 {
		t.Error(each)
	}
}

func FuzzPTBTokenizeTakesAnyText(f *testing.F) {
	f.Add("Mr. Smith's \xff \"dog\" <a b='c", "The end.")
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, words := range PTBTokenize([]string{a, b}) {
			for _, w := range words {
				if w == "" || strings.ContainsAny(w, " \n") {
					t.Fatalf("%q", words)
				}
			}
		}
	})
}
