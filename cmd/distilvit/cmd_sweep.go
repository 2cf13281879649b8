package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"distilvit/internal/devstack"
	"distilvit/pipeline"
)

// sweepOptions are the flags of sweep.
type sweepOptions struct {
	file    string
	id      string
	sets    []string
	dryRun  bool
	stack   devstack.Options
	devices deviceFlags

	after func(*pipeline.SweepStatus) error // prints what more there is to say of the result; nil: nothing
}

func (a *app) sweepCommand() *cobra.Command {
	var o sweepOptions
	cmd := &cobra.Command{
		Use:   "sweep -f FILE [--id NAME] [--set key=value]",
		Short: "try several values of config keys, each as a run, and compare them",
		Long: `Train a config with several values of some of its keys and compare what comes out. FILE
has the run's config under run, or names it as base: config.yaml, and parameters: by key
of the config a list of values, or a range to draw from.

  method: grid      every combination of the lists
  method: random    trials: N draws, of lists and of ranges {min, max, log}; the same seed draws the same
  method: halving   as random, or without trials as grid; all trials pause after halving.epochs
                    epochs, the best of them go on (one in halving.factor), and so on; the others
                    are stopped and publish what they have

Trial N is the run NAME-N, like any other: list, status, logs, get, caption, compare and rm know
it. Trials share prepared data. At most concurrency of them are under way at once. They are
compared by the best epoch's metric on the validation pictures: metric, or the run's
train.metric_for_best_model. A trial that fails is counted, and the others go on.

Stack, Ctrl-C and going on by the same command are as with distilvit run; distilvit stop NAME
begins no more trials and publishes those under way. Without -f a sweep of that --id is followed,
or its table is printed. docs/sweeps.md tells more.`,
		Example: `  distilvit sweep -f examples/sweep.yaml --id rates
  distilvit sweep -f sweep.yaml --dry-run
  distilvit sweep -f sweep.yaml --id rates --set train.epochs=3
  distilvit sweep --id rates -o json
  distilvit cat sweeps/rates/report.html > report.html`,
		Args: args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.sweep(cmd.Context(), o) },
	}
	flags := cmd.Flags()
	flags.StringVarP(&o.file, "file", "f", "", "sweep, YAML or JSON; - is stdin")
	flags.StringVar(&o.id, "id", "", "the sweep's name (default: from the file's name and the time)")
	flags.StringArrayVar(&o.sets, "set", nil, "set a key of the run's config, as train.epochs=3; may be repeated")
	flags.BoolVar(&o.dryRun, "dry-run", false, "only print the trials")
	stackFlags(cmd, &o.stack)
	o.devices.add(cmd, nil, 0)
	return cmd
}

func (a *app) sweep(ctx context.Context, o sweepOptions) error {
	if o.file == "" {
		if o.id == "" {
			return usagef("sweep needs -f FILE, or the --id of a sweep that is there")
		}
		return a.withSite(ctx, func(ctx context.Context, s *site) error { return a.showSweep(ctx, s, o, true) })
	}
	spec, err := a.readSweep(o)
	if err != nil {
		return err
	}
	if o.id == "" {
		o.id = newRunID(nameOf(o.file), time.Now())
	}
	return a.startSweep(ctx, o, spec)
}

// startSweep tries a sweep, or goes on with it.
func (a *app) startSweep(ctx context.Context, o sweepOptions, spec pipeline.Sweep) error {
	if err := pipeline.CheckSweepID(o.id); err != nil {
		return &usageError{err: err}
	}
	if o.dryRun {
		return a.printTrials(o.id, spec)
	}
	external, err := a.external()
	if err != nil {
		return err
	}
	o.devices = o.devices.forRun(spec.Run)
	if _, err := o.devices.slots(); err != nil {
		return err
	}
	if !external {
		if err := missingFiles(spec.Run); err != nil {
			return err
		}
	}
	s, err := a.openWorkingSite(ctx, o.stack)
	if err != nil {
		return err
	}
	defer s.close()
	p := newProgress(a.stderr)
	done, err := a.startOrJoinSweep(ctx, s, o, spec, p)
	if err != nil || done {
		return err
	}
	return a.follow(ctx, s, o.devices, a.followedSweep(s, o, p), p)
}

// nameOf is a file's name without its end.
func nameOf(file string) string {
	name := filepath.Base(file)
	return name[:len(name)-len(filepath.Ext(name))]
}

// readSweep reads the file, and makes paths absolute as those of a run's config.
func (a *app) readSweep(o sweepOptions) (pipeline.Sweep, error) {
	raw, err := readConfigFile(o.file, a.stdin)
	if err != nil {
		return pipeline.Sweep{}, err
	}
	beside, based := ".", false
	if o.file != "-" {
		beside = filepath.Dir(o.file)
	}
	spec, err := pipeline.DecodeSweep(raw, func(base string) (pipeline.Config, error) {
		based = true
		if err := absolutePath(&base, beside); err != nil {
			return pipeline.Config{}, err
		}
		return readConfig(base, o.sets, a.stdin)
	}, o.sets...)
	if err != nil {
		return spec, inFile(o.file, err)
	}
	if !based {
		err = absolutePaths(&spec.Run, beside)
	}
	return spec, err
}

// startOrJoinSweep starts a sweep, finds it open, or prints the result of one that is complete, which is all then.
func (a *app) startOrJoinSweep(
	ctx context.Context, s *site, o sweepOptions, spec pipeline.Sweep, p *progress,
) (done bool, err error) {
	id := o.id
	found, _, err := describeRun(ctx, s.client, id)
	if errors.Is(err, errNoRun) {
		return false, startSweep(ctx, s.client, id, spec, p)
	}
	if err != nil {
		return false, err
	}
	if found.kind != pipeline.SweepType {
		return false, usagef("%s is a run: use another --id", id)
	}
	changes, err := sweepChanges(ctx, s.client, found, spec)
	if err != nil {
		return false, err
	}
	if len(changes) > 0 && found.Status != "failed" {
		return false, usagef("sweep %s is %s, with another file: %s; use another --id", id, found.Status, changes[0])
	}
	switch {
	case found.open():
		p.line("sweep %s is open: following it", id)
		return false, nil
	case found.Status == "completed":
		status, err := resultOf[pipeline.SweepStatus](ctx, s.client, id, "")
		if err != nil {
			return true, err
		}
		return true, a.printSweep(o, status)
	}
	p.line("sweep %s: %s earlier, going on from what its trials have", id, found.Status)
	return false, startSweep(ctx, s.client, id, spec, p)
}

func startSweep(ctx context.Context, c client.Client, id string, spec pipeline.Sweep, p *progress) error {
	impossible := spec.ImpossibleTrials()
	for n := range len(spec.Settings()) {
		if err := impossible[n+1]; err != nil {
			p.line("note: trial %d (%s) will fail: %v", n+1, pipeline.SettingsText(spec.Settings()[n]), err)
		}
	}
	_, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: id, TaskQueue: pipeline.TaskQueue,
		WorkflowIDReusePolicy:    enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		WorkflowIDConflictPolicy: enums.WORKFLOW_ID_CONFLICT_POLICY_FAIL,
		StaticSummary:            fmt.Sprintf("%s of %d trials", spec.Method, len(spec.Settings())),

		WorkflowExecutionErrorWhenAlreadyStarted: true,
	}, pipeline.SweepType, spec)
	if err != nil {
		return fmt.Errorf("start sweep %s: %w", id, err)
	}
	return nil
}

// sweepChanges are the keys that a sweep was started with and that are others now.
func sweepChanges(ctx context.Context, c client.Client, found *runInfo, spec pipeline.Sweep) ([]configChange, error) {
	was, err := startedWith(ctx, c, found)
	if err != nil {
		return nil, err
	}
	now, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	var before, after any
	if err := errors.Join(json.Unmarshal(was, &before), json.Unmarshal(now, &after)); err != nil {
		return nil, err
	}
	var changes []configChange
	compareValues("", before, after, &changes)
	return changes, nil
}

// showSweep prints what is known of a sweep. With follow one that others work on is followed.
func (a *app) showSweep(ctx context.Context, s *site, o sweepOptions, follow bool) error {
	found, _, err := s.find(ctx, o.id)
	if err != nil {
		return err
	}
	if found.kind != pipeline.SweepType {
		return usagef("%s is a run, not a sweep: distilvit status %s", o.id, o.id)
	}
	if found.Status == "completed" {
		status, err := resultOf[pipeline.SweepStatus](ctx, s.client, o.id, "")
		if err != nil {
			return err
		}
		return a.printSweep(o, status)
	}
	working, err := s.hasWorkflowWorker(ctx)
	if err != nil {
		return err
	}
	if !working {
		return fmt.Errorf("sweep %s is %s, and no worker is up that could tell more: its own command, or distilvit up, goes "+
			"on with it", o.id, found.Status)
	}
	if found.open() && follow {
		p := newProgress(a.stderr)
		return a.follow(ctx, s, o.devices, a.followedSweep(s, o, p), p)
	}
	status, err := query[pipeline.SweepStatus](ctx, s.client, o.id, "")
	if err != nil {
		return err
	}
	return a.printSweep(o, status)
}
