package main

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"distilvit/internal/backend"
	"distilvit/internal/bench"
	"distilvit/model/onnx"
)

// benchOutput runs one bench command and decodes its lines strictly.
func benchOutput[T any](t *testing.T, args ...string) (list []T) {
	t.Helper()
	code, stdout, stderr := cli(t, "", append([]string{"bench", "-o", "json"}, args...)...)
	require.Zero(t, code, stderr)
	d := json.NewDecoder(strings.NewReader(stdout))
	d.DisallowUnknownFields()
	for d.More() {
		var m T
		require.NoError(t, d.Decode(&m))
		list = append(list, m)
	}
	return list
}

// benchLines is benchOutput of measurements, which have some things in common.
func benchLines(t *testing.T, args ...string) []bench.Measurement {
	t.Helper()
	list := benchOutput[bench.Measurement](t, args...)
	for _, m := range list {
		require.Equal(t, args[0], m.Bench)
		require.Positive(t, m.CPU, m.Work)
		require.Positive(t, m.Wall, m.Work)
		require.Positive(t, m.FirstCPU, m.Work)
		require.Greater(t, m.Peak, int64(1<<20), m.Work)
	}
	require.NotEmpty(t, list)
	return list
}

func TestBenchTrainMeasuresTheStepsItIsAskedFor(t *testing.T) {
	m := benchLines(t, "train", "--backend", "go", "--preset", "tiny", "--vocabulary", "64",
		"--pictures", "2", "--captions", "3", "--tokens", "8", "--steps", "2", "--warmup", "1")[0]
	require.Equal(t, []int{2, 3, 8, 2}, []int{m.Pictures, m.Captions, m.Tokens, m.Rounds})
	require.Equal(t, "captions", m.Unit)
	require.InEpsilon(t, 6/m.CPU, m.PerCPU, 1e-6)
	require.Contains(t, m.With, "pure Go")
}

func TestBenchCaptionMeasuresWeightsAndExports(t *testing.T) {
	forms := weightsForm
	cache, err := backend.CacheDir()
	require.NoError(t, err)
	if _, err := backend.ONNXRuntime(cache); err == nil {
		forms = strings.Join(append(onnx.Dtypes(), weightsForm), ",")
	} else if os.Getenv("CI") == "true" {
		t.Fatal(err)
	}
	list := benchLines(t, "caption", "--backend", "go", "--preset", "tiny", "--vocabulary", "64",
		"--batch", "2", "--tokens", "5", "--forms", forms, "--rounds", "2", "--warmup", "1")
	require.Len(t, list, len(strings.Split(forms, ",")))
	for _, m := range list {
		require.Equal(t, []int{2, 5, 2}, []int{m.Pictures, m.Tokens, m.Rounds}, m.Work)
		require.InEpsilon(t, 2/m.CPU, m.PerCPU, 1e-6)
	}
}

func TestBenchPrepareMeasuresFilesOfADirectory(t *testing.T) {
	dir := t.TempDir()
	for _, f := range bench.DrawnPictures(2) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, f.Name+".jpg"), f.Data, 0o644))
	}
	list := benchLines(t, "prepare", dir, "--side", "32", "--rounds", "1")
	require.Len(t, list, 3)
	require.Equal(t, []string{"decode and resize", "store", "restore"}, []string{
		list[0].Work, list[1].Work, list[2].Work,
	})
	for _, m := range list {
		require.Equal(t, 2, m.Pictures)
		require.InEpsilon(t, 2/m.CPU, m.PerCPU, 1e-6)
	}
	require.Positive(t, list[1].Bytes)

	require.NoError(t, os.WriteFile(filepath.Join(dir, "z.jpg"), []byte("no picture"), 0o644))
	code, _, stderr := cli(t, "", "bench", "prepare", dir)
	require.Equal(t, exitFailed, code)
	require.Contains(t, stderr, "z.jpg")
}

// asProgram makes children of this test's process the program; see TestMain.
const asProgram = "DISTILVIT_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

func TestBenchScaleMeasuresEachProcess(t *testing.T) {
	t.Setenv(asProgram, "1")
	list := benchOutput[bench.ScaleMeasurement](t, "scale", "--pictures", "60", "--workers", "1,2",
		"--side", "32", "--backend", "go", "--steps", "1")
	require.Len(t, list, 2)
	for i, m := range list {
		require.Equal(t, []any{"scale", "coco", 60, i + 1}, []any{m.Bench, m.Source, m.Pictures, m.Workers})
		require.Positive(t, m.CPU)
		require.Positive(t, m.StackCPU)
		require.InEpsilon(t, 1000*m.CPU/60, m.PerPicture, 1e-6)
		require.Greater(t, m.Stored, int64(60*500))
		require.Greater(t, m.Events, int64(20))
		require.Positive(t, m.Steps)
		for _, role := range []string{bench.RoleWorker, bench.RoleTemporal, bench.RoleS3} {
			for _, p := range []bench.Memory{m.Peak[role], m.EpochPeak[role]} {
				require.Greater(t, p.Anonymous, int64(5<<20), role)
				require.Greater(t, p.Resident, p.Anonymous, role)
			}
		}
		require.Greater(t, m.EpochPeak[bench.RoleTrainer].Anonymous, int64(5<<20))
		require.NotContains(t, m.Peak, "", "a process that nobody knows")
	}
}

func TestBenchGPURunsWithoutOne(t *testing.T) {
	t.Setenv(asProgram, "1")
	out := t.TempDir()
	list := benchOutput[bench.GPUResult](t, "gpu", "--backend", "go", "--preset", "tiny", "--pictures", "1",
		"--steps", "1", "--repeat", "2", "--batch", "1", "--out", out, "--python", "/no/python")
	require.Len(t, list, 9) // two forms of step, PyTorch twice, captions, twice two processes
	twins := 0
	for _, r := range list {
		if r.PyTorch {
			require.Contains(t, r.Error, "/no/python", r.Part)
			continue
		}
		require.Empty(t, r.Error, r.Part)
		require.Positive(t, r.Measured.Wall, r.Part)
		if r.SameBits != nil {
			twins++
			require.True(t, *r.SameBits, r.Part)
			require.Len(t, r.Measured.Weights, 64)
			require.InDelta(t, 7.6, r.Measured.Loss, 1) // of guesses among 2,000 tokens
		}
	}
	require.Equal(t, 2, twins)
	table, err := os.ReadFile(filepath.Join(out, "bench-gpu.md"))
	require.NoError(t, err)
	require.Contains(t, string(table), "process 2: **same bits** | distilvit | float32 |")

	code, _, stderr := cli(t, "", "bench", "gpu", "--backend", "go", "--preset", "tiny", "--limit", "1ns")
	require.Equal(t, exitFailed, code)
	require.Contains(t, stderr, "left out")
}

func TestBenchPrintsATable(t *testing.T) {
	code, stdout, stderr := cli(t, "", "bench", "prepare", "--pictures", "1", "--side", "16", "--rounds", "1")
	require.Zero(t, code, stderr)
	require.Contains(t, stdout, "CPU s")
	require.Contains(t, stdout, "decode and resize")
	require.Equal(t, 4, strings.Count(stdout, "\n"))
}

func TestProfileOfACommandIsReadable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cpu.prof")
	code, _, stderr := cli(t, "", "bench", "prepare", "--pictures", "4", "--rounds", "2", "--profile", path)
	require.Zero(t, code, stderr)
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	text, err := io.ReadAll(z)
	require.NoError(t, err)
	require.Contains(t, string(text), "nanoseconds") // the unit of CPU time

	code, _, stderr = cli(t, "", "version", "--profile", filepath.Join(path, "none"))
	require.Equal(t, exitUsage, code)
	require.Equal(t, "distilvit: profile "+path+"/none: not a directory\n", stderr)
}
