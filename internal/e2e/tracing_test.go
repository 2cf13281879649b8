package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"distilvit/internal/testenv"
)

// spanCollector takes spans as OpenTelemetry's collector does, over HTTP.
type spanCollector struct {
	once   sync.Once
	server *httptest.Server

	mu    sync.Mutex
	spans []*trace.Span
}

// traced are the spans of the shared stack.
var traced spanCollector

// environment makes a process send its spans here.
func (c *spanCollector) environment() []string {
	c.once.Do(func() { c.server = httptest.NewServer(c) })
	return []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + c.server.URL, "OTEL_BSP_SCHEDULE_DELAY=200"}
}

// ServeHTTP implements http.Handler.
func (c *spanCollector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(r.Body)
	var request collector.ExportTraceServiceRequest
	if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(raw, &request) != nil {
		http.Error(w, "no spans", http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, resource := range request.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			c.spans = append(c.spans, scope.Spans...)
		}
	}
}

// of are the spans of a run's trace, by id, once its workflow's own has come.
func (c *spanCollector) of(t *testing.T, run string) map[string]*trace.Span {
	t.Helper()
	var found map[string]*trace.Span
	testenv.Await(t, "the trace of run "+run, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		root := slices.IndexFunc(c.spans, func(s *trace.Span) bool {
			return s.Name == "RunWorkflow:Pipeline" && attribute(s, "temporalWorkflowID") == run
		})
		if root < 0 {
			return false
		}
		found = map[string]*trace.Span{}
		for _, s := range c.spans {
			if string(s.TraceId) == string(c.spans[root].TraceId) {
				found[string(s.SpanId)] = s
			}
		}
		return true
	})
	return found
}

func attribute(s *trace.Span, key string) string {
	for _, a := range s.Attributes {
		if a.Key == key {
			return a.Value.GetStringValue()
		}
	}
	return ""
}

// One trace leads from a run's workflow over its activities to what the trainer did.
func TestRunIsTracedFromItsWorkflowToTheTrainer(t *testing.T) {
	publishedModel(t)
	spans := traced.of(t, "tiny")
	ancestors := func(s *trace.Span) (names []string) {
		for ; s != nil; s = spans[string(s.ParentSpanId)] {
			names = append(names, s.Name)
		}
		return names
	}
	ways := map[string]bool{}
	for _, s := range spans {
		ways[strings.Join(ancestors(s), " < ")] = true
	}
	for _, phase := range []string{"compile", "train", "checkpoint"} {
		way := "phase:" + phase + " < trainer:train < RunActivity:TrainEpoch < StartActivity:TrainEpoch < RunWorkflow:Pipeline"
		require.Contains(t, ways, way)
	}
}
