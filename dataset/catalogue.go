package dataset

import (
	"context"
	"fmt"
	"slices"
	"strconv"
)

// Source is one of the sources that make up a dataset.
type Source struct {
	Spec  Spec   // how it is read
	Files []File // its files, in the order that Example.Image.File counts
}

// Catalogue is every example of some sources in a fixed order, one source after the
// other. They lie in a file: in memory an example takes 9 bytes, and 4 in what Split
// answers. It is not safe for concurrent use.
type Catalogue struct {
	Warnings []string // what a person should know about the sources

	spool  *spool
	at     []int64 // where each example is in it
	splits []int8  // of each, index into splitOrder
	starts []int   // number of each source's first example, and of all examples
	byHash []bool  // of each source: see Unsplit
}

// Catalog lists sources. A malformed file is an error; an example without a
// usable picture or caption stays in the list with ImageRef.Missing set, so that
// whoever prepares the pictures counts it. The seed draws the scenes of kind
// shapes and changes nothing else: what is held out by hash is the same for all
// seeds. Files of what is listed are made in dir ("": where temporary files are)
// and are gone with Close or the process.
//
// While it lists, a picture of a source takes up to 110 bytes of memory, whatever its
// captions: 60 to find its captions by id, 40 to find it in the archives.
func Catalog(ctx context.Context, dir string, sources []Source, seed uint64) (*Catalogue, error) {
	s, err := newSpool(dir)
	if err != nil {
		return nil, err
	}
	c := &Catalogue{spool: s, starts: []int{0}}
	for _, source := range sources {
		if err := c.add(ctx, dir, source, seed); err != nil {
			s.close()
			return nil, err
		}
	}
	return c, nil
}

// add lists one source behind those that are there.
func (c *Catalogue) add(ctx context.Context, dir string, s Source, seed uint64) error {
	switch s.Spec.Split {
	case "", Train, Validation, Test:
	default:
		return fmt.Errorf("split %q: must be train, validation, test or empty", s.Spec.Split)
	}
	g := &gathering{spool: c.spool, spec: s.Spec, unfit: map[unfit]int{}}
	var err error
	switch s.Spec.Kind {
	case "shapes":
		err = listShapes(s.Spec, seed, g)
	case "coco":
		err = listArchived(ctx, dir, s.Spec, s.Files, readCOCO, g)
	case "karpathy":
		err = listArchived(ctx, dir, s.Spec, s.Files, readKarpathy, g)
	case "json":
		err = listArchived(ctx, dir, s.Spec, s.Files, jsonReader(s.Spec), g)
	case "folder":
		if slices.ContainsFunc(s.Files, func(f File) bool { return f.Role == RoleCaptions }) {
			err = listArchived(ctx, dir, s.Spec, s.Files, folderReader(s.Spec), g)
		} else {
			err = listWithin(ctx, dir, s.Spec, s.Files, g)
		}
	case "webdataset":
		err = listTars(ctx, dir, s.Spec, s.Files, g)
	case "parquet":
		err = listParquet(ctx, dir, s.Spec, s.Files, g)
	default:
		err = unknownKind(s.Spec.Kind)
	}
	if err != nil {
		return err
	}
	if err := g.done(); err != nil {
		return err
	}
	c.Warnings = append(c.Warnings, g.warnings()...)
	c.at, c.splits = append(c.at, g.at...), append(c.splits, g.splits...)
	c.starts, c.byHash = append(c.starts, len(c.at)), append(c.byHash, g.byHash > 0 && g.byHash == g.taken)
	return nil
}

// Len is the number of examples.
func (c *Catalogue) Len() int { return len(c.at) }

// Split answers the numbers of a split's examples, by which Example reads them, in the
// order in which they are prepared and evaluated: those of several sources are mixed,
// so that any stretch of it has as large a share of each source as the whole.
func (c *Catalogue) Split(split string) []int32 { return interleave(c.Apart(split)) }

// Apart is Split by source.
func (c *Catalogue) Apart(split string) [][]int32 {
	lists := make([][]int32, len(c.starts)-1)
	for source := range lists {
		for i := c.starts[source]; i < c.starts[source+1]; i++ {
			if splitOrder[c.splits[i]] == split {
				lists[source] = append(lists[source], int32(i))
			}
		}
	}
	return lists
}

// interleave merges lists so that each is spread evenly over the result and keeps its
// order: a batch should not be all of one source.
func interleave(lists [][]int32) []int32 {
	if len(lists) == 1 {
		return lists[0]
	}
	total := 0
	for _, l := range lists {
		total += len(l)
	}
	out, next := make([]int32, 0, total), make([]int, len(lists))
	for range total {
		best, at := -1, 0.0
		for i, l := range lists {
			if next[i] == len(l) {
				continue
			}
			if due := (float64(next[i]) + 0.5) / float64(len(l)); best < 0 || due < at {
				best, at = i, due
			}
		}
		out = append(out, lists[best][next[best]])
		next[best]++
	}
	return out
}

// Example reads an example by its number. Of several sources each one's number stands
// before its examples' ids, since an id may occur in more than one.
func (c *Catalogue) Example(number int) (e Example, err error) {
	if err := c.spool.getJSON(c.at[number], &e); err != nil {
		return e, err
	}
	next, _ := slices.BinarySearch(c.starts, number+1)
	e.Source = next - 1
	if len(c.starts) > 2 {
		e.ID = strconv.Itoa(e.Source) + "/" + e.ID
	}
	return e, nil
}

// Examples reads the examples of these numbers.
func (c *Catalogue) Examples(numbers []int32) ([]Example, error) {
	out := make([]Example, len(numbers))
	for i, n := range numbers {
		var err error
		if out[i], err = c.Example(int(n)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Unsplit says that all examples of a source are in their splits by the hashes of their
// ids: neither its spec nor its files say anything about splits.
func (c *Catalogue) Unsplit(source int) bool { return c.byHash[source] }

// Close removes the file.
func (c *Catalogue) Close() { c.spool.close() }
