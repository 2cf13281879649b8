package tokenizer

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Normalizers and pre_tokenizers that other byte-level models have give the ids of Hugging Face's
// tokenizers, as they are and once written.
func TestFormsOfOtherModelsEncodeAsHuggingFace(t *testing.T) {
	var golden struct {
		Texts []string
		Forms map[string]struct {
			Normalizer   json.RawMessage `json:"normalizer"`
			PreTokenizer json.RawMessage `json:"pre_tokenizer"`
			AddedTokens  json.RawMessage `json:"added_tokens"`
			IDs          [][]int32
		}
	}
	if err := json.Unmarshal(unzip(t, "forms.json.gz"), &golden); err != nil {
		t.Fatal(err)
	}
	if len(golden.Texts) < 1000 || len(golden.Forms) < 15 {
		t.Fatalf("%d texts, %d forms", len(golden.Texts), len(golden.Forms))
	}
	plain, err := os.ReadFile(filepath.Join("testdata", "hf", "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	for name, form := range golden.Forms {
		t.Run(name, func(t *testing.T) {
			var file map[string]json.RawMessage
			if err := json.Unmarshal(plain, &file); err != nil {
				t.Fatal(err)
			}
			file["normalizer"], file["pre_tokenizer"] = form.Normalizer, form.PreTokenizer
			file["added_tokens"] = form.AddedTokens
			dir, again := t.TempDir(), t.TempDir()
			raw, err := json.Marshal(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "tokenizer.json"), raw, 0o666); err != nil {
				t.Fatal(err)
			}
			tok := load(t, dir)
			if err := tok.WriteDir(again); err != nil {
				t.Fatal(err)
			}
			written := load(t, again)
			if written.Digest() != tok.Digest() {
				t.Error("writing and reading changes the digest")
			}
			wrong := 0
			for i, text := range golden.Texts {
				for _, which := range []*Tokenizer{tok, written} {
					if ids := which.Encode(text); !slices.Equal(ids, form.IDs[i]) {
						if wrong++; wrong < 6 {
							t.Errorf("%q: %v, want %v", text, ids, form.IDs[i])
						}
					}
				}
			}
			if wrong > 0 {
				t.Errorf("%d differences", wrong)
			}
		})
	}
}

func TestFormsThatAreNotSupportedAreNamed(t *testing.T) {
	level := `{"type": "ByteLevel"}`
	for name, c := range map[string]struct{ normalizer, pre, want string }{
		"strip":       {`{"type": "Sequence", "normalizers": [{"type": "StripAccents"}]}`, level, "normalizer is StripAccents"},
		"precompiled": {`{"type": "Precompiled"}`, level, "normalizer is Precompiled"},
		"replace": {
			`{"type": "Replace", "pattern": {"Regex": "a+"}, "content": "b"}`, level,
			"Replace has a regular expression",
		},
		"metaspace": {"null", `{"type": "Sequence", "pretokenizers": [{"type": "Metaspace"}]}`, "pre_tokenizer is Metaspace"},
		"no level":  {"null", `{"type": "Sequence", "pretokenizers": [{"type": "Digits"}]}`, "has no ByteLevel"},
		"falcon": {
			"null", `{"type": "Sequence", "pretokenizers": [` + level + `, {"type": "Digits"}]}`,
			"Digits after ByteLevel",
		},
		"behavior": {
			"null", `{"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"String": "a"}, ` +
				`"behavior": "MergedWithNext"}, ` + level + `]}`, "behavior MergedWithNext (invert false)",
		},
		"look-behind": {
			"null", `{"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": "(?<=a)b"}, ` +
				`"behavior": "Isolated"}, ` + level + `]}`, "pattern (?<=a)b: (?<= is not supported",
		},
		"word": {
			"null", `{"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": "\\w+"}, ` +
				`"behavior": "Isolated"}, ` + level + `]}`, `\w is not supported`,
		},
		"possessive": {
			"null", `{"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": "a?+b"}, ` +
				`"behavior": "Isolated"}, ` + level + `]}`, "not supported",
		},
	} {
		_, err := parseTokenizerJSON([]byte(`{"normalizer": ` + c.normalizer + `, "pre_tokenizer": ` + c.pre +
			`, "model": {"vocab": {"a": 0}}}`))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, not %q", name, err, c.want)
		}
	}
}
