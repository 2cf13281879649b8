package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"distilvit/dataset"
	"distilvit/model"
	"distilvit/model/hub"
	"distilvit/model/tokenizer"
	"distilvit/model/train"
)

// captionBatch is how many pictures are captioned at once; fewer pictures make a
// smaller batch, so that one picture does not pay for 16.
const captionBatch = 16

// captionOptions are the flags of caption.
type captionOptions struct {
	model    string
	backend  string
	generate generateFlags
}

// captioned is one picture's caption, as printed with -o json.
type captioned struct {
	Image    string  `json:"image"`
	Caption  string  `json:"caption"`
	TokenIDs []int32 `json:"token_ids"` // without the start token, with the end token
}

func (a *app) captionCommand() *cobra.Command {
	var o captionOptions
	cmd := &cobra.Command{
		Use:   "caption -m MODEL IMAGE...",
		Short: "caption pictures",
		Long: `Caption pictures with a model, decoding as its generation_config.json says:
greedily, as Transformers.js does, or by beam search with its penalties, as Hugging
Face's generate() does. With -o json a line for each picture: {"image", "caption",
"token_ids"}.`,
		Example: `  distilvit caption -m demo picture.png
  distilvit caption -m ./model-directory -o json *.png
  distilvit caption -m hf:nlpconnect/vit-gpt2-image-captioning --beams 4 photo.jpg`,
		Args: args(1, -1, "an IMAGE"),
		RunE: func(cmd *cobra.Command, images []string) error {
			if err := o.generate.check(); err != nil {
				return err
			}
			return a.withModelDir(cmd.Context(), o.model, hub.ModelFiles, func(ctx context.Context, dir string) error {
				return a.caption(ctx, dir, o, images)
			})
		},
	}
	modelFlag(cmd, &o.model)
	backendFlag(cmd, &o.backend)
	o.generate.add(cmd)
	return cmd
}

func (a *app) caption(ctx context.Context, dir string, o captionOptions, images []string) error {
	c, err := openCaptioner(dir, o.backend)
	if err != nil {
		return err
	}
	defer c.close()
	generate, err := o.generate.options(dir)
	if err != nil {
		return err
	}
	size := min(captionBatch, len(images))
	generate.BatchSize = size
	var names []string
	var pixels []uint8
	flush := func() error {
		if len(names) == 0 {
			return nil
		}
		ids, err := c.Generate(pixels, len(names), generate)
		if err != nil {
			return fmt.Errorf("caption %s: %w", names[0], err)
		}
		for i, name := range names {
			if err := a.printCaption(captioned{name, c.tokenizer.Decode(ids[i], true), ids[i]}, len(images)); err != nil {
				return err
			}
		}
		names, pixels = names[:0], pixels[:0]
		return context.Cause(ctx)
	}
	failed := a.eachPicture(images, c.processor, func(path string, rgb []uint8) error {
		names, pixels = append(names, path), append(pixels, rgb...)
		if len(names) < size {
			return nil
		}
		return flush()
	})
	if err := flush(); err != nil {
		return err
	}
	return failed
}

func (a *app) printCaption(c captioned, of int) error {
	if a.output == "json" {
		return printLine(a.stdout, c)
	}
	if of == 1 {
		_, err := fmt.Fprintln(a.stdout, c.Caption)
		return err
	}
	_, err := fmt.Fprintf(a.stdout, "%s\t%s\n", c.Image, c.Caption)
	return err
}

// captioner is a MODEL ready to caption pictures.
type captioner struct {
	*model.Captioner
	processor dataset.Processor
	tokenizer *tokenizer.Tokenizer
	close     func()
}

// openCaptioner reads a model directory and compiles nothing yet. Everything that
// can be wrong with the directory is found before the backend is opened.
func openCaptioner(dir, kind string) (*captioner, error) {
	config, err := model.ReadConfig(dir)
	if err != nil {
		return nil, err
	}
	c := &captioner{}
	if c.processor, err = dataset.ReadProcessor(dir); err != nil {
		return nil, err
	}
	if c.tokenizer, err = tokenizer.Load(dir); err != nil {
		return nil, err
	}
	weights, err := model.ReadWeights(dir, config)
	if err != nil {
		return nil, err
	}
	opened, err := openBackend(kind)
	if err != nil {
		return nil, err
	}
	if c.Captioner, err = model.NewCaptioner(opened, config, weights); err != nil {
		opened.Finalize()
		return nil, err
	}
	c.SetNormalization(train.NormalizationOf(c.processor))
	c.close = func() {
		c.Captioner.Close()
		opened.Finalize()
	}
	return c, nil
}
