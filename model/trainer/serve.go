package trainer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/gomlx/compute"

	"distilvit/artifact/record"
	"distilvit/dataset/pixels"
	"distilvit/internal/backend"
	"distilvit/model"
	"distilvit/model/tokenizer"
	"distilvit/model/train"
)

// Main is the whole life of a child, on descriptors 3 and 4; it answers the
// exit status. The signals a terminal or a supervisor sends to every process
// are left to the parent: it asks for a checkpoint first.
func Main() int {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	in, out := os.NewFile(CommandFD, "commands"), os.NewFile(EventFD, "events")
	if in == nil || out == nil {
		fmt.Fprintln(os.Stderr, "trainer: to be started by a worker only")
		return 2
	}
	if err := Serve(context.Background(), in, out); err != nil {
		fmt.Fprintf(os.Stderr, "trainer: %v\n", err)
		return 1
	}
	return 0
}

// server is the child's state over its life.
type server struct {
	in  <-chan Command // closed when the parent is gone
	mu  sync.Mutex
	out *json.Encoder

	args    OpenArgs
	backend compute.Backend
	config  *model.Config
	pixels  pixels.Processor
	trainer *train.Trainer
	state   record.State // what trainer holds; its Step with branch names it
	branch  int
	records []StepRecord // of the epoch so far
	teacher teacher

	shapes map[string]bool          // compiled already
	took   map[string]time.Duration // by program: its newest first step, compiling included
}

// Serve answers commands until in ends or one fails: a backend that failed
// once cannot be trusted with a second command.
func Serve(ctx context.Context, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	commands := make(chan Command, 16)
	s := &server{in: commands, out: json.NewEncoder(out), shapes: map[string]bool{}, took: map[string]time.Duration{}}
	var broken error
	go func() {
		defer close(commands)
		d := json.NewDecoder(in)
		var coming *arrivals
		for {
			var c Command
			if err := d.Decode(&c); err != nil {
				if !errors.Is(err, io.EOF) {
					broken = fmt.Errorf("read command: %w", err)
				}
				cancel()
				return
			}
			switch {
			case c.Do == DoTrain && c.Train != nil:
				coming = newArrivals(c.Train.Shards)
				c.arrivals = coming
			case c.Do == DoShard && c.Shard != nil:
				coming.add(*c.Shard)
				continue
			case c.Do == DoStop:
				coming.stop()
			}
			select {
			case commands <- c:
			case <-ctx.Done():
				return
			}
		}
	}()
	for c := range commands {
		if err := s.answer(ctx, c); err != nil {
			e := failure(err)
			s.send(Event{Event: EventError, Error: &Failure{Type: string(e.Kind), Message: e.Message}})
			return err
		}
	}
	return broken
}

// answer runs one command; a panic of the graph builder is an error too.
func (s *server) answer(ctx context.Context, c Command) (err error) {
	defer func() {
		if r := recover(); r != nil {
			debug.PrintStack()
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	switch {
	case c.Do == DoOpen && c.Open != nil:
		return s.open(*c.Open)
	case c.Do == DoTrain && c.Train != nil:
		return s.train(ctx, *c.Train, c.arrivals)
	case c.Do == DoEvaluate && c.Evaluate != nil:
		return s.evaluate(ctx, *c.Evaluate)
	case c.Do == DoEncode && c.Encode != nil:
		return s.encode(ctx, *c.Encode)
	case c.Do == DoTeach && c.Teach != nil:
		return s.teach(ctx, *c.Teach)
	case c.Do == DoExport && c.Export != nil:
		return s.export(ctx, *c.Export)
	case c.Do == DoCheckpoint, c.Do == DoStop:
		return nil // came after the epoch's end
	}
	return errorf(InvalidInput, "unknown command %q", c.Do)
}

// open prepares the network and its initial weights.
func (s *server) open(a OpenArgs) (err error) {
	s.phase(PhaseOpen, "opening backend "+a.Backend.Kind)
	s.args = a
	if s.config, s.pixels, err = readModel(a.ModelDir); err != nil {
		return err
	}
	if err := s.config.FitPictures(nil, s.pixels.Width); err != nil {
		return &Error{Kind: InvalidInput, Message: err.Error()}
	}
	if err := CheckDevices(a.microBatch(), len(a.Backend.Devices)); err != nil {
		return err
	}
	if err := CheckPrecision(a.Train.Precision, a.Backend.Kind); err != nil {
		return err
	}
	if s.backend, err = backend.Open(a.Backend); err != nil {
		return fmt.Errorf("open backend %s: %w", a.Backend.Kind, err)
	}
	if err := s.initial(); err != nil {
		return err
	}
	s.send(Event{Event: EventReady, Fingerprint: s.fingerprint()})
	s.send(Event{Event: EventDone})
	return nil
}

// CheckDevices makes sure that every device gets as many pictures of a
// micro-batch as the others.
func CheckDevices(microBatch, devices int) error {
	if devices > 1 && microBatch%devices != 0 {
		return errorf(InvalidInput, "train.micro_batch_size %d cannot be shared by the %d devices this "+
			"worker gives a run: make it a multiple of %d, or use another --devices-per-run",
			microBatch, devices, devices)
	}
	return nil
}

// CheckPrecision refuses what a kind of backend cannot train in: the pure-Go one multiplies bfloat16, but so
// coarsely that losses are off by percents; TF32 is a format of GPUs.
func CheckPrecision(precision, kind string) error {
	if precision == train.TF32 && kind != backend.CUDA {
		return errorf(InvalidInput, "train.precision is %s, which backend cuda has alone; this is %s: use %s, or "+
			"leave it out", precision, kind, train.Float32)
	}
	if precision == train.BF16 && kind == backend.Go {
		return errorf(InvalidInput, "train.precision is %s; the pure-Go backend trains in %s only: use "+
			"backend xla or cuda, or leave it out", precision, train.Float32)
	}
	return nil
}

// initial puts the weights training starts from into a new trainer.
func (s *server) initial() error {
	var w model.Weights
	c := s.args.Train
	c.Normalization = train.NormalizationOf(s.pixels)
	s.phase(PhaseLoad, "reading weights")
	config, _, err := readModel(s.args.ModelDir) // as the file has it, whose weights these are
	if err != nil {
		return err
	}
	if w, err = model.ReadWeights(s.args.ModelDir, config); errors.Is(err, model.ErrNoWeights) {
		s.phase(PhaseLoad, "drawing initial weights")
		w = model.Init(s.config, s.args.Seed)
	} else if err == nil {
		err = config.FitPictures(w, s.pixels.Width)
	}
	if err != nil && !errors.Is(err, model.ErrNoWeights) {
		return &Error{Kind: InvalidInput, Message: fmt.Sprintf("weights: %v", err)}
	}
	if err := s.adapt(w, c); err != nil {
		return err
	}
	if s.trainer != nil {
		s.trainer.Close()
	}
	if s.trainer, err = train.New(s.backend, s.config, w, c); err != nil {
		return fmt.Errorf("make trainer: %w", err)
	}
	s.state, s.branch, s.records = record.State{
		Fingerprint: s.fingerprint(), Frozen: s.trainer.Frozen(),
	}, 0, nil
	clear(s.shapes)
	return nil
}

// adapt adds the adapters that training begins with: the model directory's, or drawn ones.
func (s *server) adapt(w model.Weights, c train.Config) error {
	if c.LoRA == nil {
		return nil
	}
	has, err := model.HasAdapter(s.args.ModelDir)
	var given model.Weights
	if err == nil && has {
		_, given, err = model.ReadAdapter(s.args.ModelDir, s.config)
	}
	var adapters model.Weights
	if err == nil {
		adapters, err = train.Adapters(s.config, c, given, s.args.Seed)
	}
	if err != nil {
		return &Error{Kind: InvalidInput, Message: fmt.Sprintf("adapter: %v", err)}
	}
	maps.Copy(w, adapters)
	return nil
}

// load brings the trainer to a state, unless it holds it already.
func (s *server) load(from State) error {
	if s.trainer == nil {
		return errorf(InvalidInput, "command before open")
	}
	s.teacher.close()
	switch {
	case from.Step == s.state.Step && (from.Step == 0 || from.Branch == s.branch):
		return nil
	case from.Step == 0:
		return s.initial()
	}
	s.phase(PhaseLoad, fmt.Sprintf("loading checkpoint of step %d", from.Step))
	st, err := s.trainer.Load(from.Dir)
	if err != nil {
		return unreadable("load checkpoint "+from.Dir, err)
	}
	if st.Step != from.Step {
		return errorf(Corrupt, "checkpoint %s is of step %d, expected %d", from.Dir, st.Step, from.Step)
	}
	if s.records, err = ReadRecords(from.Dir); err != nil {
		return &Error{Kind: Corrupt, Message: fmt.Sprintf("load checkpoint: %v", err)}
	}
	s.state, s.branch = st, from.Branch
	s.state.Fingerprint = s.fingerprint()
	return nil
}

// fingerprint is everything the bits of a step depend on beside its input.
func (s *server) fingerprint() map[string]string {
	f := backend.Fingerprint(s.args.Backend)
	f[MicroBatchKey] = fmt.Sprint(s.args.microBatch())
	if s.args.Train.Precision == train.BF16 {
		f["precision"] = train.BF16
	}
	if s.args.Train.GradientCheckpointing {
		f["gradient_checkpointing"] = "true" // other fusions, other last bits
	}
	return f
}

// readModel reads what a model directory says of the network and its input.
func readModel(dir string) (*model.Config, pixels.Processor, error) {
	c, p, err := train.ReadNetwork(dir)
	if err != nil {
		return nil, p, &Error{Kind: InvalidInput, Message: err.Error()}
	}
	return c, p, nil
}

func readTokenizer(dir string) (*tokenizer.Tokenizer, error) {
	t, err := tokenizer.Load(dir)
	if err != nil {
		return nil, &Error{Kind: InvalidInput, Message: fmt.Sprintf("tokenizer: %v", err)}
	}
	return t, nil
}

// usualCompile is what compiling took on a CPU where it was measured (docs/benchmarks.md): presets tiny to
// base.
const usualCompile = "10 to 40 CPU seconds"

// compiling announces a step whose graph has not been compiled yet, so that the watchdog gives it the time,
// and tells whether it did. It says how long that takes: as it took for another shape, else what is usual.
func (s *server) compiling(program, shape string) bool {
	if s.shapes[program+shape] {
		return false
	}
	s.shapes[program+shape] = true
	expect := ""
	if took, known := s.took[program]; known {
		expect = fmt.Sprintf(", the last took %s", took.Round(time.Second))
	} else if s.args.Backend.Kind == backend.XLA {
		expect = ", once: " + usualCompile
	}
	s.phase(PhaseCompile, "compiling "+program+" "+shape+expect)
	return true
}

func (s *server) phase(phase, message string) {
	s.send(Event{Event: EventPhase, Phase: phase, Message: message})
}

// send writes one event. A parent that is gone shows as the end of in.
func (s *server) send(e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out.Encode(e)
}

// throttle lets an event through every eventInterval.
type throttle struct{ last time.Time }

func (t *throttle) due() bool {
	now := time.Now()
	if now.Sub(t.last) < eventInterval {
		return false
	}
	t.last = now
	return true
}
