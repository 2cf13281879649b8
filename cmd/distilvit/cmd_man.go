package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"distilvit/internal/version"
)

func (a *app) manCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "man -o DIR",
		Short: "write the manual pages of all commands",
		Long: `Write a manual page for each command, made of what --help says, to DIR: distilvit.1,
distilvit-run.1 and so on. man finds them in a directory man1 below one of its MANPATH.`,
		Example: `  distilvit man -o ~/.local/share/man/man1 && man distilvit-run`,
		Args:    args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" {
				return usagef("man needs -o DIR")
			}
			return a.writeMan(cmd.Root(), dir)
		},
	}
	cmd.Flags().StringVarP(&dir, "output", "o", "", "directory of the pages; made when absent")
	return cmd
}

func (a *app) writeMan(root *cobra.Command, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fileError("output directory", dir, err)
	}
	root.DisableAutoGenTag = true // its date would make every page another one each day
	header := &doc.GenManHeader{Section: "1", Source: "distilvit " + version.Program(), Manual: "distilvit"}
	if err := doc.GenManTree(root, header, dir); err != nil {
		return fileError("output directory", dir, err)
	}
	pages, err := filepath.Glob(filepath.Join(dir, "distilvit*.1"))
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "%d pages in %s\n", len(pages), dir)
	return nil
}
