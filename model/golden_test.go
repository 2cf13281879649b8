package model

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gomlx/compute"

	"distilvit/internal/backend/backendtest"
	"distilvit/model/safetensors"
)

// goldenNames are the folders that testdata/make_golden.py and make_llava.py wrote.
var goldenNames = []string{"same", "differ", "llava/siglip", "llava/clip", "llava/gpt2"}

// llavaNames are those of what a captioner of the kind Prefix may have besides.
var llavaNames = []string{"llava/prompt", "llava/shuffle", "llava/gpt2-shuffle"}

// golden is what testdata/make_golden.py or make_llava.py wrote with PyTorch.
type golden struct {
	Pictures  int       `json:"pictures"`
	Captions  int       `json:"captions"`
	Tokens    int       `json:"tokens"`
	MaxLength int       `json:"max_length"`
	Pixels64  string    `json:"pixels"`
	Labels    []int32   `json:"labels"`
	Greedy    [][]int32 `json:"greedy"`
	Searches  []struct {
		Options json.RawMessage `json:"options"`
		IDs     [][]int32       `json:"ids"`
	} `json:"searches"`

	pixels  []uint8
	logits  []float32
	config  *Config
	weights Weights
}

func readGolden(t *testing.T, name string) golden {
	t.Helper()
	dir := filepath.Join("testdata", name)
	b, err := os.ReadFile(filepath.Join(dir, "golden.json"))
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(b, &g); err != nil {
		t.Fatal(err)
	}
	if g.pixels, err = base64.StdEncoding.DecodeString(g.Pixels64); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(dir, "golden.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, _ := f.Stat()
	s, err := safetensors.Open(f, st.Size())
	if err != nil {
		t.Fatal(err)
	}
	if g.logits, err = s.Float32s("logits"); err != nil {
		t.Fatal(err)
	}
	if g.config, err = ReadConfig(dir); err != nil {
		t.Fatal(err)
	}
	if g.weights, err = ReadWeights(dir, g.config); err != nil {
		t.Fatal(err)
	}
	return g
}

func TestLogitsEqualPyTorch(t *testing.T) {
	for _, name := range slices.Concat(goldenNames, llavaNames) {
		g := readGolden(t, name)
		backendtest.Each(t, func(t *testing.T, be compute.Backend) {
			c, err := NewCaptioner(be, g.config, g.weights)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			bytes, vocab := len(g.pixels)/g.Pictures, g.config.VocabSize()
			for row := range g.Pictures * g.Captions {
				picture := row / g.Captions
				ids := []int32{int32(g.config.DecoderStartTokenID)}
				for _, id := range g.Labels[row*g.Tokens : (row+1)*g.Tokens-1] {
					ids = append(ids, max(id, 0))
					if id < 0 {
						ids[len(ids)-1] = int32(g.config.PadTokenID)
					}
				}
				got, err := c.Logits(g.pixels[picture*bytes:(picture+1)*bytes], ids)
				if err != nil {
					t.Fatal(err)
				}
				want := g.logits[row*g.Tokens*vocab : (row+1)*g.Tokens*vocab]
				for i := range want {
					if d := math.Abs(float64(got[i] - want[i])); d > 2e-5 {
						t.Fatalf("%s, row %d: logit %d is %g instead of %g", name, row, i, got[i], want[i])
					}
				}
			}
		})
	}
}

func TestGreedyCaptionsEqualTransformers(t *testing.T) {
	for _, name := range goldenNames {
		g := readGolden(t, name)
		backendtest.Each(t, func(t *testing.T, be compute.Backend) {
			c, err := NewCaptioner(be, g.config, g.weights)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			for _, batch := range []int{0, 2} { // all at once; in parts, the last padded
				got, err := c.Generate(
					g.pixels, g.Pictures, GenerateOptions{MaxLength: g.MaxLength, BatchSize: batch},
				)
				if err != nil {
					t.Fatal(err)
				}
				if !slices.EqualFunc(got, g.Greedy, slices.Equal) {
					t.Errorf("%s, batch %d: got %v instead of %v", name, batch, got, g.Greedy)
				}
			}
		})
	}
}

// TestSearchesBehindPicturesEqualTransformers is greedy and beam search of what stands behind a picture's vectors.
func TestSearchesBehindPicturesEqualTransformers(t *testing.T) {
	for _, name := range []string{
		"llava/siglip", "llava/clip", "llava/prompt", "llava/shuffle", "llava/gpt2", "llava/gpt2-shuffle",
	} {
		g := readGolden(t, name)
		if len(g.Searches) < 4 {
			t.Fatalf("%s: %d searches", name, len(g.Searches))
		}
		backendtest.Each(t, func(t *testing.T, be compute.Backend) {
			c, err := NewCaptioner(be, g.config, g.weights)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			for _, search := range g.Searches {
				o := DefaultGenerate()
				if err := json.Unmarshal(search.Options, &o); err != nil {
					t.Fatal(err)
				}
				o.MaxLength = g.MaxLength
				got, err := c.Generate(g.pixels, g.Pictures, o)
				if err != nil {
					t.Fatal(err)
				}
				if !slices.EqualFunc(got, search.IDs, slices.Equal) {
					t.Errorf("%s, %s: got %v instead of %v", name, search.Options, got, search.IDs)
				}
			}
		})
	}
}

// TestCachedDecodingEqualsTeacherForcing lets a random model speak: each token
// must be the largest logit of the whole caption run at once.
func TestCachedDecodingEqualsTeacherForcing(t *testing.T) {
	for _, name := range []string{"same", "llava/clip"} {
		t.Run(name, func(t *testing.T) { cachedEqualsTeacherForcing(t, readGolden(t, name)) })
	}
}

func cachedEqualsTeacherForcing(t *testing.T, g golden) {
	w := Init(g.config, 7)
	for _, x := range w {
		for i := range x.Data {
			x.Data[i] *= 8 // far from repeating one token
		}
	}
	backendtest.Each(t, func(t *testing.T, be compute.Backend) {
		c, err := NewCaptioner(be, g.config, w)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		all, err := c.Generate(g.pixels, g.Pictures, GenerateOptions{MaxLength: 16})
		if err != nil {
			t.Fatal(err)
		}
		bytes, vocab := len(g.pixels)/g.Pictures, g.config.VocabSize()
		for i, ids := range all {
			input := append([]int32{int32(g.config.DecoderStartTokenID)}, ids[:len(ids)-1]...)
			logits, err := c.Logits(g.pixels[i*bytes:(i+1)*bytes], input)
			if err != nil {
				t.Fatal(err)
			}
			for at, id := range ids {
				row := logits[at*vocab : (at+1)*vocab]
				if best := slices.Max(row); row[id] < best-1e-4 {
					t.Errorf("picture %d, token %d: %d with logit %g, but %g is there", i, at,
						id, row[id], best)
				}
			}
		}
		if len(all[0]) < 3 {
			t.Errorf("caption %v is too short to test anything", all[0])
		}
	})
}

// TestGeneratedIDsEqualTransformers goes through what make_generate.py asked
// generate() for: greedy and beam search with every option, the end token's id 0.
func TestGeneratedIDsEqualTransformers(t *testing.T) {
	const dir = "testdata/search"
	var golden struct {
		Pictures int    `json:"pictures"`
		Pixels   []byte `json:"pixels"`
		Cases    []struct {
			Options json.RawMessage `json:"options"`
			IDs     [][]int32       `json:"ids"`
		} `json:"cases"`
	}
	raw, err := os.ReadFile(filepath.Join(dir, "golden.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &golden); err != nil {
		t.Fatal(err)
	}
	config, err := ReadConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	weights, err := ReadWeights(dir, config)
	if err != nil {
		t.Fatal(err)
	}
	if config.EOSTokenID != 0 || len(golden.Cases) < 40 {
		t.Fatalf("end token %d, %d cases", config.EOSTokenID, len(golden.Cases))
	}
	backendtest.Each(t, func(t *testing.T, be compute.Backend) {
		c, err := NewCaptioner(be, config, weights)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for i, example := range golden.Cases {
			o := DefaultGenerate()
			if err := json.Unmarshal(example.Options, &o); err != nil {
				t.Fatal(err)
			}
			if i%20 == 1 {
				o.BatchSize = 7 // in parts, the last padded
			}
			got, err := c.Generate(golden.Pixels, golden.Pictures, o)
			if err != nil {
				t.Fatal(err)
			}
			for j := range got {
				if !slices.Equal(got[j], example.IDs[j]) {
					t.Errorf("%s, picture %d: got %v instead of %v", example.Options, j,
						got[j], example.IDs[j])
				}
			}
		}
	})
}
