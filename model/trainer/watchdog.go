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
	seconds []float64 // of the newest steps, without those that compiled
	first   float64   // seconds of the newest step that compiled
}

// firstFactor times a step that compiled is what the next one may take: it has less
// to do, so this is for a machine that others use meanwhile.
const firstFactor = 3

// note takes a sign of life.
func (w *watchdog) note(e Event) {
	switch e.Event {
	case EventPhase:
		w.phase = e.Phase
	case EventStep:
		compiled := w.phase == PhaseCompile
		w.phase = PhaseTrain
		switch {
		case e.Step == nil:
		case compiled:
			w.first = e.Step.Seconds
		default:
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
		return max(d, time.Duration(w.limits.StepFactor*s[n/2]*float64(time.Second)))
	}
	return max(d, time.Duration(firstFactor*w.first*float64(time.Second)))
}
