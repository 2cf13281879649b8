// Package tracing tells an OpenTelemetry collector what a run did and when: a span for the run's workflow, for each
// attempt at an activity, for each command to a trainer and for its phases. All of it is set by the variables of
// OpenTelemetry's own specification, OTEL_*; without an endpoint among them nothing is traced.
package tracing

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.temporal.io/sdk/contrib/opentelemetry"
	"go.temporal.io/sdk/interceptor"

	"distilvit/internal/version"
)

// flushLimit bounds how long a process's end waits for a collector that does not answer.
const flushLimit = 5 * time.Second

// Tracing sends spans to a collector. A nil *Tracing sends none.
type Tracing struct {
	provider *sdktrace.TracerProvider
	log      *slog.Logger
}

// Start reads the variables: OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT name the collector, and
// OTEL_EXPORTER_OTLP_PROTOCOL how it is spoken to, http/protobuf or grpc; the others (headers, certificates, sampling,
// resource attributes, batches) are read by OpenTelemetry's libraries. It returns nil where there is no endpoint, or
// OTEL_SDK_DISABLED is true. A collector that does not answer is not waited for: its spans are lost.
// What goes wrong later is logged.
func Start(ctx context.Context, env func(string) string, log *slog.Logger) (*Tracing, error) {
	if env("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" ||
		env("OTEL_SDK_DISABLED") == "true" || env("OTEL_TRACES_EXPORTER") == "none" {
		return nil, nil
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("traces", "error", err) }))
	exporter, err := newExporter(ctx, env)
	if err != nil {
		return nil, err
	}
	about, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "distilvit"),
			attribute.String("service.version", version.Program())),
		resource.WithHost(), resource.WithProcessPID(), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(about))
	return &Tracing{provider, log}, nil
}

func newExporter(ctx context.Context, env func(string) string) (*otlptrace.Exporter, error) {
	variable := "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
	if env(variable) == "" {
		variable = "OTEL_EXPORTER_OTLP_PROTOCOL"
	}
	switch protocol := env(variable); protocol {
	case "", "http/protobuf":
		return otlptracehttp.New(ctx)
	case "grpc":
		return otlptracegrpc.New(ctx)
	default:
		return nil, fmt.Errorf("%s=%s: use http/protobuf or grpc", variable, protocol)
	}
}

// Interceptors make a Temporal client, and the workers of it, trace what they do. Questions to a workflow are not
// traced: who follows a run asks twice a second.
func (t *Tracing) Interceptors() ([]interceptor.ClientInterceptor, error) {
	if t == nil {
		return nil, nil
	}
	traced, err := opentelemetry.NewTracingInterceptor(opentelemetry.TracerOptions{
		Tracer: t.provider.Tracer("distilvit"), DisableQueryTracing: true, AllowInvalidParentSpans: true,
	})
	if err != nil {
		return nil, err
	}
	return []interceptor.ClientInterceptor{traced}, nil
}

// Close sends what has not been sent yet; what a collector does not take within some seconds is lost, and logged.
func (t *Tracing) Close() {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), flushLimit)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		t.log.Warn("the last spans did not reach the collector", "error", err)
	}
}
