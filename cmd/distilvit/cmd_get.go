package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"distilvit/artifact"
	"distilvit/report"
	"distilvit/storage/layout"
)

func (a *app) getCommand() *cobra.Command {
	var o pageOptions
	cmd := &cobra.Command{
		Use:   "get RUN [DIR]",
		Short: "fetch the model a run published, or make a web page of it",
		Long: `Fetch the model a run published: ONNX files, model.safetensors, tokenizer, configs,
model card and manifest, each verified by its digest. DIR is ./RUN by default.

With --page FOLDER, write instead a web page that captions pictures in the browser, with the
model and Transformers.js beside it: static files for any web server, which ask nobody else
for anything. RUN may then be any MODEL with ONNX files that caption -m takes. The page
leaves out model.safetensors, and with --onnx other exports.`,
		Example: `  distilvit get demo
  distilvit get demo public/models/demo
  distilvit backend install transformers.js && distilvit get demo --page public
  python3 -m http.server --bind 127.0.0.1 --directory public
  distilvit get ./model-directory --page public --onnx q8,q4`,
		Args: args(1, 2, "a RUN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.dir != "" || o.dtypes != nil {
				return a.getPage(cmd.Context(), args, o)
			}
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
	cmd.Flags().StringVar(&o.dir, "page", "", "write a web page to this folder")
	cmd.Flags().StringSliceVar(&o.dtypes, "onnx", nil, "exports that the page has (default: all)")
	return cmd
}

func (a *app) get(ctx context.Context, s *site, name, dir string) error {
	group, err := findModel(ctx, s, name)
	if err != nil {
		return err
	}
	if dir == "" {
		dir = filepath.Base(name)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fileError("output directory", dir, err)
	}
	p := newProgress(a.stderr)
	var files []layout.Object
	var bytes int64
	err = artifact.FetchModel(ctx, s.store, group, dir, func(object layout.Object) {
		files = append(files, object)
		bytes += object.Size
		if p.terminal {
			p.show("fetch", 0, 0, fmt.Sprintf("%d files, %s", len(files), report.Bytes(bytes)))
		}
	})
	p.clear()
	if err != nil {
		return err
	}
	if a.output == "json" {
		return printJSON(a.stdout, map[string]any{"model": group, "directory": dir, "files": files})
	}
	fmt.Fprintf(a.stdout, "%s: %d files, %s in %s\n", group, len(files), report.Bytes(bytes), dir)
	return nil
}
