package e2e

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"distilvit/artifact/record"
	"distilvit/hub"
	"distilvit/hub/hubtest"
	"distilvit/internal/testenv"
	"distilvit/pipeline"
	"distilvit/track"
)

// A run that waits for approval outlasts its whole stack, publishes with the note once it is approved, and
// publishes nothing where it is rejected. A push that the hub refuses is a warning, and made up for later; a
// webhook hears of it all, and each step stands once in TensorBoard's files.
func TestRunWaitsForApprovalThroughACrash(t *testing.T) {
	s := hubtest.Start(t)
	s.Demand("hf_secret")
	s.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/preupload/") {
			w.WriteHeader(http.StatusForbidden)
		}
		return strings.Contains(r.URL.Path, "/preupload/")
	})
	var told events
	hook := httptest.NewServer(&told)
	t.Cleanup(hook.Close)
	env := []string{"HF_ENDPOINT=" + s.URL, "HF_TOKEN=hf_secret", "DISTILVIT_SECRET_HOOK=" + hook.URL + "/hidden"}
	file := writeConfig(t, t.TempDir(), tinyConfig(map[string]any{
		"backend": pipeline.BackendGo,
		"dataset": []any{map[string]any{"kind": "shapes", "shapes": map[string]any{
			"train": 64, "validation": 16, "test": 16, "max_objects": 2, "image_size": 32,
		}}},
		"train":   map[string]any{"epochs": 1},
		"publish": map[string]any{"approve": true, "approvers": "Ada", "push": "hf:org/tiny"},
		"track":   map[string]any{"tensorboard": true},
		"notify":  map[string]any{"webhook": "${DISTILVIT_SECRET_HOOK}"},
	}))
	data := filepath.Join(t.TempDir(), "data")
	args := func(id string) []string { return []string{"run", "-f", file, "--id", id, "--data", data, "-o", "json"} }
	stack, _ := up(t, data, env...)
	status := func(id string) statusAnswer {
		return decode[statusAnswer](t, succeed(t, "status", id, "--data", data, "-o", "json"))
	}

	run := start(t, nil, args("asks")...)
	asked := func(id string) func() bool {
		return func() bool {
			said := distilvit(t, "status", id, "--data", data, "-o", "json")
			return said.code == 0 && decode[statusAnswer](t, said.stdout).Details.Asked != nil
		}
	}
	stack.AwaitEvery(time.Second, "the question", asked("asks"))
	require.Equal(t, "waiting", status("asks").Status)
	early := distilvit(t, "get", "asks", filepath.Join(t.TempDir(), "m"), "--data", data)
	require.Equal(t, 1, early.code)
	require.Contains(t, early.stderr, "stage approve")
	killEverything(t, stack)
	require.Equal(t, 1, run.Wait())

	stack, _ = up(t, data, env...)
	stack.AwaitEvery(time.Second, "the question, asked again", asked("asks"))
	again := start(t, nil, args("asks")...) // follows it
	refused := distilvit(t, "approve", "asks", "--bogus", "--data", data)
	require.Equal(t, 2, refused.code)
	succeed(t, "approve", "asks", "--by", "Ada", "--note", "fine", "--data", data)
	require.Zero(t, again.Wait(), again.Stderr.String())
	result := decode[pipeline.Result](t, again.Stdout.String())
	model := filepath.Join(t.TempDir(), "model")
	succeed(t, "get", "asks", model, "--data", data)
	raw, err := os.ReadFile(filepath.Join(model, "manifest.json"))
	require.NoError(t, err)
	var manifest record.ModelManifest
	require.NoError(t, json.Unmarshal(raw, &manifest))
	require.Equal(t, &record.Decision{By: "Ada", Note: "fine"}, manifest.Approval)
	require.Equal(t, result.Model, manifest.Model)
	card, err := os.ReadFile(filepath.Join(model, "README.md"))
	require.NoError(t, err)
	require.Contains(t, string(card), "approved by Ada: fine")

	require.Contains(t, result.Pushed.Error, "may not write there")
	require.Contains(t, succeed(t, "status", "asks", "--data", data), "distilvit push asks hf:org/tiny tries again")
	s.Intercept(nil)
	pushed := runCommand(t, env, testenv.Program, "push", "asks", "hf:org/tiny", "--data", data)
	require.Zero(t, pushed.code, pushed.stderr)
	held, _, _ := s.Held(hub.Model, "org/tiny", hub.Main)
	require.Equal(t, string(raw), string(held["manifest.json"].Data))
	require.Equal(t, manifest.Files["model.safetensors"].Size, int64(len(held["model.safetensors"].Data)))
	require.Len(t, held, len(manifest.Files)+2) // and .gitattributes

	live, err := track.ReadEventFile(filepath.Join(data, "tensorboard", "asks", "events.out.tfevents.0000000001.distilvit"))
	require.NoError(t, err)
	key := "runs/asks/tensorboard/events.out.tfevents.0000000001.distilvit"
	stored, err := track.ReadEvents(strings.NewReader(succeed(t, "cat", key, "--data", data)))
	require.NoError(t, err)
	for _, file := range []track.Events{live, stored} {
		require.Equal(t, []int64{1, 2, 3, 4}, stepsOf(file, "train/loss"))
		require.Equal(t, []int64{4}, stepsOf(file, "eval/rougeL"))
	}

	rejected := start(t, nil, args("no")...)
	stack.AwaitEvery(time.Second, "the question", asked("no"))
	succeed(t, "reject", "no", "--note", "too few pictures", "--data", data)
	require.Equal(t, 1, rejected.Wait())
	require.Contains(t, rejected.Stderr.String(), "Rejected: too few pictures; its model is not published")
	require.Equal(t, "rejected", status("no").Status)
	require.Contains(t, succeed(t, "list", "--data", data), "rejected")
	require.Positive(t, newestCheckpoint(data, "no"))

	page := filepath.Join(t.TempDir(), "runs.html")
	compared := succeed(t, "compare", "asks", "no", "--html", page, "--data", data)
	require.Contains(t, compared, "asks, test")
	require.Contains(t, compared, "no, validation")
	shown, err := os.ReadFile(page)
	require.NoError(t, err)
	require.Contains(t, string(shown), "not published")
	require.NotContains(t, string(shown), "publish.approve") // they have the same config
	for _, wrong := range [][]string{{"compare", "asks"}, {"compare", "asks", "no", "-m", "asks"}} {
		require.Equal(t, 2, distilvit(t, append(wrong, "--data", data)...).code)
	}
	require.Equal(t, 1, distilvit(t, "compare", "asks", "other", "--data", data).code)
	late := distilvit(t, "approve", "no", "--data", data)
	require.Equal(t, 1, late.code)
	require.Contains(t, late.stderr, "run no is not open: it is rejected")
	require.Equal(t, []string{
		"run.approval_asked asks", "run.published asks", "run.approval_asked no", "run.rejected no",
	}, told.all())
}

// events are those that a webhook has heard, each once.
type events struct {
	mu   sync.Mutex
	ids  map[string]bool
	told []string
}

func (e *events) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var event pipeline.Event
	id := r.Header.Get("webhook-id")
	if json.NewDecoder(r.Body).Decode(&event) != nil || r.URL.Path != "/hidden" || id == "" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if !e.ids[id] {
		e.told = append(e.told, event.Type+" "+event.Data.Run)
	}
	if e.ids == nil {
		e.ids = map[string]bool{}
	}
	e.ids[id] = true
}

func (e *events) all() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.told
}

// stepsOf are the steps that an event file has of a tag.
func stepsOf(file track.Events, tag string) (steps []int64) {
	for _, s := range file.Scalars {
		for _, v := range s.Values {
			if v.Tag == tag {
				steps = append(steps, s.Step)
			}
		}
	}
	return steps
}
