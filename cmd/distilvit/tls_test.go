package main

import (
	"context"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"distilvit/internal/devstack/s3d/s3test"
	"distilvit/internal/testenv"
	"distilvit/internal/testenv/temporaltest"
	"distilvit/internal/testenv/tlstest"
)

// A Temporal that asks for a client's certificate and an S3 with https, both signed by an authority of one's own: worker
// and client get in with its certificate, and say what is wrong without.
func TestServersWithCertificatesOfAnAuthorityOfOnesOwn(t *testing.T) {
	temporal, _, s3 := servers(t)

	ours, other := tlstest.NewAuthority(t), tlstest.NewAuthority(t)
	certificate, key := ours.Client(t)
	variables := map[string]string{
		"TEMPORAL_ADDRESS": ours.Proxy(t, temporal, ours), "TEMPORAL_TLS_SERVER_CA_CERT_PATH": ours.File,
		"TEMPORAL_TLS_CLIENT_CERT_PATH": certificate, "TEMPORAL_TLS_CLIENT_KEY_PATH": key,
		"S3_ENDPOINT": "https://" + ours.Proxy(t, s3.Endpoint, nil), "S3_CA_FILE": ours.File,
		"S3_ACCESS_KEY": s3.AccessKey, "S3_SECRET_KEY": s3.SecretKey, "S3_BUCKET": "tls",
		"TEMPORAL_CONFIG_FILE": writeEmpty(t),
	}
	with := func(changes map[string]string) (*app, *testenv.Output, *testenv.Output) {
		env := maps.Clone(variables)
		maps.Copy(env, changes)
		var out, errs testenv.Output
		return &app{stdin: strings.NewReader(""), stdout: &out, stderr: &errs, env: environment(env)}, &out, &errs
	}

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	worker, _, said := with(nil)
	ended := make(chan int, 1)
	go func() { ended <- worker.main(ctx, []string{"worker", "--queues", "distilvit", "--data", t.TempDir()}) }()
	testenv.AwaitEvery(t, 50*time.Millisecond, "the worker's start", func() bool {
		return strings.Contains(said.String(), "Ctrl-C ends it") || len(ended) > 0
	})
	require.Empty(t, ended, said.String())
	asking, out, errs := with(nil)
	require.Zero(t, asking.main(t.Context(), []string{"list", "-o", "json"}), errs.String())
	require.Equal(t, "[]\n", out.String())
	stop()
	require.Zero(t, <-ended, said.String())

	ours.Expired = true
	expired := "https://" + ours.Proxy(t, s3.Endpoint, nil)
	for name, c := range map[string]struct {
		changes map[string]string
		want    []string
	}{
		"an S3 whose certificate has expired": {
			map[string]string{"S3_ENDPOINT": expired},
			[]string{"object store " + expired, "the server's certificate is not valid at this time, by this machine's clock", "expired"},
		},
		"a Temporal of another authority": {
			map[string]string{"TEMPORAL_TLS_SERVER_CA_CERT_PATH": other.File},
			[]string{"no Temporal server answers at " + variables["TEMPORAL_ADDRESS"], "certificate signed by unknown authority"},
		},
		"an S3 of another authority": {
			map[string]string{"S3_CA_FILE": other.File},
			[]string{"object store " + variables["S3_ENDPOINT"], "the server's certificate is not trusted", "S3_CA_FILE"},
		},
		"no certificate in the file": {map[string]string{"S3_CA_FILE": key}, []string{key, "no certificate in PEM form"}},
		"no file":                    {map[string]string{"S3_CA_FILE": "/none"}, []string{"no such file at S3_CA_FILE", "/none"}},
	} {
		for _, command := range [][]string{{"list"}, {"worker", "--queues", "distilvit"}} {
			a, _, errs := with(c.changes)
			require.NotZero(t, a.main(t.Context(), append(command, "--data", t.TempDir())), name)
			require.NotContains(t, errs.String(), "waiting for the stack", name) // which would be for ever
			require.Equal(t, 1, strings.Count(errs.String(), "\n"), errs.String())
			for _, want := range c.want {
				require.Contains(t, errs.String(), want, name)
			}
		}
	}
}

// servers are a Temporal and an S3 server of the test's own, that stand elsewhere for the commands.
func servers(t *testing.T) (temporal string, plain client.Client, s3 *s3test.Server) {
	t.Helper()
	temporal = testenv.FreeAddress(t)
	server := testenv.Start(t, temporaltest.Command(t, temporal)) // asks for the tool, or skips
	plain = temporaltest.Client(t, temporal)
	t.Setenv(asProgram, "1") // the S3 server is a child
	s3 = s3test.Start(t)
	server.Await("Temporal's answer", func() bool { return temporaltest.Answers(t, plain) })
	return temporal, plain, s3
}

// writeEmpty is a file of Temporal's settings that has none, in place of this user's.
func writeEmpty(t *testing.T) string {
	t.Helper()
	return write(t, t.TempDir(), "temporal.toml", "")
}
