package activities

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/activity"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"distilvit/dataset"
	"distilvit/model/hub"
	"distilvit/model/tokenizer"
	"distilvit/model/trainer"
	"distilvit/pipeline"
	"distilvit/storage"
	"distilvit/storage/retention"
)

// Preflight finds out now what would otherwise fail hours later. A worker of
// the device queue (Device) answers for the backend; one of the other queue
// for everything else, and freezes the resolved config.
func (a *Activities) Preflight(ctx context.Context, in pipeline.PreflightInput) (pipeline.PreflightResult, error) {
	return run(ctx, func(ctx context.Context, p *pulse) (pipeline.PreflightResult, error) {
		if in.Device {
			return a.preflightDevice(in)
		}
		out := pipeline.PreflightResult{Config: in.Config.Resolve()}
		if err := pipeline.CheckRunID(in.Run); err != nil {
			return out, invalid("%v", err)
		}
		if err := in.Config.Validate(); err != nil {
			return out, invalid("%v", err)
		}
		if err := a.adopt(ctx, in.Run, retention.RunGroup(in.Run)); err != nil {
			return out, err
		}
		p.progress("storage", 0, 0, "")
		if err := a.Store.Check(ctx); err != nil {
			return out, err
		}
		if len(out.Config.Export.Dtypes) > 0 {
			if _, err := a.onnxRuntime(); err != nil {
				return out, err
			}
		}
		for i, s := range out.Config.Dataset {
			p.progress("sources", int64(i), int64(len(out.Config.Dataset)), "")
			if err := checkSource(ctx, i, s); err != nil {
				return out, err
			}
		}
		if err := a.pinConfig(ctx, p, in.Run, &out.Config); err != nil {
			return out, err
		}
		need, err := a.checkModel(ctx, p, out.Config)
		if err != nil {
			return out, err
		}
		if out.Warnings, err = a.checkDisk(need); err != nil {
			return out, err
		}
		if err := prioritise(ctx, out.Config.Priority); err != nil {
			out.Warnings = append(out.Warnings, err.Error())
		}
		out.Object = configKey(in.Run)
		err = a.Store.Publish(ctx, out.Object, out.Config.Frozen())
		if errors.Is(err, storage.ErrConflict) {
			err = invalid("run %s exists with another config (%s): use another run id", in.Run, out.Object)
		}
		return out, err
	})
}

// prioritise gives the workflow, and so every activity that it will wait for,
// the config's priority, for whoever started it without saying so to Temporal.
func prioritise(ctx context.Context, priority int) error {
	info := activity.GetInfo(ctx)
	if priority == 0 || priority == info.Priority.PriorityKey {
		return nil
	}
	_, err := activity.GetClient(ctx).WorkflowService().UpdateWorkflowExecutionOptions(ctx, &workflowservice.UpdateWorkflowExecutionOptionsRequest{
		Namespace:                info.Namespace,
		WorkflowExecution:        &common.WorkflowExecution{WorkflowId: info.WorkflowExecution.ID, RunId: info.WorkflowExecution.RunID},
		WorkflowExecutionOptions: &workflow.WorkflowExecutionOptions{Priority: &common.Priority{PriorityKey: int32(priority)}},
		UpdateMask:               &fieldmaskpb.FieldMask{Paths: []string{"priority"}},
	})
	if err != nil {
		return fmt.Errorf("priority %d is not set: %w; start the workflow with it instead (--priority-key %d)", priority, err, priority)
	}
	return nil
}

// configKey is where a run's resolved config is frozen.
func configKey(run string) string { return "runs/" + run + "/config.json" }

func (a *Activities) preflightDevice(in pipeline.PreflightInput) (pipeline.PreflightResult, error) {
	c, err := a.choose(in.Config.Backend)
	if err != nil {
		return pipeline.PreflightResult{}, err
	}
	if err := trainer.CheckDevices(in.Config.Resolve().Train.MicroBatchSize, len(c.Devices)); err != nil {
		return pipeline.PreflightResult{}, err
	}
	if err := trainer.CheckPrecision(in.Config.Train.Precision, c.Kind); err != nil {
		return pipeline.PreflightResult{}, err
	}
	out := pipeline.PreflightResult{Config: in.Config, Backend: c.Kind}
	if c.Kind == pipeline.BackendGo && in.Config.Backend == pipeline.BackendAuto {
		out.Warnings = append(out.Warnings, "training runs on the pure-Go backend, which is slow: `distilvit backend install cpu` gets XLA")
	}
	return out, nil
}

// checkSource makes sure that a source's files can be read.
func checkSource(ctx context.Context, i int, s pipeline.SourceConfig) error {
	for _, g := range givenFiles(s) {
		path := fmt.Sprintf("dataset[%d].%s", i, g.key)
		if hub.NamesFiles(g.from) {
			continue // looked at when it is pinned
		}
		if isURL(g.from) {
			if _, err := headURL(ctx, g.from); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			continue
		}
		files := []string{g.from}
		if g.role == dataset.RoleFiles {
			var err error
			if files, err = dataset.FilesAt(g.from, dataset.Extension(g.role)); err != nil {
				return invalid("%s: %v", path, err)
			}
		}
		for _, name := range files {
			file, err := os.Open(name)
			if err != nil {
				return invalid("%s: %v", path, err)
			}
			file.Close()
		}
	}
	return nil
}

// need is what a run takes on the worker's disk, in bytes; pictures are known
// for generated ones only.
type need struct {
	weights, pixels int64
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
	for _, dir := range []string{c.Model.Weights, c.Model.Encoder, c.Model.Decoder} {
		if matches, _ := filepath.Glob(filepath.Join(dir, "*.safetensors")); len(matches) == 0 && dir != "" && !hub.Names(dir) {
			return n, invalid("%s: %s has no model.safetensors", from.key, dir)
		}
	}
	if from.tokenizer != "" {
		if _, err := tokenizer.Load(from.tokenizer); err != nil {
			return n, orInvalid(ctx, fmt.Errorf("%s: %w", from.tokenizerKey, err))
		}
	}
	for _, shape := range net.Shapes() {
		size := int64(4)
		for _, d := range shape {
			size *= int64(d)
		}
		n.weights += size
	}
	side := int64(net.Encoder.ImageSize)
	for _, s := range c.Dataset {
		n.pixels += int64(s.Shapes.Train+s.Shapes.Validation+s.Shapes.Test+s.Shapes.TestUnseen) * 3 * side * side
	}
	return n, nil
}

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
	free, least := int64(fs.Bavail)*fs.Bsize, 3*3*n.weights+n.pixels
	if free < least {
		return nil, &typed{pipeline.StorageFull, fmt.Errorf("%s has %s free, the run needs at least %s", a.Dir, size(free), size(least))}
	}
	if free < 2*least {
		return []string{fmt.Sprintf("%s has only %s free; the run needs about %s there", a.Dir, size(free), size(least))}, nil
	}
	return nil, nil
}

// size prints a size for people.
func size(n int64) string {
	v, unit := float64(n), "B"
	for _, u := range []string{"kB", "MB", "GB", "TB"} {
		if v < 1000 {
			break
		}
		v, unit = v/1000, u
	}
	return fmt.Sprintf("%.3g %s", v, unit)
}
