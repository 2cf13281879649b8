package tokenizer

import (
	"container/heap"
	"slices"
	"strings"
	"sync"
)

// scanWords is how long a word, in bytes, is merged by scanning for the best
// pair; longer ones take a heap, so that no text costs quadratic time.
const scanWords = 48

// appendWord appends the ids of one piece of text.
func (t *Tokenizer) appendWord(ids []int32, word string) []int32 {
	if known, ok := t.cache.get(word); ok {
		return append(ids, known...)
	}
	start := len(ids)
	ids = t.appendMerged(ids, word)
	t.cache.put(word, ids[start:])
	return ids
}

func (t *Tokenizer) appendMerged(ids []int32, word string) []int32 {
	if t.wholeWords {
		if id, ok := t.ids[byteLevel(word)]; ok {
			return append(ids, id)
		}
	}
	start := len(ids)
	ids = t.appendBytes(ids, word)
	if len(ids)-start <= scanWords {
		return ids[:start+t.mergeByScan(ids[start:])]
	}
	return ids[:start+t.mergeByHeap(ids[start:])]
}

// appendBytes appends the id of each byte of word.
func (t *Tokenizer) appendBytes(ids []int32, word string) []int32 {
	fused := false
	for i := range len(word) {
		id := t.base[word[i]]
		if id == noToken {
			if t.unknown == noToken || fused {
				continue
			}
			id = t.unknown
			fused = t.fuseUnknown
		} else {
			fused = false
		}
		ids = append(ids, id)
	}
	return ids
}

// mergeByScan merges ids in place, always the leftmost pair of the lowest
// rank, and gives how many are left.
func (t *Tokenizer) mergeByScan(ids []int32) int {
	n := len(ids)
	for n > 1 {
		at, best := t.nextMerge(ids[:n])
		if at < 0 {
			break
		}
		ids[at] = best.id
		copy(ids[at+1:n-1], ids[at+2:n])
		n--
	}
	return n
}

// nextMerge finds the leftmost pair of the lowest rank; -1 where none is left.
func (t *Tokenizer) nextMerge(ids []int32) (at int, best merged) {
	at = -1
	for i := 0; i+1 < len(ids); i++ {
		m, ok := t.merges[[2]int32{ids[i], ids[i+1]}]
		if ok && (at < 0 || m.rank < best.rank) {
			at, best = i, m
		}
	}
	return at, best
}

// mergeByHeap does the same as mergeByScan in n log n.
func (t *Tokenizer) mergeByHeap(ids []int32) int {
	next := make([]int, len(ids)) // index of the next token still there
	prev := make([]int, len(ids))
	var queue candidates
	push := func(i int) {
		if i < 0 || next[i] >= len(ids) {
			return
		}
		pair := [2]int32{ids[i], ids[next[i]]}
		if m, ok := t.merges[pair]; ok {
			heap.Push(&queue, candidate{rank: m.rank, at: i, pair: pair, id: m.id})
		}
	}
	for i := range ids {
		next[i], prev[i] = i+1, i-1
	}
	for i := range ids {
		push(i)
	}
	gone := noToken - 1
	for len(queue) > 0 {
		c := heap.Pop(&queue).(candidate)
		right := next[c.at]
		if ids[c.at] != c.pair[0] || right >= len(ids) || ids[right] != c.pair[1] {
			continue
		}
		ids[c.at], ids[right] = c.id, gone
		next[c.at] = next[right]
		if next[right] < len(ids) {
			prev[next[right]] = c.at
		}
		push(prev[c.at])
		push(c.at)
	}
	n := 0
	for _, id := range ids {
		if id != gone {
			ids[n] = id
			n++
		}
	}
	return n
}

// candidate is a pair that may be merged, unless one of its tokens has changed since.
type candidate struct {
	rank int32
	at   int
	pair [2]int32
	id   int32
}

type candidates []candidate

func (q candidates) Len() int { return len(q) }
func (q candidates) Less(i, j int) bool {
	if q[i].rank != q[j].rank {
		return q[i].rank < q[j].rank
	}
	return q[i].at < q[j].at
}
func (q candidates) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *candidates) Push(x any)   { *q = append(*q, x.(candidate)) }
func (q *candidates) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

// byteLevel writes bytes in the byte-level alphabet.
func byteLevel(s string) string {
	out := make([]rune, len(s))
	for i := range len(s) {
		out[i] = byteRunes[s[i]]
	}
	return string(out)
}

// wordCache remembers the ids of words. It fills up and then stays as it is:
// captions repeat the same few thousand words.
type wordCache struct {
	mu    sync.RWMutex
	words map[string][]int32
}

const (
	cacheWords     = 1 << 16
	cacheWordBytes = 64
)

func (c *wordCache) get(word string) ([]int32, bool) {
	if len(word) > cacheWordBytes {
		return nil, false
	}
	c.mu.RLock()
	ids, ok := c.words[word]
	c.mu.RUnlock()
	return ids, ok
}

func (c *wordCache) put(word string, ids []int32) {
	if len(word) > cacheWordBytes {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.words) >= cacheWords {
		return
	}
	if c.words == nil {
		c.words = map[string][]int32{}
	}
	c.words[strings.Clone(word)] = slices.Clone(ids)
}
