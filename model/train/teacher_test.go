package train

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gomlx/compute"

	"distilvit/dataset"
	"distilvit/internal/backend"
	"distilvit/internal/backend/backendtest"
	"distilvit/model"
)

const teacherDir = "../testdata/teacher"

// taught is what ../testdata/make_teacher.py wrote: a student of half the layers, the golden batch with what the
// teacher says of it, and the optimisation.
func taught(t *testing.T) (g golden, b *dataset.Batch, c *model.Config, w model.Weights, config Config) {
	t.Helper()
	g, b, c, w, err := readGolden()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(teacherDir, "golden.json"))
	if err != nil {
		t.Fatal(err)
	}
	var student struct {
		Encoder, Decoder   []int
		Temperature, Alpha float64
	}
	g.Steps = nil
	for _, v := range []any{&student, &g} {
		if err := json.Unmarshal(raw, v); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.TakeLayers(w, model.Layers{Encoder: student.Encoder, Decoder: student.Decoder}); err != nil {
		t.Fatal(err)
	}
	said := goldenTensors(t, teacherDir)
	ids, err := said.Ints("token_ids")
	if err != nil {
		t.Fatal(err)
	}
	logs, err := said.Float32s("log_probs")
	if err != nil {
		t.Fatal(err)
	}
	b.TopK = len(ids) / int(g.LabelTokens)
	b.Taught, b.LogProbs = make([]int32, len(b.Labels)*b.TopK), make([]float32, len(b.Labels)*b.TopK)
	n := 0
	for i, label := range b.Labels {
		if label < 0 {
			continue
		}
		for j := range b.TopK {
			b.Taught[i*b.TopK+j], b.LogProbs[i*b.TopK+j] = int32(ids[n]), logs[n]
			n++
		}
	}
	config = goldenConfig(g)
	config.Teacher = &Teacher{Weight: student.Alpha, Temperature: student.Temperature}
	return g, b, c, w, config
}

func TestStepsWithATeacherEqualPyTorch(t *testing.T) {
	g, b, c, w, config := taught(t)
	want := goldenTensors(t, teacherDir)
	backendtest.Each(t, func(t *testing.T, be compute.Backend) {
		tr, err := New(be, c, w, config)
		if err != nil {
			t.Fatal(err)
		}
		defer tr.Close()
		wantSteps(t, "teacher", tr, b, g.Steps)
		wantWeights(t, tr, want, config.LearningRate)
	})
}

// A batch in parts learns what the whole teaches; the validation's loss knows no teacher, and what does not fit the batch
// is refused.
func TestATeacherIsOfTheTrainingLossAlone(t *testing.T) {
	g, b, c, w, config := taught(t)
	be := backendtest.Open(t, backend.Go)
	trainer := func(config Config) *Trainer {
		tr, err := New(be, c, w, config)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(tr.Close)
		return tr
	}
	parts := config
	parts.MicroBatchSize = 1
	r, err := trainer(parts).Step(b)
	if first := g.Steps[0]; err != nil || math.Abs(r.LossSum-first.LossSum) > 1e-4*first.LossSum {
		t.Errorf("in parts the loss is %g, %v instead of %g", r.LossSum, err, first.LossSum)
	}
	alone := config
	alone.Teacher = nil
	plain := *b
	plain.Taught, plain.LogProbs, plain.TopK = nil, nil, 0
	want, _, err := trainer(alone).Loss(&plain)
	if err != nil {
		t.Fatal(err)
	}
	taught := trainer(config)
	if got, _, err := taught.Loss(b); err != nil || got != want {
		t.Errorf("loss is %v, %v beside a teacher, %v without", got, err, want)
	}
	unknown := *b
	unknown.Taught = append([]int32{40}, b.Taught[1:]...)
	for want, bad := range map[string]*dataset.Batch{"0 tokens": &plain, "token 40": &unknown} {
		if _, err := taught.Step(bad); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if _, err := trainer(alone).Step(b); err == nil || !strings.Contains(err.Error(), "nothing learns from one") {
		t.Errorf("a trainer without teacher: %v", err)
	}
}
