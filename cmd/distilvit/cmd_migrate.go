package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"distilvit/artifact"
	"distilvit/internal/devstack"
	"distilvit/pipeline"
	"distilvit/report"
	"distilvit/storage/layout"
)

func (a *app) migrateCommand() *cobra.Command {
	var back bool
	cmd := &cobra.Command{
		Use:   "migrate [RUN|SCHEDULE...]",
		Short: "copy runs from this machine's stack to servers elsewhere, or back",
		Long: `Copy runs, all or those that are named, from the embedded stack of the data directory to the Temporal server
and the object store that TEMPORAL_ADDRESS and S3_ENDPOINT name, or with --back from there. What comes along
is all that a run has in the object store and what it refers to: data, tokens, checkpoints, curves, models. Each
object is verified on its way, and what is there already is not sent again, so that a copy that broke off is begun
once more. Then the runs are rebuilt there as distilvit recover does: a complete one with its model and scores,
another as "recovered", which its own command goes on with from the newest checkpoint, to the same weights. Histories
stay behind, and files of your own: a run that reads local paths goes on only where workers see them, too. Of a sweep
its trials come along, which are runs, with its table and report; its own command goes on with it there. A schedule is
made there paused, since both sides would train the same model otherwise: pause it here, and unpause it there.

A run that is being trained is refused: pause it, or let it end. Nothing is removed where it comes from.`,
		Example: `  export TEMPORAL_ADDRESS=temporal:7233 S3_ENDPOINT=https://s3.example.org S3_ACCESS_KEY=… S3_SECRET_KEY_FILE=…
  distilvit migrate
  distilvit migrate demo --data ~/captions
  distilvit migrate --back demo`,
		RunE: func(cmd *cobra.Command, ids []string) error {
			for _, id := range ids {
				if err := checkRunID(id); err != nil {
					return err
				}
			}
			ctx, stop := a.interruptible(cmd.Context(), "stopping; the same command goes on")
			defer stop()
			return a.migrate(ctx, ids, back)
		},
	}
	cmd.Flags().BoolVar(&back, "back", false, "from the servers to this machine's stack")
	return cmd
}

// migration is what migrate prints with -o json.
type migration struct {
	Runs   []string `json:"runs"`   // that were copied
	Sweeps []string `json:"sweeps"` // whose tables and reports were copied
	There  []string `json:"there"`  // that were known there already

	Schedules      []string `json:"schedules"`                 // that were made, paused
	SchedulesThere []string `json:"schedules_there,omitempty"` // of names that were taken there

	Objects int            `json:"objects"` // copied
	Bytes   int64          `json:"bytes"`
	Skipped int            `json:"skipped"` // objects that were there already
	Rebuilt []recoveredRun `json:"rebuilt"`
	Notes   []string       `json:"notes,omitempty"`
}

func (a *app) migrate(ctx context.Context, ids []string, back bool) error {
	external, err := a.external()
	if err != nil {
		return err
	}
	if !external {
		return usagef("migrate: TEMPORAL_ADDRESS and S3_ENDPOINT are not set: they name the servers of the other side")
	}
	here := *a // without the servers
	here.env = func(key string) string {
		if key == "TEMPORAL_ADDRESS" || key == "S3_ENDPOINT" {
			return ""
		}
		return a.env(key)
	}
	if !back {
		if err := here.checkExists(); err != nil {
			return err
		}
	}
	embedded, err := here.openSite(ctx, devstack.Options{})
	if err != nil {
		return err
	}
	defer embedded.close()
	elsewhere, err := a.openSite(ctx, devstack.Options{})
	if err != nil {
		return err
	}
	defer elsewhere.close()
	from, to := embedded, elsewhere
	if back {
		from, to = elsewhere, embedded
	}
	done, err := a.copyRuns(ctx, from, to, ids)
	if err != nil {
		return err
	}
	if a.output == "json" {
		return printJSON(a.stdout, done)
	}
	a.printMigration(from, to, done)
	return nil
}

// copyRuns copies those of the runs that are not known where they go, and rebuilds them there.
func (a *app) copyRuns(ctx context.Context, from, to *site, ids []string) (*migration, error) {
	done := &migration{
		Runs: []string{}, Sweeps: []string{}, Schedules: []string{}, There: []string{}, Rebuilt: []recoveredRun{},
	}
	known, err := to.knownRuns(ctx)
	if err != nil {
		return nil, err
	}
	all := len(ids) == 0
	schedules, ids, err := from.schedulesAmong(ctx, ids)
	if err != nil {
		return nil, err
	}
	var sweeps []string
	if all || len(ids) > 0 {
		if ids, sweeps, err = from.withTrials(ctx, ids); err != nil {
			return nil, err
		}
		if ids, err = from.movable(ctx, ids); err != nil {
			return nil, err
		}
	}
	p := newProgress(a.stderr)
	defer p.clear()
	for _, id := range ids {
		if known[id] {
			done.There = append(done.There, id)
			continue
		}
		if err := done.copyRun(ctx, from, to, layout.Run(id), p); err != nil {
			return nil, fmt.Errorf("copy run %s: %w", id, err)
		}
		done.Runs = append(done.Runs, id)
	}
	for _, sweep := range sweeps {
		if err := done.copySweep(ctx, from, to, sweep); err != nil {
			return nil, fmt.Errorf("copy sweep %s: %w", sweep, err)
		}
	}
	for _, name := range schedules {
		if err := done.copySchedule(ctx, from, to, name); err != nil {
			return nil, err
		}
	}
	if len(done.Runs) == 0 {
		return done, nil
	}
	if _, err := artifact.UpdateEveryLatest(ctx, to.store); err != nil {
		return nil, err
	}
	var rebuilt recovery
	if err := to.recoverRuns(ctx, &rebuilt, done.Runs...); err != nil {
		return nil, fmt.Errorf("all is copied, but the runs are not rebuilt (distilvit recover there does it): %w", err)
	}
	done.Rebuilt, done.Notes = rebuilt.Runs, rebuilt.Notes
	return done, nil
}

// withTrials are runs with the trials of those that are sweeps in their place, and the sweeps; of no ids it is every
// sweep, and no run.
func (s *site) withTrials(ctx context.Context, ids []string) (runs, sweeps []string, err error) {
	if len(ids) == 0 {
		all, err := listOf(ctx, s.client, pipeline.SweepType)
		for _, sweep := range all {
			sweeps = append(sweeps, sweep.ID)
		}
		slices.Sort(sweeps)
		return nil, slices.Compact(sweeps), err
	}
	for _, id := range ids {
		found, _, err := s.find(ctx, id)
		if err != nil {
			return nil, nil, err
		}
		if found.kind != pipeline.SweepType {
			runs = append(runs, id)
			continue
		}
		trials, err := trialsOf(ctx, s, found)
		if err != nil {
			return nil, nil, err
		}
		sweeps = append(sweeps, id)
		for _, trial := range trials {
			_, _, err := describeRun(ctx, s.client, trial)
			if err != nil && !errors.Is(err, errNoRun) { // one that never began
				return nil, nil, err
			}
			if err == nil {
				runs = append(runs, trial)
			}
		}
	}
	return runs, sweeps, nil
}

// copySweep copies a sweep's table and report, if it has come to them.
func (m *migration) copySweep(ctx context.Context, from, to *site, sweep string) error {
	found := false
	for o, err := range from.store.List(ctx, layout.SweepFolder(sweep)) {
		if err != nil {
			return err
		}
		there, err := artifact.CopyObject(ctx, from.store, to.store, o)
		if err != nil {
			return err
		}
		if found = true; there {
			m.Skipped++
		} else {
			m.Objects, m.Bytes = m.Objects+1, m.Bytes+o.Size
		}
	}
	if found {
		m.Sweeps = append(m.Sweeps, sweep)
	}
	return nil
}

// movable are the runs that can be copied, of those that are asked for, or of all.
func (s *site) movable(ctx context.Context, ids []string) ([]string, error) {
	var runs []*runInfo
	var err error
	if len(ids) == 0 {
		runs, err = listRuns(ctx, s.client)
	}
	for _, id := range ids {
		run, _, failed := describeRun(ctx, s.client, id)
		if errors.Is(failed, errNoRun) {
			return nil, s.noRun(id)
		}
		runs, err = append(runs, run), errors.Join(err, failed)
	}
	if err == nil {
		err = s.standings(ctx, runs)
	}
	if err != nil {
		return nil, err
	}
	var movable []string
	for _, run := range runs {
		if run.open() && run.Status != statusPaused && run.Status != statusInterrupted {
			return nil, fmt.Errorf("run %[1]s is open: distilvit pause %[1]s first, or let it end", run.ID)
		}
		movable = append(movable, run.ID)
	}
	return movable, nil
}

// copiers is how many objects are on their way at once.
const copiers = 4

// copyRun copies what a run has: documents after all that they name.
func (m *migration) copyRun(ctx context.Context, from, to *site, run layout.Run, p *progress) error {
	objects, err := artifact.RunObjects(ctx, from.store, run)
	if err != nil {
		return err
	}
	var total, sent int64
	for _, o := range objects {
		total += o.Size
	}
	var mu sync.Mutex
	one := func(ctx context.Context, o layout.Object) error {
		there, err := artifact.CopyObject(ctx, from.store, to.store, o)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		if sent += o.Size; there {
			m.Skipped++
		} else {
			m.Objects, m.Bytes = m.Objects+1, m.Bytes+o.Size
		}
		p.show("copy "+string(run), sent, total, report.Bytes(sent))
		return nil
	}
	documents := slices.IndexFunc(objects, func(o layout.Object) bool { return layout.IsDocument(o.Key) })
	if documents < 0 {
		documents = len(objects)
	}
	group, blobs := errgroup.WithContext(ctx)
	group.SetLimit(copiers)
	for _, o := range objects[:documents] {
		group.Go(func() error { return one(blobs, o) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, o := range objects[documents:] { // what they name is there
		if err := one(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) printMigration(from, to *site, done *migration) {
	for _, note := range done.Notes {
		fmt.Fprintf(a.stderr, "note: %s\n", note)
	}
	for _, id := range done.There {
		fmt.Fprintf(a.stdout, "run %s is known %s already\n", id, to.place())
	}
	for _, name := range done.SchedulesThere {
		fmt.Fprintf(a.stdout, "schedule %s is %s already and stays as it is there\n", name, to.place())
	}
	for _, id := range done.Sweeps {
		fmt.Fprintf(a.stdout, "sweep %s: its table and report are there (%s cat %s); its history stays\n", id, a.command(),
			layout.SweepReport(id))
	}
	for _, name := range done.Schedules {
		fmt.Fprintf(a.stdout, "schedule %[1]s is made %[2]s, paused; the one %[3]s goes on as it was: distilvit schedule pause "+
			"%[1]s there, then unpause %[1]s %[2]s\n", name, to.place(), from.place())
	}
	if len(done.Runs) == 0 {
		fmt.Fprintln(a.stdout, "no run was copied")
		return
	}
	a.printRebuilt(done.Rebuilt)
	fmt.Fprintf(a.stdout, "%d objects copied, %s; %d were there already; what is %s stays\n",
		done.Objects, report.Bytes(done.Bytes), done.Skipped, from.place())
}
