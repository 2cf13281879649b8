package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/contrib/envconfig"

	"distilvit/pipeline"
)

func TestSecretsMayBeFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	a := &app{env: environment(map[string]string{
		"S3_ENDPOINT": "minio:9000", "S3_ACCESS_KEY": "worker",
		"S3_SECRET_KEY_FILE":    write("s3", `a"b\c `+"\n"),
		"TEMPORAL_API_KEY_FILE": write("temporal", "key\r\n"),
		"HF_TOKEN_FILE":         write("hf", "hf_x\n"),
	})}
	require.NoError(t, a.readSecretFiles())
	config, err := s3Config(a.env)
	require.NoError(t, err)
	require.Equal(t, `a"b\c `, config.SecretKey)
	require.Equal(t, "worker", config.AccessKey)
	require.Equal(t, "hf_x", hubOptions(a.env).Token)

	options, err := envconfig.LoadClientOptions(envconfig.LoadClientOptionsRequest{
		EnvLookup: temporalEnv{a.env}, ConfigFileData: []byte(" "),
	})
	require.NoError(t, err)
	require.NotNil(t, options.Credentials)
}

func TestSecretFilesThatCannotBeUsedAreNamed(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	require.NoError(t, os.WriteFile(empty, []byte("\n"), 0o600))
	for want, env := range map[string]map[string]string{
		"no such file at S3_SECRET_KEY_FILE: /none": {"S3_SECRET_KEY_FILE": "/none"},
		"both set": {"HF_TOKEN": "a", "HF_TOKEN_FILE": empty},
		"is empty": {"HF_TOKEN_FILE": empty},
	} {
		require.ErrorContains(t, (&app{env: environment(env)}).readSecretFiles(), want)
	}
}

// A file that a URL's secret is in and that cannot be read is not a secret that is not set.
func TestSecretOfAURLThatCannotBeReadIsNamed(t *testing.T) {
	const name = "DISTILVIT_SECRET_TEST"
	_, found, err := lookupSecret(name)
	require.False(t, found)
	require.NoError(t, err)

	t.Setenv(name+"_FILE", filepath.Join(t.TempDir(), "gone"))
	_, err = pipeline.ExpandSecrets("https://x.org/${"+name+"}", lookupSecret)
	require.ErrorContains(t, err, "no such file at "+name+"_FILE")

	file := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(file, []byte("word\n"), 0o600))
	t.Setenv(name+"_FILE", file)
	whole, err := pipeline.ExpandSecrets("https://x.org/${"+name+"}", lookupSecret)
	require.NoError(t, err)
	require.Equal(t, "https://x.org/word", whole)

	t.Setenv(name, "other")
	_, _, err = lookupSecret(name)
	require.ErrorContains(t, err, "both set")
}
