package main

import (
	"fmt"
	"os"
	"runtime/pprof"

	"github.com/spf13/cobra"
)

// trainerSuffix is what the profiles of trainers have behind --profile's name, and
// then a process id: a run starts several of them.
const trainerSuffix = ".trainer"

// startProfile begins the CPU profile that --profile asks for.
func (a *app) startProfile(cmd *cobra.Command) error {
	if a.profile == "" {
		return nil
	}
	path := a.profile
	if cmd.Name() == trainerName {
		path = fmt.Sprintf("%s.%d", path, os.Getpid())
	}
	f, err := os.Create(path)
	if err != nil {
		return fileError("profile", path, err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		f.Close()
		return fmt.Errorf("profile: %w", err)
	}
	a.stopProfile = func() {
		pprof.StopCPUProfile()
		if err := f.Close(); err != nil {
			fmt.Fprintf(a.stderr, "distilvit: write profile %s: %v\n", path, err)
		}
	}
	return nil
}

// trainerArgs are the arguments of trainers that this process starts.
func (a *app) trainerArgs() []string {
	if a.profile == "" {
		return []string{trainerName}
	}
	return []string{trainerName, "--profile", a.profile + trainerSuffix}
}
