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

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/interceptor"
	sdk "go.temporal.io/sdk/worker"

	"distilvit/activities"
	"distilvit/hub"
	"distilvit/internal/backend"
	"distilvit/internal/retry"
	"distilvit/internal/telemetry"
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
	Alone      bool     // the stack is this process's own: others serve the queues only if they are seen there
	NeedDevice bool     // Run ends with an error when no device of the device queue is in service any more
	CacheBytes int64    // size of the shard cache; default 50 GB
	Activities int      // activities of TaskQueue at once; default the number of processors, at least 2

	Exe     string   // program whose `trainer` command is the trainer; default this one
	Args    []string // its arguments; default trainer
	Environ []string // its environment; default this process's

	Backend     backend.Options       // where backends are; Kind is each run's own
	ONNXRuntime string                // path of libonnxruntime.so; empty: the installed one
	Chromium    string                // program that exports are checked in; empty: that in PATH
	Hub         hub.Options           // where models named hf:ORG/NAME come from
	Secrets     pipeline.SecretLookup // variables that URLs refer to
	Curves      string                // directory of TensorBoard's live files; empty: none are kept

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
	if err := private(o.Dir); err != nil {
		return fmt.Errorf("worker: %w", err)
	}
	if err := awaitSearchAttributes(ctx, o, retry.Pause); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("worker: %w", err)
	}
	acts := activities.Activities{
		Store: o.Store, Cache: storage.NewCache(filepath.Join(o.Dir, "cache"), o.CacheBytes), Dir: o.Dir,
		Pool:    newPool(o, trainer.Options{}),
		Backend: o.Backend, ONNXRuntime: o.ONNXRuntime, Chromium: o.Chromium, Hub: o.Hub, Telemetry: o.Telemetry,
		Secrets: o.Secrets, Curves: o.Curves,
		Open:   func(ctx context.Context, run string) (bool, error) { return Open(ctx, o.Client, run) },
		Others: o.others,
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

// private makes a directory that only its owner reads: pictures and captions pass through it.
func private(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		err = os.Chmod(dir, 0o700)
	}
	return err
}

// others tells whether other workers may serve a queue. Where the servers are shared they may come
// at any time; a process's own stack has others only where they ask for work now.
func (o Options) others(ctx context.Context, queue string) (bool, error) {
	if !o.Alone {
		return true, nil
	}
	d, err := o.Client.DescribeTaskQueue(ctx, queue, enums.TASK_QUEUE_TYPE_ACTIVITY)
	if err != nil {
		return false, fmt.Errorf("workers of queue %s: %w", queue, err)
	}
	seen := map[string]bool{}
	for _, p := range d.GetPollers() {
		seen[p.GetIdentity()] = true
	}
	return len(seen) > 1, nil
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
	p.Exe, p.Args, p.Environ, p.LogDir, p.Limits = o.Exe, o.Args, o.Environ, filepath.Join(o.Dir,
		"logs"), o.Limits
	return trainer.NewPool(p)
}

// newWorker is a worker of one queue. One of the device queue gives out a single
// session, to the run that trains on its devices; the other runs the workflows too.
func newWorker(
	o Options, queue string, acts *activities.Activities, fail context.CancelCauseFunc,
) sdk.Worker {
	options := sdk.Options{
		WorkerStopTimeout: o.StopTimeout,
		OnFatalError:      func(err error) { fail(&fatalError{queue, err}) },
		Interceptors: append([]interceptor.WorkerInterceptor{&counted{to: o.Telemetry}},
			o.Interceptors...),
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
