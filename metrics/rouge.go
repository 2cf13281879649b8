package metrics

import "strings"

// RougeScores are F-measures between 0 and 1.
type RougeScores struct {
	R1    float64 // words
	R2    float64 // pairs of words
	RL    float64 // longest common subsequence
	RLsum float64 // the same by lines: the union of the subsequences
}

// Rouge is rouge_score's score_multi with use_stemmer=True, or with a tokenizer that
// gives UnicodeWords: each metric takes the reference that is best for it. Without
// references all scores are 0.
func Rouge(prediction string, references []string, rule WordRule) RougeScores {
	p := newRougeText(prediction, rule)
	var best RougeScores
	for _, reference := range references {
		r := newRougeText(reference, rule)
		best.R1 = max(best.R1, ngramScore(r.words, p.words, 1))
		best.R2 = max(best.R2, ngramScore(r.words, p.words, 2))
		best.RL = max(best.RL, lcsScore(r.words, p.words))
		best.RLsum = max(best.RLsum, lcsSumScore(r.lines, p.lines))
	}
	return best
}

// rougeText is a text in words, whole and by lines.
type rougeText struct {
	words []string
	lines [][]string
}

func newRougeText(text string, rule WordRule) rougeText {
	split := rougeWords
	if rule == UnicodeWords {
		split = UnicodeTokenize
	}
	t := rougeText{words: split(text)}
	for _, line := range strings.Split(text, "\n") {
		if line != "" {
			t.lines = append(t.lines, split(line))
		}
	}
	return t
}

// rougeWords lower-cases, splits at everything but a-z and 0-9, and stems words
// of more than three letters.
func rougeWords(text string) []string {
	text = strings.ReplaceAll(text, "İ", "i ") // Python lower-cases it to i and a combining dot
	words := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9')
	})
	for i, w := range words {
		if len(w) > 3 {
			words[i] = stem(w)
		}
	}
	return words
}

func fMeasure(hits, reference, prediction int) float64 {
	precision := float64(hits) / float64(max(prediction, 1))
	recall := float64(hits) / float64(max(reference, 1))
	if precision+recall == 0 {
		return 0
	}
	return 2 * precision * recall / (precision + recall)
}

func ngramScore(reference, prediction []string, n int) float64 {
	counts := map[string]int{}
	grams := func(words []string, visit func(gram string)) int {
		for i := 0; i+n <= len(words); i++ {
			visit(strings.Join(words[i:i+n], " "))
		}
		return max(len(words)-n+1, 0)
	}
	inReference := grams(reference, func(g string) { counts[g]++ })
	hits := 0
	inPrediction := grams(prediction, func(g string) {
		if counts[g] > 0 {
			counts[g]--
			hits++
		}
	})
	return fMeasure(hits, inReference, inPrediction)
}

func lcsScore(reference, prediction []string) float64 {
	if len(reference) == 0 || len(prediction) == 0 {
		return 0
	}
	table := lcsTable(reference, prediction)
	return fMeasure(table[len(reference)][len(prediction)], len(reference), len(prediction))
}

// lcsTable has at [i][j] the length of the longest common subsequence of a[:i] and b[:j].
func lcsTable(a, b []string) [][]int {
	cells := make([]int, (len(a)+1)*(len(b)+1))
	table := make([][]int, len(a)+1)
	for i := range table {
		table[i] = cells[i*(len(b)+1) : (i+1)*(len(b)+1)]
	}
	for i := range a {
		for j := range b {
			if a[i] == b[j] {
				table[i+1][j+1] = table[i][j] + 1
			} else {
				table[i+1][j+1] = max(table[i][j+1], table[i+1][j])
			}
		}
	}
	return table
}

// lcsSumScore is ROUGE's summary level: for each line of the reference the
// union of its common subsequences with all lines of the prediction, no word
// counted more often than it occurs on either side.
func lcsSumScore(reference, prediction [][]string) float64 {
	inReference, left := countWords(reference)
	inPrediction, leftPredicted := countWords(prediction)
	if inReference == 0 || inPrediction == 0 {
		return 0
	}
	hits := 0
	for _, line := range reference {
		common := make([]bool, len(line))
		for _, other := range prediction {
			markLCS(line, other, common)
		}
		for i, word := range line {
			if common[i] && left[word] > 0 && leftPredicted[word] > 0 {
				hits++
				left[word]--
				leftPredicted[word]--
			}
		}
	}
	return fMeasure(hits, inReference, inPrediction)
}

func countWords(lines [][]string) (n int, counts map[string]int) {
	counts = map[string]int{}
	for _, line := range lines {
		n += len(line)
		for _, word := range line {
			counts[word]++
		}
	}
	return n, counts
}

// markLCS marks the words of a in one longest common subsequence with b, the
// one rouge_score picks.
func markLCS(a, b []string, mark []bool) {
	table := lcsTable(a, b)
	for i, j := len(a), len(b); i > 0 && j > 0; {
		switch {
		case a[i-1] == b[j-1]:
			mark[i-1] = true
			i--
			j--
		case table[i][j-1] > table[i-1][j]:
			j--
		default:
			i--
		}
	}
}
