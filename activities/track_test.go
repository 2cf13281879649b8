package activities

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"distilvit/artifact/record"
	"distilvit/model/trainer"
	"distilvit/pipeline"
	"distilvit/storage/layout"
	"distilvit/track"
)

// steps stores the metrics of a finished epoch of ten steps.
func (b *bench) steps(run string, branch, epoch int) {
	b.Helper()
	var lines bytes.Buffer
	for step := 10*epoch - 9; step <= 10*epoch; step++ {
		check(b.T, json.NewEncoder(&lines).Encode(trainer.StepRecord{
			Step: int64(step), Loss: float64(10*branch) + 1/float64(step), LearningRate: 1e-3, GradNorm: 2,
		}))
	}
	_, err := b.Store.PutBytes(b.Context(), layout.Run(run).Metrics(branch, epoch), lines.Bytes())
	check(b.T, err)
}

// trackInput is a run after so many epochs; of the second, a part was validated, too.
func trackInput(epochs int) pipeline.TrackInput {
	in := pipeline.TrackInput{Run: "r", Config: tinyConfig(), At: time.Unix(1_700_000_000+int64(epochs)*100, 0).UTC()}
	in.Config.Name, in.Config.Track.TensorBoard = "m", true
	for e := 1; e <= epochs; e++ {
		one := record.EpochRecord{Epoch: e, Step: int64(10 * e), TrainLoss: 3, Seconds: 90}
		one.Eval.RougeL, one.Eval.Runtime = float64(40+e), 10
		if e == 2 {
			part := one
			part.Step, part.EpochStep, part.Eval.RougeL = 15, 5, 41.5
			in.Progress.Epochs = append(in.Progress.Epochs, part)
		}
		in.Progress.Epochs = append(in.Progress.Epochs, one)
	}
	return in
}

// scalars are steps and values of a tag.
func scalars(t *testing.T, events track.Events, tag string) (steps []int64, values []float64) {
	t.Helper()
	for _, s := range events.Scalars {
		for _, v := range s.Values {
			if v.Tag == tag {
				steps, values = append(steps, s.Step), append(values, v.Value)
			}
		}
	}
	return steps, values
}

func upTo(n int64) (steps []int64) {
	for step := int64(1); step <= n; step++ {
		steps = append(steps, step)
	}
	return steps
}

// events are all of a run's files in the store.
func (b *bench) events(run string) (all track.Events, bytesByKey map[string]string) {
	b.Helper()
	bytesByKey = map[string]string{}
	for _, name := range b.keys(layout.Run(run).Folder(layout.TensorBoard)) {
		raw := b.text(layout.Run(run).Folder(layout.TensorBoard) + name)
		events, err := track.ReadEvents(strings.NewReader(raw))
		check(b.T, err)
		if events.Size != int64(len(raw)) {
			b.Errorf("%s has %d bytes that are no events", name, int64(len(raw))-events.Size)
		}
		all.Scalars = append(all.Scalars, events.Scalars...)
		bytesByKey[name] = raw
	}
	return all, bytesByKey
}

func TestCurvesAreKeptOnceHoweverOftenTheyAreTold(t *testing.T) {
	b := newBench(t)
	b.Curves = t.TempDir()
	b.steps("r", 1, 1)
	b.steps("r", 1, 2)
	do[struct{}](b, b.Track, trackInput(1))
	do[struct{}](b, b.Track, trackInput(1)) // once more, as an attempt whose answer was lost
	b.steps("r", 2, 2)                      // another branch has trained the second epoch
	b.steps("r", 2, 3)
	do[struct{}](b, b.Track, trackInput(3)) // the one after the second epoch never came
	_, before := b.events("r")
	in := trackInput(3)
	in.End, in.At = pipeline.EventPublished, in.At.Add(time.Hour)
	live := filepath.Join(b.Curves, "r", "events.out.tfevents.0000000001.distilvit")
	whole, err := os.ReadFile(live)
	check(t, err)
	check(t, os.WriteFile(live, whole[:len(whole)-5], 0o644)) // a worker was killed here
	do[struct{}](b, b.Track, in)

	stored, files := b.events("r")
	if len(files) != 3 || files["events.out.tfevents.0000000002.distilvit"] != before["events.out.tfevents.0000000002.distilvit"] {
		t.Errorf("%d files, or one of a finished epoch has changed", len(files))
	}
	here, err := track.ReadEventFile(live)
	check(t, err)
	for where, events := range map[string]track.Events{"store": stored, "machine": here} {
		steps, loss := scalars(t, events, "train/loss")
		if !slices.Equal(steps, upTo(30)) || loss[0] != 11 || loss[29] < 20 || loss[29] > 20.1 {
			t.Errorf("%s: train/loss at %d: %v", where, steps, loss)
		}
		steps, rouge := scalars(t, events, "eval/rougeL")
		if !slices.Equal(steps, []int64{10, 15, 20, 30}) || !slices.Equal(rouge, []float64{41, 41.5, 42, 43}) {
			t.Errorf("%s: eval/rougeL at %d: %v", where, steps, rouge)
		}
	}
	for i, s := range stored.Scalars[1:10] {
		if !s.Wall.After(stored.Scalars[i].Wall) {
			t.Errorf("step %d was made at %v, the one before at %v", s.Step, s.Wall, stored.Scalars[i].Wall)
		}
	}
}

func TestAddressesAreReachedWithSecretsThatNobodySees(t *testing.T) {
	b := newBench(t)
	var got []string
	status := http.StatusNoContent
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		got = append(got, fmt.Sprint(r.URL.Path, " ", r.Header.Get("webhook-id"), " ", r.Header.Get("webhook-signature"), " ", string(raw)))
		w.WriteHeader(status)
	}))
	defer s.Close()
	secrets := map[string]string{"DISTILVIT_SECRET_HOOK": s.URL + "/T0/hidden", "DISTILVIT_SECRET_KEY": "whsec_a2V5"}
	b.Secrets = func(name string) (string, bool, error) { value, ok := secrets[name]; return value, ok, nil }
	in := pipeline.NotifyInput{
		Notify: pipeline.NotifyConfig{Webhook: "${DISTILVIT_SECRET_HOOK}", Secret: "${DISTILVIT_SECRET_KEY}"},
		ID:     "x-run.failed",
		Event: pipeline.Event{Type: pipeline.EventFailed, Timestamp: time.Unix(1_700_000_000, 0).UTC(),
			Data: pipeline.EventData{Run: "r", Model: "m", Text: "out of disk"}},
	}
	do[struct{}](b, b.Notify, in)
	body := `{"type":"run.failed","timestamp":"2023-11-14T22:13:20Z","data":{"run":"r","model":"m","text":"out of disk"}}`
	if len(got) != 1 || !strings.HasPrefix(got[0], "/T0/hidden x-run.failed v1,") || !strings.HasSuffix(got[0], " "+body) {
		t.Errorf("%q", got)
	}
	status = http.StatusNotFound
	_, err := try[struct{}](b, b.Notify, in)
	if err == nil || !strings.Contains(err.Error(), "notify.webhook: ") || strings.Contains(err.Error(), "hidden") {
		t.Errorf("%v", err)
	}
	in.Notify.Webhook = "${DISTILVIT_SECRET_OTHER}"
	if _, err := try[struct{}](b, b.Notify, in); err == nil || !strings.Contains(err.Error(), "has no DISTILVIT_SECRET_OTHER") {
		t.Errorf("%v", err)
	}
	track := trackInput(1)
	track.Config.Track = pipeline.TrackConfig{MLflow: "http://ada:${DISTILVIT_SECRET_KEY}@" + strings.TrimPrefix(s.URL, "http://")}
	if _, err := try[struct{}](b, b.Track, track); err == nil || !strings.Contains(err.Error(), "track.mlflow: ") ||
		strings.Contains(err.Error(), "a2V5") {
		t.Errorf("%v", err)
	}
}
