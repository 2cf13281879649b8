package dataset

import (
	"context"
	"fmt"
)

// Catalogue is every example of a source in a fixed order. They lie in a file: in
// memory an example takes 9 bytes. It is not safe for concurrent use.
type Catalogue struct {
	Warnings []string // what a person should know about the source

	spool  *spool
	at     []int64 // where each example is in it
	splits []int8  // of each, index into splitOrder
}

// Catalog lists a source. A malformed file is an error; an example without a
// usable picture or caption stays in the list with ImageRef.Missing set, so that
// whoever prepares the pictures counts it. The seed draws the scenes of kind
// shapes and changes nothing else: what is held out by hash is the same for all
// seeds. Files of what is listed are made in dir ("": where temporary files are)
// and are gone with Close or the process.
//
// While it lists, a picture takes up to 110 bytes of memory, whatever its captions:
// 60 to find its captions by id, 40 to find it in the archives.
func Catalog(ctx context.Context, dir string, spec Spec, files []File, seed uint64) (*Catalogue, error) {
	switch spec.Split {
	case "", Train, Validation, Test:
	default:
		return nil, fmt.Errorf("split %q: must be train, validation, test or empty", spec.Split)
	}
	s, err := newSpool(dir)
	if err != nil {
		return nil, err
	}
	g := &gathering{Catalogue: &Catalogue{spool: s}, spec: spec, unfit: map[unfit]int{}}
	switch spec.Kind {
	case "shapes":
		err = listShapes(spec, seed, g)
	case "coco":
		err = listArchived(ctx, dir, spec, files, readCOCO, g)
	case "karpathy":
		err = listArchived(ctx, dir, spec, files, readKarpathy, g)
	case "folder":
		err = listArchived(ctx, dir, spec, files, readFolder, g)
	case "parquet":
		err = listParquet(ctx, dir, spec, files, g)
	default:
		err = unknownKind(spec.Kind)
	}
	if err == nil {
		err = g.done()
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return g.Catalogue, nil
}

// Len is the number of examples.
func (c *Catalogue) Len() int { return len(c.at) }

// Split of example i: Train, Validation or Test.
func (c *Catalogue) Split(i int) string { return splitOrder[c.splits[i]] }

// Example reads example i.
func (c *Catalogue) Example(i int) (e Example, err error) {
	err = c.spool.getJSON(c.at[i], &e)
	return e, err
}

// Close removes the file.
func (c *Catalogue) Close() { c.spool.close() }
