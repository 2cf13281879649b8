package workflows

import (
	"strings"
	"testing"

	"go.temporal.io/sdk/temporal"

	"distilvit/pipeline"
)

func TestPushFollowsPublishAndNeverLosesTheRun(t *testing.T) {
	for name, test := range map[string]struct {
		fail  error
		tries int
		told  string // in the result and in a warning
	}{
		"pushed":  {tries: 1},
		"refused": {temporal.NewNonRetryableApplicationError("no token", pipeline.InvalidInput, nil), 1, "InvalidInput: no token"},
		"down":    {typed(pipeline.StorageUnavailable, "no answer"), 0, "StorageUnavailable: no answer"},
		"broken":  {corrupt("models/r/r-b1/config.json"), 1, "Corrupt: bytes do not match"},
	} {
		w := newWorld()
		w.fail = func(name string, _ int) error {
			if name == "Push" {
				return test.fail
			}
			return nil
		}
		env := environment(t, w)
		env.ExecuteWorkflow(pipeline.WorkflowType, config(t, "publish.push=hf:org/captioner", "publish.private=true"))
		result, err := outcome(t, env)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		in := w.inputs["Push"].(pipeline.PushInput)
		if in != (pipeline.PushInput{Run: "r", Model: "models/r/r", To: "hf:org/captioner", Private: true}) {
			t.Errorf("%s: %+v", name, in)
		}
		if test.tries > 0 && w.count["Push"] != test.tries || w.count["Publish"] != 1 {
			t.Errorf("%s: %s", name, w.without())
		}
		answer, err := env.QueryWorkflow(pipeline.StatusQuery)
		var status pipeline.Status
		if err != nil || answer.Get(&status) != nil || status.Stage != pipeline.StageDone {
			t.Fatalf("%s: %v %+v", name, err, status)
		}
		told := strings.Join(status.Warnings, "\n")
		if test.told == "" {
			if result.Pushed.Commit != "c" || result.Pushed.Error != "" || told != "" {
				t.Errorf("%s: %+v, %s", name, result.Pushed, told)
			}
			continue
		}
		if !strings.Contains(result.Pushed.Error, test.told) || !strings.Contains(told, test.told) ||
			!strings.Contains(told, "distilvit push r hf:org/captioner tries again") {
			t.Errorf("%s: %+v, %s", name, result.Pushed, told)
		}
	}
}
