package workflows

import (
	"context"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/activity"

	"distilvit/artifact/record"
	"distilvit/pipeline"
)

// turnOf runs a turn of schedule s that finds plan, after a turn that ended like last (nil: it is the first).
func turnOf(
	t *testing.T, w *world, in pipeline.Retrain, plan pipeline.TurnPlan, last *pipeline.Turn,
) (turn pipeline.Turn, err error) {
	t.Helper()
	env := environment(t, w)
	env.RegisterActivityWithOptions(func(_ context.Context, in pipeline.TurnInput) (pipeline.TurnPlan, error) {
		return plan, w.begin("PlanTurn", in)
	}, activity.RegisterOptions{Name: "PlanTurn"})
	env.SetStartTime(time.Date(2026, 11, 30, 3, 0, 0, 0, time.UTC))
	if last != nil {
		env.SetLastCompletionResult(*last)
	}
	env.ExecuteWorkflow(pipeline.RetrainType, in)
	if !env.IsWorkflowCompleted() {
		t.Fatal("the workflow has not ended")
	}
	if err := env.GetWorkflowError(); err != nil {
		return turn, err
	}
	return turn, env.GetWorkflowResult(&turn)
}

func scheduled(t *testing.T, set ...string) pipeline.Retrain {
	set = append(set, "publish.better_than.model=models/s", "publish.better_than.dataset=datasets/fixed")
	return pipeline.Retrain{Schedule: "s", Config: config(t, set...)}
}

func TestFirstTurnPublishesWhatItsConfigSays(t *testing.T) {
	w := newWorld()
	turn, err := turnOf(t, w, scheduled(t), pipeline.TurnPlan{Data: "d"}, nil)
	want := pipeline.Turn{
		Schedule: "s", Outcome: pipeline.TurnPublished, Run: "s-20261130-030000", Data: "d",
		Model: "models/s/s-20261130-030000", Detail: "published models/s/s-20261130-030000",
	}
	if err != nil || turn != want {
		t.Errorf("%v\n%+v", err, turn)
	}
	in := w.inputs["Publish"].(pipeline.PublishInput)
	if in.Comparison != nil || in.Config.Model.Preset != "tiny" || w.count["StorePretrained"] != 0 {
		t.Errorf("%+v, %s", in.Config, w.without())
	}
}

// Of two models that caption the same pictures the new one is published if it is better by the margin.
func TestTurnPublishesWhatIsBetterByTheMargin(t *testing.T) {
	const newest = "models/s/s-20261129-030000-b1"
	last := &pipeline.Turn{Outcome: pipeline.TurnPublished, Run: "s-20261129-030000", Data: "before", Model: newest}
	for _, c := range []struct {
		own, rival float64
		set        string
		better     bool
	}{
		{own: 30.5, rival: 30, better: true},
		{own: 30, rival: 30},
		{own: 29, rival: 30},
		{own: 30.5, rival: 30, set: "publish.better_than.margin=0.6"},
		{own: 30.5, rival: 30, set: "publish.better_than.margin=0.5", better: true},
	} {
		w := newWorld()
		w.fixed = map[string]float64{"fixed": c.own, "fixed-rival": c.rival}
		in := scheduled(t, append([]string{}, strings.Fields(c.set)...)...)
		turn, err := turnOf(t, w, in, pipeline.TurnPlan{Data: "now", Model: newest}, last)
		if err != nil {
			t.Fatalf("%+v: %v", c, err)
		}
		compared := turn.Comparison
		if compared == nil || compared.Value != c.own || compared.Other != c.rival || compared.Better != c.better ||
			compared.With != newest || compared.Dataset != "datasets/fixed/manifest.json" || compared.Pictures != 100 {
			t.Errorf("%+v: %+v", c, compared)
		}
		start := w.inputs["BuildModel"].(pipeline.BuildModelInput)
		if start.Model.Weights != "run:"+newest || start.Pretrained == nil {
			t.Errorf("%+v: trains from %+v", c, start.Model)
		}
		published, exported := w.count["Publish"], w.count["Export"]
		switch {
		case c.better && (turn.Outcome != pipeline.TurnPublished || published != 1 || turn.Model == newest):
			t.Errorf("%+v: %+v, %s", c, turn, w.without())
		case c.better:
			if told := w.inputs["Publish"].(pipeline.PublishInput).Comparison; told == nil || *told != *compared {
				t.Errorf("%+v: the manifest tells %+v", c, told)
			}
		case turn.Outcome != pipeline.TurnRejected || published+exported != 0 || turn.Model != newest ||
			!strings.Contains(turn.Detail, "not better: eval_rougeL"):
			t.Errorf("%+v: %+v, %s", c, turn, w.without())
		}
	}
}

func TestTurnTrainsOnlyWhereSomethingHasChanged(t *testing.T) {
	last := &pipeline.Turn{Outcome: pipeline.TurnRejected, Run: "s-20261129-030000", Data: "d", Model: "models/s/a-b1"}
	for name, c := range map[string]struct {
		plan      pipeline.TurnPlan
		unchanged bool
	}{
		"nothing":              {pipeline.TurnPlan{Data: "d", Model: "models/s/a-b1"}, true},
		"the data":             {pipeline.TurnPlan{Data: "e", Model: "models/s/a-b1"}, false},
		"who knows":            {pipeline.TurnPlan{Data: "d", Model: "models/s/a-b1", Unclear: []string{"https://a/b"}}, false},
		"the model is no more": {pipeline.TurnPlan{Data: "d"}, false},
	} {
		w := newWorld()
		turn, err := turnOf(t, w, scheduled(t), c.plan, last)
		if err != nil || c.unchanged != (turn.Outcome == pipeline.TurnUnchanged) || c.unchanged != (w.count["TrainEpoch"] == 0) {
			t.Errorf("%s has changed: %v %+v, %s", name, err, turn, w.without())
		}
		if c.unchanged && (turn.Run != last.Run || turn.Data != "d" || turn.Model != "models/s/a-b1" ||
			turn.Detail != "nothing has changed since run s-20261129-030000: nothing is trained") {
			t.Errorf("%+v", turn)
		}
	}
}

// A turn whose run fails is a failure, so that the next one tries the same data again.
func TestTurnFailsWithItsRun(t *testing.T) {
	w := newWorld()
	w.fail = func(name string, _ int) error {
		if name == "Download" {
			return typed(pipeline.InvalidInput, "no such file")
		}
		return nil
	}
	_, err := turnOf(t, w, scheduled(t), pipeline.TurnPlan{Data: "d"}, nil)
	if errorType(err) != pipeline.InvalidInput || !strings.Contains(err.Error(), "no such file") {
		t.Error(err)
	}
	w = newWorld()
	if _, err = turnOf(t, w, pipeline.Retrain{Schedule: "S"}, pipeline.TurnPlan{}, nil); errorType(err) != pipeline.InvalidInput ||
		len(w.calls) > 0 {
		t.Errorf("%v: %s", err, w.without())
	}
}

// Somebody may use publish.better_than in a run of their own, whose status tells of it.
func TestRunThatIsNotBetterIsRejected(t *testing.T) {
	w := newWorld()
	w.fixed = map[string]float64{"fixed": 1, "fixed-rival": 2}
	_, err := start(t, w, config(t, "publish.better_than.model=models/m/a-b1", "publish.better_than.dataset=datasets/f"))
	if errorType(err) != pipeline.Rejected || !strings.Contains(err.Error(),
		"eval_rougeL 1.00 against 2.00 of models/m/a-b1 on 100 test pictures of datasets/f; its model is not published") {
		t.Error(err)
	}
	rival := w.evals[len(w.evals)-1]
	if rival.As != "fixed-rival" || rival.Checkpoint != (record.CheckpointRef{}) || rival.Work.Model.Digest != "given" ||
		rival.Evaluate.Limit != 0 {
		t.Errorf("%+v", rival)
	}
}
