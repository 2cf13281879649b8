package e2e

import (
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"distilvit/internal/testenv"
	"distilvit/pipeline"
)

// A device on which the trainer dies three times in a row leaves service, for
// all to see, until a person puts it back; then the run goes on by itself.
func TestDeviceThatFailsAgainAndAgainLeavesService(t *testing.T) {
	// A checkpoint at the end of an epoch only: none comes between the failures.
	config := writeConfig(t, t.TempDir(), tinyConfig(map[string]any{
		"backend": "go", "priority": 2,
		"dataset": []any{map[string]any{"kind": "shapes", "shapes": map[string]any{
			"train": 1600, "validation": 16, "test": 16, "max_objects": 2, "image_size": 32,
		}}},
		"train": map[string]any{"epochs": 1},
	}))
	data, metrics := filepath.Join(t.TempDir(), "data"), testenv.FreeAddress(t)
	up := start(t, nil, "up", "--data", data, "--devices", "3", "--metrics", metrics)
	up.Await("the stack", func() bool { return strings.Contains(up.Stdout.String(), "up; Ctrl-C ends it") })
	run := start(t, nil, "run", "-f", config, "--id", "devices", "--data", data, "-o", "json")
	killed := map[int]bool{}
	for len(killed) < 3 {
		var pid int
		run.Await("another trainer that trains", func() bool {
			pids := up.Trainers()
			if len(pids) != 1 || killed[pids[0]] {
				return false
			}
			pid = pids[0]
			return strings.Contains(scrape(metrics), `distilvit_device{device="3",state="busy"} 1`)
		})
		killed[pid] = true
		require.NoError(t, syscall.Kill(pid, syscall.SIGABRT))
		run.Await("the trainer's end", func() bool { return testenv.Gone(pid) })
	}
	run.Await("the device's end of service", func() bool {
		return strings.Contains(scrape(metrics), `distilvit_device{device="3",state="out_of_service"} 1`)
	})
	require.Contains(
		t, scrape(metrics), `distilvit_activity_failures_total{activity="TrainEpoch",type="OutOfService"} 1`,
	)

	run.Await("the run to wait for a device", func() bool {
		asked := distilvit(t, "status", "devices", "--data", data, "-o", "json")
		return asked.code == 0 && strings.Contains(asked.stdout, "waiting for a device")
	})
	said := succeed(t, "status", "devices", "--data", data)
	require.Contains(t, said, "device 3 out of service after 3 failures in a row")
	require.Contains(t, said, "distilvit doctor --reinstate 3")

	looked := distilvit(t, "doctor", "--data", data)
	require.Equal(t, 1, looked.code)
	require.Regexp(t, `NOT +devices +device 3 is out of service since .* -> distilvit doctor --reinstate 3`,
		looked.stdout)
	require.Contains(
		t, succeed(t, "doctor", "--data", data, "--reinstate", "3"), "device 3 is back in service",
	)
	require.Zero(t, run.Wait(), run.Stderr.String())
	require.Equal(t, 1, decode[pipeline.Result](t, run.Stdout.String()).Epoch)
	require.NotContains(t, distilvit(t, "doctor", "--data", data).stdout, "out of service since")
}

// scrape is what a worker tells Prometheus; empty where it does not answer.
func scrape(address string) string {
	answer, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		return ""
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return ""
	}
	return string(body)
}
