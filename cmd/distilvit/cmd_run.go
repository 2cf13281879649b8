package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/taskqueue/v1"

	"distilvit/internal/devstack"
	"distilvit/internal/retry"
	"distilvit/pipeline"
	"distilvit/storage"
	"distilvit/storage/layout"
)

// runOptions are the flags of run.
type runOptions struct {
	file       string
	id         string
	sets       []string
	detach     bool
	helpConfig bool
	stack      devstack.Options // ports
	devices    deviceFlags
	priority   int // 0: the config's
}

func (a *app) runCommand() *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "run [-f FILE] [--id NAME] [--set key=value]",
		Short: "start a pipeline and follow it",
		Long: `Start a pipeline, from pictures to a published model, and follow it to its end.

The embedded stack (Temporal, its web UI, an S3 server, the workers) runs in this
process unless one is up for the data directory or the environment names another.
Ctrl-C asks the trainer for a checkpoint and leaves; the same command goes on from
there. A run with this id that is open already is followed, one that is complete
prints its result, and one that failed goes on from its checkpoints; one that was
made with another config is refused, with what differs.

Before training one line says how many pictures each split has, and what computes. The first
steps compile the network once for each length of captions. An epoch's line has the loss on
training and validation pictures, ROUGE-L, the share of captions that are exactly right, its
time, the share of different captions, and a star on the best so far. "waiting for pictures
30%" stands there where the device had nothing to do for so much of the time, since pictures
were still being read: more or faster cores or disks would help, another device would not.

Relative paths in FILE are looked for beside FILE, then in the current directory.`,
		Example: `  distilvit run -f examples/demo.yaml --id demo
  distilvit run -f config.yaml --set train.epochs=3 --set train.batch_size=64
  distilvit run --set 'dataset=[{kind: coco, captions: captions.json, images: images/}]'
  distilvit run -f config.yaml --id overnight --detach
  distilvit run --help-config`,
		Args: args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.helpConfig {
				fmt.Fprint(a.stdout, pipeline.Reference())
				return nil
			}
			return a.run(cmd.Context(), o)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&o.file, "file", "f", "", "config, YAML or JSON; - is stdin")
	flags.StringVar(&o.id, "id", "",
		"the run's name, up to 63 of a-z 0-9 . _ - (default: from the config's name and the time)")
	flags.StringArrayVar(&o.sets, "set", nil, "set a key of the config, as train.epochs=3; may be repeated")
	flags.IntVar(&o.priority, "priority", 0,
		"who of several runs gets a device first: 1 before 5 (default: the config's, or 3)")
	flags.BoolVar(&o.detach, "detach", false, "start distilvit up in the background, and return once the run has passed its checks")
	flags.BoolVar(&o.helpConfig, "help-config", false, "print every key of the config with its default")
	stackFlags(cmd, &o.stack)
	o.devices.add(cmd, nil, 0)
	return cmd
}

func (a *app) run(ctx context.Context, o runOptions) error {
	if o.priority != 0 {
		o.sets = append(o.sets, fmt.Sprintf("priority=%d", o.priority))
	}
	cfg, err := readConfig(o.file, o.sets, a.stdin)
	if err != nil {
		return err
	}
	if o.id == "" {
		o.id = newRunID(cfg.Name, time.Now())
	}
	if err := checkRunID(o.id); err != nil {
		return err
	}
	external, err := a.external()
	if err != nil {
		return err
	}
	o.devices = o.devices.forRun(cfg)
	if _, err := o.devices.slots(); err != nil {
		return err
	}
	if !external {
		if err := missingFiles(cfg); err != nil {
			return err
		}
		if o.detach {
			if err := a.startUp(ctx, o.stack, o.devices); err != nil {
				return err
			}
		}
	}
	s, err := a.openWorkingSite(ctx, o.stack)
	if err != nil {
		return err
	}
	defer s.close()
	return a.runOn(ctx, s, o, cfg)
}

// openWorkingSite finds a stack that lasts. Commands such as list start one for
// a moment, without workers; an up that has just started has none yet.
func (a *app) openWorkingSite(ctx context.Context, stack devstack.Options) (*site, error) {
	const tries, pause = 60, 500 * time.Millisecond
	for range tries {
		s, err := a.openSite(ctx, stack)
		if err != nil || s.external || s.hosted != nil {
			return s, err
		}
		if missing, err := queuesWithoutWorkers(ctx, s); err == nil && len(missing) == 0 {
			return s, nil
		}
		if err := s.close(); err != nil {
			return nil, err
		}
		if err := retry.Pause(ctx, pause); err != nil {
			return nil, err
		}
	}
	return nil, errors.New(
		"another command holds the stack of this data directory and has no workers: end it first",
	)
}

// runOn starts or attaches to the run on an open site, and follows it.
func (a *app) runOn(ctx context.Context, s *site, o runOptions, cfg pipeline.Config) error {
	p := newProgress(a.stderr)
	attached, err := a.startOrAttach(ctx, s, o.id, cfg, p)
	if err != nil || attached == complete {
		return err
	}
	if o.detach {
		if err := a.awaitPreflight(ctx, s, o.id, p); err != nil {
			return err
		}
		return a.printDetached(s, o.id)
	}
	return a.follow(ctx, s, o.devices, a.followedRun(s, o.id, p), p)
}

// awaitPreflight returns once the checks of a run have passed, or with what they found. Without a
// worker nobody checks.
func (a *app) awaitPreflight(ctx context.Context, s *site, id string, p *progress) error {
	ctx, stop := a.interruptible(ctx, "")
	defer stop()
	for {
		run, _, err := describeRun(ctx, s.client, id)
		switch {
		case err != nil:
			return err
		case !run.open():
			if _, err := result(ctx, s.client, id); err != nil {
				return runFailed(id, err)
			}
			return nil
		case run.Stage != "" && run.Stage != pipeline.StagePreflight:
			return nil
		}
		missing, err := queuesWithoutWorkers(ctx, s)
		if err != nil {
			return err
		}
		if len(missing) > 0 && s.external {
			p.line("note: no worker takes work from %s yet, so nothing is checked", strings.Join(missing, " and "))
			return nil
		}
		p.show("preflight", 0, 0, "checking config, sources, storage and backend")
		if retry.Pause(ctx, preflightPause) != nil {
			p.line("run %s goes on without this command; distilvit stop %s ends it early", id, id)
			return &quietError{context.Cause(ctx)}
		}
	}
}

const preflightPause = 500 * time.Millisecond

// attachment is what startOrAttach found.
type attachment int

const (
	started  attachment = iota // a new execution
	joined                     // an open run with the same config
	complete                   // a finished run, its result printed
)

func (a *app) startOrAttach(
	ctx context.Context, s *site, id string, cfg pipeline.Config, p *progress,
) (attachment, error) {
	run, described, err := describeRun(ctx, s.client, id)
	if errors.Is(err, errNoRun) {
		return started, startRun(ctx, s.client, id, cfg)
	}
	if err != nil {
		return started, err
	}
	if run.kind != pipeline.WorkflowType {
		return started, usagef("%s is no run but a %s: use another --id", id, strings.ToLower(run.kind))
	}
	earlier, err := startedConfig(ctx, s.client, run)
	if err != nil {
		return started, err
	}
	changes, err := configChanges(earlier, cfg, id)
	if err != nil {
		return started, err
	}
	if run.Recovered { // of such a run only the frozen config is left, which names commits
		changes = slices.DeleteFunc(changes, configChange.pinned)
	}
	switch described.WorkflowExecutionInfo.GetStatus() {
	case enums.WORKFLOW_EXECUTION_STATUS_RUNNING:
		if len(changes) > 0 {
			return started, otherConfig(id, "is open, with another config", changes)
		}
		p.line("run %s is open: following it", id)
		if was := described.WorkflowExecutionInfo.GetPriority().GetPriorityKey(); cfg.Priority != 0 &&
			cfg.Priority != int(was) {
			p.line("note: it keeps the priority it was started with")
		}
		return joined, nil
	case enums.WORKFLOW_EXECUTION_STATUS_COMPLETED:
		if len(changes) > 0 {
			return complete, otherConfig(id, "is complete, with another config", changes)
		}
		result, err := result(ctx, s.client, id)
		if err != nil {
			return complete, err
		}
		lost, err := s.lost(ctx, result)
		switch {
		case err != nil:
			return complete, err
		case lost:
			p.line("run %s is complete, but its model is not in the object store any more: making it again", id)
			return started, startRun(ctx, s.client, id, cfg)
		}
		return complete, a.printResult(s, result)
	default:
		// A config that preflight refused may be mended; one that work was done by may not.
		_, err := s.store.Stat(ctx, layout.Run(id).Config())
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return started, err
		}
		if err == nil && len(changes) > 0 {
			return started, otherConfig(id, run.Status+" earlier, with another config", changes)
		}
		p.line("run %s: %s earlier, going on from its checkpoints", id, run.Status)
		return started, startRun(ctx, s.client, id, cfg)
	}
}

// otherConfig refuses to take a run of another config for this one.
func otherConfig(id, how string, changes []configChange) error {
	const shown = 4
	said := make([]string, 0, shown+1)
	for _, c := range changes[:min(shown, len(changes))] {
		said = append(said, c.String())
	}
	if more := len(changes) - shown; more > 0 {
		said = append(said, fmt.Sprintf("and %d more", more))
	}
	todo := "use another --id"
	if more, ok := moreEpochs(changes); ok {
		todo = fmt.Sprintf("distilvit extend %s --epochs %d trains it for longer; or use another --id", id, more)
	}
	return usagef("run %s %s: %s; %s", id, how, strings.Join(said, ", "), todo)
}

// pollerSilence is how long a worker that is alive may leave a queue unasked: a long poll lasts a
// minute.
const pollerSilence = 75 * time.Second

// queuesWithoutWorkers are the task queues nobody takes work from.
func queuesWithoutWorkers(ctx context.Context, s *site) ([]string, error) {
	var missing []string
	for _, queue := range []struct {
		name string
		kind enums.TaskQueueType
	}{
		{pipeline.TaskQueue, enums.TASK_QUEUE_TYPE_WORKFLOW},
		{pipeline.DeviceQueue, enums.TASK_QUEUE_TYPE_ACTIVITY},
	} {
		described, err := s.client.DescribeTaskQueue(ctx, queue.name, queue.kind)
		if err != nil {
			return nil, fmt.Errorf("ask %s for the workers of queue %s: %w", s.temporal, queue.name, err)
		}
		heard := func(p *taskqueue.PollerInfo) bool {
			return time.Since(p.GetLastAccessTime().AsTime()) < pollerSilence
		}
		if !slices.ContainsFunc(described.GetPollers(), heard) {
			missing = append(missing, queue.name)
		}
	}
	return missing, nil
}

func runFailed(id string, err error) error { return followed{name: "run " + id}.failed(err) }

func (a *app) printDetached(s *site, id string) error {
	if a.output == "json" {
		return printJSON(a.stdout, map[string]string{"run": id, "ui": s.runUI(id)})
	}
	fmt.Fprintf(a.stdout, "run %s goes on in the background\n", id)
	look := &table{}
	if ui := s.runUI(id); ui != "" {
		look.add(ui, "web UI")
	}
	look.add(a.command()+" status "+id, "where it stands")
	look.add(a.command()+" stop "+id, "publish what is best after this epoch")
	if s.host > 0 {
		look.add(fmt.Sprintf("kill %d", s.host), "end the stack; open runs go on when it is up again")
	}
	look.write(a.stdout, "  ")
	return nil
}

var notInID = regexp.MustCompile(`[^a-z0-9._-]+`)

// newRunID names a run after its model and the time.
func newRunID(name string, now time.Time) string {
	base := strings.Trim(notInID.ReplaceAllString(strings.ToLower(name), "-"), "-._")
	if base == "" {
		base = "run"
	}
	return base[:min(len(base), 40)] + now.UTC().Format("-20060102-150405")
}

// resolved is the config as the run freezes it, every default filled in.
func resolved(cfg pipeline.Config, run string) ([]byte, error) {
	if cfg.Name == "" {
		cfg.Name = run
	}
	return json.Marshal(cfg.Resolve().Frozen())
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
