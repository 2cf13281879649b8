package main

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"io/fs"
	"iter"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"distilvit/dataset"
)

// benchPrepareOptions are the flags of bench prepare.
type benchPrepareOptions struct {
	side, pictures, captions int
	rounds                   roundFlags
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
	o.rounds.add(cmd, "rounds", 5, 1)
	return cmd
}

func (a *app) benchPrepare(o benchPrepareOptions, names []string) error {
	if o.pictures < 1 || o.captions < 0 {
		return usagef("--pictures must be at least 1, --captions at least 0")
	}
	if err := o.rounds.check(); err != nil {
		return err
	}
	processor := dataset.NewProcessor(o.side)
	if err := processor.Validate(); err != nil {
		return usagef("--side %d: %w", o.side, err)
	}
	files, err := readPictures(names)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		files = drawnPictures(o.pictures)
	}
	if len(files) == 0 {
		return usagef("no pictures in %v", names)
	}
	list, err := o.measure(files, processor)
	if err != nil {
		return err
	}
	return a.printMeasurements(list...)
}

// measure is decoding and resizing, storing, restoring.
func (o *benchPrepareOptions) measure(files []pictureFile, processor dataset.Processor) ([]measurement, error) {
	rows := make([]dataset.Row, len(files))
	for i := range rows {
		rows[i].ID = strconv.Itoa(i)
		for range o.captions {
			rows[i].Captions = append(rows[i].Captions, "a man is riding a wave on a surfboard in the ocean")
		}
	}
	one := measurement{Bench: "prepare", With: "Go", Pictures: len(files), Captions: o.captions, Unit: "pictures"}
	decode, store, restore := one, one, one
	decode.With = "JPEG by " + dataset.JPEGDecoder()
	decode.Work, store.Work, restore.Work = "decode and resize", "store", "restore"

	err := o.rounds.measure(&decode, len(files), func() (err error) {
		for i, f := range files {
			if rows[i].Pixels, _, err = processor.Pixels(f.data); err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var shard bytes.Buffer
	err = o.rounds.measure(&store, len(files), func() error {
		shard.Reset()
		_, err := dataset.WriteShard(&shard, o.side, o.side, each(rows))
		return err
	})
	if err != nil {
		return nil, err
	}
	store.Bytes = float64(shard.Len()) / float64(len(files))
	pixels := make([]uint8, len(rows[0].Pixels))
	err = o.rounds.measure(&restore, len(files), func() error {
		s, err := dataset.OpenShard(bytes.NewReader(shard.Bytes()), int64(shard.Len()))
		if err != nil {
			return err
		}
		for i := range rows {
			if err := s.ReadPixels(i, pixels); err != nil {
				return err
			}
			if !bytes.Equal(pixels, rows[i].Pixels) {
				return fmt.Errorf("picture %d came back changed", i)
			}
		}
		return nil
	})
	return []measurement{decode, store, restore}, err
}

func each(rows []dataset.Row) iter.Seq2[dataset.Row, error] {
	return func(yield func(dataset.Row, error) bool) {
		for _, row := range rows {
			if !yield(row, nil) {
				return
			}
		}
	}
}

// pictureFile is an encoded picture in memory.
type pictureFile struct {
	name string
	data []byte
}

// readPictures reads files and the files of directories, sorted by name.
func readPictures(names []string) ([]pictureFile, error) {
	var files []pictureFile
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
			data, err := os.ReadFile(path)
			if err != nil {
				return nil, fileError("picture", path, err)
			}
			files = append(files, pictureFile{path, data})
		}
	}
	return files, nil
}

// drawnPictures are gradients, waves and some noise as JPEG files.
func drawnPictures(n int) []pictureFile {
	rng := rand.New(rand.NewPCG(5, 6))
	files := make([]pictureFile, n)
	for i := range files {
		m := image.NewRGBA(image.Rect(0, 0, 640, 480))
		wave, phase := 0.01+0.05*rng.Float64(), rng.Float64()
		for y := range 480 {
			for x := range 640 {
				v := 120 + 90*math.Sin(wave*float64(x)+phase*float64(y)/40) + 8*rng.NormFloat64()
				m.SetRGBA(x, y, color.RGBA{uint8(max(0, min(255, v))), uint8(x * 255 / 640), uint8(y * 255 / 480), 255})
			}
		}
		var b bytes.Buffer
		_ = jpeg.Encode(&b, m, &jpeg.Options{Quality: 90}) // writing to memory does not fail
		files[i] = pictureFile{"drawn " + strconv.Itoa(i), b.Bytes()}
	}
	return files
}
