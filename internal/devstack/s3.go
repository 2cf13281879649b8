package devstack

import (
	"context"
	"fmt"
	"io"
	"time"

	"distilvit/internal/devstack/s3d"
)

// ServeS3 is the body of the hidden s3d command: it takes everything it needs
// from stdin and ends with its parent.
func ServeS3(ctx context.Context, stdin io.Reader) error { return s3d.Serve(ctx, stdin) }

// A child that dies is started again, as its state survives, but not for ever.
const (
	s3Restarts      = 5
	s3RestartWindow = time.Minute
)

// s3Server keeps one S3 child running.
type s3Server struct {
	stop   context.CancelFunc
	done   chan struct{} // closed when no child runs and none will be started
	failed chan error    // one error, when the child cannot be kept running
	err    error         // of the last child's end; valid once done is closed
}

// startS3 runs the child until stop; say tells of restarts.
func startS3(
	ctx context.Context, exe string, c s3d.Config, log io.Writer, say func(string, ...any),
) (*s3Server, error) {
	child, err := s3d.Start(ctx, exe, c, log)
	if err != nil {
		return nil, err
	}
	s := &s3Server{done: make(chan struct{}), failed: make(chan error, 1)}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	go func() {
		defer close(s.done)
		s.err = s.keep(
			running, child, func() (*s3d.Child, error) { return s3d.Start(running, exe, c, log) }, say,
		)
	}()
	return s, nil
}

func (s *s3Server) keep(
	ctx context.Context, child *s3d.Child, start func() (*s3d.Child, error), say func(string, ...any),
) error {
	var deaths []time.Time
	for {
		select {
		case <-ctx.Done():
			return child.Stop()
		case <-child.Done():
		}
		deaths = append(deaths, time.Now())
		if n := len(deaths); n > s3Restarts && deaths[n-1].Sub(deaths[n-1-s3Restarts]) < s3RestartWindow {
			return s.fail(fmt.Errorf("the S3 server died %d times within %v, last with: %v", s3Restarts+1,
				s3RestartWindow, child.Err()))
		}
		say("the S3 server died (%v); it is started again", child.Err())
		next, err := start()
		if ctx.Err() != nil && err != nil {
			return nil
		}
		if err != nil {
			return s.fail(err)
		}
		child = next
	}
}

func (s *s3Server) fail(err error) error {
	s.failed <- err
	return err
}

// close ends the child.
func (s *s3Server) close() error {
	s.stop()
	<-s.done
	return s.err
}
