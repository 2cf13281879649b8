package metrics

import "math"

// Cider is CIDEr (Vedantam et al., "CIDEr: Consensus-based Image Description
// Evaluation", 2015) as pycocoevalcap/cider/cider_scorer.py computes it, which is
// the paper's CIDEr-D without stemming: how often a word sequence occurs in the
// references of how many examples gives it its weight (mode "corpus"), sigma is 6.
// The scale is that of pycocoevalcap, 0 to 10, of which people usually reach
// about 1. The score of a corpus is the mean of each. With one example only it is
// 0, since nothing sets that example apart. Words are those of PTBTokenize.
func Cider(candidates [][]string, references [][][]string) (corpus float64, each []float64) {
	if len(candidates) == 0 {
		return 0, nil
	}
	w := newCiderWeights(references)
	each = make([]float64, len(candidates))
	for i, candidate := range candidates {
		c := w.vector(newNgrams(candidate))
		sum := 0.0
		for _, reference := range references[i] {
			sum += c.similarity(w.vector(newNgrams(reference)))
		}
		each[i] = 10 * sum / float64(max(len(references[i]), 1))
		corpus += each[i]
	}
	return corpus / float64(len(candidates)), each
}

// ciderWeights says how rare a word sequence is.
type ciderWeights struct {
	examples  map[string]int // in whose references it occurs
	logCorpus float64        // log of the number of examples
}

func newCiderWeights(references [][][]string) ciderWeights {
	w := ciderWeights{examples: map[string]int{}, logCorpus: math.Log(float64(len(references)))}
	for _, captions := range references {
		seen := map[string]bool{}
		for _, caption := range captions {
			for _, g := range newNgrams(caption).grams {
				if !seen[g.text] {
					seen[g.text] = true
					w.examples[g.text]++
				}
			}
		}
	}
	return w
}

// ciderVector is a caption in the space of weighted word sequences.
type ciderVector struct {
	grams   []ngram // whose order makes every sum the same in every run
	weights map[string]float64
	norms   [4]float64
	bigrams int // CIDEr's length of a caption
}

func (w ciderWeights) vector(n ngrams) ciderVector {
	v := ciderVector{
		grams: n.grams, weights: make(map[string]float64, len(n.grams)), bigrams: max(n.words-1, 0),
	}
	for _, g := range n.grams {
		rare := w.logCorpus - math.Log(max(1, float64(w.examples[g.text])))
		weight := float64(g.count) * rare
		v.weights[g.text] = weight
		v.norms[g.n-1] += weight * weight
	}
	for i := range v.norms {
		v.norms[i] = math.Sqrt(v.norms[i])
	}
	return v
}

// similarity is the mean over sequences of one to four words of the clipped
// cosine, less for captions of different length.
func (v ciderVector) similarity(reference ciderVector) float64 {
	const sigma = 6
	var dots [4]float64
	for _, g := range v.grams {
		r := reference.weights[g.text]
		dots[g.n-1] += min(v.weights[g.text], r) * r
	}
	longer := float64(v.bigrams - reference.bigrams)
	sum := 0.0
	for n, dot := range dots {
		if v.norms[n] != 0 && reference.norms[n] != 0 {
			dot /= v.norms[n] * reference.norms[n]
		}
		sum += dot * math.Exp(-longer*longer/(2*sigma*sigma))
	}
	return sum / 4
}
