package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"distilvit/internal/devstack"
	"distilvit/pipeline"
)

// scheduleOptions are the flags of schedule.
type scheduleOptions struct {
	file, cron, zone string
	sets             []string
}

func (a *app) scheduleCommand() *cobra.Command {
	var o scheduleOptions
	cmd := &cobra.Command{
		Use:   "schedule NAME -f FILE --cron EXPRESSION",
		Short: "train a model anew on a schedule, and publish what is better",
		Long: `Make a schedule, or change the one of that NAME. Each turn of it looks at what the config's sources hold
now. If neither they nor the config have changed since the turn before, it ends and says so. Otherwise a run, NAME with
the time, trains from the newest version of models/NAME (models/<name>, if the config has a name; the first turn from
what the config says). Then the new model and that version caption the same pictures, and the new one is published if it
is better: by publish.better_than.metric, at least by .margin, on the test pictures of the first version, or
of the prepared .dataset. Otherwise its run ends as rejected and models/NAME stays what it is.

EXPRESSION is cron's: minute, hour, day, month, day of the week, in UTC or --time-zone. A turn that falls due while the one
before goes on is skipped, and show counts it. Of turns that fell due while the stack was down within a week, one is
made up for. Turns need workers: distilvit up, or worker. docs/schedules.md tells more.`,
		Example: `  distilvit schedule captions -f config.yaml --cron "0 3 * * *"
  distilvit schedule captions -f config.yaml --cron "0 3 * * SUN" --time-zone Europe/Berlin
  distilvit schedule trigger captions
  distilvit schedule show captions`,
		Args: args(1, 1, "a NAME"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.schedule(cmd.Context(), args[0], o) },
	}
	flags := cmd.Flags()
	flags.StringVarP(&o.file, "file", "f", "", "config of the runs, YAML or JSON; - is stdin")
	flags.StringVar(&o.cron, "cron", "", `when turns begin: "0 3 * * *" is 3:00 every day, @weekly Sunday at midnight`)
	flags.StringVar(&o.zone, "time-zone", "UTC", "of the expression, such as Europe/Berlin")
	flags.StringArrayVar(&o.sets, "set", nil, "set a key of the config, as train.epochs=3; may be repeated")
	cmd.AddCommand(
		a.scheduleListCommand(), a.scheduleShowCommand(),
		a.scheduleActionCommand("pause", "let no more turns begin; one under way goes on", "is paused",
			func(ctx context.Context, h client.ScheduleHandle) error {
				return h.Pause(ctx, client.SchedulePauseOptions{Note: "paused by distilvit schedule pause"})
			}),
		a.scheduleActionCommand("unpause", "let turns begin again", "goes on",
			func(ctx context.Context, h client.ScheduleHandle) error {
				return h.Unpause(ctx, client.ScheduleUnpauseOptions{Note: "goes on"})
			}),
		a.scheduleActionCommand("trigger", "begin a turn now, unless one is under way", "is asked for a turn now",
			func(ctx context.Context, h client.ScheduleHandle) error {
				return h.Trigger(ctx, client.ScheduleTriggerOptions{Overlap: enums.SCHEDULE_OVERLAP_POLICY_SKIP})
			}),
		a.scheduleActionCommand("delete", "remove the schedule; its runs and models stay", "is deleted",
			func(ctx context.Context, h client.ScheduleHandle) error { return h.Delete(ctx) }),
	)
	return cmd
}

// catchUp is how long ago a turn may have fallen due that is made up for.
const catchUp = 7 * 24 * time.Hour

func (a *app) schedule(ctx context.Context, name string, o scheduleOptions) error {
	if o.file == "" || o.cron == "" {
		return usagef("schedule needs -f FILE and --cron EXPRESSION; distilvit schedule show %s shows one that is there", name)
	}
	cfg, err := readConfig(o.file, o.sets, a.stdin)
	if err != nil {
		return err
	}
	in := pipeline.Retrain{Schedule: name, Config: cfg, Cron: o.cron, TimeZone: o.zone}
	if err := in.Validate(); err != nil {
		return &usageError{err: err}
	}
	external, err := a.external()
	if err != nil {
		return err
	}
	if !external {
		if err := missingFiles(cfg); err != nil {
			return err
		}
	}
	ctx, stop := a.interruptible(ctx, "")
	defer stop()
	s, err := a.openSite(ctx, devstack.Options{})
	if err != nil {
		return err
	}
	defer s.close()
	made, err := setSchedule(ctx, s.client.ScheduleClient(), in)
	var invalid *serviceerror.InvalidArgument
	if errors.As(err, &invalid) {
		return usagef("schedule %s, --cron %q, --time-zone %s: %s", name, o.cron, o.zone, invalid.Message)
	}
	if err != nil {
		return fmt.Errorf("schedule %s: %w", name, err)
	}
	what := "is changed"
	if made {
		what = "is made"
	}
	return a.printScheduled(ctx, s, name, what)
}

// scheduleOf is the schedule that begins the turns.
func scheduleOf(in pipeline.Retrain) client.ScheduleOptions {
	return client.ScheduleOptions{
		ID: in.Schedule, Spec: client.ScheduleSpec{CronExpressions: []string{in.Cron}, TimeZoneName: in.TimeZone},
		Overlap: enums.SCHEDULE_OVERLAP_POLICY_SKIP, CatchupWindow: catchUp,
		Action: &client.ScheduleWorkflowAction{
			ID: in.Schedule, Workflow: pipeline.RetrainType, Args: []any{in}, TaskQueue: pipeline.TaskQueue,
			StaticSummary: "train " + in.Published() + " anew, publish what is better",
			Priority:      temporal.Priority{PriorityKey: in.Config.Priority},
		},
	}
}

// scheduleThere says that a schedule could not be made since one of that name is there.
func scheduleThere(err error) bool { return errors.Is(err, temporal.ErrScheduleAlreadyRunning) }

// setSchedule makes a schedule, or gives the one that is there another config and time. One that is paused stays so.
func setSchedule(ctx context.Context, schedules client.ScheduleClient, in pipeline.Retrain) (made bool, err error) {
	options := scheduleOf(in)
	if _, err = schedules.Create(ctx, options); !scheduleThere(err) {
		return err == nil, err
	}
	policy := client.SchedulePolicies{Overlap: options.Overlap, CatchupWindow: options.CatchupWindow}
	return false, schedules.GetHandle(ctx, in.Schedule).Update(ctx, client.ScheduleUpdateOptions{
		DoUpdate: func(there client.ScheduleUpdateInput) (*client.ScheduleUpdate, error) {
			if !retrains(there.Description.Schedule.Action) {
				return nil, fmt.Errorf("there is a schedule %s of another program: use another name", in.Schedule)
			}
			schedule := there.Description.Schedule
			schedule.Spec, schedule.Policy, schedule.Action = &options.Spec, &policy, options.Action
			return &client.ScheduleUpdate{Schedule: &schedule}, nil
		},
	})
}

// printScheduled says what became of a schedule, and when its next turn is.
func (a *app) printScheduled(ctx context.Context, s *site, name, what string) error {
	info, err := s.scheduleInfo(ctx, name)
	if err != nil {
		return err
	}
	if a.output == "json" {
		return printJSON(a.stdout, info)
	}
	fmt.Fprintf(a.stdout, "schedule %s %s: %s\n", name, what, nextText(*info))
	working, err := s.hasWorkflowWorker(ctx)
	if err == nil && !working {
		fmt.Fprintln(a.stdout, "no worker is up; its turns wait for distilvit up, or worker")
	}
	return err
}

func (a *app) scheduleListCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "every schedule with its next turn",
		Example: "  distilvit schedule list\n  distilvit schedule list -o json",
		Args:    args(0, 0, ""),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.withSite(cmd.Context(), a.listSchedules) },
	}
}

func (a *app) scheduleShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show NAME",
		Short: "a schedule, and what became of its last turns",
		Long: `Show when a schedule's turns begin, how many were skipped since the one before was under way, and what became of
the last ten: published (better than the version before, or the first), rejected (not better), unchanged (nothing to train
on that the turn before did not have), running, or failed with the reason.`,
		Example: "  distilvit schedule show captions\n  distilvit schedule show captions -o json",
		Args:    args(1, 1, "a NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withSite(cmd.Context(), func(ctx context.Context, s *site) error { return a.showSchedule(ctx, s, args[0]) })
		},
	}
}

// scheduleActionCommand is one that does something to a schedule.
func (a *app) scheduleActionCommand(
	verb, short, done string, do func(context.Context, client.ScheduleHandle) error,
) *cobra.Command {
	return &cobra.Command{
		Use: verb + " NAME", Short: short, Example: fmt.Sprintf("  distilvit schedule %s captions", verb),
		Args: args(1, 1, "a NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withSite(cmd.Context(), func(ctx context.Context, s *site) error {
				name := args[0]
				if _, err := s.scheduleInfo(ctx, name); err != nil {
					return err
				}
				if err := do(ctx, s.client.ScheduleClient().GetHandle(ctx, name)); err != nil {
					return fmt.Errorf("%s schedule %s: %w", verb, name, err)
				}
				if verb == "delete" {
					return a.printGone(name, done)
				}
				return a.printScheduled(ctx, s, name, done)
			})
		},
	}
}

func (a *app) printGone(name, done string) error {
	if a.output == "json" {
		return printJSON(a.stdout, map[string]string{"schedule": name, "status": "deleted"})
	}
	fmt.Fprintf(a.stdout, "schedule %s %s; its runs and models stay\n", name, done)
	return nil
}
