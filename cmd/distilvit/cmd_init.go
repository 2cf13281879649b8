package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"gopkg.in/yaml.v3"

	"distilvit/dataset"
	"distilvit/metrics"
	"distilvit/pipeline"
	"distilvit/pipeline/sources"
)

// configName is the file that init writes.
const configName = "config.yaml"

func (a *app) initCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "init [FOLDER]",
		Short: "look at a folder of pictures and captions and write a config for it",
		Long: `Find the pictures and captions in FOLDER (default: here), whatever their layout, and write
FOLDER/` + configName + ` with comments: what was found, where to start from for so many pictures, and
the keys that are worth knowing. A file that is there is never overwritten. Nothing else is
changed and nothing is fetched. docs/datasets.md has the layouts.`,
		Example: `  distilvit init
  distilvit init photos/
  distilvit init photos/ && distilvit run -f photos/config.yaml --id mine`,
		Args: args(0, 1, ""),
		RunE: func(cmd *cobra.Command, given []string) error {
			dir := "."
			if len(given) == 1 {
				dir = given[0]
			}
			ctx, stop := a.interruptible(cmd.Context(), "")
			defer stop()
			return a.initConfig(ctx, dir)
		},
	}
}

func (a *app) initConfig(ctx context.Context, dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fileError("folder", dir, err)
	}
	if !info.IsDir() {
		return usagef("%s is a file: name the folder that it is in", dir)
	}
	target := filepath.Join(dir, configName)
	if _, err := os.Lstat(target); err == nil {
		return usagef("%s is there already and is never overwritten: move it away, or change it by hand", target)
	}
	folder, err := sources.Look(ctx, dir)
	if err != nil {
		return fileError("folder", dir, err)
	}
	found, err := a.findDataset(ctx, folder)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fileError("config", target, err)
	}
	_, err = file.WriteString(found.config(dir))
	if err := errors.Join(err, file.Close()); err != nil {
		return fileError("config", target, err)
	}
	if a.output == "json" {
		return printJSON(a.stdout, map[string]any{"config": target, "pictures": found.pictures, "captions": found.captions})
	}
	fmt.Fprintf(a.stdout, "%s: %s\n", target, found.summary())
	next := &table{}
	next.add(fmt.Sprintf("distilvit inspect %s", target), "duplicates, lengths, words, bad files")
	next.add(fmt.Sprintf("distilvit run -f %s --id NAME", target), "train")
	next.write(a.stdout, "  ")
	return nil
}

// foundDataset is a dataset that a folder holds.
type foundDataset struct {
	sources  []pipeline.SourceConfig // paths below the folder
	pictures map[string]int          // by split, those that have captions
	captions int
	words    int // of all captions
	letters  metrics.Letters
	bad      int      // rows and pictures that cannot be used
	others   []string // other files of captions that would have done
	prepare  pipeline.PrepareConfig
}

func (f *foundDataset) total() int {
	n := 0
	for _, of := range f.pictures {
		n += of
	}
	return n
}

// findDataset tries out what the folder may hold. Of files of captions whose names tell their splits each is a
// source; of others the one with the most pictures is taken.
func (a *app) findDataset(ctx context.Context, folder *sources.Folder) (*foundDataset, error) {
	temp, err := os.MkdirTemp("", "distilvit-init-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temp)
	if err := writeNames(folder, filepath.Join(temp, namesZip)); err != nil {
		return nil, err
	}
	var good []*foundDataset
	var reasons []string
	for _, candidate := range folder.Candidates() {
		nameSplits(folder.Dir, &candidate[0])
		found, err := a.tryOut(ctx, folder, temp, candidate)
		if err != nil && nameColumns(folder.Dir, &candidate[0]) {
			found, err = a.tryOut(ctx, folder, temp, candidate)
		}
		if err == nil && mayHaveSplits(candidate) {
			found = a.tryOutSplits(ctx, folder, temp, found)
		}
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case err != nil:
			reasons = append(reasons, err.Error())
		case found.total() > 0:
			good = append(good, found)
		}
	}
	if len(good) == 0 {
		return nil, nothingFound(folder, reasons)
	}
	if joined := joinSplits(good); joined != nil {
		return a.tryOut(ctx, folder, temp, joined)
	}
	best := good[0]
	for _, f := range good[1:] {
		if f.total() > best.total() {
			best = f
		}
	}
	for _, f := range good {
		if name := f.sources[0].Captions; f != best && name != "" {
			best.others = append(best.others, name)
		}
	}
	return best, nil
}

// nothingFound says what is missing.
func nothingFound(folder *sources.Folder, reasons []string) error {
	const forms = "docs/datasets.md has the layouts that are read, for instance captions.csv with the header " +
		"image,caption, or a .txt beside each picture"
	switch pictures := len(folder.Pictures); {
	case pictures+len(folder.Zips)+len(folder.Parquet)+len(folder.Tars) == 0:
		return fmt.Errorf("%s has no pictures in it (nor a .zip, .tar or .parquet with some); %s", folder.Dir, forms)
	case len(folder.Captions)+len(folder.Within)+len(folder.Parquet)+len(folder.Tars) == 0 && pictures > 0:
		return &noCaptionsError{folder.Dir, pictures, forms}
	}
	why := "no caption belongs to a picture that is there"
	if len(reasons) > 0 {
		why = reasons[0]
	}
	return fmt.Errorf("%s has files that may be pictures and captions, but they do not fit: %s; %s",
		folder.Dir, why, forms)
}

// noCaptionsError is the end of who looks for captions in a folder of pictures.
type noCaptionsError struct {
	dir      string
	pictures int
	forms    string // that would be read
}

func (e *noCaptionsError) Error() string {
	return fmt.Sprintf("%s has %d pictures and no captions; %s", e.dir, e.pictures, e.forms)
}

// namesZip is the archive of sources.Folder.Names.
const namesZip = "names.zip"

func writeNames(folder *sources.Folder, path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(folder.Names(file), file.Close())
}

// tryOut lists a candidate as a run would, with the names of pictures instead of the pictures. Where few of
// few would be held out, it is listed again with more.
func (a *app) tryOut(
	ctx context.Context, folder *sources.Folder, temp string, candidate []pipeline.SourceConfig,
) (*foundDataset, error) {
	cfg := pipeline.Default()
	cfg.Prepare.MaxBadFraction = 1
	for _, s := range candidate {
		s, err := s.MapPaths(func(key, path string) (string, error) {
			if strings.HasPrefix(key, "images") && len(folder.Pictures) > 0 && path == folder.Root() {
				return filepath.Join(temp, namesZip), nil
			}
			return filepath.Join(folder.Dir, filepath.FromSlash(path)), nil
		})
		if err != nil {
			return nil, err
		}
		cfg.Dataset = append(cfg.Dataset, s)
	}
	found, err := a.listCandidate(ctx, cfg, candidate)
	if err == nil && found.holdsOutTooFew() {
		cfg.Prepare.ValidationFraction, cfg.Prepare.TestFraction = heldOutOfFew, heldOutOfFew
		found, err = a.listCandidate(ctx, cfg, candidate)
	}
	return found, err
}

// mayHaveSplits says whether a candidate may have a column of splits that no sample of it shows.
func mayHaveSplits(candidate []pipeline.SourceConfig) bool {
	s := candidate[0]
	ext := strings.ToLower(filepath.Ext(s.Captions))
	return len(candidate) == 1 && s.Split == "" && s.SplitColumn == "" &&
		(len(s.Files) > 0 && s.Captions == "" && !isTar(s.Files[0]) || ext == ".jsonl" || ext == ".ndjson")
}

func isTar(name string) bool { return strings.EqualFold(filepath.Ext(name), ".tar") }

// tryOutSplits is what was found, with the splits of a column of this name where it holds at least two of them.
func (a *app) tryOutSplits(
	ctx context.Context, folder *sources.Folder, temp string, found *foundDataset,
) *foundDataset {
	s := found.sources[0]
	s.SplitColumn = "split"
	split, err := a.tryOut(ctx, folder, temp, []pipeline.SourceConfig{s})
	if err != nil || split.bad > found.bad || len(split.pictures) < 2 {
		return found
	}
	return split
}

// listCandidate counts what a config whose paths are those of this machine finds of a candidate.
func (a *app) listCandidate(
	ctx context.Context, cfg pipeline.Config, candidate []pipeline.SourceConfig,
) (*foundDataset, error) {
	found := &foundDataset{sources: candidate, pictures: map[string]int{}, prepare: cfg.Prepare}
	e, err := a.listDataset(ctx, cfg.Resolve(), newProgress(io.Discard))
	if err != nil {
		return nil, err
	}
	defer e.close()
	return found, found.count(e.catalogue)
}

// count counts what can be used.
func (f *foundDataset) count(c *dataset.Catalogue) error {
	for i := range c.Len() {
		e, err := c.Example(i)
		if err != nil {
			return err
		}
		if e.Image.Missing != "" || len(e.Captions) == 0 {
			f.bad++
			continue
		}
		f.pictures[e.Split]++
		f.captions += len(e.Captions)
		for _, caption := range e.Captions {
			f.words += len(strings.Fields(caption))
			f.letters.Add(caption)
		}
	}
	return nil
}

// joinSplits makes one dataset of files of captions that tell their splits, training and validation or test at
// least; of two files of one split the one with more pictures is taken. nil: there are none.
func joinSplits(good []*foundDataset) []pipeline.SourceConfig {
	by := map[string]*foundDataset{}
	for _, f := range good {
		split := sources.SplitOf(f.sources[0].Captions)
		if split == "" || len(f.sources) > 1 {
			continue
		}
		if had := by[split]; had == nil || f.total() > had.total() {
			by[split] = f
		}
	}
	if by[pipeline.SplitTrain] == nil || len(by) < 2 {
		return nil
	}
	var list []pipeline.SourceConfig
	for _, split := range []string{pipeline.SplitTrain, pipeline.SplitValidation, pipeline.SplitTest} {
		f := by[split]
		if f == nil {
			continue
		}
		s := f.sources[0]
		if s.SplitColumn == "" && (split != pipeline.SplitTrain || by[pipeline.SplitValidation] != nil) {
			s.Split = split // else validation pictures are held out of those for training
		}
		list = append(list, s)
	}
	return list
}

// isTable says whether captions are a table of columns whose first rows tell something of them.
func isTable(s pipeline.SourceConfig) bool {
	ext := strings.ToLower(filepath.Ext(s.Captions))
	return !strings.Contains(s.Captions, "#") && (ext == ".csv" || ext == ".tsv")
}

// nameSplits names the column of splits, where a table has one.
func nameSplits(dir string, s *pipeline.SourceConfig) {
	t := readSample(dir, *s)
	for i, name := range t.header {
		if strings.EqualFold(name, "split") && t.all(i, func(text string) bool { return sources.SplitOf(text) != "" }) {
			s.SplitColumn = name
		}
	}
}

// nameColumns names the columns of a table whose header has none of the usual names: that of pictures' files, and
// the one with the longest texts. It says whether it found both.
func nameColumns(dir string, s *pipeline.SourceConfig) bool {
	t := readSample(dir, *s)
	image, caption := -1, -1
	for i, name := range t.header {
		switch {
		case t.all(i, dataset.IsPicture):
			if image < 0 {
				image = i
			}
		case name == s.SplitColumn || name == "":
		case caption < 0 || t.length(i) > t.length(caption):
			caption = i
		}
	}
	if image < 0 || caption < 0 {
		return false
	}
	s.ImageColumn, s.CaptionColumns = t.header[image], []string{t.header[caption]}
	return true
}

// sample are the first rows of a table.
type sample struct {
	header []string
	rows   [][]string
}

// all says whether all rows have such a text in a column.
func (t sample) all(column int, fits func(string) bool) bool {
	for _, row := range t.rows {
		if column >= len(row) || !fits(strings.TrimSpace(row[column])) {
			return false
		}
	}
	return len(t.rows) > 0
}

// length is that of the texts of a column together, bytes.
func (t sample) length(column int) int {
	n := 0
	for _, row := range t.rows {
		if column < len(row) {
			n += len(row[column])
		}
	}
	return n
}

// readSample is empty where the captions are no table that can be read so.
func readSample(dir string, s pipeline.SourceConfig) sample {
	const most = 20
	if !isTable(s) {
		return sample{}
	}
	file, err := os.Open(filepath.Join(dir, filepath.FromSlash(s.Captions)))
	if err != nil {
		return sample{}
	}
	defer file.Close()
	r := csv.NewReader(io.LimitReader(file, 1<<20))
	r.LazyQuotes, r.FieldsPerRecord = true, -1
	if strings.EqualFold(filepath.Ext(s.Captions), ".tsv") {
		r.Comma = '\t'
	}
	var t sample
	for len(t.rows) < most {
		row, err := r.Read()
		if err != nil {
			break
		}
		if t.header == nil {
			for _, name := range row {
				t.header = append(t.header, strings.TrimSpace(strings.TrimPrefix(name, "\ufeff")))
			}
			continue
		}
		t.rows = append(t.rows, row)
	}
	return t
}

// summary says in one line what was found.
func (f *foundDataset) summary() string {
	text := fmt.Sprintf("%d pictures with %d captions: %d for training, %d for validation, %d for test",
		f.total(), f.captions, f.pictures[pipeline.SplitTrain], f.pictures[pipeline.SplitValidation],
		f.pictures[pipeline.SplitTest])
	if f.bad > 0 {
		text += fmt.Sprintf("; %d unusable", f.bad)
	}
	return text
}

// config is the file's text.
func (f *foundDataset) config(dir string) string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	say("# Written by distilvit init, which found here")
	say("#   %s.", f.summary())
	say("# A caption has %.1f words in the mean. Paths are looked for beside this file.", float64(f.words)/float64(max(f.captions, 1)))
	say("# distilvit inspect looks closer, distilvit run -f %s --id NAME trains, and", configName)
	say("# distilvit run --help-config says what every key is for.")
	say("\ndataset:")
	for _, s := range f.sources {
		b.WriteString(sourceYAML(s))
	}
	for _, name := range f.others {
		say("# captions of pictures here, too: %s", oneLineText(name))
	}
	if f.bad > 0 {
		say("# distilvit inspect lists the %d that cannot be used, with the reason.", f.bad)
	}
	f.writePrepare(say)
	f.writeModel(say)
	f.writeTrain(say)
	return b.String()
}

// oneLineText keeps a file's odd name from ending a comment.
func oneLineText(s string) string { return strings.Join(strings.Fields(s), " ") }

// sourceYAML is an entry of the list, only with the keys that are set.
func sourceYAML(s pipeline.SourceConfig) string {
	entry := yaml.Node{Kind: yaml.MappingNode}
	set := func(key string, value any) {
		var v yaml.Node
		must(v.Encode(value))
		if v.Kind == yaml.SequenceNode {
			v.Style = yaml.FlowStyle
		}
		entry.Content = append(entry.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: key}, &v)
	}
	paths := func(key string, p pipeline.Paths) {
		switch len(p) {
		case 0:
		case 1:
			set(key, p[0])
		default:
			set(key, []string(p))
		}
	}
	text := func(key, value string) {
		if value != "" {
			set(key, value)
		}
	}
	text("captions", s.Captions)
	paths("images", s.Images)
	paths("files", s.Files)
	text("split", s.Split)
	text("image_column", s.ImageColumn)
	if len(s.CaptionColumns) > 0 {
		set("caption_columns", s.CaptionColumns)
	}
	text("split_column", s.SplitColumn)
	raw, err := yaml.Marshal([]*yaml.Node{&entry})
	must(err)
	return "  " + strings.ReplaceAll(strings.TrimSuffix(string(raw), "\n"), "\n", "\n  ") + "\n"
}

func (f *foundDataset) writePrepare(say func(string, ...any)) {
	say("\nprepare:")
	say("  exif_orientation: true # photographs stand as browsers and phones show them")
	if share := float64(f.bad) / float64(f.bad+f.total()); share > pipeline.Default().Prepare.MaxBadFraction {
		say("  # %d of %d entries have no picture here, or cannot be used; more than this share of them ends a run.",
			f.bad, f.bad+f.total())
		say("  # Lower it if that is a mistake of the paths above.")
		say("  max_bad_fraction: %.3g", math.Ceil(share*100)/100)
	}
	if f.prepare.ValidationFraction == heldOutOfFew {
		say("  validation_fraction: %v # of few pictures more are held out, or scores would be chance", heldOutOfFew)
		say("  test_fraction: %v", heldOutOfFew)
	} else {
		say("  # validation_fraction: %v # held out where the data has no splits of its own", f.prepare.ValidationFraction)
		say("  # test_fraction: %v", f.prepare.TestFraction)
	}
}

// Below few pictures, and with fewer than wantedHeldOut for validation, the share heldOutOfFew is held out.
const (
	few           = 400
	wantedHeldOut = 20
	heldOutOfFew  = 0.15
)

// holdsOutTooFew says that the default shares hold out so few pictures that scores would be chance.
func (f *foundDataset) holdsOutTooFew() bool {
	for _, s := range f.sources {
		if s.Split != "" || s.SplitColumn != "" {
			return false
		}
	}
	return f.pictures[pipeline.SplitValidation] < wantedHeldOut && f.total() < few
}

func (f *foundDataset) writeModel(say func(string, ...any)) {
	say("\nmodel:")
	if f.pictures[pipeline.SplitTrain] >= pipeline.FewPictures {
		say("  preset: small # random weights: tiny, small or base; distilvit and vit-gpt2 are captioners to start from")
		return
	}
	say("  # Below some %d pictures a network learns too little from random weights (tiny, small, base). distilvit", pipeline.FewPictures)
	say("  # (hf:Mozilla/distilvit, which describes pictures in Firefox, in English) and vit-gpt2 know pictures")
	say("  # already; they are fetched from the Hugging Face hub and want a GPU, or patience. tiny is for a trial.")
	if share := f.letters.Foreign(); share > foreignLetters {
		say("  # %.0f %% of the letters of these captions are beyond a-z, and both presets know English only. A decoder of the", 100*share)
		say("  # captions' language does better, in the place of preset: encoder: hf:google/vit-base-patch16-224-in21k and")
		say("  # decoder: a GPT-2 of that language from the hub (hf:ORG/NAME). tiny and small learn words from the captions.")
	}
	say("  preset: distilvit")
}

// foreignLetters is the share of letters beyond a-z that English does not have: French has 0.03, Vietnamese 0.3.
const foreignLetters = 0.1

func (f *foundDataset) writeTrain(say func(string, ...any)) {
	say("\ntrain:")
	say("  epochs: 10 # at most: three that are no better end it (patience)")
	batch := pipeline.Default().Train.BatchSize
	for batch > 4 && f.pictures[pipeline.SplitTrain] < 8*batch {
		batch /= 2
	}
	say("  batch_size: %d", batch)
	say("  # max_length: 32 # tokens of a caption, longer ones are cut; by default it is fitted to the captions")
}
