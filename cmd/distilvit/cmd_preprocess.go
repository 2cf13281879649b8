package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"distilvit/dataset/pixels"
	"distilvit/hub"
	"distilvit/pipeline"
)

func (a *app) preprocessCommand() *cobra.Command {
	var name, dir string
	var exif bool
	cmd := &cobra.Command{
		Use:   "preprocess -m MODEL -o DIR IMAGE...",
		Short: "pictures as the model sees them",
		Long: `Write each picture as the model sees it, resized and before normalisation, to
DIR/NAME.png. MODEL needs only preprocessor_config.json. IMAGE is ` + pictureForms + `.
As by Hugging Face's image processor, pictures are taken as they lie; --exif-orientation
turns them, as prepare.exif_orientation and distilvit caption do.`,
		Example: "  distilvit preprocess -m demo -o seen/ photo.jpg",
		Args:    args(1, -1, "an IMAGE"),
		RunE: func(cmd *cobra.Command, images []string) error {
			if dir == "" {
				return usagef("preprocess needs -o DIR")
			}
			return a.withModelDir(cmd.Context(), name, hub.Patterns("preprocessor_config.json"),
				func(ctx context.Context, model string) error {
					return a.preprocess(ctx, model, dir, images, exif)
				})
		},
	}
	modelFlag(cmd, &name)
	cmd.Flags().StringVarP(&dir, "output", "o", "", "directory of the PNG files; made when absent")
	exifFlag(cmd, &exif, false)
	return cmd
}

func (a *app) preprocess(ctx context.Context, model, dir string, given []string, exif bool) error {
	processor, err := pixels.ReadProcessor(model)
	if err != nil {
		return err
	}
	processor.ExifOrientation = exif
	list, err := a.namedPictures(given)
	if err != nil {
		return err
	}
	targets := map[string]string{}
	for _, picture := range list {
		target := pngName(picture.name)
		if other, taken := targets[target]; taken {
			return usagef("%s and %s would both become %s", other, picture.name, target)
		}
		targets[target] = picture.name
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fileError("output directory", dir, err)
	}
	decode := func(raw []byte) ([]uint8, error) {
		rgb, _, err := processor.Pixels(raw)
		return rgb, err
	}
	return eachPicture(ctx, list, decode, newProgress(a.stderr), func(name string, rgb []uint8) error {
		return writePNG(filepath.Join(dir, pngName(name)), rgb, processor.Width, processor.Height)
	})
}

// pngName is the file's name for a picture: of stdin stdin.png, of a URL its last part.
func pngName(path string) string {
	if path == "-" {
		return "stdin.png"
	}
	if pipeline.IsURL(path) {
		path = pipeline.ShownURL(path)
	}
	base := filepath.Base(path)
	return strings.TrimSuffix(base, filepath.Ext(base)) + ".png"
}

// writePNG stores H*W*3 RGB bytes as a PNG without alpha.
func writePNG(path string, rgb []uint8, width, height int) error {
	data, err := pixels.EncodePNG(rgb, width, height)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		return fileError("output", path, err)
	}
	return nil
}
