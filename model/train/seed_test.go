package train

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"distilvit/dataset"
	"distilvit/internal/backend"
	"distilvit/internal/backend/backendtest"
	"distilvit/model"
	"distilvit/model/tokenizer"
)

const seedDir = "../testdata/seed"

// seedGolden is what ../testdata/make_golden.py made as mozilla/distilvit's train.py does.
type seedGolden struct {
	Pictures int        `json:"pictures"`
	Captions [][]string `json:"captions"` // by picture
	Pixels64 string     `json:"pixels"`
	Labels   [][]int32  `json:"labels"` // by caption
	Steps    []struct {
		Loss             float64 `json:"loss"`               // mean over all labels, before the step
		LossShiftedTwice float64 `json:"loss_shifted_twice"` // what transformers 4.50 to 4.57 report
		GradNorm         float64 `json:"grad_norm"`
	} `json:"steps"`
}

// readSeed answers the script's captions as a batch of ours.
func readSeed(t *testing.T) (g seedGolden, b *dataset.Batch) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(seedDir, "golden.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &g); err != nil {
		t.Fatal(err)
	}
	words, err := tokenizer.Load(seedDir)
	if err != nil {
		t.Fatal(err)
	}
	l := dataset.Labels{End: words.EOS(), MaxLength: 128, Pad: true}
	b = &dataset.Batch{
		N: g.Pictures, K: len(g.Captions[0]), T: l.MaxLength, IDs: make([]string, g.Pictures),
		Rows: make([]uint64, g.Pictures),
	}
	if b.Pixels, err = base64.StdEncoding.DecodeString(g.Pixels64); err != nil {
		t.Fatal(err)
	}
	for _, caption := range slices.Concat(g.Captions...) {
		labels, _ := l.Of(words.Encode(caption))
		b.Labels = append(b.Labels, labels...)
	}
	return g, b
}

func TestLabelsLossAndStepsEqualTheScripts(t *testing.T) {
	g, b := readSeed(t)
	if want := slices.Concat(g.Labels...); !slices.Equal(b.Labels, want) {
		t.Fatalf("labels %v instead of %v", b.Labels, want)
	}
	c, err := model.ReadConfig(seedDir)
	if err != nil {
		t.Fatal(err)
	}
	w, err := model.ReadWeights(seedDir, c)
	if err != nil {
		t.Fatal(err)
	}
	config := Config{
		BatchSize: b.N, CaptionsPerPicture: b.K, MaxLength: b.T, LearningRate: 2e-3, WeightDecay: 0.1,
		Beta1: 0.9, Beta2: 0.98, Epsilon: 1e-8, MaxGradNorm: 1, TotalSteps: 1 << 40,
	}
	tr, err := New(backendtest.Open(t, backend.Go), c, w, config)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	for i, step := range g.Steps {
		sum, tokens, err := tr.Loss(b)
		if err != nil {
			t.Fatal(err)
		}
		if got := sum / float64(tokens); math.Abs(got-step.Loss) > 1e-5*step.Loss ||
			math.Abs(got-step.LossShiftedTwice) < 1e-4 || tokens != int64(len(b.Labels)) {
			t.Errorf("step %d: loss %g over %d labels, the script's is %g", i, got, tokens, step.Loss)
		}
		r, err := tr.Step(b)
		if err != nil {
			t.Fatal(err)
		}
		if math.Abs(r.GradNorm-step.GradNorm) > 1e-4*step.GradNorm {
			t.Errorf("step %d: norm %g instead of %g", i, r.GradNorm, step.GradNorm)
		}
	}
	wantWeights(t, tr, goldenTensors(t, seedDir), config.LearningRate)
}
