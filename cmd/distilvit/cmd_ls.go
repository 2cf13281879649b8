package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"distilvit/report"
	"distilvit/storage"
	"distilvit/storage/layout"
)

func (a *app) lsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "ls [PREFIX]",
		Short: "what lies in the object store",
		Long: `List the objects of the store whose keys begin with PREFIX: size and key.
docs/storage.md says what lies where; distilvit cat prints one.`,
		Example: "  distilvit ls\n  distilvit ls runs/demo/checkpoints/\n  distilvit ls models/ -o json",
		Args:    args(0, 1, ""),
		RunE: func(cmd *cobra.Command, args []string) error {
			prefix := ""
			if len(args) == 1 {
				prefix = args[0]
			}
			return a.withSite(cmd.Context(), func(ctx context.Context, s *site) error {
				return a.ls(ctx, s, prefix)
			})
		},
	}
}

func (a *app) ls(ctx context.Context, s *site, prefix string) error {
	objects := []layout.Object{}
	var bytes int64
	for o, err := range s.store.List(ctx, prefix) {
		if err != nil {
			return fmt.Errorf("list %s: %w", prefix, err)
		}
		objects = append(objects, o)
		bytes += o.Size
	}
	if a.output == "json" {
		return printJSON(a.stdout, objects)
	}
	if len(objects) == 0 {
		fmt.Fprintf(a.stderr, "no key begins with %q %s\n", prefix, s.place())
		return nil
	}
	t := &table{}
	for _, o := range objects {
		t.add(report.Bytes(o.Size), o.Key)
	}
	t.write(a.stdout, "")
	fmt.Fprintf(a.stderr, "%d objects, %s\n", len(objects), report.Bytes(bytes))
	return nil
}

func (a *app) catCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "cat KEY",
		Short:   "print one object of the store",
		Long:    `Print an object of the store as it is; distilvit ls lists their keys.`,
		Example: "  distilvit cat runs/demo/config.json\n  distilvit cat runs/demo/report.html > report.html",
		Args:    args(1, 1, "a KEY"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withSite(cmd.Context(), func(ctx context.Context, s *site) error {
				return a.cat(ctx, s, args[0])
			})
		},
	}
}

func (a *app) cat(ctx context.Context, s *site, key string) error {
	body, _, err := s.store.Get(ctx, key)
	if errors.Is(err, storage.ErrNotFound) {
		return fmt.Errorf("no such key: %s %s (distilvit ls lists them)", key, s.place())
	}
	if err != nil {
		return err
	}
	defer body.Close()
	if _, err := io.Copy(a.stdout, body); err != nil {
		return fmt.Errorf("read %s: %w", key, err)
	}
	return nil
}
