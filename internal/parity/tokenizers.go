package parity

import (
	"fmt"
	"path/filepath"
	"slices"

	"distilvit/model/tokenizer"
)

// tokenizerVectors is vectors.json of tokenizers/NAME. Each case is ids with what
// decoding gives, and perhaps the text that they are of.
type tokenizerVectors struct {
	Cases []struct {
		Text        *string `json:"text"`
		IDs         []int32 `json:"ids"`
		Decoded     *string `json:"decoded"`      // special tokens written out
		SkipSpecial *string `json:"skip_special"` // special tokens left out
	} `json:"cases"`
}

func (r *run) tokenizer(dir string) error {
	name := r.name(dir)
	if !exists(dir, "tokenizer.json") && !exists(dir, "vocab.json") {
		return layoutf("vectors %s: neither tokenizer.json nor vocab.json", dir)
	}
	var v tokenizerVectors
	if err := readJSON(filepath.Join(dir, "vectors.json"), &v); err != nil {
		return err
	}
	if len(v.Cases) == 0 {
		return layoutf("vectors %s: vectors.json has no cases", dir)
	}
	encoded := r.table.row(tokenIDs, "")
	t, err := tokenizer.Load(dir)
	if err != nil {
		encoded.fail(name, err)
		return nil
	}
	decoded := r.table.row(tokenTexts, "")
	for i, c := range v.Cases {
		at := fmt.Sprintf("%s, case %d", name, i)
		if c.Text != nil {
			ids := t.Encode(*c.Text)
			encoded.same(fmt.Sprintf("%s, text %s", at, short(*c.Text)), slices.Equal(ids, c.IDs), ids, c.IDs)
		}
		for _, d := range []struct {
			want *string
			skip bool
		}{{c.Decoded, false}, {c.SkipSpecial, true}} {
			if d.want == nil {
				continue
			}
			got := t.Decode(c.IDs, d.skip)
			decoded.same(fmt.Sprintf("%s, ids %s", at, short(c.IDs)), got == *d.want, got, *d.want)
		}
	}
	return nil
}
