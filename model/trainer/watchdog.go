package trainer

import (
	"slices"
	"time"
)

// watchdog knows how long the child may be silent, from what it is doing and
// how long its steps take.
type watchdog struct {
	limits  Limits
	phase   string
	seconds []float64 // of the newest steps
}

// note takes a sign of life.
func (w *watchdog) note(e Event) {
	switch e.Event {
	case EventPhase:
		w.phase = e.Phase
	case EventStep:
		w.phase = PhaseTrain
		if e.Step != nil {
			if w.seconds = append(w.seconds, e.Step.Seconds); len(w.seconds) > 101 {
				w.seconds = w.seconds[1:]
			}
		}
	}
}

// limit is the silence allowed now.
func (w *watchdog) limit() time.Duration {
	if w.phase != PhaseTrain {
		return w.limits.Long
	}
	d := w.limits.Step
	if n := len(w.seconds); n > 0 {
		s := slices.Sorted(slices.Values(w.seconds))
		d = max(d, time.Duration(w.limits.StepFactor*s[n/2]*float64(time.Second)))
	}
	return d
}
