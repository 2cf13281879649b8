package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	sdklog "go.temporal.io/sdk/log"

	"distilvit/hub"
	"distilvit/internal/devstack"
	"distilvit/internal/encryption"
	"distilvit/internal/retry"
	"distilvit/internal/telemetry"
	"distilvit/internal/tracing"
	"distilvit/storage"
	"distilvit/storage/layout"
	"distilvit/worker"
)

// bucket is the default name of the one bucket everything is stored in.
const bucket = "distilvit"

// site is where runs live: a Temporal service and an object store, in this
// process, in another process of this machine, or elsewhere.
type site struct {
	client    client.Client
	store     *storage.Store
	ui        string // the web UI's address; empty: not known
	temporal  string // the Temporal service's address
	namespace string
	hosted    *devstack.Stack // the embedded stack this process hosts, if it does
	external  bool            // TEMPORAL_ADDRESS and S3_ENDPOINT name it
	data      string          // the data directory
	host      int             // the process that hosts an embedded stack
	guest     *flock.Flock    // held while we use a stack another process hosts
	keys      encryption.Keys // of what passes through Temporal
	hub       hub.Options     // where workers fetch models that are named hf:ORG/NAME
	telemetry *telemetry.Telemetry
	tracing   *tracing.Tracing
	log       *slog.Logger
	logFile   io.Closer
}

// external says whether the environment names a Temporal server and an object
// store, and refuses half of it.
func (a *app) external() (bool, error) {
	temporal, s3 := a.env("TEMPORAL_ADDRESS"), a.env("S3_ENDPOINT")
	switch {
	case temporal != "" && s3 == "":
		return false, usagef(
			"TEMPORAL_ADDRESS is set but S3_ENDPOINT is not: set both for a stack elsewhere, neither for the embedded one",
		)
	case temporal == "" && s3 != "":
		return false, usagef(
			"S3_ENDPOINT is set but TEMPORAL_ADDRESS is not: set both for a stack elsewhere, neither for the embedded one",
		)
	}
	return temporal != "", nil
}

// openSite finds the stack: the one the environment names, else the one that is
// up for the data directory, else one started in this process.
func (a *app) openSite(ctx context.Context, options devstack.Options) (*site, error) {
	if err := enoughFiles(); err != nil {
		return nil, err
	}
	external, err := a.external()
	if err != nil {
		return nil, err
	}
	data, err := a.dataDir()
	if err != nil {
		return nil, err
	}
	keys, err := payloadKeys(a.env)
	if err != nil {
		return nil, err
	}
	s := &site{external: external, data: data, keys: keys, hub: hubOptions(a.env), telemetry: telemetry.New()}
	if s.log, s.logFile, err = a.logger(data, external); err != nil {
		return nil, err
	}
	if s.tracing, err = tracing.Start(ctx, a.env, s.log); err != nil {
		return nil, errors.Join(&usageError{err: err}, s.close())
	}
	if external {
		err = s.openExternal(ctx, a.env)
	} else {
		err = s.openEmbedded(ctx, options)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// leastFiles is how many files a process that hosts a stack and trains may need to open, with room to spare; idle
// it has 50 open.
const leastFiles = 512

// enoughFiles refuses what would end in the middle of something else.
func enoughFiles() error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur >= leastFiles {
		return err
	}
	return fmt.Errorf("this process may open %d files at once and needs up to %d: raise the limit, as with ulimit -n %d",
		limit.Cur, leastFiles, leastFiles)
}

// errNoStack is the answer of a data directory in which nothing has run yet.
var errNoStack = errors.New("no runs")

// openExisting is openSite for who only asks: nothing is made where there is nothing.
func (a *app) openExisting(ctx context.Context) (*site, error) {
	if err := a.checkExists(); err != nil {
		return nil, err
	}
	return a.openSite(ctx, devstack.Options{})
}

// checkExists refuses a data directory in which nothing has run yet with errNoStack.
func (a *app) checkExists() error {
	external, err := a.external()
	if err != nil || external {
		return err
	}
	data, err := a.dataDir()
	if err != nil {
		return err
	}
	if !devstack.Exists(data) {
		return fmt.Errorf("%w in %s: --data or DISTILVIT_DATA names another directory", errNoStack, data)
	}
	return nil
}

// place says where runs are looked for.
func (s *site) place() string {
	if s.external {
		return "on " + s.temporal
	}
	return "in " + s.data
}

func (s *site) openExternal(ctx context.Context, env func(string) string) error {
	config, err := s3Config(env)
	if err != nil {
		return err
	}
	options, err := envconfig.LoadClientOptions(envconfig.LoadClientOptionsRequest{EnvLookup: temporalEnv{env}})
	if err != nil {
		return usagef("TEMPORAL_* variables: %v", err)
	}
	s.temporal = options.HostPort
	config.Transport = s.telemetry.Transport
	if s.store, err = storage.Open(ctx, config); err != nil {
		return err
	}
	return s.dial(ctx, options)
}

// s3Config reads the variables S3_*.
func s3Config(env func(string) string) (storage.Config, error) {
	config := storage.Config{
		Endpoint:  env("S3_ENDPOINT"),
		AccessKey: env("S3_ACCESS_KEY"),
		SecretKey: env("S3_SECRET_KEY"),
		Bucket:    env("S3_BUCKET"),
		Region:    env("S3_REGION"),
	}
	if config.Bucket == "" {
		config.Bucket = bucket
	}
	if secure := env("S3_SECURE"); secure != "" {
		value, err := strconv.ParseBool(secure)
		if err != nil {
			return config, usagef("S3_SECURE=%s: use true or false", secure)
		}
		config.Secure = value
	}
	if (config.AccessKey == "") != (config.SecretKey == "") {
		return config, usagef("of S3_ACCESS_KEY and S3_SECRET_KEY (or their _FILE) one is set: set both, or neither where " +
			"keys come from the environment, ~/.aws or a role, as AWS's own tools find them")
	}
	if config.AccessKey == "" {
		config.Role = s3Role(env)
	}
	var err error
	config.RootCAs, err = readCAs(env("S3_CA_FILE"))
	return config, err
}

// s3Role asks for keys with the endpoints that AWS's own variables name.
func s3Role(env func(string) string) *storage.Role {
	switch {
	case env("AWS_WEB_IDENTITY_TOKEN_FILE") != "":
		return &storage.Role{WebIdentity: true, Endpoint: env("AWS_ENDPOINT_URL_STS")}
	case env("AWS_CONTAINER_CREDENTIALS_FULL_URI") != "", env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") != "":
		return &storage.Role{}
	}
	return &storage.Role{Endpoint: env("AWS_EC2_METADATA_SERVICE_ENDPOINT")}
}

// readCAs are the certificates that the machine trusts and those of a PEM file; nil without one.
func readCAs(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fileError("file at S3_CA_FILE", path, err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("read the certificates that this machine trusts: %w", err)
	}
	if !pool.AppendCertsFromPEM(raw) {
		return nil, usagef("S3_CA_FILE: %s has no certificate in PEM form", path)
	}
	return pool, nil
}

func (s *site) openEmbedded(ctx context.Context, options devstack.Options) error {
	addresses, err := s.findOrStart(ctx, options)
	if err != nil {
		return err
	}
	s.ui, s.temporal, s.host = addresses.UI, addresses.Temporal, addresses.PID
	s.store, err = storage.Open(ctx, storage.Config{
		Endpoint:  addresses.S3,
		AccessKey: addresses.AccessKey,
		SecretKey: addresses.SecretKey,
		Bucket:    bucket,
		Transport: s.telemetry.Transport,
	})
	if err != nil {
		return err
	}
	if err := s.dial(ctx, client.Options{HostPort: addresses.Temporal, Namespace: addresses.Namespace}); err != nil {
		return err
	}
	if err := s.checkIdentity(ctx, addresses); err != nil || s.hosted == nil {
		return err
	}
	return s.settle(ctx)
}

// storeMarker is where the embedded store has its marker, for the stack, which looks for it before a start.
const storeMarker = bucket + "/" + layout.Marker

// settle makes the loss of the database or of the store an error of the next start.
func (s *site) settle(ctx context.Context) error {
	if err := s.store.Publish(ctx, layout.Marker, map[string]any{"program": "distilvit", "version": 1}); err != nil {
		return err
	}
	return s.hosted.Settle()
}

// checkIdentity sees to it that who listens on the stack's port is the stack: its process may
// have ended, and another have taken the port.
func (s *site) checkIdentity(ctx context.Context, addresses *devstack.Addresses) error {
	info, err := s.client.WorkflowService().GetClusterInfo(ctx, &workflowservice.GetClusterInfoRequest{})
	if err != nil {
		return fmt.Errorf("ask %s for its identity: %w", s.temporal, err)
	}
	if got := info.GetClusterId(); addresses.ClusterID != "" && got != addresses.ClusterID {
		return fmt.Errorf("another stack than that of %s answers at %s: try again, or end process %d",
			s.data, s.temporal, addresses.PID)
	}
	return nil
}

// errHostEnded is the end of a stack that another process hosted.
var errHostEnded = errors.New("the process that hosts the stack has ended")

// hostAlive says whether the process whose stack we use hosts it still.
func (s *site) hostAlive() bool {
	addresses, found := devstack.Find(s.data)
	return found && addresses.PID == s.host
}

// awaitHostEnd returns errHostEnded once the process whose stack we use is gone, or nil when
// ctx ends. Of a stack elsewhere nothing is known.
func (s *site) awaitHostEnd(ctx context.Context) error {
	if s.external || s.hosted != nil {
		<-ctx.Done()
		return nil
	}
	for s.hostAlive() {
		if retry.Pause(ctx, guestsInterval) != nil {
			return nil
		}
	}
	return errHostEnded
}

// findOrStart joins the stack that is up for the data directory, or hosts it. A
// stack that another process is just starting or closing is waited for.
func (s *site) findOrStart(ctx context.Context, options devstack.Options) (*devstack.Addresses, error) {
	const tries, pause = 60, 500 * time.Millisecond
	options.Dir, options.Log, options.Marker = s.data, logWriter{s.log}, storeMarker
	var err error
	for range tries {
		if addresses, found := devstack.Find(s.data); found {
			s.guest = flock.New(guestsPath(s.data))
			if err := s.guest.RLock(); err != nil {
				return nil, fmt.Errorf("announce ourselves to the stack's process: %w", err)
			}
			return addresses, nil
		}
		if s.hosted, err = devstack.Start(ctx, options); err == nil {
			addresses := s.hosted.Addresses()
			return &addresses, nil
		}
		s.hosted = nil
		if !errors.Is(err, devstack.ErrBusy) {
			break
		}
		if err := retry.Pause(ctx, pause); err != nil {
			return nil, err
		}
	}
	return nil, startError(s.data, err)
}

// startError spares a person the statement SQLite ran out of space in.
func startError(data string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || strings.Contains(err.Error(), "disk is full") {
		return fmt.Errorf("no space left for %s: free some, or choose another place with --data", data)
	}
	return err
}

// errNoTemporal is a Temporal server that does not answer, or not us.
var errNoTemporal = errors.New("no Temporal server answers")

func (s *site) dial(ctx context.Context, options client.Options) error {
	s.namespace = options.Namespace
	if s.namespace == "" {
		s.namespace = client.DefaultNamespace
	}
	options.Logger = sdklog.NewStructuredLogger(s.log)
	worker.PatientHeartbeats(&options)
	options.DataConverter = encryption.DataConverter()
	encrypted, err := s.keys.DialOptions()
	if err != nil {
		return err
	}
	options.ConnectionOptions.DialOptions = append(options.ConnectionOptions.DialOptions, encrypted...)
	if options.Interceptors, err = s.tracing.Interceptors(); err != nil {
		return err
	}
	if s.client, err = client.DialContext(ctx, options); err != nil {
		return fmt.Errorf("%w at %s: %w", errNoTemporal, s.temporal, err)
	}
	return nil
}

// runUI is the web UI's page of a run.
func (s *site) runUI(run string) string {
	if s.ui == "" {
		return ""
	}
	return s.ui + "/namespaces/" + s.namespace + "/workflows/" + run
}

// guestsPath is the file whose shared locks are held by every process that uses
// a stack it does not host.
func guestsPath(data string) string { return filepath.Join(data, "guests.lock") }

// guestsInterval is how often a host looks whether its guests are gone.
const guestsInterval = 500 * time.Millisecond

// awaitGuests returns when nobody else uses the stack this process hosts, or ctx
// ends. told is called once if there is somebody to wait for.
func (s *site) awaitGuests(ctx context.Context, told func()) error {
	all := flock.New(guestsPath(s.data))
	alone, err := all.TryLock()
	if err == nil && !alone {
		told()
		_, err = all.TryLockContext(ctx, guestsInterval)
	}
	return errors.Join(err, all.Unlock())
}

// close lets go of everything; the stack goes down if this process hosts it.
// Workers must have been stopped before.
func (s *site) close() error {
	var errs []error
	if s.client != nil {
		s.client.Close()
	}
	if s.hosted != nil {
		errs = append(errs, s.hosted.Close())
	}
	if s.guest != nil {
		errs = append(errs, s.guest.Unlock())
	}
	s.tracing.Close()
	if s.logFile != nil {
		errs = append(errs, s.logFile.Close())
	}
	return errors.Join(errs...)
}

// logger writes to stderr with --verbose, else to a file in the data directory;
// beside a stack elsewhere nothing is written into the directory.
func (a *app) logger(data string, external bool) (*slog.Logger, io.Closer, error) {
	if a.verbose {
		return a.logTo(a.stderr, slog.LevelDebug), nil, nil
	}
	if external {
		return a.logTo(a.stderr, slog.LevelError), nil, nil
	}
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, nil, fileError("data directory", data, err)
	}
	path := filepath.Join(data, "distilvit.log")
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, fileError("log file", path, err)
	}
	return a.logTo(file, slog.LevelInfo), file, nil
}

// logTo writes a log in the format that --log-format says.
func (a *app) logTo(w io.Writer, level slog.Level) *slog.Logger {
	return newLog(w, a.logFormat, level)
}

// newLog writes records as text or as JSON.
func newLog(w io.Writer, format string, level slog.Level) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// logWriter turns a part's own lines into records of the log.
type logWriter struct{ log *slog.Logger }

func (w logWriter) Write(p []byte) (int, error) {
	for line := range strings.Lines(string(p)) {
		if line = strings.TrimSpace(line); line != "" {
			w.log.Info(line, "part", "stack")
		}
	}
	return len(p), nil
}
