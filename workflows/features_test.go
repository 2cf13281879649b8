package workflows

import (
	"testing"

	"go.temporal.io/sdk/workflow"

	"distilvit/pipeline"
)

var frozenEncoder = []string{`model={"weights": "m"}`, "train.freeze=[encoder]", "train.features=float32"}

func TestFeaturesAreEncodedBeforeTrainingOrFound(t *testing.T) {
	for _, reused := range []bool{false, true} {
		w := newWorld()
		w.reused = reused
		if _, err := start(t, w, config(t, frozenEncoder...)); err != nil {
			t.Fatal(err)
		}
		encoded := w.shards // of the training pictures, and of those that are evaluated
		if reused {
			encoded = 0
		}
		if w.count["PlanFeatures"] != 2 || w.count["EncodeShard"] != 2*encoded || w.count["FinishFeatures"] != 2 {
			t.Errorf("calls %s", w.without())
		}
		if in := w.inputs["FinishFeatures"].(pipeline.FinishFeaturesInput); len(in.Shards) != encoded {
			t.Errorf("finished %+v", in)
		}
		for _, e := range w.epochs {
			if e.Work.Features.Manifest != "features/f/manifest.json" {
				t.Errorf("trained %+v", e.Work)
			}
		}
		for _, e := range w.evals {
			if e.Work.HeldOut.Manifest != "features/h/manifest.json" {
				t.Errorf("evaluated %+v", e.Work)
			}
		}
	}
	w := newWorld()
	if _, err := start(t, w, config(t)); err != nil || w.count["PlanFeatures"] != 0 {
		t.Errorf("%v, a run without features: %s", err, w.without())
	}
}

// A run that an older program began goes on without features of what is evaluated.
func TestRunsThatAreOpenEvaluatePixels(t *testing.T) {
	w := newWorld()
	env := environment(t, w)
	env.OnGetVersion("held-out-features", workflow.DefaultVersion, workflow.Version(1)).Return(workflow.DefaultVersion)
	env.ExecuteWorkflow(pipeline.WorkflowType, config(t, frozenEncoder...))
	if _, err := outcome(t, env); err != nil || w.count["PlanFeatures"] != 1 || w.count["EncodeShard"] != w.shards {
		t.Errorf("%v, calls %s", err, w.without())
	}
	for _, e := range w.evals {
		if e.Work.HeldOut.Manifest != "" {
			t.Errorf("evaluated %+v", e.Work)
		}
	}
}

// The teacher is stored before it is asked, and gives a student of random weights its tokenizer.
func TestATeacherIsAskedBeforeTrainingOrItsAnswersFound(t *testing.T) {
	for _, reused := range []bool{false, true} {
		w := newWorld()
		w.reused = reused
		if _, err := start(t, w, config(t, "train.teacher=/m")); err != nil {
			t.Fatal(err)
		}
		asked := w.shards
		if reused {
			asked = 0
		}
		if w.count["PlanTeacher"] != 1 || w.count["TeachShard"] != asked || w.count["FinishTeacher"] != 1 ||
			w.count["StorePretrained"] != 2 {
			t.Errorf("calls %s", w.without())
		}
		if in := w.inputs["StorePretrained"].(pipeline.PretrainedInput); in.Tokenizer != "/m" || in.Weights != "" {
			t.Errorf("the student begins with %+v", in)
		}
		for _, e := range w.epochs {
			if said := e.Work.Teacher; said.Manifest != "teacher/t/manifest.json" || said.Model.Digest != "given" {
				t.Errorf("trained %+v", e.Work)
			}
		}
	}
}

func TestADeviceThatIsLostWhileItEncodesIsReplaced(t *testing.T) {
	w := newWorld()
	w.fail = failing("EncodeShard", typed(pipeline.DeviceLost, "gone"))
	if _, err := start(t, w, config(t, frozenEncoder...)); err != nil || w.count["EncodeShard"] <= w.shards {
		t.Errorf("%v, calls %s", err, w.without())
	}
}

func TestBrokenFeaturesAndWhatTheyAreMadeOfAreMadeAgain(t *testing.T) {
	for stage, key := range map[string]string{
		"TrainEpoch": "features/f/s.safetensors", "EncodeShard": "datasets/d/s.parquet", "TeachShard": "tokens/t/s.parquet",
	} {
		w := newWorld()
		w.fail = failing(stage, corrupt(key))
		if _, err := start(t, w, config(t, append(frozenEncoder, "train.teacher=/m")...)); err != nil {
			t.Fatalf("%s: %v", stage, err)
		}
		planned := 2 // before: of training, and of what is evaluated
		if stage == "EncodeShard" {
			planned = 1 // the first time training's alone
		}
		if w.count["DropBroken"] != 1 || w.count["PlanPrepare"] != 2 || w.count["PlanFeatures"] != 2+planned {
			t.Errorf("%s: calls %s", stage, w.without())
		}
	}
}
