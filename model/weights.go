package model

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
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

const (
	weightsName = "model.safetensors"
	indexName   = "model.safetensors.index.json"
	wteName     = "decoder.transformer.wte.weight"
	lmHeadName  = "decoder.lm_head.weight"
)

// Check reports missing, unknown and misshaped tensors by name.
func (w Weights) Check(c *Config) error {
	var missing, extra, shaped []string
	shapes := c.Shapes()
	for name, shape := range shapes {
		t, ok := w[name]
		switch {
		case !ok:
			missing = append(missing, name)
		case !slices.Equal(t.Shape, shape) || len(t.Data) != elements(shape):
			shaped = append(shaped, fmt.Sprintf("%s is %v instead of %v", name, t.Shape, shape))
		}
	}
	for name := range w {
		if _, ok := shapes[name]; !ok {
			extra = append(extra, name)
		}
	}
	return misfit(missing, extra, shaped)
}

// misfit is one line that names the first few tensors of each kind.
func misfit(missing, extra, shaped []string) error {
	var parts []string
	for _, kind := range []struct {
		what  string
		names []string
	}{{"missing", missing}, {"unknown", extra}, {"of another shape", shaped}} {
		n := len(kind.names)
		if n == 0 {
			continue
		}
		sort.Strings(kind.names)
		text := strings.Join(kind.names[:min(n, 3)], ", ")
		if n > 3 {
			text += fmt.Sprintf(" and %d more", n-3)
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

// ReadWeights reads dir's model.safetensors, or its shards, as the config wants
// them. What Hugging Face stores beside (pooler, tied lm_head, masks) is left out.
func ReadWeights(dir string, c *Config) (Weights, error) {
	files, err := weightFiles(dir)
	if err != nil {
		return nil, err
	}
	w := Weights{}
	for _, path := range files {
		if err := w.readFile(path); err != nil {
			return nil, err
		}
	}
	if head, ok := w[lmHeadName]; ok {
		if w[wteName] == nil {
			w[wteName] = head
		}
		delete(w, lmHeadName)
	}
	if err := w.Check(c); err != nil {
		return nil, fmt.Errorf("read %s: %w", dir, err)
	}
	return w, nil
}

// weightFiles lists the files that hold dir's weights.
func weightFiles(dir string) ([]string, error) {
	path := filepath.Join(dir, weightsName)
	if _, err := os.Stat(path); err == nil {
		return []string{path}, nil
	}
	b, err := os.ReadFile(filepath.Join(dir, indexName))
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(dir, "pytorch_model.bin")); err == nil {
			return nil, fmt.Errorf("%s has pytorch_model.bin but no model.safetensors: save it with safe_serialization=True", dir)
		}
		return nil, fmt.Errorf("%s has no model.safetensors", dir)
	}
	if err != nil {
		return nil, fmt.Errorf("read weights: %w", err)
	}
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(b, &index); err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(dir, indexName), err)
	}
	seen := map[string]bool{}
	var files []string
	for _, name := range index.WeightMap {
		if !filepath.IsLocal(name) {
			return nil, fmt.Errorf("read %s: file %q lies outside", filepath.Join(dir, indexName), name)
		}
		if !seen[name] {
			seen[name] = true
			files = append(files, filepath.Join(dir, name))
		}
	}
	sort.Strings(files)
	return files, nil
}

// readFile adds a file's tensors to w.
func (w Weights) readFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read weights: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return fmt.Errorf("read weights: %w", err)
	}
	s, err := safetensors.Open(f, st.Size())
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	for _, t := range s.Tensors() {
		if unused(t.Name) {
			continue
		}
		data, err := s.Float32s(t.Name)
		if err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		for _, x := range data {
			if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
				return fmt.Errorf("read %s: tensor %s has values that are not finite", path, t.Name)
			}
		}
		w[t.Name] = &Tensor{Shape: t.Shape, Data: data}
	}
	return nil
}

// unused names what a checkpoint may hold that this network has no use for.
func unused(name string) bool {
	if strings.HasPrefix(name, "encoder.pooler.") {
		return true
	}
	for _, suffix := range []string{".attn.bias", ".attn.masked_bias", ".crossattention.bias", ".crossattention.masked_bias"} {
		if strings.HasPrefix(name, "decoder.transformer.h.") && strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return false
}

// WriteWeights writes a safetensors file: the same weights give the same bytes.
func WriteWeights(path string, w Weights, metadata map[string]string) error {
	list := make([]safetensors.Tensor, 0, len(w))
	for name, t := range w {
		list = append(list, safetensors.Tensor{Name: name, Shape: t.Shape, Data: func() ([]float32, error) { return t.Data, nil }})
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
