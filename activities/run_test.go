package activities

import (
	"context"
	"encoding/json"
	"testing"

	"go.temporal.io/sdk/testsuite"

	"distilvit/pipeline"
)

func TestHeartbeatIsReadableAndKeepsWhatTheNextAttemptNeeds(t *testing.T) {
	p := &pulse{}
	p.progress("download", 3, 9, "x.zip")
	p.keep("images", []byte("part 3"))
	raw, err := json.Marshal(p.details())
	check(t, err)
	var beat pipeline.Heartbeat
	check(t, json.Unmarshal(raw, &beat))
	if beat.Phase != "download" || beat.Done != 3 || beat.Total != 9 || beat.Message != "x.zip" {
		t.Errorf("heartbeat %s read as %+v", raw, beat)
	}
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	env.SetHeartbeatDetails(p.details())
	env.RegisterActivity(resumed)
	v, err := env.ExecuteActivity(resumed)
	check(t, err)
	var got string
	check(t, v.Get(&got))
	if got != "part 3" {
		t.Errorf("the next attempt goes on from %q", got)
	}
}

func resumed(ctx context.Context) (string, error) {
	return run(ctx, func(_ context.Context, p *pulse) (string, error) { return string(p.resume["images"]), nil })
}
