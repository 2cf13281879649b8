package workflows

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"distilvit/artifact/record"
	"distilvit/pipeline"
	"distilvit/storage/layout"
)

// maxMends bounds how often a run has broken data made again: a disk that
// breaks everything is to be replaced.
const maxMends = 10

// healing does a stage, and does it once more after every time that stored data was
// found broken in it and was made again.
func (r *run) healing(ctx workflow.Context, needs *record.CheckpointRef, do func() error) error {
	for {
		err := do()
		if errorType(err) != pipeline.Corrupt {
			return err
		}
		err = r.mend(ctx, job{needs: needs}, err)
		r.releaseDevice(ctx) // where a checkpoint was trained again
		if err != nil {
			return err
		}
	}
}

// mend removes what an activity found broken and makes it again, with the same
// bytes: prepared data from the sources, a checkpoint by training. It returns
// nil when the job is to be tried again.
func (r *run) mend(ctx workflow.Context, j job, found error) error {
	if workflow.GetVersion(ctx, "mend", workflow.DefaultVersion, 1) == workflow.DefaultVersion {
		return found // as runs of earlier versions ended
	}
	keys := brokenKeys(found)
	if r.Mends >= maxMends || len(keys) == 0 && j.needs == nil {
		return found
	}
	r.Mends++
	stage := r.status.Stage
	r.show(ctx, "stored data is broken: "+reason(found))
	var dropped pipeline.DropBrokenResult
	if len(keys) > 0 {
		var err error
		dropped, err = call[pipeline.DropBrokenResult](ctx, r, dropBroken,
			fmt.Sprintf("drop-broken-%d", r.Mends), strings.Join(keys, ", "), pipeline.DropBrokenInput{
				Run: r.id, Keys: keys,
			})
		if err != nil {
			return err
		}
	}
	broken := append(slices.Clone(dropped.Dropped), dropped.Missing...)
	shared := slices.DeleteFunc(
		slices.Clone(broken), func(key string) bool { return layout.AreaOf(key) == layout.Runs },
	)
	if len(shared) > 0 {
		if err := r.restock(ctx, shared); err != nil {
			return err
		}
	}
	if j.needs != nil && (len(keys) == 0 || slices.Contains(dropped.Checkpoints, j.needs.Manifest)) {
		if err := r.remake(ctx, j.needs, found); err != nil {
			return err
		}
	}
	r.warn(mended(broken, dropped.Sound, found))
	r.survived(pipeline.Corrupt, "read again, or made again with the same bytes")
	r.enter(ctx, stage, "going on with what was made again")
	return nil
}

// sinceMend gives a stage's activities other ids after its data was mended, since some
// of those from before may not have ended yet.
func (r *run) sinceMend(id string) string {
	if r.Mends == 0 {
		return id
	}
	return fmt.Sprintf("%s-mend%d", id, r.Mends)
}

// mended tells people what was broken.
func mended(broken, sound []string, found error) []string {
	switch {
	case len(broken) > 0:
		return []string{
			fmt.Sprintf("broken in the object store, removed and made again: %s", strings.Join(broken, ", ")),
		}
	case len(sound) > 0:
		return []string{
			fmt.Sprintf("read as broken, but sound when read again: %s", strings.Join(sound, ", ")),
		}
	}
	return []string{reason(found) + ": trained again from an older checkpoint"}
}

// restock makes again what runs share: sources and given weights by another
// download, prepared data from them.
func (r *run) restock(ctx workflow.Context, broken []string) error {
	outside := slices.ContainsFunc(broken, func(key string) bool {
		area := layout.AreaOf(key)
		return area == layout.Sources || area == layout.Weights
	})
	was, said := r.State, r.Warnings
	if outside || r.Pretrained == nil && (r.Config.Model.Pretrained() || r.Config.Model.Tokenizer != "") {
		if _, err := r.download(ctx); err != nil {
			return err
		}
		for i, s := range r.Sources {
			if s.Digest != was.Sources[i].Digest {
				return changed(fmt.Sprintf("dataset[%d]", i), "it is another file now")
			}
		}
	}
	if !was.Prepared {
		return nil // the stage is done once more
	}
	err := r.healing(ctx, nil, func() error { return r.prepare(ctx, r.Pretrained) })
	r.Warnings = said // the dataset's are known
	switch {
	case err != nil:
		return err
	case r.Dataset.Manifest != was.Dataset.Manifest:
		return changed(was.Dataset.Manifest, "preparing gives "+r.Dataset.Manifest)
	case r.Tokens.Manifest != was.Tokens.Manifest:
		return changed(was.Tokens.Manifest, "tokenizing gives "+r.Tokens.Manifest)
	case r.Features.Manifest != was.Features.Manifest:
		return changed(was.Features.Manifest, "encoding gives "+r.Features.Manifest)
	case r.HeldOut.Manifest != was.HeldOut.Manifest && was.HeldOut.Manifest != "": // older programs had none
		return changed(was.HeldOut.Manifest, "encoding gives "+r.HeldOut.Manifest)
	case r.Teacher.Manifest != was.Teacher.Manifest:
		return changed(was.Teacher.Manifest, "the teacher gives "+r.Teacher.Manifest)
	case r.Model.Digest != was.Model.Digest:
		return changed(
			layout.ModelDir(was.Model.Digest), "building the model gives "+layout.ModelDir(r.Model.Digest),
		)
	}
	return nil
}

func changed(what, how string) error {
	return temporal.NewNonRetryableApplicationError(what+" was broken and cannot be made again: "+how,
		pipeline.Nondeterministic, nil)
}

// remake makes a lost checkpoint again by training: from the newest earlier one that
// can be read, at worst from the initial weights.
func (r *run) remake(ctx workflow.Context, lost *record.CheckpointRef, found error) error {
	if lost.Branch != r.Progress.Branch {
		return found // it was trained with other settings than the branch has now
	}
	last := lost.Epoch
	if lost.EpochStep > 0 {
		last++
	}
	for epoch, back := last, true; epoch <= last; {
		until := int64(0)
		if epoch == last {
			until = lost.EpochStep
		}
		err := r.epochAgain(ctx, epoch, until, lost)
		switch {
		case errorType(err) == pipeline.Corrupt && back && epoch > 1:
			epoch--
		case err != nil:
			return err
		default:
			epoch++
			back = false
		}
	}
	return nil
}

// epochAgain trains a finished epoch (1-based), or so many steps of it, unless its end is there.
func (r *run) epochAgain(ctx workflow.Context, epoch int, until int64, lost *record.CheckpointRef) error {
	name := fmt.Sprintf("epoch %d again, whose checkpoint was broken", epoch)
	return r.onDevice(ctx,
		job{name: name, again: true, shrink: cannotShrink, do: func(session workflow.Context) error {
			r.show(ctx, name)
			result, err := call[pipeline.EpochResult](session, r, trainEpoch,
				fmt.Sprintf("epoch-%d-again-%d", epoch, r.Mends), name, pipeline.EpochInput{
					Work: r.work(), Epoch: epoch - 1, Until: until, From: r.Progress.From, Best: lost,
				})
			r.warn(result.Warnings)
			return err
		}})
}

func cannotShrink(workflow.Context) (string, error) {
	return "", errors.New("a lost checkpoint can only be made again with the memory it was made with")
}

// brokenKeys are the objects an activity's error says are broken.
func brokenKeys(err error) []string {
	var application *temporal.ApplicationError
	var broken pipeline.Broken
	if !errors.As(err, &application) || !application.HasDetails() || application.Details(&broken) != nil {
		return nil
	}
	return broken.Keys
}
