package pipeline

import (
	"fmt"
	"time"

	"distilvit/artifact/record"
	"distilvit/storage/layout"
)

// Retrain is what each turn of a schedule does: train a model anew where its data has changed, from its newest version,
// and publish what is better than that.
type Retrain struct {
	Schedule string `json:"schedule"` // its id, after which the turns' runs are named
	Config   Config `json:"config"`   // of the runs; publish.better_than says by how much a new version must be better

	Cron     string `json:"cron,omitempty"` // when turns begin, as a person wrote it; Temporal has it in a form of its own
	TimeZone string `json:"time_zone,omitempty"`
}

// runTime names a turn's run after the time at which the turn began.
const runTime = "-20060102-150405"

// RunOf is the id of the run of the turn that begins then.
func (r Retrain) RunOf(began time.Time) string { return r.Schedule + began.UTC().Format(runTime) }

// Validate reports what is impossible.
func (r Retrain) Validate() error {
	if CheckRunID(r.RunOf(time.Time{})) != nil {
		return fmt.Errorf("schedule %q: must be 1 to %d of a-z 0-9 . _ - and begin with a letter or digit: its runs are named "+
			"after it", r.Schedule, 63-len(runTime))
	}
	c := r.Config
	if c.Publish.BetterThan.Model == "" { // a turn fills it in
		c.Publish.BetterThan.Model = r.Published()
	} else if c.Publish.BetterThan.Model != r.Published() {
		return fmt.Errorf("publish.better_than.model: is %s; a schedule compares with what it has published, %s: leave it out",
			c.Publish.BetterThan.Model, r.Published())
	}
	return c.Validate()
}

// Published is models/<name>, where the schedule's runs publish.
func (r Retrain) Published() string {
	name := r.Config.Name
	if name == "" {
		name = r.Schedule
	}
	return layout.Models + "/" + name
}

// RunConfig is the config of a turn's run, which starts from a published model; "": as the config says.
func (r Retrain) RunConfig(from string) Config {
	c := r.Config
	if c.Name == "" {
		c.Name = r.Schedule
	}
	if from != "" {
		c.Model = ModelConfig{Weights: RunPrefix + from}
		c.Publish.BetterThan.Model = from
	} else {
		c.Publish.BetterThan = BetterThanConfig{}
	}
	return c
}

// TurnInput asks what a turn of a schedule starts from. The result is a TurnPlan.
type TurnInput struct {
	Published string `json:"published"` // models/<name>
	Config    Config `json:"config"`
}

// TurnPlan is what a turn starts from.
type TurnPlan struct {
	// digest of the config and of what its sources hold now
	Data string `json:"data"`
	// URLs whose servers do not tell whether they have changed: each turn takes them for new
	Unclear []string `json:"unclear,omitempty"`
	// models/<name>/<version>, the newest; "": none is published yet
	Model string `json:"model,omitempty"`
}

// What becomes of a turn that did not fail.
const (
	TurnPublished = "published" // better than the version before, or the first
	TurnRejected  = "rejected"  // not better, or somebody rejected it: the version before stays the newest
	TurnUnchanged = "unchanged" // neither data nor config have changed since the turn before: nothing was trained
)

// Turn is what became of a turn: the result of its workflow, and the answer to its status query.
type Turn struct {
	Schedule string `json:"schedule"`
	Outcome  string `json:"outcome,omitempty"` // empty: it goes on
	Detail   string `json:"detail"`            // for people
	Run      string `json:"run,omitempty"`     // that trains; of an unchanged turn the last one that did
	Data     string `json:"data,omitempty"`    // as TurnPlan's
	Model    string `json:"model,omitempty"`   // models/<name>/<version>: the newest at the end of the turn

	Comparison *record.Comparison `json:"comparison,omitempty"` // nil: there was no version before, or nothing was trained
}
