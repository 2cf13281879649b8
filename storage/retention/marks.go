package retention

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"distilvit/storage"
)

// marks is what is referred to at one moment.
type marks struct {
	groups    map[string]bool         // shared groups that a run or a published model refers to
	published map[string]map[int]bool // by run: the branches it published
	doubts    []string                // why no shared group may be removed at all
}

// mark reads every run's references and every published model's manifest.
func mark(ctx context.Context, s *storage.Store) (*marks, error) {
	m := &marks{groups: map[string]bool{}, published: map[string]map[int]bool{}}
	for run, err := range s.Folders(ctx, Runs+"/", "") {
		if err != nil {
			return nil, err
		}
		if err := m.markRun(ctx, s, strings.TrimSuffix(strings.TrimPrefix(run.Key, Runs+"/"), "/")); err != nil {
			return nil, err
		}
	}
	for e, err := range s.Entries(ctx, Models+"/") {
		if err != nil {
			return nil, err
		}
		if group, ok := GroupOf(e.Key); ok && e.Key == group+manifestName {
			if err := m.markModel(ctx, s, e.Key); err != nil {
				return nil, err
			}
		}
	}
	return m, nil
}

func (m *marks) markRun(ctx context.Context, s *storage.Store, run string) error {
	found := false
	for e, err := range s.Entries(ctx, refsPrefix(run)) {
		if err != nil {
			return err
		}
		group := strings.TrimSuffix(strings.TrimPrefix(e.Key, refsPrefix(run)), ".json")
		found = found || group == RunGroup(run)
		m.groups[group] = true
	}
	if !found {
		m.doubts = append(m.doubts, fmt.Sprintf("run %s is of a version that recorded no references: nothing that runs share is removed while it is there (distilvit rm %s)", run, run))
	}
	return nil
}

// modelManifest is what counts here of models/<name>/<version>/manifest.json.
type modelManifest struct {
	Run    string `json:"run"`
	Branch int    `json:"branch"`
}

func (m *marks) markModel(ctx context.Context, s *storage.Store, key string) error {
	var model modelManifest
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
		if group, ok := GroupOf(key); ok {
			m.groups[group] = true
		}
	}
	if m.published[model.Run] == nil {
		m.published[model.Run] = map[int]bool{}
	}
	m.published[model.Run][model.Branch] = true
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
		if area, _, ok := strings.Cut(v, "/"); ok && (area == Runs || area == Models || slices.Contains(shared, area)) {
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
