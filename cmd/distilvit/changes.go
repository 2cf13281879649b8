package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"strconv"

	"distilvit/pipeline"
)

// configChange is a key whose value two configs have different.
type configChange struct {
	key      string // as train.epochs
	was, now any    // JSON values; nil: absent
}

func (c configChange) String() string {
	return fmt.Sprintf("%s is %s, was %s", c.key, valueText(c.now), valueText(c.was))
}

var commit = regexp.MustCompile(`@[0-9a-f]{40}`)

// pinned says that a name of the Hugging Face hub only lacks the commit that it had.
func (c configChange) pinned() bool {
	was, okWas := c.was.(string)
	now, okNow := c.now.(string)
	return okWas && okNow && was != now && commit.ReplaceAllString(was, "") == now
}

// valueText prints a value of a config in little space.
func valueText(v any) string {
	if v == nil {
		return "unset"
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	const most = 60
	if text := []rune(string(raw)); len(text) > most {
		return string(text[:most]) + "..."
	}
	return string(raw)
}

// configChanges compares two configs with every default filled in, as the run would freeze them.
func configChanges(was, now pipeline.Config, run string) ([]configChange, error) {
	before, errBefore := resolvedTree(was, run)
	after, errAfter := resolvedTree(now, run)
	if err := errors.Join(errBefore, errAfter); err != nil {
		return nil, err
	}
	var changes []configChange
	compareValues("", before, after, &changes)
	return changes, nil
}

func resolvedTree(cfg pipeline.Config, run string) (tree any, err error) {
	raw, err := resolved(cfg, run)
	if err != nil {
		return nil, err
	}
	err = json.Unmarshal(raw, &tree)
	return tree, err
}

// compareValues notes the innermost keys that differ, sorted.
func compareValues(key string, was, now any, changes *[]configChange) {
	switch before := was.(type) {
	case map[string]any:
		after, ok := now.(map[string]any)
		if !ok {
			break
		}
		all := map[string]any{}
		for _, m := range []map[string]any{before, after} {
			for k := range m {
				all[k] = nil
			}
		}
		for _, k := range sortedKeys(all) {
			path := k
			if key != "" {
				path = key + "." + k
			}
			compareValues(path, before[k], after[k], changes)
		}
		return
	case []any:
		after, ok := now.([]any)
		if !ok || len(before) != len(after) {
			break
		}
		for i := range before {
			compareValues(key+"["+strconv.Itoa(i)+"]", before[i], after[i], changes)
		}
		return
	}
	if !reflect.DeepEqual(was, now) {
		*changes = append(*changes, configChange{key, was, now})
	}
}

// moreEpochs says that all that differs is a larger number of epochs, and by how many.
func moreEpochs(changes []configChange) (int, bool) {
	if len(changes) != 1 || changes[0].key != "train.epochs" {
		return 0, false
	}
	was, okWas := changes[0].was.(float64)
	now, okNow := changes[0].now.(float64)
	more := math.Round(now - was)
	return int(more), okWas && okNow && more > 0
}
