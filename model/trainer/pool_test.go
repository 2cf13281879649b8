package trainer

import (
	"context"
	"os"
	"slices"
	"testing"

	"distilvit/internal/backend"
)

func fakePool(t *testing.T, how string, health *Health, devices ...int) *Pool {
	t.Helper()
	p := NewPool(Options{
		Exe: testExe(t), Args: []string{"fake", how}, Environ: os.Environ(), LogDir: t.TempDir(),
		Devices: devices, Health: health,
	})
	t.Cleanup(p.Close)
	return p
}

func TestPoolKeepsAChildWarmForEqualArgsOnly(t *testing.T) {
	p := fakePool(t, "obeys", nil)
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
	p := fakePool(t, "obeys", nil)
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

func TestUnusedChildOfAnotherRunMakesRoom(t *testing.T) {
	p := fakePool(t, "obeys", nil, 2, 3)
	a, err := p.Open(t.Context(), "a", OpenArgs{}, nothing)
	check(t, err)
	if devices := p.runs["a"].args.Backend.Devices; !slices.Equal(devices, []int{2, 3}) {
		t.Errorf("opened on devices %v", devices)
	}
	_, err = p.Open(t.Context(), "b", OpenArgs{}, nothing)
	wantKind(t, err, DeviceLost, "devices 2 and 3: in use by run a")
	a.Release()
	b, err := p.Open(t.Context(), "b", OpenArgs{}, nothing)
	check(t, err)
	if a.Alive() || !b.Alive() {
		t.Errorf("a lives %v, b lives %v", a.Alive(), b.Alive())
	}
	b.Release()
}
