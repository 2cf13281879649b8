package tokenizer

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// Kept are the ids of a smaller vocabulary, ascending: the bytes, so that every text can still be encoded, added
// and unknown tokens, those of must, and of the tokens that counts has (how often each comes, by id) the most
// frequent, of equal ones the lowest ids, as far as most tokens hold them; 0: all of them. With a token come
// those that merging its bytes goes through, so that what consists of kept tokens is encoded as before.
// Where even the first are more than most, they alone are kept.
func (t *Tokenizer) Kept(counts map[int32]int64, must []int32, most int) []int32 {
	kept := map[int32]bool{}
	for _, id := range slices.Concat(t.base[:], []int32{t.unknown, t.eos}, must) {
		if id != noToken {
			kept[id] = true
		}
	}
	for _, a := range t.added {
		kept[a.ID] = true
	}
	byCount := slices.SortedFunc(maps.Keys(counts), func(a, b int32) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	for _, id := range byCount {
		if kept[id] || counts[id] == 0 {
			continue
		}
		lacking := slices.DeleteFunc(t.parts(id), func(part int32) bool { return kept[part] })
		if most > 0 && len(kept)+len(lacking) > most {
			continue // one of fewer parts may still have room
		}
		for _, part := range lacking {
			kept[part] = true
		}
	}
	return slices.Sorted(maps.Keys(kept))
}

// parts are a token and those that merging its bytes goes through, each once. Wherever text is encoded to the
// token the same merges have made it: none of them looks beyond its bytes.
func (t *Tokenizer) parts(id int32) []int32 {
	parts := []int32{id}
	if id < 0 || int(id) >= len(t.bytes) {
		return parts
	}
	ids := t.appendBytes(nil, string(t.bytes[id]))
	for {
		at, m := t.nextMerge(ids)
		if at < 0 {
			return parts
		}
		ids = slices.Replace(ids, at, at+2, m.id)
		if !slices.Contains(parts, m.id) {
			parts = append(parts, m.id)
		}
	}
}

// Prune is the tokenizer with the tokens of these ids only, ascending: keep[i] becomes i. Merges whose
// tokens are all kept stay, in their order.
func (t *Tokenizer) Prune(keep []int32) (*Tokenizer, error) {
	renamed := make(map[int32]int32, len(keep))
	for i, id := range keep {
		if i > 0 && id <= keep[i-1] || id < 0 {
			return nil, fmt.Errorf("prune: id %d; they must ascend from 0", id)
		}
		renamed[id] = int32(i)
	}
	p := parts{
		vocab: map[string]int32{}, eos: t.tokens[t.eos], fuseUnknown: t.fuseUnknown, wholeWords: t.wholeWords,
		prefixSpace: t.prefixSpace, normalizers: t.normalizers, splitters: t.splitters, whole: t.whole,
		normalizerJSON: t.asGiven[0], splitterJSON: t.asGiven[1],
	}
	if t.unknown != noToken {
		p.unknown = t.tokens[t.unknown]
	}
	for token, id := range t.ids {
		if to, ok := renamed[id]; ok {
			p.vocab[token] = to
		}
	}
	for _, a := range t.added {
		if to, ok := renamed[a.ID]; ok {
			a.ID = to
			p.added = append(p.added, a)
		}
	}
	for _, pair := range t.pairs {
		_, left := p.vocab[pair[0]]
		_, right := p.vocab[pair[1]]
		_, joined := p.vocab[pair[0]+pair[1]]
		if left && right && joined {
			p.merges = append(p.merges, pair)
		}
	}
	return build(p)
}
