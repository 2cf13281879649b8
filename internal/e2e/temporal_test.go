package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"distilvit/internal/testenv"
	"distilvit/pipeline"
)

// up starts the embedded stack with its workers and returns its addresses.
func up(t testing.TB, data string, env ...string) (*testenv.Process, stackAddresses) {
	t.Helper()
	p := start(t, env, "up", "--data", data, "-o", "json")
	p.Await("the stack's addresses", func() bool { return strings.Contains(p.Stdout.String(), "\n") })
	return p, decode[stackAddresses](t, p.Stdout.String())
}

type stackAddresses struct {
	Temporal string `json:"temporal"`
	UI       string `json:"ui"`
	S3       string `json:"s3"`
}

// Temporal's own command line starts, asks and stops a run of the embedded stack.
func TestTemporalCommandLineStartsQueriesAndSignalsARun(t *testing.T) {
	temporal := testenv.Tool(t, "temporal")
	data, addresses := sharedStack(t)
	workflow := func(args ...string) finished {
		args = append([]string{"workflow", args[0], "--address", addresses.Temporal}, args[1:]...)
		return runCommand(t, nil, temporal, args...)
	}

	config := writeConfig(
		t, t.TempDir(), tinyConfig(map[string]any{
			"backend": "go", "priority": 4, "train": map[string]any{"epochs": 500},
		}),
	)
	started := workflow("start", "--task-queue", "distilvit", "--type", "Pipeline", "--workflow-id",
		"by-hand", "--input-file", config)
	require.Zero(t, started.code, started.stdout+started.stderr)

	testenv.AwaitEvery(t, time.Second, "a trained epoch in the answer of the status query", func() bool {
		answer := workflow("query", "--workflow-id", "by-hand", "--type", "status", "-o", "json")
		return answer.code == 0 && strings.Contains(answer.stdout, `"train_loss"`) &&
			!strings.Contains(answer.stdout, `"epoch": 0,`) && !strings.Contains(answer.stdout, `"epoch":0,`)
	})
	// The config's priority is the workflow's, who was started without one.
	require.Regexp(
		t, `"priorityKey": *4\b`, workflow("describe", "--workflow-id", "by-hand", "-o", "json").stdout,
	)

	followed := start(t, nil, "logs", "by-hand", "-f", "-o", "json", "--data", data)
	stopped := workflow("signal", "--workflow-id", "by-hand", "--name", "stop")
	require.Zero(t, stopped.code, stopped.stdout+stopped.stderr)

	// Another config under an open run's id is refused.
	other := distilvit(t, "run", "-f", config, "--set", "seed=9", "--id", "by-hand", "--data", data)
	if other.code != 2 { // the run may have ended meanwhile; then its result is printed
		require.Zero(t, other.code, other.stderr)
	}

	// The same config attaches, whoever started the run; its priority is no part of it.
	result := decode[pipeline.Result](
		t, succeed(t, "run", "-f", config, "--priority", "1", "--id", "by-hand", "--data",
			data, "-o", "json"),
	)
	require.Equal(t, "models/by-hand/by-hand-b1", result.Model)
	require.Less(t, result.Epoch, 500)
	require.Zero(t, followed.Wait(), followed.Stderr.String())
	requireLog(t, followed.Stdout.String(), result)
	requireLog(t, succeed(t, "logs", "by-hand", "-f", "-o", "json", "--data", data), result) // it has ended by now

	listed := runCommand(t, nil, temporal, "workflow", "list", "--address", addresses.Temporal, "--query",
		`DistilvitModel = "by-hand" AND DistilvitStage = "done"`)
	require.Contains(t, listed.stdout, "by-hand")
}

// requireLog wants a log of JSON lines with every epoch of a run once, which ends with what was published.
func requireLog(t *testing.T, log string, result pipeline.Result) {
	t.Helper()
	type line struct {
		Msg, Run, Stage string
		Epoch           int
		Step            int64
		Loss            *float64 `json:"loss"`
		Evaluated       *float64 `json:"eval_loss"`
	}
	var last line
	epochs := 0
	for text := range strings.Lines(log) {
		last = decode[line](t, text)
		require.Equal(t, "by-hand", last.Run)
		require.NotEmpty(t, last.Stage)
		if last.Evaluated != nil {
			epochs++
			require.Equal(t, epochs, last.Epoch)
			require.EqualValues(t, 20*epochs, last.Step)
		}
	}
	require.GreaterOrEqual(t, epochs, result.Epoch)
	require.Equal(t, line{
		Msg: "published " + result.Model, Run: "by-hand", Stage: pipeline.StageDone, Epoch: result.Epoch, Step: result.Step,
	}, last)
}

// A config with a mistake fails at once, with its path, also when started by hand.
func TestTemporalCommandLineLearnsOfAMistakeInTheConfig(t *testing.T) {
	temporal := testenv.Tool(t, "temporal")
	_, addresses := sharedStack(t)
	config := writeConfig(t, t.TempDir(), tinyConfig(map[string]any{"train": map[string]any{"epochs": 0}}))
	executed := runCommand(t, nil, temporal, "workflow", "execute", "--address", addresses.Temporal,
		"--task-queue", "distilvit", "--type", "Pipeline", "--workflow-id", "mistaken",
		"--input-file", config)
	require.NotZero(t, executed.code)
	require.Contains(t, executed.stdout+executed.stderr, "train.epochs")
}
