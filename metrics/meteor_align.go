package metrics

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/blevesearch/snowballstem"
	"github.com/blevesearch/snowballstem/english"
)

// meteorBeam is how many partial alignments are followed.
const meteorBeam = 40

// meteorSearchWeights weigh matches in the search for the best alignment; the
// score has weights of its own.
var meteorSearchWeights = [meteorModules]float64{1.0, 0.5, 0.5, 0.5}

// meteorAligner finds which words of a candidate and a reference belong together.
type meteorAligner struct {
	*MeteorData
	paraphrases paraphrases
}

// meteorMatch is a phrase of the reference that matches one of the candidate.
type meteorMatch struct {
	start, length                   int // in the reference
	candidateStart, candidateLength int
	module                          int
}

// meteorStage holds all matches that are possible between two captions.
type meteorStage struct {
	candidate, reference                 []string
	candidateKeys, referenceKeys         []int32
	matches                              [][]*meteorMatch // by where they start in the reference
	candidateCoverage, referenceCoverage []int            // matches that a word is in
}

func (a *meteorAligner) align(candidate, reference []string) meteorStats {
	s := &meteorStage{
		candidate: candidate, reference: reference,
		candidateKeys: javaHashes(candidate), referenceKeys: javaHashes(reference),
		matches:           make([][]*meteorMatch, len(reference)),
		candidateCoverage: make([]int, len(candidate)), referenceCoverage: make([]int, len(reference)),
	}
	s.matchWords(meteorExact, func(i, j int) bool { return s.candidateKeys[i] == s.referenceKeys[j] })
	if !slices.Equal(s.candidateKeys, s.referenceKeys) { // more would only lead the search astray
		a.matchStems(s)
		a.matchSynonyms(s)
		a.matchParaphrases(s)
	}
	return a.count(s, s.search())
}

// javaHashes are String.hashCode of words.
func javaHashes(words []string) []int32 {
	keys := make([]int32, len(words))
	for i, word := range words {
		for _, unit := range utf16.Encode([]rune(word)) {
			keys[i] = 31*keys[i] + int32(unit)
		}
	}
	return keys
}

func (s *meteorStage) add(m *meteorMatch) {
	s.matches[m.start] = append(s.matches[m.start], m)
	for i := range m.candidateLength {
		s.candidateCoverage[m.candidateStart+i]++
	}
	for j := range m.length {
		s.referenceCoverage[m.start+j]++
	}
}

// matchWords adds the pairs of words of candidate i and reference j that match.
func (s *meteorStage) matchWords(module int, match func(i, j int) bool) {
	for j := range s.reference {
		for i := range s.candidate {
			if match(i, j) {
				s.add(
					&meteorMatch{start: j, length: 1, candidateStart: i, candidateLength: 1, module: module},
				)
			}
		}
	}
}

func (s *meteorStage) different(i, j int) bool { return s.candidateKeys[i] != s.referenceKeys[j] }

func (a *meteorAligner) matchStems(s *meteorStage) {
	candidate, reference := javaHashes(stems(s.candidate)), javaHashes(stems(s.reference))
	s.matchWords(meteorStem, func(i, j int) bool { return candidate[i] == reference[j] && s.different(i, j) })
}

func stems(words []string) []string {
	out := make([]string, len(words))
	for i, word := range words {
		env := snowballstem.NewEnv(word)
		english.Stem(env)
		out[i] = env.Current()
	}
	return out
}

func (a *meteorAligner) matchSynonyms(s *meteorStage) {
	candidate, reference := a.synsetsOf(s.candidate), a.synsetsOf(s.reference)
	s.matchWords(meteorSynonym, func(i, j int) bool {
		return s.different(i, j) && slices.ContainsFunc(
			candidate[i], func(id string) bool { return slices.Contains(reference[j], id) },
		)
	})
}

func (a *meteorAligner) synsetsOf(words []string) [][]string {
	out := make([][]string, len(words))
	for i, word := range words {
		out[i] = a.synonyms.of(word)
	}
	return out
}

// matchParaphrases looks phrases of either side up for their paraphrases in the
// other.
func (a *meteorAligner) matchParaphrases(s *meteorStage) {
	a.paraphrases.pairs(s.reference, s.candidate, func(j, length, i, otherLength int) {
		s.add(&meteorMatch{
			start: j, length: length, candidateStart: i, candidateLength: otherLength,
			module: meteorParaphrase,
		})
	})
	a.paraphrases.pairs(s.candidate, s.reference, func(i, length, j, otherLength int) {
		s.add(&meteorMatch{
			start: j, length: otherLength, candidateStart: i, candidateLength: length,
			module: meteorParaphrase,
		})
	})
}

// paraphrases holds phrases and what they may be put as, in the table's order.
type paraphrases struct {
	of      map[string][][]string
	longest int // words of a phrase
}

// pairs visits the paraphrases of phrases of text that other has: where they
// start and how many words they are, in text and in other.
func (p paraphrases) pairs(text, other []string, visit func(at, length, otherAt, otherLength int)) {
	for at := range text {
		for length := 1; length <= p.longest && at+length <= len(text); length++ {
			for _, phrase := range p.of[strings.Join(text[at:at+length], " ")] {
				for otherAt := range other {
					if len(phrase) <= len(other)-otherAt &&
						slices.Equal(phrase, other[otherAt:otherAt+len(phrase)]) {
						visit(at, length, otherAt, len(phrase))
					}
				}
			}
		}
	}
}

// meteorPath is an alignment as far as the search has come.
type meteorPath struct {
	chosen                             []*meteorMatch // by where they start in the reference
	candidateUsed, referenceUsed       []bool
	candidateMatches, referenceMatches int // weighted, cut down to an integer at each step as in Java
	chunks                             int
	next                               int // first word of the reference after the last match
	// first word of the candidate after the last match; -1: no open chunk
	lastEnd  int
	distance int // between where matches stand on both sides
}

func (p *meteorPath) clone() *meteorPath {
	c := *p
	c.chosen = slices.Clone(p.chosen)
	c.candidateUsed = slices.Clone(p.candidateUsed)
	c.referenceUsed = slices.Clone(p.referenceUsed)
	return &c
}

// compareMeteorPaths puts the better first: more matched words, fewer chunks,
// less distance.
func compareMeteorPaths(a, b *meteorPath) int {
	return cmp.Or(
		cmp.Compare(b.candidateMatches+b.referenceMatches, a.candidateMatches+a.referenceMatches),
		cmp.Compare(a.chunks, b.chunks),
		cmp.Compare(a.distance, b.distance),
	)
}

func (p *meteorPath) used(m *meteorMatch) bool {
	return slices.Contains(p.referenceUsed[m.start:m.start+m.length], true) ||
		slices.Contains(p.candidateUsed[m.candidateStart:m.candidateStart+m.candidateLength], true)
}

// choose fixes a match without counting it.
func (p *meteorPath) choose(m *meteorMatch) {
	p.chosen[m.start] = m
	for j := range m.length {
		p.referenceUsed[m.start+j] = true
	}
	for i := range m.candidateLength {
		p.candidateUsed[m.candidateStart+i] = true
	}
}

// pass counts a chosen match that the search has come to.
func (p *meteorPath) pass(m *meteorMatch) {
	weight := meteorSearchWeights[m.module]
	p.candidateMatches = int(float64(p.candidateMatches) + float64(m.candidateLength)*weight)
	p.referenceMatches = int(float64(p.referenceMatches) + float64(m.length)*weight)
	if p.lastEnd != -1 && m.candidateStart != p.lastEnd {
		p.chunks++
	}
	p.next = m.start + m.length
	p.lastEnd = m.candidateStart + m.candidateLength
}

func (p *meteorPath) closeChunk() {
	if p.lastEnd != -1 {
		p.chunks++
		p.lastEnd = -1
	}
}

// search gives the matches of the best alignment: a beam search from the
// reference's first word to its last.
func (s *meteorStage) search() []*meteorMatch {
	paths := []*meteorPath{s.start()}
	for current := range s.reference {
		slices.SortStableFunc(paths, compareMeteorPaths)
		var next []*meteorPath
		for _, path := range paths[:min(meteorBeam, len(paths))] {
			next = append(next, s.extend(path, current)...)
		}
		if len(next) == 0 {
			next = paths[:1]
		}
		paths = next
	}
	slices.SortStableFunc(paths, compareMeteorPaths)
	paths = paths[:min(meteorBeam, len(paths))]
	for _, path := range paths {
		path.closeChunk()
	}
	slices.SortStableFunc(paths, compareMeteorPaths)
	return paths[0].chosen
}

// start is the path with the matches that nothing competes with.
func (s *meteorStage) start() *meteorPath {
	p := &meteorPath{
		chosen:        make([]*meteorMatch, len(s.reference)),
		candidateUsed: make([]bool, len(s.candidate)), referenceUsed: make([]bool, len(s.reference)),
		lastEnd: -1,
	}
	contested := func(n int) bool { return n != 1 }
	for _, matches := range s.matches {
		if len(matches) != 1 {
			continue
		}
		m := matches[0]
		if !slices.ContainsFunc(s.referenceCoverage[m.start:m.start+m.length], contested) &&
			!slices.ContainsFunc(
				s.candidateCoverage[m.candidateStart:m.candidateStart+m.candidateLength], contested,
			) {
			p.choose(m)
		}
	}
	return p
}

// extend gives the paths that go on from one at a word of the reference.
func (s *meteorStage) extend(path *meteorPath, current int) []*meteorPath {
	if path.referenceUsed[current] {
		return path.follow(current)
	}
	var out []*meteorPath
	for _, m := range s.matches[current] {
		if path.used(m) {
			continue
		}
		taken := path.clone()
		taken.choose(m)
		taken.pass(m)
		path.distance += distance(m) // of this path, not of the new one: METEOR's search does so
		out = append(out, taken)
	}
	path.closeChunk() // and one that leaves the word out
	path.next++
	return append(out, path)
}

// follow goes on where the word is already in a match; a path whose next match
// is missing ends.
func (p *meteorPath) follow(current int) []*meteorPath {
	if current < p.next {
		return []*meteorPath{p}
	}
	m := p.chosen[p.next]
	if m == nil {
		return nil
	}
	p.pass(m)
	p.distance += distance(m)
	return []*meteorPath{p}
}

func distance(m *meteorMatch) int { return abs(m.start - m.candidateStart) }

// count sums an alignment up.
func (a *meteorAligner) count(s *meteorStage, chosen []*meteorMatch) meteorStats {
	out := meteorStats{candidate: a.side(s.candidate), reference: a.side(s.reference)}
	path := meteorPath{lastEnd: -1} // counts the chunks
	for at := 0; at < len(chosen); {
		m := chosen[at]
		if m == nil {
			path.closeChunk()
			at++
			continue
		}
		path.pass(m)
		at = path.next
	}
	path.closeChunk()
	out.chunks = path.chunks
	for _, m := range chosen {
		if m != nil {
			a.matched(
				&out.candidate, m.module, s.candidate[m.candidateStart:m.candidateStart+m.candidateLength],
			)
			a.matched(&out.reference, m.module, s.reference[m.start:m.start+m.length])
		}
	}
	return out
}

func (a *meteorAligner) side(words []string) (s meteorSide) {
	s.words = len(words)
	for _, word := range words {
		if a.functionWords[word] {
			s.function++
		}
	}
	return s
}

func (a *meteorAligner) matched(s *meteorSide, module int, words []string) {
	for _, word := range words {
		if a.functionWords[word] {
			s.grammar[module]++
		} else {
			s.content[module]++
		}
	}
}
