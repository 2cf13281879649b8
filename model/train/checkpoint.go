package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"distilvit/artifact/record"
	"distilvit/internal/device"
	"distilvit/internal/digest"
	"distilvit/model"
	"distilvit/model/safetensors"
	"distilvit/storage/layout"
)

// Files of a checkpoint.
const (
	weightsFile = "model.safetensors"
	momentsFile = "optimizer.safetensors" // "m." and "v." before each name; with EMA "w.", too
	stateFile   = "state.json"
)

// momentPrefixes of what momentsFile holds, in the order of Trainer.state: moments, and the weights that are
// trained where weightsFile has their average.
var momentPrefixes = []string{"m.", "v.", "w."}

// Save writes a checkpoint of what is trained that is complete or absent: DIR.tmp, synced, then
// renamed over DIR. The same state gives the same bytes. st.Step and Frozen are filled in.
// It answers what the files are, by name: taken of the bytes as they were written,
// not as they read back, so that a copy that lost some is found by it.
func (t *Trainer) Save(dir string, st record.State) (map[string]layout.Object, error) {
	if t.broken != nil {
		return nil, t.broken
	}
	st.Step, st.Frozen = t.step, t.frozenDigest
	tmp := dir + ".tmp"
	if err := os.RemoveAll(tmp); err != nil {
		return nil, fmt.Errorf("save checkpoint: %w", err)
	}
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		return nil, fmt.Errorf("save checkpoint: %w", err)
	}
	step := model.WithFormat(map[string]string{"step": strconv.FormatInt(t.step, 10)})
	var moments []safetensors.Tensor
	for i, list := range t.state()[1:] {
		moments = append(moments, t.onDevice(momentPrefixes[i], *list)...)
	}
	files := map[string]layout.Object{}
	for _, f := range []struct {
		name  string
		write func(io.Writer) error
	}{
		{weightsFile, func(w io.Writer) error {
			return safetensors.Write(w, t.onDevice("", t.shown()), step)
		}},
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

func writeState(w io.Writer, st record.State) error {
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
func WriteFile(path string, write func(io.Writer) error) (layout.Object, error) {
	f, err := os.Create(path)
	if err != nil {
		return layout.Object{}, err
	}
	defer f.Close()
	sum := digest.New()
	if err := write(io.MultiWriter(sum, f)); err != nil {
		return layout.Object{}, fmt.Errorf("write %s: %w", path, err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return layout.Object{}, err
	}
	return layout.Object{Size: sum.Size, SHA256: sum.Hex()}, nil
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
func ReadState(dir string) (record.State, error) {
	var st record.State
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
func (t *Trainer) Load(dir string) (record.State, error) {
	st, err := ReadState(dir)
	if err != nil {
		return st, err
	}
	w, err := t.readTrained(dir, st)
	if err != nil {
		return st, err
	}
	weights, err := t.uploadWeights(t.names, w)
	if err != nil {
		return st, err
	}
	moments, err := t.readMoments(filepath.Join(dir, momentsFile), st.Step)
	if err != nil {
		weights.Free()
		return st, err
	}
	t.replace(weights.With(moments))
	t.step, t.broken = st.Step, nil
	return st, nil
}

// readTrained reads the weights that are trained, of a checkpoint that froze the same as this trainer does.
func (t *Trainer) readTrained(dir string, st record.State) (model.Weights, error) {
	if st.Frozen != t.frozenDigest {
		return nil, fmt.Errorf("read %s: other tensors are frozen, or of other weights: digest %q instead of %q",
			dir, st.Frozen, t.frozenDigest)
	}
	if len(t.plan.frozen) == 0 {
		return model.ReadWeights(dir, t.model)
	}
	w, err := model.ReadTrained(dir, t.shapes)
	if err != nil {
		return nil, err
	}
	for _, name := range t.names {
		if w[name] == nil {
			return nil, fmt.Errorf("read %s: tensor %s is missing", dir, name)
		}
	}
	return w, nil
}

// readMoments uploads what momentsFile holds, which must be of the given step.
func (t *Trainer) readMoments(path string, step int64) (all device.Tensors, err error) {
	f, err := os.Open(path)
	if err != nil {
		return all, fmt.Errorf("read checkpoint: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return all, fmt.Errorf("read checkpoint: %w", err)
	}
	s, err := safetensors.Open(f, info.Size())
	if err != nil {
		return all, fmt.Errorf("read %s: %w", path, err)
	}
	if got := s.Metadata["step"]; got != strconv.FormatInt(step, 10) {
		return all, fmt.Errorf("read %s: moments of step %q instead of %d", path, got, step)
	}
	for _, prefix := range momentPrefixes[:len(t.state())-1] {
		for _, name := range t.names {
			data, err := s.Float32s(prefix + name)
			if err == nil {
				var x device.Tensors
				if x, err = device.UploadWhole(t.group, data, t.shapes[name]...); err == nil {
					all = all.With(x)
				}
			}
			if err != nil {
				all.Free()
				return device.Tensors{}, fmt.Errorf("read %s: %w", path, err)
			}
		}
	}
	return all, nil
}
