package pipeline

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"distilvit/artifact/record"
)

// Sweep tries keys of a run's config with several values: each trial is a run of its own. People write it as YAML
// (see DecodeSweep), and the same keys as JSON are the argument of the workflow Sweep. See SweepDefault for the values
// that an absent key takes.
type Sweep struct {
	Run        Config               `json:"run"`        // what all trials have in common
	Parameters map[string]Parameter `json:"parameters"` // by key of the config, such as train.learning_rate

	// grid (every combination of the lists), random (draws by seed), or halving: draws, or without trials every
	// combination, of which after some epochs only the best part goes on
	Method string `json:"method"`

	Trials      int    `json:"trials,omitempty"` // draws; 0: of random 10, of halving every combination
	Concurrency int    `json:"concurrency"`      // trials under way at once
	Seed        uint64 `json:"seed"`             // of the draws; run.seed is that of every training

	// what trials are compared by, on the validation pictures: a name that train.metric_for_best_model takes;
	// empty: the run's
	Metric string `json:"metric,omitempty"`

	Halving Halving `json:"halving"` // for method halving
}

// Halving says when how many trials of a sweep are stopped. After Epochs epochs one in Factor goes on, of those after
// Factor times as many epochs again one in Factor, and so on.
type Halving struct {
	Epochs int `json:"epochs"`
	Factor int `json:"factor"`
}

// Names that a sweep may hold.
const (
	MethodGrid    = "grid"
	MethodRandom  = "random"
	MethodHalving = "halving"
)

var methods = []string{MethodGrid, MethodRandom, MethodHalving}

// MaxTrials bounds a sweep, whose one history tells of every trial.
const MaxTrials = 500

// MaxValues bounds the list of a parameter. Each value is checked when a sweep begins, in a workflow task that has a second.
const MaxValues = 1000

const defaultTrials = 10

// SweepDefault is what absent keys of a sweep mean.
func SweepDefault() Sweep {
	return Sweep{
		Run: Default(), Method: MethodGrid, Concurrency: 2, Seed: 1, Halving: Halving{Epochs: 1, Factor: 2},
	}
}

// Parameter is what a key is tried with: a list of values, or a range to draw from.
type Parameter struct {
	Values []json.RawMessage // JSON, numbers as they were written; nil: Range
	Range  *Range
}

// Range is what a number is drawn from, both ends included.
type Range struct {
	Min float64 `json:"min"`
	Max float64 `json:"max"`
	Log bool    `json:"log"` // equal ratios are equally likely, not equal differences
}

// MarshalJSON writes the list, or the range.
func (p Parameter) MarshalJSON() ([]byte, error) {
	if p.Range != nil {
		return json.Marshal(p.Range)
	}
	return json.Marshal(p.Values)
}

// Setting is a key of a trial's config with its value.
type Setting struct {
	Key   string          `json:"key"`
	Value json.RawMessage `json:"value"`
}

// String is the setting as --set takes it.
func (s Setting) String() string { return s.Key + "=" + s.Text() }

// Text is the value for people, and for --set: of a text the text itself.
func (s Setting) Text() string {
	var text string
	if json.Unmarshal(s.Value, &text) == nil {
		return text
	}
	return string(s.Value)
}

// SettingsText is a trial's settings in one line.
//
//workflowcheck:ignore reads JSON, which is the same each time
func SettingsText(settings []Setting) string {
	parts := make([]string, len(settings))
	for i, s := range settings {
		parts[i] = s.String()
	}
	return strings.Join(parts, " ")
}

// Keys are the parameters' keys, sorted.
func (s Sweep) Keys() []string { return slices.Sorted(maps.Keys(s.Parameters)) }

// MetricForBestTrial is what trials are compared by.
func (s Sweep) MetricForBestTrial() string {
	if s.Metric == "" {
		return s.Run.MetricForBestModel()
	}
	return s.Metric
}

// TrialRun is the id of the run that is trial n, counted from 1.
func TrialRun(sweep string, n int) string { return fmt.Sprintf("%s-%d", sweep, n) }

// CheckSweepID rejects a workflow id that cannot name a sweep, since its trials' runs are named after it.
func CheckSweepID(id string) error {
	if err := CheckRunID(TrialRun(id, MaxTrials)); err != nil {
		return fmt.Errorf("sweep id %q: must be 1 to %d of a-z 0-9 . _ - and begin with a letter or digit: its trials' "+
			"runs are named after it", id, 63-len(TrialRun("", MaxTrials)))
	}
	return nil
}

// TrialConfig is the config of a trial's run, which publishes under its own name. Whether its values are possible
// together is left to Validate.
//
//workflowcheck:ignore reads and writes JSON, which is the same each time
func (s Sweep) TrialConfig(run string, settings []Setting) (Config, error) {
	raw, err := json.Marshal(s.Run)
	if err != nil {
		return Config{}, err
	}
	root, problem := parseJSON(raw)
	if problem != nil {
		return Config{}, configError([]Problem{*problem})
	}
	d := newDecoder()
	for _, setting := range settings {
		d.assign(root, setting.String())
	}
	c := d.config(root)
	c.Name = run
	return c, configError(d.problems)
}

// Rungs are the epochs after which trials are compared and most of them stopped; none without halving.
func (s Sweep) Rungs() []int {
	var rungs []int
	if s.Method == MethodHalving && s.Halving.Epochs > 0 && s.Halving.Factor > 1 {
		for after := s.Halving.Epochs; after < s.Run.Train.Epochs; after *= s.Halving.Factor {
			rungs = append(rungs, after)
			if after > s.Run.Train.Epochs/s.Halving.Factor { // the next is behind the end, and may be no int
				break
			}
		}
	}
	return rungs
}

// MaxSweepEvents bounds the events that a sweep's one history is to have. Temporal itself ends one at 51,200; long before
// that each of its workflow tasks takes long to replay.
const MaxSweepEvents = 10_000

// Events of a history that a trial takes at most, and each rung that it comes to: docs/sweeps.md counts them.
const (
	eventsOfTrial = 16
	eventsOfRung  = 14
)

// Events are those of the sweep's history at most.
func (s Sweep) Events() int {
	n := len(s.Settings())
	events := n * eventsOfTrial
	for range s.Rungs() {
		events += n * eventsOfRung
		n = s.Keep(n)
	}
	return events
}

// Keep is how many of n trials go on after a rung: one in Halving.Factor, rounded up.
func (s Sweep) Keep(n int) int { return (n + s.Halving.Factor - 1) / s.Halving.Factor }

// Validate reports every impossible value at once, as a *ConfigError.
//
//workflowcheck:ignore sorts the keys of its map, and reads JSON
func (s Sweep) Validate() error { return configError(s.problems(true)) }

// ValidateUnbounded is Validate as it was before it looked at MaxValues and MaxSweepEvents: for sweeps begun then.
//
//workflowcheck:ignore sorts the keys of its map, and reads JSON
func (s Sweep) ValidateUnbounded() error { return configError(s.problems(false)) }

func (s Sweep) problems(bounded bool) []Problem {
	v := &validator{}
	for _, p := range s.Run.Resolve().problems() {
		p.Path = join("run", p.Path)
		v.found = append(v.found, p)
	}
	v.check(s.Run.Publish.Push == "", "run.publish.push", "is for one run: every trial would be pushed; push the best "+
		"with distilvit push")
	v.check(!s.Run.Publish.Approve, "run.publish.approve", "is for one run: every trial would wait for somebody")
	v.check(s.Run.Publish.BetterThan.Model == "", "run.publish.better_than", "is for one run: trials are compared with "+
		"each other")
	v.atLeast("concurrency", s.Concurrency, 1)
	v.oneOf("method", s.Method, methods)
	if s.Metric != "" {
		v.oneOf("metric", s.Metric, bestMetrics)
	}
	v.check(len(s.Parameters) > 0, "parameters", "is missing; name keys of the run's config and what to try, such as "+
		"train.learning_rate: [1e-4, 5e-5]")
	for _, key := range s.Keys() {
		v.parameter(key, s.Parameters[key], s)
		if n := len(s.Parameters[key].Values); bounded {
			v.check(n <= MaxValues, "parameters."+key, "has %d values; give %d at most, or a range to draw from", n, MaxValues)
		}
	}
	v.trials(s)
	if bounded && len(v.found) == 0 {
		v.events(s)
	}
	if len(v.found) == 0 {
		v.values(s)
	}
	return v.found
}

// combinations is how many there are of the lists; MaxTrials + 1 means any number above MaxTrials.
func (s Sweep) combinations() int {
	n := 1
	for _, p := range s.Parameters {
		n = min(n*max(1, len(p.Values)), MaxTrials+1)
	}
	return n
}

// events checks that one history holds the sweep.
func (v *validator) events(s Sweep) {
	events := s.Events()
	path := "parameters"
	if s.draws() {
		path = "trials"
	}
	v.check(events <= MaxSweepEvents, path, "make a sweep of %d trials with %d rungs, which would take up to %d events of one "+
		"Temporal history, which is to have %d at most: give fewer trials, or a larger halving.epochs or halving.factor",
		len(s.Settings()), len(s.Rungs()), events, MaxSweepEvents)
}

// trials checks how many there are, and how long they train.
func (v *validator) trials(s Sweep) {
	if s.Method == MethodGrid {
		v.check(s.Trials == 0, "trials", "is for random and halving; grid tries every combination")
	}
	v.check(s.Trials >= 0 && s.Trials <= MaxTrials, "trials", "is %d; must be from 1 to %d", s.Trials, MaxTrials)
	if !s.draws() {
		v.check(s.combinations() <= MaxTrials, "parameters", "have more than %d combinations; method random draws some", MaxTrials)
	}
	if s.Method == MethodHalving {
		v.atLeast("halving.epochs", s.Halving.Epochs, 1)
		v.atLeast("halving.factor", s.Halving.Factor, 2)
		v.check(s.Halving.Epochs < s.Run.Train.Epochs, "halving.epochs",
			"is %d; must be below run.train.epochs, which is %d: nothing would be stopped", s.Halving.Epochs, s.Run.Train.Epochs)
	}
}

// draws says that trials are drawn; otherwise they are every combination.
func (s Sweep) draws() bool {
	return s.Method == MethodRandom || s.Method == MethodHalving && s.Trials > 0
}

// ofSweep are keys that are not a trial's to choose.
var ofSweep = map[string]string{
	"name": "a trial's model has the name of its run", "publish.push": "push the best trial with distilvit push",
	"publish.approve": "every trial would wait for somebody",
}

func (v *validator) parameter(key string, p Parameter, s Sweep) {
	path := "parameters." + key
	t := typeAt(reflect.TypeFor[Config](), keysAt(key))
	if t == nil || t.Kind() == reflect.Struct {
		message := "is no key of a run's config"
		if t != nil {
			message = "is a section; name the keys in it"
		} else if meant := mistyped(key, Keys()); meant != "" {
			message += fmt.Sprintf("; did you mean %s?", meant)
		}
		v.check(false, path, "%s", message)
		return
	}
	if why, is := ofSweep[key]; is {
		v.check(false, path, "cannot be tried: %s", why)
	}
	if s.Method == MethodHalving && (key == "train.epochs" || key == "train.max_steps") {
		v.check(false, path, "is for grid and random: halving decides how long a trial trains")
	}
	if p.Range == nil {
		v.check(len(p.Values) > 0, path, "has no values")
		seen := map[string]bool{}
		for i, value := range p.Values {
			v.check(!seen[string(value)], fmt.Sprintf("%s[%d]", path, i), "is %s a second time", value)
			seen[string(value)] = true
		}
		return
	}
	v.check(s.draws() || !slices.Contains(methods, s.Method), path,
		"is a range, which only draws can try: method random, or halving with trials; or give a list")
	number := t.Kind() == reflect.Float64 || t.Kind() == reflect.Int || t.Kind() == reflect.Uint64
	if !v.check(number, path, "is no number: give a list instead of a range") {
		return
	}
	v.check(p.Range.Min < p.Range.Max, path, "has min %v and max %v; min must be below max", p.Range.Min, p.Range.Max)
	v.check(!p.Range.Log || p.Range.Min > 0, path, "has min %v; with log it must be above 0", p.Range.Min)
}

// values checks that each value of a list is of its key's type. A value that only goes with some of the others, or
// with none, makes trials fail, which a sweep counts; if it makes all of them fail, that is a mistake.
func (v *validator) values(s Sweep) {
	for _, key := range s.Keys() {
		for i, value := range s.Parameters[key].Values {
			_, err := s.TrialConfig("", []Setting{{key, value}})
			for _, message := range messages(err) {
				v.check(false, fmt.Sprintf("parameters.%s[%d]", key, i), "%s", message)
			}
		}
	}
	if len(v.found) > 0 {
		return
	}
	var first error
	for n, settings := range s.Settings() {
		c, err := s.TrialConfig("", settings)
		if err == nil {
			err = c.Validate()
		}
		if err == nil {
			return
		}
		if n == 0 {
			first = err
		}
	}
	for _, message := range messages(first) {
		v.check(false, "parameters", "make every trial impossible: %s", message)
	}
}

// messages are what a *ConfigError says, without the keys that it says it of when that is clear.
func messages(err error) (all []string) {
	if err == nil {
		return nil
	}
	return strings.Split(err.Error(), "\n")
}

// ImpossibleTrials says of each trial whose values do not go together why, by its number.
func (s Sweep) ImpossibleTrials() map[int]error {
	found := map[int]error{}
	for n, settings := range s.Settings() {
		c, err := s.TrialConfig("", settings)
		if err == nil {
			err = c.Validate()
		}
		if err != nil {
			found[n+1] = err
		}
	}
	return found
}

// States of a trial.
const (
	TrialQueued  = "queued"  // not begun
	TrialRunning = "running" // its run is open
	TrialWaiting = "waiting" // at a rung, for the others
	TrialStopped = "stopped" // published after a rung that it did not pass
	TrialDone    = "done"    // published
	TrialFailed  = "failed"  // its run failed
	TrialSkipped = "skipped" // never begun: the sweep was stopped
)

// SweepStatus is how far a sweep is: the answer to its status query, and once it has ended its result.
type SweepStatus struct {
	Sweep    string        `json:"sweep"`  // workflow id
	Method   string        `json:"method"` // as Sweep's
	Metric   string        `json:"metric"` // that trials are compared by
	Trials   []TrialStatus `json:"trials"`
	Best     string        `json:"best,omitempty"`     // run of the best trial so far; empty: none is known
	Stopping bool          `json:"stopping,omitempty"` // no trial begins any more
	Report   string        `json:"report,omitempty"`   // key of the report; empty: not written yet
	Warnings []string      `json:"warnings,omitempty"`
}

// TrialStatus is how far a trial is.
type TrialStatus struct {
	Run      string    `json:"run"` // id of its run
	Settings []Setting `json:"settings"`
	State    string    `json:"state"`           // one of the states
	Epoch    int       `json:"epoch,omitempty"` // of the best checkpoint so far, 1-based
	Rung     int       `json:"rung,omitempty"`  // epochs after which it was last compared

	Eval  *record.Metrics `json:"eval,omitempty"`  // of that checkpoint, on the validation pictures; nil: not known
	Test  *record.Metrics `json:"test,omitempty"`  // as Result's; nil: not published
	Model string          `json:"model,omitempty"` // models/<name>/<version>
	Error string          `json:"error,omitempty"` // why it failed

	Began time.Time `json:"began,omitzero"`
	Ended time.Time `json:"ended,omitzero"`
}

// Count is the number of trials in these states.
func (s SweepStatus) Count(states ...string) (n int) {
	for _, t := range s.Trials {
		if slices.Contains(states, t.State) {
			n++
		}
	}
	return n
}

// Ranking are the numbers of all trials, 0-based, the best first. Those of which no score is known come last, in their
// order.
func (s SweepStatus) Ranking() []int {
	order := make([]int, len(s.Trials))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return CompareTrials(s.Trials[a], s.Trials[b], s.Metric)
	})
	return order
}

// CompareTrials is negative where a is better than b.
func CompareTrials(a, b TrialStatus, metric string) int {
	switch {
	case a.Eval == nil && b.Eval == nil:
		return 0
	case b.Eval == nil || a.Eval != nil && a.Eval.BetterThan(*b.Eval, metric):
		return -1
	case a.Eval == nil || b.Eval.BetterThan(*a.Eval, metric):
		return 1
	}
	return 0
}

// TrialTold is what a run tells the sweep that it is a trial of.
type TrialTold struct {
	Run   string          `json:"run"`
	Epoch int             `json:"epoch"`          // finished at the pause that it has come to; 0: its data is prepared
	Best  int             `json:"best,omitempty"` // epoch of the best checkpoint so far
	Eval  *record.Metrics `json:"eval,omitempty"` // of that checkpoint
}

// ReportSweepInput asks for the report of a sweep. The result is its key.
type ReportSweepInput struct {
	Status SweepStatus `json:"status"`
}
