package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/enums/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"distilvit/internal/encryption"
	"distilvit/internal/hostcheck"
	"distilvit/internal/testenv"
)

// A run that fails, with keys: Temporal holds neither its config nor why it failed in clear, the commands tell both,
// with the next key in front, too, and say which one they lack.
func TestWhatTemporalHoldsIsEncrypted(t *testing.T) {
	temporal, plain, s3 := servers(t)
	key := func(name, fill string) string {
		return name + ":" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat(fill, 32)))
	}
	variables := map[string]string{
		"TEMPORAL_ADDRESS": temporal, "S3_ENDPOINT": s3.Endpoint, "S3_ACCESS_KEY": s3.AccessKey,
		"S3_SECRET_KEY": s3.SecretKey, "S3_BUCKET": "codec", "TEMPORAL_CONFIG_FILE": writeEmpty(t),
	}
	run := func(keys string, command ...string) (code int, out, errs *testenv.Output) {
		env := maps.Clone(variables)
		env[encryption.Variable] = keys
		out, errs = new(testenv.Output), new(testenv.Output)
		a := &app{stdin: strings.NewReader(""), stdout: out, stderr: errs, env: environment(env)}
		return a.main(t.Context(), command), out, errs
	}

	const planted = "planted-0815"
	dir := t.TempDir()
	picture := filepath.Join(dir, planted+".zip")
	write(t, dir, planted+".zip", "no zip")
	config := write(t, dir, "c.yaml", "dataset: [{kind: folder, images: "+picture+
		", captions: "+write(t, dir, "captions.csv", "image,caption\na.png,a cat\n")+"}]\nmodel: {preset: tiny}\n")

	ctx, stop := context.WithCancel(t.Context())
	env := maps.Clone(variables)
	env[encryption.Variable] = key("a", "x")
	var said testenv.Output
	worker := &app{stdin: strings.NewReader(""), stdout: &said, stderr: &said, env: environment(env)}
	ended := make(chan int, 1)
	go func() { ended <- worker.main(ctx, []string{"worker", "--data", t.TempDir()}) }()
	code, out, errs := run(key("a", "x"), "run", "-f", config, "--id", "hidden")
	require.Equal(t, 1, code, out.String()+errs.String())
	require.Contains(t, errs.String(), planted)
	stop()
	require.Zero(t, <-ended, said.String())

	var history bytes.Buffer
	events := 0
	iterator := plain.GetWorkflowHistory(t.Context(), "hidden", "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for ; iterator.HasNext(); events++ {
		event, err := iterator.Next()
		require.NoError(t, err)
		raw, err := protojson.Marshal(event)
		require.NoError(t, err)
		history.Write(raw)
	}
	require.Greater(t, events, 5)
	require.NotContains(t, history.String(), planted)
	require.NotContains(t, history.String(), base64.StdEncoding.EncodeToString([]byte(planted))[:12])
	require.Contains(t, history.String(), base64.StdEncoding.EncodeToString([]byte("binary/encrypted")))
	require.Contains(t, history.String(), "InvalidInput", "types of errors stay readable: what is done depends on them")

	code, out, errs = run(key("b", "y")+","+key("a", "x"), "status", "hidden", "-o", "json")
	require.Zero(t, code, errs.String())
	require.Contains(t, out.String(), planted)
	_, out, errs = run(key("b", "y"), "run", "-f", config, "--id", "hidden", "--detach")
	require.NotContains(t, out.String()+errs.String(), planted)
	require.Contains(t, out.String()+errs.String(), `encrypted with key "a"`)
}

func TestCodecServerAnswersTheWebUI(t *testing.T) {
	keys, err := encryption.Parse("a:" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", 32))))
	require.NoError(t, err)
	const ui = "https://temporal.example.org"
	server := httptest.NewServer(codecHandler(keys, hostcheck.Rules{Origins: []string{ui}}))
	defer server.Close()
	ask := func(method, path, origin string, body []byte) (*http.Response, *commonpb.Payloads) {
		request, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, bytes.NewReader(body))
		require.NoError(t, err)
		request.Header.Set("Origin", origin)
		answer, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		defer answer.Body.Close()
		var payloads commonpb.Payloads
		if answer.StatusCode == http.StatusOK {
			require.NoError(t, json.NewDecoder(answer.Body).Decode(&payloads))
		}
		return answer, &payloads
	}
	plain, err := encryption.DataConverter().ToPayloads("a caption")
	require.NoError(t, err)
	body, err := protojson.Marshal(plain)
	require.NoError(t, err)

	answer, _ := ask(http.MethodOptions, "/decode", ui, nil)
	require.Equal(t, ui, answer.Header.Get("Access-Control-Allow-Origin"))
	require.Contains(t, answer.Header.Get("Access-Control-Allow-Headers"), "X-Namespace")
	answer, encrypted := ask(http.MethodPost, "/encode", ui, body)
	require.Equal(t, http.StatusOK, answer.StatusCode)
	require.Equal(t, ui, answer.Header.Get("Access-Control-Allow-Origin"))
	body, err = protojson.Marshal(encrypted)
	require.NoError(t, err)
	require.NotContains(t, string(body), base64.StdEncoding.EncodeToString([]byte(`"a caption"`)))
	_, decrypted := ask(http.MethodPost, "/decode", ui, body)
	var text string
	require.NoError(t, encryption.DataConverter().FromPayloads(decrypted, &text))
	require.Equal(t, "a caption", text)

	answer, _ = ask(http.MethodPost, "/decode", "https://evil.example", body)
	require.Equal(t, http.StatusForbidden, answer.StatusCode)
	answer, _ = ask(http.MethodPost, "/decode", ui, []byte(`{"payloads":[{"metadata":{"encoding":"YmluYXJ5L2VuY3J5cHRlZA==",
		"encryption-key-id":"YQ=="},"data":"AAAA"}]}`))
	require.Equal(t, http.StatusBadRequest, answer.StatusCode)
}
