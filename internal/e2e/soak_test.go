package e2e

import (
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"distilvit/internal/testenv"
)

var (
	soakRuns   = flag.Int("soak", 0, "runs one after another on one embedded stack; make soak says more")
	soakAtOnce = flag.Int("at-once", 20, "runs at once after those of -soak")
)

// A stack that has done hundreds of runs is as large as one that has done a few, but for what it
// keeps of each, and empty once they are removed.
func TestSoakLeavesTheStackAsItWas(t *testing.T) {
	if *soakRuns == 0 {
		t.Skip("-soak N runs N trainings one after another; make soak does")
	}
	data, metrics := filepath.Join(t.TempDir(), "data"), testenv.FreeAddress(t)
	stack := start(t, nil, "up", "--data", data, "--metrics", metrics, "-o", "json")
	stack.Await("the stack's addresses", func() bool { return strings.Contains(stack.Stdout.String(), "\n") })
	s := &soak{stack: stack, data: data, metrics: metrics}

	configs := t.TempDir()
	config := func(i int) string { // ten datasets, each used again and again
		return writeFile(t, configs, fmt.Sprintf("%d.yaml", i%10), fmt.Sprintf(soakConfig, i%10))
	}
	t.Log(soakHeader)
	for i := range *soakRuns {
		succeed(t, "run", "-f", config(i), "--id", fmt.Sprintf("soak-%04d", i), "--data", data, "-o", "json")
		if n := i + 1; n%max(1, *soakRuns/10) == 0 {
			t.Log(s.look(t, fmt.Sprintf("%d runs", n)))
		}
	}
	var all []*testenv.Process
	for i := range *soakAtOnce {
		all = append(all, start(t, nil, "run", "-f", config(i), "--id", fmt.Sprintf("at-once-%04d", i), "--data", data,
			"-o", "json"))
	}
	for _, p := range all {
		require.Zero(t, p.Wait(), p.Stderr.String())
	}
	t.Log(s.look(t, fmt.Sprintf("%d at once", *soakAtOnce)))

	for i := range *soakRuns {
		succeed(t, "rm", fmt.Sprintf("soak-%04d", i), "--data", data, "--model")
	}
	for i := range *soakAtOnce {
		succeed(t, "rm", fmt.Sprintf("at-once-%04d", i), "--data", data, "--model")
	}
	succeed(t, "janitor", "--grace", "0s", "--data", data)
	t.Log(s.look(t, "all removed"))
	require.Empty(t, storedFiles(t, data))
	require.Empty(t, stack.Trainers(), "a trainer outlives its run")
}

// soakConfig is a run of seconds: as little work as makes every stage do some.
const soakConfig = `seed: %d
backend: go
dataset:
  - {kind: shapes, shapes: {train: 32, validation: 8, test: 8, max_objects: 1, image_size: 32}}
model: {image_size: 16, patch_size: 8, hidden_size: 16, encoder_layer: 1, decoder_layer: 1, heads: 2,
  vocab_size: 300, positions: 24}
train: {epochs: 2, batch_size: 16, max_length: 16, checkpoint_seconds: 0, patience: 0}
evaluate: {batch_size: 8, samples: 2}
export: {pictures: 4, max_rouge_l_drop: 100, dtypes: [fp32], check_web: false}
`

// soak is a stack that is looked at from outside.
type soak struct {
	stack         *testenv.Process
	data, metrics string
}

const soakHeader = "| after | stack MB | goroutines | open files | S3 MB | its open files | database MB | " +
	"work MB | logs MB | store MB | objects |"

// look is a row of the table.
func (s *soak) look(t *testing.T, after string) string {
	t.Helper()
	server := s.store(t)
	bytes := func(pattern string) (sum int64) {
		roots, _ := filepath.Glob(filepath.Join(s.data, pattern))
		for _, root := range roots {
			_ = filepath.WalkDir(root, func(_ string, d fs.DirEntry, err error) error {
				if err == nil && d.Type().IsRegular() {
					if info, err := d.Info(); err == nil {
						sum += info.Size()
					}
				}
				return nil
			})
		}
		return sum
	}
	mb := func(bytes int64) string { return strconv.FormatFloat(float64(bytes)/1e6, 'f', 1, 64) }
	return fmt.Sprintf("| %s | %s | %s | %d | %s | %d | %s | %s | %s | %s | %d |", after,
		mb(residentBytes(t, s.stack.PID())), s.goroutines(t), openFiles(t, s.stack.PID()), mb(residentBytes(t, server)),
		openFiles(t, server), mb(bytes("temporal-*.db*")), mb(bytes("work")), mb(bytes("logs")), mb(bytes("s3")),
		len(storedFiles(t, s.data)))
}

// store is the process of the stack's S3 server.
func (s *soak) store(t *testing.T) int {
	t.Helper()
	for _, pid := range s.stack.Children() {
		command, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if strings.HasSuffix(string(command), "\x00s3d\x00") {
			return pid
		}
	}
	t.Fatal("the stack has no S3 server")
	return 0
}

var goroutines = regexp.MustCompile(`(?m)^go_goroutines (\d+)`)

func (s *soak) goroutines(t *testing.T) string {
	t.Helper()
	response, err := http.Get("http://" + s.metrics + "/metrics")
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	found := goroutines.FindSubmatch(text)
	require.NotNil(t, found)
	return string(found[1])
}

var residentLine = regexp.MustCompile(`(?m)^VmRSS:\s+(\d+) kB`)

// residentBytes is a process's memory.
func residentBytes(t *testing.T, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	found := residentLine.FindSubmatch(status)
	require.NotNil(t, found)
	kilobytes, err := strconv.ParseInt(string(found[1]), 10, 64)
	require.NoError(t, err)
	return kilobytes << 10
}

func openFiles(t *testing.T, pid int) int {
	t.Helper()
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	require.NoError(t, err)
	return len(files)
}
