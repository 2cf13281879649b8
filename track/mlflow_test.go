package track

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// mlflow is as much of a tracking server as a run needs. It keeps every metric that it is sent.
type mlflow struct {
	t  *testing.T
	mu sync.Mutex

	experiments map[string]string // id by name
	runs        []*mlflowHeld
	requests    int
	answer      func(w http.ResponseWriter, verb string, request int) bool
}

type mlflowHeld struct {
	ID, Name, Status, Experiment string
	Start, End                   int64
	Params, Tags                 map[string]string
	Metrics                      []heldMetric
}

type heldMetric struct {
	Key       string
	Value     float64
	Timestamp int64
	Step      int64
}

func startMLflow(t *testing.T) (*mlflow, *MLflow) {
	t.Helper()
	m := &mlflow{t: t, experiments: map[string]string{}}
	s := httptest.NewServer(m)
	t.Cleanup(s.Close)
	client, err := NewMLflow(strings.Replace(s.URL, "://", "://ada:secret@", 1) + "/")
	check(t, err)
	client.pause = func(ctx context.Context, _ time.Duration) error { return context.Cause(ctx) }
	return m, client
}

func (m *mlflow) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests++
	verb := strings.TrimPrefix(r.URL.Path, "/api/2.0/mlflow/")
	if user, password, _ := r.BasicAuth(); user != "ada" || password != "secret" {
		http.Error(w, `{"error_code":"UNAUTHENTICATED","message":"who are you?"}`, http.StatusUnauthorized)
		return
	}
	if m.answer != nil && m.answer(w, verb, m.requests) {
		return
	}
	var in struct {
		Name, Filter, Status string
		ExperimentID         string   `json:"experiment_id"`
		ExperimentIDs        []string `json:"experiment_ids"`
		RunID                string   `json:"run_id"`
		RunName              string   `json:"run_name"`
		StartTime            int64    `json:"start_time"`
		EndTime              int64    `json:"end_time"`
		Metrics              []heldMetric
		Params, Tags         []struct{ Key, Value string }
	}
	if raw, _ := io.ReadAll(r.Body); len(raw) > 0 {
		check(m.t, json.Unmarshal(raw, &in))
	}
	refuse := func(status int, code, message string) {
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"error_code":%q,"message":%q}`, code, message)
	}
	reply := func(v any) { check(m.t, json.NewEncoder(w).Encode(v)) }
	at := slices.IndexFunc(m.runs, func(h *mlflowHeld) bool { return h.ID == in.RunID })
	switch verb {
	case "experiments/get-by-name":
		id, ok := m.experiments[r.URL.Query().Get("experiment_name")]
		if !ok {
			refuse(404, "RESOURCE_DOES_NOT_EXIST", "Could not find experiment")
			return
		}
		reply(map[string]any{"experiment": map[string]any{"experiment_id": id, "lifecycle_stage": "active"}})
	case "experiments/create":
		if _, ok := m.experiments[in.Name]; ok {
			refuse(400, "RESOURCE_ALREADY_EXISTS", "Experiment exists")
			return
		}
		m.experiments[in.Name] = fmt.Sprint(len(m.experiments) + 1)
		reply(map[string]any{"experiment_id": m.experiments[in.Name]})
	case "runs/search":
		var found []any
		for _, h := range m.runs {
			if h.Experiment == in.ExperimentIDs[0] && in.Filter == fmt.Sprintf("tags.`distilvit.run` = '%s'", h.Tags[runTag]) {
				found = append(found, h.told())
				break
			}
		}
		reply(map[string]any{"runs": found})
	case "runs/create":
		h := &mlflowHeld{ID: fmt.Sprint("id", len(m.runs)), Name: in.RunName, Status: "RUNNING", Experiment: in.ExperimentID,
			Start: in.StartTime, Params: map[string]string{}, Tags: map[string]string{}}
		for _, tag := range in.Tags {
			h.Tags[tag.Key] = tag.Value
		}
		m.runs = append(m.runs, h)
		reply(map[string]any{"run": h.told()})
	case "runs/log-batch":
		if at < 0 || len(in.Metrics) > 1000 || len(in.Params) > 100 || len(in.Tags) > 100 {
			refuse(400, "INVALID_PARAMETER_VALUE", "a batch is too large")
			return
		}
		for _, p := range in.Params {
			if was, ok := m.runs[at].Params[p.Key]; ok && was != p.Value {
				refuse(400, "INVALID_PARAMETER_VALUE", "Changing param values is not allowed: "+p.Key)
				return
			}
			m.runs[at].Params[p.Key] = p.Value
		}
		m.runs[at].Metrics = append(m.runs[at].Metrics, in.Metrics...)
		reply(map[string]any{})
	case "runs/update":
		m.runs[at].Status, m.runs[at].End = in.Status, in.EndTime
		reply(map[string]any{})
	default:
		refuse(404, "ENDPOINT_NOT_FOUND", verb)
	}
}

// told is the run with the newest value of each metric, whose step is text in every second one.
func (h *mlflowHeld) told() any {
	newest := map[string]heldMetric{}
	for _, metric := range h.Metrics {
		if was, ok := newest[metric.Key]; !ok || metric.Step >= was.Step {
			newest[metric.Key] = metric
		}
	}
	var metrics []any
	for key, metric := range newest {
		var step any = metric.Step
		if len(metrics)%2 == 0 {
			step = fmt.Sprint(metric.Step)
		}
		metrics = append(metrics, map[string]any{"key": key, "value": metric.Value, "step": step})
	}
	return map[string]any{"info": map[string]any{"run_id": h.ID}, "data": map[string]any{"metrics": metrics}}
}

// once wants each metric of n steps once, in order.
func (m *mlflow) once(n int64) {
	m.t.Helper()
	if len(m.runs) != 1 {
		m.t.Fatalf("%d runs", len(m.runs))
	}
	steps := map[string][]int64{}
	for _, metric := range m.runs[0].Metrics {
		steps[metric.Key] = append(steps[metric.Key], metric.Step)
	}
	for _, key := range []string{"train/loss", "train/learning_rate"} {
		for i, step := range steps[key] {
			if step != int64(i)+1 {
				m.t.Fatalf("%s: step %d stands where %d should", key, step, i+1)
			}
		}
		if int64(len(steps[key])) != n {
			m.t.Errorf("%s has %d steps of %d", key, len(steps[key]), n)
		}
	}
}

func TestMLflowHasOneRunAndEachStepOnce(t *testing.T) {
	m, client := startMLflow(t)
	r := MLflowRun{
		Experiment: "captioner", Run: "night-1", State: MLflowRunning, Scalars: curve(1, 600),
		Params: map[string]string{"train.epochs": "3", "long": strings.Repeat("ü", 300)}, Tags: map[string]string{"a": "b"},
	}
	check(t, client.Log(t.Context(), r))
	check(t, client.Log(t.Context(), r)) // the same again
	m.once(600)
	// The connection ends after each request in turn, as with a process that is killed there.
	r.Scalars = append(r.Scalars, curve(601, 1500)...)
	for stop := 1; ; stop++ {
		begun := m.requests
		m.answer = func(_ http.ResponseWriter, _ string, request int) bool {
			if request-begun >= stop {
				panic(http.ErrAbortHandler)
			}
			return false
		}
		if client.Log(t.Context(), r) == nil {
			break
		}
		m.mu.Lock()
		m.requests = begun
		m.mu.Unlock()
	}
	m.answer = nil
	m.once(2100)
	r.State, r.Ended = MLflowFinished, at(5000)
	r.Scalars = append(r.Scalars, Scalars{Wall: at(5000), Step: 2100, Values: []Scalar{
		{"eval/rougeL", 40}, {"eval/none", math.NaN()},
	}})
	check(t, client.Log(t.Context(), r))
	m.once(2100)
	held := m.runs[0]
	if held.Name != "night-1" || held.Status != "FINISHED" || held.End != at(5000).UnixMilli() ||
		held.Start != at(1).UnixMilli() || held.Params["train.epochs"] != "3" || len(held.Params["long"]) != 500 {
		t.Errorf("%+v", *held)
	}
	if last := held.Metrics[len(held.Metrics)-1]; last != (heldMetric{"eval/rougeL", 40, at(5000).UnixMilli(), 2100}) {
		t.Errorf("%+v", last)
	}
	if r.Run = "night-2"; client.Log(t.Context(), r) != nil || len(m.runs) != 2 {
		t.Errorf("another run: %d", len(m.runs))
	}
}

func TestMLflowThatFailsIsToldWithoutItsAccount(t *testing.T) {
	for name, test := range map[string]struct {
		answer func(http.ResponseWriter)
		says   string
		away   bool
	}{
		"down": {func(w http.ResponseWriter) { w.WriteHeader(503) }, "answers 503", true},
		"refused": {func(w http.ResponseWriter) {
			w.WriteHeader(400)
			io.WriteString(w, `{"message":"no\nway"}`)
		}, "400 Bad Request (no way)", false},
		"html":  {func(w http.ResponseWriter) { io.WriteString(w, "<html>") }, "is no MLflow server", false},
		"cut":   {func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, "EOF", true},
		"moved": {func(w http.ResponseWriter) { w.Header().Set("Location", "/login"); w.WriteHeader(302) }, "302 Found", false},
	} {
		m, client := startMLflow(t)
		m.answer = func(w http.ResponseWriter, _ string, _ int) bool { test.answer(w); return true }
		err := client.Log(t.Context(), MLflowRun{Experiment: "e", Run: "r", State: MLflowRunning})
		if err == nil || !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), "secret") ||
			errors.Is(err, ErrUnavailable) != test.away {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, target := range []string{"", "host", "ftp://host/x", "http://", "http://ada:secret@ho st"} {
		if _, err := NewMLflow(target); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", target, err)
		}
	}
	client, err := NewMLflow("http://ada:secret@127.0.0.1:1")
	check(t, err)
	client.pause = func(ctx context.Context, _ time.Duration) error { return context.Cause(ctx) }
	if err := client.Log(t.Context(), MLflowRun{}); !errors.Is(err, ErrUnavailable) || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v", err)
	}
}

// A real server, by hand: mlflow server --port 5099, then DISTILVIT_MLFLOW=http://127.0.0.1:5099 go test ./track.
// It was tried with MLflow 3.17.2 on SQLite.
func TestRealMLflowServer(t *testing.T) {
	target, ok := os.LookupEnv("DISTILVIT_MLFLOW")
	if !ok {
		t.Skip("DISTILVIT_MLFLOW names no server")
	}
	client, err := NewMLflow(target)
	check(t, err)
	r := MLflowRun{
		Experiment: "distilvit test", Run: fmt.Sprint("r", time.Now().UnixNano()), State: MLflowRunning,
		Scalars: curve(1, 700), Params: map[string]string{"train.epochs": "3"}, Tags: map[string]string{"a": "b"},
	}
	check(t, client.Log(t.Context(), r))
	r.Scalars, r.State, r.Ended = append(r.Scalars, curve(701, 10)...), MLflowFinished, time.Now()
	check(t, client.Log(t.Context(), r))
	check(t, client.Log(t.Context(), r))
	experiment, err := client.experiment(t.Context(), r.Experiment)
	check(t, err)
	id, last, err := client.run(t.Context(), experiment, r)
	check(t, err)
	var history struct {
		Metrics []struct{ Step json.Number }
	}
	_, err = client.call(t.Context(), http.MethodGet,
		"metrics/get-history?metric_key=train/loss&max_results=5000&run_id="+id, nil, &history)
	check(t, err)
	if last["train/loss"] != 710 || len(history.Metrics) != 710 {
		t.Errorf("last step %d, %d values", last["train/loss"], len(history.Metrics))
	}
	for i, metric := range history.Metrics {
		if metric.Step.String() != fmt.Sprint(i+1) {
			t.Fatalf("value %d is of step %s", i, metric.Step)
		}
	}
}
