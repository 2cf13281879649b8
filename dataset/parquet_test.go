package dataset

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/parquet-go/parquet-go/encoding/delta"
	"github.com/parquet-go/parquet-go/format"

	"distilvit/internal/testenv"
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
			want.Split = map[string]string{
				"": Train, "train": Train, "restval": Train, "val": Validation, "test": Test,
			}[want.Split]
			if got.Split != want.Split || !slices.Equal(got.Captions, want.Captions) ||
				got.ID != fmt.Sprintf("%s#%d", name, i) {
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
	o, err := NewOpener(
		Spec{Kind: "parquet"}, []File{memory(RoleFiles, "p", testParquet(t, "plain_v2_zstd.parquet"))},
	)
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
	if _, err := o.Open(context.Background(), ImageRef{Row: 12}); err == nil ||
		!strings.Contains(err.Error(), "12 rows") {
		t.Errorf("row 12: %v", err)
	}
}

func TestParquetSourceOfSeveralFilesAndOnePictureInSeveralRows(t *testing.T) {
	two := []File{
		memory(RoleFiles, "part-00000-of-00002.parquet", testParquet(t, "part-00000-of-00002.parquet")),
		memory(RoleFiles, "part-00001-of-00002.parquet", testParquet(t, "part-00001-of-00002.parquet")),
	}
	examples, warnings, err := List(context.Background(), Spec{Kind: "parquet", Split: Test}, two, 0)
	if err != nil || len(examples) != 6 || examples[5].ID != "part-00001-of-00002.parquet#2" ||
		examples[5].Image != (ImageRef{File: 1, Row: 2}) {
		t.Fatalf("%+v, %v", examples, err)
	}
	if want := []string{"Parquet files: 3 rows have the path of another row's picture: if they are the " +
		"same pictures, id_column: image.path makes them one each"}; !slices.Equal(warnings, want) {
		t.Errorf("warnings %q", warnings)
	}
	two[1].Name = "other/" + two[0].Name
	if examples, _, _ = List(context.Background(), Spec{Kind: "parquet"}, two,
		0); examples[3].ID != "1/part-00000-of-00002.parquet#0" {
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
	if examples, _, err = List(context.Background(), spec, rows, 0); err != nil || len(examples) != 2 ||
		examples[0].ID != "1" {
		t.Errorf("only the test split: %+v, %v", examples, err)
	}
	spec = Spec{Kind: "parquet", Columns: Columns{Captions: []string{"text", "image.path"}}}
	if examples, _, err = List(context.Background(), spec, rows, 0); err != nil ||
		!slices.Equal(examples[7].Captions, []string{"row 7", "0003.png"}) {
		t.Errorf("two columns of captions: %+v, %v", examples, err)
	}
}

func TestParquetMistakesNameTheColumnsThereAre(t *testing.T) {
	for _, c := range []struct {
		file    string
		columns Columns
		want    string
	}{
		{"hf_list.parquet", Columns{Image: "photo"}, "has no column photo (image_column); the columns " +
			"are image.bytes, image.path, caption, split, img_id"},
		{"hf_list.parquet", Columns{Image: "caption"}, "column caption holds text or numbers"},
		{
			"hf_list.parquet", Columns{Image: "split"},
			"column split holds text or numbers, not the bytes of pictures. Where it names their files, " +
				"give the folder or .zip that they are in under images",
		},
		{
			"hf_list.parquet", Columns{Captions: []string{"words"}},
			"has no column words (caption_columns); the columns are image.bytes",
		},
		{"hf_list.parquet", Columns{Split: "caption"}, "column caption (split_column) holds lists"},
		{
			"hf_list.parquet", Columns{Split: "img_id"},
			`row 0: split "0" (column img_id) is none of dev, restval, test`,
		},
		{"hf_list.parquet", Columns{ID: "none"}, "has no column none (id_column)"},
		{
			"hf_rows.parquet", Columns{Captions: []string{"picture_id"}},
			"column picture_id (caption_columns) holds INT64, not text",
		},
		{"lists.parquet", Columns{Image: "image"}, "column image holds lists of lists; one picture a row is needed"},
		{"paths.parquet", Columns{}, "column image.bytes is empty in every row: the file has no pictures. " +
			"Where it names their files, give the folder or .zip that they are in under images"},
		{"names.parquet", Columns{}, "no column of pictures is called image, img, picture"},
	} {
		_, _, err := List(context.Background(), Spec{Kind: "parquet", Columns: c.columns},
			[]File{memory(RoleFiles, c.file, testParquet(t, c.file))}, 0)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.file) {
			t.Errorf("%s %+v: %v, not %q", c.file, c.columns, err, c.want)
		}
	}
}

// Numbers and truth values are what pyarrow reads of them, whatever their encoding.
func TestParquetNumbersAreWhatPyarrowReads(t *testing.T) {
	var want map[string][]any
	if err := json.Unmarshal(testParquet(t, "mixed.json"), &want); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"delta_v1.parquet", "delta_v2.parquet", "plain_v1.parquet", "dictionary_v2.parquet",
	} {
		for column, values := range want {
			got := columnTexts(t, name, column)
			if len(got) != len(values) {
				t.Fatalf("%s %s: %d rows, not %d", name, column, len(got), len(values))
			}
			for i, v := range values {
				text := ""
				switch v := v.(type) {
				case float64:
					text = strconv.FormatFloat(v, 'f', -1, 64)
				case string:
					text = v
				}
				if got[i] != text {
					t.Errorf("%s %s row %d: %q, not %q", name, column, i, got[i], text)
				}
			}
		}
	}
}

// Of 700 rows, blocks of differences follow each other, and a difference wraps around.
func TestParquetDifferencesOverManyBlocks(t *testing.T) {
	captions, numbers := columnTexts(t, "many.parquet", "caption"), columnTexts(t, "many.parquet", "number")
	small := columnTexts(t, "many.parquet", "small")
	if len(captions) != 700 {
		t.Fatalf("%d rows", len(captions))
	}
	for i, text := range captions {
		v, err := strconv.ParseInt(text, 10, 64)
		if want := int32(uint32(v) + 1<<31); err != nil || numbers[i] != text ||
			small[i] != strconv.Itoa(int(want)) {
			t.Fatalf("row %d: %q, %q, %q, %v", i, text, numbers[i], small[i], err)
		}
	}
}

// columnTexts are a column's values; of nulls "".
func columnTexts(t *testing.T, file, column string) []string {
	t.Helper()
	raw := testParquet(t, file)
	table, err := openTable(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	out := make([]string, table.rows())
	var l parquetList
	for group, first := range table.starts[:len(table.starts)-1] {
		rows := int(table.starts[group+1] - first)
		c, err := table.chunk(group, table.find(column))
		if err != nil {
			t.Fatal(err)
		}
		l.size += int64(len(raw))
		for text, err := range l.walk(c, rows) {
			if err != nil {
				t.Fatal(err)
			}
			out[int(first)+text.row] = string(text.text)
		}
	}
	return out
}

// What a page's body claims is never more than what is there.
func TestParquetDamagedBodiesEndWithAnErrorOrValues(t *testing.T) {
	raw := testParquet(t, "many.parquet")
	table, err := openTable(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	for _, column := range []string{"caption", "number", "small"} {
		c, err := table.chunk(0, table.find(column))
		if err != nil {
			t.Fatal(err)
		}
		p, err := c.nextPage()
		if err != nil {
			t.Fatal(err)
		}
		body, err := c.unpack(p)
		if err != nil {
			t.Fatal(err)
		}
		if _, body, err = p.levels(body, c.leaf.maxDef, p.values, p.defLen); err != nil {
			t.Fatal(err)
		}
		if values, err := c.decodeValues(p.encoding, body, p.values); err != nil || len(values) != 700 {
			t.Fatalf("%s: %d values, %v", column, len(values), err)
		}
		r := rand.New(rand.NewPCG(1, 2))
		for range 3000 {
			for _, encoding := range []format.Encoding{
				format.DeltaBinaryPacked, format.DeltaLengthByteArray, format.DeltaByteArray, format.ByteStreamSplit,
			} {
				values, err := c.decodeValues(encoding, testenv.Mutate(r, body), p.values)
				if err == nil && len(values) != p.values {
					t.Fatalf("%s %v: %d values of %d", column, encoding, len(values), p.values)
				}
			}
		}
	}
}

// A megabyte that a hundred values share would be a hundred megabytes.
func TestParquetValuesShareOnlySoMuch(t *testing.T) {
	values := bytes.Repeat(make([]byte, 1<<20), 100)
	offsets := make([]uint32, 101)
	for i := range offsets {
		offsets[i] = uint32(i) << 20
	}
	var encoding delta.ByteArrayEncoding
	body, err := encoding.EncodeByteArray(nil, values, offsets)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := prefixesFirst(body, 100); err == nil || !strings.Contains(err.Error(), "share more than") {
		t.Error(err)
	}
	if got, err := prefixesFirst(body, 101); err == nil {
		t.Errorf("%d values of 100", len(got))
	}
}

func TestParquetRowsAreChosenByConditions(t *testing.T) {
	for _, c := range []struct {
		file  string
		where []Condition
		want  []int64
	}{
		{"delta_v1.parquet", []Condition{{Column: "flag", Equals: []string{"true"}}}, []int64{0, 2, 4, 6, 8}},
		{"delta_v2.parquet", []Condition{{Column: "flag"}}, []int64{0, 1, 2, 3, 4, 6, 7, 8}},
		{"delta_v2.parquet", []Condition{{Column: "number", Equals: []string{"-3", "57"}}}, []int64{2, 8}},
		{
			"plain_v1.parquet",
			[]Condition{{Column: "score", Equals: []string{"0.5", "0.75"}}, {Column: "flag", Equals: []string{"false"}}},
			[]int64{3},
		},
		{"dictionary_v2.parquet", []Condition{{Column: "image.path", Equals: []string{"folder/0001.png"}}}, []int64{1, 7}},
		{"hf_rows.parquet", []Condition{{Column: "split", Equals: []string{"test"}}}, []int64{2, 3, 6, 7}},
		{"hf_rows.parquet", []Condition{{Column: "split", Equals: []string{"1"}}}, []int64{2, 3, 6, 7}},
	} {
		examples, _, err := List(context.Background(), Spec{Kind: "parquet", Where: c.where},
			[]File{memory(RoleFiles, c.file, testParquet(t, c.file))}, 0)
		if err != nil {
			t.Errorf("%s %v: %v", c.file, c.where, err)
			continue
		}
		var rows []int64
		for _, e := range examples {
			rows = append(rows, e.Image.Row)
		}
		if !slices.Equal(rows, c.want) {
			t.Errorf("%s %v: rows %v, not %v", c.file, c.where, rows, c.want)
		}
	}
	for column, want := range map[string]string{
		"none": "has no column none (where); the columns are", "caption": "column caption (where) holds lists",
		"split": `where holds for none of the files' 11 rows`,
	} {
		_, _, err := List(context.Background(),
			Spec{Kind: "parquet", Where: []Condition{{Column: column, Equals: []string{"x"}}}},
			[]File{memory(RoleFiles, "p", testParquet(t, "hf_list.parquet"))}, 0)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, not %q", column, err, want)
		}
	}
}

func TestParquetThatOnlyNamesPicturesFindsThemInTheArchives(t *testing.T) {
	var packed bytes.Buffer
	z := zip.NewWriter(&packed)
	for _, name := range []string{"x/train2017/1.png", "x/train2017/2.png"} {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, name)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	type row struct {
		id, picture string
		captions    []string
	}
	for file, want := range map[string][]row{
		// Two rows of one path are one picture.
		"paths.parquet": {
			{"train2017/1.png", "x/train2017/1.png", []string{"a", "b"}},
			{"train2017/2.png", "x/train2017/2.png", []string{"c"}},
		},
		"names.parquet": {
			{"1.png", "x/train2017/1.png", []string{"one"}}, {"2.png", "x/train2017/2.png", []string{"two"}},
			{"3.png", "picture 3.png: not in the image archives", []string{"three"}},
			{"names.parquet row 3", "names.parquet row 3: names no picture", nil},
		},
	} {
		spec := Spec{Kind: "parquet", ByPath: true}
		files := []File{
			memory(RoleImages, "pictures.zip", packed.Bytes()), memory(RoleFiles, file, testParquet(t, file)),
		}
		for _, f := range files {
			if err := Check(context.Background(), spec, f); err != nil {
				t.Error(err)
			}
		}
		examples, _, err := List(context.Background(), spec, files, 0)
		if err != nil {
			t.Fatal(err)
		}
		o, err := NewOpener(spec, files)
		if err != nil {
			t.Fatal(err)
		}
		var got []row
		for _, e := range examples {
			raw, err := o.Open(context.Background(), e.Image)
			if err != nil {
				raw = []byte(err.Error())
			}
			got = append(got, row{e.ID, string(raw), e.Captions})
		}
		o.Close()
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %q, not %q", file, got, want)
		}
	}
}

// A list of one picture is that picture; of several it would not be said which the caption is of.
func TestParquetListsOfPicturesAreReadWhereTheyHaveOne(t *testing.T) {
	raw := testParquet(t, "image_lists.parquet")
	table, err := openTable(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	c, err := table.chunk(0, table.find("images.bytes"))
	if err != nil {
		t.Fatal(err)
	}
	within := 0 // pages that go on with a row's list
	for {
		p, err := c.nextPage()
		if errors.Is(err, io.EOF) {
			break
		}
		_, goesOn, err := c.rowsOf(p)
		if err != nil {
			t.Fatal(err)
		}
		if goesOn {
			within++
		}
	}
	if within == 0 {
		t.Error("no list of the file goes on in another page")
	}
	for _, row := range []int64{4, 7} { // whatever was read before it
		o, err := NewOpener(Spec{Kind: "parquet"}, []File{memory(RoleFiles, "p", raw)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := o.Open(context.Background(), ImageRef{Row: row}); err == nil ||
			!strings.Contains(err.Error(), "holds several pictures; one a row is needed") {
			t.Errorf("row %d: %v", row, err)
		}
		o.Close()
	}
	examples, _, err := List(context.Background(), Spec{Kind: "parquet", ByPath: true}, []File{
		tool(t, RoleImages, "pictures.zip"), memory(RoleFiles, "p", raw),
	}, 0)
	if err == nil || !strings.Contains(err.Error(), "none of its") { // their names are not in the zip
		t.Errorf("%+v, %v", examples, err)
	}
}

func TestParquetRowsThatCannotBeUsedAreCounted(t *testing.T) {
	file := []File{memory(RoleFiles, "hf_rows.parquet", testParquet(t, "hf_rows.parquet"))}
	examples, warnings, err := List(context.Background(),
		Spec{Kind: "parquet", Columns: Columns{ID: "text", Split: "split"}}, file, 0)
	if err != nil || len(examples) != 8 {
		t.Fatal(len(examples), err)
	}
	if want := "hf_rows.parquet row 5: has no text (id_column)"; examples[5].Image.Missing != want ||
		!slices.Equal(warnings, []string{"Parquet files: 1 rows cannot be used; the first: " + want}) {
		t.Errorf("%q, %q", examples[5].Image.Missing, warnings)
	}
	// A row without a picture whose path is known says so.
	file = []File{memory(RoleFiles, "p", testParquet(t, "paths.parquet"))}
	o, err := NewOpener(Spec{Kind: "parquet"}, file)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if _, err := o.Open(context.Background(), ImageRef{Row: 2}); err == nil || !strings.Contains(err.Error(),
		`row 2 of p: holds no picture's bytes, only the path "train2017/2.png"`) {
		t.Error(err)
	}
}

func TestParquetCutShortOrDamagedIsAnError(t *testing.T) {
	whole := testParquet(t, "hf_list.parquet")
	for n := range len(whole) {
		if _, _, err := List(context.Background(), Spec{Kind: "parquet"},
			[]File{memory(RoleFiles, "p", whole[:n])}, 0); err == nil {
			t.Fatalf("cut to %d of %d bytes: no error", n, len(whole))
		}
	}
	o, _ := NewOpener(Spec{Kind: "parquet"}, []File{memory(RoleFiles, "p", whole[:1000])})
	_, err := o.Open(context.Background(), ImageRef{})
	var archive *SourceError
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
	if _, err := o.Open(context.Background(), ImageRef{}); err == nil ||
		!strings.Contains(err.Error(), "checksum") {
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
	if b, err := o.Open(context.Background(), ImageRef{Row: 6}); err != nil ||
		hexSum(b) != expectedRows(t)["hf_list.parquet"][6].SHA256 {
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
		for _, spec := range []Spec{
			{Kind: "parquet"}, {Kind: "parquet", Columns: Columns{Split: "split", ID: "image.path"}},
			{Kind: "parquet", Where: []Condition{{Column: "flag"}, {Column: "number"}, {Column: "score"}}},
		} {
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
