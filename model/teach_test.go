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
		Said [][]int32 `json:"said"`
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
		ids, logs, err := g.TopTokens(pixels, batch.Pictures, batch.Labels, batch.Tokens, k)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for i, label := range batch.Labels {
			for j := i * k; j < (i+1)*k; j++ {
				if label < 0 {
					if ids[j] != 0 || logs[j] != 0 {
						t.Errorf("place %d has no token, and %d of %v", i, ids[j], logs[j])
					}
					continue
				}
				// half precision is off by up to 2^-11
				if int64(ids[j]) != wantIDs[n] || math.Abs(float64(logs[j]-want[n])) > math.Abs(float64(want[n]))/2048+1e-5 {
					t.Errorf("place %d: token %d of %v instead of %d of %v", i, ids[j], logs[j], wantIDs[n], want[n])
				}
				n++
			}
		}
		if n != len(want) {
			t.Errorf("%d tokens instead of %d", n, len(want))
		}
		said, err := g.Generate(pixels, batch.Pictures, GenerateOptions{
			MaxLength: 12, NumBeams: 4, NumReturnSequences: 3, LengthPenalty: 1,
		})
		if err != nil || !slices.EqualFunc(said, golden.Said, slices.Equal) {
			t.Errorf("said %v, %v instead of %v", said, err, golden.Said)
		}
	})
}
