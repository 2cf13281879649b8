package dataset

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"slices"
)

// Example is one picture with its captions, as listed by List. A shard's work
// list is a JSON array of them.
type Example struct {
	ID       string   `json:"id"`              // unique within the source
	Captions []string `json:"captions"`        // cleaned; no empty strings
	Group    string   `json:"group,omitempty"` // reported apart where not empty
	Split    string   `json:"split"`           // train, validation or test
	Image    ImageRef `json:"image"`
}

// ImageRef says where a picture's bytes are.
type ImageRef struct {
	File    int    `json:"file"`              // index into the source's files
	Name    string `json:"name,omitempty"`    // entry of that archive
	Entry   *Entry `json:"entry,omitempty"`   // where it is; nil: looked for by its name
	Row     int64  `json:"row,omitempty"`     // kind parquet: row of that file
	Scene   *Scene `json:"scene,omitempty"`   // kind shapes: what to draw
	Missing string `json:"missing,omitempty"` // why the example cannot be used: Opener.Open answers it as an error
}

// Roles of a source's files.
const (
	RoleCaptions = "captions"
	RoleImages   = "images"
	RoleFiles    = "files" // kind parquet: captions and pictures in one
)

// Splits.
const (
	Train      = "train"
	Validation = "validation"
	Test       = "test"
)

// File is one stored file of a source.
type File struct {
	Role string // RoleCaptions, RoleImages or RoleFiles
	Name string // for messages and, by its extension, the format
	Open func(ctx context.Context) (r io.ReaderAt, size int64, c io.Closer, err error)
}

// Spec says how to read a source. Keys that are newer than stored datasets are
// left out where they are empty, so that those keep their names.
type Spec struct {
	Kind  string `json:"kind"`  // shapes, coco, karpathy, folder or parquet
	Split string `json:"split"` // train, validation, test; empty: the source's own, else by the hash of the id. Where pictures have splits of their own, only those of this one
	Limit int    `json:"limit"` // examples at most; 0: all

	ValidationFraction float64 `json:"validation_fraction"` // share held out where Split is empty
	TestFraction       float64 `json:"test_fraction"`       // share held out where Split is empty

	Shapes ShapesSpec `json:"shapes"` // kind shapes only

	Columns Columns `json:"columns,omitzero"`         // kind parquet only
	Entry   string  `json:"captions_entry,omitempty"` // of a captions file that is a zip; empty: its only one
	Clean   Clean   `json:"clean,omitzero"`           // of captions
}

// Columns names the columns of Parquet files. A column within others has their
// names before its own, with dots: sentences.raw.
type Columns struct {
	Image    string   `json:"image,omitempty"`    // empty: the usual names
	Captions []string `json:"captions,omitempty"` // empty: the usual names
	Split    string   `json:"split,omitempty"`    // empty: none
	ID       string   `json:"id,omitempty"`       // rows of one value are one picture; empty: each row is one
}

// List answers every example of a source, in a fixed order, and what a person
// should know about it. It is Catalog for sources that fit into memory.
func List(ctx context.Context, spec Spec, files []File, seed uint64) (examples []Example, warnings []string, err error) {
	c, err := Catalog(ctx, "", spec, files, seed)
	if err != nil {
		return nil, nil, err
	}
	defer c.Close()
	for i := range c.Len() {
		e, err := c.Example(i)
		if err != nil {
			return nil, nil, err
		}
		examples = append(examples, e)
	}
	return examples, c.Warnings, nil
}

func unknownKind(kind string) error {
	return fmt.Errorf("dataset kind %q: must be shapes, coco, karpathy, folder or parquet", kind)
}

// listArchived joins the captions file, read by read, with the image archives.
func listArchived(ctx context.Context, dir string, spec Spec, files []File, read captionsReader, g *gathering) error {
	captions := slices.IndexFunc(files, func(f File) bool { return f.Role == RoleCaptions })
	if captions < 0 {
		return fmt.Errorf("dataset kind %s: no captions file given", spec.Kind)
	}
	f := files[captions]
	pictures, err := newPictureList(dir)
	if err != nil {
		return err
	}
	defer pictures.close()
	if err := readCaptions(ctx, f, spec.Entry, read, pictures); err != nil {
		return fmt.Errorf("captions file %s: %w", f.Name, err)
	}
	if len(pictures.slots) == 0 {
		return fmt.Errorf("captions file %s: lists no pictures", f.Name)
	}
	archives, err := openArchives(ctx, dir, files)
	if err != nil {
		return err
	}
	defer archives.close()

	g.name = f.Name
	missing, first := 0, ""
	for p, err := range pictures.all() {
		if err != nil {
			return err
		}
		first = cmp.Or(first, p.Name)
		if p.Image, err = archives.locate(p); err != nil {
			if !errors.Is(err, errNoPicture) {
				return err
			}
			p.Image = ImageRef{File: -1, Name: p.Name, Missing: err.Error()}
			missing++
		}
		if err := g.add(p); err != nil {
			return err
		}
	}
	if missing == len(pictures.slots) {
		return fmt.Errorf("captions file %s: none of its %d pictures (the first is %s) is in the image archives", f.Name, missing, first)
	}
	g.noted = warning(f.Name, missing, "pictures are not in the image archives")
	return nil
}

// gathering makes examples of what a source lists and counts what is left out.
type gathering struct {
	*Catalogue
	spec  Spec
	name  string   // of the source, for warnings
	noted []string // warnings of who lists

	hashes      []uint64 // of the examples' ids, where there is a limit
	uncaptioned int
	wordless    int           // pictures that cleaning left no caption
	unfit       map[unfit]int // captions
}

// done says where cleaning left nothing; without examples for another reason, they are of another split.
func (g *gathering) done() error {
	if len(g.at) == 0 && g.wordless > 0 {
		return fmt.Errorf("%s: clean leaves none of its %d pictures a caption", g.name, g.wordless)
	}
	g.limit()
	g.Warnings = append(g.noted, g.warnings()...)
	return nil
}

// add takes a picture, unless another split is asked for than its own.
func (g *gathering) add(p listed) error {
	if g.spec.Split != "" && p.Split != "" && p.Split != g.spec.Split {
		return nil
	}
	e := Example{ID: p.ID, Group: p.Group, Split: cmp.Or(g.spec.Split, p.Split), Image: p.Image}
	chosen := false // that there is no caption is the config's doing
	for _, c := range p.Captions {
		cleaned, why := g.spec.Clean.apply(c)
		if why == fits {
			e.Captions = append(e.Captions, cleaned)
			continue
		}
		g.unfit[why]++
		chosen = chosen || why != isEmpty
	}
	if len(e.Captions) == 0 && chosen {
		g.wordless++
		return nil
	}
	if e.Split == "" {
		e.Split = splitOf(e.ID, g.spec.ValidationFraction, g.spec.TestFraction)
	}
	if len(e.Captions) == 0 && e.Image.Missing == "" {
		e.Image.Missing = fmt.Sprintf("picture %s: has no caption", cmp.Or(p.Name, p.ID))
		g.uncaptioned++
	}
	return g.put(e)
}

// put takes an example as it is.
func (g *gathering) put(e Example) error {
	if g.spec.Clean.First {
		e.Captions = e.Captions[:min(1, len(e.Captions))]
	}
	at, err := g.spool.putJSON(e)
	g.at = append(g.at, at)
	g.splits = append(g.splits, int8(slices.Index(splitOrder, e.Split)))
	if g.spec.Limit > 0 {
		g.hashes = append(g.hashes, hash("limit "+e.ID))
	}
	return err
}

// limit keeps so many examples, chosen by the hash of their ids, in their order.
func (g *gathering) limit() {
	n := g.spec.Limit
	if n <= 0 || n >= len(g.at) {
		return
	}
	kept := make([]int, len(g.at))
	for i := range kept {
		kept[i] = i
	}
	slices.SortStableFunc(kept, func(a, b int) int { return cmp.Compare(g.hashes[a], g.hashes[b]) })
	kept = kept[:n]
	slices.Sort(kept)
	for i, k := range kept {
		g.at[i], g.splits[i] = g.at[k], g.splits[k]
	}
	g.at, g.splits = g.at[:n], g.splits[:n]
}

func (g *gathering) warnings() []string {
	c := g.spec.Clean
	return slices.Concat(
		warning(g.name, g.uncaptioned, "pictures have no caption"),
		warning(g.name, g.unfit[isEmpty], "empty captions left out"),
		warning(g.name, g.unfit[tooShort], fmt.Sprintf("captions of fewer than %d words left out", c.MinWords)),
		warning(g.name, g.unfit[tooLong], fmt.Sprintf("captions of more than %d words left out", c.MaxWords)),
		warning(g.name, g.wordless, "pictures left out with all their captions"),
	)
}

// warning is nothing where n is 0.
func warning(name string, n int, what string) []string {
	if n == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%s: %d %s", name, n, what)}
}

// splitOf holds out by the hash of the id, so that a picture's split depends on
// nothing but its name and the two fractions.
func splitOf(id string, validation, test float64) string {
	u := float64(hash(id)>>11) / (1 << 53)
	switch {
	case u < test:
		return Test
	case u < test+validation:
		return Validation
	}
	return Train
}

// hash is FNV-1a with a finaliser that spreads it over all 64 bits.
func hash(s string) uint64 {
	h := fnv.New64a()
	io.WriteString(h, s)
	return mix(h.Sum64())
}

// mix is SplitMix64's finaliser.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
