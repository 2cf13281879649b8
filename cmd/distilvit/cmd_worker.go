package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/interceptor"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"distilvit/internal/devstack"
	"distilvit/internal/retry"
	"distilvit/model/trainer"
	"distilvit/pipeline"
	"distilvit/storage"
	"distilvit/worker"
)

// workerOptions are what a worker's caller may choose.
type workerOptions struct {
	queues     []string
	memory     float64        // share of a CUDA device's; 0: the plugin's own
	slots      [][]int        // devices of each run trained at the same time
	needDevice bool           // end when no device is in service any more
	limits     trainer.Limits // of the trainer's watchdog; zero: the usual ones
	metrics    string         // address to serve metrics on; empty: nowhere
	trainer    []string       // arguments of trainers

	interceptors []interceptor.WorkerInterceptor // of activities
}

func (a *app) workerCommand() *cobra.Command {
	var o workerOptions
	var devices deviceFlags
	cmd := &cobra.Command{
		Use:   "worker",
		Short: "workers against a Temporal and an object store elsewhere",
		Long: `Take up work from a Temporal server and an object store elsewhere, until Ctrl-C:

  TEMPORAL_ADDRESS  host:port; TEMPORAL_NAMESPACE, TEMPORAL_API_KEY, TEMPORAL_TLS*
                    and the other TEMPORAL_* variables of Temporal's own tools too
  S3_ENDPOINT       host:port or URL      S3_BUCKET   default distilvit
  S3_ACCESS_KEY     S3_SECRET_KEY         S3_REGION   S3_SECURE=true for https
                    without keys: those of AWS_* variables, ~/.aws or a role of the
                    machine or pod, as AWS's own tools find them
  S3_CA_FILE        certificates (PEM) that are trusted beside the machine's

Servers that do not answer yet are waited for. S3_ACCESS_KEY, S3_SECRET_KEY,
TEMPORAL_API_KEY, HF_TOKEN, DISTILVIT_PAYLOAD_KEYS and what source URLs refer to may
be files: NAME_FILE holds the path of one. DISTILVIT_PAYLOAD_KEYS, the same for all
workers and commands, encrypts what passes through Temporal: distilvit codec-server --help.

Queue distilvit holds workflows and everything that needs no device, queue
distilvit-gpu holds training and evaluation. Without these variables the worker
joins the stack that is up for the data directory. --devices 0,1,2,3 with
--devices-per-run 2 trains two runs at a time, each on two devices: the same weights
as on one but for rounding, so a run goes on with as many as it began with. Pictures,
shards and checkpoints on their way lie in the data directory. Models named hf:ORG/NAME
are fetched as huggingface_hub does, by HF_ENDPOINT, HF_TOKEN, HF_HOME and HF_HUB_OFFLINE.`,
		Example: `  TEMPORAL_ADDRESS=temporal:7233 S3_ENDPOINT=minio:9000 \
  S3_ACCESS_KEY=... S3_SECRET_KEY=... distilvit worker --devices 0,1
  distilvit worker --queues distilvit`,
		Args: args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := devices.choose(&o); err != nil {
				return err
			}
			return a.worker(cmd.Context(), o)
		},
	}
	cmd.Flags().StringSliceVar(&o.queues, "queues", []string{pipeline.TaskQueue, pipeline.DeviceQueue},
		"task queues to take work from")
	devices.add(cmd, []int{0}, 1)
	metricsFlag(cmd, &o.metrics)
	limitFlags(cmd, &o.limits)
	return cmd
}

// limitFlags let tests wait less for a trainer that hangs.
func limitFlags(cmd *cobra.Command, limits *trainer.Limits) {
	flags := cmd.Flags()
	flags.DurationVar(&limits.Step, "step-limit", 0,
		"silence of a trainer within a training step that counts as a hang (default 1m)")
	flags.DurationVar(&limits.Long, "long-limit", 0,
		"the same while it compiles, loads, saves or captions (default 10m)")
	for _, name := range []string{"step-limit", "long-limit"} {
		cobra.CheckErr(flags.MarkHidden(name))
	}
}

// metricsFlag adds --metrics.
func metricsFlag(cmd *cobra.Command, address *string) {
	cmd.Flags().StringVar(address, "metrics", "",
		"serve Prometheus metrics on this address, such as 127.0.0.1:9464 (default: nowhere)")
}

func (a *app) worker(ctx context.Context, o workerOptions) error {
	for _, queue := range o.queues {
		if queue != pipeline.TaskQueue && queue != pipeline.DeviceQueue {
			return usagef("--queues %s: use %s, %s or both", queue, pipeline.TaskQueue, pipeline.DeviceQueue)
		}
	}
	if err := a.someStack(); err != nil {
		return err
	}
	ctx, stop := a.interruptible(ctx, "stopping: trainers write a checkpoint first (Ctrl-C again: at once)")
	defer stop()
	s, err := a.awaitSite(ctx, retry.Pause)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer s.close()
	o.trainer = a.trainerArgs()
	workers := startWorkers(s, o)
	fmt.Fprintf(a.stderr, "worker of %s on %s, %s; Ctrl-C ends it\n",
		strings.Join(o.queues, " and "), s.temporal, slotsText(o.slots))
	failed := make(chan error, 1)
	go func() { failed <- workers.wait() }()
	select {
	case <-ctx.Done():
		return workers.stop()
	case err := <-failed:
		return err
	}
}

// The pauses between a worker's tries to reach its servers.
const (
	firstSitePause   = time.Second
	longestSitePause = 30 * time.Second
)

// awaitSite is openSite for a worker: servers that do not answer yet are waited for, with a line each
// time, since machines start in any order. A mistake, such as a wrong key, is an error at once.
func (a *app) awaitSite(ctx context.Context, pause retry.Pauser) (*site, error) {
	for wait := firstSitePause; ; wait = min(2*wait, longestSitePause) {
		s, err := a.openSite(ctx, devstack.Options{})
		if err == nil || !mayAppear(err) {
			return s, err
		}
		fmt.Fprintf(a.stderr, "waiting for the stack, next try in %s: %s\n", wait, failureText(err))
		if err := pause(ctx, wait); err != nil {
			return nil, err
		}
	}
}

// mayAppear says whether a server that could not be reached may only be late.
func mayAppear(err error) bool {
	if untrusted(err) {
		return false
	}
	if errors.Is(err, storage.ErrUnavailable) {
		return true
	}
	return errors.Is(err, errNoTemporal) && !refused(err)
}

// refused says whether a Temporal server answered, and will give the same answer again.
func refused(err error) bool {
	return errors.As(err, new(*serviceerror.PermissionDenied)) || errors.As(err, new(*serviceerror.InvalidArgument)) ||
		status.Code(err) == codes.Unauthenticated
}

// untrusted says whether a server has a certificate that is not accepted; gRPC hands on no more than the text.
func untrusted(err error) bool {
	return errors.As(err, new(*tls.CertificateVerificationError)) ||
		strings.Contains(err.Error(), "tls: failed to verify certificate")
}

// someStack refuses to start a stack that nobody else would know of.
func (a *app) someStack() error {
	external, err := a.external()
	if err != nil || external {
		return err
	}
	data, err := a.dataDir()
	if err != nil {
		return err
	}
	if _, up := devstack.Find(data); !up {
		return usagef("no stack to work for: set TEMPORAL_ADDRESS and S3_ENDPOINT, or use distilvit up")
	}
	return nil
}

// workers are this process's workers, running until stopped.
type workers struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error // valid once done is closed
}

// startWorkers takes up work from the site's queues.
func startWorkers(s *site, o workerOptions) *workers {
	ctx, cancel := context.WithCancel(context.Background())
	w := &workers{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		w.err = runWorkers(ctx, s, o)
	}()
	return w
}

func runWorkers(ctx context.Context, s *site, o workerOptions) error {
	backends, err := backendOptions()
	if err != nil {
		return err
	}
	if o.metrics != "" {
		if _, err := s.telemetry.Serve(ctx, o.metrics); err != nil {
			return err
		}
	}
	backends.Memory = o.memory
	return worker.Run(ctx, worker.Options{
		Client:     s.client,
		Namespace:  s.namespace,
		Store:      s.store,
		Dir:        filepath.Join(s.data, workDir),
		Curves:     filepath.Join(s.data, curvesDir),
		Queues:     o.queues,
		Slots:      o.slots,
		Args:       o.trainer,
		Alone:      !s.external,
		NeedDevice: o.needDevice,
		Limits:     o.limits,
		Backend:    backends,
		Chromium:   chromium(),
		Hub:        s.hub,
		Secrets:    lookupSecret,
		Log:        s.log,
		Telemetry:  s.telemetry,

		Interceptors: o.interceptors,
	})
}

// stop asks trainers for a checkpoint and waits for the workers' end.
func (w *workers) stop() error {
	w.cancel()
	return w.wait()
}

// wait returns how the workers ended; nil after stop.
func (w *workers) wait() error {
	<-w.done
	if errors.Is(w.err, context.Canceled) {
		return nil
	}
	return w.err
}
