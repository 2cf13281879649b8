package main

import (
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"distilvit/dataset/pixels"
	"distilvit/internal/bench"
)

// benchPrepareOptions are the flags of bench prepare.
type benchPrepareOptions struct {
	side, pictures, captions int
	rounds                   bench.Rounds
}

func (a *app) benchPrepareCommand() *cobra.Command {
	var o benchPrepareOptions
	cmd := &cobra.Command{
		Use:   "prepare [IMAGE|DIRECTORY...]",
		Short: "measure decoding, resizing and storing pictures",
		Long: `Measure what a picture costs on its way into a shard and out of it, on one thread:
decode and resize exactly as Hugging Face's image processor does, store (lossless, with
--captions captions, in Parquet), restore, and the bytes it takes. The pictures are
read into memory first; those of a directory are all files in it.

Without pictures, --pictures drawn ones stand in: JPEG, 640 × 480, quality 90. They
compress like no photograph, so their bytes mean nothing.`,
		Example: `  distilvit bench prepare photos/
  distilvit bench prepare -o json a.jpg b.png --side 384`,
		Args: args(0, -1, ""),
		RunE: func(_ *cobra.Command, names []string) error { return a.benchPrepare(o, names) },
	}
	flags := cmd.Flags()
	flags.IntVar(&o.side, "side", 224, "pixels of the result's sides")
	flags.IntVar(&o.pictures, "pictures", 16, "pictures to draw where none are given")
	flags.IntVar(&o.captions, "captions", 5, "captions stored with a picture")
	roundFlags(cmd, &o.rounds, "rounds", 5, 1)
	return cmd
}

func (a *app) benchPrepare(o benchPrepareOptions, names []string) error {
	if o.pictures < 1 || o.captions < 0 {
		return usagef("--pictures must be at least 1, --captions at least 0")
	}
	if err := checkRounds(o.rounds); err != nil {
		return err
	}
	processor := pixels.NewProcessor(o.side)
	if err := processor.Validate(); err != nil {
		return usagef("--side %d: %w", o.side, err)
	}
	files, err := readPictures(names)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		files = bench.DrawnPictures(o.pictures)
	}
	if len(files) == 0 {
		return usagef("no pictures in %v", names)
	}
	list, err := bench.Prepare(files, processor, o.captions, o.rounds)
	if err != nil {
		return err
	}
	return a.printMeasurements(list...)
}

// readPictures reads files and the files of directories, sorted by name.
func readPictures(names []string) ([]bench.Picture, error) {
	var files []bench.Picture
	for _, name := range names {
		var paths []string
		err := filepath.WalkDir(name, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				paths = append(paths, path)
			}
			return err
		})
		if err != nil {
			return nil, fileError("picture", name, err)
		}
		for _, path := range slices.Sorted(slices.Values(paths)) {
			data, err := pixels.ReadFile(path)
			if err != nil {
				return nil, fileError("picture", path, err)
			}
			files = append(files, bench.Picture{Name: path, Data: data})
		}
	}
	return files, nil
}
