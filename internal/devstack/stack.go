// Package devstack runs what a pipeline needs on one machine: Temporal's server
// and web UI in this process on a SQLite file, and an S3 server in a child
// process, all on 127.0.0.1 with their state in one directory. It is for one
// person's machine; a team runs its own Temporal and S3. Only the program
// imports it: it links the whole server. Start reading at Start.
package devstack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"distilvit/internal/devstack/s3d"
)

// Usual ports; where one is taken the next free one is used.
const (
	DefaultTemporalPort = 7233 // gRPC
	DefaultUIPort       = 8233 // Temporal's web UI
	DefaultS3Port       = 9000 // of the object store
)

// startLimit bounds a start; it takes about a second on an idle machine.
const startLimit = 2 * time.Minute

// Options of Start.
type Options struct {
	Dir          string    // state directory; created when absent, locked while the stack runs
	TemporalPort int       // this port and no other; 0: DefaultTemporalPort or the next free one
	UIPort       int       // the same, DefaultUIPort
	S3Port       int       // the same, DefaultS3Port
	Marker       string    // BUCKET/KEY of an object that is in the store once Settle was called; may be empty
	SelfExe      string    // program whose `s3d` command calls ServeS3; default: this one
	Log          io.Writer // a line for each event worth telling, from a goroutine of the stack; may be nil
}

// Addresses says where a stack listens and how to get in.
type Addresses struct {
	Temporal  string `json:"temporal"` // host:port
	UI        string `json:"ui"`       // URL
	S3        string `json:"s3"`       // host:port
	AccessKey string `json:"access_key"`
	SecretKey string `json:"secret_key"`
	Namespace string `json:"namespace"`
	ClusterID string `json:"cluster_id"` // what the Temporal server calls itself: a port alone may be another stack's
	PID       int    `json:"pid"`        // of the process that hosts the stack
}

// Stack is a running stack.
type Stack struct {
	dir       string
	lock      *os.File
	ports     ports
	logs      []io.Closer
	addresses Addresses
	temporal  *temporalServer
	s3        *s3Server
	log       io.Writer
	closeOnce sync.Once
	closeErr  error
}

// Start runs the stack of a directory, going on where the last one stopped or
// was killed, and returns when everything answers. ctx bounds the start only;
// the stack runs until Close.
func Start(ctx context.Context, o Options) (*Stack, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit, fmt.Errorf("not up after %v", startLimit))
	defer cancel()
	s, err := start(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("embedded stack: %w", err)
	}
	return s, nil
}

func start(ctx context.Context, o Options) (_ *Stack, err error) {
	dir, err := filepath.Abs(o.Dir) // the S3 child works in another directory
	if err != nil {
		return nil, err
	}
	if o.SelfExe == "" {
		if o.SelfExe, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	s := &Stack{dir: dir, log: o.Log}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.lock, err = lockDir(dir); err != nil {
		return nil, err
	}
	if err := removeStale(dir); err != nil {
		return nil, err
	}
	kept, err := loadState(dir)
	if err != nil {
		return nil, err
	}
	if err := kept.check(ctx, dir, o.Marker); err != nil {
		return nil, err
	}
	if err := tighten(dir); err != nil {
		return nil, err
	}
	if err := s.run(ctx, o, kept, filepath.Join(dir, databaseName)); err != nil {
		return nil, err
	}
	return s, writePrivate(filepath.Join(dir, stackName), s.addresses)
}

// run starts the servers.
func (s *Stack) run(ctx context.Context, o Options, kept state, database string) error {
	free := &s.ports
	frontend, err := free.take(o.TemporalPort, DefaultTemporalPort, "Temporal server", "--temporal-port")
	if err != nil {
		return err
	}
	web, err := free.take(o.UIPort, DefaultUIPort, "web UI", "--ui-port")
	if err != nil {
		return err
	}
	s3, err := free.take(o.S3Port, DefaultS3Port, "S3 server", "--s3-port")
	if err != nil {
		return err
	}
	var internal [3]string
	for i := range internal {
		if internal[i], err = free.any(); err != nil {
			return err
		}
	}
	temporalLog, err := s.openLog("temporal.log")
	if err != nil {
		return err
	}
	s3Log, err := s.openLog("s3.log")
	if err != nil {
		return err
	}
	free.release()

	s.s3, err = startS3(ctx, o.SelfExe, s3d.Config{
		Dir:       filepath.Join(s.dir, s3Name),
		Address:   s3,
		AccessKey: kept.AccessKey,
		SecretKey: kept.SecretKey,
	}, s3Log, s.say)
	if err != nil {
		return fmt.Errorf("%w; see %s", err, s3Log.Name())
	}
	s.temporal, err = temporalConfig{
		database:  database,
		clusterID: kept.ClusterID,
		frontend:  frontend,
		ui:        web,
		internal:  internal,
		log:       temporalLog,
	}.start(ctx)
	if err != nil {
		return fmt.Errorf("%w; see %s", err, temporalLog.Name())
	}
	s.addresses = Addresses{
		Temporal:  frontend,
		UI:        "http://" + web,
		S3:        s3,
		AccessKey: kept.AccessKey,
		SecretKey: kept.SecretKey,
		Namespace: namespace,
		ClusterID: kept.ClusterID,
		PID:       os.Getpid(),
	}
	return nil
}

// Settle notes that database and store are both there, the store with Options.Marker: from now on a start
// without one of them fails with ErrLost.
func (s *Stack) Settle() error {
	kept, err := loadState(s.dir)
	if err != nil || kept.Settled {
		return err
	}
	kept.Settled, kept.Anew = true, false
	return writePrivate(filepath.Join(s.dir, stateName), kept)
}

// Addresses of the running stack.
func (s *Stack) Addresses() Addresses { return s.addresses }

// Failed gives one error when a part of the stack is lost for good; nothing is
// left to do then but to Close.
func (s *Stack) Failed() <-chan error { return s.s3.failed }

// Close stops the servers and frees the directory. Workers must have stopped
// before. The first call does it; all return its error.
func (s *Stack) Close() error {
	s.closeOnce.Do(func() { s.closeErr = s.close() })
	return s.closeErr
}

func (s *Stack) close() error {
	var errs []error
	if s.addresses != (Addresses{}) {
		errs = append(errs, removeStale(s.dir))
	}
	if s.temporal != nil {
		errs = append(errs, s.temporal.stop())
	}
	if s.s3 != nil {
		errs = append(errs, s.s3.close())
	}
	for _, log := range s.logs {
		errs = append(errs, log.Close())
	}
	errs = append(errs, s.ports.Close())
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}

// removeStale removes the addresses of a stack that does not listen any more.
func removeStale(dir string) error {
	err := os.Remove(filepath.Join(dir, stackName))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

func (s *Stack) say(format string, a ...any) {
	if s.log != nil {
		fmt.Fprintf(s.log, format+"\n", a...)
	}
}

// maxLogBytes is the size at which a start begins a new log; one old one is kept.
const maxLogBytes = 16 << 20

func (s *Stack) openLog(name string) (*os.File, error) {
	folder := filepath.Join(s.dir, logsName)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(folder, name)
	if info, err := os.Stat(path); err == nil && info.Size() > maxLogBytes {
		if err := os.Rename(path, path+".old"); err != nil {
			return nil, err
		}
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err == nil {
		s.logs = append(s.logs, f)
	}
	return f, err
}
