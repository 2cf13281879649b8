package retention

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"distilvit/artifact/record"
	"distilvit/storage"
	"distilvit/storage/layout"
)

// marks is what is referred to at one moment.
type marks struct {
	groups    map[string]bool             // shared groups that a run or a published model refers to
	published map[layout.Run]map[int]bool // by run: the branches it published
	doubts    []string                    // why no shared group may be removed at all
}

// mark reads every run's references and every published model's manifest.
func mark(ctx context.Context, s *storage.Store) (*marks, error) {
	m := &marks{groups: map[string]bool{}, published: map[layout.Run]map[int]bool{}}
	for e, err := range s.Folders(ctx, layout.Runs+"/", "") {
		if err != nil {
			return nil, err
		}
		if run, ok := layout.RunOf(e.Key); ok {
			err = m.markRun(ctx, s, run)
		}
		if err != nil {
			return nil, err
		}
	}
	for e, err := range s.Entries(ctx, layout.Models+"/") {
		if err != nil {
			return nil, err
		}
		if _, ok := layout.ManifestOf(e.Key); ok {
			if err := m.markModel(ctx, s, e.Key); err != nil {
				return nil, err
			}
		}
	}
	return m, nil
}

func (m *marks) markRun(ctx context.Context, s *storage.Store, run layout.Run) error {
	found := false
	for e, err := range s.Entries(ctx, run.Folder(layout.Refs)) {
		if err != nil {
			return err
		}
		if group, ok := layout.RefOf(e.Key); ok {
			found = found || group == run.Group()
			m.groups[group] = true
		}
	}
	if !found {
		m.doubts = append(m.doubts, fmt.Sprintf("run %s is of a version that recorded no references: "+
			"nothing that runs share is removed while it is there (distilvit rm %s)", run, run))
	}
	return nil
}

func (m *marks) markModel(ctx context.Context, s *storage.Store, key string) error {
	var model record.ModelManifest
	tree, err := readDocument(ctx, s, key, &model)
	switch {
	case errors.Is(err, storage.ErrNotFound): // just removed
		return nil
	case errors.Is(err, storage.ErrCorrupt):
		m.doubts = append(m.doubts, fmt.Sprintf("%v: nothing that it may refer to is removed", err))
		return nil
	case err != nil:
		return err
	}
	for key := range keysIn(tree) {
		if group, ok := layout.GroupOf(key); ok {
			m.groups[group] = true
		}
	}
	if m.published[layout.Run(model.Run)] == nil {
		m.published[layout.Run(model.Run)] = map[int]bool{}
	}
	m.published[layout.Run(model.Run)][model.Branch] = true
	return nil
}

// readDocument reads a stored JSON document as it is, and what is known of it
// into known. One that is no such document is ErrCorrupt.
func readDocument(ctx context.Context, s *storage.Store, key string, known any) (tree any, err error) {
	if err := s.GetJSON(ctx, key, &tree); err != nil {
		return nil, err
	}
	raw, err := json.Marshal(tree)
	if err == nil {
		err = json.Unmarshal(raw, known)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w: %v", key, storage.ErrCorrupt, err)
	}
	return tree, nil
}

// keysIn yields every string of a JSON document that has the form of a key: a
// manifest of any version refers to whatever it names anywhere.
func keysIn(tree any) func(yield func(string) bool) {
	return func(yield func(string) bool) { walk(tree, yield) }
}

func walk(tree any, yield func(string) bool) bool {
	switch v := tree.(type) {
	case string:
		if layout.AreaOf(v) != "" {
			return yield(v)
		}
	case []any:
		for _, e := range v {
			if !walk(e, yield) {
				return false
			}
		}
	case map[string]any:
		for _, e := range v {
			if !walk(e, yield) {
				return false
			}
		}
	}
	return true
}
