package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"distilvit/internal/version"
)

// libraries are the modules whose versions decide what a run computes or stores.
var libraries = []string{
	"github.com/gomlx/compute",
	"github.com/gomlx/go-xla",
	"github.com/gomlx/gomlx",
	"github.com/minio/minio-go/v7",
	"github.com/parquet-go/parquet-go",
	"github.com/temporalio/ui-server/v2",
	"github.com/versity/versitygw",
	"github.com/yalue/onnxruntime_go",
	"go.temporal.io/sdk",
	"go.temporal.io/server",
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "versions of the program and its libraries",
		Example: "  distilvit version\n  distilvit version -o json",
		Args:    args(0, 0, ""),
		RunE: func(*cobra.Command, []string) error {
			return a.printVersion()
		},
	}
}

func (a *app) printVersion() error {
	linked := map[string]string{}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			linked[module.Path] = module.Version
		}
	}
	if a.output == "json" {
		return printJSON(a.stdout, map[string]any{
			"version": version.Program(), "go": runtime.Version(),
			"platform": runtime.GOOS + "/" + runtime.GOARCH, "modules": chosen(linked),
		})
	}
	fmt.Fprintf(a.stdout, "distilvit %s, %s, %s/%s\n",
		version.Program(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	t := &table{}
	for _, module := range libraries {
		t.add(module, linked[module])
	}
	t.write(a.stdout, "  ")
	return nil
}

func chosen(linked map[string]string) map[string]string {
	versions := map[string]string{}
	for _, module := range libraries {
		if v := linked[module]; v != "" {
			versions[module] = v
		}
	}
	return versions
}
