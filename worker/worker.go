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
	"go.temporal.io/sdk/interceptor"
	sdk "go.temporal.io/sdk/worker"

	"distilvit/activities"
	"distilvit/internal/backend"
	"distilvit/internal/telemetry"
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
	Slots      [][]int  // devices of each run that trains here at once; default device 0 for one run
	NeedDevice bool     // Run ends with an error when no device of the device queue is in service any more
	CacheBytes int64    // size of the shard cache; default 50 GB
	Activities int      // activities of TaskQueue at once; default the number of processors, at least 2

	Exe     string   // program whose `trainer` command is the trainer; default this one
	Args    []string // its arguments; default trainer
	Environ []string // its environment; default this process's

	Backend     backend.Options // where backends are; Kind is each run's own
	ONNXRuntime string          // path of libonnxruntime.so; empty: the installed one
	Hub         hub.Options     // where models named hf:ORG/NAME come from

	Log          *slog.Logger         // default slog.Default()
	Telemetry    *telemetry.Telemetry // nil: none
	Interceptors []interceptor.WorkerInterceptor

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
	if len(o.Slots) == 0 {
		o.Slots = [][]int{{0}}
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
	acts := activities.Activities{
		Store: o.Store, Cache: storage.NewCache(filepath.Join(o.Dir, "cache"), o.CacheBytes), Dir: o.Dir, Pool: newPool(o, trainer.Options{}),
		Backend: o.Backend, ONNXRuntime: o.ONNXRuntime, Hub: o.Hub, Telemetry: o.Telemetry,
		Open: func(ctx context.Context, run string) (bool, error) { return Open(ctx, o.Client, run) },
	}
	defer acts.Pool.Close()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var parts sync.WaitGroup
	defer parts.Wait()
	if slices.Contains(o.Queues, pipeline.TaskQueue) {
		scheduleJanitor(ctx, o)
		parts.Go(func() {
			if err := serve(ctx, newWorker(o, pipeline.TaskQueue, &acts, fail)); err != nil {
				fail(&fatalError{pipeline.TaskQueue, err})
			}
		})
	}
	if slices.Contains(o.Queues, pipeline.DeviceQueue) {
		parts.Go(func() { serveDevices(ctx, o, acts, fail) })
	}
	<-ctx.Done()
	parts.Wait()
	var fatal *fatalError
	if errors.As(context.Cause(ctx), &fatal) {
		return fatal
	}
	return nil
}

// serve runs a worker until the context ends, and then lets its activities end.
func serve(ctx context.Context, w sdk.Worker) error {
	if err := w.Start(); err != nil {
		return err
	}
	<-ctx.Done()
	w.Stop()
	return nil
}

// newPool makes the pool of some devices; without any, for trainers that take none.
func newPool(o Options, p trainer.Options) *trainer.Pool {
	p.Exe, p.Args, p.Environ, p.LogDir, p.Limits = o.Exe, o.Args, o.Environ, filepath.Join(o.Dir, "logs"), o.Limits
	return trainer.NewPool(p)
}

// newWorker is a worker of one queue. One of the device queue gives out a single
// session, to the run that trains on its devices; the other runs the workflows too.
func newWorker(o Options, queue string, acts *activities.Activities, fail context.CancelCauseFunc) sdk.Worker {
	options := sdk.Options{
		WorkerStopTimeout: o.StopTimeout,
		OnFatalError:      func(err error) { fail(&fatalError{queue, err}) },
		Interceptors:      append([]interceptor.WorkerInterceptor{&counted{to: o.Telemetry}}, o.Interceptors...),
		// Heartbeats carry progress: pass on each of them.
		MaxHeartbeatThrottleInterval:     2 * time.Second,
		DefaultHeartbeatThrottleInterval: 2 * time.Second,
	}
	if queue == pipeline.DeviceQueue {
		options.DisableWorkflowWorker = true
		options.EnableSessionWorker = true
		options.MaxConcurrentSessionExecutionSize = 1
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
