package train

import (
	"path/filepath"
	"sync"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/go-xla/pjrt"

	"distilvit/artifact/record"
	"distilvit/dataset"
	"distilvit/internal/backend/backendtest"
)

// A batch that is copied to the device while another is trained on changes no bit, of dropout neither, and what it
// took of the device is given back, trained on or not.
func TestStagedBesideAStepTrainsAlike(t *testing.T) {
	backendtest.Each(t, func(t *testing.T, be compute.Backend) {
		g, golden, c, w, err := readSmall(goldenDir)
		if err != nil {
			t.Fatal(err)
		}
		config := goldenConfig(g)
		config.Dropout, config.BatchSize, config.MicroBatchSize = 0.1, 4, 2
		var batches []*dataset.Batch
		for i := range 4 {
			b := repeated(golden, 4)
			b.Rows[0] = uint64(100 + i) // no batch like another
			batches = append(batches, b)
		}
		tr, err := New(be, c, w, config)
		if err != nil {
			t.Fatal(err)
		}
		defer tr.Close()
		begin := filepath.Join(t.TempDir(), "begin")
		if _, err := tr.Save(begin, record.State{}); err != nil {
			t.Fatal(err)
		}
		digest := func() string {
			weights, err := tr.Weights()
			if err != nil {
				t.Fatal(err)
			}
			return Digest(c.Names(), weights)
		}
		for _, b := range batches {
			if _, err := tr.Step(b); err != nil {
				t.Fatal(err)
			}
		}
		want := digest()
		if _, err := tr.Load(begin); err != nil {
			t.Fatal(err)
		}
		before := pjrt.BuffersAlive()
		stepsStagedAhead(t, tr, batches)
		if left := pjrt.BuffersAlive() - before; left != 0 {
			t.Errorf("%d buffers more than before", left)
		}
		if got := digest(); got != want || got == Digest(c.Names(), w) {
			t.Errorf("weights %s instead of %s", got, want)
		}
	})
}

// stepsStagedAhead trains on batches, each staged while the one before is trained on; one more is staged for nothing.
func stepsStagedAhead(t *testing.T, tr *Trainer, batches []*dataset.Batch) {
	next, err := tr.Stage(batches[0], 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range batches {
		now, ahead := next, batches[(i+1)%len(batches)]
		var beside sync.WaitGroup
		beside.Go(func() {
			if next, err = tr.Stage(ahead, int64(i)+1); err != nil {
				t.Error(err)
			}
		})
		r, stepErr := tr.StepStaged(now)
		beside.Wait()
		if stepErr != nil || r.Step != int64(i)+1 || err != nil {
			t.Fatalf("step %d: %+v, %v", i, r, stepErr)
		}
	}
	next.Free()
}

// Dropout depends on the step that a batch is staged for, so another one is refused, and the trainer goes on.
func TestBatchOfAnotherStepIsRefused(t *testing.T) {
	tr, step := newTrainer(t, nil)
	_, b, _, _, err := readGolden()
	if err != nil {
		t.Fatal(err)
	}
	s, err := tr.Stage(b, 1)
	if err != nil {
		t.Fatal(err)
	}
	const want = "batch was staged to be trained on after 1 steps; 0 are done"
	if _, err := tr.StepStaged(s); err == nil || err.Error() != want {
		t.Errorf("%v instead of %s", err, want)
	}
	if r, err := step(); err != nil || r.Step != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}
