package worker

import (
	"context"
	"testing"
	"time"

	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

func TestHeartbeatsOutliveTheSDKsPatience(t *testing.T) {
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "key", "value")
	for method, patient := range map[string]bool{
		workflowservice.WorkflowService_RecordActivityTaskHeartbeat_FullMethodName:  true,
		workflowservice.WorkflowService_RespondActivityTaskCompleted_FullMethodName: false,
	} {
		called := false
		err := patientHeartbeats(ctx, method, nil, nil, nil, func(ctx context.Context, _ string, _, _ any,
			_ *grpc.ClientConn, _ ...grpc.CallOption,
		) error {
			called = true
			if sent, _ := metadata.FromOutgoingContext(ctx); len(sent["key"]) != 1 {
				t.Errorf("%s: metadata %v", method, sent)
			}
			deadline, ok := ctx.Deadline()
			if late := time.Until(deadline); patient && (ctx.Err() != nil || !ok || late > heartbeatPatience) {
				t.Errorf("%s: %v, %v", method, ctx.Err(), late)
			}
			return ctx.Err()
		})
		if !called || patient != (err == nil) {
			t.Errorf("%s: %v, called: %v", method, err, called)
		}
	}
}
