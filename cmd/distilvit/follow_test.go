package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"distilvit/artifact/record"
	"distilvit/pipeline"
)

func newTestFollower() (*follower, *bytes.Buffer, *time.Time) {
	var out bytes.Buffer
	now := time.Unix(1000, 0)
	p := newProgress(&out)
	p.now = func() time.Time { return now }
	return newFollower(nil, "demo", p), &out, &now
}

// The score that counts is the one shown, and whether the captioner tells pictures apart.
func TestStatusShowsTheMetricThatChoseAndTheVarietyOfCaptions(t *testing.T) {
	m := record.Metrics{Loss: 0.5, Scores: record.Scores{
		RougeL: 40, Cider: 612.25, ExactMatch: 3, Distinct: 12.5, Commonest: 61, Samples: 80,
	}}
	show := func(r statusReport) string {
		var out bytes.Buffer
		r.runInfo = &runInfo{ID: "demo", Status: "running"}
		(&app{stdout: &out}).printStatus(r)
		return out.String()
	}
	open := func(by string) string {
		return show(statusReport{Details: &pipeline.Status{
			Epoch: 2, Epochs: 3, Best: &record.Best{Epoch: 2, By: by, Eval: m},
		}})
	}
	require.Contains(t, open(record.MetricCider), "epoch 2, eval_cider 612.25, exact 3.0%\n")
	require.Contains(t, open(record.MetricLoss), "epoch 2, eval_loss 0.5000, exact 3.0%\n")
	require.Contains(t, open(record.MetricExactMatch), "epoch 2, eval_exact_match 3.00\n")
	require.Contains(t, open(""), "epoch 2, eval_rougeL 40.00, exact 3.0%\n")
	require.Contains(t, open(""), "distinct 12.5% of 80 validation pictures, the most frequent one for 61.0%\n")
	done := show(statusReport{Result: &pipeline.Result{Model: "models/m/demo-b1", Epoch: 2, By: record.MetricCider, Test: m}})
	require.Contains(t, done, "epoch 2, eval_cider 612.25, exact 3.0% on the test set\n")
	require.Contains(t, done, "distinct 12.5% of 80 test pictures")

	require.Equal(t, "cider 612.25", epochScore(m, &record.Best{By: record.MetricCider}))
	require.Equal(t, "rougeL 40.00", epochScore(m, &record.Best{By: record.MetricLoss}))
}

func TestFollowerShowsEachEpochOnceAndMarksTheBest(t *testing.T) {
	f, out, _ := newTestFollower()
	status := &pipeline.Status{Stage: pipeline.StageTrain, Epochs: 3, Detail: "epoch 2 of 3"}
	status.History = []record.EpochRecord{{
		Epoch: 1, Step: 20, TrainLoss: 2.5, Seconds: 65,
		Eval: record.Metrics{Loss: 2.25, Scores: record.Scores{RougeL: 40.5, ExactMatch: 3}},
	}}
	status.Best = &record.Best{Epoch: 1}
	f.show(status, nil)
	f.show(status, nil)
	status.History = append(status.History, record.EpochRecord{
		Epoch: 2, Step: 40, TrainLoss: 2, Seconds: 5, Times: record.Times{Loop: 4, Input: 0.08},
		Eval: record.Metrics{Loss: 2.5, Scores: record.Scores{RougeL: 30}},
	})
	f.show(status, nil)
	require.Equal(t, "epoch 1/3  step 20  loss 2.5000  eval loss 2.2500  rougeL 40.50  exact 3.0%  1m05s  *\n"+
		"train  epoch 2 of 3\n"+
		"epoch 2/3  step 40  loss 2.0000  eval loss 2.5000  rougeL 30.00  exact 0.0%  5s  waiting for pictures 2%\n",
		out.String())
}

func TestFollowerShowsStepLossRateAndTimeLeftOfTheHeartbeat(t *testing.T) {
	f, out, now := newTestFollower()
	status := &pipeline.Status{Stage: pipeline.StageTrain, Epochs: 3}
	beat := &pipeline.Heartbeat{Phase: "train", Epoch: 1, Step: 10, Steps: 60, Loss: 3.5, Rate: 123.4}
	f.show(status, []activityState{{ID: "epoch-1", Attempt: 1, Beat: beat}})
	*now = now.Add(plainInterval)
	beat.Step, beat.Loss, beat.Waited = 20, 3, 0.07
	f.show(status, []activityState{{ID: "epoch-1", Attempt: 1, Beat: beat}})
	require.Equal(t, "train epoch 1/3  10/60  step 10/60  loss 3.5000  123 pictures/s\n"+
		"train epoch 1/3  20/60  step 20/60  loss 3.0000  123 pictures/s  waiting for pictures 7%  2m00s left\n", out.String())
}

func TestFollowerGivesCompilingNoBar(t *testing.T) {
	f, out, _ := newTestFollower()
	beat := &pipeline.Heartbeat{
		Phase: "compile", Epoch: 1, Done: 1, Total: 1, Message: "compiling training step",
	}
	f.show(&pipeline.Status{Stage: pipeline.StageTrain, Epochs: 3}, []activityState{{Beat: beat}})
	require.Equal(t, "train epoch 1/3 compile  compiling training step\n", out.String())
}

func TestFollowerCountsAFannedOutStage(t *testing.T) {
	f, out, _ := newTestFollower()
	status := &pipeline.Status{Stage: pipeline.StagePrepare, Detail: "376 pictures", Done: 3, Total: 12}
	f.show(status, []activityState{{Beat: &pipeline.Heartbeat{Phase: "prepare", Done: 80, Total: 100}}})
	require.Equal(t, "prepare  3/12  376 pictures\n", out.String())
}

func TestFollowerTellsOfRetriesAndWarningsOnce(t *testing.T) {
	f, out, _ := newTestFollower()
	status := &pipeline.Status{
		Stage: pipeline.StageTrain, Epochs: 1, Warnings: []string{"3 pictures are unreadable"},
	}
	failed := []activityState{{ID: "epoch-1", Attempt: 2, Failure: "DeviceLost: killed by a signal"}}
	f.show(status, failed)
	f.show(status, failed)
	require.Equal(t, "warning: 3 pictures are unreadable\n"+
		"epoch-1: attempt 2, since: DeviceLost: killed by a signal\n"+
		"train\n", out.String())
}

func TestResultShowsScoresChecksAndHowToLook(t *testing.T) {
	var out bytes.Buffer
	a := &app{stdout: &out, output: "text", dataFlag: "here"}
	err := a.printResult(&site{ui: "http://127.0.0.1:8233", namespace: "default"}, &pipeline.Result{
		Run: "demo", Model: "models/demo/demo-b0", Epoch: 3, Step: 60, Bytes: 5 << 20,
		Eval: record.Metrics{Scores: record.Scores{RougeL: 97, Samples: 300}},
		Test: record.Metrics{
			Loss: 0.25, Scores: record.Scores{RougeL: 96, Samples: 1200},
			Groups: map[string]record.Scores{"unseen": {RougeL: 81.5, Samples: 200}},
		},
		Checks: []record.ExportCheck{
			{Dtype: "fp32", Pictures: 300, EqualIDs: 300, MaxLogitsDiff: 3e-5},
			{Dtype: "q8", Pictures: 300, EqualIDs: 290},
		},
	})
	require.NoError(t, err)
	for _, part := range []string{
		"best epoch 3, step 60", "97.00", "unseen", "81.50", "3.0e-05", "models/demo/demo-b0 (5.0 MiB)",
		"http://127.0.0.1:8233/namespaces/default/workflows/demo", "distilvit --data here get demo",
		"distilvit --data here caption -m demo PICTURE",
	} {
		require.Contains(t, out.String(), part)
	}
	require.Regexp(t, `unseen +200 +- +0\.00`, out.String(), "a group's loss is not measured")
}

func TestFollowerSaysOnceWhatIsTrainedOnAndByWhat(t *testing.T) {
	f, out, _ := newTestFollower()
	status := &pipeline.Status{
		Stage: pipeline.StagePrepare, Epochs: 1, Backend: pipeline.BackendXLA, StepsPerEpoch: 29,
		Pictures: map[string]int{"train": 900, "validation": 50, "test": 51},
	}
	f.show(status, nil)
	status.Stage = pipeline.StageTrain
	f.show(status, nil)
	f.show(status, nil)
	require.Equal(t, "prepare\npictures: 900 train, 50 validation, 51 test; 29 steps an epoch; backend xla (CPU)\ntrain\n",
		out.String())
}
