package metrics

import "math"

// METEOR 1.5's parameters for English, task "rank", its default
// (edu/cmu/meteor/util/Constants.java).
const (
	meteorAlpha = 0.85 // recall's share of the harmonic mean, precision has the rest
	meteorBeta  = 0.20 // exponent of the penalty
	meteorGamma = 0.60 // most that the penalty takes
	meteorDelta = 0.75 // weight of a content word; a function word has the rest
)

// The modules that find matches, in their order. exact also stands for all of two
// captions that are equal.
const (
	meteorExact = iota
	meteorStem
	meteorSynonym
	meteorParaphrase
	meteorModules
)

// meteorWeights say how much a match of a module counts.
var meteorWeights = [meteorModules]float64{1.0, 0.6, 0.8, 0.6}

// Meteor is METEOR 1.5 (Denkowski and Lavie, "Meteor Universal: Language Specific
// Translation Evaluation for Any Target Language", 2014), as pycocoevalcap runs
// its jar: -l en -norm, on the words of PTBTokenize. Scores are between 0 and 1.
// A corpus' score is that of its summed counts, not a mean; each has a score per
// candidate, that of the reference which gives the highest.
//
// All four modules are here: equal words, equal stems (Snowball's English stemmer),
// words with a synset of WordNet in common, and paraphrases. Words are compared by
// Java's hash of them, as there.
func (d *MeteorData) Meteor(w Words) (corpus float64, each []float64, err error) {
	candidates, references := d.normalizeAll(w)
	a := meteorAligner{MeteorData: d}
	if a.paraphrases, err = d.readParaphrases(vocabulary(candidates, references)); err != nil {
		return 0, nil, err
	}
	var total meteorStats
	each = make([]float64, len(candidates))
	for i, candidate := range candidates {
		best, most := meteorStats{}, -1.0
		for _, reference := range references[i] {
			s := a.align(candidate, reference)
			if score := s.score(); score > most {
				best, most = s, score
			}
		}
		each[i] = max(most, 0)
		total.add(best)
	}
	return total.score(), each, nil
}

// normalizeAll gives METEOR's own words of all captions.
func (d *MeteorData) normalizeAll(w Words) (candidates [][]string, references [][][]string) {
	for i, candidate := range w.Candidates {
		candidates = append(candidates, d.normalize(candidate))
		var each [][]string
		for _, reference := range w.References[i] {
			each = append(each, d.normalize(reference))
		}
		references = append(references, each)
	}
	return candidates, references
}

func vocabulary(candidates [][]string, references [][][]string) map[string]bool {
	words := map[string]bool{}
	for i, candidate := range candidates {
		for _, text := range append(references[i:i+1:i+1], [][]string{candidate}) {
			for _, caption := range text {
				for _, word := range caption {
					words[word] = true
				}
			}
		}
	}
	return words
}

// meteorSide counts the words of one side of an alignment.
type meteorSide struct {
	words    int
	function int                // of the words, those in METEOR's list of function words
	content  [meteorModules]int // matched content words
	grammar  [meteorModules]int // matched function words
}

func (s *meteorSide) matched() int {
	n := 0
	for m := range s.content {
		n += s.content[m] + s.grammar[m]
	}
	return n
}

// share is how much of a side is matched, by weight: precision of a candidate,
// recall of a reference.
func (s *meteorSide) share() float64 {
	length := meteorDelta*float64(s.words-s.function) + (1.0-meteorDelta)*float64(s.function)
	matched := 0.0
	for m, n := range s.content {
		matched += float64(n) * meteorWeights[m] * meteorDelta
	}
	for m, n := range s.grammar {
		matched += float64(n) * meteorWeights[m] * (1.0 - meteorDelta)
	}
	return matched / length
}

func (s *meteorSide) add(o *meteorSide) {
	s.words += o.words
	s.function += o.function
	for m := range s.content {
		s.content[m] += o.content[m]
		s.grammar[m] += o.grammar[m]
	}
}

// meteorStats are what a score is computed from, of one alignment or of a corpus.
type meteorStats struct {
	candidate, reference meteorSide
	chunks               int // runs of matches that stand in the same order on both sides
}

// complete tells whether all words are matched in one run.
func (s *meteorStats) complete() bool {
	return s.candidate.matched() == s.candidate.words && s.reference.matched() == s.reference.words &&
		s.chunks == 1
}

func (s *meteorStats) add(o meteorStats) {
	s.candidate.add(&o.candidate)
	s.reference.add(&o.reference)
	if !o.complete() {
		s.chunks += o.chunks
	}
}

// score is 0 where nothing matches; divisions by 0 come out as that.
func (s *meteorStats) score() float64 {
	mean := 1.0 / ((1.0-meteorAlpha)/s.candidate.share() + meteorAlpha/s.reference.share())
	fragmentation := 0.0
	if !s.complete() {
		fragmentation = float64(s.chunks) / (float64(s.candidate.matched()+s.reference.matched()) / 2)
	}
	score := mean * (1.0 - meteorGamma*math.Pow(fragmentation, meteorBeta))
	if math.IsNaN(score) {
		return 0
	}
	return max(score, 0)
}
