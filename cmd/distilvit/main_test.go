package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

// cli runs one command line in this process, without any environment.
func cli(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	a := &app{
		stdin: strings.NewReader(stdin), stdout: &out, stderr: &errs, env: func(string) string { return "" },
	}
	code = a.main(t.Context(), append(args, "--data", t.TempDir()))
	return code, out.String(), errs.String()
}

func TestLogIsWrittenAsJSON(t *testing.T) {
	var out bytes.Buffer
	a := &app{stderr: &out, verbose: true, logFormat: "json"}
	log, _, err := a.logger(t.TempDir(), true)
	require.NoError(t, err)
	log.Warn("failure on a device", "job", "epoch 1 of 4", "failures", 1)
	var line map[string]any
	require.NoError(t, json.Unmarshal(out.Bytes(), &line))
	delete(line, "time")
	require.Equal(t, map[string]any{
		"level": "WARN", "msg": "failure on a device", "job": "epoch 1 of 4", "failures": 1.,
	}, line)
}

func TestWrongUsageIsOneLineAndExitCode2(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"nonsense"}, `unknown command "nonsense" for "distilvit" (see distilvit --help)`},
		{[]string{"rnu"}, `unknown command "rnu" for "distilvit": did you mean rm or run? (see distilvit --help)`},
		{[]string{"help", "nonsense"}, `unknown command "nonsense"`},
		{[]string{"help", "backend", "instal"}, `unknown command "instal" for "distilvit backend": did you mean install?`},
		{[]string{"man"}, "man needs -o DIR"},
		{[]string{"run", "--nonsense"}, "unknown flag: --nonsense (see distilvit run --help)"},
		{[]string{"run", "extra"}, `run: unexpected argument "extra"`},
		{[]string{"run", "-f", dir + "/none.yaml"}, "no such config: " + dir + "/none.yaml"},
		{[]string{"run", "-f", dir}, "config " + dir + ": is a directory"},
		{[]string{"run", "--id", "Über", "--set", "dataset=[{kind: shapes}]"}, `run id "Über"`},
		{[]string{"status"}, "status needs a RUN"},
		{[]string{"schedule", "nightly"}, "schedule needs -f FILE and --cron EXPRESSION"},
		{[]string{"schedule", "Nightly", "--cron", "@daily", "-f", "../../examples/demo.yaml"}, `schedule "Nightly": must be 1 to 47`},
		{[]string{"schedule", "nightly", "--cron", "@daily", "-f", "../../examples/demo.yaml", "--set",
			"publish.better_than.model=models/other"}, "publish.better_than.model: is models/other; a schedule compares with"},
		{[]string{"schedule", "nightly", "--cron", "@daily", "-f", "../../examples/demo.yaml", "--set",
			"publish.better_than.margin=1"}, "publish.better_than.model: is missing: which published model"},
		{[]string{"list", "-o", "yaml"}, "-o yaml: use text or json"},
		{[]string{"list", "--log-format", "xml"}, "--log-format xml: use text or json"},
		{[]string{"caption", "picture.png"}, "-m MODEL is missing"},
		{[]string{"caption", "-m", dir}, "caption needs an IMAGE"},
		{[]string{"caption", "-m", "./none", "picture.png"}, "no such MODEL: ./none"},
		{[]string{"caption", "-m", dir, "--beams", "-4", "picture.png"}, "--beams must be at least 1"},
		{[]string{"caption", "-m", dir, "--onnx", "q3", "picture.png"}, "--onnx q3: use fp32, fp16, q8"},
		{[]string{"caption", "-m", dir, "--onnx", "q8", "--beams", "2", "a.png"},
			"--beams 2: an export captions greedily"},
		{[]string{"serve"}, "serve needs a MODEL"},
		{[]string{"serve", "./none"}, "no such MODEL: ./none"},
		{[]string{"serve", dir, "--onnx", "q3"}, "--onnx q3: use fp32, fp16, q8"},
		{[]string{"serve", dir, "--onnx", "q8", "--backend", "go"}, "--onnx q8: computes in ONNX Runtime"},
		{[]string{"serve", dir, "--listen", "8400"}, "--listen 8400: give an address and a port, such as 127.0.0.1:8400"},
		{[]string{"serve", dir, "--concurrency", "0"}, "--concurrency 0: must be at least 1"},
		{[]string{"serve", dir, "--timeout", "0s"}, "--timeout and --upload-timeout must be above 0"},
		{[]string{"serve", dir, "--cors", "example.org"}, "--cors example.org: an origin begins with http"},
		{[]string{"get", dir, "--onnx", "q8"}, "--onnx q8: chooses what a page has; give --page FOLDER, too"},
		{[]string{"get", dir, "--page", "a", "--onnx", "q3"}, "--onnx q3: use fp32, fp16, q8"},
		{[]string{"get", dir, "out", "--page", "a"}, "--page a and out: give one folder"},
		{[]string{"get", "demo", "--expires", "2h"}, "--expires is how long the URLs of --url hold: give --url, too"},
		{[]string{"get", "demo", "--url", "--expires", "200h"}, "--expires 200h0m0s: use 1s to 168h0m0s"},
		{[]string{"get", "demo", "out", "--url"}, "DIR out is not needed"},
		{[]string{"get", "demo", "--url", "--page", "a"}, "use one of them"},
		{[]string{"evaluate", "-m", dir}, "-d DATASET is missing"},
		{[]string{"evaluate", "-m", dir, "-d", "shapes", "--split", "dev"}, "--split dev"},
		{[]string{"evaluate", "-m", dir, "-d", "shapes", "--compat", "hf"}, "--compat hf: use seed"},
		{[]string{"compare", "-m", dir, "-d", "shapes", "--split", "dev"}, "--split dev"},
		{[]string{"export", "-m", dir, "--dtypes", "q3", "out"}, "--dtypes q3: use fp32, fp16, q8"},
		{[]string{"preprocess", "-m", dir, "a.png"}, "preprocess needs -o DIR"},
		{[]string{"backend", "install", "gpu"}, "backend install gpu: use cpu, cuda13, onnxruntime"},
		{[]string{"bench", "prepares"}, "bench prepares: use bench gpu, bench train"},
		{[]string{"bench", "train", "--preset", "huge"}, "--preset huge: use one of tiny, small, base, modern-tiny"},
		{[]string{"bench", "train", "--tokens", "9000"}, "--tokens 9000: use 1 to 1023"},
		{[]string{"bench", "caption", "--forms", "q3"}, "--forms q3: use weights, fp32, fp16, q8"},
		{[]string{"bench", "prepare", "./none"}, "no such picture: ./none"},
		{[]string{"bench", "prepare", "--side", "0"}, "--side 0: size is 0x0"},
		{[]string{"bench", "scale", "--pictures", "5"}, "--pictures 5: use 10 or more"},
		{[]string{"bench", "scale", "--workers", "0"}, "--workers 0: use 1 or more"},
		{[]string{"bench", "scale", "--source", "karpathy"}, "--source karpathy: use coco or shapes"},
		{[]string{"worker"}, "no stack to work for"},
		{[]string{"worker", "--devices", "0,0"}, "--devices 0,0: use numbers from 0, each once"},
		{[]string{"worker", "--devices", "-1"}, "--devices -1: use numbers from 0"},
		{[]string{"worker", "--devices", "two"}, "--devices"},
		{
			[]string{"up", "--devices", "0,1,2", "--devices-per-run", "2"},
			"--devices-per-run 2: must divide the 3 of --devices 0,1,2",
		},
		{[]string{"doctor", "--reinstate", "two"}, "--reinstate"},
		{[]string{"worker", "--queues", "other"}, "--queues other"},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			code, stdout, stderr := cli(t, "", c.args...)
			require.Equal(t, exitUsage, code, stderr)
			require.Empty(t, stdout)
			require.Contains(t, stderr, c.want)
			require.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
		})
	}
}

func TestHalfAnExternalStackIsRefused(t *testing.T) {
	for _, name := range []string{"TEMPORAL_ADDRESS", "S3_ENDPOINT"} {
		a := &app{env: func(n string) string { return map[string]string{name: "127.0.0.1:1"}[n] }}
		_, err := a.external()
		var usage *usageError
		require.ErrorAs(t, err, &usage)
		require.ErrorContains(t, err, name+" is set but")
	}
}

func TestEveryCommandHasHelpWithAnExample(t *testing.T) {
	var each func(*cobra.Command)
	each = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			if sub.Hidden || sub.Name() == "help" || sub.Name() == "completion" {
				continue
			}
			require.NotEmpty(t, sub.Short, sub.Name())
			if !sub.HasSubCommands() {
				require.Contains(t, sub.Example, "distilvit", sub.Name())
			}
			each(sub)
		}
	}
	each((&app{}).rootCommand())
}

func TestHelpConfigNamesEveryKey(t *testing.T) {
	code, stdout, _ := cli(t, "", "run", "--help-config")
	require.Zero(t, code)
	for _, key := range []string{"learning_rate", "max_logits_diff", "test_unseen"} {
		require.Contains(t, stdout, key)
	}
}

func TestErrorsOfAFailureAreExitCode1(t *testing.T) {
	var errs bytes.Buffer
	a := &app{stderr: &errs}
	require.Equal(t, exitFailed, a.report(nil, fmt.Errorf("read x: %w", errors.New("broken"))))
	require.Equal(t, "distilvit: read x: broken\n", errs.String())
	errs.Reset()
	require.Equal(t, exitFailed, a.report(nil, &quietError{errors.New("said already")}))
	require.Empty(t, errs.String())
	interrupted := fmt.Errorf("temporal server does not become ready: %w (last: %w)", errInterrupted, errors.New("rpc"))
	require.Equal(t, exitFailed, a.report(nil, interrupted))
	require.Equal(t, "distilvit: interrupted\n", errs.String())
}

func TestQueriesOfAnEmptyPlaceNameItAndMakeNothing(t *testing.T) {
	data := filepath.Join(t.TempDir(), "absent")
	for _, args := range [][]string{
		{"status", "demo"}, {"get", "demo"}, {"logs", "demo"}, {"stop", "demo"}, {"pause", "demo"}, {"rm", "demo"},
		{"extend", "demo", "--epochs", "1"}, {"bad", "demo"}, {"ls"}, {"cat", "a"},
		{"caption", "-m", "demo", "a.png"}, {"janitor"}, {"schedule", "list"}, {"schedule", "trigger", "demo"}, {"list"},
	} {
		var out, errs bytes.Buffer
		a := &app{stdout: &out, stderr: &errs, env: func(string) string { return "" }}
		code := a.main(t.Context(), append(args, "--data", data))
		said := errs.String()
		if args[0] == "list" {
			require.Equal(t, exitDone, code, said)
			said = out.String()
		} else {
			require.Equal(t, exitFailed, code, said)
			require.Empty(t, out.String())
		}
		require.Contains(t, said, "no runs in "+data)
		require.Equal(t, 1, strings.Count(said, "\n"), said)
		require.NoDirExists(t, data, args)
	}
}

// Commands that are shown can be pasted.
func TestShownPathsAreWordsOfAShell(t *testing.T) {
	for word, want := range map[string]string{
		"public": "public", "/tmp/a-b_c.d": "/tmp/a-b_c.d", "fünf": "fünf", "a b": "'a b'", "it's": `'it'\''s'`,
		"": "''", "$HOME": "'$HOME'", "~": "'~'", "a;b": "'a;b'",
	} {
		require.Equal(t, want, shellWord(word))
	}
	a := &app{dataFlag: "my data"}
	require.Equal(t, "distilvit --data 'my data'", a.command())
}

// What cannot be seen is not told to be empty.
func TestADirectoryThatCannotBeReadHasRunsForAllThatIsKnown(t *testing.T) {
	file := write(t, t.TempDir(), "file", "")
	var out, errs bytes.Buffer
	a := &app{stdout: &out, stderr: &errs, env: func(string) string { return "" }}
	require.Equal(t, exitUsage, a.main(t.Context(), []string{"list", "--data", filepath.Join(file, "data")}), errs.String())
	require.Empty(t, out.String())
	require.Contains(t, errs.String(), "not a directory")
}
