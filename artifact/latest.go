package artifact

import (
	"context"
	"errors"
	"fmt"
	"time"

	"distilvit/artifact/record"
	"distilvit/storage"
	"distilvit/storage/layout"
)

// latestTries bounds how often others may publish under a name while its latest is written.
const latestTries = 100

// UpdateLatest makes models/<name>/latest name the newest version that is published under the name: of a run's
// versions that of the highest branch, of several runs' the one that was published last by the store's clock. Where
// none is published, latest is removed. changed says whether it was another.
//
// Whoever publishes calls it after the version's manifest is stored, and whoever removes one after that. Every writer
// looks once more after it has written, and all see the same versions, so that the last one to write writes what is
// right, whatever came between.
func UpdateLatest(ctx context.Context, s *storage.Store, name string) (changed bool, err error) {
	key := layout.Latest(name)
	for range latestTries {
		var now record.Latest
		tag, err := s.GetTagged(ctx, key, &now)
		switch {
		case errors.Is(err, storage.ErrCorrupt):
			if err := s.Remove(ctx, key); err != nil {
				return changed, err
			}
		case err != nil && !NotFound(err):
			return changed, err
		}
		newest, err := newestModel(ctx, s, name)
		switch {
		case errors.Is(err, ErrNotPublished) && tag == "":
			return changed, nil
		case errors.Is(err, ErrNotPublished):
			err = s.Remove(ctx, key)
		case NotFound(err): // removed since it was listed
			continue
		case err == nil && now == newest && tag != "":
			return changed, nil
		case err == nil:
			err = s.Swap(ctx, key, tag, newest)
		}
		if err != nil && !errors.Is(err, storage.ErrConflict) {
			return changed, err
		}
		changed = changed || err == nil
	}
	return changed, fmt.Errorf("%s: others have written it at each of %d tries", key, latestTries)
}

// UpdateEveryLatest does so for every name, and says which were others.
func UpdateEveryLatest(ctx context.Context, s *storage.Store) (changed []string, err error) {
	for folder, err := range s.Folders(ctx, layout.Models+"/", "") {
		if err != nil {
			return changed, err
		}
		name, ok := layout.NameOf(folder.Key)
		if !ok {
			continue
		}
		is, err := UpdateLatest(ctx, s, name)
		if err != nil {
			return changed, err
		}
		if is {
			changed = append(changed, layout.Latest(name))
		}
	}
	return changed, nil
}

// NewestModel is the group of the newest version published under a name, by its latest, or where that is missing or
// names what is gone, by a listing. ErrNotPublished where there is none.
func NewestModel(ctx context.Context, s *storage.Store, name string) (group string, err error) {
	latest, err := readLatest(ctx, s, name)
	if err == nil {
		if _, err = s.Stat(ctx, layout.Manifest(latest.Model)); err == nil {
			return latest.Model, nil
		}
	}
	if !Unreadable(err) {
		return "", err
	}
	latest, err = newestModel(ctx, s, name)
	if NotFound(err) {
		err = fmt.Errorf("a model %s %w", name, ErrNotPublished)
	}
	return latest.Model, err
}

// readLatest reads a name's latest; storage.ErrCorrupt where it names no version of the name.
func readLatest(ctx context.Context, s *storage.Store, name string) (record.Latest, error) {
	var l record.Latest
	if err := s.GetJSON(ctx, layout.Latest(name), &l); err != nil {
		return l, err
	}
	if m, ok := layout.ParseModel(l.Model); !ok || m.Name != name || l.Model != m.Group() {
		return l, fmt.Errorf("read %s: %w: it names %q", layout.Latest(name), storage.ErrCorrupt, l.Model)
	}
	return l, nil
}

// newestModel finds the newest version of a name among all that are published; storage.ErrNotFound where it was
// removed meanwhile.
func newestModel(ctx context.Context, s *storage.Store, name string) (record.Latest, error) {
	type version struct {
		layout.Model
		published time.Time
	}
	runs := map[string]version{} // the highest branch of each
	for e, err := range s.Entries(ctx, layout.Models+"/"+name+"/") {
		if err != nil {
			return record.Latest{}, err
		}
		group, ok := layout.ManifestOf(e.Key)
		if m, is := layout.ParseModel(group); ok && is && m.Branch >= runs[m.Run].Branch {
			runs[m.Run] = version{m, e.Modified}
		}
	}
	var newest version
	for _, v := range runs {
		later := v.published.Compare(newest.published)
		if newest.Run == "" || later > 0 || later == 0 && v.Run > newest.Run {
			newest = v
		}
	}
	if newest.Run == "" {
		return record.Latest{}, fmt.Errorf("a model %s %w", name, ErrNotPublished)
	}
	manifest, err := s.Stat(ctx, layout.Manifest(newest.Group()))
	return record.Latest{
		Version: 1, Model: newest.Group(), Run: newest.Run, Branch: newest.Branch, Manifest: manifest,
	}, err
}
