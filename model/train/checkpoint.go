package train

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"distilvit/internal/device"
	"distilvit/model"
	"distilvit/model/safetensors"
)

// State is where training stands, beside weights and moments.
type State struct {
	Step        int64             `json:"step"`
	Epoch       int               `json:"epoch"`       // 0-based, the one under way
	EpochStep   int64             `json:"epoch_step"`  // cursor: steps done in Epoch
	LossSum     float64           `json:"loss_sum"`    // of the epoch so far
	Tokens      int64             `json:"tokens"`      // of the epoch so far
	Fingerprint map[string]string `json:"fingerprint"` // of the numerics
}

// File is what a file of a checkpoint has to be, taken of the bytes as they
// were written, not as they read back: a copy that lost some is found by it.
type File struct {
	Size   int64  `json:"size"`   // bytes
	SHA256 string `json:"sha256"` // lower-case hex
}

// Files of a checkpoint.
const (
	weightsFile = "model.safetensors"
	momentsFile = "optimizer.safetensors" // "m." and "v." before each name
	stateFile   = "state.json"
)

// Save writes a checkpoint that is complete or absent: DIR.tmp, synced, then
// renamed over DIR. The same state gives the same bytes. st.Step is filled in.
// It answers what the files are, by name.
func (t *Trainer) Save(dir string, st State) (map[string]File, error) {
	if t.broken != nil {
		return nil, t.broken
	}
	st.Step = t.step
	tmp := dir + ".tmp"
	if err := os.RemoveAll(tmp); err != nil {
		return nil, fmt.Errorf("save checkpoint: %w", err)
	}
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		return nil, fmt.Errorf("save checkpoint: %w", err)
	}
	step := model.WithFormat(map[string]string{"step": strconv.FormatInt(t.step, 10)})
	moments := append(t.onDevice("m.", t.m), t.onDevice("v.", t.v)...)
	files := map[string]File{}
	for _, f := range []struct {
		name  string
		write func(io.Writer) error
	}{
		{weightsFile, func(w io.Writer) error { return safetensors.Write(w, t.onDevice("", t.weights), step) }},
		{momentsFile, func(w io.Writer) error { return safetensors.Write(w, moments, step) }},
		{stateFile, func(w io.Writer) error { return writeState(w, st) }},
	} {
		var err error
		if files[f.name], err = WriteFile(filepath.Join(tmp, f.name), f.write); err != nil {
			return nil, fmt.Errorf("save checkpoint: %w", err)
		}
	}
	if err := publish(tmp, dir); err != nil {
		return nil, fmt.Errorf("save checkpoint: %w", err)
	}
	return files, nil
}

func writeState(w io.Writer, st State) error {
	b, err := json.MarshalIndent(st, "", "  ") // sorts the fingerprint's keys
	if err == nil {
		_, err = w.Write(append(b, '\n'))
	}
	return err
}

// onDevice lists device tensors to be written, each copied from the first
// device when its turn comes.
func (t *Trainer) onDevice(prefix string, list device.Tensors) []safetensors.Tensor {
	out := make([]safetensors.Tensor, list.Len())
	for i, x := range list.First() {
		out[i] = safetensors.Tensor{
			Name: prefix + t.names[i], Shape: x.Shape().Dimensions,
			Data: func() ([]float32, error) { return device.Download[float32](x) },
		}
	}
	return out
}

// publish renames tmp to dir, over an older one, and syncs the parent.
func publish(tmp, dir string) error {
	if err := syncDir(tmp); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.Rename(tmp, dir); err != nil {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

// WriteFile writes a file of a checkpoint through to the disk and answers what
// was written.
func WriteFile(path string, write func(io.Writer) error) (File, error) {
	f, err := os.Create(path)
	if err != nil {
		return File{}, err
	}
	defer f.Close()
	sum := &sum{Hash: sha256.New()}
	if err := write(io.MultiWriter(sum, f)); err != nil {
		return File{}, fmt.Errorf("write %s: %w", path, err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return File{}, err
	}
	return File{sum.size, hex.EncodeToString(sum.Sum(nil))}, nil
}

// sum is a running digest and length.
type sum struct {
	hash.Hash
	size int64
}

func (s *sum) Write(p []byte) (int, error) {
	s.size += int64(len(p))
	return s.Hash.Write(p)
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// ReadState reads a checkpoint's state.json.
func ReadState(dir string) (State, error) {
	var st State
	b, err := os.ReadFile(filepath.Join(dir, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return st, fmt.Errorf("%s is no checkpoint: it has no %s", dir, stateFile)
	}
	if err != nil {
		return st, fmt.Errorf("read checkpoint: %w", err)
	}
	if err := json.Unmarshal(b, &st); err != nil {
		return st, fmt.Errorf("read %s: %w", filepath.Join(dir, stateFile), err)
	}
	return st, nil
}

// Load replaces weights, moments and step by a checkpoint's. On an error the
// trainer is as it was.
func (t *Trainer) Load(dir string) (State, error) {
	st, err := ReadState(dir)
	if err != nil {
		return st, err
	}
	w, err := model.ReadWeights(dir, t.model)
	if err != nil {
		return st, err
	}
	weights, err := t.uploadWeights(w)
	if err != nil {
		return st, err
	}
	m, v, err := t.readMoments(filepath.Join(dir, momentsFile), st.Step)
	if err != nil {
		weights.Free()
		return st, err
	}
	t.replace(weights.With(m).With(v))
	t.step, t.broken = st.Step, nil
	return st, nil
}

// readMoments uploads both moments, which must be those of the given step.
func (t *Trainer) readMoments(path string, step int64) (m, v device.Tensors, err error) {
	f, err := os.Open(path)
	if err != nil {
		return m, v, fmt.Errorf("read checkpoint: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return m, v, fmt.Errorf("read checkpoint: %w", err)
	}
	s, err := safetensors.Open(f, info.Size())
	if err != nil {
		return m, v, fmt.Errorf("read %s: %w", path, err)
	}
	if got := s.Metadata["step"]; got != strconv.FormatInt(step, 10) {
		return m, v, fmt.Errorf("read %s: moments of step %q instead of %d", path, got, step)
	}
	var all device.Tensors
	shapes := t.model.Shapes()
	for _, prefix := range []string{"m.", "v."} {
		for _, name := range t.names {
			data, err := s.Float32s(prefix + name)
			if err == nil {
				var x device.Tensors
				if x, err = device.UploadWhole(t.group, data, shapes[name]...); err == nil {
					all = all.With(x)
				}
			}
			if err != nil {
				all.Free()
				return m, v, fmt.Errorf("read %s: %w", path, err)
			}
		}
	}
	n := len(t.names)
	return all.Slice(0, n), all.Slice(n, all.Len()), nil
}
