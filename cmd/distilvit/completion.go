package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"distilvit/internal/devstack"
	"distilvit/pipeline"
	"distilvit/storage/layout"
)

// complete adds what a shell may complete to the command line: runs, keys of the config, forms of output.
func (a *app) complete(root *cobra.Command) {
	var each func(*cobra.Command)
	each = func(cmd *cobra.Command) {
		if words := strings.Fields(cmd.Use); len(words) > 1 && words[1] == "RUN" {
			cmd.ValidArgsFunction = func(cmd *cobra.Command, given []string, begun string) ([]string, cobra.ShellCompDirective) {
				if len(given) > 0 {
					return nil, cobra.ShellCompDirectiveDefault
				}
				return beginning(begun, a.runNames(cmd.Context())), cobra.ShellCompDirectiveNoFileComp
			}
		}
		for flag, values := range map[string]func(context.Context) []string{
			"set":   func(context.Context) []string { return assignments() },
			"id":    a.runNames,
			"model": a.runNames,
		} {
			if cmd.Flags().Lookup(flag) == nil {
				continue
			}
			directive := cobra.ShellCompDirectiveNoSpace // the value follows a key
			switch flag {
			case "id":
				directive = cobra.ShellCompDirectiveNoFileComp
			case "model":
				directive = cobra.ShellCompDirectiveDefault
			}
			must(cmd.RegisterFlagCompletionFunc(flag,
				func(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
					return beginning(begun, values(cmd.Context())), directive
				}))
		}
		for _, sub := range cmd.Commands() {
			each(sub)
		}
	}
	each(root)
	must(root.RegisterFlagCompletionFunc("output",
		cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp)))
}

// beginning are the values that go on with what is typed already.
func beginning(begun string, values []string) []string {
	return slices.DeleteFunc(values, func(v string) bool { return !strings.HasPrefix(v, begun) })
}

// must is for what only a mistake in this program makes fail.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// assignments are the keys of a config with their sign, as --set takes them.
func assignments() []string {
	keys := pipeline.Keys()
	for i, key := range keys {
		keys[i] = key + "="
	}
	return keys
}

// completionLimit is how long a server elsewhere may take to tell its runs: somebody waits for a key press.
const completionLimit = 2 * time.Second

// runNames are the runs that a shell offers; none where nothing is known. Of the embedded stack
// those that have stored something, which is seen without starting it.
func (a *app) runNames(ctx context.Context) []string {
	if external, err := a.external(); err != nil || external {
		return a.externalRuns(ctx)
	}
	data, err := a.dataDir()
	if err != nil {
		return nil
	}
	found, err := os.ReadDir(devstack.ObjectsDir(data, filepath.Join(bucket, layout.Runs)))
	if err != nil {
		return nil
	}
	var names []string
	for _, entry := range found {
		if pipeline.CheckRunID(entry.Name()) == nil {
			names = append(names, entry.Name())
		}
	}
	return names
}

func (a *app) externalRuns(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, completionLimit)
	defer cancel()
	s, err := a.openSite(ctx, devstack.Options{})
	if err != nil {
		return nil
	}
	defer s.close()
	runs, err := listRuns(ctx, s.client)
	if err != nil {
		return nil
	}
	var names []string
	for _, run := range runs {
		names = append(names, run.ID)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
