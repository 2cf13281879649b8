package activities

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"distilvit/artifact/record"
	"distilvit/pipeline"
	"distilvit/storage/layout"
)

// frozenConfig freezes the encoder of a given model and stores its features.
func frozenConfig(t *testing.T, features string) pipeline.Config {
	c := tinyConfig()
	encoder, decoder := apart(t)
	c.Model = pipeline.ModelConfig{Encoder: encoder, Decoder: decoder}
	c.Train.Augment = pipeline.AugmentConfig{}
	c.Train.Freeze, c.Train.Features = pipeline.Paths{"encoder"}, features
	return c.Resolve()
}

// encode makes the features that a run lacks, and answers how many shards that were.
func (b *bench) encode(w pipeline.Work, seed uint64) (pipeline.Features, pipeline.DerivedPlan) {
	b.Helper()
	return b.encodePlanned(pipeline.FeaturesInput{Work: w, Seed: seed})
}

func (b *bench) encodePlanned(in pipeline.FeaturesInput) (pipeline.Features, pipeline.DerivedPlan) {
	b.Helper()
	plan := do[pipeline.DerivedPlan](b, b.PlanFeatures, in)
	finish := pipeline.FinishFeaturesInput{Work: in.Work, Plan: plan}
	for _, s := range plan.Shards {
		finish.Shards = append(finish.Shards, do[record.Shard](b, b.EncodeShard, pipeline.EncodeInput{
			Work: in.Work, Features: plan.Group, Numerics: plan.Numerics, Shard: s, Seed: in.Seed,
		}))
	}
	return do[pipeline.Features](b, b.FinishFeatures, finish), plan
}

// encodeHeldOut is encode of pictures that are evaluated, of the validation set so many.
func (b *bench) encodeHeldOut(w pipeline.Work, seed uint64, validation int) (pipeline.Features, pipeline.DerivedPlan) {
	b.Helper()
	w.Train = w.Train.OfHeldOut()
	return b.encodePlanned(pipeline.FeaturesInput{Work: w, Seed: seed, HeldOut: &pipeline.HeldOut{Validation: validation}})
}

// weightsAt are the trained weights of a checkpoint, as an object.
func (b *bench) weightsAt(c record.CheckpointRef) layout.Object {
	b.Helper()
	var m record.CheckpointManifest
	check(b.T, b.Store.GetJSON(b.Context(), c.Manifest, &m))
	return m.Files[weightsFile]
}

func TestFeaturesAreMadeOnceAndTrainTheSameWeights(t *testing.T) {
	b := newBench(t)
	c := frozenConfig(t, "float32")
	computed := c
	computed.Train.Features = ""
	plain, _ := b.work("plain", computed)
	want := do[pipeline.EpochResult](b, b.TrainEpoch, pipeline.EpochInput{Work: plain})

	w, _ := b.work("run", c)
	var plan pipeline.DerivedPlan
	w.Features, plan = b.encode(w, c.Seed)
	if len(plan.Shards) != 3 || plan.Shards[2].First != 32 || len(plan.Warnings) != 0 {
		t.Errorf("planned %+v", plan)
	}
	var m record.FeaturesManifest
	check(t, b.Store.GetJSON(t.Context(), w.Features.Manifest, &m))
	if len(m.Shards) != 3 || m.Tokens != 5 || m.Width != 32 || m.Shards[0].Rows != 16 || m.Views != 1 {
		t.Errorf("manifest %+v", m)
	}
	if size := m.Shards[0].Object.Size; size < 16*5*32*4 || size > 16*5*32*4+400 {
		t.Errorf("a shard of 16 pictures has %d bytes", size)
	}
	got := do[pipeline.EpochResult](b, b.TrainEpoch, pipeline.EpochInput{Work: w})
	if g, w := b.weightsAt(got.Checkpoint), b.weightsAt(want.Checkpoint); g.SHA256 != w.SHA256 || got.Loss != want.Loss {
		t.Errorf("features give weights %s, loss %v, pixels %s, %v", g.SHA256, got.Loss, w.SHA256, want.Loss)
	}

	// What is evaluated is encoded once, too, in float32 and unchanged, and scores as pixels do.
	heldOut, made := b.encodeHeldOut(w, c.Seed, 0)
	if len(made.Shards) != 2 || heldOut == w.Features {
		t.Errorf("made of validation and test: %+v, %+v", heldOut, made)
	}
	w.HeldOut = heldOut
	for _, split := range []string{pipeline.SplitValidation, pipeline.SplitTest} {
		in := pipeline.EvaluateInput{Work: plain, Split: split, Checkpoint: want.Checkpoint, Evaluate: c.Evaluate}
		scored := do[pipeline.EvaluateResult](b, b.Evaluate, in)
		in.Work, in.Checkpoint = w, got.Checkpoint
		same := do[pipeline.EvaluateResult](b, b.Evaluate, in)
		for _, m := range []*record.Metrics{&scored.Metrics, &same.Metrics} {
			m.Runtime, m.SamplesPerSecond = 0, 0
		}
		if !reflect.DeepEqual(same.Metrics, scored.Metrics) || same.Predictions.SHA256 != scored.Predictions.SHA256 {
			t.Errorf("%s: scored %+v, of pixels %+v", split, same, scored)
		}
	}
	var h record.FeaturesManifest
	check(t, b.Store.GetJSON(t.Context(), heldOut.Manifest, &h))
	elsewhere := b.elsewhere()
	b.flip(h.Shards[1].Object.Key)
	_, err := try[pipeline.EvaluateResult](elsewhere, elsewhere.Evaluate, pipeline.EvaluateInput{
		Work: w, Split: pipeline.SplitTest, Checkpoint: got.Checkpoint, Evaluate: c.Evaluate,
	})
	elsewhere.wantBroken(err, "run", h.Shards[1].Object.Key)
	if again, made := elsewhere.encodeHeldOut(w, c.Seed, 0); again != heldOut || len(made.Shards) != 1 {
		t.Errorf("made again: %+v, %+v", again, made)
	}

	// Another run, of another decoder's learning rate, finds them.
	c.Train.LearningRate /= 2
	other, _ := b.work("other", c)
	features, plan := b.encode(other, c.Seed)
	if len(plan.Shards) != 0 || features != w.Features {
		t.Errorf("a second run makes %d shards of %+v", len(plan.Shards), features)
	}
	// Another dtype are other features, of half the bytes.
	c.Train.Features = "bfloat16"
	half, _ := b.work("half", c)
	half.Features, plan = b.encode(half, c.Seed)
	h = record.FeaturesManifest{}
	check(t, b.Store.GetJSON(t.Context(), half.Features.Manifest, &h))
	if len(plan.Shards) != 3 || h.Shards[0].Object.Size > 16*5*32*2+400 {
		t.Errorf("bfloat16: %+v", h)
	}
	do[pipeline.EpochResult](b, b.TrainEpoch, pipeline.EpochInput{Work: half})
	if found, made := b.encodeHeldOut(half, c.Seed, 0); found != heldOut || len(made.Shards) != 0 {
		t.Errorf("what is evaluated with them: %+v, %+v", found, made)
	}
	if refs := b.keys("runs/other/refs/"); !slices.ContainsFunc(refs, func(key string) bool {
		return strings.HasPrefix(key, "features/")
	}) {
		t.Errorf("the run refers to %v", refs)
	}
}

// What a run has had it goes on with on another kind of machine; what it lacks only the first kind may make.
func TestARunKeepsItsFeaturesOnAnotherKindOfMachine(t *testing.T) {
	b := newBench(t)
	c := frozenConfig(t, "float32")
	w, _ := b.work("run", c)
	made, plan := b.encode(w, c.Seed)
	var m record.FeaturesManifest
	check(t, b.Store.GetJSON(t.Context(), made.Manifest, &m))
	check(t, b.Store.Remove(t.Context(), made.Manifest))
	m.Numerics = map[string]string{"backend": "another"}
	check(t, b.Store.Publish(t.Context(), made.Manifest, m))
	again := do[pipeline.DerivedPlan](b, b.PlanFeatures, pipeline.FeaturesInput{Work: w, Seed: c.Seed})
	if len(again.Shards) != 0 || again.Group != plan.Group {
		t.Errorf("planned %+v", again)
	}
	check(t, b.Store.Remove(t.Context(), m.Shards[1].Object.Key))
	_, err := try[pipeline.DerivedPlan](b, b.PlanFeatures, pipeline.FeaturesInput{Work: w, Seed: c.Seed})
	if err == nil || !strings.Contains(err.Error(), "another kind of machine") {
		t.Errorf("a lost shard of another kind of machine: %v", err)
	}
	in := pipeline.EncodeInput{Work: w, Features: plan.Group, Numerics: m.Numerics, Shard: plan.Shards[1]}
	if _, err := try[record.Shard](b, b.EncodeShard, in); err == nil {
		t.Error("a shard was encoded by another kind of machine than the others")
	}
}

func TestFlippedBitInFeaturesIsFoundAndEncodedAgain(t *testing.T) {
	b := newBench(t)
	c := frozenConfig(t, "bfloat16")
	c.Train.Augment, c.Train.FeatureViews = pipeline.AugmentConfig{Shift: 0.1}, 2
	w, _ := b.work("run", c)
	w.Features, _ = b.encode(w, c.Seed)
	var m record.FeaturesManifest
	check(t, b.Store.GetJSON(t.Context(), w.Features.Manifest, &m))
	if m.Views != 2 {
		t.Errorf("%d views are stored", m.Views)
	}
	shards := b.keys("features/")
	other := b.elsewhere()
	broken := m.Shards[1].Object.Key
	b.flip(broken)
	_, err := try[pipeline.EpochResult](other, other.TrainEpoch, pipeline.EpochInput{Work: w})
	other.wantBroken(err, "run", broken)
	again, plan := other.encode(w, c.Seed)
	if again != w.Features || len(plan.Shards) != 1 || plan.Shards[0].Pictures.Index != m.Shards[1].Index ||
		len(plan.Warnings) != 1 || !strings.Contains(plan.Warnings[0], "made again: 1 features shards") {
		t.Errorf("made again: %+v, %+v", again, plan)
	}
	if !slices.Equal(b.keys("features/"), shards) {
		t.Errorf("other shards than before: %v", b.keys("features/"))
	}
	do[pipeline.EpochResult](other, other.TrainEpoch, pipeline.EpochInput{Work: w})
}

func TestFeaturesOfAnEncoderThatIsTrainedAreRefusedBeforeTheRun(t *testing.T) {
	b := newBench(t)
	c := frozenConfig(t, "float32")
	c.Train.Freeze = pipeline.Paths{"encoder.embeddings"}
	_, err := try[pipeline.PreflightResult](b, b.Preflight, pipeline.PreflightInput{Run: "run", Config: c})
	wantType(t, err, pipeline.InvalidInput, "train.features: encoder.encoder.layer.0")
}
