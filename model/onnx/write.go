package onnx

import (
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"

	"distilvit/internal/atomicfile"
	"distilvit/model"
)

// Dtypes are the dtypes that Write knows.
func Dtypes() []string { return []string{"fp32", "fp16", "q8", "int8", "q4", "q4f16"} }

// Folder is where Transformers.js looks for a model directory's ONNX files.
const Folder = "onnx"

// EncoderFile is the name of a dtype's encoder within a model directory. Transformers.js hard-codes it.
func EncoderFile(dtype string) string { return graphFile("encoder_model", dtype) }

// DecoderFile is the name of a dtype's decoder within a model directory. Transformers.js hard-codes it.
func DecoderFile(dtype string) string { return graphFile("decoder_model_merged", dtype) }

func graphFile(stem, dtype string) string {
	return filepath.Join(Folder, stem+dtypes[dtype].suffix+".onnx")
}

// Write writes the encoder and the decoder of a model into DIR/onnx and returns their names within dir. Same
// weights, same bytes; a file is complete or absent. Weights are converted as they are written: beside them
// it takes a few tens of MiB.
func Write(dir string, c *model.Config, w model.Weights, dtype string) ([]string, error) {
	return WriteWith(dir, c, w, dtype, Options{})
}

// WriteWith is Write with other rounding. Where that minds what is multiplied, it takes as many bytes beside the
// weights as its largest matrix has, and the squares of its widths.
func WriteWith(dir string, c *model.Config, w model.Weights, dtype string, o Options) ([]string, error) {
	if err := checkWeights(c, w); err != nil {
		return nil, err
	}
	files, err := build(c, w, dtype, o)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(dir, Folder), 0o755); err != nil {
		return nil, err
	}
	names := make([]string, 0, len(files))
	for _, f := range files {
		if err := atomicfile.Write(filepath.Join(dir, f.name), 0o644, f.graph.writeTo); err != nil {
			return nil, fmt.Errorf("write %s: %w", f.name, err)
		}
		names = append(names, f.name)
	}
	return names, nil
}

// file is a graph and its file's name within a model directory.
type file struct {
	name  string
	graph *graph
}

// builds makes one of a model's graphs.
type builds func(*model.Config, model.Weights, numbers, *Calibration) (*graph, error)

// graphs are how a model's encoder and decoder are made.
func graphs(c *model.Config) []builds {
	if c.Kind == model.Prefix {
		return []builds{encoder, prefixDecoder}
	}
	return []builds{encoder, decoder}
}

// build makes a dtype's graphs; weights are converted when they are written.
func build(c *model.Config, w model.Weights, dtype string, o Options) ([]file, error) {
	if err := checkDtype(dtype); err != nil {
		return nil, err
	}
	files := []file{{name: EncoderFile(dtype)}, {name: DecoderFile(dtype)}}
	for i, make := range graphs(c) {
		var err error
		if files[i].graph, err = make(c, w, o.numbers(dtype), o.Calibration); err != nil {
			return nil, fmt.Errorf("build %s: %w", files[i].name, err)
		}
	}
	return files, nil
}

// SizeError says that a dtype's files would have more bytes than they may.
type SizeError struct {
	Dtype          string
	Bytes, Allowed int64
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("the %s export needs %.2f MiB (encoder and decoder), export.max_size_mib allows %.2f: leave %s out "+
		"of export.dtypes, prune the vocabulary (export.prune_vocab), or allow more",
		e.Dtype, float64(e.Bytes)/(1<<20), float64(e.Allowed)/(1<<20), e.Dtype)
}

// CheckSizes is a *SizeError for the first of the dtypes whose files, rounded as by Write, would have more bytes than
// are allowed. 0 allows any.
func CheckSizes(c *model.Config, dtypes []string, allowed int64) error {
	if allowed == 0 {
		return nil
	}
	for _, dtype := range dtypes {
		size, err := Size(c, dtype, nil)
		if err != nil {
			return fmt.Errorf("size of the %s export: %w", dtype, err)
		}
		if size > allowed {
			return &SizeError{Dtype: dtype, Bytes: size, Allowed: allowed}
		}
	}
	return nil
}

// Size is how many bytes WriteWith would write of any weights, calibrated or not, with such layers in 8 bits.
func Size(c *model.Config, dtype string, eightBits []string) (int64, error) {
	if err := c.Validate(); err != nil {
		return 0, err
	}
	files, err := build(c, blank(c), dtype, Options{EightBits: eightBits})
	if err != nil {
		return 0, err
	}
	var n int64
	for _, file := range files {
		f, err := file.graph.frame()
		if err != nil {
			return 0, fmt.Errorf("%s: %w", file.name, err)
		}
		n += f.size
	}
	return n, nil
}

// blank are weights of a network's shapes that share one array, whose pages nobody touches.
func blank(c *model.Config) model.Weights {
	shapes, most := c.Shapes(), 0
	size := func(shape []int) int {
		n := 1
		for _, d := range shape {
			n *= d
		}
		return n
	}
	for _, shape := range shapes {
		most = max(most, size(shape))
	}
	zeros, w := make([]float32, most), model.Weights{}
	for name, shape := range shapes {
		w[name] = &model.Tensor{Shape: shape, Data: zeros[:size(shape)]}
	}
	return w
}

// checkWeights makes sure that every tensor of the model is there in its shape, and finite: a graph with a
// NaN would only be found out by its captions.
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
