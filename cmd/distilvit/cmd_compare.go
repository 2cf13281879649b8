package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"distilvit/caption"
	"distilvit/dataset/pixels"
	"distilvit/hub"
	"distilvit/metrics"
	"distilvit/model"
	"distilvit/model/onnx"
	"distilvit/model/train"
	"distilvit/pipeline"
	"distilvit/report"
)

// compareOptions are the flags of compare.
type compareOptions struct {
	models   []string
	dataset  datasetFlags
	forms    []string
	backend  string
	html     string
	pictures int
}

// weightsForm is the form of a model that its own weights are, beside its ONNX dtypes.
const weightsForm = "weights"

func (a *app) compareCommand() *cobra.Command {
	var o compareOptions
	cmd := &cobra.Command{
		Use:   "compare -m MODEL [-m MODEL...] -d DATASET, or compare RUN RUN",
		Short: "models and their exports side by side, or two runs",
		Long: `Caption a dataset with several models and print them side by side: quality, time
and size. Each model is compared in every form it has, its weights and its ONNX
exports in ONNX Runtime, unless --forms says which. --html writes a page with the
pictures and everything that was said of them, those first on which models differ.

Every picture is captioned by itself, as in a web page; times are means without the
first picture: of a picture, to its first token, and of each token behind that. Both
decode as generation_config.json says, but exports greedily, as Transformers.js does,
whatever beams it asks for. DATASET is as in distilvit evaluate.

Two RUNs are compared by what they have stored: keys of their configs that differ, curves,
scores and exports; --html writes that as a page.`,
		Example: `  distilvit compare -m demo -d shapes --limit 200
  distilvit compare -m first -m second -d coco:captions.json,images/ --html compare.html
  distilvit compare -m demo -d config.yaml --forms q8,weights -o json
  distilvit compare first second --html runs.html`,
		Args: args(0, 2, ""),
		RunE: func(cmd *cobra.Command, runs []string) error {
			if len(runs) > 0 {
				if len(runs) != 2 || len(o.models) > 0 {
					return usagef("compare takes two RUNs, or -m MODEL and -d DATASET")
				}
				return a.compareRuns(cmd.Context(), runs, o.html)
			}
			if len(o.models) == 0 {
				return usagef("-m MODEL is missing: give one or more")
			}
			if err := o.dataset.check(); err != nil {
				return err
			}
			if o.pictures < 0 {
				return usagef("--pictures must be at least 0")
			}
			for _, form := range o.forms {
				if form != weightsForm && !slices.Contains(onnx.Dtypes(), form) {
					return usagef(
						"--forms %s: use %s, %s", form, weightsForm, strings.Join(onnx.Dtypes(), ", "),
					)
				}
			}
			return a.withModelDirs(cmd.Context(), o.models, nil,
				func(ctx context.Context, dirs []string) error {
					return a.compare(ctx, dirs, o)
				})
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVarP(&o.models, "model", "m", nil, "MODEL, as in distilvit caption; may be repeated")
	o.dataset.add(cmd)
	flags.StringSliceVar(
		&o.forms, "forms", nil,
		"forms to compare: weights, "+strings.Join(onnx.Dtypes(), ", ")+" (default: all that a model has)",
	)
	flags.StringVar(&o.html, "html", "",
		"write a page to this file, with the pictures and captions, or of two runs with their curves")
	flags.IntVar(&o.pictures, "pictures", 100, "pictures on that page")
	backendFlag(cmd, &o.backend)
	return cmd
}

// withModelDirs is withModelDir for several.
func (a *app) withModelDirs(
	ctx context.Context, names, dirs []string, do func(ctx context.Context, dirs []string) error,
) error {
	if len(dirs) == len(names) {
		return do(ctx, dirs)
	}
	return a.withModelDir(ctx, names[len(dirs)], hub.ModelFiles, func(ctx context.Context, dir string) error {
		return a.withModelDirs(ctx, names, append(slices.Clone(dirs), dir), do)
	})
}

// comparison is what compare prints with -o json.
type comparison struct {
	Dataset  string       `json:"dataset"`
	Pictures int          `json:"pictures"`
	Models   []*contender `json:"models"`
}

// contender is a model in one form, and how it did.
type contender struct {
	Model        string  `json:"model"`
	Form         string  `json:"form"`  // weights or a dtype
	Bytes        int64   `json:"bytes"` // of the weights or graphs
	MsPerPicture float64 `json:"ms_per_picture"`
	MsFirstToken float64 `json:"ms_first_token"` // the encoder's part in it
	MsPerToken   float64 `json:"ms_per_token"`   // of those behind the first; 0 where there is none
	metrics.Scores

	dir         string
	predictions []metrics.Prediction
}

func (c *contender) name() string { return c.Model + " " + c.Form }

func (a *app) compare(ctx context.Context, dirs []string, o compareOptions) error {
	contenders, err := contendersOf(dirs, o)
	if err != nil {
		return err
	}
	_, processor, err := train.ReadNetwork(dirs[0])
	if err != nil {
		return err
	}
	p := newProgress(a.stderr)
	defer p.clear()
	pictures, err := a.openDataset(ctx, o.dataset, processor.Width, p)
	if err != nil {
		return err
	}
	defer pictures.close()
	total := int64(len(pictures.numbers))
	tally, err := pictures.readable(ctx, processor, func(done int) { p.show("read", int64(done), total) })
	if err != nil {
		return err
	}
	pictures.tell(p, tally)
	for _, c := range contenders {
		if err := c.captionAll(ctx, o.backend, pictures, p); err != nil {
			return fmt.Errorf("%s: %w", c.name(), err)
		}
	}
	p.clear()
	rule := a.wordsFor(pipeline.WordsAuto, contenders[0].predictions) // all have the same references
	for _, c := range contenders {
		c.Scores, _ = metrics.Score(c.predictions, rule)
	}
	if o.html != "" {
		page, err := comparePage(ctx, o, contenders, pictures)
		if err != nil {
			return err
		}
		if err := os.WriteFile(o.html, page, 0o644); err != nil {
			return fileError("page", o.html, err)
		}
	}
	if a.output == "json" {
		return printJSON(a.stdout, comparison{o.dataset.name, len(pictures.list), contenders})
	}
	compareTable(contenders).write(a.stdout, "")
	return nil
}

// contendersOf are the forms of every model that are there and asked for.
func contendersOf(dirs []string, o compareOptions) ([]*contender, error) {
	var list []*contender
	for i, dir := range dirs {
		found := len(list)
		for _, form := range append([]string{weightsForm}, onnx.Dtypes()...) {
			size, err := sizeOf(dir, form)
			if wanted := slices.Contains(o.forms, form); err != nil && wanted {
				return nil, fmt.Errorf("MODEL %s has no %s: %w", o.models[i], form, err)
			} else if err != nil || len(o.forms) > 0 && !wanted {
				continue
			}
			list = append(list, &contender{Model: o.models[i], Form: form, Bytes: size, dir: dir})
		}
		if len(list) == found {
			return nil, fmt.Errorf("MODEL %s has neither weights nor ONNX files", o.models[i])
		}
	}
	return list, nil
}

// sizeOf is the bytes of a form's weights or graphs, all of which are there.
func sizeOf(dir, form string) (size int64, err error) {
	if form != weightsForm {
		return onnx.FilesSize(dir, form)
	}
	files, err := model.WeightFiles(dir)
	if err != nil {
		return 0, err
	}
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			return 0, err
		}
		size += info.Size()
	}
	return size, nil
}

// captionAll captions and scores. All pictures can be read, and another error is one
// here: side by side, every model must have seen the same.
func (c *contender) captionAll(ctx context.Context, kind string, pictures *examples, p *progress) error {
	_, processor, err := train.ReadNetwork(c.dir)
	if err != nil {
		return err
	}
	reader, err := pictures.reader(processor)
	if err != nil {
		return err
	}
	defer reader.Close()
	captioner, err := openCaptioner(c.dir, c.Form, kind, caption.Options{})
	if err != nil {
		return err
	}
	defer captioner.Close()
	var total, first time.Duration
	further := 0 // tokens
	for i, example := range pictures.list {
		row, err := reader.Row(ctx, example)
		if err != nil {
			return fmt.Errorf("picture %s: %w", example.ID, err)
		}
		picture, err := captioner.Pixels(row.Pixels)
		if err != nil {
			return fmt.Errorf("picture %s: %w", example.ID, err)
		}
		said, took, err := captioner.Timed(ctx, picture)
		if err != nil {
			return fmt.Errorf("caption %s: %w", example.ID, err)
		}
		if i > 0 { // the first pays for compiling
			total, first, further = total+took.Total, first+took.First, further+took.Steps-1
		}
		c.predictions = append(c.predictions, metrics.Prediction{
			ImageID: example.ID, Caption: said.Text, TokenIDs: said.TokenIDs,
			References: example.Captions, Group: example.Group,
		})
		p.show(c.name(), int64(i+1), int64(len(pictures.list)))
	}
	timed := float64(max(1, len(pictures.list)-1))
	c.MsPerPicture, c.MsFirstToken = 1000*total.Seconds()/timed, 1000*first.Seconds()/timed
	c.MsPerToken = 1000 * (total - first).Seconds() / float64(max(1, further))
	return nil
}

func compareTable(contenders []*contender) *table {
	t := &table{right: true}
	t.add("", "weights", "ms a picture", "first token", "each further", "rouge1", "rougeL", "bleu4", "cider", "exact %", "length")
	for _, c := range contenders {
		row := []string{
			c.name(), report.Bytes(c.Bytes), fmt.Sprintf("%.1f", c.MsPerPicture), fmt.Sprintf("%.1f", c.MsFirstToken),
			fmt.Sprintf("%.2f", c.MsPerToken),
		}
		for _, score := range []float64{c.Rouge1, c.RougeL, c.Bleu4, c.Cider, c.ExactMatch} {
			row = append(row, fmt.Sprintf("%.2f", score))
		}
		t.add(append(row, fmt.Sprintf("%.1f", c.GenLen))...)
	}
	return t
}

// comparePage shows the pictures on which the models differ first.
func comparePage(
	ctx context.Context, o compareOptions, contenders []*contender, pictures *examples,
) ([]byte, error) {
	page := report.Comparison{Dataset: o.dataset.name, Total: len(pictures.list)}
	for _, c := range contenders {
		page.Models = append(page.Models, report.Compared{
			Name: c.name(), Bytes: c.Bytes,
			Latency: ms(c.MsPerPicture), FirstToken: ms(c.MsFirstToken), FurtherToken: ms(c.MsPerToken),
			RougeL: c.RougeL, Bleu4: c.Bleu4, Cider: c.Cider, Exact: c.ExactMatch, GenLen: c.GenLen,
		})
	}
	order := make([]int, len(pictures.list))
	shown := make([]report.ComparedPicture, len(pictures.list))
	for i, example := range pictures.list {
		order[i] = i
		shown[i].Sample = report.Sample{
			ImageID: example.ID, Group: example.Group, References: example.Captions,
		}
		for _, c := range contenders {
			shown[i].Captions = append(shown[i].Captions, c.predictions[i].Caption)
		}
	}
	slices.SortStableFunc(
		order, func(x, y int) int { return cmp.Compare(differs(shown[y]), differs(shown[x])) },
	)
	processor, err := pixels.ReadProcessor(contenders[0].dir)
	if err != nil {
		return nil, err
	}
	reader, err := pictures.reader(processor)
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	for _, i := range order[:min(o.pictures, len(order))] {
		row, err := reader.Row(ctx, pictures.list[i])
		if err != nil {
			return nil, err
		}
		shown[i].Picture, err = pixels.EncodePNG(row.Pixels, processor.Width, processor.Height)
		if err != nil {
			return nil, err
		}
		page.Pictures = append(page.Pictures, shown[i])
	}
	return report.CompareHTML(page), nil
}

func ms(n float64) time.Duration { return time.Duration(n * float64(time.Millisecond)) }

func differs(p report.ComparedPicture) int {
	if p.Differ() {
		return 1
	}
	return 0
}
