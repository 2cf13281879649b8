package e2e

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"distilvit/internal/testenv"
	"distilvit/internal/testenv/temporaltest"
	"distilvit/pipeline"
)

// A team's set-up: a Temporal server and a MinIO elsewhere, a worker, and a
// client that only starts and follows.
func TestWorkerAgainstExternalTemporalAndMinIO(t *testing.T) {
	_, temporal := temporaltest.Start(t)
	s3 := testenv.FreeAddress(t)
	minio := testenv.Start(t, testenv.MinIOCommand(testenv.Tool(t, "minio"), s3, t.TempDir(), "somebody", "something-secret"))
	minio.Await("MinIO's answer", func() bool { return testenv.MinIOAnswers(s3) })
	env := []string{"TEMPORAL_ADDRESS=" + temporal, "S3_ENDPOINT=http://" + s3, "S3_ACCESS_KEY=somebody", "S3_SECRET_KEY=something-secret"}
	worker := start(t, append(env, "DISTILVIT_DATA="+filepath.Join(t.TempDir(), "worker")), "worker")
	worker.Await("the worker's start", func() bool { return worker.Stderr.String() != "" })

	client := append(env, "DISTILVIT_DATA="+filepath.Join(t.TempDir(), "client"))
	config := writeConfig(t, t.TempDir(), tinyConfig(nil))
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
