package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"distilvit/artifact"
	"distilvit/artifact/record"
	"distilvit/internal/devstack"
	"distilvit/pipeline"
	"distilvit/storage/layout"
	"distilvit/worker"
)

func (a *app) recoverCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "recover",
		Short: "rebuild runs whose histories are lost from the object store",
		Long: `Rebuild what Temporal knew of the runs in the object store. Every command refuses a data
directory whose database is missing or damaged, or whose object store was emptied: going on
would begin anew beside what is left. If there is a copy of what is missing, put it back
instead. Otherwise this command makes a new database (a damaged one is kept beside it under
another name), and lists every run that has stored its config: with its model and scores where
it is complete, else as "recovered", which its own command goes on with from the newest
checkpoint, to the same weights. Lost are histories, times, and requests that were not carried
out. An object store that is gone begins empty; the runs that are listed can be run again.

Where nothing is lost, nothing changes. With a Temporal server and an object store elsewhere,
runs that the server does not know are rebuilt in the same way.`,
		Example: `  distilvit recover
  distilvit recover --data /srv/distilvit
  distilvit cat runs/demo/config.json | distilvit run -f - --id demo`,
		Args: args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := a.interruptible(cmd.Context(), "")
			defer stop()
			return a.recover(ctx)
		},
	}
}

// recovery is what recover prints with -o json.
type recovery struct {
	devstack.Recovered
	Known int            `json:"known"` // runs that Temporal knew
	Runs  []recoveredRun `json:"runs"`  // that were rebuilt
	Notes []string       `json:"notes,omitempty"`
}

type recoveredRun struct {
	Run      string `json:"run"`
	Complete bool   `json:"complete"`
	Model    string `json:"model,omitempty"` // that it published
	Epochs   int    `json:"epochs"`          // finished
	Step     int64  `json:"step"`            // of the newest checkpoint, or of the published one
}

func (a *app) recover(ctx context.Context) error {
	var done recovery
	external, err := a.external()
	if err != nil {
		return err
	}
	if !external {
		if done.Recovered, err = a.recoverDirectory(ctx); err != nil {
			return err
		}
	}
	s, err := a.openSite(ctx, devstack.Options{})
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.recoverRuns(ctx, &done); err != nil {
		return err
	}
	changed, err := artifact.UpdateEveryLatest(ctx, s.store)
	if err != nil {
		return err
	}
	for _, key := range changed {
		done.Notes = append(done.Notes, key+" named another version than the newest, or was missing: it is put right")
	}
	if a.output == "json" {
		return printJSON(a.stdout, done)
	}
	a.printRecovery(s, done)
	return nil
}

// recoverDirectory makes the data directory fit to be started, unless its stack is up, and so whole.
func (a *app) recoverDirectory(ctx context.Context) (devstack.Recovered, error) {
	data, err := a.dataDir()
	if err != nil {
		return devstack.Recovered{}, err
	}
	if _, up := devstack.Find(data); up {
		return devstack.Recovered{}, nil
	}
	return devstack.Recover(ctx, data, storeMarker)
}

// recoverRuns rebuilds what is in the store and not, or not whole, in Temporal: all runs, or those that are named.
func (s *site) recoverRuns(ctx context.Context, done *recovery, only ...string) error {
	done.Runs = []recoveredRun{}
	known, err := s.knownRuns(ctx)
	if err != nil {
		return err
	}
	done.Known = len(known)
	var lost []worker.LostRun
	for folder, err := range s.store.Folders(ctx, layout.Runs+"/", "") {
		if err != nil {
			return err
		}
		id, ok := layout.RunOf(folder.Key)
		if len(only) > 0 && !slices.Contains(only, string(id)) {
			continue
		}
		if !ok || known[string(id)] || pipeline.CheckRunID(string(id)) != nil {
			continue
		}
		run, told, err := s.lookStored(ctx, id)
		if artifact.Unreadable(err) {
			done.Notes = append(done.Notes, fmt.Sprintf("run %s is left out: %v", id, err))
			continue
		}
		if err != nil {
			return err
		}
		lost = append(lost, run)
		done.Runs = append(done.Runs, told)
	}
	if len(lost) == 0 {
		return nil
	}
	return worker.Recover(ctx, worker.Options{Client: s.client, Namespace: s.namespace, Store: s.store, Log: s.log}, lost)
}

// knownRuns are the runs whose history Temporal has.
func (s *site) knownRuns(ctx context.Context) (map[string]bool, error) {
	runs, err := listRuns(ctx, s.client)
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for _, listed := range runs {
		if known[listed.ID] {
			continue
		}
		run, _, err := describeRun(ctx, s.client, listed.ID)
		if errors.Is(err, errNoRun) {
			continue // listed only
		}
		if err != nil {
			return nil, err
		}
		_, err = startedConfig(ctx, s.client, run)
		if err == nil && !run.open() {
			_, err = result(ctx, s.client, run.ID)
		}
		known[run.ID] = !errors.Is(err, errLostHistory)
	}
	return known, nil
}

// lookStored is what the store tells of a run; storage.ErrNotFound where it never froze its config.
func (s *site) lookStored(ctx context.Context, id layout.Run) (worker.LostRun, recoveredRun, error) {
	run, told := worker.LostRun{ID: string(id)}, recoveredRun{Run: string(id)}
	if err := s.store.GetJSON(ctx, id.Config(), &run.Config); err != nil {
		return run, told, err
	}
	progress, err := artifact.NewestProgress(ctx, s.store, id, nil)
	if err != nil {
		return run, told, err
	}
	branch := max(progress.Branch, 1)
	told.Epochs = len(progress.Epochs)
	group, err := artifact.FindModel(ctx, s.store, string(id))
	if published, _ := layout.ParseModel(group); err == nil && published.Branch >= branch {
		m, err := artifact.ReadModel(ctx, s.store, group)
		if err != nil {
			return run, told, err
		}
		run.Stage, run.Result = pipeline.StageDone, publishedResult(m, progress)
		told.Complete, told.Model, told.Step = true, m.Model, m.Checkpoint.Step
		return run, told, nil
	}
	if err != nil && !errors.Is(err, artifact.ErrNotPublished) {
		return run, told, err
	}
	newest, err := artifact.Checkpoints{Store: s.store, Run: id}.Newest(ctx, branch)
	if err != nil {
		return run, told, err
	}
	run.Stage, run.Standing = pipeline.StagePrepare, "no checkpoint"
	if newest != nil {
		told.Step = newest.Step
		run.Stage = pipeline.StageTrain
		run.Standing = fmt.Sprintf("epochs finished: %d, newest checkpoint at step %d", told.Epochs, newest.Step)
	}
	run.Standing = "rebuilt from the object store, its history is lost: " + run.Standing +
		"; distilvit run goes on from there"
	return run, told, nil
}

// publishedResult is the result of the run that published a model.
func publishedResult(m record.ModelManifest, p record.Progress) *pipeline.Result {
	published, _ := layout.ParseModel(m.Model)
	r := &pipeline.Result{
		Run: m.Run, Model: m.Model, Version: published.Version(), Epoch: m.Checkpoint.Epoch, Step: m.Checkpoint.Step,
		Eval: m.Eval, Test: m.Test, Checks: m.Checks, Bytes: m.Bytes(), Comparison: m.Comparison,
	}
	if p.Best != nil {
		r.By = p.Best.By
	}
	return r
}

func (a *app) printRecovery(s *site, done recovery) {
	say := func(is bool, format string, values ...any) {
		if is {
			fmt.Fprintf(a.stdout, format+"\n", values...)
		}
	}
	say(done.NewState, "state.json is new")
	say(done.NewDatabase, "the database is new: histories of earlier runs are lost")
	say(done.SetAside != "", "the damaged one is now %s", done.SetAside)
	say(done.EmptyStore, "the object store begins empty: data, checkpoints and models are lost; a run that "+
		"distilvit list shows can be run again")
	for _, note := range done.Notes {
		fmt.Fprintf(a.stderr, "note: %s\n", note)
	}
	if len(done.Runs) == 0 {
		fmt.Fprintf(a.stdout, "no run %s is to be rebuilt; Temporal knows %d\n", s.place(), done.Known)
		return
	}
	a.printRebuilt(done.Runs)
}

func (a *app) printRebuilt(runs []recoveredRun) {
	t := &table{}
	t.add("REBUILT", "STATUS", "EPOCHS", "STEP", "MODEL")
	open := ""
	for _, r := range runs {
		status := "completed"
		if !r.Complete {
			status, open = statusRecovered, r.Run
		}
		t.add(r.Run, status, fmt.Sprint(r.Epochs), fmt.Sprint(r.Step), r.Model)
	}
	t.write(a.stdout, "")
	if open != "" {
		config := layout.Run(open).Config()
		fmt.Fprintf(a.stdout, "to go on with a recovered run, start it again with its config, or with the one in the store:\n"+
			"  %[1]s cat %[2]s | %[1]s run -f - --id %[3]s\n", a.command(), config, open)
	}
}
