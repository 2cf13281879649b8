// Package parity compares distilvit with what the Python libraries it stands in for
// answered: token ids, pixels, weights, logits, losses, gradients, optimizer steps,
// captions and scores. Their answers, the vectors, lie in a directory whose layout
// docs/parity.md describes and testdata/parity/make_vectors.py makes. Start reading at Run.
package parity

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/gomlx/compute"
)

// Backend computes what needs one.
type Backend struct {
	Name    string // go, xla or cuda
	Compute compute.Backend
}

// Options say what to compare.
type Options struct {
	Dir        string    // of the vectors
	Backends   []Backend // each is compared
	MeteorData string    // METEOR's data; "": Dir's metrics/meteor, or METEOR is left out
}

// LayoutError says that a directory is not laid out as docs/parity.md says.
type LayoutError struct{ err error }

func (e *LayoutError) Error() string { return e.err.Error() + " (docs/parity.md describes the layout)" }
func (e *LayoutError) Unwrap() error { return e.err }

func layoutf(format string, args ...any) error {
	return &LayoutError{fmt.Errorf(format, args...)}
}

// Run compares with all vectors of a directory: a row for each kind that it holds, and
// for each backend of those that need one. A *LayoutError says what is wrong with the
// directory; what distilvit cannot do with its vectors is a difference, not an error.
func Run(o Options) (*Table, error) {
	if info, err := os.Stat(o.Dir); err != nil {
		return nil, layoutf("vectors %s: no such directory", o.Dir)
	} else if !info.IsDir() {
		return nil, layoutf("vectors %s: not a directory", o.Dir)
	}
	versions, err := readVersions(o.Dir)
	if err != nil {
		return nil, err
	}
	r := &run{Options: o, table: &Table{versions: versions}}
	for _, part := range []struct {
		folder  string
		compare func(dir string) error
	}{
		{"tokenizers", r.tokenizer},
		{"processors", r.processor},
		{"models", r.model},
	} {
		dirs, err := folders(filepath.Join(o.Dir, part.folder))
		if err != nil {
			return nil, err
		}
		for _, dir := range dirs {
			if err := part.compare(dir); err != nil {
				return nil, err
			}
		}
	}
	if err := r.metrics(filepath.Join(o.Dir, "metrics")); err != nil {
		return nil, err
	}
	r.table.sort()
	if len(r.table.Rows) == 0 {
		return nil, layoutf(
			"vectors %s: it has neither tokenizers/, processors/, models/ nor metrics/ with vectors in it",
			o.Dir,
		)
	}
	return r.table, nil
}

// run is one comparison under way.
type run struct {
	Options
	table *Table
}

// name is a path as people see it: below the directory of the vectors.
func (r *run) name(path string) string {
	if rel, err := filepath.Rel(r.Dir, path); err == nil {
		return rel
	}
	return path
}
