package activities

import (
	"context"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"

	"distilvit/artifact"
	"distilvit/hub"
	"distilvit/pipeline"
	"distilvit/storage/layout"
)

// Push brings a published model to a repository of the Hugging Face hub. What an earlier attempt has sent
// stays there and is not sent again.
func (a *Activities) Push(ctx context.Context, in pipeline.PushInput) (pipeline.Pushed, error) {
	return run(ctx, func(ctx context.Context, p *pulse) (pipeline.Pushed, error) {
		out := pipeline.Pushed{To: in.To}
		client, repo, err := a.pushClient(in.To)
		if err != nil {
			return out, err
		}
		dir, done, err := a.scratch("push")
		if err != nil {
			return out, err
		}
		defer done()
		p.progress("fetch", 0, 0, in.Model)
		if err := artifact.FetchModel(ctx, a.Store, in.Model, dir, nil); err != nil {
			return out, err
		}
		files, err := artifact.LocalModel(dir)
		if err != nil {
			return out, err
		}
		pushed, err := client.Push(ctx, hub.Push{
			Repo: repo, Private: in.Private, Title: path.Base(in.Model), Files: pushFiles(dir, files),
		}, func(file string, sent, total int64) { p.progress("push", sent, total, file) })
		if err != nil {
			return out, orInvalid(ctx, err)
		}
		out.Page, out.Commit, out.Sent = pushed.Page, pushed.Commit, pushed.Sent
		return out, nil
	})
}

func (a *Activities) pushClient(to string) (*hub.Client, hub.Repo, error) {
	repo, err := hub.Parse(to)
	if err != nil {
		return nil, repo, invalid("publish.push: %v", err)
	}
	client, err := hub.New(a.Hub)
	if err != nil {
		return nil, repo, invalid("publish.push: %v", err)
	}
	return client, repo, nil
}

func pushFiles(dir string, files map[string]layout.Object) (list []hub.PushFile) {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		o := files[name]
		list = append(list, hub.PushFile{
			Name: name, Path: filepath.Join(dir, filepath.FromSlash(name)), Size: o.Size, SHA256: o.SHA256,
		})
	}
	return list
}

// checkPush finds out before a run begins what would fail its push. A hub that does not answer now may by
// then: that is a warning.
func (a *Activities) checkPush(ctx context.Context, to string) (warnings []string, err error) {
	if to == "" {
		return nil, nil
	}
	client, repo, err := a.pushClient(to)
	if err != nil {
		return nil, err
	}
	err = client.CheckPush(ctx, repo)
	switch {
	case err == nil:
		return nil, nil
	case kindOf(err) == pipeline.StorageUnavailable && ctx.Err() == nil:
		return []string{fmt.Sprintf("publish.push is not tried yet: %v", err)}, nil
	}
	return nil, orInvalid(ctx, fmt.Errorf("publish.push: %w", err))
}
