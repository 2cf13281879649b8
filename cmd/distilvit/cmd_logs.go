package main

import (
	"context"
	"fmt"
	"io"
	"path"

	"github.com/spf13/cobra"

	"distilvit/storage/layout"
)

func (a *app) logsCommand() *cobra.Command {
	var follow bool
	cmd := &cobra.Command{
		Use:   "logs RUN [-f]",
		Short: "what a run does, line by line, or what its trainers wrote before they died",
		Long: `Print what the run's trainers wrote, of those that failed, oldest first. A trainer
that works writes nothing.

With -f print what the run has done and does, a line for each stage, epoch, warning and failed attempt, and while it
trains one every ten seconds, until it ends, however it does; Ctrl-C leaves it. Lines are those of slog, as text or with
-o json as JSON, with run, stage, epoch and step in each; lines of what was before have no time. Whose stack the run is on does not
matter: that of another process (distilvit run, up) or servers elsewhere.

What workers do is in their own log (distilvit.log in the data directory, or what they print), what Temporal knows in its
web UI.`,
		Example: "  distilvit logs demo\n  distilvit logs demo -f\n  distilvit logs demo -f -o json | jq 'select(.level != \"INFO\")'",
		Args:    args(1, 1, "a RUN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withSite(cmd.Context(), func(ctx context.Context, s *site) error {
				if follow {
					return a.followLog(ctx, s, args[0])
				}
				return a.logs(ctx, s, args[0])
			})
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "what the run does, until it ends")
	return cmd
}

func (a *app) logs(ctx context.Context, s *site, id string) error {
	if _, _, err := s.find(ctx, id); err != nil {
		return err
	}
	objects := []layout.Object{}
	for o, err := range s.store.List(ctx, layout.Run(id).Folder(layout.Logs)) {
		if err != nil {
			return fmt.Errorf("list the logs of run %s: %w", id, err)
		}
		objects = append(objects, o)
	}
	if a.output == "json" {
		return printJSON(a.stdout, objects)
	}
	if len(objects) == 0 {
		fmt.Fprintf(a.stderr, "no trainer of run %s has failed\n", id)
		return nil
	}
	for _, o := range objects {
		if err := a.printLog(ctx, s, o.Key); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) printLog(ctx context.Context, s *site, key string) error {
	body, _, err := s.store.Get(ctx, key)
	if err != nil {
		return err
	}
	defer body.Close()
	fmt.Fprintf(a.stdout, "==> %s <==\n", path.Base(key))
	if _, err := io.Copy(a.stdout, body); err != nil {
		return fmt.Errorf("read %s: %w", key, err)
	}
	return nil
}
