package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/gomlx/compute"
	"github.com/spf13/cobra"

	"distilvit/caption"
	"distilvit/dataset/pixels"
	"distilvit/hub"
	"distilvit/model/onnx"
)

// captionBatch is how many pictures are captioned at once; fewer pictures make a
// smaller batch, so that one picture does not pay for 16.
const captionBatch = 16

// captionOptions are the flags of caption.
type captionOptions struct {
	model    string
	backend  string
	onnx     string // dtype; empty: the weights
	exif     bool   // turn pictures as their EXIF tag says
	generate generateFlags
}

// captioned is one picture's caption, as printed with -o json.
type captioned struct {
	Image string `json:"image"` // as it was given; - is stdin
	caption.Caption
}

func (a *app) captionCommand() *cobra.Command {
	var o captionOptions
	cmd := &cobra.Command{
		Use:   "caption -m MODEL IMAGE...",
		Short: "caption pictures",
		Long: `Caption pictures with a model, decoding as its generation_config.json says:
greedily, as Transformers.js does, or by beam search with its penalties, as Hugging
Face's generate() does. IMAGE is ` + pictureForms + `. Pictures that lie on
their side and say so in an EXIF tag, as phones store them, are turned upright, as by serve, browsers
and the pipelines of Hugging Face's transformers; --exif-orientation=false takes them as they lie.

Every picture has a line, its name and its caption with a tab between; one IMAGE that is no
folder only its caption. With -o json: {"image", "caption", "token_ids"}. A picture that
cannot be read costs a line on stderr, the others are captioned all the same, and the exit
code is 1. A URL is asked once, for a minute and ` + fmt.Sprint(pixels.MaxFileBytes>>20) + ` MiB at most.`,
		Example: `  distilvit caption -m demo picture.png
  distilvit caption -m ./model-directory -o json *.png
  distilvit caption -m demo photos/ > captions.tsv
  distilvit caption -m demo --onnx q4 picture.png
  curl -s https://example.org/a.jpg | distilvit caption -m demo -
  distilvit caption -m hf:nlpconnect/vit-gpt2-image-captioning --beams 4 photo.jpg`,
		Args: args(1, -1, "an IMAGE"),
		RunE: func(cmd *cobra.Command, images []string) error {
			if err := o.generate.check(); err != nil {
				return err
			}
			if o.onnx != "" && !slices.Contains(onnx.Dtypes(), o.onnx) {
				return usagef("--onnx %s: use %s", o.onnx, strings.Join(onnx.Dtypes(), ", "))
			}
			if o.onnx != "" && o.generate.beams > 1 {
				return usagef("--beams %d: an export captions greedily; leave --onnx out", o.generate.beams)
			}
			return a.withModelDir(cmd.Context(), o.model, hub.ModelFiles,
				func(ctx context.Context, dir string) error {
					return a.caption(ctx, dir, o, images)
				})
		},
	}
	modelFlag(cmd, &o.model)
	backendFlag(cmd, &o.backend)
	cmd.Flags().StringVar(&o.onnx, "onnx", "",
		"caption with this export of MODEL in ONNX Runtime, greedily: "+strings.Join(onnx.Dtypes(), ", "))
	exifFlag(cmd, &o.exif, true)
	o.generate.add(cmd)
	return cmd
}

// exifFlag lets a command turn pictures, or not.
func exifFlag(cmd *cobra.Command, turn *bool, standard bool) {
	cmd.Flags().BoolVar(turn, "exif-orientation", standard, "turn pictures as their EXIF tag says")
}

func (a *app) caption(ctx context.Context, dir string, o captionOptions, given []string) error {
	list, err := a.namedPictures(given)
	if err != nil {
		return err
	}
	c, err := openCaptioner(dir, cmp.Or(o.onnx, weightsForm), o.backend, caption.Options{
		NumBeams: o.generate.beams, MaxLength: o.generate.maxLength, BatchSize: min(captionBatch, len(list)),
		ExifOrientation: o.exif,
	})
	if err != nil {
		return err
	}
	defer c.Close()
	b := &captionRun{app: a, ctx: ctx, captioner: c, progress: newProgress(a.stderr), total: len(list)}
	b.alone = len(list) == 1 && list[0].name == given[0]
	defer b.progress.clear()
	failed := eachPicture(ctx, list, c.Decode, b.progress, b.add)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := b.flush(); err != nil {
		return err
	}
	return failed
}

// openCaptioner opens a form of a model directory: weightsForm, on a backend of a kind, or an export's dtype.
func openCaptioner(dir, form, kind string, o caption.Options) (*caption.Captioner, error) {
	if form != weightsForm {
		o.Dtype = form
	}
	o.Backend = func() (compute.Backend, error) { return openBackend(kind) }
	return caption.Open(dir, o)
}

// captionRun captions pictures a batch at a time, in their order.
type captionRun struct {
	app       *app
	ctx       context.Context
	captioner *caption.Captioner
	progress  *progress
	pace      pace
	alone     bool // one picture is asked for: its caption needs no name

	names       []string // of the batch under way
	pictures    []caption.Picture
	done, total int
}

func (r *captionRun) add(name string, picture caption.Picture) error {
	r.names, r.pictures = append(r.names, name), append(r.pictures, picture)
	if len(r.names) < min(captionBatch, r.total) {
		return nil
	}
	return r.flush()
}

func (r *captionRun) flush() error {
	if len(r.names) == 0 {
		return nil
	}
	captions, err := r.captioner.Caption(r.ctx, r.pictures...)
	if err != nil {
		return fmt.Errorf("caption %s: %w", r.names[0], err)
	}
	r.progress.clear()
	for i, name := range r.names {
		if err := r.print(captioned{name, captions[i]}); err != nil {
			return err
		}
	}
	r.done += len(r.names)
	r.names, r.pictures = r.names[:0], r.pictures[:0]
	r.show()
	return nil
}

// show says how far many pictures are; few are soon done.
func (r *captionRun) show() {
	if r.total <= captionBatch || r.done == r.total {
		return
	}
	var details []string
	if left := r.pace.left(r.progress.now(), int64(r.done), int64(r.total)); left > 0 {
		details = append(details, durationText(left)+" left")
	}
	r.progress.show("caption", int64(r.done), int64(r.total), details...)
}

func (r *captionRun) print(c captioned) error {
	if r.app.output == "json" {
		return printLine(r.app.stdout, c)
	}
	if r.alone {
		_, err := fmt.Fprintln(r.app.stdout, c.Text)
		return err
	}
	_, err := fmt.Fprintf(r.app.stdout, "%s\t%s\n", c.Image, c.Text)
	return err
}
