package worker

import (
	"context"
	"fmt"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"

	"distilvit/pipeline"
)

// searchAttributes adds those that every run sets: without them its first task
// fails over and over. A server where we may not (Temporal Cloud) needs them
// added by hand.
func searchAttributes(ctx context.Context, o Options) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	server := o.Client.OperatorService()
	list, err := server.ListSearchAttributes(ctx, &operatorservice.ListSearchAttributesRequest{Namespace: o.Namespace})
	if err != nil {
		return fmt.Errorf("read the search attributes of namespace %s: %w", o.Namespace, err)
	}
	missing := map[string]enums.IndexedValueType{}
	for _, name := range []string{pipeline.SearchModel, pipeline.SearchStage} {
		switch found, ok := list.GetCustomAttributes()[name]; {
		case !ok:
			missing[name] = enums.INDEXED_VALUE_TYPE_KEYWORD
		case found != enums.INDEXED_VALUE_TYPE_KEYWORD:
			return fmt.Errorf("search attribute %s of namespace %s is of type %s, not Keyword", name, o.Namespace, found)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	_, err = server.AddSearchAttributes(ctx, &operatorservice.AddSearchAttributesRequest{Namespace: o.Namespace, SearchAttributes: missing})
	if err != nil {
		return fmt.Errorf("add the search attributes %s and %s (Keyword) to namespace %s by hand, this worker may not: %w",
			pipeline.SearchModel, pipeline.SearchStage, o.Namespace, err)
	}
	return nil
}
