package dataset

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"distilvit/dataset/pixels"
)

// folderOf is a source of kind folder with pictures 0.png, 1.png and so on; what is not
// drawn is text.
func folderOf(t *testing.T, split string, pictures int, drawn func(i int) bool) Source {
	t.Helper()
	var captions bytes.Buffer
	var entries []string
	lines := csv.NewWriter(&captions)
	lines.Write([]string{"image", "caption"})
	for i := range pictures {
		content := []byte("text")
		if drawn(i) {
			var err error
			if content, err = pixels.EncodePNG(bytes.Repeat([]byte{uint8(i)}, 3*4*2), 4, 2); err != nil {
				t.Fatal(err)
			}
		}
		name := fmt.Sprint(i, ".png")
		entries = append(entries, name, string(content))
		lines.Write([]string{name, "picture " + name})
	}
	lines.Flush()
	return Source{Spec{Kind: "folder", Split: split, TestFraction: 0.5}, []File{
		memory(RoleCaptions, "c.csv", captions.Bytes()), memory(RoleImages, "i.zip", zipOf(t, entries...)),
	}}
}

func drawAll(int) bool { return true }

func catalogueOf(t *testing.T, sources ...Source) *Catalogue {
	t.Helper()
	c, err := Catalog(t.Context(), t.TempDir(), sources, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestExamplesOfSeveralSourcesAreMixedInProportion(t *testing.T) {
	c := catalogueOf(t, folderOf(t, Train, 12, drawAll), folderOf(t, Test, 3, drawAll),
		folderOf(t, Train, 4, drawAll))
	numbers := c.Split(Train)
	examples, err := c.Examples(numbers)
	if err != nil {
		t.Fatal(err)
	}
	var sources, ids []string
	for _, e := range examples {
		sources = append(sources, fmt.Sprint(e.Source))
		ids = append(ids, e.ID)
	}
	if got := strings.Join(sources, ""); got != "0020002000200020"[:16] {
		t.Errorf("sources %s", got)
	}
	if want := []string{"0/0.png", "0/1.png", "2/0.png", "0/2.png"}; !slices.Equal(ids[:4], want) {
		t.Errorf("ids %v, not %v", ids[:4], want)
	}
	apart := c.Apart(Train)
	if len(apart) != 3 || len(apart[0]) != 12 || apart[1] != nil || len(apart[2]) != 4 ||
		len(c.Split(Validation)) != 0 {
		t.Errorf("apart %v", apart)
	}
	if c.Len() != 19 || c.Unsplit(0) {
		t.Errorf("%d examples, without a split %v", c.Len(), c.Unsplit(0))
	}
	one := catalogueOf(t, folderOf(t, "", 12, drawAll))
	e, err := one.Example(11)
	if err != nil || e.ID != "11.png" || e.Source != 0 || !one.Unsplit(0) {
		t.Errorf("the only source: %+v, %v", e, err)
	}
}

func TestRowsKeepTheirOrderAndBadExamplesAreCounted(t *testing.T) {
	sources := []Source{
		folderOf(t, Train, 40, func(i int) bool { return i%10 != 3 }), folderOf(t, Train, 5, drawAll),
	}
	c := catalogueOf(t, sources...)
	examples, err := c.Examples(c.Split(Train))
	if err != nil {
		t.Fatal(err)
	}
	examples[0].Captions = nil
	r, err := NewReader(sources, pixels.NewProcessor(2))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var tally Tally
	var ids []string
	through := 0
	for row, err := range r.Rows(t.Context(), examples, &tally, func(n int) { through = n }) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, row.ID)
	}
	var want []string
	bad := map[string]string{examples[0].ID: "no caption"}
	for _, e := range examples[1:] {
		if e.Source == 0 && strings.HasSuffix(e.ID, "3.png") {
			bad[e.ID] = "picture: not JPEG"
			continue
		}
		want = append(want, e.ID)
	}
	if !slices.Equal(ids, want) || tally.Rows != len(want) || through != len(examples) {
		t.Errorf("rows %v, not %v; %d counted, through with %d", ids, want, tally.Rows, through)
	}
	if len(tally.Bad) != len(bad) {
		t.Errorf("bad: %v, not %v", tally.Bad, slices.Sorted(maps.Keys(bad)))
	}
	for _, b := range tally.Bad {
		if !strings.Contains(b.Reason, bad[b.ID]) || b.Split != Train {
			t.Errorf("%+v", b)
		}
	}
	row, err := r.Row(t.Context(), examples[1])
	if err != nil || len(row.Pixels) != 3*2*2 {
		t.Errorf("one row: %+v, %v", row, err)
	}
	var one *Bad
	if _, err := r.Row(t.Context(), examples[0]); !errors.As(err, &one) || one.Reason != "no caption" {
		t.Errorf("one bad row: %v", err)
	}
}

// A disk or store that fails must not look like pictures that cannot be used.
func TestErrorsOfReadingAreNoBadExamples(t *testing.T) {
	broken := errors.New("disk away")
	for _, kind := range []string{"folder", "parquet"} {
		failing := false
		failingFile := func(f File) File {
			open := f.Open
			f.Open = func(ctx context.Context) (io.ReaderAt, int64, io.Closer, error) {
				r, size, c, err := open(ctx)
				return readerAt(func(p []byte, off int64) (int, error) {
					if failing {
						return 0, broken
					}
					return r.ReadAt(p, off)
				}), size, c, err
			}
			return f
		}
		source := folderOf(t, Train, 3, drawAll)
		if kind == "parquet" {
			file := memory(RoleFiles, "p", testParquet(t, "hf_list.parquet"))
			source = Source{Spec{Kind: "parquet", Split: Train}, []File{file}}
		}
		for i := range source.Files {
			source.Files[i] = failingFile(source.Files[i])
		}
		c := catalogueOf(t, source)
		examples, err := c.Examples(c.Split(Train))
		if err != nil {
			t.Fatal(err)
		}
		r, err := NewReader([]Source{source}, pixels.NewProcessor(2))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if _, err := r.Row(t.Context(), examples[0]); err != nil { // the file is open from here on
			t.Fatal(err)
		}
		failing = true
		var tally Tally
		for _, err = range r.Rows(t.Context(), examples[1:], &tally, nil) {
		}
		if !errors.Is(err, broken) || len(tally.Bad) != 0 {
			t.Errorf("%s: %v; bad: %v", kind, err, tally.Bad)
		}
		failing = false
		examples[0].Source = 1
		var missing *SourceError
		if _, err := r.Row(t.Context(), examples[0]); !errors.As(err, &missing) {
			t.Errorf("an example of a source that is not there: %v", err)
		}
	}
}
