package activities

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/activity"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"distilvit/dataset"
	"distilvit/hub"
	"distilvit/internal/retry"
	"distilvit/model"
	"distilvit/model/onnx"
	"distilvit/model/tokenizer"
	"distilvit/model/train"
	"distilvit/model/trainer"
	"distilvit/pipeline"
	"distilvit/pipeline/sources"
	"distilvit/report"
	"distilvit/storage"
	"distilvit/storage/layout"
)

// Preflight finds out now what would otherwise fail hours later. A worker of
// the device queue (Device) answers for the backend; one of the other queue
// for everything else, and freezes the resolved config.
func (a *Activities) Preflight(
	ctx context.Context, in pipeline.PreflightInput,
) (pipeline.PreflightResult, error) {
	return run(ctx, func(ctx context.Context, p *pulse) (pipeline.PreflightResult, error) {
		if in.Device {
			return a.preflightDevice(ctx, in)
		}
		out := pipeline.PreflightResult{Config: in.Config.Resolve()}
		if err := pipeline.CheckRunID(in.Run); err != nil {
			return out, invalid("%v", err)
		}
		if err := in.Config.Validate(); err != nil {
			return out, invalid("%v", err)
		}
		if err := a.adopt(ctx, in.Run, layout.Run(in.Run).Group()); err != nil {
			return out, err
		}
		p.progress("storage", 0, 0, "")
		if err := a.Store.Check(ctx); err != nil {
			return out, err
		}
		var web []string
		if len(out.Config.Export.Dtypes) > 0 {
			if _, err := a.onnxRuntime(); err != nil {
				return out, err
			}
			_, warnings, err := a.web(out.Config.Export)
			if err != nil {
				return out, err
			}
			web = warnings
		}
		for i, s := range out.Config.Dataset {
			p.progress("sources", int64(i), int64(len(out.Config.Dataset)), "")
			if err := a.checkSource(ctx, i, s, sources.Spec(s, out.Config.Prepare)); err != nil {
				return out, err
			}
		}
		if err := a.pinConfig(ctx, p, in.Run, &out.Config); err != nil {
			return out, err
		}
		unlike, err := a.pinRival(ctx, in.Run, &out.Config.Publish.BetterThan)
		if err != nil {
			return out, err
		}
		need, err := a.checkModel(ctx, p, out.Config)
		if err != nil {
			return out, err
		}
		if out.Warnings, err = a.checkDisk(need); err != nil {
			return out, err
		}
		out.Warnings = append(append(out.Warnings, web...), unlike...)
		push, err := a.checkPush(ctx, out.Config.Publish.Push)
		if err != nil {
			return out, err
		}
		out.Warnings = append(out.Warnings, push...)
		out.Warnings = append(out.Warnings, smallBatch(out.Config)...)
		out.Warnings = append(out.Warnings, doubtfulTeacher(out.Config.Train)...)
		out.Warnings = append(out.Warnings, need.notes...)
		if err := prioritise(ctx, out.Config.Priority); err != nil {
			out.Warnings = append(out.Warnings, err.Error())
		}
		out.Object = layout.Run(in.Run).Config()
		err = a.Store.Publish(ctx, out.Object, out.Config.Frozen())
		if errors.Is(err, storage.ErrConflict) {
			err = a.freezeAsBefore(ctx, out.Object, &out.Config)
		}
		if errors.Is(err, storage.ErrConflict) {
			err = invalid("run %s exists with another config (%s): use another run id", in.Run, out.Object)
		}
		return out, err
	})
}

// freezeAsBefore takes a run for the one that an older program froze, if only that program's defaults differ.
func (a *Activities) freezeAsBefore(ctx context.Context, key string, c *pipeline.Config) error {
	var frozen pipeline.Config
	if err := a.Store.GetJSON(ctx, key, &frozen); err != nil {
		return err
	}
	before := c.WithDefaultsOf(frozen)
	if err := a.Store.Publish(ctx, key, before.Frozen()); err != nil {
		return err
	}
	*c = before
	return nil
}

// prioritise gives the workflow, and so every activity that it will wait for,
// the config's priority, for whoever started it without saying so to Temporal.
func prioritise(ctx context.Context, priority int) error {
	info := activity.GetInfo(ctx)
	if priority == 0 || priority == info.Priority.PriorityKey {
		return nil
	}
	_, err := activity.GetClient(ctx).WorkflowService().UpdateWorkflowExecutionOptions(ctx,
		&workflowservice.UpdateWorkflowExecutionOptionsRequest{
			Namespace: info.Namespace,
			WorkflowExecution: &common.WorkflowExecution{
				WorkflowId: info.WorkflowExecution.ID, RunId: info.WorkflowExecution.RunID,
			},
			WorkflowExecutionOptions: &workflow.WorkflowExecutionOptions{
				Priority: &common.Priority{PriorityKey: int32(priority)},
			},
			UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"priority"}},
		})
	if err != nil {
		return fmt.Errorf("priority %d is not set: %w; start the workflow with it instead (--priority-key %d)",
			priority, err, priority)
	}
	return nil
}

func (a *Activities) preflightDevice(
	ctx context.Context, in pipeline.PreflightInput,
) (pipeline.PreflightResult, error) {
	c, err := a.choose(in.Config.Backend)
	if err != nil {
		return pipeline.PreflightResult{}, a.elsewhere(ctx, pipeline.DeviceQueue, err)
	}
	if err := trainer.CheckDevices(in.Config.Resolve().Train.MicroBatchSize, len(c.Devices)); err != nil {
		return pipeline.PreflightResult{}, err
	}
	if err := trainer.CheckPrecision(in.Config.Train.Precision, c.Kind); err != nil {
		return pipeline.PreflightResult{}, err
	}
	out := pipeline.PreflightResult{Config: in.Config, Backend: c.Kind}
	if c.Kind == pipeline.BackendGo && in.Config.Backend == pipeline.BackendAuto {
		out.Warnings = append(out.Warnings,
			"training runs on the pure-Go backend, which is slow: `distilvit backend install cpu` gets XLA")
	}
	return out, nil
}

// checkSource makes sure that a source's files can be read.
func (a *Activities) checkSource(
	ctx context.Context, i int, s pipeline.SourceConfig, spec dataset.Spec,
) error {
	for _, g := range givenFiles(s) {
		path := fmt.Sprintf("dataset[%d].%s", i, g.key)
		if hub.NamesFiles(g.from) {
			continue // looked at when it is pinned
		}
		if pipeline.IsURL(g.from) {
			_, err := a.headURL(ctx, g.from)
			if reason := retry.NobodyThere(err); reason != nil {
				return invalid("%s: %s: %v; is the address right, and can this machine reach it?",
					path, pipeline.ShownURL(g.from), reason)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			continue
		}
		files := []string{g.from}
		if g.role == dataset.RoleFiles {
			var err error
			if files, err = dataset.FilesAt(g.from, dataset.Extension(g.kind, g.role)); err != nil {
				return invalid("%s: %v", path, err)
			}
		}
		for _, name := range files {
			if err := checkFile(ctx, g, name, spec); err != nil {
				return orInvalid(ctx, fmt.Errorf("%s: %w", path, err))
			}
		}
	}
	return nil
}

// checkFile looks at a local file as far as it costs nothing.
func checkFile(ctx context.Context, g givenFile, name string, spec dataset.Spec) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	switch {
	case info.IsDir() && g.role == dataset.RoleImages:
		return nil // packed when it is brought
	case info.IsDir():
		return fmt.Errorf("%s is a folder, not a file", name)
	}
	return dataset.Check(ctx, spec, dataset.File{Role: g.role, Name: name,
		Open: func(context.Context) (io.ReaderAt, int64, io.Closer, error) {
			return file, info.Size(), io.NopCloser(file), nil
		}})
}

// smallBatch warns of a batch that the training pictures do not fill, where their number is known.
func smallBatch(c pipeline.Config) []string {
	pictures := 0
	for _, s := range c.Dataset {
		if s.Kind != pipeline.KindShapes {
			return nil
		}
		pictures += s.Shapes.Train
	}
	if warning := pipeline.LargeBatch(pictures, c.Train.BatchSize); warning != "" {
		return []string{warning}
	}
	return nil
}

// doubtfulTeacher says what was measured of teachers (docs/training.md), to whoever is about to pay for one.
func doubtfulTeacher(t pipeline.TrainConfig) []string {
	if t.Teacher == "" {
		return nil
	}
	return []string{"train.teacher: with it a student of ours gained little or lost (docs/training.md); " +
		"compare with a run without"}
}

// need is what a run takes on the worker's disk, in bytes; pictures are known
// for generated ones only.
type need struct {
	notes           []string // what the user should know
	weights, pixels int64
	derived         int64 // features, and what a teacher says
}

// checkModel makes sure that the given weights and tokenizer can be read.
func (a *Activities) checkModel(ctx context.Context, p *pulse, c pipeline.Config) (need, error) {
	var n need
	// The weights come later; that they can be had is known from the list of files.
	from, err := a.givenModel(ctx, p, c.Model, hub.ConfigFiles)
	if err != nil {
		return n, err
	}
	net := network(c.Model, c.Model.VocabSize, 0)
	if from.processor != "" {
		if net, err = from.config(); err != nil {
			return n, orInvalid(ctx, fmt.Errorf("%s: %w", from.key, err))
		}
	}
	if err := checkParts(net, c.Train); err != nil {
		return n, err
	}
	if err := checkFeatures(net, c.Train); err != nil {
		return n, err
	}
	if err := a.checkTeacher(ctx, p, c, net, from); err != nil {
		return n, err
	}
	note, err := checkLoRA(net, c, from)
	if err != nil {
		return n, err
	}
	n.notes = append(n.notes, note...)
	if from.encoder != "" {
		beside, err := model.TextModelBeside(from.encoder)
		if err != nil {
			return n, orInvalid(ctx, err)
		}
		if beside {
			n.notes = append(n.notes, fmt.Sprintf("model.encoder: of %s the %s vision model is taken; its text "+
				"model (text_model.*, projections, logit_scale, logit_bias) is left out",
				c.Model.Encoder, net.Encoder.Name()))
		}
	}
	for _, dir := range []string{c.Model.Weights, c.Model.Encoder, c.Model.Decoder} {
		if _, stored := pipeline.FromStore(dir); dir == "" || stored || hub.Names(dir) {
			continue
		}
		if _, err := model.WeightFiles(dir); err != nil {
			return n, invalid("%s: %v", from.key, err)
		}
	}
	if from.tokenizer != "" {
		t, err := tokenizer.Load(from.tokenizer)
		if err != nil {
			return n, orInvalid(ctx, fmt.Errorf("%s: %w", from.tokenizerKey, err))
		}
		if from.processor == "" { // new weights
			net.SetVocabSize(t.VocabSize())
		}
	}
	large, err := checkSizes(net, c.Export, from.tokenizer != "")
	if err != nil {
		return n, err
	}
	n.notes = append(n.notes, large...)
	for _, shape := range net.Shapes() {
		size := int64(4)
		for _, d := range shape {
			size *= int64(d)
		}
		n.weights += size
	}
	side := int64(net.Encoder.ImageSize)
	picture, held := derivedBytes(net, c), int64(0)
	if c.Train.StoresFeatures() {
		held = int64(train.FeaturesFormat(net, c.Train.OfHeldOut().Features, 1).ViewBytes())
	}
	for _, s := range c.Dataset {
		n.derived += int64(s.Shapes.Train)*picture + int64(s.Shapes.Validation+s.Shapes.Test+s.Shapes.TestUnseen)*held
		n.pixels += int64(s.Shapes.Train+s.Shapes.Validation+s.Shapes.Test+s.Shapes.TestUnseen) * 3 * side * side
	}
	return n, nil
}

// checkSizes refuses before training what export.max_size_mib would refuse after it. A vocabulary that is to be learnt may
// become smaller than asked for, which is worth a warning; what pruning leaves is known only once captions are read.
func checkSizes(net *model.Config, e pipeline.ExportConfig, vocabularyIsKnown bool) ([]string, error) {
	if e.PruneVocab != "" {
		return nil, nil
	}
	err := onnx.CheckSizes(net, e.Dtypes, e.MaxBytes())
	if large := (*onnx.SizeError)(nil); !errors.As(err, &large) {
		return nil, err
	}
	if !vocabularyIsKnown {
		return []string{fmt.Sprintf("with all of model.vocab_size: %d, %v", net.VocabSize(), err)}, nil
	}
	return nil, invalid("%v", err)
}

// of says what of the need can be done without.
func (n need) of() string {
	if n.derived == 0 {
		return ""
	}
	return fmt.Sprintf(", %s of it for features and what a teacher says", report.Bytes(n.derived))
}

// derivedBytes are those of a training picture's features, and of what a teacher says of drawn captions at most.
func derivedBytes(net *model.Config, c pipeline.Config) (bytes int64) {
	t := c.Train
	if t.StoresFeatures() {
		f := train.FeaturesFormat(net, t.Features, t.FeatureViews)
		bytes += int64(f.Views) * int64(f.ViewBytes())
	}
	if t.Teacher != "" {
		bytes += teacherFormat(t, 0).PlaceBytes(net.VocabSize()) *
			int64((drawnCaptions+t.TeacherCaptions)*cmp.Or(t.MaxLength, 32))
	}
	return bytes
}

// drawnCaptions are those of a drawn picture.
const drawnCaptions = 5

// checkDisk compares with the space left: a checkpoint (weights and two
// moments) stands here while it is saved, uploaded and read, beside the shards.
func (a *Activities) checkDisk(n need) ([]string, error) {
	if err := os.MkdirAll(a.Dir, 0o755); err != nil {
		return nil, invalid("worker's directory: %v", err)
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(a.Dir, &fs); err != nil {
		return nil, fmt.Errorf("free space of %s: %w", a.Dir, err)
	}
	free, least := int64(fs.Bavail)*fs.Bsize, 3*3*n.weights+n.pixels+n.derived
	if free < least {
		return nil, &typed{
			pipeline.StorageFull,
			fmt.Errorf("%s has %s free, the run needs at least %s%s", a.Dir, report.Bytes(free), report.Bytes(least), n.of()),
		}
	}
	if free < 2*least {
		warning := fmt.Sprintf("%s has only %s free; the run needs about %s there%s", a.Dir, report.Bytes(free),
			report.Bytes(least), n.of())
		return []string{warning}, nil
	}
	return nil, nil
}
