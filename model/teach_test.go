package model

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/gomlx/compute"

	"distilvit/internal/backend/backendtest"
	"distilvit/model/safetensors"
)

// What a teacher says, at each place and as captions of its own, is what PyTorch's says (testdata/make_teacher.py).
func TestATeacherSaysWhatPyTorchSays(t *testing.T) {
	var batch struct {
		Pictures int     `json:"pictures"`
		Captions int     `json:"captions"`
		Tokens   int     `json:"tokens"`
		Pixels   string  `json:"pixels"`
		Labels   []int32 `json:"labels"`
	}
	var golden struct {
		Said        [][]int32 `json:"said"`
		Temperature float64   `json:"temperature"`
	}
	for path, v := range map[string]any{"testdata/same/golden.json": &batch, "testdata/teacher/golden.json": &golden} {
		raw, err := os.ReadFile(path)
		if err == nil {
			err = json.Unmarshal(raw, v)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	pixels, err := base64.StdEncoding.DecodeString(batch.Pixels)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open("testdata/teacher/golden.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	tensors, err := safetensors.Open(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	wantIDs, err := tensors.Ints("token_ids")
	if err != nil {
		t.Fatal(err)
	}
	want, err := tensors.Float32s("log_probs")
	if err != nil {
		t.Fatal(err)
	}
	c, err := ReadConfig("testdata/same")
	if err != nil {
		t.Fatal(err)
	}
	w, err := ReadWeights("testdata/same", c)
	if err != nil {
		t.Fatal(err)
	}
	backendtest.Each(t, func(t *testing.T, be compute.Backend) {
		g, err := NewCaptioner(be, c, w)
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		const k = 6
		ids, logs, err := g.TopTokens(pixels, batch.Pictures, batch.Labels, batch.Tokens, k, golden.Temperature)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for i, label := range batch.Labels {
			tokens, logs := ids[i*k:(i+1)*k], logs[i*(k+1):(i+1)*(k+1)]
			if label < 0 {
				if slices.Max(tokens) != 0 || slices.Min(logs) != 0 || slices.Max(logs) != 0 {
					t.Errorf("place %d has no token, and %d of %v", i, tokens, logs)
				}
				continue
			}
			wantTokens, wantLogs := wantIDs[n*k:(n+1)*k], want[n*(k+1):(n+1)*(k+1)]
			for j, x := range logs { // half precision is off by up to 2^-11
				most := math.Abs(float64(wantLogs[j]))/2048 + 1e-5
				if j < k && int64(tokens[j]) != wantTokens[j] || math.Abs(float64(x-wantLogs[j])) > most {
					t.Errorf("place %d: tokens %d of %v instead of %d of %v", i, tokens, logs, wantTokens, wantLogs)
					break
				}
			}
			n++
		}
		if n*k != len(wantIDs) {
			t.Errorf("%d places instead of %d", n, len(wantIDs)/k)
		}
		said, err := g.Generate(pixels, batch.Pictures, GenerateOptions{
			MaxLength: 12, NumBeams: 4, NumReturnSequences: 3, LengthPenalty: 1,
		})
		if err != nil || !slices.EqualFunc(said, golden.Said, slices.Equal) {
			t.Errorf("said %v, %v instead of %v", said, err, golden.Said)
		}
	})
}
