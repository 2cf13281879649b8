package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"gopkg.in/yaml.v3"

	"distilvit/dataset/inspect"
	"distilvit/dataset/pixels"
	"distilvit/hub"
	"distilvit/model/tokenizer"
	"distilvit/pipeline"
	"distilvit/report"
)

// inspectOptions are the flags of inspect.
type inspectOptions struct {
	name      string
	model     string
	maxLength int
	limit     int
	top       int
	near      int
	words     string
	html      string
}

func (a *app) inspectCommand() *cobra.Command {
	var o inspectOptions
	cmd := &cobra.Command{
		Use:   "inspect DATASET",
		Short: "look at a dataset before training on it",
		Long: `Read all pictures and captions of a DATASET as a run would, and say what is there:
pictures by source and split, captions a picture, their lengths, scripts and words,
pictures that occur twice, above all in training and in test, captions that occur
twice, and what cannot be used, with the reason. Nothing is stored.

DATASET is as in distilvit evaluate: ` + datasetForms + `.

Near duplicates are pictures whose perceptual hashes (ImageHash's phash, 64 bits) differ
in at most --near bits and whose colours are alike: the same picture in another size
or compression. --words counts terms of your own, a file with a line [GROUP] before
the terms of each group; without it an English list of words of gender, origin and age.
Tokens are counted, and captions that a run would cut, with the tokenizer of -m MODEL.
Beyond a million or so, pictures and captions are compared through temporary files,
154 bytes a picture and 17 a caption, in $TMPDIR.`,
		Example: `  distilvit inspect config.yaml
  distilvit inspect photos/
  distilvit inspect folder:captions.csv,photos/ --html findings.html
  distilvit inspect coco:captions.json,images/ -m hf:Mozilla/distilvit -o json`,
		Args: args(1, 1, "a DATASET: "+datasetForms),
		RunE: func(cmd *cobra.Command, given []string) error {
			o.name = given[0]
			if err := o.check(); err != nil {
				return err
			}
			if o.model != "" {
				return a.withModelDir(cmd.Context(), o.model, hub.TokenizerFiles,
					func(ctx context.Context, dir string) error { return a.inspect(ctx, dir, o) })
			}
			ctx, stop := a.interruptible(cmd.Context(), "")
			defer stop()
			return a.inspect(ctx, "", o)
		},
	}
	modelFlag(cmd, &o.model)
	flags := cmd.Flags()
	flags.IntVar(&o.maxLength, "max-length", 0,
		"tokens of a caption at most, as train.max_length (default: DATASET's, or what its training captions need)")
	flags.IntVar(&o.limit, "limit", 0, "pictures of each split at most; 0: all")
	flags.IntVar(&o.top, "top", 20, "entries of every list at most")
	flags.IntVar(&o.near, "near", 6, "bits in which the hashes of near duplicates differ at most")
	flags.StringVar(&o.words, "words", "", "count the terms of this file (default: an English list)")
	flags.StringVar(&o.html, "html", "", "write a page with the findings and their pictures to this file")
	return cmd
}

func (o inspectOptions) check() error {
	switch {
	case o.maxLength < 0 || o.limit < 0:
		return usagef("--max-length and --limit must be at least 0")
	case o.top < 1:
		return usagef("--top must be at least 1")
	case o.near < 0 || o.near > inspect.MaxNear:
		return usagef("--near must be 0 to %d", inspect.MaxNear)
	}
	return nil
}

// inspect looks at a DATASET; modelDir is where a tokenizer is, or empty.
func (a *app) inspect(ctx context.Context, modelDir string, o inspectOptions) error {
	p := newProgress(a.stderr)
	defer p.clear()
	cfg, isFile, err := a.parseDataset(ctx, o.name, 0)
	if none := new(noCaptionsError); errors.As(err, &none) && none.pictures > 0 {
		p.line("%s has %d pictures and no captions: only the pictures are looked at", none.dir, none.pictures)
		cfg, err = oneSource(pipeline.SourceConfig{
			Kind: pipeline.KindFolder, Images: pipeline.Paths{o.name}, Caption: noCaption,
		})
	}
	if err != nil {
		return err
	}
	if isFile {
		if err := addTrain(&cfg, o.name); err != nil {
			return err
		}
	}
	if o.maxLength > 0 {
		cfg.Train.MaxLength = o.maxLength
	}
	cfg = cfg.Resolve()
	look, err := o.options(cfg, modelDir)
	if err != nil {
		return err
	}
	p.show("list", 0, 0)
	e, err := a.listDataset(ctx, cfg, p)
	if err != nil {
		return err
	}
	defer e.close()
	look.Processor.ExifOrientation, look.Processor.MaxPixels = cfg.Prepare.ExifOrientation, cfg.Prepare.MaxPixels
	look.Progress = func(done, total int) { p.show("inspect", int64(done), int64(total)) }
	look.Compared = func(done, total int) { p.show("compare", int64(done), int64(total)) }
	found, err := inspect.Run(ctx, e.sources, e.catalogue, look)
	if err != nil {
		return err
	}
	p.clear()
	if o.html != "" {
		page, err := inspectPage(ctx, o.name, found, e)
		if err != nil {
			return err
		}
		if err := os.WriteFile(o.html, page, 0o644); err != nil {
			return fileError("page", o.html, err)
		}
	}
	if a.output == "json" {
		return printJSON(a.stdout, found)
	}
	a.printInspection(found)
	return nil
}

// noCaption stands for the captions of a bare folder of pictures.
const noCaption = "(no caption)"

// addTrain reads of a config what decides where captions are cut.
func addTrain(cfg *pipeline.Config, path string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return fileError("DATASET", path, err)
	}
	var keys struct {
		Compat string
		Train  struct {
			MaxLength int `yaml:"max_length"`
		}
	}
	if err := yaml.Unmarshal(raw, &keys); err != nil {
		return usagef("%s: %s", path, strings.Join(strings.Fields(err.Error()), " "))
	}
	cfg.Compat, cfg.Train.MaxLength = keys.Compat, keys.Train.MaxLength
	return nil
}

func (o inspectOptions) options(cfg pipeline.Config, modelDir string) (inspect.Options, error) {
	out := inspect.Options{
		Processor: pixels.NewProcessor(32), Limit: o.limit, Top: o.top, Near: o.near,
		Terms: inspect.EnglishTerms(), MaxLength: cfg.Train.MaxLength, MaxBadFraction: cfg.Prepare.MaxBadFraction,
	}
	for i, source := range cfg.Dataset {
		out.Names = append(out.Names, sourceName(i, source))
	}
	if o.words != "" {
		file, err := os.Open(o.words)
		if err != nil {
			return out, fileError("--words", o.words, err)
		}
		defer file.Close()
		if out.Terms, err = inspect.ReadTerms(file); err != nil {
			return out, usagef("--words %s: %v", o.words, err)
		}
	}
	if modelDir == "" {
		return out, nil
	}
	words, err := tokenizer.Load(modelDir)
	if err != nil {
		return out, err
	}
	out.Tokens = func(caption string) int { return len(words.Encode(caption)) + 1 }
	return out, nil
}

// sourceName is a source for people: what its captions or pictures are read from.
func sourceName(i int, s pipeline.SourceConfig) string {
	paths := append([]string{s.Captions}, append(s.Files, s.Images...)...)
	for _, path := range paths {
		if path != "" {
			return fmt.Sprintf("dataset[%d] %s", i, path)
		}
	}
	return fmt.Sprintf("dataset[%d]", i)
}

// pageSide is that of pictures on the page, pixels.
const pageSide = 128

// inspectPage is the report with the pictures that it names.
func inspectPage(ctx context.Context, name string, found *inspect.Report, e *examples) ([]byte, error) {
	processor := pixels.NewProcessor(pageSide)
	reader, err := e.reader(processor)
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	pictures := map[int][]byte{}
	for _, number := range found.Shown() {
		example, err := e.catalogue.Example(number)
		if err != nil {
			return nil, err
		}
		row, err := reader.Row(ctx, example)
		if err != nil {
			return nil, err
		}
		pictures[number], err = pixels.EncodePNG(row.Pixels, processor.Width, processor.Height)
		if err != nil {
			return nil, err
		}
	}
	return report.InspectionHTML(report.Inspection{Dataset: name, Report: found, Pictures: pictures}), nil
}

func (a *app) printInspection(r *inspect.Report) {
	say := func(format string, args ...any) { fmt.Fprintf(a.stdout, format+"\n", args...) }
	write := func(heading string, t *table) {
		if len(t.rows) > 1 {
			say("\n%s", heading)
			t.write(a.stdout, "  ")
		}
	}
	say("%d pictures with %d captions", r.Pictures, r.Captions)
	for _, finding := range r.Findings {
		say("! %s", finding)
	}
	for _, warning := range r.Warnings {
		say("! %s", warning)
	}
	write("sources", sourcesTable(r))
	write("captions", lengthsTable(r))
	write("letters", scriptsTable(r))
	v := r.Vocabulary
	say("\nwords: %d, %d different, %d of them once", v.Words, v.Distinct, v.Once)
	say("  frequent: %s", wordsText(r.Vocabulary.Frequent))
	say("  rare:     %s", wordsText(r.Vocabulary.Rare))
	say("\nidentical captions: %d, of %d different ones", r.Identical.Repeated, r.Identical.Distinct)
	for _, across := range r.Identical.Across {
		say("  %d of %s (%.1f %%) are in %s, too", across.Count, across.Split, 100*across.Share, across.In)
	}
	for _, c := range r.Identical.List[:min(5, len(r.Identical.List))] {
		say("  %6d  %s", c.Count, c.Caption)
	}
	d := r.Duplicates
	say("\nduplicate pictures: %d with equal files, %d that look alike (%d bits), in %d groups",
		d.Exact, d.Near, d.NearBits, d.Groups)
	for _, g := range d.List {
		var ids []string
		for _, p := range g.Pictures {
			ids = append(ids, p.Split+" "+p.ID)
		}
		if more := g.Count - len(g.Pictures); more > 0 {
			ids = append(ids, fmt.Sprintf("and %d more", more))
		}
		say("  %-5s  %s", g.Kind, strings.Join(ids, ", "))
	}
	write("terms in 1,000 captions", termsTable(r))
	if r.Bad.Count > 0 {
		say("\ncannot be used: %d (%.1f %%)", r.Bad.Count, 100*r.Bad.Share)
	}
	for _, b := range r.Bad.List {
		say("  %s %s", b.Split, b.Error())
	}
}

func sourcesTable(r *inspect.Report) *table {
	t := &table{}
	t.add("", "kind", "split", "pictures", "captions", "bad")
	for _, s := range r.Sources {
		name, kind := s.Name, s.Kind
		for _, split := range s.Splits {
			t.add(name, kind, split.Split, strconv.Itoa(split.Pictures), strconv.Itoa(split.Captions),
				strconv.Itoa(split.Bad))
			name, kind = "", ""
		}
	}
	return t
}

func lengthsTable(r *inspect.Report) *table {
	t := &table{right: true}
	t.add("", "least", "median", "mean", "95 %", "most")
	add := func(name string, l inspect.Lengths) {
		t.add(name, strconv.Itoa(l.Min), strconv.Itoa(l.Median), fmt.Sprintf("%.1f", l.Mean),
			strconv.Itoa(l.P95), strconv.Itoa(l.Max))
	}
	add("captions a picture", r.PerPicture)
	add("words a caption", r.Words)
	if r.Tokens != nil {
		add("tokens a caption", r.Tokens.Lengths)
	}
	return t
}

func scriptsTable(r *inspect.Report) *table {
	t := &table{right: true}
	t.add("", "captions", "% of letters", "% a-z")
	for _, s := range r.Scripts {
		ascii := ""
		if s.ASCII > 0 {
			ascii = fmt.Sprintf("%.1f", 100*s.ASCII)
		}
		t.add(s.Script, strconv.Itoa(s.Captions), fmt.Sprintf("%.1f", 100*s.Share), ascii)
	}
	return t
}

func termsTable(r *inspect.Report) *table {
	const most = 6 // terms of a group
	t := &table{}
	t.add("", "", "most of them")
	for _, g := range r.Terms {
		var terms []string
		for _, term := range g.Terms[:min(most, len(g.Terms))] {
			terms = append(terms, fmt.Sprintf("%s %.1f", term.Term, term.Per1000))
		}
		t.add(g.Group, fmt.Sprintf("%.1f", g.Per1000), strings.Join(terms, ", "))
	}
	return t
}

func wordsText(words []inspect.Word) string {
	var out []string
	for _, w := range words {
		out = append(out, fmt.Sprintf("%s %d", w.Word, w.Count))
	}
	return strings.Join(out, ", ")
}
