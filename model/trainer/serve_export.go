package trainer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/gomlx/compute"

	"distilvit/artifact/record"
	"distilvit/dataset"
	"distilvit/dataset/pixels"
	"distilvit/internal/backend"
	"distilvit/model"
	"distilvit/model/onnx"
	"distilvit/model/tokenizer"
	"distilvit/model/train"
)

// processorFile and tokenizerFiles are those of a model directory that an export takes over as they are; the latter
// unless its vocabulary is pruned.
const processorFile = "preprocessor_config.json"

var tokenizerFiles = []string{
	"tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "special_tokens_map.json",
}

// verifyBatch is how many pictures the model captions at once in a comparison;
// less where fewer are compared.
const verifyBatch = 32

// network is a captioner that an export writes.
type network struct {
	config   *model.Config
	weights  model.Weights
	generate model.GenerateOptions
	tokens   *tokenizer.Tokenizer
	kept     []int32 // ids that its tokens have in the whole vocabulary; nil: it is whole

	unmerged model.Weights // with adapters: weights, and beside them adapters that are not merged
	trained  []string      // of unmerged those that were trained, sorted
}

// export writes the published directory and refuses it where ONNX Runtime
// captions worse than the model it came from.
func (s *server) export(ctx context.Context, a ExportArgs) error {
	s.phase(PhaseExport, "reading checkpoint")
	whole, pixels, err := readNetwork(a)
	if err != nil {
		return err
	}
	n := whole
	if a.Prune != nil {
		if n, err = whole.prune(*a.Prune); err != nil {
			return err
		}
	}
	if err := n.fits(a); err != nil {
		return err
	}
	s.phase(PhaseExport, "opening backend "+a.Backend.Kind)
	be, err := backend.Open(a.Backend)
	if err != nil {
		return fmt.Errorf("open backend %s: %w", a.Backend.Kind, err)
	}
	defer be.Finalize()
	normalization := train.NormalizationOf(pixels)
	exported := &Exported{}
	var calibration *onnx.Calibration
	if a.Calibrate > 0 {
		if calibration, exported.Calibration, err = s.calibrate(ctx, a, be, n, normalization); err != nil {
			return err
		}
	}
	if a.Damage > 0 {
		if exported.Damage, err = s.damage(ctx, a, be, n, normalization, calibration); err != nil {
			return err
		}
	}
	write := onnx.Options{Calibration: calibration}
	if exported.Files, err = n.write(a, write, exported.Damage, func(m string) { s.phase(PhaseExport, m) }); err != nil {
		return err
	}
	adapter, err := whole.writeAdapter(a)
	if err != nil {
		return err
	}
	exported.Files = append(exported.Files, adapter...)
	if a.Prune != nil {
		if exported.Pruning, err = s.comparePruned(ctx, a, be, whole, n, normalization); err != nil {
			return err
		}
	}
	captioner, err := n.captioner(be, normalization)
	if err != nil {
		return err
	}
	defer captioner.Close()
	for _, dtype := range a.Dtypes {
		s.phase(PhaseExport, "comparing "+dtype)
		sure := surest{}
		options := onnx.VerifyOptions{
			Generate: n.generate, Normalization: normalization, MaxLogitsDiff: a.MaxLogitsDiff,
			MaxRougeDrop: a.MaxRougeDrop, MinEqual: a.MinEqual,
		}
		if a.SureDir != "" {
			options.Sure = sure.add
		}
		check, err := onnx.Verify(ctx, a.ONNXRuntime, a.OutDir, dtype, captioner, s.examples(ctx, a, dtype),
			n.decode, options)
		var worse *onnx.VerifyError
		if errors.As(err, &worse) {
			return &Error{Kind: InvalidInput, Message: worse.Error()}
		}
		if err == nil && a.Prune != nil {
			check.WholeBytes, err = onnx.Size(whole.config, dtype, keptBy(exported.Damage, dtype))
		}
		if err != nil {
			return fmt.Errorf("check the %s export: %w", dtype, err)
		}
		exported.Checks = append(exported.Checks, check)
		lines, err := sure.write(a.SureDir, dtype, pixels)
		if err != nil {
			return err
		}
		exported.Sure = append(exported.Sure, lines...)
	}
	s.send(Event{Event: EventDone, Exported: exported})
	return nil
}

func readNetwork(a ExportArgs) (n network, p pixels.Processor, err error) {
	if n.config, p, err = readModel(a.ModelDir); err != nil {
		return n, p, err
	}
	if n.tokens, err = readTokenizer(a.ModelDir); err != nil {
		return n, p, err
	}
	if err := n.readCheckpoint(a); err != nil {
		return n, p, err
	}
	if err := n.config.FitPictures(n.weights, p.Width); err != nil {
		return n, p, &Error{Kind: InvalidInput, Message: err.Error()}
	}
	if n.generate, err = model.ReadGenerate(a.ModelDir); err != nil {
		return n, p, &Error{Kind: InvalidInput, Message: err.Error()}
	}
	n.generate.MaxLength = a.MaxLength
	return n, p, nil
}

// readCheckpoint reads the weights to export; those that were frozen are the model directory's. Adapters are merged.
func (n *network) readCheckpoint(a ExportArgs) (err error) {
	if a.Frozen == "" {
		if n.weights, err = model.ReadWeights(a.Checkpoint, n.config); err != nil {
			return unreadable("read checkpoint", err)
		}
		return nil
	}
	shapes := n.config.Shapes()
	if a.LoRA != nil {
		maps.Copy(shapes, a.LoRA.Shapes(n.config, n.config.LinearNames()))
	}
	trained, err := model.ReadTrained(a.Checkpoint, shapes)
	if err != nil {
		return unreadable("read checkpoint", err)
	}
	given, err := model.ReadWeights(a.ModelDir, n.config)
	if err != nil {
		return &Error{Kind: InvalidInput, Message: fmt.Sprintf("weights: %v", err)}
	}
	if n.weights, err = train.WithFrozen(trained, given, a.Frozen); err != nil {
		return &Error{Kind: Corrupt, Message: fmt.Sprintf("checkpoint %s: %v", a.Checkpoint, err)}
	}
	if a.LoRA != nil {
		n.unmerged, n.trained = n.weights, slices.Sorted(maps.Keys(trained))
		n.weights = a.LoRA.Merge(n.config, n.unmerged)
	}
	return nil
}

// writeAdapter writes what was trained beside the weights as PEFT has it, below AdapterDir.
func (n network) writeAdapter(a ExportArgs) ([]string, error) {
	if a.LoRA == nil {
		return nil, nil
	}
	dir := filepath.Join(a.OutDir, AdapterDir)
	if err := model.WriteAdapter(dir, n.config, &a.LoRA.LoRA, n.unmerged, n.trained, a.LoRA.Base); err != nil {
		return nil, err
	}
	return []string{AdapterDir + "/" + model.AdapterConfigName, AdapterDir + "/" + model.AdapterWeightsName}, nil
}

// captioner uploads the weights.
func (n network) captioner(be compute.Backend, normalization model.Normalization) (*model.Captioner, error) {
	captioner, err := model.NewCaptioner(be, n.config, n.weights)
	if err != nil {
		return nil, fmt.Errorf("make captioner: %w", err)
	}
	captioner.SetNormalization(normalization)
	return captioner, nil
}

// decode answers token ids to text, special tokens left out.
func (n network) decode(ids []int32) string { return n.tokens.Decode(ids, true) }

// write fills OutDir and answers what stands in it.
func (n network) write(
	a ExportArgs, o onnx.Options, damage []record.Damage, phase func(string),
) ([]string, error) {
	var files []string
	for _, dtype := range a.Dtypes {
		phase("writing " + dtype)
		o.EightBits = keptBy(damage, dtype)
		names, err := onnx.WriteWith(a.OutDir, n.config, n.weights, dtype, o)
		if err != nil {
			return nil, fmt.Errorf("write the %s export: %w", dtype, err)
		}
		files = append(files, names...)
	}
	if err := onnx.WriteConfigs(a.OutDir, n.config, n.generate, a.Dtypes); err != nil {
		return nil, fmt.Errorf("write the export's configs: %w", err)
	}
	llava, err := onnx.WriteLlava(a.OutDir, n.config, n.generate)
	if err != nil {
		return nil, fmt.Errorf("write the configs for transformers: %w", err)
	}
	files = append(append(files, llava...), "config.json", "generation_config.json", "model.safetensors")
	copied, weights := append([]string{processorFile}, tokenizerFiles...), filepath.Join(a.OutDir, "model.safetensors")
	if n.kept == nil && a.Frozen == "" {
		if err := writeWeights(a.Checkpoint, n.weights, weights); err != nil {
			return nil, err
		}
	} else if err := model.WriteWeights(weights, n.weights, nil); err != nil {
		return nil, err
	}
	// Transformers.js loads no tokenizer without its config, which Hugging Face's tokenizers do.
	_, err = os.Stat(filepath.Join(a.ModelDir, "tokenizer_config.json"))
	if n.kept != nil || errors.Is(err, os.ErrNotExist) {
		copied, files = copied[:1], append(files, tokenizerFiles...)
		if err := n.tokens.WriteDir(a.OutDir); err != nil {
			return nil, err
		}
	}
	for _, name := range copied {
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

// writeWeights copies the one file that dir's weights came from, or makes one of several, or of PyTorch's.
func writeWeights(dir string, w model.Weights, to string) error {
	files, err := model.WeightFiles(dir)
	if err != nil {
		return err
	}
	if len(files) == 1 && filepath.Base(files[0]) == filepath.Base(to) {
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
				s.send(Event{
					Event: EventProgress, Phase: PhaseExport, Message: "comparing " + dtype, Done: done,
					Total: total,
				})
				if !yield(onnx.Example{
					ID: b.IDs[i], Pixels: b.Pixels[i*side : (i+1)*side], References: b.Captions[i],
				}, nil) {
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
