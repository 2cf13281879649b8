package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"distilvit/pipeline"
)

// followed is a workflow that a command waits for.
type followed struct {
	name   string                      // for people: run demo
	id     string                      // the workflow's
	follow func(context.Context) error // shows progress until it ends
	print  func() error                // its result, once it has ended well
}

func (a *app) followedRun(s *site, id string, p *progress) followed {
	var result *pipeline.Result
	return followed{
		name: "run " + id, id: id,
		follow: func(ctx context.Context) (err error) {
			result, err = newFollower(s.client, id, p).follow(ctx)
			return err
		},
		print: func() error { return a.printResult(s, result) },
	}
}

// follow waits for what has been started or is open, with workers of this process or of others.
func (a *app) follow(ctx context.Context, s *site, devices deviceFlags, f followed, p *progress) error {
	if ui := s.runUI(f.id); ui != "" {
		p.line("%s; web UI %s", f.name, ui)
	} else {
		p.line("%s on %s", f.name, s.temporal)
	}
	if s.hosted == nil {
		return a.followElsewhere(ctx, s, f, p)
	}
	return a.followHosted(ctx, s, devices, f, p)
}

// followHosted runs the workers in this process until the workflow ends.
func (a *app) followHosted(ctx context.Context, s *site, devices deviceFlags, f followed, p *progress) error {
	ctx, stop := a.interruptible(ctx, "stopping: the trainer writes a checkpoint first (Ctrl-C again: at once)")
	defer stop()
	o := workerOptions{needDevice: true, trainer: a.trainerArgs()}
	if err := devices.choose(&o); err != nil {
		return err
	}
	workers := startWorkers(s, o)
	err := followWithWorkers(ctx, s, workers, f.follow)
	if !errors.Is(err, errInterrupted) {
		waitErr := s.awaitGuests(ctx, func() {
			p.line("%s has ended; staying up for another command that uses this stack (Ctrl-C leaves)", f.name)
		})
		if waitErr != nil {
			s.log.Warn("wait for other commands", "error", waitErr)
		}
	}
	if stopErr := workers.stop(); stopErr != nil {
		s.log.Error("workers", "error", stopErr)
	}
	if errors.Is(err, errInterrupted) {
		p.line("%s is interrupted, not lost: the same command goes on from its newest checkpoint", f.name)
		return &quietError{err}
	}
	if err != nil {
		return f.failed(err)
	}
	return f.print()
}

// followWithWorkers follows until the workflow ends, the workers do, or the stack under
// them cannot go on.
func followWithWorkers(ctx context.Context, s *site, workers *workers, follow func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var watchers sync.WaitGroup
	defer watchers.Wait()
	defer cancel(nil)
	watchers.Go(func() {
		select {
		case <-workers.done:
			cancel(workers.err)
		case <-ctx.Done():
		}
	})
	watchers.Go(func() {
		if err := s.watch(ctx); err != nil {
			cancel(err)
		}
	})
	return follow(ctx)
}

// followElsewhere only watches: the workers are in another process.
func (a *app) followElsewhere(ctx context.Context, s *site, f followed, p *progress) error {
	ctx, stop := a.interruptible(ctx, "")
	defer stop()
	if s.external {
		missing, err := queuesWithoutWorkers(ctx, s)
		if err != nil {
			return err
		}
		if len(missing) > 0 {
			p.line("note: no worker takes work from %s yet; distilvit worker starts one",
				strings.Join(missing, " and "))
		}
	}
	err := followHostElsewhere(ctx, s, f.follow)
	gone := errors.Is(err, errHostEnded) || !s.external && !s.hostAlive()
	if err != nil && gone {
		return fmt.Errorf("process %d, which hosted the stack, has ended: %s is interrupted, not lost; "+
			"the same command goes on from its newest checkpoint", s.host, f.name)
	}
	if errors.Is(err, errInterrupted) {
		p.line("%s goes on without this command; distilvit stop %s ends it early", f.name, f.id)
		return &quietError{err}
	}
	if err != nil {
		return f.failed(err)
	}
	return f.print()
}

// followHostElsewhere follows until the workflow ends, or the process that hosts its stack does.
func followHostElsewhere(ctx context.Context, s *site, follow func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var watcher sync.WaitGroup
	defer watcher.Wait()
	defer cancel(nil)
	watcher.Go(func() {
		if err := s.awaitHostEnd(ctx); err != nil {
			cancel(err)
		}
	})
	return follow(ctx)
}

func (f followed) failed(err error) error { return fmt.Errorf("%s: %s", f.name, failureText(err)) }
