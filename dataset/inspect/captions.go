package inspect

import (
	"cmp"
	"encoding/binary"
	"hash/maphash"
	"iter"
	"slices"

	"distilvit/dataset"
	"distilvit/metrics"
)

// Lengths say how a number that each caption, or picture, has is spread.
type Lengths struct {
	Min       int     `json:"min"`
	Median    int     `json:"median"`
	Mean      float64 `json:"mean"`
	P95       int     `json:"p95"` // 95 % are not above
	Max       int     `json:"max"`
	Histogram []Bin   `json:"histogram"` // how many have each
}

// Tokens are captions' lengths in tokens, their end included.
type Tokens struct {
	Lengths
	MaxLength int     `json:"max_length"` // train.max_length
	Cut       int     `json:"cut"`        // captions that a run cuts to it
	CutShare  float64 `json:"cut_share"`  // 0 to 1
	Longest   []Long  `json:"longest"`    // of those
}

// Long is a caption that would be cut.
type Long struct {
	ID      string `json:"id"` // its picture's
	Tokens  int    `json:"tokens"`
	Caption string `json:"caption"`
	Number  int    `json:"-"` // of the picture in the catalogue
}

// Vocabulary are the captions' words, as metrics.UnicodeTokenize has them.
type Vocabulary struct {
	Words    int    `json:"words"`     // in all captions
	Distinct int    `json:"distinct"`  // different ones
	Once     int    `json:"once"`      // of those, words that occur once
	Unkept   int    `json:"uncounted"` // words of the captions that are in no other count here: see maxWords
	Frequent []Word `json:"frequent"`
	Rare     []Word `json:"rare"`
}

// Word is a word with how often it occurs.
type Word struct {
	Word  string `json:"word"`
	Count int    `json:"count"`
}

// Identical are captions that occur more than once, letter by letter.
type Identical struct {
	Distinct int               `json:"distinct"`       // different captions
	Repeated int               `json:"repeated"`       // captions that another is equal to
	Within   int               `json:"within_picture"` // captions that repeat one of their picture
	Across   []CaptionsAcross  `json:"across_splits"`
	List     []RepeatedCaption `json:"list"` // the most frequent
}

// CaptionsAcross are captions of a held-out split that another split has, too.
type CaptionsAcross struct {
	Split string  `json:"split"` // validation or test
	In    string  `json:"in"`    // train, or validation
	Count int     `json:"count"`
	Share float64 `json:"share"` // of the split's captions, 0 to 1
}

// RepeatedCaption is a caption that occurs more than once.
type RepeatedCaption struct {
	Caption string   `json:"caption"`
	Count   int      `json:"count"`
	Splits  []string `json:"splits"`
}

// maxWords bounds the memory that words take: those that are new when so many are kept are counted
// as uncounted.
const maxWords = 500_000

// captions counts what captions are made of.
type captions struct {
	options Options
	words   map[string]int
	total   int // words
	unkept  int
	lengths map[int]int
	tokens  map[int]int
	ofTrain map[int]int // tokens, of training captions alone
	longest []long      // at most Top, the longest first
	scripts scripts
	terms   termCounts
	seen    *sorter // records of captionBytes
	seed    maphash.Seed
	within  int
	of      map[int8]int // captions by split
}

// captionBytes are those of a record: the caption's hash, the number of its picture, its place among that one's
// captions, and the split. So the first of equal captions in the catalogue comes first.
const captionBytes = 8 + 4 + 4 + 1

// caption is one that was seen: where, so that its text need not be kept.
type caption struct {
	number int32    // of the first picture that has it
	place  int32    // among that picture's captions
	counts [3]int32 // by split
}

// long is a caption that may be too long.
type long struct {
	number int32
	place  int
	tokens int
}

// maxRepeated bounds the repeated captions that are held at once.
const maxRepeated = 10_000

func (c caption) count() int { return int(c.counts[0] + c.counts[1] + c.counts[2]) }

func newCaptions(o Options) captions {
	return captions{
		options: o, words: map[string]int{}, lengths: map[int]int{}, tokens: map[int]int{}, ofTrain: map[int]int{},
		terms: newTermCounts(o.Terms), scripts: newScripts(), seen: o.sorter(captionBytes),
		seed: maphash.MakeSeed(), of: map[int8]int{},
	}
}

// add counts the captions of one picture.
func (c *captions) add(p picture, texts []string) error {
	for i, text := range texts {
		if slices.Contains(texts[:i], text) {
			c.within++
		}
		c.of[p.split]++
		if err := c.remember(p, i, text); err != nil {
			return err
		}
		words := metrics.UnicodeTokenize(text)
		c.lengths[len(words)]++
		c.total += len(words)
		for _, word := range words {
			if _, kept := c.words[word]; !kept && len(c.words) >= maxWords {
				c.unkept++
				continue
			}
			c.words[word]++
		}
		c.terms.add(words)
		c.scripts.add(text)
		if c.options.Tokens != nil {
			n := c.options.Tokens(text)
			c.tokens[n]++
			if splits[p.split] == dataset.Train {
				c.ofTrain[n]++
			}
			c.keepLongest(long{p.number, i, n})
		}
	}
	return nil
}

func (c *captions) keepLongest(l long) {
	if n := len(c.longest); n == c.options.Top && l.tokens <= c.longest[n-1].tokens {
		return
	}
	i, _ := slices.BinarySearchFunc(c.longest, l, func(kept, l long) int {
		return cmp.Or(cmp.Compare(l.tokens, kept.tokens), -1) // behind equal ones, which came before
	})
	c.longest = slices.Insert(c.longest, i, l)
	c.longest = c.longest[:min(len(c.longest), c.options.Top)]
}

func (c *captions) remember(p picture, place int, text string) error {
	var record [captionBytes]byte
	binary.BigEndian.PutUint64(record[:], maphash.String(c.seed, text))
	binary.BigEndian.PutUint32(record[8:], uint32(p.number))
	binary.BigEndian.PutUint32(record[12:], uint32(place))
	record[16] = byte(p.split)
	return c.seen.add(record[:])
}

// different yields the captions that are different from each other.
func (c *captions) different() iter.Seq2[caption, error] {
	return func(yield func(caption, error) bool) {
		var now caption
		var hash uint64
		for record, err := range c.seen.all() {
			if err != nil {
				yield(now, err)
				return
			}
			h := binary.BigEndian.Uint64(record)
			if now.count() > 0 && h != hash {
				if !yield(now, nil) {
					return
				}
				now = caption{}
			}
			if hash = h; now.count() == 0 {
				now.number = int32(binary.BigEndian.Uint32(record[8:]))
				now.place = int32(binary.BigEndian.Uint32(record[12:]))
			}
			now.counts[record[16]]++
		}
		if now.count() > 0 {
			yield(now, nil)
		}
	}
}

// finish puts what was counted into the report.
func (c *captions) finish(r *Report, catalogue *dataset.Catalogue) error {
	top := c.options.Top
	r.Words = lengthsOf(c.lengths)
	if c.options.Tokens != nil {
		most, cut := c.options.MaxLength, 0
		if most == 0 {
			most = dataset.FitMaxLength(c.ofTrain, 0)
		}
		for n, captions := range c.tokens {
			if n > most {
				cut += captions
			}
		}
		r.Tokens = &Tokens{lengthsOf(c.tokens), most, cut, share(cut, r.Captions), []Long{}}
		for _, l := range c.longest {
			if l.tokens <= most {
				break
			}
			e, err := catalogue.Example(int(l.number))
			if err != nil {
				return err
			}
			r.Tokens.Longest = append(r.Tokens.Longest, Long{e.ID, l.tokens, e.Captions[l.place], int(l.number)})
		}
	}
	r.Scripts, r.Lettersless = c.scripts.report()
	r.Vocabulary = c.vocabulary(top)
	r.Terms = c.terms.report(r.Captions)
	var err error
	r.Identical, err = c.identical(catalogue, top)
	return err
}

func lengthsOf(counts map[int]int) Lengths {
	l := Lengths{Histogram: bins(counts)}
	n, sum := 0, 0
	for _, b := range l.Histogram {
		n += b.Count
		sum += b.Value * b.Count
	}
	if n == 0 {
		return l
	}
	l.Mean = float64(sum) / float64(n)
	l.Min, l.Max = l.Histogram[0].Value, l.Histogram[len(l.Histogram)-1].Value
	l.Median, l.P95 = quantile(l.Histogram, (n+1)/2), quantile(l.Histogram, (95*n+99)/100)
	return l
}

// quantile is the rank-th smallest value; the first is 1.
func quantile(histogram []Bin, rank int) int {
	for _, b := range histogram {
		if rank -= b.Count; rank <= 0 {
			return b.Value
		}
	}
	return 0
}

func (c *captions) vocabulary(top int) Vocabulary {
	v := Vocabulary{Words: c.total, Distinct: len(c.words), Unkept: c.unkept}
	all := make([]Word, 0, len(c.words))
	for word, count := range c.words {
		all = append(all, Word{word, count})
		if count == 1 {
			v.Once++
		}
	}
	slices.SortFunc(all, func(a, b Word) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Word, b.Word))
	})
	n := min(top, len(all))
	v.Frequent = slices.Clone(all[:n])
	slices.SortFunc(all, func(a, b Word) int {
		return cmp.Or(cmp.Compare(a.Count, b.Count), cmp.Compare(a.Word, b.Word))
	})
	v.Rare = slices.Clone(all[:n])
	return v
}

func (c *captions) identical(catalogue *dataset.Catalogue, top int) (Identical, error) {
	out := Identical{Within: c.within, Across: []CaptionsAcross{}, List: []RepeatedCaption{}}
	var repeated []caption
	mostRepeated := func(n int) {
		slices.SortFunc(repeated, func(a, b caption) int {
			return cmp.Or(
				cmp.Compare(b.count(), a.count()), cmp.Compare(a.number, b.number), cmp.Compare(a.place, b.place),
			)
		})
		repeated = repeated[:min(n, len(repeated))]
	}
	var shared [3][3]int
	for s, err := range c.different() {
		if err != nil {
			return out, err
		}
		out.Distinct++
		if n := s.count(); n > 1 {
			out.Repeated += n
			if repeated = append(repeated, s); len(repeated) >= top+maxRepeated {
				mostRepeated(top)
			}
		}
		for split := range shared {
			for in := range split {
				if s.counts[in] > 0 {
					shared[split][in] += int(s.counts[split])
				}
			}
		}
	}
	mostRepeated(top)
	for split := range shared {
		for in, n := range shared[split][:split] {
			if n > 0 {
				out.Across = append(out.Across, CaptionsAcross{
					splits[split], splits[in], n, share(n, c.of[int8(split)]),
				})
			}
		}
	}
	for _, s := range repeated {
		e, err := catalogue.Example(int(s.number))
		if err != nil {
			return out, err
		}
		has := splitSet(0)
		for split, n := range s.counts {
			if n > 0 {
				has |= setOf(int8(split))
			}
		}
		out.List = append(out.List, RepeatedCaption{e.Captions[s.place], s.count(), has.names()})
	}
	return out, nil
}
