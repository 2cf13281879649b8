package trainer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"

	"distilvit/dataset"
	"distilvit/internal/backend"
	"distilvit/model"
	"distilvit/model/onnx"
	"distilvit/model/train"
)

// CopiedFiles are those of a model directory that an export takes over as they are.
var CopiedFiles = []string{
	"preprocessor_config.json", "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "special_tokens_map.json",
}

// verifyBatch is how many pictures the model captions at once in a comparison;
// less where fewer are compared.
const verifyBatch = 32

// export writes the published directory and refuses it where ONNX Runtime
// captions worse than the model it came from.
func (s *server) export(ctx context.Context, a ExportArgs) error {
	s.phase(PhaseExport, "reading checkpoint")
	config, pixels, err := readModel(a.ModelDir)
	if err != nil {
		return err
	}
	decode, err := decoder(a.ModelDir)
	if err != nil {
		return err
	}
	weights, err := model.ReadWeights(a.Checkpoint, config)
	if err != nil {
		return &Error{Kind: Corrupt, Message: fmt.Sprintf("read checkpoint: %v", err)}
	}
	files, err := writeExport(a, config, weights, func(m string) { s.phase(PhaseExport, m) })
	if err != nil {
		return err
	}
	s.phase(PhaseExport, "opening backend "+a.Backend.Kind)
	be, err := backend.Open(a.Backend)
	if err != nil {
		return fmt.Errorf("open backend %s: %w", a.Backend.Kind, err)
	}
	defer be.Finalize()
	captioner, err := model.NewCaptioner(be, config, weights)
	if err != nil {
		return fmt.Errorf("make captioner: %w", err)
	}
	defer captioner.Close()
	normalization := train.NormalizationOf(pixels)
	captioner.SetNormalization(normalization)
	var checks []onnx.Check
	for _, dtype := range a.Dtypes {
		s.phase(PhaseExport, "comparing "+dtype)
		check, err := onnx.Verify(ctx, a.ONNXRuntime, a.OutDir, dtype, captioner, s.examples(ctx, a, dtype), decode, onnx.VerifyOptions{
			MaxLength: a.MaxLength, Normalization: normalization, MaxLogitsDiff: a.MaxLogitsDiff, MaxRougeDrop: a.MaxRougeDrop,
		})
		var worse *onnx.VerifyError
		if errors.As(err, &worse) {
			return &Error{Kind: InvalidInput, Message: worse.Error()}
		}
		if err != nil {
			return fmt.Errorf("check the %s export: %w", dtype, err)
		}
		checks = append(checks, check)
	}
	s.send(Event{Event: EventDone, Exported: &Exported{Files: files, Checks: checks}})
	return nil
}

// writeExport fills OutDir and answers what stands in it.
func writeExport(a ExportArgs, c *model.Config, w model.Weights, phase func(string)) ([]string, error) {
	var files []string
	for _, dtype := range a.Dtypes {
		phase("writing " + dtype)
		names, err := onnx.Write(a.OutDir, c, w, dtype)
		if err != nil {
			return nil, fmt.Errorf("write the %s export: %w", dtype, err)
		}
		files = append(files, names...)
	}
	if err := onnx.WriteConfigs(a.OutDir, c, a.MaxLength, a.Dtypes); err != nil {
		return nil, fmt.Errorf("write the export's configs: %w", err)
	}
	files = append(files, "config.json", "generation_config.json", "model.safetensors")
	if err := writeWeights(a.Checkpoint, w, filepath.Join(a.OutDir, "model.safetensors")); err != nil {
		return nil, err
	}
	for _, name := range CopiedFiles {
		err := copyFile(filepath.Join(a.ModelDir, name), filepath.Join(a.OutDir, name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		files = append(files, name)
	}
	for i, name := range files {
		files[i] = filepath.ToSlash(name)
	}
	slices.Sort(files)
	return slices.Compact(files), nil
}

// writeWeights copies the one file that dir's weights came from, or makes one of several.
func writeWeights(dir string, w model.Weights, to string) error {
	files, err := model.WeightFiles(dir)
	if err != nil {
		return err
	}
	if len(files) == 1 {
		return copyFile(files[0], to)
	}
	return model.WriteWeights(to, w, nil)
}

// examples are the stored pictures to compare on, with a sign of life for each.
func (s *server) examples(ctx context.Context, a ExportArgs, dtype string) iter.Seq2[onnx.Example, error] {
	return func(yield func(onnx.Example, error) bool) {
		var done int64
		total := count(a.Shards, a.Pictures)
		for b, err := range dataset.Sequential(ctx, a.Shards, verifyBatch, a.Pictures) {
			if err != nil {
				yield(onnx.Example{}, err)
				return
			}
			side := len(b.Pixels) / verifyBatch
			for i := range b.N {
				done++
				s.send(Event{Event: EventProgress, Phase: PhaseExport, Message: "comparing " + dtype, Done: done, Total: total})
				if !yield(onnx.Example{ID: b.IDs[i], Pixels: b.Pixels[i*side : (i+1)*side], References: b.Captions[i]}, nil) {
					return
				}
			}
		}
	}
}

func copyFile(from, to string) error {
	r, err := os.Open(from)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.Create(to)
	if err != nil {
		return err
	}
	defer w.Close()
	if _, err := io.Copy(w, r); err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	return w.Close()
}
