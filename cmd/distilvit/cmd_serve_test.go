package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"distilvit/internal/testenv/modeltest"
)

// serve says where it listens, answers until its context ends, and then ends well.
func TestServeAnswersUntilItIsStopped(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	out, stdout := io.Pipe()
	var stderr bytes.Buffer
	a := &app{stdout: stdout, stderr: &stderr, env: func(string) string { return "" }}
	code := make(chan int, 1)
	go func() {
		code <- a.main(ctx, []string{"serve", modeltest.Dir(t), "--backend", "go", "--listen", "127.0.0.1:0",
			"-o", "json", "--data", t.TempDir()})
		stdout.Close()
	}()
	line, err := bufio.NewReader(out).ReadBytes('\n')
	require.NoError(t, err)
	var said struct{ URL, Form string }
	require.NoError(t, json.Unmarshal(line, &said))
	require.Equal(t, weightsForm, said.Form)
	got, err := http.Post(said.URL+"/caption", "image/png", bytes.NewReader(modeltest.PNG(t, modeltest.Picture(0))))
	require.NoError(t, err)
	body, err := io.ReadAll(got.Body)
	require.NoError(t, err)
	got.Body.Close()
	require.Equal(t, http.StatusOK, got.StatusCode, string(body))
	require.Contains(t, string(body), `"caption":"`)
	page, err := http.Get(said.URL)
	require.NoError(t, err)
	body, err = io.ReadAll(page.Body)
	require.NoError(t, err)
	page.Body.Close()
	require.Contains(t, string(body), "<title>")
	stop()
	require.Equal(t, exitDone, <-code, stderr.String())
	require.Contains(t, stderr.String(), `"method":"POST","path":"/caption","status":200,`)
}

func TestServeSaysThatAnotherProgramListensThere(t *testing.T) {
	other, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer other.Close()
	code, _, stderr := cli(t, "", "serve", modeltest.Dir(t), "--backend", "go", "--listen", other.Addr().String())
	require.Equal(t, exitFailed, code)
	require.Contains(t, stderr, "another program listens there: choose another port")
}

func TestAPageNeedsExports(t *testing.T) {
	code, _, stderr := cli(t, "", "get", modeltest.Dir(t), "--page", filepath.Join(t.TempDir(), "page"))
	require.Equal(t, exitFailed, code)
	require.Contains(t, stderr, "no such export at all; distilvit export makes some")
	dir := filepath.Join(t.TempDir(), "page")
	code, _, stderr = cli(t, "", "get", modeltest.Dir(t, "q8"), "--page", dir, "--onnx", "q4")
	require.Equal(t, exitFailed, code)
	require.Contains(t, stderr, "no such export as q4; it has q8")
	_, err := os.Stat(dir)
	require.ErrorIs(t, err, os.ErrNotExist)
}
