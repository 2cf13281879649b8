// Package telemetry is what a worker shows Prometheus: its devices, the runs
// that train on it, what failed, how long checkpoints take to store and the store to answer. A nil
// *Telemetry takes everything and keeps nothing. It says nothing of the SDK's
// pollers and slots, nor of the server, which has an endpoint of its own.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"distilvit/internal/hostcheck"
)

// Telemetry holds a worker's metrics.
type Telemetry struct {
	registry *prometheus.Registry

	devices                 *prometheus.GaugeVec // device, state
	step, epoch, loss, rate *prometheus.GaugeVec // run
	waited                  *prometheus.GaugeVec // run
	activities              *prometheus.HistogramVec
	failures                *prometheus.CounterVec
	checkpointSeconds       prometheus.Histogram
	checkpointStored        *prometheus.GaugeVec     // run
	storeRequests           *prometheus.HistogramVec // method, code
}

// New makes the metrics of one worker.
func New() *Telemetry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(
			prometheus.GaugeOpts{Namespace: "distilvit", Name: name, Help: help}, labels,
		)
		registry.MustRegister(g)
		return g
	}
	t := &Telemetry{
		registry: registry,
		devices: gauge("device", "1 for the state the device is in: idle, busy or out_of_service.",
			"device", "state"),
		step:  gauge("train_step", "Steps done by a run that trains here.", "run"),
		epoch: gauge("train_epoch", "Epoch under way, from 1.", "run"),
		loss:  gauge("train_loss", "Mean loss of the epoch so far, a label token.", "run"),
		rate:  gauge("train_pictures_per_second", "Pictures trained a second, a running mean.", "run"),
		waited: gauge(
			"train_input_wait_ratio",
			"Share of the epoch's time so far in which the device waited for a batch.", "run",
		),
		activities: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "distilvit", Name: "activity_seconds", Help: "Attempts at activities that succeeded.",
			Buckets: prometheus.ExponentialBuckets(0.1, 4, 10), // to 7 hours
		}, []string{"activity"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "distilvit", Name: "activity_failures_total",
			Help: "Attempts at activities that failed, by type of error.",
		}, []string{"activity", "type"}),
		checkpointSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "distilvit", Name: "checkpoint_upload_seconds", Help: "From a checkpoint on this " +
				"disk to the same in the object store, waiting for it included.",
			Buckets: prometheus.ExponentialBuckets(0.05, 2, 15), // to 14 minutes
		}),
		checkpointStored: gauge(
			"checkpoint_stored_timestamp_seconds", "When the newest checkpoint of a run that trains here was stored.",
			"run",
		),
		storeRequests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "distilvit", Name: "store_request_seconds",
			Help:    "From a request to the object store to its answer's head.",
			Buckets: prometheus.ExponentialBuckets(0.002, 2, 16), // to 65 seconds
		}, []string{"method", "code"}),
	}
	registry.MustRegister(t.activities, t.failures, t.checkpointSeconds, t.storeRequests)
	return t
}

// States of a device.
const (
	Idle         = "idle"           // waits for a run
	Busy         = "busy"           // a run holds it
	OutOfService = "out_of_service" // failed too often, is given to nobody
)

// Devices says what state devices are in now.
func (t *Telemetry) Devices(devices []int, state string) {
	if t == nil {
		return
	}
	for _, d := range devices {
		for _, s := range []string{Idle, Busy, OutOfService} {
			value := 0.0
			if s == state {
				value = 1
			}
			t.devices.WithLabelValues(strconv.Itoa(d), s).Set(value)
		}
	}
}

// Step says where a run's training stands: epoch from 1, loss a label token,
// rate in pictures a second, waited for batches as a share of the epoch's time.
func (t *Telemetry) Step(run string, epoch int, step int64, loss, rate, waited float64) {
	if t == nil {
		return
	}
	t.epoch.WithLabelValues(run).Set(float64(epoch))
	t.step.WithLabelValues(run).Set(float64(step))
	t.loss.WithLabelValues(run).Set(loss)
	t.rate.WithLabelValues(run).Set(rate)
	t.waited.WithLabelValues(run).Set(waited)
}

// Left forgets a run that trains here no more.
func (t *Telemetry) Left(run string) {
	if t == nil {
		return
	}
	for _, g := range []*prometheus.GaugeVec{t.epoch, t.step, t.loss, t.rate, t.waited, t.checkpointStored} {
		g.DeleteLabelValues(run)
	}
}

// Stored notes a run's checkpoint that is stored now and took so long.
func (t *Telemetry) Stored(run string, took time.Duration) {
	if t != nil {
		t.checkpointSeconds.Observe(took.Seconds())
		t.checkpointStored.WithLabelValues(run).SetToCurrentTime()
	}
}

// Transport is next, with the time of each request to the object store noted.
func (t *Telemetry) Transport(next http.RoundTripper) http.RoundTripper {
	if t == nil {
		return next
	}
	return promhttp.InstrumentRoundTripperDuration(t.storeRequests, next)
}

// Ended notes an attempt at an activity; failure is its error's type, empty for
// a success.
func (t *Telemetry) Ended(activity, failure string, took time.Duration) {
	switch {
	case t == nil:
	case failure == "":
		t.activities.WithLabelValues(activity).Observe(took.Seconds())
	default:
		t.failures.WithLabelValues(activity, failure).Inc()
	}
}

// Serve answers GET /metrics on an address until the context ends. It returns
// once it listens; the address it listens on is of use where the port was 0.
func (t *Telemetry) Serve(ctx context.Context, address string) (string, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return "", fmt.Errorf("metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{}))
	var handler http.Handler = mux
	if at, ok := listener.Addr().(*net.TCPAddr); ok && at.IP.IsLoopback() {
		handler = hostcheck.Handler(mux)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { server.Close() })
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			listener.Close()
		}
	}()
	return listener.Addr().String(), nil
}
