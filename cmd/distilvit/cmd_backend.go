package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"distilvit/internal/backend"
)

// installable is what backend install can get.
var installable = []string{"cpu", "cuda13", "onnxruntime"}

func (a *app) backendCommand() *cobra.Command {
	parent := &cobra.Command{
		Use:   "backend",
		Short: "install what computes",
		Args:  args(1, 1, "install"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return usagef("backend %s: use backend install", args[0])
		},
	}
	parent.AddCommand(&cobra.Command{
		Use:   "install " + strings.Join(installable, "|") + "...",
		Short: "install XLA's plugin for the CPU or CUDA, or ONNX Runtime",
		Long: `Install XLA's plugin for the CPU (several times faster than the built-in pure-Go
backend) or for CUDA, or ONNX Runtime (needed to check exports), into the user's
cache directory. Every download is checked by its SHA-256. Nothing else installs
anything.`,
		Example: "  distilvit backend install cpu onnxruntime",
		Args:    args(1, -1, "one of "+strings.Join(installable, ", ")),
		RunE: func(cmd *cobra.Command, what []string) error {
			return a.installBackends(cmd.Context(), what)
		},
	})
	return parent
}

func (a *app) installBackends(ctx context.Context, what []string) error {
	for _, name := range what {
		if !slices.Contains(installable, name) {
			return usagef("backend install %s: use %s", name, strings.Join(installable, ", "))
		}
	}
	cache, err := backendCache()
	if err != nil {
		return err
	}
	ctx, stop := a.interruptible(ctx, "")
	defer stop()
	for _, name := range what {
		path, err := backend.Install(ctx, name, cache, func(line string) { fmt.Fprintln(a.stderr, line) })
		if err != nil {
			return fmt.Errorf("install %s: %w", name, err)
		}
		if a.output == "json" {
			err = printLine(a.stdout, map[string]string{"installed": name, "path": path})
		} else {
			_, err = fmt.Fprintf(a.stdout, "%s: %s\n", name, path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
