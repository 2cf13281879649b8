package trainer

import (
	"context"
	"os"
	"testing"

	"distilvit/internal/backend"
)

func fakePool(t *testing.T, devices int) *Pool {
	t.Helper()
	p := NewPool(Options{Exe: testExe(t), Args: []string{"fake", "obeys"}, Environ: os.Environ(), LogDir: t.TempDir(), Devices: devices})
	t.Cleanup(p.Close)
	return p
}

func TestPoolKeepsAChildWarmForEqualArgsOnly(t *testing.T) {
	p := fakePool(t, 1)
	args := OpenArgs{Seed: 1, Backend: backend.Choice{Kind: backend.Go}}
	first, err := p.Open(t.Context(), "run", args, nothing)
	check(t, err)
	if first.Fingerprint()["backend"] != "fake" || !first.Holds(9, 0) {
		t.Error("an opened child has its fingerprint and holds the initial weights of any branch")
	}
	first.Release()
	again, err := p.Open(t.Context(), "run", args, nothing)
	check(t, err)
	if again.PID() != first.PID() || again.Fingerprint()["backend"] != "fake" {
		t.Error("a warm child was not used again")
	}
	again.Release()
	args.Seed = 2
	other, err := p.Open(t.Context(), "run", args, nothing)
	check(t, err)
	if other.PID() == first.PID() || first.Alive() {
		t.Error("other args need another child, and the old one ends")
	}
	p.CloseRun("run")
	if other.Alive() || p.PID("run") != 0 {
		t.Error("a closed run has no child")
	}
	other.Release() // of a child that is gone already
}

func TestNewerAttemptTakesTheChildFromAnOlder(t *testing.T) {
	p := fakePool(t, 1)
	old, err := p.Open(t.Context(), "run", OpenArgs{}, nothing)
	check(t, err)
	ended := make(chan error)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	begun := make(chan struct{})
	go func() {
		_, err := old.Do(ctx, Command{Do: DoTrain, Train: &TrainArgs{}}, func(Event) { close(begun) })
		old.Release()
		ended <- err
	}()
	<-begun
	newer, err := p.Open(t.Context(), "run", OpenArgs{}, nothing)
	check(t, err)
	wantKind(t, <-ended, DeviceLost, "signal killed")
	if !newer.Alive() || p.PID("run") != newer.PID() {
		t.Error("the older attempt's release ended the newer one's child")
	}
}

func TestFullPoolMakesRoomByEndingAnUnusedChild(t *testing.T) {
	p := fakePool(t, 2)
	a, err := p.Open(t.Context(), "a", OpenArgs{}, nothing)
	check(t, err)
	b, err := p.Open(t.Context(), "b", OpenArgs{}, nothing)
	check(t, err)
	_, err = p.Open(t.Context(), "c", OpenArgs{}, nothing)
	wantKind(t, err, DeviceLost, "all 2 devices of this worker are in use")
	b.Release()
	c, err := p.Open(t.Context(), "c", OpenArgs{}, nothing)
	check(t, err)
	if b.Alive() || !a.Alive() || p.runs["c"].args.Backend.Device != 1 || p.runs["a"].args.Backend.Device != 0 {
		t.Errorf("b lives %v, a lives %v, c on device %d", b.Alive(), a.Alive(), p.runs["c"].args.Backend.Device)
	}
	a.Release()
	c.Release()
	d, err := p.Open(t.Context(), "d", OpenArgs{}, nothing)
	check(t, err)
	if a.Alive() || !c.Alive() || p.runs["d"].args.Backend.Device != 0 {
		t.Error("the longest unused child should have made room")
	}
	d.Release()
}
