package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"gopkg.in/yaml.v3"

	"distilvit/dataset"
	"distilvit/dataset/pixels"
	"distilvit/pipeline"
	"distilvit/pipeline/sources"
)

// datasetForms is what -d takes, for help and messages.
const datasetForms = "a YAML file with a dataset: list, coco:, karpathy: or folder:CAPTIONS,IMAGES, " +
	"folder:IMAGES with captions among them, a folder with pictures and captions in any layout, parquet: or webdataset:FILES, or shapes"

// datasetFlags say what a command takes of a DATASET.
type datasetFlags struct {
	name   string
	split  string // empty: test, and all of sources that have no splits where DATASET is no config
	limit  int    // pictures at most; 0: all
	compat string
}

func (f *datasetFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&f.name, "dataset", "d", "", "DATASET: "+datasetForms+
		". A path may be hf:datasets/ORG/NAME[@REVISION]/PATH, files or a pattern of the Hugging Face hub")
	flags.StringVar(&f.split, "split", "", "train, validation or test, as a run of DATASET has them "+
		"(default test; of KIND:PATH all pictures of sources without splits)")
	flags.IntVar(&f.limit, "limit", 0, "pictures at most, mixed of all sources as a run mixes them; 0: all")
}

func (f *datasetFlags) check() error {
	splits := []string{"", pipeline.SplitTrain, pipeline.SplitValidation, pipeline.SplitTest}
	switch {
	case f.name == "":
		return usagef("-d DATASET is missing: %s", datasetForms)
	case !slices.Contains(splits, f.split):
		return usagef("--split %s: use train, validation or test", f.split)
	case f.limit < 0:
		return usagef("--limit must be at least 0")
	case f.compat != "" && f.compat != pipeline.CompatSeed:
		return usagef("--compat %s: use %s", f.compat, pipeline.CompatSeed)
	}
	return nil
}

// splitName is the split whose pictures are taken.
func (f *datasetFlags) splitName() string { return cmp.Or(f.split, pipeline.SplitTest) }

// parseDataset is the function of this name, and of a folder what distilvit init finds in it.
func (a *app) parseDataset(ctx context.Context, text string, side int) (cfg pipeline.Config, config bool, err error) {
	if info, err := os.Stat(text); err != nil || !info.IsDir() {
		return parseDataset(text, side)
	}
	folder, err := sources.Look(ctx, text)
	if err != nil {
		return cfg, false, fileError("folder", text, err)
	}
	found, err := a.findDataset(ctx, folder)
	if err != nil {
		return cfg, false, err
	}
	cfg = pipeline.Default()
	cfg.Dataset = found.sources
	return cfg, false, absolutePaths(&cfg, text)
}

// parseDataset reads a DATASET: a YAML file with a dataset: list, of which prepare and
// seed count, too, or KIND:PATH[,PATH] with the captions first, or shapes alone. config
// says that it is a file. side is that of generated pictures, in pixels.
func parseDataset(text string, side int) (cfg pipeline.Config, config bool, err error) {
	kind, paths, named := strings.Cut(text, ":")
	switch kind {
	case pipeline.KindShapes:
		cfg, err = datasetConfig(map[string]any{"dataset": []any{map[string]any{
			"kind": kind, "shapes": map[string]any{"image_size": max(side, 16)}}}})
		return cfg, false, err
	case pipeline.KindCOCO, pipeline.KindKarpathy, pipeline.KindFolder:
		captions, images, both := strings.Cut(paths, ",")
		if kind == pipeline.KindFolder && named && !both && captions != "" {
			cfg, err = oneSource(pipeline.SourceConfig{Kind: kind, Images: pipeline.Paths{captions}})
			return cfg, false, err
		}
		if !named || !both || captions == "" || images == "" {
			return cfg, false, usagef("DATASET %s: use %s:CAPTIONS,IMAGES", text, kind)
		}
		cfg, err = oneSource(
			pipeline.SourceConfig{Kind: kind, Captions: captions, Images: strings.Split(images, ",")},
		)
		return cfg, false, err
	case pipeline.KindParquet, pipeline.KindWebDataset:
		if paths == "" {
			return cfg, false, usagef(
				"DATASET %s: use %s:FILES, one or several files, folders or patterns", text, kind,
			)
		}
		cfg, err = oneSource(pipeline.SourceConfig{Kind: kind, Files: strings.Split(paths, ",")})
		return cfg, false, err
	}
	raw, err := os.ReadFile(text)
	if err != nil {
		return cfg, true, fileError("DATASET ("+datasetForms+")", text, err)
	}
	var tree map[string]any
	if err := yaml.Unmarshal(raw, &tree); err != nil {
		return cfg, true, usagef(
			"%s: %s; DATASET is %s", text, strings.Join(strings.Fields(err.Error()), " "), datasetForms,
		)
	}
	if cfg, err = datasetConfig(tree); err != nil {
		return cfg, true, inFile(text, err)
	}
	if len(cfg.Dataset) == 0 {
		return cfg, true, usagef("%s: has no dataset: list", text)
	}
	return cfg, true, absolutePaths(&cfg, filepath.Dir(text))
}

func oneSource(s pipeline.SourceConfig) (pipeline.Config, error) {
	cfg := pipeline.Default()
	cfg.Dataset = []pipeline.SourceConfig{s}
	return cfg, datasetProblems(cfg)
}

// datasetConfig decodes of a config what decides its examples and their splits. It need
// not have any training pictures.
func datasetConfig(tree map[string]any) (pipeline.Config, error) {
	kept := map[string]any{}
	for _, key := range []string{"dataset", "prepare", "seed"} {
		if value, given := tree[key]; given {
			kept[key] = value
		}
	}
	var cfg pipeline.Config
	raw, err := json.Marshal(kept)
	if err != nil {
		return cfg, err
	}
	if err := json.Unmarshal(raw, &cfg); err != nil {
		return cfg, err
	}
	return cfg, datasetProblems(cfg)
}

// datasetProblems is what is wrong with sources and how they are prepared, whatever else
// a config would need.
func datasetProblems(cfg pipeline.Config) error {
	var all *pipeline.ConfigError
	if !errors.As(cfg.Validate(), &all) {
		return nil
	}
	found := slices.DeleteFunc(all.Problems, func(p pipeline.Problem) bool {
		return !strings.HasPrefix(p.Path, "dataset[") && !strings.HasPrefix(p.Path, "prepare.")
	})
	if len(found) == 0 {
		return nil
	}
	return &pipeline.ConfigError{Problems: found}
}

// examples are pictures of a DATASET, ready to be read.
type examples struct {
	sources   []dataset.Source
	catalogue *dataset.Catalogue
	numbers   []int32                // of those that are taken, in the catalogue
	list      []dataset.Example      // those that can be read, once readable has tried
	prepare   pipeline.PrepareConfig // how pictures are read
	temp      string                 // the catalogue's file and packed image folders
}

// openDataset lists a DATASET's pictures and shows what a person should know of
// them. side is that of generated ones, pixels.
func (a *app) openDataset(ctx context.Context, f datasetFlags, side int, p *progress) (*examples, error) {
	cfg, config, err := a.parseDataset(ctx, f.name, side)
	if err != nil {
		return nil, err
	}
	cfg.Compat, cfg.Model = f.compat, pipeline.ModelConfig{ImageSize: side}
	cfg = cfg.Resolve()
	if !config && f.split == "" {
		cfg.Prepare.ValidationFraction, cfg.Prepare.TestFraction = 0, 1 // what has no splits is taken whole
	}
	e, err := a.listDataset(ctx, cfg, p)
	if err != nil {
		return nil, err
	}
	if err := e.take(f); err != nil {
		e.close()
		return nil, err
	}
	for _, warning := range e.catalogue.Warnings {
		p.line("warning: %s", warning)
	}
	for i := range cfg.Dataset {
		if config && e.catalogue.Unsplit(i) {
			p.line("dataset[%d] has no splits: its %s pictures are those that a run takes for it "+
				"(prepare.validation_fraction %v, test_fraction %v)",
				i, f.splitName(), cfg.Prepare.ValidationFraction, cfg.Prepare.TestFraction)
		}
	}
	return e, nil
}

// listDataset lists what a run of a resolved config would list; none of it is taken yet.
func (a *app) listDataset(ctx context.Context, cfg pipeline.Config, p *progress) (*examples, error) {
	e := &examples{prepare: cfg.Prepare}
	err := e.open(ctx, cfg, func(ctx context.Context, name, ext string) ([]string, error) {
		return a.fetchFiles(ctx, name, ext, p)
	})
	if err != nil {
		e.close()
		return nil, err
	}
	return e, nil
}

// open lists what a run of the config would list.
func (e *examples) open(
	ctx context.Context, cfg pipeline.Config,
	fetch func(ctx context.Context, name, ext string) ([]string, error),
) (err error) {
	if e.temp, err = os.MkdirTemp("", "distilvit-dataset-"); err != nil {
		return err
	}
	local := sources.Local{Dir: e.temp, Fetch: fetch}
	if e.sources, err = local.Open(ctx, cfg.Dataset, cfg.Prepare); err != nil {
		var path *sources.PathError
		if errors.As(err, &path) {
			return fileError(path.Role, path.Path, path.Err)
		}
		return err
	}
	e.catalogue, err = dataset.Catalog(ctx, e.temp, e.sources, cfg.Seed)
	return err
}

// take chooses the pictures that the flags ask for.
func (e *examples) take(f datasetFlags) error {
	if e.numbers = e.catalogue.Split(f.splitName()); len(e.numbers) == 0 {
		return fmt.Errorf("the dataset has no %s pictures", f.splitName())
	}
	if f.limit > 0 {
		e.numbers = e.numbers[:min(f.limit, len(e.numbers))]
	}
	return nil
}

// reader makes rows of the pictures as a run of the config would.
func (e *examples) reader(processor pixels.Processor) (*dataset.Reader, error) {
	processor.ExifOrientation, processor.MaxPixels = e.prepare.ExifOrientation, e.prepare.MaxPixels
	return dataset.NewReader(e.sources, processor)
}

func (e *examples) close() {
	if e.catalogue != nil {
		e.catalogue.Close()
	}
	os.RemoveAll(e.temp)
}

// shardRows bounds a local shard; it only decides how much lies in memory.
const shardRows = 1000

// writeShards stores the examples as a run's prepare stage would, pixels and
// token ids row-aligned, for the trainer to read. Bad pictures are counted.
func (e *examples) writeShards(
	ctx context.Context, dir string, processor pixels.Processor, encode func(string) []int32,
	progress func(done int),
) (pairs []dataset.ShardPair, tally dataset.Tally, err error) {
	reader, err := e.reader(processor)
	if err != nil {
		return nil, tally, err
	}
	defer reader.Close()
	done := 0
	for numbers := range slices.Chunk(e.numbers, shardRows) {
		part, err := e.catalogue.Examples(numbers)
		if err != nil {
			return nil, tally, err
		}
		pair := dataset.ShardPair{
			Pixels: filepath.Join(dir, fmt.Sprintf("pixels-%04d.parquet", len(pairs))),
			Tokens: filepath.Join(dir, fmt.Sprintf("tokens-%04d.parquet", len(pairs))),
		}
		rows := reader.Rows(ctx, part, &tally, func(n int) { progress(done + n) })
		if pair.Rows, err = writePair(pair, processor, rows, encode); err != nil {
			return nil, tally, err
		}
		if done += len(part); pair.Rows > 0 {
			pairs = append(pairs, pair)
		}
	}
	if len(pairs) == 0 {
		return nil, tally, nothingReadable(tally)
	}
	return pairs, tally, nil
}

// writePair writes a shard and its tokens.
func writePair(
	pair dataset.ShardPair, processor pixels.Processor, rows iter.Seq2[dataset.Row, error],
	encode func(string) []int32,
) (int, error) {
	var tokens []dataset.TokenRow
	encoded := func(yield func(dataset.Row, error) bool) {
		for row, err := range rows {
			ids := dataset.TokenRow{ID: row.ID}
			for _, caption := range row.Captions {
				ids.IDs = append(ids.IDs, encode(caption))
			}
			tokens = append(tokens, ids)
			if !yield(row, err) {
				return
			}
		}
	}
	pictures := func(w io.Writer, rows iter.Seq2[dataset.Row, error]) (int, error) {
		return dataset.WriteShard(w, processor.Width, processor.Height, rows)
	}
	n, err := writeFile(pair.Pixels, encoded, pictures)
	if err != nil || n == 0 {
		return n, err
	}
	each := func(yield func(dataset.TokenRow, error) bool) {
		for _, row := range tokens {
			if !yield(row, nil) {
				return
			}
		}
	}
	return writeFile(pair.Tokens, each, dataset.WriteTokens)
}

func writeFile[T any](
	path string, rows iter.Seq2[T, error], write func(io.Writer, iter.Seq2[T, error]) (int, error),
) (int, error) {
	file, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	n, err := write(file, rows)
	if err := errors.Join(err, file.Close()); err != nil {
		return 0, fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return n, nil
}

// readable sets the list: the examples whose pictures can be read. The others are counted.
func (e *examples) readable(
	ctx context.Context, processor pixels.Processor, progress func(done int),
) (tally dataset.Tally, err error) {
	all, err := e.catalogue.Examples(e.numbers)
	if err != nil {
		return tally, err
	}
	reader, err := e.reader(processor)
	if err != nil {
		return tally, err
	}
	defer reader.Close()
	read := map[string]bool{} // by id
	for row, err := range reader.Rows(ctx, all, &tally, progress) {
		if err != nil {
			return tally, err
		}
		read[row.ID] = true
	}
	if len(read) == 0 {
		return tally, nothingReadable(tally)
	}
	e.list = slices.DeleteFunc(all, func(x dataset.Example) bool { return !read[x.ID] })
	return tally, nil
}

func nothingReadable(t dataset.Tally) error {
	return fmt.Errorf("no picture of the dataset is readable; the first: %w", &t.Bad[0])
}

// tell says how many pictures are left out, and how many lie on their side.
func (e *examples) tell(p *progress, t dataset.Tally) {
	if n := len(t.Bad); n > 0 {
		p.line("warning: %d of %d pictures are left out; the first: %v", n, n+t.Rows, &t.Bad[0])
	}
	if t.Turned > 0 && !e.prepare.ExifOrientation {
		p.line("warning: %d pictures say in an EXIF tag that they lie on their side, and are not turned: in a YAML file as DATASET "+
			"prepare: {exif_orientation: true} turns them", t.Turned)
	}
}
