package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"distilvit/internal/devstack"
	"distilvit/model/trainer"
)

// trainerName is the command that trainers are.
const trainerName = "trainer"

// trainerCommand is the child that trains: it talks JSON lines on two extra
// descriptors with the worker that started it.
func (a *app) trainerCommand() *cobra.Command {
	return &cobra.Command{
		Use:    trainerName,
		Short:  "child of a worker: trains and captions",
		Hidden: true,
		Args:   args(0, 0, ""),
		RunE: func(*cobra.Command, []string) error {
			if status := trainer.Main(); status != 0 {
				return &quietError{fmt.Errorf("trainer: exit status %d", status)}
			}
			return nil
		},
	}
}

// s3dCommand is the child that serves S3 to the embedded stack.
func (a *app) s3dCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "s3d",
		Short:  "child of the embedded stack: serves S3",
		Hidden: true,
		Args:   args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return devstack.ServeS3(cmd.Context(), a.stdin)
		},
	}
}
