package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"distilvit/dataset"
	"distilvit/model/hub"
)

func (a *app) preprocessCommand() *cobra.Command {
	var name, dir string
	cmd := &cobra.Command{
		Use:   "preprocess -m MODEL -o DIR IMAGE...",
		Short: "pictures as the model sees them",
		Long: `Write each picture as the model sees it, resized and before normalisation, to
DIR/NAME.png. MODEL needs only preprocessor_config.json.`,
		Example: "  distilvit preprocess -m demo -o seen/ photo.jpg",
		Args:    args(1, -1, "an IMAGE"),
		RunE: func(cmd *cobra.Command, images []string) error {
			if dir == "" {
				return usagef("preprocess needs -o DIR")
			}
			return a.withModelDir(cmd.Context(), name, hub.Patterns("preprocessor_config.json"), func(_ context.Context, model string) error {
				return a.preprocess(model, dir, images)
			})
		},
	}
	modelFlag(cmd, &name)
	cmd.Flags().StringVarP(&dir, "output", "o", "", "directory of the PNG files; made when absent")
	return cmd
}

func (a *app) preprocess(model, dir string, images []string) error {
	processor, err := dataset.ReadProcessor(model)
	if err != nil {
		return err
	}
	targets := map[string]string{}
	for _, path := range images {
		target := pngName(path)
		if other, taken := targets[target]; taken {
			return usagef("%s and %s would both become %s", other, path, target)
		}
		targets[target] = path
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fileError("output directory", dir, err)
	}
	return a.eachPicture(images, processor, func(path string, rgb []uint8) error {
		return writePNG(filepath.Join(dir, pngName(path)), rgb, processor.Width, processor.Height)
	})
}

func pngName(path string) string {
	base := filepath.Base(path)
	return strings.TrimSuffix(base, filepath.Ext(base)) + ".png"
}

// eachPicture hands on the pixels of every readable picture (H*W*3 RGB). An
// unreadable one costs a line and, at the end, exit code 1.
func (a *app) eachPicture(paths []string, processor dataset.Processor, do func(path string, rgb []uint8) error) error {
	var failed error
	for _, path := range paths {
		rgb, err := readPicture(path, processor)
		if err != nil {
			fmt.Fprintf(a.stderr, "distilvit: %v\n", err)
			failed = &quietError{errors.New("unreadable pictures")}
			continue
		}
		if err := do(path, rgb); err != nil {
			return err
		}
	}
	return failed
}

// readPicture is a picture file as the model sees it.
func readPicture(path string, processor dataset.Processor) ([]uint8, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fileError("picture", path, err)
	}
	rgb, _, err := processor.Pixels(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return rgb, nil
}

// writePNG stores H*W*3 RGB bytes as a PNG without alpha.
func writePNG(path string, rgb []uint8, width, height int) error {
	data, err := dataset.EncodePNG(rgb, width, height)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		return fileError("output", path, err)
	}
	return nil
}
