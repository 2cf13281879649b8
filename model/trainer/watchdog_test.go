package trainer

import (
	"testing"
	"time"
)

func TestWatchdogAllowsTwentyMediansOfAStepAndLongPhases(t *testing.T) {
	w := watchdog{limits: Limits{}.withDefaults(), phase: PhaseOpen}
	is := func(want time.Duration) {
		t.Helper()
		if got := w.limit(); got != want {
			t.Fatalf("in phase %s: %v, want %v", w.phase, got, want)
		}
	}
	is(10 * time.Minute)
	w.note(Event{Event: EventPhase, Phase: PhaseTrain})
	is(time.Minute)
	w.note(Event{Event: EventPhase, Phase: PhaseCompile})
	is(10 * time.Minute)
	w.note(Event{Event: EventStep, Step: &StepEvent{Seconds: 25}}) // most of it compiling
	is(75 * time.Second)
	for _, s := range []float64{30, 5, 5, 4, 90} {
		w.note(Event{Event: EventStep, Step: &StepEvent{Seconds: s}})
	}
	is(100 * time.Second)
	w.note(Event{Event: EventPhase, Phase: PhaseCompile})
	is(10 * time.Minute)
	w.note(Event{Event: EventStep, Step: &StepEvent{Seconds: 1}})
	is(100 * time.Second)
	for range 101 {
		w.note(Event{Event: EventStep, Step: &StepEvent{Seconds: 0.1}})
	}
	is(time.Minute)
}
