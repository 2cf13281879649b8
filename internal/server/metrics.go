package server

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics is what a server shows Prometheus.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec // code
	answers  prometheus.Histogram
	work     prometheus.Histogram

	concurrency int
	mu          sync.Mutex
	mean        time.Duration // of a picture's turn, running
}

func newMetrics(s *Server) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(), concurrency: s.options.Concurrency,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "distilvit", Name: "caption_requests_total",
			Help: "Requests for captions, by status; 499: the client had gone away.",
		}, []string{"code"}),
		answers: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "distilvit", Name: "caption_request_seconds",
			Help:    "From a request's head to its caption.",
			Buckets: prometheus.ExponentialBuckets(0.005, 2, 15), // to 82 seconds
		}),
		work: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "distilvit", Name: "caption_work_seconds",
			Help:    "Decoding a picture and captioning it.",
			Buckets: prometheus.ExponentialBuckets(0.005, 2, 15),
		}),
	}
	gauge := func(name, help string, value func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "distilvit", Name: name, Help: help},
			func() float64 { return float64(value()) })
	}
	m.registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		m.requests, m.answers, m.work,
		gauge("caption_open_requests", "Requests for captions that send, wait or are worked on.",
			func() int { return len(s.places) }),
		gauge("caption_working_requests", "Requests for captions that are worked on.",
			func() int { return len(s.turns) }),
	)
	return m
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// answered notes a request.
func (m *metrics) answered(status int, took time.Duration) {
	m.requests.WithLabelValues(strconv.Itoa(status)).Inc()
	if status == http.StatusOK {
		m.answers.Observe(took.Seconds())
	}
}

// worked notes a turn that began then.
func (m *metrics) worked(begun time.Time) {
	took := time.Since(begun)
	m.work.Observe(took.Seconds())
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mean += (took - m.mean) / 8
}

// wait is how long so many requests will take, a second at least and a minute at most.
func (m *metrics) wait(requests int) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return min(max(m.mean*time.Duration(requests)/time.Duration(max(1, m.concurrency)), time.Second), time.Minute)
}
