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

// Example is one picture with its captions, as a Catalogue lists it. A shard's work
// list is a JSON array of them.
type Example struct {
	Source   int      `json:"source"`          // index of the source among those listed together
	ID       string   `json:"id"`              // unique among them
	Captions []string `json:"captions"`        // cleaned; no empty strings
	Group    string   `json:"group,omitempty"` // reported apart where not empty
	Split    string   `json:"split"`           // Train, Validation or Test
	Image    ImageRef `json:"image"`           // where its picture is
}

// ImageRef says where a picture's bytes are.
type ImageRef struct {
	File  int    `json:"file"`            // index into the source's files
	Name  string `json:"name,omitempty"`  // entry of that archive
	Entry *Entry `json:"entry,omitempty"` // where it is; nil: looked for by its name
	Row   int64  `json:"row,omitempty"`   // kind parquet: row of that file
	Scene *Scene `json:"scene,omitempty"` // kind shapes: what to draw

	// Missing is why there is no picture to be used; Opener.Open answers it as an error.
	Missing string `json:"missing,omitempty"`
}

// Roles of a source's files.
const (
	RoleCaptions = "captions" // a list of captions, of which a source has one
	RoleImages   = "images"   // a zip of pictures
	RoleFiles    = "files"    // kinds parquet and webdataset: captions and pictures in one
)

// Splits of a dataset.
const (
	Train      = "train"      // to train on
	Validation = "validation" // to choose the best checkpoint by
	Test       = "test"       // to judge it by
)

// File is one stored file of a source.
type File struct {
	Role string // RoleCaptions, RoleImages or RoleFiles
	Name string // for messages and, by its extension, the format

	// Open opens it to be read at any place; c closes it.
	Open func(ctx context.Context) (r io.ReaderAt, size int64, c io.Closer, err error)
}

// Spec says how to read a source. Keys that are newer than stored datasets are
// left out where they are empty, so that those keep their names.
type Spec struct {
	// Kind is shapes, coco, karpathy, folder, json (one of the last three, told by its
	// captions file), webdataset or parquet.
	Kind string `json:"kind"`

	// Split is the one split that the source is for. Pictures that the source itself puts
	// into another are left out. Empty: each picture is in the split that the source says,
	// and where it says none, in one chosen by the hash of the picture's id.
	Split string `json:"split"`
	Limit int    `json:"limit"` // examples at most; 0: all

	ValidationFraction float64 `json:"validation_fraction"` // share that hashes put into Validation
	TestFraction       float64 `json:"test_fraction"`       // share that hashes put into Test

	Shapes ShapesSpec `json:"shapes"` // kind shapes only

	Columns Columns     `json:"columns,omitzero"`  // kinds parquet and folder
	ByPath  bool        `json:"by_path,omitempty"` // kind parquet: pictures are in image archives, by path
	Where   []Condition `json:"where,omitempty"`   // rows that are used: all of these hold
	Caption string      `json:"caption,omitempty"` // of every picture; empty: those of the source
	// of a captions file that is a zip; empty: its only one
	Entry string `json:"captions_entry,omitempty"`
	Clean Clean  `json:"clean,omitzero"` // of captions
}

// Columns names the columns of Parquet files. A column within others has their
// names before its own, with dots: sentences.raw.
type Columns struct {
	Image    string   `json:"image,omitempty"`    // empty: the usual names
	Captions []string `json:"captions,omitempty"` // empty: the usual names
	Split    string   `json:"split,omitempty"`    // empty: none
	ID       string   `json:"id,omitempty"`       // rows of one value are one picture; empty: each row is one
}

// List answers every example of a source, in a fixed order, and warnings for people. It
// is Catalog for one source whose list fits into memory.
func List(
	ctx context.Context, spec Spec, files []File, seed uint64,
) (examples []Example, warnings []string, err error) {
	c, err := Catalog(ctx, "", []Source{{spec, files}}, seed)
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
	return fmt.Errorf("dataset kind %q: must be shapes, coco, karpathy, folder, json, webdataset or parquet",
		kind)
}

// listArchived lists a source of a captions file and image archives: it reads the
// captions with read, and finds each picture that they name in the archives.
func listArchived(
	ctx context.Context, dir string, spec Spec, files []File, read captionsReader, g *gathering,
) error {
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
	return g.join(pictures, archives)
}

// join adds the pictures of a list, each with its place in the archives; without archives the list
// has the places.
func (g *gathering) join(pictures *pictureList, archives *archives) error {
	missing, bad, first, firstBad := 0, 0, "", ""
	for p, err := range pictures.all() {
		if err != nil {
			return err
		}
		if p.Bad != "" {
			bad++
			firstBad = cmp.Or(firstBad, p.Bad)
			if err := g.add(p); err != nil {
				return err
			}
			continue
		}
		first = cmp.Or(first, p.Name)
		if archives != nil {
			p.Image, err = archives.find(p.Name)
		}
		switch {
		case errors.Is(err, errNoPicture):
			p.Image = ImageRef{File: -1, Name: p.Name, Missing: err.Error()}
			missing++
		case err != nil:
			return err
		}
		if err := g.add(p); err != nil {
			return err
		}
	}
	switch len(pictures.slots) {
	case bad:
		return fmt.Errorf("%s: none of its %d rows can be used; the first: %s", g.name, bad, firstBad)
	case bad + missing:
		return fmt.Errorf("%s: none of its %d pictures (the first is %s) is in the image archives",
			g.name, missing, first)
	}
	g.noted = slices.Concat(
		warning(g.name, missing, "pictures are not in the image archives"),
		warning(g.name, bad, "rows cannot be used; the first: "+firstBad),
		warning(g.name, pictures.textOnly, "conversations without a picture left out"),
		pictures.splitsUnused(g.spec, g.name),
	)
	return nil
}

// gathering makes examples of the pictures that one source lists, and counts what it
// leaves out.
type gathering struct {
	spool  *spool
	at     []int64 // at and splits are Catalogue's, of this source
	splits []int8
	spec   Spec
	name   string   // of the source, for warnings
	noted  []string // warnings of listing itself

	taken, byHash int           // examples; those of them whose split is by the hash of their id
	hashes        []uint64      // by which limit chooses; none without a limit
	uncaptioned   int           // pictures that came without a caption
	wordless      int           // pictures that cleaning left without a caption
	unfit         map[unfit]int // captions that cleaning left out, by reason
}

// done ends the source. It is an error if cleaning has left out every caption. A source
// may well end without examples for another reason: all are of a split not asked for.
func (g *gathering) done() error {
	if len(g.at) == 0 && g.wordless > 0 {
		return fmt.Errorf("%s: clean leaves none of its %d pictures a caption", g.name, g.wordless)
	}
	g.limit()
	return nil
}

// add makes an example of a picture, unless the picture is of a split not asked for or
// cleaning leaves out all its captions.
func (g *gathering) add(p listed) error {
	if g.spec.Split != "" && p.Split != "" && p.Split != g.spec.Split {
		return nil
	}
	if g.spec.Caption != "" && p.Bad == "" {
		p.Captions = []string{g.spec.Caption}
	}
	e := Example{ID: p.ID, Group: p.Group, Split: cmp.Or(g.spec.Split, p.Split), Image: p.Image}
	chosen := false // by the config to be left out: a caption that was not empty
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
		g.byHash++
		e.Split = splitOf(e.ID, g.spec.ValidationFraction, g.spec.TestFraction)
	}
	if len(e.Captions) == 0 && e.Image.Missing == "" {
		e.Image.Missing = fmt.Sprintf("picture %s: has no caption", cmp.Or(p.Name, p.ID))
		g.uncaptioned++
	}
	return g.take(e)
}

// take adds an example. Cleaning has left its captions, of which the first may be all
// that is wanted.
func (g *gathering) take(e Example) error {
	g.taken++
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

// limit keeps the spec's Limit of examples in their order. The hashes of their ids choose
// which, so that a larger limit keeps these and others.
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
	return slices.Concat(g.noted,
		warning(g.name, g.uncaptioned, "pictures have no caption"),
		warning(g.name, g.unfit[isEmpty], "empty captions left out"),
		warning(
			g.name, g.unfit[tooShort], fmt.Sprintf("captions of fewer than %d words left out", c.MinWords),
		),
		warning(g.name, g.unfit[tooLong], fmt.Sprintf("captions of more than %d words left out", c.MaxWords)),
		warning(g.name, g.wordless, "pictures left out with all their captions"),
	)
}

// warning says what there are n of; it is nothing where n is 0.
func warning(name string, n int, what string) []string {
	if n == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%s: %d %s", name, n, what)}
}

// splitOf is the split of a picture that has none. It is chosen by the hash of the id, so
// that it depends on nothing but the id and the two fractions.
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

// hash is FNV-1a, spread by mix over all 64 bits.
func hash(s string) uint64 {
	h := fnv.New64a()
	io.WriteString(h, s)
	return mix(h.Sum64())
}

// mix is the finaliser of SplitMix64 (Steele, Lea and Flood 2014).
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
