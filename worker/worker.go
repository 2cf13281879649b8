// Package worker wires a run's queues, device slots and activities together:
// the whole of a worker process but its flags. Start reading at Run.
package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"go.temporal.io/sdk/client"
	sdk "go.temporal.io/sdk/worker"

	"distilvit/activities"
	"distilvit/internal/backend"
	"distilvit/model/hub"
	"distilvit/model/trainer"
	"distilvit/pipeline"
	"distilvit/storage"
	"distilvit/workflows"
)

// Options of Run.
type Options struct {
	Client    client.Client
	Namespace string // of Client; default "default"
	Store     *storage.Store
	Dir       string // this worker's files: cache, models, attempts, logs; all of it may be lost

	Queues     []string // pipeline.TaskQueue, pipeline.DeviceQueue; default both
	Devices    int      // runs that train here at once; default 1
	CacheBytes int64    // size of the shard cache; default 50 GB
	Activities int      // activities of TaskQueue at once; default the number of processors, at least 2

	Exe     string   // program whose `trainer` command is the trainer; default this one
	Args    []string // its arguments; default trainer
	Environ []string // its environment; default this process's

	Backend     backend.Options // where backends are; Kind is each run's own
	ONNXRuntime string          // path of libonnxruntime.so; empty: the installed one
	Hub         hub.Options     // where models named hf:ORG/NAME come from

	Log *slog.Logger // default slog.Default()

	StopTimeout time.Duration  // for activities to save and return; default 2 min
	Limits      trainer.Limits // of the trainer's watchdog
}

func (o Options) withDefaults() (Options, error) {
	if len(o.Queues) == 0 {
		o.Queues = []string{pipeline.TaskQueue, pipeline.DeviceQueue}
	}
	for _, q := range o.Queues {
		if q != pipeline.TaskQueue && q != pipeline.DeviceQueue {
			return o, fmt.Errorf("queue %q: must be %s or %s", q, pipeline.TaskQueue, pipeline.DeviceQueue)
		}
	}
	if o.Namespace == "" {
		o.Namespace = "default"
	}
	if o.Devices == 0 {
		o.Devices = 1
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = 50e9
	}
	if o.Activities == 0 {
		o.Activities = max(2, runtime.NumCPU())
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.StopTimeout == 0 {
		o.StopTimeout = 2 * time.Minute
	}
	if o.Exe == "" {
		var err error
		if o.Exe, err = os.Executable(); err != nil {
			return o, err
		}
	}
	if o.Environ == nil {
		o.Environ = os.Environ()
	}
	dir, err := filepath.Abs(o.Dir)
	o.Dir = dir
	return o, err
}

// Run serves the queues until the context ends or the server refuses the
// worker. It then lets activities save and return, ends the trainers, and only
// then returns: the connection and an embedded server are to be closed after.
func Run(ctx context.Context, o Options) error {
	o, err := o.withDefaults()
	if err != nil {
		return fmt.Errorf("worker: %w", err)
	}
	if err := searchAttributes(ctx, o); err != nil {
		return fmt.Errorf("worker: %w", err)
	}
	pool := trainer.NewPool(trainer.Options{
		Exe: o.Exe, Args: o.Args, Environ: o.Environ, LogDir: filepath.Join(o.Dir, "logs"), Devices: o.Devices, Limits: o.Limits,
	})
	defer pool.Close()
	acts := &activities.Activities{
		Store: o.Store, Cache: storage.NewCache(filepath.Join(o.Dir, "cache"), o.CacheBytes), Dir: o.Dir, Pool: pool,
		Backend: o.Backend, ONNXRuntime: o.ONNXRuntime, Hub: o.Hub,
		Open: func(ctx context.Context, run string) (bool, error) { return Open(ctx, o.Client, run) },
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var workers []sdk.Worker
	var stop sync.WaitGroup
	defer stop.Wait()
	if slices.Contains(o.Queues, pipeline.TaskQueue) {
		scheduleJanitor(ctx, o)
	}
	for _, queue := range slices.Compact(slices.Sorted(slices.Values(o.Queues))) {
		w := newWorker(o, queue, acts, func(err error) { fail(&fatalError{queue, err}) })
		if err := w.Start(); err != nil {
			fail(&fatalError{queue, err})
			break
		}
		workers = append(workers, w)
	}
	<-ctx.Done()
	for _, w := range workers {
		stop.Go(w.Stop)
	}
	var fatal *fatalError
	if errors.As(context.Cause(ctx), &fatal) {
		return fatal
	}
	return nil
}

// newWorker is the worker of one queue. The device queue's gives out sessions,
// one a device; the other runs the workflows too.
func newWorker(o Options, queue string, acts *activities.Activities, fatal func(error)) sdk.Worker {
	options := sdk.Options{
		WorkerStopTimeout: o.StopTimeout,
		OnFatalError:      fatal,
		// Heartbeats carry progress: pass on each of them.
		MaxHeartbeatThrottleInterval:     2 * time.Second,
		DefaultHeartbeatThrottleInterval: 2 * time.Second,
	}
	if queue == pipeline.DeviceQueue {
		options.DisableWorkflowWorker = true
		options.EnableSessionWorker = true
		options.MaxConcurrentSessionExecutionSize = o.Devices
	} else {
		options.MaxConcurrentActivityExecutionSize = o.Activities
	}
	w := sdk.New(o.Client, queue, options)
	w.RegisterActivity(acts)
	if queue == pipeline.TaskQueue {
		workflows.Register(w)
	}
	return w
}

// fatalError ends a worker for good.
type fatalError struct {
	queue string
	err   error
}

func (e *fatalError) Error() string { return fmt.Sprintf("worker of queue %s: %v", e.queue, e.err) }
func (e *fatalError) Unwrap() error { return e.err }
