package activities

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"distilvit/artifact"
	"distilvit/artifact/record"
	"distilvit/model"
	"distilvit/model/tokenizer"
	"distilvit/pipeline"
)

// taughtConfig is a student that begins as its teacher.
func taughtConfig(t *testing.T, teacher string) pipeline.Config {
	t.Helper()
	c := tinyConfig()
	c.Model = pipeline.ModelConfig{Weights: teacher}
	c.Train.Teacher, c.Train.TeacherTopK = teacher, 4
	return c.Resolve()
}

// teach asks the teacher of what the run lacks.
func (b *bench) teach(w pipeline.Work, c pipeline.Config) (pipeline.Teacher, pipeline.DerivedPlan) {
	b.Helper()
	w.Teacher.Model = do[record.ModelRef](b, b.StorePretrained, pipeline.PretrainedInput{
		Run: w.Run, Weights: c.Train.Teacher, Teacher: true,
	})
	plan := do[pipeline.DerivedPlan](b, b.PlanTeacher, pipeline.TeacherInput{Work: w})
	finish := pipeline.FinishTeacherInput{Work: w, Plan: plan}
	for _, s := range plan.Shards {
		finish.Shards = append(finish.Shards, do[record.TaughtShard](b, b.TeachShard, pipeline.TeachInput{
			Work: w, Teacher: plan.Group, Numerics: plan.Numerics, Shard: s,
		}))
	}
	return do[pipeline.Teacher](b, b.FinishTeacher, finish), plan
}

// What a teacher says is stored once for every run that asks the same, and trains otherwise than captions alone; its own
// captions stand behind the picture's.
func TestWhatATeacherSaysIsStoredOnceAndTrains(t *testing.T) {
	b := newBench(t)
	c := taughtConfig(t, pretrained(t))
	alone := c
	alone.Train.Teacher, alone.Train.TeacherTopK = "", 0
	plain, _ := b.work("plain", alone)
	captions := do[pipeline.EpochResult](b, b.TrainEpoch, pipeline.EpochInput{Work: plain})

	w, _ := b.work("run", c)
	var plan pipeline.DerivedPlan
	w.Teacher, plan = b.teach(w, c)
	var m record.TeacherManifest
	check(t, b.Store.GetJSON(t.Context(), w.Teacher.Manifest, &m))
	if len(plan.Shards) != 3 || len(m.Shards) != 3 || m.TopK != 4 || m.Captions != 0 || m.Model != w.Teacher.Model.Digest ||
		m.Mass <= 0 || m.Mass > 1 {
		t.Errorf("planned %+v, manifest %+v", plan, m)
	}
	if s := m.Shards[0]; s.Object.Size < s.Places*(4*4+2) || s.Object.Size > s.Places*(4*4+2)+500 || s.Tokens.Key != "" {
		t.Errorf("a shard of %d places: %+v", s.Places, s)
	}
	got := do[pipeline.EpochResult](b, b.TrainEpoch, pipeline.EpochInput{Work: w})
	if b.weightsAt(got.Checkpoint).SHA256 == b.weightsAt(captions.Checkpoint).SHA256 {
		t.Error("a teacher changed nothing")
	}

	// Another weight asks nothing new; another temperature, and captions of the teacher's own, do.
	c.Train.TeacherWeight = 0.9
	other, _ := b.work("other", c)
	said, plan := b.teach(other, c)
	if len(plan.Shards) != 0 || said.Manifest != w.Teacher.Manifest {
		t.Errorf("a second run asks of %d shards, for %s", len(plan.Shards), said.Manifest)
	}
	warmer := c
	warmer.Train.TeacherTemperature = 3
	warm, _ := b.work("warm", warmer)
	if said, plan := b.teach(warm, warmer); len(plan.Shards) != 3 || said.Manifest == w.Teacher.Manifest {
		t.Errorf("at another temperature a run asks of %d shards, for %s", len(plan.Shards), said.Manifest)
	}

	// Views of each picture are asked of one by one, and shown.
	seen := c
	seen.Train.TeacherViews, seen.Train.Augment = 2, pipeline.AugmentConfig{Shift: 0.2}
	views, _ := b.work("views", seen)
	views.Teacher, _ = b.teach(views, seen)
	var both record.TeacherManifest
	check(t, b.Store.GetJSON(t.Context(), views.Teacher.Manifest, &both))
	if both.Views != 2 || both.Places != 2*m.Places || both.Mass <= 0 || both.Mass == m.Mass {
		t.Errorf("of two views %+v", both)
	}
	do[pipeline.EpochResult](b, b.TrainEpoch, pipeline.EpochInput{Work: views})

	// A run of a program that stored less trains no further: its loss was another.
	m.Version = 1
	old := w
	old.Run, old.Teacher.Manifest = "old", "teacher/old/manifest.json"
	check(t, b.Store.Publish(t.Context(), old.Teacher.Manifest, m))
	_, err := try[pipeline.EpochResult](b, b.TrainEpoch, pipeline.EpochInput{Work: old})
	wantType(t, err, pipeline.InvalidInput, "is of form 1, this program's of 2; the loss of another form is another")
	c.Train.TeacherCaptions = 2
	more, _ := b.work("more", c)
	more.Teacher, _ = b.teach(more, c)
	var own record.TeacherManifest
	check(t, b.Store.GetJSON(t.Context(), more.Teacher.Manifest, &own))
	if own.Captions != 2 || own.Places <= m.Places || own.Shards[0].Tokens.Size == 0 {
		t.Errorf("with captions of its own: %+v", own)
	}
	counted := func(teacher string) (n int64) {
		counts, err := artifact.CountTokens(t.Context(), b.Store, more.Tokens.Manifest, teacher)
		check(t, err)
		for _, c := range counts {
			n += c
		}
		return n
	}
	if plain, all := counted(""), counted(more.Teacher.Manifest); plain != m.Places || all != own.Places {
		t.Errorf("a pruned vocabulary counts %d tokens, with the teacher's captions %d, of %d and %d", plain, all, m.Places, own.Places)
	}
	if refs := b.keys("runs/more/refs/"); !slices.ContainsFunc(refs, func(key string) bool {
		return strings.HasPrefix(key, "teacher/")
	}) {
		t.Errorf("the run refers to %v", refs)
	}

	// What is broken is found, and made again with the same bytes.
	broken := own.Shards[1].Tokens.Key
	elsewhere := b.elsewhere()
	b.flip(broken)
	_, err = try[pipeline.EpochResult](elsewhere, elsewhere.TrainEpoch, pipeline.EpochInput{Work: more})
	elsewhere.wantBroken(err, "more", broken)
	if again, plan := elsewhere.teach(more, c); len(plan.Shards) != 1 || again.Manifest != more.Teacher.Manifest {
		t.Errorf("asked again: %+v, %+v", again, plan)
	}
	do[pipeline.EpochResult](elsewhere, elsewhere.TrainEpoch, pipeline.EpochInput{Work: more})
}

// Half of the decoder of a given model is what the run starts from.
func TestARunStartsFromLayersOfAModel(t *testing.T) {
	b := newBench(t)
	dir := pretrained(t)
	net, err := model.ReadConfig(dir)
	check(t, err)
	net.Decoder.NLayer = 2
	w := model.Init(net, 5)
	check(t, net.WriteFile(dir))
	check(t, model.WriteWeights(filepath.Join(dir, weightsFile), w, nil))
	in := pipeline.PretrainedInput{Run: "run", Weights: dir, FromLayers: pipeline.LayersConfig{Decoder: []int{1}}}
	local, err := b.modelDir(t.Context(), do[record.ModelRef](b, b.StorePretrained, in), true)
	check(t, err)
	student, err := model.ReadConfig(local)
	check(t, err)
	read, err := model.ReadWeights(local, student)
	check(t, err)
	const mlp = ".mlp.c_fc.weight"
	if student.Decoder.NLayer != 1 ||
		!slices.Equal(read["decoder.transformer.h.0"+mlp].Data, w["decoder.transformer.h.1"+mlp].Data) {
		t.Errorf("started from %+v", student.Decoder)
	}
	c := tinyConfig()
	c.Model = pipeline.ModelConfig{Weights: dir, FromLayers: pipeline.LayersConfig{Encoder: []int{1}}}
	_, err = try[pipeline.PreflightResult](b, b.Preflight, pipeline.PreflightInput{Run: "layers", Config: c})
	wantType(t, err, pipeline.InvalidInput, "model.from_layers: layers [1] of the encoder: they must ascend, and be from 0 to 0")
}

func TestATeacherThatDoesNotFitIsRefusedBeforeTheRun(t *testing.T) {
	b := newBench(t)
	c := tinyConfig()
	teacher, other := pretrained(t), t.TempDir()
	words, err := tokenizer.Train(slices.Values([]string{"a red square"}), 260)
	check(t, err)
	check(t, words.WriteDir(other))
	for want, change := range map[string]func(c *pipeline.Config){
		"another tokenizer than the student":             func(c *pipeline.Config) { c.Model.Tokenizer = other },
		"takes pictures of 32 pixels, the student of 64": func(c *pipeline.Config) { c.Model.ImageSize = 64 },
		"train.max_length is 33; train.teacher has 32 positions": func(c *pipeline.Config) {
			c.Model.Positions, c.Train.MaxLength = 64, 33
		},
		"a model of run nobody is not published": func(c *pipeline.Config) { c.Train.Teacher = "run:nobody" },
	} {
		c := c
		c.Train.Teacher = teacher
		change(&c)
		_, err := try[pipeline.PreflightResult](b, b.Preflight, pipeline.PreflightInput{Run: "run", Config: c})
		wantType(t, err, pipeline.InvalidInput, want)
	}
	c.Train.Teacher = teacher
	out := do[pipeline.PreflightResult](b, b.Preflight, pipeline.PreflightInput{Run: "fits", Config: c})
	if !strings.Contains(fmt.Sprint(out.Warnings), "compare with a run without") {
		t.Errorf("of what a teacher gains preflight says %q", out.Warnings)
	}
}

// Preflight counts what features and a teacher of drawn pictures take: float32 vectors, and 4 bytes a token of each place.
func TestWhatIsStoredBesideThePicturesIsPartOfTheDiskThatARunNeeds(t *testing.T) {
	c := tinyConfig()
	net := network(c.Model, 300, 0)
	c.Train.Features, c.Train.Teacher, c.Train.TeacherTopK, c.Train.TeacherCaptions = "float32", "/t", 4, 1
	if got, want := derivedBytes(net, c), int64(5*32*4+(4*4+2)*6*16); got != want {
		t.Errorf("%d bytes a picture instead of %d", got, want)
	}
	c.Train.Teacher, c.Model.FromLayers.Decoder = "run:models/t/t-b1", []int{0, 2}
	card := fmt.Sprint(settings(c))
	if !strings.Contains(card, "learns from run:models/t/t-b1 beside the captions") || !strings.Contains(card, "decoder 0 2") {
		t.Errorf("the card says %s", card)
	}
	text := need{derived: 1 << 20}.of()
	if !strings.Contains(text, "for features and what a teacher says") || (need{}).of() != "" {
		t.Errorf("said %q", text)
	}
}
