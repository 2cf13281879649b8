package model

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"distilvit/model/pytorch"
	"distilvit/model/safetensors"
)

const (
	weightsName = "model.safetensors"
	torchName   = "pytorch_model.bin"
	indexSuffix = ".index.json"
	wteName     = "decoder.transformer.wte.weight"
	lmHeadName  = "decoder.lm_head.weight"
)

// maxShards bounds the files that an index may name.
const maxShards = 1000

// ReadWeights reads dir's weights, of the files that WeightFiles lists, as the config wants
// them. What Hugging Face stores beside (pooler, tied lm_head, masks) is left out.
// Names and shapes are checked before any data is read, so that a file makes the
// program reserve no more than the config's network needs.
func ReadWeights(dir string, c *Config) (Weights, error) {
	f, err := openTensors(dir)
	if err != nil {
		return nil, err
	}
	defer f.close()
	f.rename(c.tensorName)
	f.tie(c)
	return f.read(c.Shapes())
}

// ReadTrained reads of dir's weights what there is, which must be of these shapes but need not be all of them.
func ReadTrained(dir string, shapes map[string][]int) (Weights, error) {
	f, err := openTensors(dir)
	if err != nil {
		return nil, err
	}
	defer f.close()
	there := map[string][]int{}
	for name, shape := range shapes {
		if _, ok := f.found[name]; ok {
			there[name] = shape
		}
	}
	return f.read(there)
}

// ReadEncoder reads of a network's weights in dir those of its encoder.
func ReadEncoder(dir string, c *Config) (Weights, error) {
	f, err := openTensors(dir)
	if err != nil {
		return nil, err
	}
	defer f.close()
	f.rename(c.tensorName)
	shapes := c.EncoderShapes()
	maps.DeleteFunc(f.found, func(name string, _ tensorAt) bool { return shapes[name] == nil })
	return f.read(shapes)
}

// tensorFiles are the open files of a directory's weights.
type tensorFiles struct {
	dir   string
	files []*os.File
	found map[string]tensorAt // by the network's name
}

// tensorAt is a tensor that is not read yet.
type tensorAt struct {
	file tensorFile
	info safetensors.Info
	path string
}

// tensorFile is an open file of either form.
type tensorFile interface {
	Tensors() []safetensors.Info
	Float32s(name string) ([]float32, error)
}

// openTensors opens every file and reads the headers.
func openTensors(dir string) (*tensorFiles, error) {
	paths, err := WeightFiles(dir)
	if err != nil {
		return nil, err
	}
	f := &tensorFiles{dir: dir, found: map[string]tensorAt{}}
	for _, path := range paths {
		if err := f.open(path); err != nil {
			f.close()
			return nil, err
		}
	}
	return f, nil
}

func (f *tensorFiles) open(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read weights: %w", err)
	}
	f.files = append(f.files, file)
	st, err := file.Stat()
	if err != nil {
		return fmt.Errorf("read weights: %w", err)
	}
	s, err := openTensorFile(file, st.Size(), filepath.Ext(path) == weightsExt)
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	for _, t := range s.Tensors() {
		if other, ok := f.found[t.Name]; ok {
			return fmt.Errorf("read %s: tensor %s is in %s, too", path, t.Name, filepath.Base(other.path))
		}
		f.found[t.Name] = tensorAt{s, t, path}
	}
	return nil
}

// openTensorFile reads where a file's tensors are.
func openTensorFile(file io.ReaderAt, size int64, safe bool) (tensorFile, error) {
	start := make([]byte, min(len(lfsPointer), int(size)))
	if _, err := file.ReadAt(start, 0); err == nil && string(start) == lfsPointer {
		return nil, errors.New("it is a Git LFS pointer, not the file: fetch that with git lfs pull")
	}
	if safe {
		return safetensors.Open(file, size)
	}
	return pytorch.Open(file, size)
}

// lfsPointer begins what Git has in the place of a large file.
const lfsPointer = "version https://git-lfs.github.com/spec/v1"

func (f *tensorFiles) close() {
	for _, file := range f.files {
		file.Close()
	}
}

// rename gives tensors the network's names and leaves out those without one.
func (f *tensorFiles) rename(to func(string) string) {
	renamed := map[string]tensorAt{}
	for _, name := range slices.Sorted(maps.Keys(f.found)) {
		if n := to(name); n != "" {
			renamed[n] = f.found[name]
		}
	}
	f.found = renamed
}

// tie leaves out the tied lm_head. A file may hold it in the place of the table.
func (f *tensorFiles) tie(c *Config) {
	if !c.TieWordEmbeddings {
		return
	}
	head, ok := f.found[c.HeadName()]
	if _, both := f.found[c.TableName()]; ok && !both {
		f.found[c.TableName()] = head
	}
	delete(f.found, c.HeadName())
}

// read reads the tensors of these shapes, which must be all there are.
func (f *tensorFiles) read(shapes map[string][]int) (Weights, error) {
	have := make(map[string][]int, len(f.found))
	for name, t := range f.found {
		have[name] = t.info.Shape
	}
	if err := misfit(shapes, have); err != nil {
		return nil, fmt.Errorf("read %s: %w", f.dir, err)
	}
	w := Weights{}
	for name, t := range f.found {
		data, err := t.file.Float32s(t.info.Name)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", t.path, err)
		}
		for _, x := range data {
			if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
				return nil, fmt.Errorf("read %s: tensor %s has values that are not finite",
					t.path, t.info.Name)
			}
		}
		w[name] = &Tensor{Shape: t.info.Shape, Data: data}
	}
	return w, nil
}

// ErrNoWeights is the error for a directory that holds no weights in a form that is read.
var ErrNoWeights = errors.New("neither model.safetensors nor pytorch_model.bin")

// weightsExt ends the names of files in the form that this program writes.
const weightsExt = ".safetensors"

// WeightFiles lists the files that hold dir's weights: model.safetensors, or the shards that its index
// names, sorted; without them pytorch_model.bin, or its shards. transformers' order is the same.
func WeightFiles(dir string) ([]string, error) {
	for _, name := range []string{weightsName, torchName} {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return []string{path}, nil
		}
		path += indexSuffix
		b, err := readSmall(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read weights: %w", err)
		}
		names, err := shardNames(b, filepath.Ext(name))
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		for i, name := range names {
			names[i] = filepath.Join(dir, name)
		}
		return names, nil
	}
	return nil, fmt.Errorf("%s has %w", dir, ErrNoWeights)
}

// shardNames are the files that an index names, sorted; all are of a form and none lies outside its
// directory.
func shardNames(index []byte, ext string) ([]string, error) {
	var j struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(index, &j); err != nil {
		return nil, err
	}
	names := slices.Sorted(maps.Values(j.WeightMap))
	names = slices.Compact(names)
	if len(names) == 0 || len(names) > maxShards {
		return nil, fmt.Errorf("weight_map names %d files; must be from 1 to %d", len(names), maxShards)
	}
	for _, name := range names {
		if !filepath.IsLocal(name) {
			return nil, fmt.Errorf("file %q lies outside", name)
		}
		if filepath.Ext(name) != ext {
			return nil, fmt.Errorf("file %q is no %s", name, ext)
		}
	}
	return names, nil
}

// tensorName is the network's name of a captioner's tensor, "" for what a checkpoint may hold that this
// network has no use for.
func (c *Config) tensorName(name string) string {
	if c.Kind == Prefix {
		return c.llavaName(name)
	}
	if own, ok := strings.CutPrefix(name, encoderRoot); ok {
		return c.Encoder.tensor(own)
	}
	for _, suffix := range []string{
		".attn.bias", ".attn.masked_bias", ".crossattention.bias", ".crossattention.masked_bias",
	} {
		if strings.HasPrefix(name, "decoder.transformer.h.") && strings.HasSuffix(name, suffix) {
			return ""
		}
	}
	return name
}
