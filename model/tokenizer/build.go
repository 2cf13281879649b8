package tokenizer

import (
	"encoding/json"
	"fmt"
	"strings"
)

// parts is all that makes a tokenizer, as files have it or training finds it.
type parts struct {
	vocab  map[string]int32 // tokens in the byte-level alphabet
	merges [][2]string      // in order of rank
	added  []addedToken
	eos    string // content of the token that ends a caption

	unknown     string // "" for none
	fuseUnknown bool
	wholeWords  bool
	prefixSpace bool

	// What GPT-2 does not have, and how tokenizer.json says it.
	normalizers                  []normalizer
	splitters                    []splitter
	whole                        bool // a piece is not split further
	normalizerJSON, splitterJSON json.RawMessage
}

// maxID bounds ids, so that a file cannot make us allocate without end.
const maxID = 1 << 21

// build checks the parts against each other and makes the tokenizer.
func build(p parts) (*Tokenizer, error) {
	t := &Tokenizer{
		ids:         p.vocab,
		pairs:       p.merges,
		merges:      make(map[[2]int32]merged, len(p.merges)),
		unknown:     noToken,
		fuseUnknown: p.fuseUnknown,
		wholeWords:  p.wholeWords,
		prefixSpace: p.prefixSpace,
		normalizers: p.normalizers,
		splitters:   p.splitters,
		whole:       p.whole,
		asGiven:     [2]json.RawMessage{p.normalizerJSON, p.splitterJSON},
		added:       p.added,
		eos:         noToken,
	}
	if err := t.placeTokens(); err != nil {
		return nil, err
	}
	for rank, pair := range p.merges {
		left, right, joined, err := t.mergeIDs(pair)
		if err != nil {
			return nil, fmt.Errorf("merge %d: %w", rank+1, err)
		}
		t.merges[[2]int32{left, right}] = merged{rank: int32(rank), id: joined}
	}
	for b := range t.base {
		t.base[b] = noToken
		if id, ok := t.ids[string(byteRunes[b])]; ok {
			t.base[b] = id
		}
	}
	if p.unknown != "" {
		id, ok := t.ID(p.unknown)
		if !ok {
			return nil, fmt.Errorf("unknown token %q is not in the vocabulary", p.unknown)
		}
		t.unknown = id
	}
	t.special = make([]bool, len(t.tokens))
	for _, a := range t.added {
		t.special[a.ID] = a.Special
	}
	t.addedMatcher = [2]matcher{newMatcher(t.added, nil), newMatcher(t.added, t.normalize)}
	id, ok := t.ID(p.eos)
	if !ok {
		return nil, fmt.Errorf("end token %q is not in the vocabulary", p.eos)
	}
	t.eos = id
	return t, nil
}

// placeTokens fills tokens and bytes from the vocabulary and the added tokens.
func (t *Tokenizer) placeTokens() error {
	size := int32(0)
	check := func(token string, id int32) error {
		if id < 0 || id >= maxID {
			return fmt.Errorf("token %q has id %d; ids are between 0 and %d", token, id, maxID-1)
		}
		size = max(size, id+1)
		return nil
	}
	for token, id := range t.ids {
		if token == "" {
			return fmt.Errorf("token with id %d is empty", id)
		}
		if err := check(token, id); err != nil {
			return err
		}
	}
	for _, a := range t.added {
		if a.Content == "" {
			return fmt.Errorf("added token with id %d is empty", a.ID)
		}
		if err := check(a.Content, a.ID); err != nil {
			return err
		}
		if id, ok := t.ids[a.Content]; ok && id != a.ID {
			return fmt.Errorf("added token %q has id %d, the vocabulary says %d", a.Content, a.ID, id)
		}
	}
	t.tokens = make([]string, size)
	t.bytes = make([][]byte, size)
	place := func(token string, id int32) error {
		if have := t.tokens[id]; have != "" && have != token {
			return fmt.Errorf("tokens %q and %q both have id %d", min(have, token), max(have, token), id)
		}
		t.tokens[id], t.bytes[id] = token, tokenBytes(token)
		return nil
	}
	for token, id := range t.ids {
		if err := place(token, id); err != nil {
			return err
		}
	}
	for _, a := range t.added {
		if err := place(a.Content, a.ID); err != nil {
			return err
		}
	}
	return nil
}

func (t *Tokenizer) mergeIDs(pair [2]string) (left, right, joined int32, err error) {
	for _, token := range []string{pair[0], pair[1], pair[0] + pair[1]} {
		if strings.Contains(token, " ") {
			return 0, 0, 0, fmt.Errorf("token %q has a space, so this is not byte-level BPE", token)
		}
		if _, ok := t.ids[token]; !ok {
			return 0, 0, 0, fmt.Errorf("token %q is not in the vocabulary", token)
		}
	}
	return t.ids[pair[0]], t.ids[pair[1]], t.ids[pair[0]+pair[1]], nil
}
