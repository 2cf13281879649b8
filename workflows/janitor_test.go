package workflows

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/testsuite"

	"distilvit/pipeline"
)

// sweepAll runs the Janitor on a bucket of pages.
func sweepAll(
	t *testing.T, in pipeline.JanitorInput, pages []pipeline.JanitorPage, fail func(call int) error,
) (*pipeline.JanitorResult, []pipeline.JanitorPageInput, error) {
	t.Helper()
	env := new(testsuite.WorkflowTestSuite).NewTestWorkflowEnvironment()
	Register(env)
	var asked []pipeline.JanitorPageInput
	calls := 0
	env.RegisterActivityWithOptions(
		func(_ context.Context, in pipeline.JanitorPageInput) (pipeline.JanitorPage, error) {
			if calls++; fail != nil && fail(calls) != nil {
				return pipeline.JanitorPage{}, fail(calls)
			}
			asked = append(asked, in)
			n := 0
			if in.Cursor != "" {
				if _, err := fmt.Sscanf(in.Cursor, "page %d", &n); err != nil {
					return pipeline.JanitorPage{}, err
				}
			}
			page := pages[n]
			if n+1 < len(pages) {
				page.Next = fmt.Sprintf("page %d", n+1)
			}
			return page, nil
		}, activity.RegisterOptions{Name: "Sweep"})
	env.ExecuteWorkflow(pipeline.JanitorType, in)
	if err := env.GetWorkflowError(); err != nil {
		return nil, asked, err
	}
	var result pipeline.JanitorResult
	return &result, asked, env.GetWorkflowResult(&result)
}

func TestJanitorGoesThroughAllPagesAndAddsUp(t *testing.T) {
	pages := []pipeline.JanitorPage{
		{Removed: []pipeline.Removed{{Kind: "blobs", Objects: 2, Bytes: 20}}, Notes: []string{"one"}},
		{Removed: []pipeline.Removed{
			{Kind: "datasets", Objects: 1, Bytes: 5}, {Kind: "blobs", Objects: 1, Bytes: 7},
		}, Notes: []string{"one", "two"}},
		{},
	}
	in := pipeline.JanitorInput{DryRun: true, Grace: "3h"}
	result, asked, err := sweepAll(t, in, pages, func(call int) error {
		if call == 2 {
			return typed(pipeline.StorageUnavailable, "no answer")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := &pipeline.JanitorResult{
		DryRun: true, Grace: "3h", Notes: []string{"one", "two"},
		Removed: []pipeline.Removed{
			{Kind: "blobs", Objects: 3, Bytes: 27}, {Kind: "datasets", Objects: 1, Bytes: 5},
		},
	}
	if !reflect.DeepEqual(result, want) {
		t.Errorf("%+v", result)
	}
	if len(asked) != 3 {
		t.Errorf("%d pages", len(asked))
	}
	for _, a := range asked {
		if a.JanitorInput != in {
			t.Errorf("asked %+v", a)
		}
	}
}

func TestJanitorHasAGraceOfADayAndPassesOnMistakes(t *testing.T) {
	result, _, err := sweepAll(t, pipeline.JanitorInput{}, []pipeline.JanitorPage{{}}, nil)
	if err != nil || result.Grace != "24h" || len(result.Removed) != 0 {
		t.Errorf("%+v, %v", result, err)
	}
	_, asked, err := sweepAll(t, pipeline.JanitorInput{Grace: "soon"}, []pipeline.JanitorPage{{}},
		func(int) error {
			return typed(pipeline.InvalidInput, `grace "soon": give a time like 24h`)
		})
	if err == nil || !strings.Contains(err.Error(), `grace "soon"`) || len(asked) > 0 {
		t.Errorf("%v", err)
	}
}
