package dataset

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
)

// testParquet is a file of testdata/parquet, see make_parquet.py.
func testParquet(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "parquet", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// expectedRow is what pyarrow reads of a row.
type expectedRow struct {
	SHA256   string
	Captions []string
	Split    string
}

func expectedRows(t *testing.T) map[string][]expectedRow {
	var all map[string][]expectedRow
	if err := json.Unmarshal(testParquet(t, "expected.json"), &all); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestParquetRowsAreWhatPyarrowReads(t *testing.T) {
	for name, rows := range expectedRows(t) {
		spec := Spec{Kind: "parquet", Split: Train}
		switch name {
		case "hf_list.parquet", "hf_rows.parquet":
			spec.Split, spec.Columns.Split = "", "split"
		}
		files := []File{memory(RoleFiles, name, testParquet(t, name))}
		examples, _, err := List(context.Background(), spec, files, 0)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(examples) != len(rows) {
			t.Errorf("%s: %d rows, not %d", name, len(examples), len(rows))
			continue
		}
		o, err := NewOpener(spec, files)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range rows {
			got := examples[i]
			want.Split = map[string]string{"": Train, "train": Train, "restval": Train, "val": Validation, "test": Test}[want.Split]
			if got.Split != want.Split || !slices.Equal(got.Captions, want.Captions) || got.ID != fmt.Sprintf("%s#%d", name, i) {
				t.Errorf("%s row %d: %+v, not %+v", name, i, got, want)
			}
			ref := got.Image
			ref.Missing = ""
			b, err := o.Open(context.Background(), ref)
			if (want.SHA256 == "") != (err != nil) || err == nil && hexSum(b) != want.SHA256 {
				t.Errorf("%s row %d: %d bytes, %v", name, i, len(b), err)
			}
		}
		o.Close()
	}
}

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func TestParquetPicturesAreReadInAnyOrderByManyAtOnce(t *testing.T) {
	rows := expectedRows(t)["plain_v2_zstd.parquet"]
	o, err := NewOpener(Spec{Kind: "parquet"}, []File{memory(RoleFiles, "p", testParquet(t, "plain_v2_zstd.parquet"))})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	var all sync.WaitGroup
	for start := range 8 {
		all.Go(func() {
			for i := range rows {
				row := (i*5 + start) % len(rows)
				b, err := o.Open(context.Background(), ImageRef{Row: int64(row)})
				if err != nil || hexSum(b) != rows[row].SHA256 {
					t.Errorf("row %d: %v", row, err)
				}
				clear(b) // memory of its own
			}
		})
	}
	all.Wait()
	if _, err := o.Open(context.Background(), ImageRef{Row: 12}); err == nil || !strings.Contains(err.Error(), "12 rows") {
		t.Errorf("row 12: %v", err)
	}
}

func TestParquetSourceOfSeveralFilesAndOnePictureInSeveralRows(t *testing.T) {
	two := []File{
		memory(RoleFiles, "part-00000-of-00002.parquet", testParquet(t, "part-00000-of-00002.parquet")),
		memory(RoleFiles, "part-00001-of-00002.parquet", testParquet(t, "part-00001-of-00002.parquet")),
	}
	examples, warnings, err := List(context.Background(), Spec{Kind: "parquet", Split: Test}, two, 0)
	if err != nil || len(examples) != 6 || examples[5].ID != "part-00001-of-00002.parquet#2" || examples[5].Image != (ImageRef{File: 1, Row: 2}) {
		t.Fatalf("%+v, %v", examples, err)
	}
	if want := []string{"Parquet files: 3 rows have the path of another row's picture: if they are the same pictures, id_column: image.path makes them one each"}; !slices.Equal(warnings, want) {
		t.Errorf("warnings %q", warnings)
	}
	two[1].Name = "other/" + two[0].Name
	if examples, _, _ = List(context.Background(), Spec{Kind: "parquet"}, two, 0); examples[3].ID != "1/part-00000-of-00002.parquet#0" {
		t.Errorf("files of one name: %s", examples[3].ID)
	}

	rows := []File{memory(RoleFiles, "rows", testParquet(t, "hf_rows.parquet"))}
	spec := Spec{Kind: "parquet", Columns: Columns{ID: "picture_id", Split: "split"}}
	examples, warnings, err = List(context.Background(), spec, rows, 0)
	want := []Example{
		{ID: "0", Captions: []string{"row 0", "row 1"}, Split: Train, Image: ImageRef{Row: 0}},
		{ID: "1", Captions: []string{"row 2", "row 3"}, Split: Test, Image: ImageRef{Row: 2}},
		{ID: "2", Captions: []string{"row 4"}, Split: Train, Image: ImageRef{Row: 4}},
		{ID: "3", Captions: []string{"row 6", "row 7"}, Split: Test, Image: ImageRef{Row: 6}},
	}
	if err != nil || len(warnings) > 0 || !reflect.DeepEqual(examples, want) {
		t.Errorf("%+v, %q, %v", examples, warnings, err)
	}
	spec.Split = Test
	if examples, _, err = List(context.Background(), spec, rows, 0); err != nil || len(examples) != 2 || examples[0].ID != "1" {
		t.Errorf("only the test split: %+v, %v", examples, err)
	}
	spec = Spec{Kind: "parquet", Columns: Columns{Captions: []string{"text", "image.path"}}}
	if examples, _, err = List(context.Background(), spec, rows, 0); err != nil || !slices.Equal(examples[7].Captions, []string{"row 7", "0003.png"}) {
		t.Errorf("two columns of captions: %+v, %v", examples, err)
	}
}

func TestParquetMistakesNameTheColumnsThereAre(t *testing.T) {
	for _, c := range []struct {
		file    string
		columns Columns
		want    string
	}{
		{"hf_list.parquet", Columns{Image: "photo"}, "has no column photo (image_column); the columns are image.bytes, image.path, caption, split, img_id"},
		{"hf_list.parquet", Columns{Image: "caption"}, "column caption holds lists of pictures"},
		{"hf_list.parquet", Columns{Image: "split"}, "column split holds text or numbers, not the bytes of pictures"},
		{"hf_list.parquet", Columns{Captions: []string{"words"}}, "has no column words (caption_columns); the columns are image.bytes"},
		{"hf_list.parquet", Columns{Split: "caption"}, "column caption (split_column) holds lists"},
		{"hf_list.parquet", Columns{Split: "img_id"}, `row 0: split "0" (column img_id) is none of dev, restval, test`},
		{"hf_list.parquet", Columns{ID: "none"}, "has no column none (id_column)"},
		{"hf_rows.parquet", Columns{ID: "text"}, "row 5 has no text (id_column)"},
		{"hf_rows.parquet", Columns{Captions: []string{"picture_id"}}, "column picture_id (caption_columns) holds INT64, not text"},
		{"lists.parquet", Columns{Image: "images"}, "column images holds lists of pictures"},
		{"lists.parquet", Columns{Image: "images.bytes"}, "holds lists of pictures"},
		{"delta.parquet", Columns{}, "its encoding DELTA_BYTE_ARRAY is not known here; write the file with the datasets library or pyarrow"},
		{"brotli.parquet", Columns{}, "it is compressed with BROTLI, which is not known here; use snappy, zstd, gzip or none"},
	} {
		_, _, err := List(context.Background(), Spec{Kind: "parquet", Columns: c.columns}, []File{memory(RoleFiles, c.file, testParquet(t, c.file))}, 0)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.file) {
			t.Errorf("%s %+v: %v, not %q", c.file, c.columns, err, c.want)
		}
	}
}

func TestParquetCutShortOrDamagedIsAnError(t *testing.T) {
	whole := testParquet(t, "hf_list.parquet")
	for n := range len(whole) {
		if _, _, err := List(context.Background(), Spec{Kind: "parquet"}, []File{memory(RoleFiles, "p", whole[:n])}, 0); err == nil {
			t.Fatalf("cut to %d of %d bytes: no error", n, len(whole))
		}
	}
	o, _ := NewOpener(Spec{Kind: "parquet"}, []File{memory(RoleFiles, "p", whole[:1000])})
	_, err := o.Open(context.Background(), ImageRef{})
	var archive *ArchiveError
	if !errors.As(err, &archive) {
		t.Errorf("opener: %v", err)
	}
	checked := bytes.Clone(testParquet(t, "plain_v2_zstd.parquet"))
	table, err := openTable(bytes.NewReader(checked), int64(len(checked)))
	if err != nil {
		t.Fatal(err)
	}
	pictures, _ := table.chunk(0, table.find("jpg"))
	first, err := pictures.nextPage()
	if err != nil {
		t.Fatal(err)
	}
	checked[first.body+10] ^= 1
	o, _ = NewOpener(Spec{Kind: "parquet"}, []File{memory(RoleFiles, "p", checked)})
	if _, err := o.Open(context.Background(), ImageRef{}); err == nil || !strings.Contains(err.Error(), "checksum") {
		t.Errorf("damaged page: %v", err)
	}
}

func TestParquetPageIsReadAgainAfterTheStoreFailed(t *testing.T) {
	contents, failing := testParquet(t, "hf_list.parquet"), false
	broken := errors.New("store away")
	f := File{Role: RoleFiles, Name: "p", Open: func(context.Context) (io.ReaderAt, int64, io.Closer, error) {
		return readerAt(func(p []byte, off int64) (int, error) {
			if failing {
				return 0, broken
			}
			return bytes.NewReader(contents).ReadAt(p, off)
		}), int64(len(contents)), io.NopCloser(nil), nil
	}}
	o, err := NewOpener(Spec{Kind: "parquet"}, []File{f})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.Open(context.Background(), ImageRef{Row: 1}); err != nil {
		t.Fatal(err)
	}
	failing = true
	if _, err := o.Open(context.Background(), ImageRef{Row: 6}); !errors.Is(err, broken) {
		t.Errorf("while the store is away: %v", err)
	}
	failing = false
	if b, err := o.Open(context.Background(), ImageRef{Row: 6}); err != nil || hexSum(b) != expectedRows(t)["hf_list.parquet"][6].SHA256 {
		t.Errorf("after it: %v", err)
	}
}

type readerAt func(p []byte, off int64) (int, error)

func (f readerAt) ReadAt(p []byte, off int64) (int, error) { return f(p, off) }

// Whatever the bytes are, listing and opening answer or fail; they neither
// panic nor take memory out of proportion.
func FuzzParquet(f *testing.F) {
	names, err := filepath.Glob("testdata/parquet/*.parquet")
	if err != nil || len(names) == 0 {
		f.Fatal(names, err)
	}
	for _, name := range names {
		f.Add(testParquet(f, filepath.Base(name)))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, spec := range []Spec{{Kind: "parquet"}, {Kind: "parquet", Columns: Columns{Split: "split", ID: "image.path"}}} {
			files := []File{memory(RoleFiles, "p", raw)}
			examples, _, err := List(context.Background(), spec, files, 0)
			if err != nil {
				continue
			}
			o, err := NewOpener(spec, files)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range examples[:min(len(examples), 50)] {
				_, _ = o.Open(context.Background(), e.Image)
			}
			o.Close()
		}
	})
}
