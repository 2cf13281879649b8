// Package tokenizer is byte-level BPE, as GPT-2, Llama 3, Qwen and SmolLM have it, as Hugging Face's
// tokenizers does it, id for id: Load reads a Hugging Face directory, Train makes a small
// vocabulary from captions, WriteDir writes the files Hugging Face and
// Transformers.js read. It is not a general tokenizer: whatever is not
// byte-level BPE is refused when loading. Start reading at Encode.
package tokenizer

import (
	"encoding/json"
	"strings"

	"distilvit/internal/digest"
)

// EndOfText is the special token that starts, ends and pads GPT-2's texts.
const EndOfText = "<|endoftext|>"

// Tokenizer turns text into token ids and back. It does not change after it is
// made, so goroutines may share it.
type Tokenizer struct {
	tokens []string         // by id, in the byte-level alphabet; "" where no token has the id
	ids    map[string]int32 // the vocabulary, without tokens that are only added
	bytes  [][]byte         // by id: what Decode writes

	special []bool // by id

	pairs  [][2]string         // merges in order of rank, as the file has them
	merges map[[2]int32]merged // by the pair of ids
	base   [256]int32          // id of each byte; noToken where the vocabulary lacks it

	unknown      int32 // id for bytes the vocabulary lacks; noToken: they are dropped
	fuseUnknown  bool  // neighbouring unknown bytes become one token
	wholeWords   bool  // a word that is a token is not split, whatever the merges say
	prefixSpace  bool  // texts start with a space
	normalizers  []normalizer
	splitters    []splitter         // before words are found
	whole        bool               // a piece is a word, not split as GPT-2 does
	asGiven      [2]json.RawMessage // normalizer and pre_tokenizer that are not GPT-2's
	added        []addedToken
	addedMatcher [2]matcher // tokens matched first, and those matched in what is left
	eos          int32

	cache wordCache
}

const noToken = int32(-1)

// merged is what a pair of neighbouring tokens becomes. Lower ranks go first.
type merged struct {
	rank int32
	id   int32
}

// Encode gives the ids of a text. Nothing is put before or behind; special
// tokens written out in the text become their ids. Bytes that are not UTF-8
// count as U+FFFD.
func (t *Tokenizer) Encode(text string) []int32 {
	if text == "" {
		return nil
	}
	text = string(lossy(text))
	ids := make([]int32, 0, len(text)/3+4)
	t.split(text, func(part string, special int32) {
		if special != noToken {
			ids = append(ids, special)
			return
		}
		pieces(part, t.splitters, func(piece string) { ids = t.appendPiece(ids, piece) })
	})
	return ids
}

// appendPiece appends the ids of what no added token and no splitter parts.
func (t *Tokenizer) appendPiece(ids []int32, piece string) []int32 {
	if t.prefixSpace && !strings.HasPrefix(piece, " ") {
		piece = " " + piece
	}
	for piece != "" {
		n := len(piece)
		if !t.whole {
			n = pieceLength(piece)
		}
		ids = t.appendWord(ids, piece[:n])
		piece = piece[n:]
	}
	return ids
}

// Decode gives the text of ids. Ids without a token are skipped, and with
// skipSpecial also special tokens. Bytes that are not UTF-8 become U+FFFD.
func (t *Tokenizer) Decode(ids []int32, skipSpecial bool) string {
	var out []byte
	for _, id := range ids {
		if id < 0 || int(id) >= len(t.bytes) || skipSpecial && t.special[id] {
			continue
		}
		out = append(out, t.bytes[id]...)
	}
	return string(lossy(string(out)))
}

// VocabSize is one more than the largest id: the rows an embedding needs.
func (t *Tokenizer) VocabSize() int { return len(t.tokens) }

// EOS is the id that ends a caption.
func (t *Tokenizer) EOS() int32 { return t.eos }

// Token gives the token of an id in the byte-level alphabet, and whether there is one.
func (t *Tokenizer) Token(id int32) (string, bool) {
	if id < 0 || int(id) >= len(t.tokens) || t.tokens[id] == "" {
		return "", false
	}
	return t.tokens[id], true
}

// ID gives the id of a token in the byte-level alphabet, and whether there is one.
func (t *Tokenizer) ID(token string) (int32, bool) {
	for _, a := range t.added {
		if a.Content == token {
			return a.ID, true
		}
	}
	id, ok := t.ids[token]
	return id, ok
}

// Digest is the SHA-256, in lower-case hex, of the tokenizer.json that
// WriteDir writes: equal for tokenizers that encode and decode alike.
func (t *Tokenizer) Digest() string {
	return digest.Bytes(t.Bytes())
}
