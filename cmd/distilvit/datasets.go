package main

import (
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

	"distilvit/activities"
	"distilvit/dataset"
	"distilvit/model/hub"
	"distilvit/pipeline"
)

// datasetForms is what -d takes, for help and messages.
const datasetForms = "a YAML file with a dataset: list, coco:, karpathy: or folder:CAPTIONS,IMAGES, parquet:FILES, or shapes"

// datasetFlags say what a command takes of a DATASET.
type datasetFlags struct {
	name   string
	split  string
	limit  int // pictures at most; 0: all
	compat string
}

func (f *datasetFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&f.name, "dataset", "d", "", "DATASET: "+datasetForms+". A path may be hf:datasets/ORG/NAME[@REVISION]/PATH, files or a pattern of the Hugging Face hub")
	flags.StringVar(&f.split, "split", pipeline.SplitTest, "train, validation or test, of sources that have splits")
	flags.IntVar(&f.limit, "limit", 0, "pictures at most; 0: all")
}

func (f *datasetFlags) check() error {
	splits := []string{pipeline.SplitTrain, pipeline.SplitValidation, pipeline.SplitTest}
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

// parseDataset reads a DATASET: a YAML file with a dataset: list, or
// KIND:PATH[,PATH] with the captions first, or shapes alone.
func parseDataset(text string, side int) ([]pipeline.SourceConfig, error) {
	kind, paths, named := strings.Cut(text, ":")
	switch kind {
	case pipeline.KindShapes:
		return datasetConfig(map[string]any{"dataset": []any{map[string]any{
			"kind": kind, "shapes": map[string]any{"image_size": max(side, 16)}}}})
	case pipeline.KindCOCO, pipeline.KindKarpathy, pipeline.KindFolder:
		captions, images, both := strings.Cut(paths, ",")
		if !named || !both || captions == "" || images == "" {
			return nil, usagef("DATASET %s: use %s:CAPTIONS,IMAGES", text, kind)
		}
		s := pipeline.SourceConfig{Kind: kind, Captions: captions, Images: strings.Split(images, ",")}
		return []pipeline.SourceConfig{s}, sourceProblems(s)
	case pipeline.KindParquet:
		if paths == "" {
			return nil, usagef("DATASET %s: use %s:FILES, one or several files, folders or patterns", text, kind)
		}
		s := pipeline.SourceConfig{Kind: kind, Files: strings.Split(paths, ",")}
		return []pipeline.SourceConfig{s}, sourceProblems(s)
	}
	raw, err := os.ReadFile(text)
	if err != nil {
		return nil, fileError("DATASET ("+datasetForms+")", text, err)
	}
	var tree map[string]any
	if err := yaml.Unmarshal(raw, &tree); err != nil {
		return nil, usagef("%s: %s; DATASET is %s", text, strings.Join(strings.Fields(err.Error()), " "), datasetForms)
	}
	sources, err := datasetConfig(tree)
	if err != nil {
		return nil, inFile(text, err)
	}
	if len(sources) == 0 {
		return nil, usagef("%s: has no dataset: list", text)
	}
	cfg := pipeline.Config{Dataset: sources}
	err = absolutePaths(&cfg, filepath.Dir(text))
	return cfg.Dataset, err
}

// datasetConfig decodes a config of which only the sources matter: it need not
// have any training pictures.
func datasetConfig(tree map[string]any) ([]pipeline.SourceConfig, error) {
	raw, err := json.Marshal(map[string]any{"dataset": tree["dataset"]})
	if err != nil {
		return nil, err
	}
	var cfg pipeline.Config
	if err := json.Unmarshal(raw, &cfg); err != nil {
		return nil, err
	}
	return cfg.Dataset, sourceProblems(cfg.Dataset...)
}

// sourceProblems is what is wrong with sources, whatever else a config would need.
func sourceProblems(sources ...pipeline.SourceConfig) error {
	var all *pipeline.ConfigError
	if !errors.As(pipeline.Config{Dataset: sources}.Validate(), &all) {
		return nil
	}
	found := slices.DeleteFunc(all.Problems, func(p pipeline.Problem) bool { return !strings.HasPrefix(p.Path, "dataset[") })
	if len(found) == 0 {
		return nil
	}
	return &pipeline.ConfigError{Problems: found}
}

// examples are a dataset's pictures, ready to be read.
type examples struct {
	list     []dataset.Example
	openers  []*dataset.Opener
	source   []int // of each example
	warnings []string
	temp     string // packed image folders

	fetch func(ctx context.Context, name, role string) (paths []string, err error) // from the hub
}

// openDataset lists a DATASET's pictures and shows what a person should know of
// them. side is that of generated ones, pixels.
func (a *app) openDataset(ctx context.Context, f datasetFlags, side int, p *progress) (*examples, error) {
	sources, err := parseDataset(f.name, side)
	if err != nil {
		return nil, err
	}
	cfg := pipeline.Config{Dataset: sources, Compat: f.compat, Model: pipeline.ModelConfig{ImageSize: side}}
	e := &examples{fetch: func(ctx context.Context, name, role string) ([]string, error) {
		return a.fetchFiles(ctx, name, role, p)
	}}
	if err := e.open(ctx, cfg.Resolve().Dataset, f.split, pipeline.Default().Seed); err != nil {
		return nil, err
	}
	if f.limit > 0 {
		e.list = e.list[:min(f.limit, len(e.list))]
	}
	for _, warning := range e.warnings {
		p.line("warning: %s", warning)
	}
	return e, nil
}

// open lists the pictures of the sources. With a split only its pictures; without
// one the test pictures where a source marks some (shapes draws them), else all.
func (e *examples) open(ctx context.Context, sources []pipeline.SourceConfig, split string, seed uint64) (err error) {
	if e.temp, err = os.MkdirTemp("", "distilvit-dataset-"); err != nil {
		return err
	}
	for i, source := range sources {
		if err := e.add(ctx, i, source, split, seed); err != nil {
			e.close()
			return err
		}
	}
	if len(e.list) == 0 {
		e.close()
		return fmt.Errorf("the dataset has no %s pictures", split)
	}
	return nil
}

func (e *examples) add(ctx context.Context, index int, source pipeline.SourceConfig, split string, seed uint64) error {
	files, err := e.files(ctx, index, source)
	if err != nil {
		return err
	}
	// Without a split, given or its own, all of it is evaluated.
	spec := activities.Spec(source, pipeline.PrepareConfig{TestFraction: 1})
	listed, warnings, err := dataset.List(ctx, spec, files, seed)
	if err != nil {
		return err
	}
	opener, err := dataset.NewOpener(spec, files)
	if err != nil {
		return err
	}
	e.openers = append(e.openers, opener)
	e.warnings = append(e.warnings, warnings...)
	for _, example := range listed {
		if example.Split == split {
			e.list = append(e.list, example)
			e.source = append(e.source, index)
		}
	}
	return nil
}

// files are a source's files here: local ones, where an image folder is packed as
// a run would, or those of the hub in its cache.
func (e *examples) files(ctx context.Context, index int, source pipeline.SourceConfig) ([]dataset.File, error) {
	var files []dataset.File
	_, err := source.MapPaths(func(key, path string) (string, error) {
		role, _, _ := strings.Cut(key, "[")
		found, err := e.given(ctx, fmt.Sprintf("%d-%s", index, key), role, path)
		files = append(files, found...)
		return path, err
	})
	return files, err
}

// given are the files that one path of a source names; prefix is for packed folders.
func (e *examples) given(ctx context.Context, prefix, role, path string) ([]dataset.File, error) {
	var paths []string
	var err error
	switch {
	case hub.NamesFiles(path):
		paths, err = e.fetch(ctx, path, role)
	case isURL(path):
		err = usagef("%s: this command reads local files and the Hugging Face hub only", path)
	case role == dataset.RoleImages:
		return e.images(ctx, prefix, path)
	case role == dataset.RoleFiles:
		if paths, err = dataset.FilesAt(path, dataset.Extension(role)); err != nil {
			err = fileError(role, path, err)
		}
	default:
		var info os.FileInfo
		if info, err = os.Stat(path); err != nil {
			err = fileError(role, path, err)
		} else if info.IsDir() {
			err = usagef("%s %s: is a directory", role, path)
		}
		paths = []string{path}
	}
	if err == nil && role == dataset.RoleCaptions && len(paths) > 1 {
		err = usagef("captions %s: are %d files; one is wanted", path, len(paths))
	}
	files := make([]dataset.File, len(paths))
	for i, path := range paths {
		files[i] = localFile(role, path)
	}
	return files, err
}

// images are an archive, or those that a folder is packed into.
func (e *examples) images(ctx context.Context, prefix, path string) ([]dataset.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fileError("images", path, err)
	}
	if !info.IsDir() {
		return []dataset.File{localFile(dataset.RoleImages, path)}, nil
	}
	var files []dataset.File
	err = dataset.Pack(ctx, path, func(name string, write func(io.Writer) error) error {
		packed := filepath.Join(e.temp, prefix+"-"+name)
		file, err := os.Create(packed)
		if err != nil {
			return err
		}
		files = append(files, localFile(dataset.RoleImages, packed))
		return errors.Join(write(file), file.Close())
	})
	return files, err
}

func localFile(role, path string) dataset.File {
	return dataset.File{Role: role, Name: filepath.Base(path), Open: func(context.Context) (io.ReaderAt, int64, io.Closer, error) {
		file, err := os.Open(path)
		if err != nil {
			return nil, 0, nil, err
		}
		info, err := file.Stat()
		if err != nil {
			file.Close()
			return nil, 0, nil, err
		}
		return file, info.Size(), file, nil
	}}
}

func (e *examples) close() {
	for _, opener := range e.openers {
		opener.Close()
	}
	os.RemoveAll(e.temp)
}

// shardRows bounds a local shard; it only decides how much lies in memory.
const shardRows = 1000

// writeShards stores the examples as a run's prepare stage would, pixels and
// token ids row-aligned, for the trainer to read. Bad pictures are counted.
func (e *examples) writeShards(ctx context.Context, dir string, processor dataset.Processor, encode func(string) []int32, progress func(done int)) (pairs []dataset.ShardPair, bad []string, err error) {
	for first := 0; first < len(e.list); first += shardRows {
		last := min(first+shardRows, len(e.list))
		var tokens []dataset.TokenRow
		rows := func(yield func(dataset.Row, error) bool) {
			for i := first; i < last; i++ {
				row, err := e.row(ctx, i, processor)
				if ctx.Err() != nil {
					yield(dataset.Row{}, context.Cause(ctx))
					return
				}
				progress(i + 1)
				if err != nil {
					bad = append(bad, fmt.Sprintf("%s: %v", e.list[i].ID, err))
					continue
				}
				ids := dataset.TokenRow{ID: row.ID}
				for _, caption := range row.Captions {
					ids.IDs = append(ids.IDs, encode(caption))
				}
				tokens = append(tokens, ids)
				if !yield(row, nil) {
					return
				}
			}
		}
		pair := dataset.ShardPair{
			Pixels: filepath.Join(dir, fmt.Sprintf("pixels-%04d.parquet", len(pairs))),
			Tokens: filepath.Join(dir, fmt.Sprintf("tokens-%04d.parquet", len(pairs))),
		}
		pictures := func(w io.Writer, rows iter.Seq2[dataset.Row, error]) (int, error) {
			return dataset.WriteShard(w, processor.Width, processor.Height, rows)
		}
		if pair.Rows, err = writeFile(pair.Pixels, rows, pictures); err != nil {
			return nil, nil, err
		}
		if pair.Rows == 0 {
			continue
		}
		each := func(yield func(dataset.TokenRow, error) bool) {
			for _, row := range tokens {
				if !yield(row, nil) {
					return
				}
			}
		}
		if _, err = writeFile(pair.Tokens, each, dataset.WriteTokens); err != nil {
			return nil, nil, err
		}
		pairs = append(pairs, pair)
	}
	if len(pairs) == 0 {
		return nil, nil, fmt.Errorf("no picture of the dataset is readable; the first: %s", bad[0])
	}
	return pairs, bad, nil
}

func (e *examples) row(ctx context.Context, i int, processor dataset.Processor) (dataset.Row, error) {
	example := e.list[i]
	raw, err := e.openers[e.source[i]].Open(ctx, example.Image)
	if err != nil {
		return dataset.Row{}, err
	}
	pixels, _, err := processor.Pixels(raw)
	if err != nil {
		return dataset.Row{}, err
	}
	return dataset.Row{ID: example.ID, Group: example.Group, Captions: example.Captions, Pixels: pixels}, nil
}

func writeFile[T any](path string, rows iter.Seq2[T, error], write func(io.Writer, iter.Seq2[T, error]) (int, error)) (int, error) {
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
