package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"distilvit/artifact"
	"distilvit/internal/devstack"
	"distilvit/report"
	"distilvit/storage"
	"distilvit/storage/layout"
)

func (a *app) getCommand() *cobra.Command {
	var o pageOptions
	var links linkOptions
	cmd := &cobra.Command{
		Use:   "get RUN [DIR]",
		Short: "fetch the model a run published, or make a web page of it",
		Long: `Fetch the model a run published: ONNX files, model.safetensors, tokenizer, configs,
model card and manifest, each verified by its digest. DIR is ./RUN by default. In place of a
run's id may stand models/NAME/VERSION, or the NAME under which models are published, for
its newest version (which models/NAME/latest names in the object store).

With --page FOLDER, write instead a web page that captions pictures in the browser, with the
model and Transformers.js beside it: static files for any web server, which ask nobody else
for anything. RUN may then be any MODEL with ONNX files that caption -m takes. The page
leaves out model.safetensors, and with --onnx other exports.

With --url, print instead a line for each file, its name and a URL that anybody can download
it with until --expires is over, at most 7 days: whoever has the line has the file. Each is
tried before it is printed. The address in it is that of S3_ENDPOINT, or of the stack that
is up, on this machine alone.`,
		Example: `  distilvit get demo
  distilvit get demo public/models/demo
  distilvit backend install transformers.js && distilvit get demo --page public
  python3 -m http.server --bind 127.0.0.1 --directory public
  distilvit get ./model-directory --page public --onnx q8,q4
  distilvit get demo --url --expires 24h | xargs -n 2 curl --fail --create-dirs -o`,
		Args: args(1, 2, "a RUN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if links.wanted || cmd.Flags().Changed("expires") {
				return a.getLinks(cmd.Context(), args, links, o)
			}
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
	cmd.Flags().BoolVar(&links.wanted, "url", false, "print URLs that anybody can download the files with")
	cmd.Flags().DurationVar(&links.expires, "expires", time.Hour, "for how long --url's URLs hold, such as 30m or 24h")
	return cmd
}

func (a *app) get(ctx context.Context, s *site, name, dir string) error {
	group, err := findModel(ctx, s, name)
	if err != nil {
		return err
	}
	if dir == "" {
		if dir = filepath.Base(name); dir == layout.LatestFile {
			dir = filepath.Base(group)
		}
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

// linkOptions are what --url's caller may choose.
type linkOptions struct {
	wanted  bool
	expires time.Duration
}

// getLinks prints URLs of what a run published in place of fetching it.
func (a *app) getLinks(ctx context.Context, args []string, o linkOptions, page pageOptions) error {
	switch {
	case !o.wanted:
		return usagef("--expires is how long the URLs of --url hold: give --url, too")
	case len(args) > 1:
		return usagef("--url fetches nothing, so DIR %s is not needed", args[1])
	case page.dir != "" || page.dtypes != nil:
		return usagef("--url prints URLs, --page and --onnx are about a web page: use one of them")
	case o.expires < time.Second || o.expires > storage.LongestPresign:
		return usagef("--expires %s: use 1s to %s, as S3 does", o.expires, storage.LongestPresign)
	case !isPublishedName(args[0]):
		return checkRunID(args[0])
	}
	if err := a.checkStays(); err != nil {
		return err
	}
	return a.withSite(ctx, func(ctx context.Context, s *site) error {
		group, err := findModel(ctx, s, args[0])
		if err != nil {
			return err
		}
		links, until, err := artifact.ModelLinks(ctx, s.store, group, o.expires)
		if err != nil {
			return err
		}
		if a.output == "json" {
			return printJSON(a.stdout, map[string]any{"model": group, "until": until.UTC(), "files": links})
		}
		for _, link := range links {
			fmt.Fprintf(a.stdout, "%s %s\n", link.Name, link.URL)
		}
		fmt.Fprintf(a.stderr, "%s: %d files, for anybody who has these lines until %s\n",
			group, len(links), until.Local().Format("2006-01-02 15:04:05 MST"))
		return nil
	})
}

// checkStays refuses a store that would be gone when the command ends, and its URLs with it.
func (a *app) checkStays() error {
	if err := a.checkExists(); err != nil {
		return err
	}
	external, err := a.external()
	if err != nil || external {
		return err
	}
	data, err := a.dataDir()
	if err != nil {
		return err
	}
	if _, up := devstack.Find(data); !up {
		return usagef("the store of %s answers only while its stack is up, and so do its URLs: start distilvit up first", data)
	}
	return nil
}
