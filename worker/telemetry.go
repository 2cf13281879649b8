package worker

import (
	"context"
	"errors"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"

	"distilvit/internal/telemetry"
)

// counted tells the telemetry how every attempt at an activity ends.
type counted struct {
	interceptor.WorkerInterceptorBase
	to *telemetry.Telemetry
}

// InterceptActivity implements interceptor.WorkerInterceptor.
func (c *counted) InterceptActivity(
	_ context.Context, next interceptor.ActivityInboundInterceptor,
) interceptor.ActivityInboundInterceptor {
	i := &countedActivity{to: c.to}
	i.Next = next
	return i
}

type countedActivity struct {
	interceptor.ActivityInboundInterceptorBase
	to *telemetry.Telemetry
}

// ExecuteActivity implements interceptor.ActivityInboundInterceptor.
func (c *countedActivity) ExecuteActivity(
	ctx context.Context, in *interceptor.ExecuteActivityInput,
) (any, error) {
	begun := time.Now()
	out, err := c.Next.ExecuteActivity(ctx, in)
	c.to.Ended(activity.GetInfo(ctx).ActivityType.Name, failureType(err), time.Since(begun))
	return out, err
}

// failureType is the type of an activity's error, empty without one.
func failureType(err error) string {
	var application *temporal.ApplicationError
	switch {
	case err == nil:
		return ""
	case temporal.IsCanceledError(err):
		return "Canceled"
	case errors.As(err, &application) && application.Type() != "":
		return application.Type()
	}
	return "Other"
}
