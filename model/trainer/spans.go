package trainer

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// spans show a command, and in it the phases of the child, to whoever traces the command's context: below the span
// that the context has, by the same provider. Without one they are nothing.
type spans struct {
	ctx            context.Context
	tracer         trace.Tracer
	command, phase trace.Span
	name           string // the phase's
}

func newSpans(ctx context.Context, c Command, pid int) *spans {
	s := &spans{tracer: trace.SpanFromContext(ctx).TracerProvider().Tracer("distilvit/model/trainer")}
	s.ctx, s.command = s.tracer.Start(ctx, "trainer:"+c.Do, trace.WithAttributes(attribute.Int("trainer.pid", pid)))
	return s
}

// note begins a span where the child enters a phase, as w.phase says after e.
func (s *spans) note(phase string, e Event) {
	if phase != s.name {
		s.endPhase()
		s.name = phase
		_, s.phase = s.tracer.Start(s.ctx, "phase:"+phase)
	}
	if e.Step != nil {
		s.phase.SetAttributes(attribute.Int("train.epoch", e.Step.Epoch), attribute.Int64("train.step", e.Step.Step),
			attribute.Float64("train.mean_loss", e.Step.MeanLoss), attribute.Float64("train.pictures_per_second", e.Step.Rate))
	}
}

func (s *spans) endPhase() {
	if s.phase != nil {
		s.phase.End()
	}
}

// end closes what is open, with how the command ended.
func (s *spans) end(err error) {
	s.endPhase()
	if err != nil {
		s.command.SetStatus(codes.Error, err.Error())
	}
	s.command.End()
}
