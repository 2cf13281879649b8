package activities

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"distilvit/pipeline"
	"distilvit/storage"
	"distilvit/storage/retention"
)

// brokenKeys are the stored objects that an error says are broken or missing.
func brokenKeys(err error) []string {
	var keys []string
	var look func(error)
	look = func(err error) {
		if e, ok := err.(*storage.Error); ok && e.Key != "" && unreadable(e) {
			keys = append(keys, e.Key)
			return
		}
		switch e := err.(type) {
		case interface{ Unwrap() error }:
			look(e.Unwrap())
		case interface{ Unwrap() []error }:
			for _, err := range e.Unwrap() {
				look(err)
			}
		}
	}
	look(err)
	slices.Sort(keys)
	return slices.Compact(keys)
}

// DropBroken reads objects that were found broken once more and removes those
// that are. Objects of other runs and of published models are never touched.
func (a *Activities) DropBroken(ctx context.Context, in pipeline.DropBrokenInput) (pipeline.DropBrokenResult, error) {
	return run(ctx, func(ctx context.Context, p *pulse) (pipeline.DropBrokenResult, error) {
		var out pipeline.DropBrokenResult
		for i, key := range in.Keys {
			p.progress("verify", int64(i), int64(len(in.Keys)), key)
			group, ok := retention.GroupOf(key)
			own := group == retention.RunGroup(in.Run)
			if !ok || !own && (strings.HasPrefix(key, retention.Runs+"/") || strings.HasPrefix(key, retention.Models+"/")) {
				return out, &typed{pipeline.Corrupt, fmt.Errorf("%s is broken and cannot be made again by run %s", key, in.Run)}
			}
			err := a.verifyStored(ctx, key)
			switch {
			case err == nil:
				out.Sound = append(out.Sound, key)
				continue
			case isNotFound(err):
				out.Missing = append(out.Missing, key)
			case errors.Is(err, storage.ErrCorrupt):
				if err := a.Store.Remove(ctx, key); err != nil {
					return out, err
				}
				out.Dropped = append(out.Dropped, key)
			default:
				return out, err
			}
		}
		var err error
		out.Checkpoints, err = a.incomplete(ctx, in.Run, append(out.Dropped, out.Missing...))
		return out, err
	})
}

// verifyStored reads an object and compares it with the digest in its key or in
// its metadata; a document has to be JSON too.
func (a *Activities) verifyStored(ctx context.Context, key string) error {
	o := storage.Object{Key: key}
	name, _, _ := strings.Cut(path.Base(key), ".")
	if len(name) == 64 && strings.Trim(name, "0123456789abcdef") == "" {
		there, err := a.Store.Stat(ctx, key)
		if err != nil {
			return err
		}
		o.Size, o.SHA256 = there.Size, name
	}
	if o.SHA256 == "" && strings.HasSuffix(key, ".json") {
		var document any
		return a.Store.GetJSON(ctx, key, &document)
	}
	return a.Store.Verify(ctx, o)
}

// incomplete are the checkpoints of a run that consist of one of the keys.
func (a *Activities) incomplete(ctx context.Context, run string, keys []string) ([]string, error) {
	var out []string
	own := slices.DeleteFunc(slices.Clone(keys), func(key string) bool { return !strings.HasPrefix(key, retention.RunGroup(run)+"/") })
	if len(own) == 0 {
		return nil, nil
	}
	for _, key := range own {
		if strings.HasPrefix(key, retention.RunGroup(run)+"/checkpoints/") {
			out = append(out, key)
		}
	}
	points, err := a.checkpoints(ctx, run, 0)
	if err != nil {
		return nil, err
	}
	for _, p := range points {
		m, err := a.readCheckpoint(ctx, p.key)
		if unreadable(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, o := range m.Files {
			if slices.Contains(own, o.Key) && !slices.Contains(out, p.key) {
				out = append(out, p.key)
			}
		}
	}
	return out, nil
}

// dropUnreadable removes what is broken of a checkpoint that cannot be read, so
// that it can be stored again, and says so in one line.
func (a *Activities) dropUnreadable(ctx context.Context, key string, reason error) (string, error) {
	for _, broken := range brokenKeys(reason) {
		err := a.verifyStored(ctx, broken)
		if errors.Is(err, storage.ErrCorrupt) {
			err = a.Store.Remove(ctx, broken)
		}
		if err != nil && !isNotFound(err) {
			return "", err
		}
	}
	return fmt.Sprintf("%s cannot be read (%v)", key, reason), nil
}

// missingOf are those of the objects that are not below prefix in full length.
func (a *Activities) missingOf(ctx context.Context, prefix string, objects []pipeline.Object) (map[string]bool, error) {
	sizes := map[string]int64{}
	for o, err := range a.Store.List(ctx, prefix+"/") {
		if err != nil {
			return nil, err
		}
		sizes[o.Key] = o.Size
	}
	missing := map[string]bool{}
	for _, o := range objects {
		if size, ok := sizes[o.Key]; !ok || size != o.Size {
			missing[o.Key] = true
		}
	}
	return missing, nil
}
