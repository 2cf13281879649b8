package trainer

import (
	"math"
	"os"
	"testing"
)

// An epoch on two devices, and one begun on two and ended on one, shows the same
// examples in the same order as one device does throughout: every step has as many
// label tokens and, but for rounding, the same loss.
func TestOrderOfExamplesDoesNotDependOnTheDevices(t *testing.T) {
	all := backends(t)
	if len(all) < 2 {
		t.Skip("XLA's CPU plugin is not installed")
	}
	l := newLab(t, all[1])
	p := l.lease("one")
	one := l.epoch(p, 0, State{}, "one")
	p.Release()

	pair := NewPool(Options{Exe: testExe(t), Environ: os.Environ(), LogDir: l.dir, Devices: []int{0, 1}})
	defer pair.Close()
	p, err := pair.Open(t.Context(), "pair", l.open, nothing)
	check(t, err)
	if n := p.Fingerprint()["devices"]; n != "2" {
		t.Errorf("the fingerprint counts %s devices", n)
	}
	var half, both Checkpoint
	_, err = p.Do(t.Context(), l.train(0, State{}, "pair"), func(e Event) {
		if e.Event == EventCheckpoint {
			if both = *e.Saved; both.State.EpochStep == 3 {
				half = both
			}
		}
	})
	check(t, err)
	p.Release()
	pair.CloseRun("pair")

	l.pool.CloseRun("one") // its child holds the end of the epoch
	p = l.lease("one")
	end := l.epoch(p, 0, state(half), "fewer")
	p.Release()
	want, err := ReadRecords(one.Dir)
	check(t, err)
	for name, last := range map[string]Checkpoint{
		"two devices": both, "two devices and from step 3 on one": end,
	} {
		got, err := ReadRecords(last.Dir)
		check(t, err)
		if len(want) != 8 || len(got) != 8 {
			t.Fatalf("%s: %d and %d steps", name, len(want), len(got))
		}
		for i, w := range want {
			if g := got[i]; g.Tokens != w.Tokens || g.LearningRate != w.LearningRate ||
				math.Abs(g.Loss-w.Loss) > 1e-5*w.Loss {
				t.Errorf("%s, step %d: %+v, on one device %+v", name, i+1, g, w)
			}
		}
	}
}

func TestMicroBatchThatDevicesCannotShareIsTheInputsMistake(t *testing.T) {
	l := newLab(t, backends(t)[0])
	l.open.Train.MicroBatchSize, l.open.Train.BatchSize = 3, 9
	pair := NewPool(Options{Exe: testExe(t), Environ: os.Environ(), LogDir: l.dir, Devices: []int{0, 1}})
	defer pair.Close()
	_, err := pair.Open(t.Context(), "run", l.open, nothing)
	wantKind(t, err, InvalidInput, "train.micro_batch_size 3 cannot be shared by the 2 devices")
}
