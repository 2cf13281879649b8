package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"

	"distilvit/internal/retry"
	"distilvit/pipeline"
)

// The pauses between tries to find the namespace.
const (
	firstNamespacePause   = time.Second
	longestNamespacePause = 30 * time.Second
)

// awaitSearchAttributes is searchAttributes once the server answers and knows the namespace: one that was
// just registered is not known at once. Each time in vain is said in the log.
func awaitSearchAttributes(ctx context.Context, o Options, pause retry.Pauser) error {
	for wait := firstNamespacePause; ; wait = min(2*wait, longestNamespacePause) {
		err := searchAttributes(ctx, o)
		if err == nil || !mayAppear(err) {
			return err
		}
		o.Log.Error("waiting for Temporal's namespace", "next try in", wait, "error", err)
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
}

// mayAppear says whether a call failed only since the server, or the namespace, is not there yet.
func mayAppear(err error) bool {
	return errors.As(err, new(*serviceerror.NamespaceNotFound)) || errors.As(err, new(*serviceerror.NotFound)) ||
		errors.As(err, new(*serviceerror.Unavailable)) || errors.As(err, new(*serviceerror.DeadlineExceeded))
}

// searchAttributes adds those that every run sets: without them its first task
// fails over and over. A server where we may not (Temporal Cloud) needs them
// added by hand.
func searchAttributes(ctx context.Context, o Options) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	server := o.Client.OperatorService()
	list, err := server.ListSearchAttributes(
		ctx, &operatorservice.ListSearchAttributesRequest{Namespace: o.Namespace},
	)
	if err != nil {
		return fmt.Errorf("read the search attributes of namespace %s: %w", o.Namespace, err)
	}
	missing := map[string]enums.IndexedValueType{}
	for _, name := range []string{pipeline.SearchModel, pipeline.SearchStage} {
		switch found, ok := list.GetCustomAttributes()[name]; {
		case !ok:
			missing[name] = enums.INDEXED_VALUE_TYPE_KEYWORD
		case found != enums.INDEXED_VALUE_TYPE_KEYWORD:
			return fmt.Errorf("search attribute %s of namespace %s is of type %s, not Keyword", name,
				o.Namespace, found)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	_, err = server.AddSearchAttributes(
		ctx, &operatorservice.AddSearchAttributesRequest{Namespace: o.Namespace, SearchAttributes: missing},
	)
	if err != nil {
		return fmt.Errorf("add the search attributes %s and %s (Keyword) to namespace %s by hand, this "+
			"worker may not: %w",
			pipeline.SearchModel, pipeline.SearchStage, o.Namespace, err)
	}
	return nil
}
