package activities

import (
	"io"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"distilvit/pipeline"
)

// The whole log of a trainer that died is in the object store, its telling lines
// in the error, and nothing of it stays on the worker.
func TestLogOfADeadTrainerIsStored(t *testing.T) {
	b := newBench(t)
	w, _ := b.work("aborted", slowConfig())
	b.afterCheckpoint(w.Run, func() { syscall.Kill(b.Pool.PID(w.Run), syscall.SIGABRT) })
	_, err := try[pipeline.EpochResult](b, b.TrainEpoch, pipeline.EpochInput{Work: w})
	wantType(t, err, pipeline.DeviceLost, "SIGABRT: abort")
	wantType(t, err, pipeline.DeviceLost, "its whole log: distilvit logs aborted")

	var logs []string
	for o, err := range b.Store.List(t.Context(), "runs/aborted/logs/") {
		check(t, err)
		body, _, err := b.Store.Get(t.Context(), o.Key)
		check(t, err)
		text, err := io.ReadAll(body)
		check(t, err)
		body.Close()
		logs = append(logs, string(text))
	}
	if len(logs) != 1 || !strings.Contains(logs[0], "SIGABRT: abort") ||
		!strings.Contains(logs[0], "goroutine ") {
		t.Errorf("%d logs: %.300q", len(logs), logs)
	}
	if left, _ := filepath.Glob(filepath.Join(b.Dir, "logs", "*")); len(left) > 0 {
		t.Errorf("left on the worker: %v", left)
	}
}
