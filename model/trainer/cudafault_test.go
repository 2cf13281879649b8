package trainer

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"distilvit/internal/backend/backendtest"
)

// cudaLab trains on a plugin that fails as CUDA does.
type cudaLab struct {
	*lab
	environ []string
}

func newCUDALab(t *testing.T) *cudaLab {
	t.Helper()
	choice, environ := backendtest.FaultyCUDA(t)
	return &cudaLab{newLab(t, choice), environ}
}

// failing is a pool whose children fail as backendtest.Fault says.
func (l *cudaLab) failing(t *testing.T, spec, after string) *Pool {
	t.Helper()
	pool := NewPool(Options{
		Exe: testExe(t), LogDir: t.TempDir(), Limits: Limits{Step: 10 * time.Second, StepFactor: 1},
		Environ: slices.Concat(os.Environ(), l.environ, backendtest.Fault(spec, after)),
	})
	t.Cleanup(pool.Close)
	return pool
}

// What CUDA says, through a real trainer; docs/devices.md has the table. It strikes before a training step is
// compiled, which is what costs time.
func TestErrorsOfCUDAAreClassified(t *testing.T) {
	l := newCUDALab(t)
	for _, c := range []struct {
		fault string
		want  Kind
		shows string
	}{
		{"client:1:no-device", DeviceLost, "No visible GPU devices"},
		{"client:1:driver-mismatch", DeviceLost, "No visible GPU devices"},
		{"client:1:driver-too-old", DeviceLost, "CUDA driver version is insufficient for CUDA runtime version"},
		{"client:1:ecc", DeviceLost, "CUDA_ERROR_ECC_UNCORRECTABLE"},
		{"transfer:1:off-the-bus", DeviceLost, "CUDA_ERROR_UNKNOWN"},
		{"transfer:1:out-of-memory", OutOfMemory, "Out of memory while trying to allocate 4.44GiB"},
		{"transfer:1:driver-out-of-memory", OutOfMemory, "CUDA_ERROR_OUT_OF_MEMORY"},
		{"transfer:1:host-out-of-memory", OutOfMemory, "Out of host memory while trying to allocate 66.00GiB"},
		{"compile:1:cudnn-internal", DeviceLost, "DNN library initialization failed"},
		{"compile:1:cublas-out-of-memory", OutOfMemory, "the resource allocation failed"},
		{"compile:1:cublas-internal", DeviceLost, "an internal operation failed"},
		{"compile:1:check", DeviceLost, "Check failed: status.ok()"},
		{"execute:1:illegal-address", DeviceLost, "CUDA_ERROR_ILLEGAL_ADDRESS"},
		{"done:1:illegal-address", DeviceLost, "CUDA_ERROR_ILLEGAL_ADDRESS"},
		{"execute:1:launch-failed", DeviceLost, "CUDA_ERROR_LAUNCH_FAILED"},
		{"done:1:cudnn-execution", DeviceLost, "CUDNN_STATUS_EXECUTION_FAILED"},
		{"done:1:out-of-memory", OutOfMemory, "Out of memory while trying to allocate 4.44GiB"},
		{"execute:1:nccl-system", DeviceLost, "unhandled system error"},
		{"execute:1:nccl-out-of-memory", OutOfMemory, "Cuda failure 2 'out of memory'"},
		{"execute:1:nccl-shared-memory", StorageFull, "/dev/shm/nccl-WU88OE"},
		{"execute:1:nccl-timeout", Stalled, "Termination timeout for"},
		{"execute:1:nccl-timeout-exit", Stalled, "exit status 42"},
		{"execute:1:crash-after-warning", DeviceLost, "SIGSEGV"},
	} {
		t.Run(c.fault, func(t *testing.T) {
			_, err := l.failing(t, c.fault, "").Open(t.Context(), "run", l.open, nothing)
			wantKind(t, err, c.want, c.shows)
			var e *Error
			errors.As(err, &e)
			if said := e.Error(); len(said) > 2500 || strings.Contains(e.Message, "\n") {
				t.Errorf("%d bytes, lines %q", len(said), strings.Split(e.Message, "\n"))
			}
		})
	}
}

// A GPU multiplies float32 as float32 unless train.precision says tf32: go-xla's default is the other way. The
// flags of train.deterministic are known to XLA, which ends a process that gives it another. Memory is taken as it is
// needed, and with --device-memory up to that share.
func TestCUDARoundsFactorsOnlyWhenAsked(t *testing.T) {
	l := newCUDALab(t)
	for _, tf32 := range []bool{false, true} {
		l.open.Backend.TF32, l.open.Backend.Deterministic = tf32, tf32
		l.open.Backend.Memory = map[bool]float64{true: 0.5}[tf32]
		programs, memory := filepath.Join(t.TempDir(), "programs"), filepath.Join(t.TempDir(), "memory")
		pool := NewPool(Options{Exe: testExe(t), LogDir: t.TempDir(), Environ: slices.Concat(
			os.Environ(), l.environ, []string{"CUDAFAULT_PROGRAMS=" + programs, "CUDAFAULT_MEMORY=" + memory},
		)})
		p, err := pool.Open(t.Context(), "run", l.open, nothing)
		check(t, err)
		l.evaluate(p, State{})
		p.Release()
		pool.Close()
		b, err := os.ReadFile(programs)
		check(t, err)
		products := bytes.Count(b, []byte("stablehlo.dot_general"))
		highest := bytes.Count(b, []byte("precision HIGHEST>, #stablehlo<precision HIGHEST>"))
		if products == 0 || (highest == products) == tf32 {
			t.Errorf("TF32 %t: %d products, %d of them at the highest precision", tf32, products, highest)
		}
		b, err = os.ReadFile(memory)
		check(t, err)
		if told := string(b); !strings.Contains(told, "preallocate 0\n") || strings.Contains(told, "memory_fraction 0.5\n") != tf32 {
			t.Errorf("options of CUDA's memory: %s", told)
		}
	}
}

// Each fault strikes in the middle of an epoch, in a process of its own that goes on from the last one's
// checkpoint; what comes out has every bit of what nothing happened to.
func TestTrainingOnCUDAResumesBitExact(t *testing.T) {
	l := newCUDALab(t)
	out := t.TempDir()
	var from State
	for _, c := range []struct {
		fault string
		want  Kind
		shows string
	}{
		{"done:1:illegal-address", DeviceLost, "CUDA_ERROR_ILLEGAL_ADDRESS"},
		{"read:1:ecc", DeviceLost, "CUDA_ERROR_ECC_UNCORRECTABLE"},
		{"transfer:2:out-of-memory", OutOfMemory, "Out of memory while trying to allocate"},
		{"execute:1:hang", Stalled, "no sign of life"},
	} {
		step := from.Step + 1
		saved := fmt.Sprint(step)
		p, err := l.failing(t, c.fault, filepath.Join(out, saved, MetricsFile)).
			Open(t.Context(), "run", l.open, nothing)
		check(t, err)
		command := l.train(0, from, "failing")
		command.Train.OutDir = out
		var last Checkpoint
		_, err = p.Do(t.Context(), command, func(e Event) {
			if e.Event == EventCheckpoint {
				last = *e.Saved
			}
		})
		p.Release()
		wantKind(t, err, c.want, c.shows)
		most := step
		if strings.HasPrefix(c.fault, "transfer") {
			most++ // it may strike the batch that is copied while the next step is done
		}
		if from = state(last); from.Step < step || from.Step > most {
			t.Fatalf("%s: last checkpoint is of step %d, want %d to %d", c.fault, from.Step, step, most)
		}
	}
	// While a checkpoint is being loaded it says nothing of the checkpoint.
	for fault, want := range map[string]Kind{
		"transfer:1:out-of-memory": OutOfMemory, "transfer:2:off-the-bus": DeviceLost,
	} {
		opened := filepath.Join(out, fault)
		p, err := l.failing(t, fault, opened).Open(t.Context(), "run", l.open, nothing)
		check(t, err)
		check(t, os.WriteFile(opened, nil, 0o644))
		_, err = p.Do(t.Context(), l.train(0, from, "loading"), nothing)
		p.Release()
		wantKind(t, err, want, "load checkpoint")
	}
	well := l.failing(t, "", "")
	p, err := well.Open(t.Context(), "run", l.open, nothing)
	check(t, err)
	defer p.Release()
	got := l.epoch(p, 0, from, "end")
	if p.Fingerprint()["backend"] != "cuda" {
		t.Errorf("fingerprint %v", p.Fingerprint())
	}
	same(t, "after four faults", l.epoch(p, 0, State{}, "undisturbed"), got)
}
