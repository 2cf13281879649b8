package track

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write testdata/events.out.tfevents.golden.distilvit")

// golden is a file that testdata/python.py read with TensorBoard's own EventAccumulator.
const golden = "testdata/events.out.tfevents.golden.distilvit"

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// at is a time of a test.
func at(seconds int64) time.Time { return time.Unix(1_700_000_000+seconds, 500_000_000).UTC() }

// curve is n steps from a first one.
func curve(first, n int64) (all []Scalars) {
	for step := first; step < first+n; step++ {
		all = append(all, Scalars{Wall: at(step), Step: step, Values: []Scalar{
			{"train/loss", 8 / float64(step)}, {"train/learning_rate", 1e-4},
		}})
	}
	return all
}

// stored are values as 32 bits hold them.
func stored(all []Scalars) (out []Scalars) {
	for _, s := range all {
		c := Scalars{Wall: s.Wall, Step: s.Step}
		for _, v := range s.Values {
			c.Values = append(c.Values, Scalar{v.Tag, float64(float32(v.Value))})
		}
		out = append(out, c)
	}
	return out
}

func TestEventFileIsWhatTensorBoardRead(t *testing.T) {
	all := append(curve(1, 3), Scalars{Wall: at(9), Step: 2, Values: []Scalar{
		{"eval/rougeL", 41.5}, {"eval/loss", 0}, {"größe/Δ", math.MaxFloat32},
	}})
	file := append(EventFile(all), EventRestart(at(10), 3)...)
	file = append(file, EventScalars(Scalars{Wall: at(11), Step: 3, Values: []Scalar{{"train/loss", 2}}})...)
	if *update {
		check(t, os.WriteFile(golden, file, 0o644))
	}
	want, err := os.ReadFile(golden)
	check(t, err)
	if !bytes.Equal(file, want) {
		t.Error("other bytes than those that TensorBoard read")
	}
	// what TensorBoard's reader said of the file: by tag, wall time, step and value
	raw, err := os.ReadFile("testdata/golden.json")
	check(t, err)
	var read map[string][][3]float64
	check(t, json.Unmarshal(raw, &read))
	events, err := ReadEvents(bytes.NewReader(file))
	check(t, err)
	if events.Size != int64(len(file)) {
		t.Errorf("%d of %d bytes are read", events.Size, len(file))
	}
	got := map[string][][3]float64{}
	for _, s := range events.Scalars {
		for _, v := range s.Values {
			got[v.Tag] = append(got[v.Tag], [3]float64{float64(s.Wall.UnixMicro()) / 1e6, float64(s.Step), v.Value})
		}
	}
	if !reflect.DeepEqual(got, read) {
		t.Errorf("read %v\nTensorBoard %v", got, read)
	}
}

// A file that was cut, or whose bytes have turned, is read up to the last sound record.
func TestDamagedEventFileIsReadUpToTheDamage(t *testing.T) {
	all := curve(1, 4)
	file := EventFile(all)
	third := int64(len(EventFile(all[:2])))
	for _, cut := range []int{1, 8, 11, 12, 20, len(EventScalars(all[2])) - 1} {
		events, err := ReadEvents(bytes.NewReader(file[:third+int64(cut)]))
		check(t, err)
		if !reflect.DeepEqual(events.Scalars, stored(all[:2])) || events.Size != third {
			t.Errorf("cut %d behind: %+v", cut, events)
		}
	}
	for _, turned := range []int64{0, 7, 8, 12, 30} {
		bad := bytes.Clone(file)
		bad[third+turned] ^= 0x40
		events, err := ReadEvents(bytes.NewReader(bad))
		check(t, err)
		if !reflect.DeepEqual(events.Scalars, stored(all[:2])) || events.Size != third {
			t.Errorf("byte %d turned: %+v", turned, events)
		}
	}
}

func FuzzReadEvents(f *testing.F) {
	f.Add(EventFile(curve(1, 2)))
	f.Add(EventRestart(at(0), 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		events, err := ReadEvents(bytes.NewReader(b))
		if err != nil || events.Size > int64(len(b)) {
			t.Fatalf("%v, %d of %d bytes", err, events.Size, len(b))
		}
	})
}

// Several that append, and one that is killed while it does: every step stands there once.
func TestEventLogHoldsEachStepOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "events.out.tfevents.1")
	first, err := OpenEventLog(path)
	check(t, err)
	check(t, first.Append(t.Context(), curve(1, 5)))
	whole, err := os.ReadFile(path)
	check(t, err)
	check(t, os.WriteFile(path, whole[:len(whole)-3], 0o644)) // killed in mid-write: step 5 is not whole

	second, err := OpenEventLog(path)
	check(t, err)
	check(t, second.Append(t.Context(), curve(1, 7))) // from its checkpoint on
	eval := Scalars{Wall: at(8), Step: 5, Values: []Scalar{{"eval/loss", 1}}}
	check(t, second.Append(t.Context(), []Scalars{eval}))
	check(t, first.Append(t.Context(), curve(6, 4))) // does not know of what the other has written
	check(t, second.Append(t.Context(), append(curve(9, 3), eval)))
	events, err := ReadEventFile(path)
	check(t, err)
	want := stored(append(append(curve(1, 7), eval), curve(8, 4)...))
	if !reflect.DeepEqual(events.Scalars, want) {
		t.Errorf("%v", events.Scalars)
	}
}

func TestRestartTakesBackAnAbandonedBranch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.out.tfevents.1")
	log, err := OpenEventLog(path)
	check(t, err)
	check(t, log.Append(t.Context(), curve(1, 9)))
	check(t, log.Restart(t.Context(), at(20), 6))
	again := curve(6, 2)
	again[0].Values[0].Value = 7
	check(t, log.Append(t.Context(), again))
	check(t, log.Restart(t.Context(), at(30), 8)) // nothing is behind it: nothing is written
	events, err := ReadEventFile(path)
	check(t, err)
	if want := stored(append(curve(1, 5), again...)); !reflect.DeepEqual(events.Scalars, want) {
		t.Errorf("%v", events.Scalars)
	}
	size, err := os.Stat(path)
	check(t, err)
	if want := fmt.Sprint(events.Size); fmt.Sprint(size.Size()) != want {
		t.Errorf("%d bytes, of which %s are read", size.Size(), want)
	}
}
