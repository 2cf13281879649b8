package telemetry

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// scrape is what Prometheus gets, without the process's own metrics.
func scrape(t *testing.T, address string) string {
	t.Helper()
	answer, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v", answer.Status, err)
	}
	var ours []string
	for line := range strings.Lines(string(body)) {
		if strings.HasPrefix(line, "distilvit_") {
			ours = append(ours, strings.TrimSpace(line))
		}
	}
	return strings.Join(ours, "\n")
}

func TestPrometheusGetsWhatHappensOnAWorker(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	to := New()
	address, err := to.Serve(ctx, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	to.Devices([]int{0, 3}, Idle)
	to.Devices([]int{3}, OutOfService)
	to.Step("demo", 2, 140, 1.5, 320, 0.02)
	to.Stored("demo", 3*time.Second)
	to.Ended("TrainEpoch", "", time.Minute)
	to.Ended("TrainEpoch", "DeviceLost", time.Second)
	to.Ended("TrainEpoch", "DeviceLost", time.Second)
	foreign, err := http.NewRequest(http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	foreign.Host = "attacker.example"
	if answer, err := http.DefaultClient.Do(foreign); err != nil || answer.StatusCode != http.StatusForbidden {
		t.Errorf("a page of a foreign site gets the metrics: %v, %v", answer, err)
	}
	got := scrape(t, address)
	for _, line := range []string{
		`distilvit_device{device="0",state="idle"} 1`,
		`distilvit_device{device="3",state="idle"} 0`,
		`distilvit_device{device="3",state="out_of_service"} 1`,
		`distilvit_train_epoch{run="demo"} 2`,
		`distilvit_train_step{run="demo"} 140`,
		`distilvit_train_loss{run="demo"} 1.5`,
		`distilvit_train_pictures_per_second{run="demo"} 320`,
		`distilvit_train_input_wait_ratio{run="demo"} 0.02`,
		`distilvit_checkpoint_upload_seconds_sum 3`,
		`distilvit_activity_seconds_count{activity="TrainEpoch"} 1`,
		`distilvit_activity_failures_total{activity="TrainEpoch",type="DeviceLost"} 2`,
	} {
		if !strings.Contains(got+"\n", line+"\n") {
			t.Errorf("lacks %s in\n%s", line, got)
		}
	}
	to.Left("demo")
	if got := scrape(t, address); strings.Contains(got, "demo") {
		t.Errorf("a run that left is still shown:\n%s", got)
	}
	if _, err := New().Serve(ctx, address); err == nil {
		t.Error("two workers serve on one address")
	}
}

func TestWithoutTelemetryNothingIsKept(t *testing.T) {
	var none *Telemetry
	none.Devices([]int{0}, Busy)
	none.Step("run", 1, 1, 1, 1, 0)
	none.Left("run")
	none.Stored("run", time.Second)
	none.Ended("Publish", "", time.Second)
}
