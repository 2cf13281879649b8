package worker

import (
	"context"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"distilvit/pipeline"
)

// server answers what a worker asks before it begins.
type server struct {
	client.Client
	operatorservice.OperatorServiceClient
	has    map[string]enums.IndexedValueType
	refuse bool
	absent int // answers until the namespace is known
	added  []string
}

func (s *server) OperatorService() operatorservice.OperatorServiceClient { return s }

func (s *server) ListSearchAttributes(
	context.Context, *operatorservice.ListSearchAttributesRequest, ...grpc.CallOption,
) (*operatorservice.ListSearchAttributesResponse, error) {
	if s.absent > 0 {
		s.absent--
		return nil, serviceerror.NewNamespaceNotFound("n")
	}
	return &operatorservice.ListSearchAttributesResponse{CustomAttributes: s.has}, nil
}

func (s *server) AddSearchAttributes(
	_ context.Context, r *operatorservice.AddSearchAttributesRequest, _ ...grpc.CallOption,
) (*operatorservice.AddSearchAttributesResponse, error) {
	if s.refuse {
		return nil, status.Error(codes.PermissionDenied, "not allowed")
	}
	s.added = slices.Sorted(maps.Keys(r.SearchAttributes))
	return &operatorservice.AddSearchAttributesResponse{}, nil
}

func TestMissingSearchAttributesAreAddedOrNamed(t *testing.T) {
	keyword := enums.INDEXED_VALUE_TYPE_KEYWORD
	for _, c := range []struct {
		name   string
		server server
		added  []string
		says   string
	}{
		{"none", server{}, []string{pipeline.SearchModel, pipeline.SearchStage}, ""},
		{"one", server{
			has: map[string]enums.IndexedValueType{pipeline.SearchModel: keyword},
		}, []string{pipeline.SearchStage}, ""},
		{"both", server{has: map[string]enums.IndexedValueType{
			pipeline.SearchModel: keyword, pipeline.SearchStage: keyword,
		}}, nil, ""},
		{
			"not allowed", server{refuse: true}, nil,
			"add the search attributes DistilvitModel and DistilvitStage (Keyword) to namespace n by hand",
		},
		{"other type", server{
			has: map[string]enums.IndexedValueType{pipeline.SearchModel: enums.INDEXED_VALUE_TYPE_INT},
		}, nil, "DistilvitModel of namespace n is of type Int"},
	} {
		err := searchAttributes(t.Context(), Options{Client: &c.server, Namespace: "n"})
		if c.says == "" && err != nil ||
			c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.says)
		}
		if !slices.Equal(c.server.added, c.added) {
			t.Errorf("%s: added %v, want %v", c.name, c.server.added, c.added)
		}
	}
}

func TestANamespaceThatIsNotKnownYetIsWaitedFor(t *testing.T) {
	var log strings.Builder
	s := &server{absent: 7}
	var pauses []time.Duration
	err := awaitSearchAttributes(
		t.Context(), Options{Client: s, Namespace: "n", Log: slog.New(slog.NewTextHandler(&log, nil))},
		func(_ context.Context, d time.Duration) error { pauses = append(pauses, d); return nil },
	)
	if err != nil || len(s.added) != 2 {
		t.Fatalf("%v, added %v", err, s.added)
	}
	want := []time.Duration{1, 2, 4, 8, 16, 30, 30}
	for i := range want {
		want[i] *= time.Second
	}
	if !slices.Equal(pauses, want) || strings.Count(log.String(), "waiting for Temporal's namespace") != 7 {
		t.Errorf("pauses %v, log %s", pauses, log.String())
	}
}

func TestOptionsAreCompleted(t *testing.T) {
	o, err := Options{Dir: "somewhere"}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(o.Queues, []string{"distilvit", "distilvit-gpu"}) || len(o.Slots) != 1 ||
		!slices.Equal(o.Slots[0], []int{0}) || o.Activities < 2 || !filepath.IsAbs(o.Dir) || o.Exe == "" ||
		o.StopTimeout == 0 {
		t.Errorf("%+v", o)
	}
	if _, err := (Options{Queues: []string{"distilvit-cpu"}}).withDefaults(); err == nil ||
		!strings.Contains(err.Error(), `queue "distilvit-cpu": must be`) {
		t.Errorf("unknown queue: %v", err)
	}
}
