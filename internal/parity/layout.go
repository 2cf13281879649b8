package parity

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"distilvit/model/safetensors"
)

// maxJSON bounds a JSON file of vectors, bytes after decompression.
const maxJSON = 256 << 20

// readVersions reads the vectors' own vectors.json: the version of each Python package
// that made them. The file may be absent.
func readVersions(dir string) (map[string]string, error) {
	var v struct {
		MadeWith map[string]string `json:"made_with"`
	}
	if err := readJSON(filepath.Join(dir, "vectors.json"), &v); err != nil &&
		!errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return v.MadeWith, nil
}

// folders lists the directories in dir, sorted; none where dir is absent.
func folders(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, layoutf("vectors: %w", err)
	}
	var list []string
	for _, e := range entries {
		if path := filepath.Join(dir, e.Name()); isDir(path) {
			list = append(list, path)
		}
	}
	return list, nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func exists(path ...string) bool {
	_, err := os.Stat(filepath.Join(path...))
	return err == nil
}

// readJSON reads path or path.gz. A file that is not there is an fs.ErrNotExist.
func readJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		path += ".gz"
		data, err = os.ReadFile(path)
	}
	if err != nil {
		return layoutf("vectors: %w", err)
	}
	if filepath.Ext(path) == ".gz" {
		if data, err = unzip(data); err != nil {
			return layoutf("vectors %s: %w", path, err)
		}
	}
	if err := json.Unmarshal(data, v); err != nil {
		return layoutf("vectors %s: %w", path, err)
	}
	return nil
}

func unzip(data []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(z, maxJSON+1))
	if err == nil && len(out) > maxJSON {
		err = fmt.Errorf("more than %d bytes", maxJSON)
	}
	return out, err
}

// tensorFile is an open vectors.safetensors.
type tensorFile struct {
	*safetensors.File
	path  string
	close func() error
}

func openTensors(path string) (*tensorFile, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, layoutf("vectors: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		return nil, layoutf("vectors: %w", err)
	}
	s, err := safetensors.Open(file, info.Size())
	if err != nil {
		file.Close()
		return nil, layoutf("vectors %s: %w", path, err)
	}
	return &tensorFile{File: s, path: path, close: file.Close}, nil
}

// has reports whether there is a tensor of that name.
func (f *tensorFile) has(name string) bool {
	_, ok := f.Lookup(name)
	return ok
}

// floats reads a tensor that must have a shape; sizes of -1 may be anything.
func (f *tensorFile) floats(name string, shape ...int) ([]float32, error) {
	if err := f.check(name, shape); err != nil {
		return nil, err
	}
	x, err := f.Float32s(name)
	if err != nil {
		return nil, layoutf("vectors %s: %w", f.path, err)
	}
	return x, nil
}

// ints is floats for whole numbers, each from least to most.
func (f *tensorFile) ints(name string, least, most int64, shape ...int) ([]int64, error) {
	if err := f.check(name, shape); err != nil {
		return nil, err
	}
	x, err := f.Ints(name)
	if err != nil {
		return nil, layoutf("vectors %s: %w", f.path, err)
	}
	for i, v := range x {
		if v < least || v > most {
			return nil, layoutf("vectors %s: %s[%d] is %d; must be from %d to %d", f.path, name,
				i, v, least, most)
		}
	}
	return x, nil
}

func (f *tensorFile) check(name string, shape []int) error {
	info, ok := f.Lookup(name)
	if !ok {
		return layoutf("vectors %s: no tensor %s", f.path, name)
	}
	fits := len(shape) == len(info.Shape)
	for i := 0; fits && i < len(shape); i++ {
		fits = shape[i] < 0 || shape[i] == info.Shape[i]
	}
	if !fits {
		return layoutf("vectors %s: %s has shape %v; must be %v", f.path, name, info.Shape, shape)
	}
	return nil
}

// shape of a tensor that is there.
func (f *tensorFile) shape(name string) []int {
	info, _ := f.Lookup(name)
	return slices.Clone(info.Shape)
}
