// Package inspect looks at a dataset before anything is trained on it: what is there, by
// source and split, how captions are, which pictures occur twice and in which splits, and
// what cannot be used. It reads every picture once and keeps of it 77 bytes, and 17 of a caption: in memory
// while they are few, else in temporary files.
//
// It finds no files and knows no config; its caller opens the sources. Start reading at Run.
package inspect

import (
	"cmp"
	"context"
	"errors"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"distilvit/dataset"
	"distilvit/dataset/pixels"
)

// Options say what to look at, and how closely.
type Options struct {
	Names     []string         // of the sources, for people
	Processor pixels.Processor // how a run decodes its pictures; its size does not matter
	Limit     int              // pictures of every split at most; 0: all
	Top       int              // entries of every list at most
	Near      int              // bits of 64 by which near duplicates differ at most, 0 to MaxNear
	Terms     Terms            // counted in captions

	// Tokens answers how many tokens a caption takes, its end included. nil: there is no tokenizer.
	Tokens    func(caption string) int
	MaxLength int // a run's train.max_length, to which it would cut captions; 0: fitted to those of training

	MaxBadFraction float64               // a run's prepare.max_bad_fraction
	Progress       func(done, total int) // pictures that are read; nil: none
	Compared       func(done, total int) // parts of comparing them, which are equally long; nil: none

	memory int // of each sorter, bytes; 0: heldBytes
}

// Report is what Run found. Equal datasets give equal reports, whatever the number of processors.
type Report struct {
	Findings    []string    `json:"findings"` // what needs a person's attention, a sentence each
	Warnings    []string    `json:"warnings"` // of listing the sources
	Pictures    int         `json:"pictures"` // that can be used
	Captions    int         `json:"captions"` // of those
	Sources     []Source    `json:"sources"`
	PerPicture  Lengths     `json:"captions_per_picture"` // its histogram has pictures by number of captions
	Words       Lengths     `json:"words_per_caption"`    // words as metrics.UnicodeTokenize has them
	Tokens      *Tokens     `json:"tokens_per_caption,omitempty"`
	Scripts     []Script    `json:"scripts"`
	Lettersless int         `json:"captions_without_letters"`
	Vocabulary  Vocabulary  `json:"vocabulary"`
	Identical   Identical   `json:"identical_captions"`
	Duplicates  Duplicates  `json:"duplicates"`
	Terms       []TermGroup `json:"terms"`
	Bad         Bad         `json:"bad"`
}

// Shown are the numbers, in the catalogue, of the pictures that the report names.
func (r *Report) Shown() []int {
	var out []int
	for _, g := range r.Duplicates.List {
		for _, p := range g.Pictures {
			out = append(out, p.Number)
		}
	}
	if r.Tokens != nil {
		for _, l := range r.Tokens.Longest {
			out = append(out, l.Number)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Source is what one source gives.
type Source struct {
	Name   string  `json:"name"`
	Kind   string  `json:"kind"`
	Splits []Split `json:"splits"` // those that have pictures
}

// Split is what a source gives to one split.
type Split struct {
	Split    string `json:"split"`    // train, validation or test
	Pictures int    `json:"pictures"` // that can be used
	Captions int    `json:"captions"`
	Bad      int    `json:"bad"` // pictures and rows that cannot be used
}

// Bin is one bar of a histogram.
type Bin struct {
	Value int `json:"value"`
	Count int `json:"count"`
}

// Bad are the pictures and rows that a run would leave out.
type Bad struct {
	Count int           `json:"count"`
	Share float64       `json:"share"` // of all, 0 to 1
	List  []dataset.Bad `json:"list"`  // the first of them
}

// Splits of a dataset, in the order in which they are told.
var splits = []string{dataset.Train, dataset.Validation, dataset.Test}

// inspection is a Run under way.
type inspection struct {
	options  Options
	report   *Report
	captions captions
	pictures *sorter
	perPic   map[int]int
	splits   map[splitOfSource]*Split
}

type splitOfSource struct {
	source int
	split  string
}

// Run reads the pictures of a catalogue of these sources. Bad pictures are counted; a file of a source
// that cannot be read is an error.
func Run(
	ctx context.Context, sources []dataset.Source, c *dataset.Catalogue, o Options,
) (*Report, error) {
	reader, err := dataset.NewReader(sources, o.Processor)
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	in := &inspection{
		options: o, report: &Report{Warnings: slices.Clone(c.Warnings)}, perPic: map[int]int{},
		splits: map[splitOfSource]*Split{}, captions: newCaptions(o), pictures: o.sorter(pictureBytes),
	}
	defer in.close()
	numbers := chosen(c, o.Limit)
	done := 0
	for part := range slices.Chunk(numbers, 16*runtime.GOMAXPROCS(0)) {
		if err := in.readAll(ctx, reader, c, part); err != nil {
			return nil, err
		}
		if done += len(part); o.Progress != nil {
			o.Progress(done, len(numbers))
		}
	}
	return in.report, in.finish(ctx, sources, c, len(numbers))
}

func (o Options) sorter(size int) *sorter {
	return &sorter{size: size, memory: cmp.Or(o.memory, heldBytes)}
}

func (in *inspection) close() {
	in.pictures.close()
	in.captions.seen.close()
}

// chosen are the examples that are looked at, in the catalogue's order.
func chosen(c *dataset.Catalogue, limit int) []int32 {
	var numbers []int32
	for _, split := range splits {
		of := c.Split(split)
		if limit > 0 {
			of = of[:min(limit, len(of))]
		}
		numbers = append(numbers, of...)
	}
	slices.Sort(numbers)
	return numbers
}

// readAll reads some examples on all processors and counts them in their order.
func (in *inspection) readAll(
	ctx context.Context, reader *dataset.Reader, c *dataset.Catalogue, numbers []int32,
) error {
	examples, err := c.Examples(numbers)
	if err != nil {
		return err
	}
	found := make([]picture, len(examples))
	bad := make([]*dataset.Bad, len(examples))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, e := range examples {
		g.Go(func() (err error) {
			found[i], err = in.look(gctx, reader, e)
			if errors.As(err, &bad[i]) {
				return nil
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return errors.Join(context.Cause(ctx), err)
	}
	for i, e := range examples {
		found[i].number = numbers[i]
		if err := in.count(e, found[i], bad[i]); err != nil {
			return err
		}
	}
	return nil
}

// look reads one picture. An error of type *dataset.Bad is the picture's fault.
func (in *inspection) look(ctx context.Context, reader *dataset.Reader, e dataset.Example) (picture, error) {
	raw, err := reader.File(ctx, e)
	if err != nil {
		return picture{}, err
	}
	p, err := newPicture(raw, in.options.Processor)
	if err != nil {
		return picture{}, &dataset.Bad{ID: e.ID, Split: e.Split, Reason: err.Error()}
	}
	p.split = int8(slices.Index(splits, e.Split))
	return p, nil
}

func (in *inspection) count(e dataset.Example, p picture, bad *dataset.Bad) error {
	key := splitOfSource{e.Source, e.Split}
	s := in.splits[key]
	if s == nil {
		s = &Split{Split: e.Split}
		in.splits[key] = s
	}
	if bad != nil {
		s.Bad++
		if b := &in.report.Bad; len(b.List) < in.options.Top {
			b.List = append(b.List, *bad)
		}
		return nil
	}
	s.Pictures++
	s.Captions += len(e.Captions)
	in.perPic[len(e.Captions)]++
	return errors.Join(in.captions.add(p, e.Captions), in.pictures.add(p.record(nil)))
}

// finish makes the report of what was counted.
func (in *inspection) finish(ctx context.Context, sources []dataset.Source, c *dataset.Catalogue, looked int) error {
	r := in.report
	for i, source := range sources {
		s := Source{Kind: source.Spec.Kind, Splits: []Split{}}
		if i < len(in.options.Names) {
			s.Name = in.options.Names[i]
		}
		for _, split := range splits {
			if found := in.splits[splitOfSource{i, split}]; found != nil {
				s.Splits = append(s.Splits, *found)
				r.Pictures += found.Pictures
				r.Captions += found.Captions
				r.Bad.Count += found.Bad
			}
		}
		r.Sources = append(r.Sources, s)
	}
	r.Bad.Share = share(r.Bad.Count, looked)
	r.PerPicture = lengthsOf(in.perPic)
	if err := in.captions.finish(r, c); err != nil {
		return err
	}
	pictures, err := in.pictures.sorted()
	if err != nil {
		return err
	}
	defer pictures.close()
	if r.Duplicates, err = duplicates(ctx, pictures, c, in.options); err != nil {
		return err
	}
	r.Findings = findings(r, in.options)
	return nil
}

func share(part, whole int) float64 { return float64(part) / float64(max(whole, 1)) }

// bins are a histogram's bars by value.
func bins(counts map[int]int) []Bin {
	out := []Bin{}
	for value, count := range counts {
		out = append(out, Bin{value, count})
	}
	slices.SortFunc(out, func(a, b Bin) int { return a.Value - b.Value })
	return out
}
