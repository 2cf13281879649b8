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
	return &cobra.Command{
		Use:   "logs RUN",
		Short: "what a run's trainers wrote before they died",
		Long: `Print what the run's trainers wrote, of those that failed, oldest first. A trainer
that works writes nothing. What workers do is in their own log (distilvit.log in the
data directory, or what they print), what the run did in Temporal's web UI.`,
		Example: "  distilvit logs demo",
		Args:    args(1, 1, "a RUN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withSite(cmd.Context(), func(ctx context.Context, s *site) error {
				return a.logs(ctx, s, args[0])
			})
		},
	}
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
