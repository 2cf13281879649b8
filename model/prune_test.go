package model

import (
	"math"
	"reflect"
	"testing"

	"distilvit/internal/backend"
)

// Logits of kept tokens are those of the whole vocabulary, whether it is tied or not.
func TestPrunedVocabularyHasTheSameLogits(t *testing.T) {
	choice, err := backend.Choose(backend.Options{Kind: backend.Go})
	if err != nil {
		t.Fatal(err)
	}
	be, err := backend.Open(choice)
	if err != nil {
		t.Fatal(err)
	}
	defer be.Finalize()
	for _, tied := range []bool{true, false} {
		c, _ := Preset("tiny")
		c.Encoder.ImageSize, c.Encoder.NumHiddenLayers, c.Decoder.NLayer = 2*c.Encoder.PatchSize, 1, 1
		c.Decoder.VocabSize, c.TieWordEmbeddings = 400, tied
		c.SetSpecialToken(399)
		w := Init(&c, 3)
		keep := []int32{0, 7, 8, 100, 398, 399}
		pc, pw, _, err := Prune(&c, w, DefaultGenerate(), keep)
		if err != nil {
			t.Fatal(err)
		}
		if err := pw.Check(pc); err != nil || pc.EOSTokenID != 5 || pc.DecoderStartTokenID != 5 {
			t.Fatalf("%+v, %v", pc, err)
		}
		pixels := make([]uint8, c.Encoder.ImageSize*c.Encoder.ImageSize*3)
		for i := range pixels {
			pixels[i] = uint8(i * 7)
		}
		logits := func(c *Config, w Weights, ids ...int32) []float32 {
			g, err := NewCaptioner(be, c, w)
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			l, err := g.Logits(pixels, ids)
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
		whole, pruned := logits(&c, w, 399, 100, 7), logits(pc, pw, 5, 3, 1)
		for i := range 3 {
			for j, id := range keep {
				got, want := pruned[i*len(keep)+j], whole[i*400+int(id)]
				if math.Abs(float64(got-want)) > 1e-6 || want == 0 {
					t.Errorf("tied %v, position %d: logit %d is %g, want %g", tied, i, id, got, want)
				}
			}
		}
	}
}

func TestPruneRenamesWhatOptionsName(t *testing.T) {
	c, _ := Preset("tiny")
	c.Decoder.VocabSize = 400
	c.SetSpecialToken(399)
	forced := int32(7)
	o := GenerateOptions{
		MaxLength: 9, BadWordsIDs: []TokenIDs{{7, 8}, {7, 9}, {100}}, SuppressTokens: TokenIDs{9, 8},
		BeginSuppressTokens: TokenIDs{10}, ForcedBOSTokenID: &forced, EOSTokenID: TokenIDs{399, 100},
	}
	w := Init(&c, 1)
	_, _, got, err := Prune(&c, w, o, []int32{7, 8, 100, 399})
	first := int32(0)
	want := GenerateOptions{
		MaxLength: 9, BadWordsIDs: []TokenIDs{{0, 1}, {2}}, SuppressTokens: TokenIDs{1}, ForcedBOSTokenID: &first,
		EOSTokenID: TokenIDs{3, 2},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	for _, keep := range [][]int32{{7, 8, 399}, {8, 7, 100, 399}, {7, 100, 399, 400}, {7, 100}} {
		if _, _, _, err := Prune(&c, w, o, keep); err == nil {
			t.Errorf("%v is accepted", keep)
		}
	}
}
