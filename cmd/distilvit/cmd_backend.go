package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"distilvit/internal/backend"
)

func (a *app) backendCommand() *cobra.Command {
	installable := backend.Installable()
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
		Short: "install XLA's plugin for the CPU or CUDA, ONNX Runtime, or Transformers.js",
		Long: `Install XLA's plugin for the CPU (several times faster than the built-in pure-Go
backend) or for CUDA, ONNX Runtime (needed to check exports), Transformers.js with its
ONNX Runtime for web pages, or transformers.js-node, the same for Node (with these, Node
and Chromium exports are checked where they will run), into the user's cache directory.
Plugins and ONNX Runtime come through pip, Transformers.js through npm; every download is
checked by a digest before it is unpacked. cuda13 is jax's plugin with NVIDIA's libraries,
14 wheels of 2.5 GB (3.8 unpacked); what only Python or a C++ compiler needs of them is left out. Nothing
else installs anything. DISTILVIT_PLUGIN=PATH names another PJRT plugin that any command uses
instead: CUDA's where its file name says cuda or nvidia, else the CPU's.`,
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
		if !slices.Contains(backend.Installable(), name) {
			return usagef("backend install %s: use %s", name, strings.Join(backend.Installable(), ", "))
		}
	}
	cache, err := backend.CacheDir()
	if err != nil {
		return err
	}
	ctx, stop := a.interruptible(ctx, "")
	defer stop()
	for _, name := range what {
		path, err := backend.Install(ctx, name, cache, func(line string) { fmt.Fprintln(a.stderr, line) })
		if err != nil {
			return err
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
