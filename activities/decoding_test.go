package activities

import (
	"fmt"
	"strings"
	"testing"

	"distilvit/model"
	"distilvit/report"
)

func TestDecodingIsToldInPlainWords(t *testing.T) {
	first := int32(7)
	o := model.GenerateOptions{
		MaxLength: 24, NumBeams: 1, MinLength: 3, NoRepeatNGramSize: 3, RepetitionPenalty: 1.2,
		BadWordsIDs:    []model.TokenIDs{{1}, {2, 3}, {1}},
		SuppressTokens: model.TokenIDs{9}, ForcedBOSTokenID: &first, ForcedEOSTokenID: model.TokenIDs{0},
	}
	decode := func(ids []int32) string { return strings.Trim(fmt.Sprint(" t", ids), "[]") }
	var told []string
	for _, p := range decoding(o, decode) {
		told = append(told, p.Name+": "+p.Value)
	}
	want := `Decoding: greedy: the likeliest token each time, at most 24 tokens with the start token
Shortest caption: 3 tokens
Never said: "t[1", "t[2 3", "t[9"
Always said first: "t[7"
Ends at the longest: "t[0"
Repeats: no 3 tokens in a row come twice
Repetition penalty: 1.2: above 1 makes tokens that came less likely, below 1 more`
	if got := strings.Join(told, "\n"); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	list := deviations(&model.Config{EOSTokenID: 5}, o)
	if len(list) != 3 || list[2] != (report.Pair{
		Name: "In Transformers.js 2", Value: "forced_eos_token_id is ignored",
	}) {
		t.Errorf("deviations %q", list)
	}
	if got := decoding(model.GenerateOptions{MaxLength: 9, NumBeams: 4}, decode); len(got) != 1 ||
		got[0].Value != "beam search, 4 beams, at most 9 tokens with the start token" {
		t.Errorf("%q", got)
	}
}
