package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"distilvit/internal/testenv"
	"distilvit/internal/testenv/temporaltest"
	"distilvit/pipeline"
)

// Keys of the MinIO that startMinIO starts.
const minioUser, minioSecret = "somebody", "something-secret"

// startMinIO starts a MinIO of the test's own and waits until it answers.
func startMinIO(t testing.TB, address string) {
	t.Helper()
	minio := testenv.Start(
		t, testenv.MinIOCommand(testenv.Tool(t, "minio"), address, t.TempDir(), minioUser, minioSecret),
	)
	minio.Await("MinIO's answer", func() bool { return testenv.MinIOAnswers(address) })
}

// A team's set-up: a Temporal server and a MinIO elsewhere, a worker, and a client that only starts and follows;
// and runs that move between it and a machine's own stack.
func TestWorkerAgainstExternalTemporalAndMinIO(t *testing.T) {
	temporal, s3 := testenv.FreeAddress(t), testenv.FreeAddress(t)
	secret := writeFile(t, t.TempDir(), "secret", minioSecret+"\n")
	env := []string{
		"TEMPORAL_ADDRESS=" + temporal, "S3_ENDPOINT=http://" + s3, "S3_ACCESS_KEY=" + minioUser,
		"S3_SECRET_KEY_FILE=" + secret,
	}
	// The worker is up before the servers are.
	worker := start(t, append(env, "DISTILVIT_DATA="+filepath.Join(t.TempDir(), "worker")), "worker")
	waits := func(what string) func() bool {
		return func() bool {
			return strings.Contains(worker.Stderr.String(), "waiting for the stack") &&
				strings.Contains(worker.Stderr.String(), what)
		}
	}
	worker.Await("its word on the object store", waits("object store"))
	startMinIO(t, s3)
	worker.Await("its word on Temporal", waits("no Temporal server answers at "+temporal))
	testenv.Start(t, temporaltest.Command(t, temporal))
	worker.Await("the worker's start", func() bool {
		return strings.Contains(worker.Stderr.String(), "Ctrl-C ends it")
	})

	client := append(env, "DISTILVIT_DATA="+filepath.Join(t.TempDir(), "client"))
	config := writeConfig(t, t.TempDir(), tinyConfig(map[string]any{"backend": "go"}))
	run := runCommand(t, client, testenv.Program, "run", "-f", config, "--id", "team", "-o", "json")
	require.Zero(t, run.code, run.stderr)
	result := decode[pipeline.Result](t, run.stdout)
	require.Equal(t, "models/team/team-b1", result.Model)
	require.Contains(t, result.Test.Groups, "unseen")

	dir := filepath.Join(t.TempDir(), "model")
	get := runCommand(t, client, testenv.Program, "get", "team", dir)
	require.Zero(t, get.code, get.stderr)
	require.FileExists(t, filepath.Join(dir, "onnx", "decoder_model_merged_quantized.onnx"))

	doctor := runCommand(t, client, testenv.Program, "doctor")
	require.Zero(t, doctor.code, doctor.stdout)
	require.Contains(t, doctor.stdout, "answer")

	// Its run and its schedule come to a machine's own stack, and half a run from there to the servers, where it is finished.
	home := filepath.Join(t.TempDir(), "home")
	made := runCommand(t, client, testenv.Program, "schedule", "nightly", "-f", config, "--cron", "0 3 1 1 *")
	require.Zero(t, made.code, made.stderr)
	brought := runCommand(t, client, testenv.Program, "migrate", "--back", "team", "nightly", "--data", home)
	require.Zero(t, brought.code, brought.stderr)
	require.Regexp(t, `team +completed +2 +40 +models/team/team-b1`, brought.stdout)
	require.Equal(t, fileDigest(t, filepath.Join(dir, "model.safetensors")), weightsDigest(t, home, "team"))
	require.Contains(t, succeed(t, "cat", "models/team/latest", "--data", home), `"models/team/team-b1"`)
	again := runCommand(t, client, testenv.Program, "migrate", "--data", home)
	require.Zero(t, again.code, again.stderr)
	require.Contains(t, again.stdout, "run team is known on "+temporal+" already")
	require.Contains(t, brought.stdout, "schedule nightly is made in "+home+", paused")
	require.Contains(t, succeed(t, "schedule", "list", "--data", home), "nightly   models/nightly  0 3 1 1 * UTC  paused")
	require.Contains(t, again.stdout, "schedule nightly is on "+temporal+" already and stays")
	goesOn := runCommand(t, client, testenv.Program, "schedule", "show", "nightly", "-o", "json")
	require.Contains(t, goesOn.stdout, `"paused": false`)

	half := writeConfig(t, t.TempDir(), tinyConfig(map[string]any{
		"backend": "go", "model": map[string]any{"encoder_layer": 1, "decoder_layer": 1},
		"train": map[string]any{"epochs": 3, "checkpoint_steps": 3},
	}))
	want := trainUndisturbed(t, half, "half")
	begun := start(t, nil, "run", "-f", half, "--id", "half", "--data", home)
	awaitCheckpoint(t, begun, home, "half", 1, 20)
	killEverything(t, begun)
	taken := runCommand(t, client, testenv.Program, "migrate", "half", "--data", home)
	require.Zero(t, taken.code, taken.stderr)
	require.Regexp(t, `half +recovered`, taken.stdout)
	finish := runCommand(t, client, testenv.Program, "run", "-f", half, "--id", "half", "-o", "json")
	require.Zero(t, finish.code, finish.stderr)
	got := filepath.Join(t.TempDir(), "half")
	fetched := runCommand(t, client, testenv.Program, "get", "half", got)
	require.Zero(t, fetched.code, fetched.stderr)
	require.Equal(t, want, fileDigest(t, filepath.Join(got, "model.safetensors")))
}
