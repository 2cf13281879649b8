package model

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"

	"distilvit/model/safetensors"
)

// Tensor is a dense float32 tensor on the host, row-major.
type Tensor struct {
	Shape []int
	Data  []float32
}

// Weights are tensors by Hugging Face's names.
type Weights map[string]*Tensor

// Check reports missing, unknown and misshaped tensors by name.
func (w Weights) Check(c *Config) error { return w.CheckShapes(c.Shapes()) }

// CheckShapes is Check for tensors of these shapes.
func (w Weights) CheckShapes(shapes map[string][]int) error {
	have := make(map[string][]int, len(w))
	for name, t := range w {
		if have[name] = t.Shape; len(t.Data) != elements(t.Shape) {
			have[name] = []int{len(t.Data)}
		}
	}
	return misfit(shapes, have)
}

// listed is how many tensors of a kind an error names.
const listed = 10

// misfit is one line that names what is missing, unknown and of another shape.
func misfit(want, have map[string][]int) error {
	var missing, unknown, shaped []string
	for name, shape := range want {
		got, ok := have[name]
		switch {
		case !ok:
			missing = append(missing, name)
		case !slices.Equal(got, shape):
			shaped = append(shaped, fmt.Sprintf("%s is %v instead of %v", name, got, shape))
		}
	}
	for name := range have {
		if _, ok := want[name]; !ok {
			unknown = append(unknown, name)
		}
	}
	var parts []string
	for _, kind := range []struct {
		what  string
		names []string
	}{{"missing", missing}, {"unknown", unknown}, {"of another shape", shaped}} {
		n := len(kind.names)
		if n == 0 {
			continue
		}
		sort.Strings(kind.names)
		text := strings.Join(kind.names[:min(n, listed)], ", ")
		if n > listed {
			text += fmt.Sprintf(" and %d more", n-listed)
		}
		parts = append(parts, fmt.Sprintf("%d tensors %s: %s", n, kind.what, text))
	}
	if parts == nil {
		return nil
	}
	return errors.New("weights do not fit config.json: " + strings.Join(parts, "; "))
}

func elements(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// WriteWeights writes a safetensors file: the same weights give the same bytes.
func WriteWeights(path string, w Weights, metadata map[string]string) error {
	list := make([]safetensors.Tensor, 0, len(w))
	for name, t := range w {
		list = append(list, safetensors.Tensor{
			Name: name, Shape: t.Shape, Data: func() ([]float32, error) { return t.Data, nil },
		})
	}
	return safetensors.WriteFile(path, list, WithFormat(metadata))
}

// WithFormat adds the key without which Hugging Face refuses a file.
func WithFormat(metadata map[string]string) map[string]string {
	all := map[string]string{"format": "pt"}
	for k, v := range metadata {
		all[k] = v
	}
	return all
}
