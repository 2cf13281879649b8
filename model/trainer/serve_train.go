package trainer

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"distilvit/artifact/record"
	"distilvit/dataset"
	"distilvit/internal/rusage"
	"distilvit/metrics"
	"distilvit/model/train"
	"distilvit/storage/layout"
)

// MetricsFile stands beside a checkpoint's tensors: a StepRecord a line, of
// the epoch so far.
const MetricsFile = "metrics.jsonl"

// epoch is the run of one train command.
type epoch struct {
	*server
	a      TrainArgs
	steps  int64        // in the epoch
	end    int64        // steps of the epoch that the command is to end with
	saved  time.Time    // the newest checkpoint's time
	rate   float64      // pictures a second, running mean
	begun  time.Time    // the loop
	times  record.Times // of it, but for Loop and CPU
	report throttle
	told   int // of the epoch's records
}

// train runs what is left of an epoch, or a part of that, and ends with a checkpoint, so that the
// state at the end of a command is always a stored one.
func (s *server) train(ctx context.Context, a TrainArgs, shards *arrivals) error {
	begun := time.Now()
	if err := s.load(a.From); err != nil {
		return err
	}
	if s.state.Epoch != a.Epoch {
		return errorf(InvalidInput, "checkpoint of step %d is in epoch %d, asked to train epoch %d",
			s.state.Step, s.state.Epoch, a.Epoch)
	}
	e := &epoch{server: s, a: a, saved: time.Now()}
	if s.branch = a.Branch; s.state.EpochStep == 0 {
		s.state.LossSum, s.state.Tokens, s.records = 0, 0, nil
	}
	loader, err := dataset.NewLoader(a.Shards, dataset.LoaderConfig{
		Seed: s.args.Seed, BatchSize: s.args.Train.BatchSize,
		CaptionsPerPicture: s.args.Train.CaptionsPerPicture,
		Width:              s.pixels.Width, Height: s.pixels.Height, Augment: s.args.Augment,
		Await: shards.await, Features: a.Features, Teacher: a.Teacher,
	})
	if err != nil {
		return &Error{Kind: Corrupt, Message: fmt.Sprintf("open shards: %v", err)}
	}
	defer loader.Close()
	if e.steps = loader.StepsPerEpoch(); a.Steps > 0 {
		e.steps = min(e.steps, a.Steps)
	}
	if e.end = e.steps; a.Until > 0 {
		e.end = min(e.steps, a.Until)
	}
	if s.state.EpochStep >= e.end {
		return errorf(InvalidInput, "checkpoint of step %d has %d steps of epoch %d, asked to end with %d",
			s.state.Step, s.state.EpochStep, a.Epoch, e.end)
	}

	stopped, from := false, s.state.Step
	s.phase(PhaseTrain, fmt.Sprintf("epoch %d", a.Epoch+1))
	e.begun = time.Now()
	used, idle := rusage.CPUTime(), e.begun // the device is, since
	var waiting atomic.Bool
	waiting.Store(true)
	defer s.announceWaiting(&waiting, shards)()
	for b, err := range e.rest(ctx, loader) {
		waiting.Store(false)
		if stopped = errors.Is(err, errStopped); stopped {
			break
		}
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return err
		}
		e.times.Input += time.Since(idle).Seconds()
		if err := e.step(b); err != nil {
			return err
		}
		save := e.due()
		stop, asked := e.orders()
		if stopped = stop; stopped || e.state.EpochStep == e.end {
			break
		}
		if save || asked {
			if err := e.save(); err != nil {
				return err
			}
		}
		idle = time.Now()
		waiting.Store(true)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	switch {
	case s.state.EpochStep == e.steps:
		s.state.Epoch, s.state.EpochStep, stopped = a.Epoch+1, 0, false
	case s.state.EpochStep == e.end:
		stopped = false
	case !stopped:
		return errorf(Corrupt, "epoch %d ended after %d of %d steps", a.Epoch, s.state.EpochStep, e.end)
	}
	if !stopped || s.state.Step > from { // else nothing was done
		if err := e.save(); err != nil {
			return err
		}
	}
	e.times.PeakBytes = rusage.PeakMemory()
	e.times.Loop, e.times.CPU = time.Since(e.begun).Seconds(), (rusage.CPUTime() - used).Seconds()
	s.send(Event{Event: EventDone, Trained: &Trained{
		Times: e.times, Stopped: stopped, Epoch: s.state.Epoch, Step: s.state.Step,
		Loss: mean(s.state.LossSum, s.state.Tokens), Seconds: time.Since(begun).Seconds(),
	}})
	return nil
}

// waitingInterval is how often a trainer that waits for shards says so.
const waitingInterval = 5 * time.Second

// announceWaiting tells while waiting is set and shards are to come that nothing
// hangs: whoever fetches them watches over that. It does so until end is called.
func (s *server) announceWaiting(waiting *atomic.Bool, shards *arrivals) (end func()) {
	ended := make(chan struct{})
	var owned sync.WaitGroup
	owned.Go(func() {
		tick := time.NewTicker(waitingInterval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if n := shards.missing(); n > 0 && waiting.Load() {
					s.phase(PhaseFetch, fmt.Sprintf("waiting for shards, %d are to come", n))
				}
			case <-ended:
				return
			}
		}
	})
	return func() { close(ended); owned.Wait() }
}

// staged is a batch of the epoch that is on the devices.
type staged struct {
	*train.Staged
	pictures, length int   // and tokens of its captions
	step             int64 // of the epoch
}

// rest yields what is left of the epoch, each batch once it is on the devices.
func (e *epoch) rest(ctx context.Context, loader *dataset.Loader) iter.Seq2[staged, error] {
	from, done := e.state.EpochStep, e.state.Step
	batches := func(ctx context.Context) iter.Seq2[*dataset.Batch, error] {
		return loader.Epoch(ctx, e.a.Epoch, from)
	}
	return ahead(ctx, batches, staged.Free, func(b *dataset.Batch, err error) (staged, error) {
		switch {
		case err == nil:
			return e.stage(b, done+b.Step-from)
		case !errors.Is(err, errStopped) && ctx.Err() == nil:
			err = &Error{Kind: Corrupt, Message: fmt.Sprintf("read batch: %v", err)}
		}
		return staged{}, err
	})
}

// stage puts a batch on the devices, to be trained on after so many steps.
func (e *epoch) stage(b *dataset.Batch, after int64) (staged, error) {
	s, err := e.trainer.Stage(b, after)
	if err != nil {
		err = fmt.Errorf("epoch %d step %d: %w", e.a.Epoch+1, b.Step, err)
	}
	return staged{Staged: s, pictures: b.N, length: b.T, step: b.Step}, err
}

// step trains one batch.
func (e *epoch) step(b staged) error {
	compiled := e.compiling("training step", fmt.Sprintf("for captions of %d tokens", b.length))
	begun, used := time.Now(), rusage.CPUTime()
	r, err := e.trainer.StepStaged(b.Staged)
	if err != nil {
		return fmt.Errorf("epoch %d step %d: %w", e.a.Epoch+1, b.step, err)
	}
	seconds := time.Since(begun).Seconds()
	st := &e.state
	st.Step, st.EpochStep = r.Step, st.EpochStep+1
	e.times.Pictures += int64(b.pictures)
	st.LossSum += r.LossSum
	st.Tokens += r.Tokens
	e.records = append(e.records, StepRecord{
		Step: r.Step, Loss: mean(r.LossSum, r.Tokens), Tokens: r.Tokens, GradNorm: r.GradNorm,
		LearningRate: r.LearningRate,
	})
	switch now := float64(b.pictures) / max(seconds, 1e-9); {
	case compiled: // tells nothing of the steps to come
		e.took["training step"] = time.Duration(seconds * float64(time.Second))
		e.times.Compile += seconds
		e.times.CompileCPU += (rusage.CPUTime() - used).Seconds()
	case e.rate == 0:
		e.rate = now
	default:
		e.rate += 0.05 * (now - e.rate)
	}
	if e.report.due() || compiled || st.EpochStep == e.end {
		e.send(Event{Event: EventStep, Step: &StepEvent{
			Epoch: e.a.Epoch, Step: st.Step, EpochStep: st.EpochStep, EpochSteps: e.steps,
			Loss: mean(r.LossSum, r.Tokens), MeanLoss: mean(st.LossSum, st.Tokens),
			Seconds: seconds, Rate: e.rate,
			Waited:  e.times.Input / max(time.Since(e.begun).Seconds(), 1e-9),
			Records: e.records[e.told:],
		}})
		e.told = len(e.records)
	}
	return nil
}

// due tells whether the schedule asks for a checkpoint after this step.
func (e *epoch) due() bool {
	if n := int64(e.a.CheckpointSteps); n > 0 && e.state.Step%n == 0 {
		return true
	}
	n := e.a.CheckpointSeconds
	return n > 0 && time.Since(e.saved) >= time.Duration(n)*time.Second
}

// orders takes the commands that came meanwhile.
func (e *epoch) orders() (stop, asked bool) {
	for {
		select {
		case c, ok := <-e.in:
			if !ok {
				return false, asked
			}
			switch c.Do {
			case DoStop:
				return true, true
			case DoCheckpoint:
				asked = true
			}
		default:
			return false, asked
		}
	}
}

// save leaves OutDir/<step>, complete or not at all.
func (e *epoch) save() error {
	begun, used := time.Now(), rusage.CPUTime()
	e.phase(PhaseCheckpoint, fmt.Sprintf("saving step %d", e.state.Step))
	dir := filepath.Join(e.a.OutDir, strconv.FormatInt(e.state.Step, 10))
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	files, err := e.trainer.Save(dir, e.state)
	if err != nil {
		return fmt.Errorf("save checkpoint of step %d: %w", e.state.Step, err)
	}
	if files[MetricsFile], err = writeRecords(dir, e.records); err != nil {
		return fmt.Errorf("save checkpoint of step %d: %w", e.state.Step, err)
	}
	e.saved = time.Now()
	e.times.Checkpoint += e.saved.Sub(begun).Seconds()
	e.times.CheckpointCPU += (rusage.CPUTime() - used).Seconds()
	e.send(Event{Event: EventCheckpoint, Saved: &Checkpoint{Dir: dir, State: e.state, Files: files}})
	e.phase(PhaseTrain, "")
	return nil
}

func writeRecords(dir string, records []StepRecord) (layout.Object, error) {
	return train.WriteFile(filepath.Join(dir, MetricsFile), func(f io.Writer) error {
		w := bufio.NewWriter(f)
		enc := json.NewEncoder(w)
		for _, r := range records {
			if err := enc.Encode(r); err != nil {
				return err
			}
		}
		return w.Flush()
	})
}

// ReadRecords reads the metrics of a checkpoint's directory.
func ReadRecords(dir string) ([]StepRecord, error) {
	f, err := os.Open(filepath.Join(dir, MetricsFile))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	records, err := DecodeRecords(bufio.NewReader(f))
	if err != nil {
		return nil, errorf(Corrupt, "read %s: %v", f.Name(), err)
	}
	return records, nil
}

// DecodeRecords reads what stands in a MetricsFile.
func DecodeRecords(r io.Reader) ([]StepRecord, error) { return decodeLines[StepRecord](r) }

// ReadPredictions reads the file that EvaluateArgs.Out names.
func ReadPredictions(path string) ([]metrics.Prediction, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	list, err := decodeLines[metrics.Prediction](bufio.NewReader(f))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return list, nil
}

// decodeLines reads JSON values to the end.
func decodeLines[T any](r io.Reader) ([]T, error) {
	var list []T
	for d := json.NewDecoder(r); ; {
		var one T
		switch err := d.Decode(&one); {
		case errors.Is(err, io.EOF):
			return list, nil
		case err != nil:
			return nil, err
		}
		list = append(list, one)
	}
}

func mean(sum float64, n int64) float64 {
	if n == 0 {
		return 0
	}
	return sum / float64(n)
}
