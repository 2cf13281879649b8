package workflows

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.temporal.io/sdk/temporal"

	"distilvit/pipeline"
)

// inPages is a world whose shards are worked on by children, one page each.
func inPages() *world {
	w := newWorld()
	w.shards, w.page = 11, 3
	return w
}

func TestChildrenWorkOnPagesAndTheirResultsStayInOrder(t *testing.T) {
	w := inPages()
	if _, err := start(t, w, config(t)); err != nil {
		t.Fatal(err)
	}
	if w.count["PrepareShard"] != 11 || w.count["TokenizeShards"] != 4 || w.count["StorePage"] != 8 {
		t.Errorf("%v", w.count)
	}
	finish, tokens := w.inputs["FinishPrepare"].(pipeline.FinishPrepareInput), w.inputs["FinishTokens"].(pipeline.FinishTokensInput)
	for i := range 4 {
		if got, want := finish.Pages[i].Object.Key, fmt.Sprint("datasets/d/", 3*i); got != want {
			t.Errorf("page %d of the pictures is %s", i, got)
		}
		if got, want := tokens.Pages[i].Object.Key, fmt.Sprint("tokens/t/", 3*i); got != want {
			t.Errorf("page %d of the tokens is %s", i, got)
		}
	}
	if in := w.inputs["PrepareShard"].(pipeline.PrepareShardInput); in.SourcesPage == nil || len(in.Sources) > 0 {
		t.Errorf("the sources go with each shard: %+v", in)
	}
}

func TestWhatAChildFindsBrokenIsMadeAgain(t *testing.T) {
	w := inPages()
	w.fail = func(name string, call int) error {
		if name == "PrepareShard" && call == 4 {
			return corrupt("sources/s/a.zip")
		}
		return nil
	}
	result, err := start(t, w, config(t))
	if err != nil || result.Epoch != 3 {
		t.Fatal(result, err)
	}
	if keys := w.inputs["DropBroken"].(pipeline.DropBrokenInput).Keys; !slices.Equal(keys, []string{"sources/s/a.zip"}) {
		t.Errorf("dropped %v", keys)
	}
	if w.count["Download"] != 2 || w.count["PlanPrepare"] != 2 {
		t.Errorf("%v", w.count)
	}
}

func TestInvalidShardEndsAllChildrenWithItsReason(t *testing.T) {
	w := inPages()
	w.fail = func(name string, call int) error {
		if name == "PrepareShard" && call == 5 {
			return typed(pipeline.InvalidInput, "a.tar: no such member")
		}
		return nil
	}
	_, err := start(t, w, config(t))
	if errorType(err) != pipeline.InvalidInput || !strings.Contains(err.Error(), "a.tar: no such member") {
		t.Errorf("%v", err)
	}
	if w.count["FinishPrepare"] > 0 {
		t.Error("what is not whole is published")
	}
}

func TestCancelledRunCancelsItsChildren(t *testing.T) {
	w := inPages()
	env := environment(t, w)
	var once sync.Once
	w.during = func(name string, call int) {
		if name == "PrepareShard" {
			once.Do(env.CancelWorkflow)
		}
	}
	env.ExecuteWorkflow(pipeline.WorkflowType, config(t))
	if _, err := outcome(t, env); !temporal.IsCanceledError(err) {
		t.Errorf("%v", err)
	}
	if w.count["StorePage"] > 0 || w.count["FinishPrepare"] > 0 {
		t.Errorf("went on: %v", w.count)
	}
}

// A dataset is prepared by one decoder; where this worker lacks it, the run says what its child waits for.
func TestRunTellsWhatItsChildrenWaitFor(t *testing.T) {
	w := inPages()
	env := environment(t, w)
	told := ""
	w.fail = func(name string, call int) error {
		if name == "PrepareShard" && call < 12 { // all that are begun at first
			return temporal.NewNonRetryableApplicationError("this worker has no libjpeg-turbo", pipeline.WrongWorker, nil)
		}
		return nil
	}
	w.during = func(name string, call int) {
		if name == "FinishPrepare" {
			answer, err := env.QueryWorkflow(pipeline.StatusQuery)
			var status pipeline.Status
			if err == nil {
				err = answer.Get(&status)
			}
			if err != nil {
				t.Error(err)
			}
			told = status.Detail
		}
	}
	env.ExecuteWorkflow(pipeline.WorkflowType, config(t))
	if _, err := outcome(t, env); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(told, "waits for another worker: WrongWorker: this worker has no libjpeg-turbo") {
		t.Errorf("told %q", told)
	}
}
