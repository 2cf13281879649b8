package activities

import (
	"context"
	"errors"
	"fmt"

	"distilvit/artifact"
	"distilvit/pipeline"
	"distilvit/storage"
	"distilvit/storage/layout"
)

// pinRival names the version of a published model, and the pictures, that the run is compared with, so that every later
// execution of the run means the same: those that an earlier one froze, or the newest of now.
func (a *Activities) pinRival(
	ctx context.Context, run string, b *pipeline.BetterThanConfig,
) (warnings []string, err error) {
	if b.Model == "" {
		return nil, nil
	}
	var frozen pipeline.Config
	err = a.Store.GetJSON(ctx, layout.Run(run).Config(), &frozen)
	if err == nil {
		*b = frozen.Publish.BetterThan
		return nil, nil
	}
	if !errors.Is(err, storage.ErrNotFound) {
		return nil, err
	}
	group, err := artifact.FindModel(ctx, a.Store, b.Model)
	if _, name := layout.NameOf(b.Model); name && errors.Is(err, artifact.ErrNotPublished) {
		warnings = []string{fmt.Sprintf("%s has no version yet: this run publishes the first one without a comparison "+
			"(publish.better_than)", b.Model)}
		*b = pipeline.BetterThanConfig{}
		return warnings, nil
	}
	if errors.Is(err, artifact.ErrNotPublished) {
		return nil, invalid("publish.better_than.model: %v", err)
	}
	if err != nil {
		return nil, err
	}
	if b.Model = group; b.Dataset == "" {
		if b.Dataset, err = a.comparedOn(ctx, group); err != nil {
			return nil, err
		}
	}
	if _, err := a.Store.Stat(ctx, layout.Manifest(b.Dataset)); errors.Is(err, storage.ErrNotFound) {
		return nil, invalid("publish.better_than.dataset: there is no %s in the object store; distilvit ls lists "+
			"those there", b.Dataset)
	} else if err != nil {
		return nil, err
	}
	return nil, a.adopt(ctx, run, b.Dataset)
}

// comparedOn is the dataset that a published model was compared on, or else its own.
func (a *Activities) comparedOn(ctx context.Context, group string) (string, error) {
	m, err := artifact.ReadModel(ctx, a.Store, group)
	if err != nil {
		return "", err
	}
	key := m.Dataset
	if m.Comparison != nil {
		key = m.Comparison.Dataset
	}
	dataset, ok := layout.ManifestOf(key)
	if !ok {
		return "", invalid("publish.better_than: %s names no dataset in its manifest: name one as publish.better_than.dataset",
			group)
	}
	return dataset, nil
}
