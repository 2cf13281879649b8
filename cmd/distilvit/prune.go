package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"distilvit/artifact"
	"distilvit/model/tokenizer"
	"distilvit/model/trainer"
	"distilvit/pipeline"
	"distilvit/storage/layout"
)

// checkPruning finds what cannot be asked for, before anything is fetched.
func (o exportOptions) checkPruning() error {
	if _, err := pipeline.Vocabulary(o.prune).Most(); err != nil {
		return usagef("--prune-vocab %s: use auto, or a number of tokens, at least 257", o.prune)
	}
	switch _, err := os.Stat(o.model); {
	case o.prune == "" && o.captions != "":
		return usagef("--captions is for --prune-vocab")
	case o.prune == "" || o.captions != "":
		return nil
	case !errors.Is(err, fs.ErrNotExist) || !isPublishedName(o.model):
		return usagef("--prune-vocab: of MODEL %s the training captions are not known, as of a run they are: "+
			"give --captions FILE, one caption a line", o.model)
	}
	return nil
}

// pruneArgs are what the trainer keeps of a model's vocabulary; nil: all of it.
func (a *app) pruneArgs(ctx context.Context, dir string, o exportOptions) (args *trainer.PruneArgs, err error) {
	if o.prune == "" {
		return nil, nil
	}
	args = &trainer.PruneArgs{}
	if args.Most, err = pipeline.Vocabulary(o.prune).Most(); err != nil {
		return nil, err
	}
	if o.captions != "" {
		args.Counts, err = countCaptions(dir, o.captions)
	} else {
		args.Counts, err = a.countRun(ctx, o.model)
	}
	return args, err
}

// maxCaptionBytes bounds a line of a captions file.
const maxCaptionBytes = 1 << 20

// countCaptions counts the tokens of a file's lines by the tokenizer of dir.
func countCaptions(dir, path string) (map[int32]int64, error) {
	t, err := tokenizer.Load(dir)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fileError("--captions", path, err)
	}
	defer f.Close()
	counts, lines := map[int32]int64{}, bufio.NewScanner(f)
	lines.Buffer(nil, maxCaptionBytes)
	for lines.Scan() {
		for _, id := range t.Encode(strings.TrimSpace(lines.Text())) {
			counts[id]++
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fileError("--captions", path, err)
	}
	if len(counts) == 0 {
		return nil, fmt.Errorf("--captions %s: no captions", path)
	}
	return counts, nil
}

// countRun counts the tokens that a run trained on.
func (a *app) countRun(ctx context.Context, name string) (map[int32]int64, error) {
	s, err := a.openExisting(ctx)
	if err != nil {
		return nil, err
	}
	defer s.close()
	group, err := findModel(ctx, s, name)
	if err != nil {
		return nil, err
	}
	m, err := artifact.ReadModel(ctx, s.store, group)
	if err != nil {
		return nil, err
	}
	if m.Pruning != nil {
		return nil, fmt.Errorf("the vocabulary of %s is pruned already, to %d of %d tokens; give --captions FILE to prune "+
			"it further", group, m.Pruning.Tokens, m.Pruning.WholeTokens)
	}
	manifest, err := artifact.RunTokens(ctx, s.store, layout.Run(m.Run))
	var teacher string
	if err == nil {
		teacher, err = artifact.RunTeacher(ctx, s.store, layout.Run(m.Run))
	}
	if err == nil {
		var counts map[int32]int64
		if counts, err = artifact.CountTokens(ctx, s.store, manifest, teacher); err == nil {
			return counts, nil
		}
	}
	return nil, fmt.Errorf("training captions of %s: %w; give --captions FILE, one caption a line", group, err)
}
