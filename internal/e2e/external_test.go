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

// A team's set-up: a Temporal server and a MinIO elsewhere, a worker, and a
// client that only starts and follows.
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
}
