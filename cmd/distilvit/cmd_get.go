package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"distilvit/storage"
)

func (a *app) getCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "get RUN [DIR]",
		Short: "fetch the model a run published",
		Long: `Fetch the model a run published: ONNX files, model.safetensors, tokenizer, configs,
model card and manifest, each verified by its digest. DIR is ./RUN by default.`,
		Example: "  distilvit get demo\n  distilvit get demo public/models/demo",
		Args:    args(1, 2, "a RUN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := ""
			if len(args) == 2 {
				dir = args[1]
			}
			if !isPublishedName(args[0]) {
				return checkRunID(args[0])
			}
			return a.withSite(cmd.Context(), func(ctx context.Context, s *site) error {
				return a.get(ctx, s, args[0], dir)
			})
		},
	}
}

func (a *app) get(ctx context.Context, s *site, name, dir string) error {
	prefix, err := publishedModel(ctx, s.store, name)
	if err != nil {
		return err
	}
	if dir == "" {
		dir = filepath.Base(name)
	}
	p := newProgress(a.stderr)
	var files []storage.Object
	var bytes int64
	err = fetchModel(ctx, s.store, prefix, dir, func(object storage.Object) {
		files = append(files, object)
		bytes += object.Size
		if p.terminal {
			p.show("fetch", 0, 0, fmt.Sprintf("%d files, %s", len(files), bytesText(bytes)))
		}
	})
	p.clear()
	if err != nil {
		return err
	}
	if a.output == "json" {
		return printJSON(a.stdout, map[string]any{"model": prefix, "directory": dir, "files": files})
	}
	fmt.Fprintf(a.stdout, "%s: %d files, %s in %s\n", prefix, len(files), bytesText(bytes), dir)
	return nil
}
