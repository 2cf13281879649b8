package onnx

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"

	"distilvit/model"
)

// Dtypes are the dtypes that Write knows.
func Dtypes() []string { return []string{"fp32", "q8", "int8"} }

// Folder is where Transformers.js looks for a model directory's ONNX files.
const Folder = "onnx"

// EncoderFile and DecoderFile are the names of a dtype's files within a model directory. Transformers.js hard-codes them.
func EncoderFile(dtype string) string { return graphFile("encoder_model", dtype) }
func DecoderFile(dtype string) string { return graphFile("decoder_model_merged", dtype) }

func graphFile(stem, dtype string) string {
	return filepath.Join(Folder, stem+dtypes[dtype].suffix+".onnx")
}

// Write writes the encoder and the decoder of a model into DIR/onnx and returns their names within dir. Same weights, same bytes;
// a file is complete or absent. Weights are converted as they are written: beside them it takes a few tens of MiB.
func Write(dir string, c *model.Config, w model.Weights, dtype string) ([]string, error) {
	if err := checkDtype(dtype); err != nil {
		return nil, err
	}
	if err := checkWeights(c, w); err != nil {
		return nil, err
	}
	n := dtypes[dtype].numbers
	files := []struct {
		name  string
		build func(*model.Config, model.Weights, numbers) (*graph, error)
	}{{EncoderFile(dtype), encoder}, {DecoderFile(dtype), decoder}}
	if err := os.MkdirAll(filepath.Join(dir, Folder), 0o755); err != nil {
		return nil, err
	}
	names := make([]string, 0, len(files))
	for _, f := range files {
		g, err := f.build(c, w, n)
		if err != nil {
			return nil, fmt.Errorf("build %s: %w", f.name, err)
		}
		if err := writeFile(filepath.Join(dir, f.name), g.writeTo); err != nil {
			return nil, fmt.Errorf("write %s: %w", f.name, err)
		}
		names = append(names, f.name)
	}
	return names, nil
}

// checkWeights makes sure that every tensor of the model is there in its shape, and finite: a graph with a NaN would only be found
// out by its captions.
func checkWeights(c *model.Config, w model.Weights) error {
	if err := c.Validate(); err != nil {
		return err
	}
	if err := w.Check(c); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(w)) {
		for i, v := range w[name].Data {
			if x := float64(v); math.IsNaN(x) || math.IsInf(x, 0) {
				return fmt.Errorf("tensor %s: element %d is %v", name, i, v)
			}
		}
	}
	return nil
}

// writeFile writes beside path and renames when everything is on the disk.
func writeFile(path string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	buffered := bufio.NewWriterSize(f, 1<<20)
	if err := write(buffered); err != nil {
		return err
	}
	if err := buffered.Flush(); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
