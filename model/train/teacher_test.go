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
	k, n := b.TopK, 0
	b.Temperature = student.Temperature
	b.Taught, b.LogProbs = make([]int32, len(b.Labels)*k), make([]float32, len(b.Labels)*(k+1))
	for i, label := range b.Labels {
		if label < 0 {
			continue
		}
		for j, id := range ids[n*k : (n+1)*k] {
			b.Taught[i*k+j] = int32(id)
		}
		copy(b.LogProbs[i*(k+1):], logs[n*(k+1):(n+1)*(k+1)])
		n++
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
	warm := *b
	warm.Temperature = 3
	for want, bad := range map[string]*dataset.Batch{
		"0 tokens": &plain, "token 40": &unknown, "at temperature 3, of a student that learns at 2": &warm,
	} {
		if _, err := taught.Step(bad); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if _, err := trainer(alone).Step(b); err == nil || !strings.Contains(err.Error(), "nothing learns from one") {
		t.Errorf("a trainer without teacher: %v", err)
	}
}

// A student that is its teacher has nothing to learn from it, however few tokens are stored of each place and however warm
// both are: none of its weights is told to change. (Where stored tokens were made to sum to 1, it was to give the others nothing.)
func TestAStudentThatIsItsTeacherHasNothingToLearn(t *testing.T) {
	g, b, c, w, err := readGolden()
	if err != nil {
		t.Fatal(err)
	}
	alone := g.Steps[0].GradNorm // of captions
	backendtest.Each(t, func(t *testing.T, be compute.Backend) {
		captioner, err := model.NewCaptioner(be, c, w)
		if err != nil {
			t.Fatal(err)
		}
		defer captioner.Close()
		for _, f := range []dataset.TeacherFormat{
			{TopK: 1, Temperature: 1}, {TopK: 6, Temperature: 2}, {TopK: c.VocabSize(), Temperature: 8},
		} {
			config, batch := goldenConfig(g), *b
			config.Teacher = &Teacher{Weight: 1, Temperature: f.Temperature}
			batch.TopK, batch.Temperature = f.TopK, f.Temperature
			batch.Taught, batch.LogProbs, err = captioner.TopTokens(b.Pixels, b.N, b.Labels, b.T, f.TopK, f.Temperature)
			if err != nil {
				t.Fatal(err)
			}
			tr, err := New(be, c, w, config)
			if err != nil {
				t.Fatal(err)
			}
			r, err := tr.Step(&batch)
			tr.Close()
			if err != nil || !(r.GradNorm < 1e-4*alone) || math.Abs(r.LossSum) > 1e-3 {
				t.Errorf("%+v: loss %g, gradient %g, of captions alone %g, %v", f, r.LossSum, r.GradNorm, alone, err)
			}
		}
	})
}
