package dataset

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"slices"
	"strings"
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
// should know about it. A malformed file is an error; an example without a
// usable picture or caption stays in the list with ImageRef.Missing set, so that
// whoever prepares the pictures counts it. The seed draws the scenes of kind
// shapes and changes nothing else: what is held out by hash is the same for all seeds.
func List(ctx context.Context, spec Spec, files []File, seed uint64) (examples []Example, warnings []string, err error) {
	switch spec.Split {
	case "", Train, Validation, Test:
	default:
		return nil, nil, fmt.Errorf("split %q: must be train, validation, test or empty", spec.Split)
	}
	switch spec.Kind {
	case "shapes":
		examples, warnings, err = listShapes(spec, seed)
	case "coco":
		examples, warnings, err = listArchived(ctx, spec, files, readCOCO)
	case "karpathy":
		examples, warnings, err = listArchived(ctx, spec, files, readKarpathy)
	case "folder":
		examples, warnings, err = listArchived(ctx, spec, files, readFolder)
	case "parquet":
		examples, warnings, err = listParquet(ctx, spec, files)
	default:
		err = unknownKind(spec.Kind)
	}
	if err != nil {
		return nil, nil, err
	}
	if spec.Clean.First {
		for i, e := range examples {
			examples[i].Captions = e.Captions[:min(1, len(e.Captions))]
		}
	}
	return limit(examples, spec.Limit), warnings, nil
}

func unknownKind(kind string) error {
	return fmt.Errorf("dataset kind %q: must be shapes, coco, karpathy, folder or parquet", kind)
}

// listed is what a captions file says of one picture.
type listed struct {
	id, name, group string
	also            string // another name of the picture's file
	split           string // the source's own; empty: none
	captions        []string
	image           ImageRef // kind parquet
}

// listArchived joins the captions file, read by read, with the image archives.
func listArchived(ctx context.Context, spec Spec, files []File, read func(io.Reader, string) ([]listed, error)) ([]Example, []string, error) {
	captions := slices.IndexFunc(files, func(f File) bool { return f.Role == RoleCaptions })
	if captions < 0 {
		return nil, nil, fmt.Errorf("dataset kind %s: no captions file given", spec.Kind)
	}
	f := files[captions]
	pictures, err := readCaptions(ctx, f, spec.Entry, read)
	if err != nil {
		return nil, nil, fmt.Errorf("captions file %s: %w", f.Name, err)
	}
	if len(pictures) == 0 {
		return nil, nil, fmt.Errorf("captions file %s: lists no pictures", f.Name)
	}
	archives, err := openArchives(ctx, files)
	if err != nil {
		return nil, nil, err
	}
	defer archives.close()

	g := newGathering(spec, f.Name)
	missing := 0
	for _, p := range pictures {
		if p.image.File, p.image.Name, err = archives.locate(p); err != nil {
			p.image = ImageRef{File: -1, Name: p.name, Missing: err.Error()}
			missing++
		}
		g.add(p)
	}
	if missing == len(pictures) {
		return nil, nil, fmt.Errorf("captions file %s: none of its %d pictures (the first is %s) is in the image archives", f.Name, missing, pictures[0].name)
	}
	examples, err := g.done()
	return examples, append(warning(f.Name, missing, "pictures are not in the image archives"), g.warnings()...), err
}

// gathering makes examples of what a source lists and counts what is left out.
type gathering struct {
	spec     Spec
	name     string // of the source, for warnings
	examples []Example

	uncaptioned int
	wordless    int           // pictures that cleaning left no caption
	unfit       map[unfit]int // captions
}

func newGathering(spec Spec, name string) *gathering {
	return &gathering{spec: spec, name: name, unfit: map[unfit]int{}}
}

// done answers the examples, if there are any.
func (g *gathering) done() ([]Example, error) {
	switch {
	case len(g.examples) > 0:
		return g.examples, nil
	case g.wordless > 0:
		return nil, fmt.Errorf("%s: clean leaves none of its %d pictures a caption", g.name, g.wordless)
	}
	return nil, nil // of another split
}

// add takes a picture, unless another split is asked for than its own.
func (g *gathering) add(p listed) {
	if g.spec.Split != "" && p.split != "" && p.split != g.spec.Split {
		return
	}
	e := Example{ID: p.id, Group: p.group, Split: cmp.Or(g.spec.Split, p.split), Image: p.image}
	chosen := false // that there is no caption is the config's doing
	for _, c := range p.captions {
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
		return
	}
	if e.Split == "" {
		e.Split = splitOf(e.ID, g.spec.ValidationFraction, g.spec.TestFraction)
	}
	if len(e.Captions) == 0 && e.Image.Missing == "" {
		e.Image.Missing = fmt.Sprintf("picture %s: has no caption", cmp.Or(p.name, p.id))
		g.uncaptioned++
	}
	g.examples = append(g.examples, e)
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

// limit keeps n examples, chosen by the hash of their ids, in their order.
func limit(examples []Example, n int) []Example {
	if n <= 0 || n >= len(examples) {
		return examples
	}
	kept := make([]int, len(examples))
	for i := range kept {
		kept[i] = i
	}
	slices.SortStableFunc(kept, func(a, b int) int {
		return strings.Compare(hashKey(examples[a].ID), hashKey(examples[b].ID))
	})
	kept = kept[:n]
	slices.Sort(kept)
	out := make([]Example, n)
	for i, k := range kept {
		out[i] = examples[k]
	}
	return out
}

func hashKey(id string) string { return fmt.Sprintf("%016x", hash("limit "+id)) }

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
