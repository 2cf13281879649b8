package worker

import (
	"context"
	"time"

	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"google.golang.org/grpc"
)

// heartbeatPatience is how long the server may take to answer a heartbeat. It is below the shortest heartbeat
// timeout of an activity, 10 s, after which the server gives the activity up itself.
const heartbeatPatience = 8 * time.Second

// PatientHeartbeats lets a busy Temporal server answer heartbeats late. The SDK gives it no longer than it waits
// between two heartbeats, 2 s here, and then cancels the activity, which on a machine with more work than
// processors ended activities that were well and told their server so in time.
func PatientHeartbeats(o *client.Options) {
	o.ConnectionOptions.DialOptions = append(o.ConnectionOptions.DialOptions,
		grpc.WithChainUnaryInterceptor(patientHeartbeats))
}

func patientHeartbeats(ctx context.Context, method string, request, reply any, cc *grpc.ClientConn,
	invoke grpc.UnaryInvoker, options ...grpc.CallOption,
) error {
	if method == workflowservice.WorkflowService_RecordActivityTaskHeartbeat_FullMethodName {
		longer, cancel := context.WithTimeout(context.WithoutCancel(ctx), heartbeatPatience)
		defer cancel()
		ctx = longer
	}
	return invoke(ctx, method, request, reply, cc, options...)
}
