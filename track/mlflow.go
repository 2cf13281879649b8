package track

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// MLflow's limits of one log-batch, and the length of a parameter's value that every store takes.
const (
	batchMetrics = 1000
	batchParams  = 100
	paramBytes   = 500
)

// runTag is the tag by which a run of ours is found again among a server's.
const runTag = "distilvit.run"

// States of a run, as MLflow calls them.
const (
	MLflowRunning  = "RUNNING"
	MLflowFinished = "FINISHED"
	MLflowFailed   = "FAILED"
)

// MLflow is a tracking server.
type MLflow struct{ *client }

// NewMLflow is the server at a base URL, in which user:password@ may stand.
func NewMLflow(base string) (*MLflow, error) {
	c, err := newClient(strings.TrimRight(base, "/"))
	if err != nil {
		return nil, err
	}
	return &MLflow{c}, nil
}

// MLflowRun is what a server is to know of a run by now.
type MLflowRun struct {
	Experiment string // its name; made where there is none
	Run        string // our id
	Params     map[string]string
	Tags       map[string]string
	Scalars    []Scalars // in the order of steps, from the first
	State      string
	Ended      time.Time // zero: it has not
}

// Log brings the server to that state. It may be called any number of times, by whomever: of each metric only
// the steps behind the last one that the server has are sent, so none is there twice.
func (m *MLflow) Log(ctx context.Context, r MLflowRun) error {
	experiment, err := m.experiment(ctx, r.Experiment)
	if err != nil {
		return err
	}
	run, last, err := m.run(ctx, experiment, r)
	if err != nil {
		return err
	}
	if err := m.params(ctx, run, r); err != nil {
		return err
	}
	if err := m.metrics(ctx, run, r.Scalars, last); err != nil {
		return err
	}
	update := map[string]any{"run_id": run, "status": r.State}
	if !r.Ended.IsZero() {
		update["end_time"] = r.Ended.UnixMilli()
	}
	_, err = m.call(ctx, http.MethodPost, "runs/update", update, nil)
	return err
}

// experiment is the id of the experiment with this name.
func (m *MLflow) experiment(ctx context.Context, name string) (string, error) {
	var found struct {
		Experiment struct {
			ID    string `json:"experiment_id"`
			Stage string `json:"lifecycle_stage"`
		} `json:"experiment"`
	}
	get := "experiments/get-by-name?experiment_name=" + url.QueryEscape(name)
	code, err := m.call(ctx, http.MethodGet, get, nil, &found)
	if code == "RESOURCE_DOES_NOT_EXIST" {
		var made struct {
			ID string `json:"experiment_id"`
		}
		code, err = m.call(ctx, http.MethodPost, "experiments/create", map[string]any{"name": name}, &made)
		if err == nil {
			return made.ID, nil
		}
		if code == "RESOURCE_ALREADY_EXISTS" { // made meanwhile
			_, err = m.call(ctx, http.MethodGet, get, nil, &found)
		}
	}
	if err == nil && found.Experiment.Stage == "deleted" {
		err = fmt.Errorf("%s has deleted experiment %s: restore it, or give the model another name", m.base.Host, name)
	}
	return found.Experiment.ID, err
}

// mlflowRun is a run as the server tells it.
type mlflowRun struct {
	Info struct {
		ID string `json:"run_id"`
	} `json:"info"`
	Data struct {
		Metrics []struct {
			Key  string      `json:"key"`
			Step json.Number `json:"step"` // or the same as text, as protobuf's JSON has it
		} `json:"metrics"`
	} `json:"data"`
}

// run finds our run among the experiment's, or makes it, and answers the last step of each metric. Where two
// attempts have made one at once, both take the same from then on.
func (m *MLflow) run(ctx context.Context, experiment string, r MLflowRun) (id string, last map[string]int64, err error) {
	search := map[string]any{
		"experiment_ids": []string{experiment}, "max_results": 1,
		"filter":   fmt.Sprintf("tags.`%s` = '%s'", runTag, r.Run),
		"order_by": []string{"attributes.start_time ASC", "attributes.run_id ASC"},
	}
	var found struct {
		Runs []mlflowRun `json:"runs"`
	}
	if _, err := m.call(ctx, http.MethodPost, "runs/search", search, &found); err != nil {
		return "", nil, err
	}
	if len(found.Runs) == 0 {
		var begun time.Time
		if len(r.Scalars) > 0 {
			begun = r.Scalars[0].Wall
		}
		_, err := m.call(ctx, http.MethodPost, "runs/create", map[string]any{
			"experiment_id": experiment, "run_name": r.Run, "start_time": begun.UnixMilli(),
			"tags": []map[string]string{{"key": runTag, "value": r.Run}, {"key": "mlflow.source.name", "value": "distilvit"}},
		}, nil)
		if err != nil {
			return "", nil, err
		}
		if _, err := m.call(ctx, http.MethodPost, "runs/search", search, &found); err != nil {
			return "", nil, err
		}
		if len(found.Runs) == 0 {
			return "", nil, fmt.Errorf("%s does not find the run that it has just made", m.base.Host)
		}
	}
	last = map[string]int64{}
	for _, metric := range found.Runs[0].Data.Metrics {
		if last[metric.Key], err = metric.Step.Int64(); err != nil {
			return "", nil, fmt.Errorf("%s tells a step of %s that is no number", m.base.Host, metric.Key)
		}
	}
	return found.Runs[0].Info.ID, last, nil
}

// params logs what never changes; the server takes the same value again.
func (m *MLflow) params(ctx context.Context, run string, r MLflowRun) error {
	pairs := func(values map[string]string, limit int) (list []map[string]string) {
		for _, key := range slices.Sorted(maps.Keys(values)) {
			value := values[key]
			list = append(list, map[string]string{"key": key, "value": strings.ToValidUTF8(value[:min(len(value), limit)], "")})
		}
		return list
	}
	tags := pairs(r.Tags, 5000)
	for part := range slices.Chunk(pairs(r.Params, paramBytes), batchParams) {
		body := map[string]any{"run_id": run, "params": part, "tags": tags}
		if _, err := m.call(ctx, http.MethodPost, "runs/log-batch", body, nil); err != nil {
			return err
		}
		tags = nil
	}
	return nil
}

// metrics logs the steps behind the last ones, in order.
func (m *MLflow) metrics(ctx context.Context, run string, all []Scalars, last map[string]int64) error {
	type metric struct {
		Key       string  `json:"key"`
		Value     float64 `json:"value"`
		Timestamp int64   `json:"timestamp"` // milliseconds since 1970
		Step      int64   `json:"step"`
	}
	var list []metric
	for _, s := range all {
		for _, v := range s.Values {
			if before, ok := last[v.Tag]; (!ok || s.Step > before) && !math.IsNaN(v.Value) && !math.IsInf(v.Value, 0) {
				list = append(list, metric{v.Tag, v.Value, s.Wall.UnixMilli(), s.Step})
			}
		}
	}
	for part := range slices.Chunk(list, batchMetrics) {
		if _, err := m.call(ctx, http.MethodPost, "runs/log-batch", map[string]any{"run_id": run, "metrics": part}, nil); err != nil {
			return err
		}
	}
	return nil
}

// call makes a request of the API and answers the server's code of an error.
func (m *MLflow) call(ctx context.Context, method, verb string, in, out any) (code string, err error) {
	var body []byte
	if in != nil {
		if body, err = json.Marshal(in); err != nil {
			return "", err
		}
	}
	status, answer, err := m.send(ctx, method, "/api/2.0/mlflow/"+verb, nil, body)
	if err != nil {
		return "", err
	}
	if status != http.StatusOK {
		var told struct {
			Code string `json:"error_code"`
		}
		_ = json.Unmarshal(answer, &told) // a proxy's answer may be no JSON
		return told.Code, m.said(status, answer)
	}
	if out != nil && json.Unmarshal(answer, out) != nil {
		return "", fmt.Errorf("what answers at %s is no MLflow server", m.base.Host)
	}
	return "", nil
}
