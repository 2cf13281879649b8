package e2e

import (
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"distilvit/pipeline"
)

// A team's set-up: a Temporal server and a MinIO elsewhere, a worker, and a
// client that only starts and follows.
func TestWorkerAgainstExternalTemporalAndMinIO(t *testing.T) {
	env := append(externalTemporal(t), minio(t)...)
	worker := start(t, cleanEnv(append(env, "DISTILVIT_DATA="+filepath.Join(t.TempDir(), "worker"))...), program, "worker")
	eventually(t, "the worker's start", worker, func() bool { return worker.stderr.String() != "" })

	client := cleanEnv(append(env, "DISTILVIT_DATA="+filepath.Join(t.TempDir(), "client"))...)
	config := writeConfig(t, t.TempDir(), tinyConfig(nil))
	run := runCommand(t, client, program, "run", "-f", config, "--id", "team", "-o", "json")
	require.Zero(t, run.code, run.stderr)
	result := decode[pipeline.Result](t, run.stdout)
	require.Equal(t, "models/team/team-b1", result.Model)
	require.Contains(t, result.Test.Groups, "unseen")

	dir := filepath.Join(t.TempDir(), "model")
	get := runCommand(t, client, program, "get", "team", dir)
	require.Zero(t, get.code, get.stderr)
	require.FileExists(t, filepath.Join(dir, "onnx", "decoder_model_merged_quantized.onnx"))

	doctor := runCommand(t, client, program, "doctor")
	require.Zero(t, doctor.code, doctor.stdout)
	require.Contains(t, doctor.stdout, "answer")
}

// externalTemporal starts Temporal's own development server.
func externalTemporal(t *testing.T) []string {
	t.Helper()
	temporal := tool(t, "temporal")
	address := "127.0.0.1:" + strconv.Itoa(freePort(t))
	_, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	server := start(t, cleanEnv(), temporal, "server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", port,
		"--db-filename", filepath.Join(t.TempDir(), "temporal.db"))
	poll(t, "Temporal's answer", server, time.Second, func() bool {
		return exec.Command(temporal, "operator", "namespace", "describe", "--address", address, "--namespace", "default").Run() == nil
	})
	return []string{"TEMPORAL_ADDRESS=" + address}
}

// minio starts a real MinIO.
func minio(t *testing.T) []string {
	t.Helper()
	program := tool(t, "minio")
	address := "127.0.0.1:" + strconv.Itoa(freePort(t))
	env := cleanEnv("MINIO_ROOT_USER=somebody", "MINIO_ROOT_PASSWORD=something-secret", "MINIO_UPDATE=off", "MINIO_BROWSER=off")
	server := start(t, env, program, "server", "--address", address, "--quiet", t.TempDir())
	eventually(t, "MinIO's answer", server, func() bool {
		answer, err := http.Get("http://" + address + "/minio/health/ready")
		if err != nil {
			return false
		}
		answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
	return []string{"S3_ENDPOINT=http://" + address, "S3_ACCESS_KEY=somebody", "S3_SECRET_KEY=something-secret"}
}

// freePort is a port nobody listens on at the moment.
func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}
