package trainer

import (
	"context"
	"iter"
	"os"
	"path/filepath"
	"testing"

	"distilvit/dataset"
	"distilvit/dataset/pixels"
	"distilvit/internal/backend"
	"distilvit/model"
	"distilvit/model/tokenizer"
)

const (
	testSide   = 32
	testRows   = 62 // eight batches of eight, the last padded
	testLength = 8
)

// testShards writes drawn pictures and their tokens as one pair of shards, and
// a model directory without weights.
func testShards(t *testing.T) (pair dataset.ShardPair, modelDir string) {
	t.Helper()
	spec := dataset.Spec{
		Kind: "shapes", Shapes: dataset.ShapesSpec{Train: testRows, MaxObjects: 2, ImageSize: testSide},
	}
	examples, _, err := dataset.List(t.Context(), spec, nil, 1)
	check(t, err)
	opener, err := dataset.NewOpener(spec, nil)
	check(t, err)
	defer opener.Close()
	proc := pixels.NewProcessor(testSide)
	tok, err := tokenizer.Train(func(yield func(string) bool) {
		for _, e := range examples {
			for _, c := range e.Captions {
				if !yield(c) {
					return
				}
			}
		}
	}, 300)
	check(t, err)

	dir := t.TempDir()
	pair = dataset.ShardPair{
		Pixels: filepath.Join(dir, "pixels.parquet"), Tokens: filepath.Join(dir, "tokens.parquet"),
		Rows: len(examples),
	}
	write(t, pair.Pixels, func(f *os.File) error {
		_, err := dataset.WriteShard(f, proc.Width, proc.Height,
			iter.Seq2[dataset.Row, error](func(yield func(dataset.Row, error) bool) {
				for _, e := range examples {
					raw, err := opener.Open(context.Background(), e.Image)
					check(t, err)
					rgb, _, err := proc.Pixels(raw)
					if !yield(dataset.Row{ID: e.ID, Captions: e.Captions, Pixels: rgb}, err) {
						return
					}
				}
			}))
		return err
	})
	write(t, pair.Tokens, func(f *os.File) error {
		_, err := dataset.WriteTokens(f,
			iter.Seq2[dataset.TokenRow, error](func(yield func(dataset.TokenRow, error) bool) {
				for _, e := range examples {
					row := dataset.TokenRow{ID: e.ID}
					for _, c := range e.Captions {
						ids := tok.Encode(c)
						row.IDs = append(row.IDs, append(ids[:min(len(ids), testLength-1)], tok.EOS()))
					}
					if !yield(row, nil) {
						return
					}
				}
			}))
		return err
	})
	modelDir = filepath.Join(dir, "model")
	check(t, tok.WriteDir(modelDir))
	check(t, proc.WriteFile(modelDir))
	eos := int(tok.EOS())
	c := &model.Config{
		Encoder: model.EncoderConfig{HiddenSize: 32, NumHiddenLayers: 1, NumAttentionHeads: 2,
			IntermediateSize: 64, ImageSize: testSide, PatchSize: 16,
			NumChannels: 3, LayerNormEps: 1e-12, HiddenAct: "gelu", QKVBias: true},
		Decoder: model.GPT2Config{VocabSize: tok.VocabSize(), NPositions: 32, NEmbd: 32, NLayer: 1, NHead: 2,
			NInner: 64, LayerNormEpsilon: 1e-5,
			ActivationFunction: "gelu_new", EmbdPdrop: 0.1, AttnPdrop: 0.1, ResidPdrop: 0.1},
		DecoderStartTokenID: eos, BOSTokenID: eos, EOSTokenID: eos, PadTokenID: eos, TieWordEmbeddings: true,
	}
	check(t, c.WriteFile(modelDir))
	return pair, modelDir
}

// backends are those this machine has: always pure Go, and XLA on the CPU
// where its plugin is installed.
func backends(t *testing.T) []backend.Choice {
	t.Helper()
	choice, err := backend.Choose(backend.Options{Kind: backend.Go})
	check(t, err)
	list := []backend.Choice{choice}
	if cache, err := os.UserCacheDir(); err == nil {
		dir := filepath.Join(cache, "distilvit", "backend")
		if choice, err := backend.Choose(backend.Options{Kind: backend.XLA, CacheDir: dir}); err == nil {
			list = append(list, choice)
		}
	}
	return list
}

func write(t *testing.T, path string, fill func(*os.File) error) {
	t.Helper()
	f, err := os.Create(path)
	check(t, err)
	defer f.Close()
	check(t, fill(f))
	check(t, f.Close())
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
