package chaos

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"distilvit/internal/testenv"
)

// shortFaults is the run of make test: one fault of each main class. make chaos
// asks for more.
const shortFaults = 6

// The size of the training follows from the number of faults: each takes some
// steps between checkpoints, and an outage costs what is trained meanwhile.
func sizeFor(faults int) size {
	if faults <= shortFaults {
		return size{epochs: 4, stepsPerEpoch: 60}
	}
	return size{epochs: 12, stepsPerEpoch: 90}
}

// outcome is what a fault did.
type outcome struct {
	fault    fault
	step     int64     // of the newest checkpoint when it struck
	at, over time.Time // when it struck, and when its effect was seen and repaired
	evidence string
}

// TestChaos trains with fault after fault, in an order and at moments drawn from
// the seed. The run ends by itself with what an undisturbed one ends with.
func TestChaos(t *testing.T) {
	t.Parallel() // with the takeover: both wait more than they work
	s := sizeFor(*faultCount)
	want := undisturbed(t, s)
	r := newCluster(t, embeddedS3, 2).startRun(s, *seed)
	var outcomes []outcome
	for i, f := range plan(t, r, *faultCount) {
		outcomes = append(outcomes, r.suffer(i, f))
	}
	r.awaitEnd()
	same(t, want, r.results())
	r.report(outcomes)
	r.leavesNothing()
}

// undisturbed is what a run of this size ends with when nothing goes wrong.
func undisturbed(t *testing.T, s size) map[string]string {
	t.Helper()
	undisturbedMu.Lock()
	defer undisturbedMu.Unlock()
	if results, ok := undisturbedResults[s]; ok {
		return results
	}
	var results map[string]string
	t.Run("undisturbed", func(t *testing.T) { // its processes end with it
		r := newCluster(t, embeddedS3, 1).startRun(s, 0)
		r.awaitEnd()
		results = r.results()
		// a machine too busy to answer in time; the results hold
		if failures := r.failures(); len(failures) > 0 {
			t.Logf("it was disturbed: %v", failures)
		}
	})
	if results == nil {
		t.FailNow()
	}
	undisturbedResults[s] = results
	return results
}

var (
	undisturbedMu      sync.Mutex
	undisturbedResults = map[size]map[string]string{}
)

// plan draws n faults: all of a class's kinds come before any comes again. Two
// trainers in a row that are out of memory would rightly lower the micro-batch,
// so memory runs out once only.
func plan(t *testing.T, r *run, n int) []fault {
	t.Helper()
	var all []fault
	long := n > shortFaults
	for _, class := range slices.Sorted(maps.Keys(faults)) {
		kinds := slices.Clone(faults[class])
		if class == "disk" && !r.machines[0].disk {
			if os.Getenv("CI") != "" {
				t.Fatal("no disk can be filled: mounting a small tmpfs needs root")
			}
			t.Log("no disk is filled: mounting a small tmpfs needs root")
			continue
		}
		switch {
		case long:
			all = append(all, kinds...)
		case class != "outages" && class != "silence":
			r.rng.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
			all = append(all, kinds[0])
		}
	}
	if *only != "" {
		all = slices.DeleteFunc(all, func(f fault) bool { return !strings.Contains(f.name, *only) })
	}
	for once := len(all); len(all) < n; {
		if f := all[r.rng.IntN(once)]; !f.once || *only != "" {
			all = append(all, f)
		}
	}
	r.rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:n]
}

// suffer lets one fault strike at a random moment and waits until its effect was
// seen and the run is past it.
func (r *run) suffer(i int, f fault) outcome {
	t := r.t
	t.Helper()
	r.awaitMidEpoch(r.points.newest() + int64(1+r.rng.IntN(2))*checkpointSteps)
	<-time.After(time.Duration(r.rng.IntN(400)) * time.Millisecond) // no rhythm with the checkpoints
	r.awaitMidEpoch(0)
	r.mark()
	o := outcome{fault: f, step: r.points.newest(), at: r.begun}
	t.Logf("%d. %s after the checkpoint of step %d", i+1, f.name, o.step)
	f.inject(r)
	testenv.AwaitEvery(t, askPause, "the effect of: "+f.name, func() bool {
		o.evidence = message(f.seen(r))
		return o.evidence != "" || r.failed()
	})
	if f.repair != nil {
		f.repair(r)
	}
	o.over = time.Now()
	r.awaitStep(r.points.newest() + 1)
	for _, s := range r.services() {
		if !s.Alive() {
			t.Fatalf("%s ended by itself after: %s", s.name, f.name)
		}
	}
	t.Logf("   seen after %v: %s", time.Since(o.at).Round(time.Millisecond), clip(o.evidence, 160))
	return o
}

func (c *cluster) services() []*service {
	all := []*service{c.temporal, c.s3.service}
	for _, m := range c.machines {
		all = append(all, m.service)
	}
	return all
}

// message is what a line of a worker's log says.
func message(line string) string {
	if _, after, ok := strings.Cut(line, `msg="`); ok {
		said, rest, _ := strings.Cut(after, `"`)
		if _, why, ok := strings.Cut(rest, `rror="`); ok {
			said += ": " + strings.TrimSuffix(why, `"`)
		}
		return said
	}
	return line
}

func clip(text string, n int) string {
	if len(text) > n {
		return text[:n] + "…"
	}
	return text
}

// lostLimit is the most a fault may cost in the median, beside the steps since
// the last checkpoint.
const lostLimit = 15 * time.Second

// report prints what each fault cost: how much later the first checkpoint after
// it was over came than it would have, the steps trained again included.
func (r *run) report(outcomes []outcome) {
	t := r.t
	t.Helper()
	steps, at := r.points.all()
	pace := r.pace(outcomes)
	var table strings.Builder
	var lost []time.Duration
	fmt.Fprintf(&table, "%d faults, seed %d, %d steps of %v\n\n| # | fault | after step | lost | seen "+
		"as |\n|---|---|---|---|---|\n", len(outcomes), *seed, r.size.steps(), pace.Round(time.Millisecond))
	for i, o := range outcomes {
		next := steps[slices.IndexFunc(
			steps, func(s int64) bool { return s > o.step && at[s].After(o.over) },
		)]
		late := at[next].Sub(at[o.step]) - time.Duration(next-o.step)*pace
		lost = append(lost, max(0, late))
		fmt.Fprintf(&table, "| %d | %s | %d | %.1f s | %s |\n", i+1, o.fault.name, o.step,
			max(0, late).Seconds(), strings.ReplaceAll(clip(o.evidence, 90), "|", "/"))
	}
	slices.Sort(lost)
	median := lost[len(lost)/2]
	fmt.Fprintf(&table, "\nmedian %.1f s, all %.0f s\n", median.Seconds(), sum(lost).Seconds())
	t.Log("\n" + table.String())
	if median > lostLimit+checkpointSteps*pace {
		t.Errorf("a fault costs %v in the median, %v are allowed", median, lostLimit)
	}
}

// pace is the median time of a step where no fault struck.
func (r *run) pace(outcomes []outcome) time.Duration {
	steps, at := r.points.all()
	struck := func(from, to time.Time) bool {
		return slices.ContainsFunc(
			outcomes, func(o outcome) bool { return o.at.Before(to) && o.over.After(from) },
		)
	}
	var paces []time.Duration
	for i, step := range steps[1:] {
		if before := steps[i]; !struck(at[before], at[step]) {
			paces = append(paces, at[step].Sub(at[before])/time.Duration(step-before))
		}
	}
	slices.Sort(paces)
	return paces[len(paces)/2]
}

func sum(list []time.Duration) (all time.Duration) {
	for _, d := range list {
		all += d
	}
	return all
}
