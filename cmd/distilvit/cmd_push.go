package main

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"distilvit/artifact"
	"distilvit/hub"
	"distilvit/report"
)

func (a *app) pushCommand() *cobra.Command {
	var private bool
	cmd := &cobra.Command{
		Use:   "push RUN hf:ORG/NAME[@BRANCH]",
		Short: "bring a published model to the Hugging Face hub",
		Long: `Make a published model a commit of a repository on the Hugging Face hub, which is made where there
is none. RUN is a run's id, models/NAME/VERSION, or a directory that distilvit get has
written. HF_TOKEN, or HF_TOKEN_FILE, is a token that may write. What the repository has
already is not sent again, so a push that broke off is called once more; other files in it
stay. A run whose config has publish.push does this itself.`,
		Example: "  distilvit push demo hf:ORG/NAME\n  distilvit push demo hf:ORG/NAME --private\n" +
			"  distilvit push models/demo/demo-b2 hf:ORG/NAME@candidate",
		Args: args(2, 2, "a RUN and hf:ORG/NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.push(cmd.Context(), args[0], args[1], private)
		},
	}
	cmd.Flags().BoolVar(&private, "private", false, "make the repository private, and refuse one that is public")
	return cmd
}

func (a *app) push(ctx context.Context, name, to string, private bool) error {
	repo, err := hub.Parse(to)
	if err != nil {
		return &usageError{err: err}
	}
	client, err := hub.New(hubOptions(a.env))
	if err != nil {
		return &usageError{err: err}
	}
	if hub.Names(name) && !isPublishedName(name) {
		return usagef("push %s: give a run's id, models/NAME/VERSION or a directory", name)
	}
	return a.withModelDir(ctx, name, nil, func(ctx context.Context, dir string) error {
		files, err := artifact.LocalModel(dir)
		if err != nil {
			return err
		}
		push := hub.Push{Repo: repo, Private: private, Title: filepath.Base(name)}
		for _, file := range slices.Sorted(maps.Keys(files)) {
			push.Files = append(push.Files, hub.PushFile{
				Name: file, Path: filepath.Join(dir, filepath.FromSlash(file)), Size: files[file].Size,
				SHA256: files[file].SHA256,
			})
		}
		p := newProgress(a.stderr)
		pushed, err := client.Push(ctx, push, func(file string, sent, total int64) {
			p.show("push", sent, total, file, report.Bytes(sent))
		})
		p.clear()
		if err != nil {
			return err
		}
		if a.output == "json" {
			return printJSON(a.stdout, map[string]any{"to": to, "page": pushed.Page, "commit": pushed.Commit,
				"changed": pushed.Changed, "sent": pushed.Sent})
		}
		text := fmt.Sprintf("%d of %d files changed, %s sent", pushed.Changed, len(push.Files), report.Bytes(pushed.Sent))
		if pushed.Changed == 0 {
			text = "it was all there"
		}
		fmt.Fprintf(a.stdout, "%s: commit %s, %s\n", pushed.Page, pushed.Commit[:8], text)
		return nil
	})
}
