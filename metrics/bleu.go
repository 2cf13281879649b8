package metrics

import (
	"math"
	"strings"
)

// BleuScores are BLEU-1 to BLEU-4, between 0 and 1.
type BleuScores [4]float64

// Bleu is BLEU-1 to BLEU-4 (Papineni et al., "BLEU: a Method for Automatic
// Evaluation of Machine Translation", 2002) as pycocoevalcap/bleu/bleu_scorer.py
// computes it: clipped counts against all references together, brevity against
// the reference of the closest length, and 1e-15 and 1e-9 added so that nothing
// is divided by 0. A corpus' score is that of its summed counts, not a mean; each
// has a score per candidate. Words are those of PTBTokenize; a candidate without
// references is held against an empty one.
func Bleu(candidates [][]string, references [][][]string) (corpus BleuScores, each []BleuScores) {
	var total bleuCounts
	each = make([]BleuScores, len(candidates))
	for i, candidate := range candidates {
		c := countBleu(candidate, references[i])
		each[i] = c.scores()
		total.add(c)
	}
	return total.scores(), each
}

// bleuCounts are what BLEU is computed from, of one candidate or of a corpus.
type bleuCounts struct {
	guessed, correct [4]int // n-grams of each length
	length           int    // words of the candidate
	reference        int    // words of the reference whose length is closest
}

func countBleu(candidate []string, references [][]string) bleuCounts {
	most := map[string]int{} // n-gram: how often the reference with most of it has it
	guess := newNgrams(candidate)
	c := bleuCounts{length: guess.words, reference: -1}
	if len(references) == 0 {
		c.reference = 0
	}
	for _, reference := range references {
		r := newNgrams(reference)
		for _, g := range r.grams {
			most[g.text] = max(most[g.text], g.count)
		}
		nearer, distance := abs(r.words-c.length), abs(c.reference-c.length)
		if c.reference < 0 || nearer < distance || nearer == distance && r.words < c.reference {
			c.reference = r.words
		}
	}
	for n := range c.guessed {
		c.guessed[n] = max(0, c.length-n)
	}
	for _, g := range guess.grams {
		c.correct[g.n-1] += min(g.count, most[g.text])
	}
	return c
}

func abs(n int) int { return max(n, -n) }

func (c *bleuCounts) add(o bleuCounts) {
	for n := range c.guessed {
		c.guessed[n] += o.guessed[n]
		c.correct[n] += o.correct[n]
	}
	c.length += o.length
	c.reference += o.reference
}

func (c *bleuCounts) scores() (s BleuScores) {
	const tiny, small = 1e-15, 1e-9
	ratio := (float64(c.length) + tiny) / (float64(c.reference) + small)
	brevity := 1.0
	if ratio < 1 {
		brevity = math.Exp(1 - 1/ratio)
	}
	product := 1.0
	for n := range s {
		product *= (float64(c.correct[n]) + tiny) / (float64(c.guessed[n]) + small)
		s[n] = math.Pow(product, 1/float64(n+1)) * brevity
	}
	return s
}

// ngrams are the word sequences of one to four words in a text, each once, in the
// order in which they first appear.
type ngrams struct {
	grams []ngram
	words int
}

type ngram struct {
	text  string
	n     int // words in it
	count int
}

// newNgrams splits words where Python's split does: a fraction is one word of
// PTBTokenize, but has a no-break space in it.
func newNgrams(words []string) ngrams {
	words = strings.Fields(strings.Join(words, " "))
	out := ngrams{words: len(words)}
	at := map[string]int{}
	for n := 1; n <= 4; n++ {
		for i := 0; i+n <= len(words); i++ {
			text := strings.Join(words[i:i+n], " ")
			j, ok := at[text]
			if !ok {
				j = len(out.grams)
				at[text] = j
				out.grams = append(out.grams, ngram{text: text, n: n})
			}
			out.grams[j].count++
		}
	}
	return out
}
