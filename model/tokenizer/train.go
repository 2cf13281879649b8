package tokenizer

import (
	"cmp"
	"container/heap"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"distilvit/internal/script"
)

// minPairCount is how often a pair of tokens must occur to become a token.
const minPairCount = 2

// Train makes a tokenizer of at most vocabSize tokens from captions: the 256
// bytes, merges of the most frequent pairs (of equal ones the pair with the
// lower ids), and <|endoftext|> as the last id. Equal captions in any order
// give an equal tokenizer. The merges are those of Hugging Face's BpeTrainer.
func Train(captions iter.Seq[string], vocabSize int) (*Tokenizer, error) {
	return TrainLimited(captions, vocabSize, 0)
}

// TrainLimited is Train, but that in scripts without spaces between words a token has at
// most maxSpaceless characters, of which Han and kana count twice; 0: any number.
func TrainLimited(captions iter.Seq[string], vocabSize, maxSpaceless int) (*Tokenizer, error) {
	if vocabSize < len(byteOrder)+1 {
		return nil, fmt.Errorf("vocabulary of %d tokens: at least %d are needed, the bytes and %s", vocabSize,
			len(byteOrder)+1, EndOfText)
	}
	if vocabSize > maxID {
		return nil, fmt.Errorf("vocabulary of %d tokens: at most %d are supported", vocabSize, maxID)
	}
	counts := map[string]int64{}
	for caption := range captions {
		for _, text := range strings.Split(string(lossy(caption)), EndOfText) {
			for text != "" {
				n := pieceLength(text)
				counts[text[:n]]++
				text = text[n:]
			}
		}
	}
	if len(counts) == 0 {
		return nil, errors.New("no captions to train a tokenizer on")
	}
	tr := newTrainer(counts)
	tr.maxSpaceless = maxSpaceless
	tr.run(vocabSize - 1)
	vocab := make(map[string]int32, len(tr.tokens)+1)
	for id, token := range tr.tokens {
		vocab[token] = int32(id)
	}
	eos := int32(len(tr.tokens))
	vocab[EndOfText] = eos
	return build(parts{
		vocab:  vocab,
		merges: tr.merges,
		added:  []addedToken{{ID: eos, Content: EndOfText, Special: true}},
		eos:    EndOfText,
	})
}

// trainer counts neighbouring tokens over all distinct words and keeps the
// counts up to date as pairs are merged.
type trainer struct {
	words  []trainWord
	pairs  map[[2]int32]*pairCount
	queue  pairQueue
	tokens []string // by id
	ids    map[string]int32
	merges [][2]string
	merged map[[2]int32]bool

	maxSpaceless int // spacelessLength at most; 0: no limit
}

type trainWord struct {
	ids   []int32
	count int64
}

type pairCount struct {
	pair  [2]int32
	count int64
	words map[int]struct{} // words that have, or had, the pair
	index int              // in the queue
}

func newTrainer(counts map[string]int64) *trainer {
	tr := &trainer{pairs: map[[2]int32]*pairCount{}, ids: map[string]int32{}, merged: map[[2]int32]bool{}}
	var idOf [256]int32
	for id, b := range byteOrder {
		token := string(byteRunes[b])
		tr.tokens = append(tr.tokens, token)
		tr.ids[token], idOf[b] = int32(id), int32(id)
	}
	changes := map[[2]int32]int64{}
	for _, word := range slices.Sorted(maps.Keys(counts)) {
		ids := make([]int32, len(word))
		for i := range len(word) {
			ids[i] = idOf[word[i]]
		}
		tr.words = append(tr.words, trainWord{ids: ids, count: counts[word]})
		tr.tally(len(tr.words)-1, +1, changes)
	}
	tr.apply(changes)
	return tr
}

// run merges the most frequent pair until there are size tokens.
func (tr *trainer) run(size int) {
	for len(tr.tokens) < size && len(tr.queue) > 0 && tr.queue[0].count >= minPairCount {
		best := heap.Pop(&tr.queue).(*pairCount)
		delete(tr.pairs, best.pair)
		tr.merged[best.pair] = true
		left, right := tr.tokens[best.pair[0]], tr.tokens[best.pair[1]]
		if tr.maxSpaceless > 0 && spacelessLength(left+right) > tr.maxSpaceless {
			continue
		}
		id, known := tr.ids[left+right] // by another way to cut the same token
		if !known {
			id = int32(len(tr.tokens))
			tr.tokens = append(tr.tokens, left+right)
			tr.ids[left+right] = id
		}
		tr.merges = append(tr.merges, [2]string{left, right})
		changes := map[[2]int32]int64{}
		for w := range best.words {
			tr.tally(w, -1, changes)
			tr.words[w].merge(best.pair, id)
			tr.tally(w, +1, changes)
		}
		tr.apply(changes)
	}
}

// MaxSpaceless is what runs give TrainLimited: nothing else keeps a token of a script without spaces from becoming a
// whole sentence. Of few captions most sentences would be one token each, and the model could
// not put new ones together. It is a syllable of Thai, Lao, Khmer or Myanmar, whose characters are letters,
// and a word of Chinese or Japanese, whose characters count twice: with twice as many, a colour and its
// shape were one token, and a colour on a shape never seen was not said.
const MaxSpaceless = 4

// spacelessLength is how long a token is that has a character of a script without spaces, else 0:
// characters, Han and kana twice. Bytes of characters cut in two are one character on each side.
func spacelessLength(token string) int {
	raw := make([]byte, 0, len(token))
	for _, r := range token {
		raw = append(raw, runeBytes[r])
	}
	length, spaceless, cut := 0, false, false
	for len(raw) > 0 {
		r, n := utf8.DecodeRune(raw)
		raw = raw[n:]
		broken := r == utf8.RuneError && n == 1
		if !broken || !cut {
			length++
		}
		if script.Syllabic(r) {
			length++
		}
		cut = broken
		spaceless = spaceless || script.Spaceless(r)
	}
	if !spaceless {
		return 0
	}
	return length
}

// tally adds the pairs of a word, sign times, to changes.
func (tr *trainer) tally(w int, sign int64, changes map[[2]int32]int64) {
	word := tr.words[w]
	for i := range len(word.ids) - 1 {
		pair := [2]int32{word.ids[i], word.ids[i+1]}
		if tr.merged[pair] {
			continue
		}
		changes[pair] += sign * word.count
		if sign < 0 {
			continue
		}
		p := tr.pairs[pair]
		if p == nil {
			p = &pairCount{pair: pair, words: map[int]struct{}{}, index: -1}
			tr.pairs[pair] = p
		}
		p.words[w] = struct{}{}
	}
}

// apply adds changes to the counts and puts the queue in order again.
func (tr *trainer) apply(changes map[[2]int32]int64) {
	for pair, change := range changes {
		p := tr.pairs[pair]
		if change == 0 || p == nil {
			continue
		}
		p.count += change
		if p.index < 0 {
			heap.Push(&tr.queue, p)
		} else {
			heap.Fix(&tr.queue, p.index)
		}
	}
}

// merge replaces each occurrence of pair, from the left.
func (w *trainWord) merge(pair [2]int32, id int32) {
	n := 0
	for i := 0; i < len(w.ids); i++ {
		w.ids[n] = w.ids[i]
		if i+1 < len(w.ids) && w.ids[i] == pair[0] && w.ids[i+1] == pair[1] {
			w.ids[n] = id
			i++
		}
		n++
	}
	w.ids = w.ids[:n]
}

// pairQueue is a heap: the most frequent pair first, then the lowest ids.
type pairQueue []*pairCount

func (q pairQueue) Len() int { return len(q) }
func (q pairQueue) Less(i, j int) bool {
	return cmp.Or(
		cmp.Compare(q[j].count, q[i].count),
		cmp.Compare(q[i].pair[0], q[j].pair[0]),
		cmp.Compare(q[i].pair[1], q[j].pair[1]),
	) < 0
}
func (q pairQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}
func (q *pairQueue) Push(x any) {
	p := x.(*pairCount)
	p.index = len(*q)
	*q = append(*q, p)
}
func (q *pairQueue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}
