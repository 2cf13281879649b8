package activities

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"distilvit/artifact/record"
	"distilvit/model/train"
	"distilvit/model/trainer"
	"distilvit/pipeline"
	"distilvit/storage/layout"
)

// localCheckpoint is what a trainer leaves of a step.
func localCheckpoint(t *testing.T, step int64) trainer.Checkpoint {
	t.Helper()
	c := trainer.Checkpoint{
		Dir: filepath.Join(t.TempDir(), fmt.Sprint(step)), Files: map[string]layout.Object{},
	}
	c.State.Step, c.State.EpochStep = step, step
	check(t, os.Mkdir(c.Dir, 0o755))
	for _, name := range []string{"model.safetensors", trainer.MetricsFile} {
		f, err := train.WriteFile(filepath.Join(c.Dir, name), func(w io.Writer) error {
			_, err := fmt.Fprintln(w, name, step)
			return err
		})
		check(t, err)
		c.Files[name] = f
	}
	return c
}

// A local checkpoint that lost bytes before it was uploaded is dropped, and
// training goes on to the next one.
func TestDamagedLocalCheckpointIsDropped(t *testing.T) {
	b := newBench(t)
	for name, damage := range map[string]func(dir string) error{
		"cut":  func(dir string) error { return os.Truncate(filepath.Join(dir, "model.safetensors"), 3) },
		"lost": func(dir string) error { return os.Remove(filepath.Join(dir, trainer.MetricsFile)) },
	} {
		in := pipeline.EpochInput{Work: pipeline.Work{Run: name, Branch: 1}}
		upload := func(ctx context.Context, c trainer.Checkpoint) (record.CheckpointRef, error) {
			u := startUploads(
				ctx, b.Activities, in, func(err error) { t.Errorf("%s: training was ended: %v", name, err) },
			)
			u.add(c)
			last, err := u.finish()
			if (u.damaged != nil) != (last.Step == 0) {
				t.Errorf("%s: stored step %d, damage: %v", name, last.Step, u.damaged)
			}
			return last.Ref(), err
		}
		b.env.RegisterActivity(upload)
		bad := localCheckpoint(t, 5)
		check(t, damage(bad.Dir))
		do[record.CheckpointRef](b, upload, bad)
		if there := b.keys("runs/" + name + "/checkpoints/"); len(there) != 0 {
			t.Errorf("%s: %v is stored", name, there)
		}
		if _, err := os.Stat(bad.Dir); !os.IsNotExist(err) {
			t.Errorf("%s: it stands there still: %v", name, err)
		}
		do[record.CheckpointRef](b, upload, localCheckpoint(t, 10))
		if there := b.keys("runs/" + name + "/checkpoints/"); !slices.Equal(there, []string{"1/10/manifest.json"}) {
			t.Errorf("%s: stored are %v", name, there)
		}
	}
}
