package activities

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"distilvit/artifact"
	"distilvit/dataset"
	"distilvit/hub"
	"distilvit/pipeline"
)

// PlanTurn finds out what a turn of a schedule starts from: what the sources hold now, without storing any of it,
// and the newest version that is published.
func (a *Activities) PlanTurn(ctx context.Context, in pipeline.TurnInput) (pipeline.TurnPlan, error) {
	return run(ctx, func(ctx context.Context, p *pulse) (pipeline.TurnPlan, error) {
		var out pipeline.TurnPlan
		held := map[string]any{} // by key of the config
		commits := map[string]string{}
		for i, s := range in.Config.Dataset {
			for _, g := range givenFiles(s) {
				key := sourceKey(i, g.key)
				now, clear, err := a.holds(ctx, p, g, commits)
				if err != nil {
					return out, orInvalid(ctx, fmt.Errorf("%s: %w", key, err))
				}
				if held[key] = now; !clear {
					out.Unclear = append(out.Unclear, pipeline.ShownURL(g.from))
				}
			}
		}
		var err error
		out.Data, err = artifact.Digest(struct {
			Config pipeline.Config
			Held   map[string]any
		}{in.Config.Frozen(), held})
		if err != nil {
			return out, err
		}
		out.Model, err = artifact.FindModel(ctx, a.Store, in.Published)
		if errors.Is(err, artifact.ErrNotPublished) {
			err = nil
		}
		return out, err
	})
}

// holds is something that changes whenever the files do that a path or URL names. clear is false where a server does not
// tell.
func (a *Activities) holds(
	ctx context.Context, p *pulse, g givenFile, commits map[string]string,
) (now any, clear bool, err error) {
	if pipeline.IsURL(g.from) {
		v, err := a.headURL(ctx, g.from)
		return v, v.Tag != "" || v.Modified != "", err
	}
	if hub.NamesFiles(g.from) {
		pinned, err := a.pinFiles(ctx, g, "", commits)
		return pinned, true, err
	}
	digests, err := localDigests(ctx, p, g)
	return digests, true, err
}

// localDigests are those of the files that a path names, a folder of pictures packed as Download packs it.
func localDigests(ctx context.Context, p *pulse, g givenFile) (digests []string, err error) {
	info, err := os.Stat(g.from)
	if err == nil && info.IsDir() && g.role == dataset.RoleImages {
		err = dataset.Pack(ctx, g.from, g.captions, func(name string, write func(io.Writer) error) error {
			p.progress("digest", int64(len(digests)), 0, name)
			sum := sha256.New()
			err := write(sum)
			digests = append(digests, name+" "+hex.EncodeToString(sum.Sum(nil)))
			return err
		})
		return digests, err
	}
	paths := []string{g.from}
	if g.role == dataset.RoleFiles {
		paths, err = dataset.FilesAt(g.from, dataset.Extension(g.kind, g.role))
	}
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		sum, _, err := fileDigest(ctx, p, path)
		if err != nil {
			return nil, err
		}
		digests = append(digests, path+" "+sum)
	}
	return digests, nil
}
