package dataset

import (
	"archive/zip"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// memory is a source's file held in memory.
func memory(role, name string, b []byte) File {
	return File{Role: role, Name: name, Open: func(context.Context) (io.ReaderAt, int64, io.Closer, error) {
		return bytes.NewReader(b), int64(len(b)), io.NopCloser(nil), nil
	}}
}

// zipOf packs entries, given as name, contents, name, contents …
func zipOf(t testing.TB, entries ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := 0; i < len(entries); i += 2 {
		w, err := z.Create(entries[i])
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, entries[i+1])
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// testTime is any time but now.
var testTime = time.Unix(1e9, 0)

const cocoJSON = `{
 "info": {"year": 2014, "nested": [1, {"a": [true, null]}]},
 "images": [
  {"id": 1, "file_name": "a.jpg", "license": 3},
  {"id": 22, "file_name": "b.jpg", "group": "rare"},
  {"id": "x", "file_name": "gone.jpg"},
  {"id": 4, "file_name": "silent.jpg"}],
 "annotations": [
  {"id": 9, "image_id": 1, "caption": " A  cat\n on a mat. "},
  {"id": 8, "image_id": 22, "caption": "Two dogs."},
  {"id": 7, "image_id": 1, "caption": "A cat."},
  {"id": 6, "image_id": "x", "caption": "Gone."},
  {"id": 5, "image_id": 4, "caption": "  "}],
 "licenses": []
}`

func TestCOCOListsCaptionsByImage(t *testing.T) {
	files := []File{
		memory(RoleCaptions, "captions.json", []byte(cocoJSON)),
		memory(RoleImages, "one.zip", zipOf(t, "val/a.jpg", "A", "val/silent.jpg", "S")),
		memory(RoleImages, "two.zip", zipOf(t, "b.jpg", "B")),
	}
	examples, warnings, err := List(context.Background(), Spec{Kind: "coco", Split: Test}, files, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := []Example{
		{
			ID: "1", Captions: []string{"A cat on a mat.", "A cat."}, Split: Test,
			Image: ImageRef{File: 1, Name: "val/a.jpg"},
		},
		{
			ID: "22", Captions: []string{"Two dogs."}, Group: "rare", Split: Test,
			Image: ImageRef{File: 2, Name: "b.jpg"},
		},
		{ID: "x", Captions: []string{"Gone."}, Split: Test, Image: ImageRef{
			File: -1, Name: "gone.jpg", Missing: "picture gone.jpg: not in the image archives",
		}},
		{ID: "4", Split: Test, Image: ImageRef{
			File: 1, Name: "val/silent.jpg", Missing: "picture silent.jpg: has no caption",
		}},
	}
	for i, e := range examples {
		if (e.Image.Entry == nil) != (e.Image.File < 0) {
			t.Errorf("%s: its place in the archive is %v", e.ID, e.Image.Entry)
		}
		want[i].Image.Entry = e.Image.Entry
	}
	if !reflect.DeepEqual(examples, want) {
		t.Errorf("got  %+v\nwant %+v", examples, want)
	}
	if want := []string{
		"captions.json: 1 pictures are not in the image archives",
		"captions.json: 1 pictures have no caption", "captions.json: 1 empty captions left out",
	}; !slices.Equal(warnings, want) {
		t.Errorf("warnings: %q", warnings)
	}
	o, err := NewOpener(Spec{Kind: "coco"}, files)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	for i, want := range []string{"A", "B", "", ""} {
		b, err := o.Open(context.Background(), examples[i].Image)
		if string(b) != want || (err != nil) != (want == "") {
			t.Errorf("%s: %q, %v", examples[i].Image.Name, b, err)
		}
	}
}

func TestMalformedCaptionsSayWhatAndWhere(t *testing.T) {
	images := memory(RoleImages, "i.zip", zipOf(t, "a.jpg", "A"))
	for _, c := range []struct{ kind, name, contents, want string }{
		{"coco", "c.json", "", "broken JSON: ends too early"},
		{"coco", "c.json", cocoJSON[:200], "broken JSON: ends too early, after 200 bytes"},
		{"coco", "c.json", "{\n\"images\": [\n{\"id\" 1}]}", "line 3"},
		{"coco", "c.json", "[1]", "expected an object"},
		{"coco", "c.json", `{"images": []}`, `has no "annotations"`},
		{"coco", "c.json", `{"images": {}, "annotations": []}`, "expected images to be a list"},
		{"coco", "c.json", `{"images": [], "annotations": []}`, "lists no pictures"},
		{"coco", "c.json", `{"images": [{"id": 1}], "annotations": []}`, "image 1: needs file_name"},
		{
			"coco", "c.json", `{"images": [{"id": true, "file_name": "a"}], "annotations": []}`,
			"images[0]: needs an id, a number or a text, and file_name",
		},
		{
			"coco", "c.json", `{"images": [{"id": 1, "file_name": 3}], "annotations": []}`,
			"image 1: needs file_name",
		},
		{"folder", "c.csv", "", "is empty"},
		{"folder", "c.csv", "picture,words\n", "has no column of pictures' names (image, file_name"},
		{"folder", "c.csv", "image,words,more\n", "has no column of captions (caption"},
		{"folder", "c.csv", "image,text,title\n", "several of the columns image, text, title may hold captions"},
		{"folder", "c.csv", "image,text\n", "lists no pictures"},
		{"folder", "c.csv", "image,caption\na.jpg,caf\xe9\n", "line 2, byte 23: 0xE9 is not UTF-8"},
		{"coco", "c.json", "{\x00\"\x00", "is UTF-16 text without a byte-order mark"},
		{"folder", "c.csv", "image,caption\n,one\n", "line 2: image is empty"},
		{"folder", "c.jsonl", "{\"image\": \"a.jpg\"}\n", "line 1: needs image, and caption or captions"},
		{"folder", "c.doc", "a", `ends in ".doc"`},
		{"folder", "c.txt", "a", "has no column of pictures' names"},
		{
			"folder", "c.csv", "image_name| comment_number| comment\na.jpg\n",
			"line 2: is not image_name| comment_number| comment",
		},
		{"folder", "c.csv", "raw,split,filename\n[1],train,a.jpg\n", "line 2: raw is no JSON list of captions"},
		{
			"folder", "c.csv", "raw,split,filename\n\"[\"\"x\"\"]\",all,a.jpg\n",
			`line 2: split "all" is none of dev, restval`,
		},
		{"karpathy", "c.json", "{}", `has no "images"`},
		{"karpathy", "c.json", cocoJSON, "images[0]: needs filename, split and sentences"},
		{
			"karpathy", "c.json", `{"images": [{"filename": "a", "split": "x", "sentences": []}]}`,
			`images[0]: split "x" is none of`,
		},
		{
			"karpathy", "c.json", `{"images": [{"filename": "a", "split": "val", "sentences": [{}]}]}`,
			"images[0]: sentences[0] has no raw text",
		},
		{"karpathy", "c.json", `{"images": [`, "broken JSON: ends too early"},
		{"coco", "c.zip", "PK", "not a zip file, or one cut short"},
		{
			"coco", "c.json",
			`{"images": [{"id": 1, "file_name": "z.jpg"}], "annotations": [{"image_id": 1, "caption": "x"}]}`,
			"none of its 1 pictures (the first is z.jpg) is in the image archives",
		},
	} {
		_, _, err := List(context.Background(), Spec{Kind: c.kind}, []File{
			memory(RoleCaptions, c.name, []byte(c.contents)), images,
		}, 0)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.name) ||
			strings.Contains(err.Error(), "\n") {
			t.Errorf("%.60q: %v, not %q", c.contents, err, c.want)
		}
	}
}

func TestBadRowsAreCountedAndTheRestIsUsed(t *testing.T) {
	images := memory(RoleImages, "i.zip", zipOf(t, "a.jpg", "A", "b.jpg", "B"))
	coco := func(images, annotations string) string {
		return fmt.Sprintf(`{"images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}%s],
			"annotations": [{"image_id": 1, "caption": "one"}, {"image_id": 2, "caption": "two"}%s]}`, images, annotations)
	}
	for _, c := range []struct {
		kind, name, contents string
		want                 []string // picture and captions, or the reason
	}{
		{"coco", "c.json", coco("", `, {"image_id": 99, "caption": "x"}, {"image_id": 99, "caption": "y"}`),
			[]string{"a.jpg: one", "b.jpg: two", "annotations name image_id 99, which images does not list"}},
		{"coco", "c.json", coco("", `, {"image_id": 1, "caption": null}`),
			[]string{
				"a.jpg: one", "b.jpg: two",
				"annotations[2]: caption of image_id 1 is null; must be a text or a list of texts",
			}},
		{"coco", "c.json", coco("", `, {"image_id": 1, "caption": 7}, {"image_id": 1, "bbox": []}`),
			[]string{"a.jpg: one", "b.jpg: two",
				"annotations[2]: caption of image_id 1 is 7; must be a text or a list of texts",
				"annotations[3]: needs image_id and caption (is this a file of captions?)"}},
		{"coco", "c.json", coco("", `, {"image_id": 1, "caption": ["more", "and more"]}`), []string{
			"a.jpg: one|more|and more", "b.jpg: two",
		}},
		{"coco", "c.json", coco("", `, {"image_id": 1, "caption": ["more", null]}`),
			[]string{
				"a.jpg: one", "b.jpg: two",
				`annotations[2]: caption of image_id 1 is ["more", null]; must be a text or a list of texts`,
			}},
		{"coco", "c.json", coco(`, {"id": 2, "file_name": "b.jpg"}`, ""), []string{"a.jpg: one", "b.jpg: two"}},
		{"coco", "c.json", coco(`, {"id": 2, "file_name": "a.jpg"}`, ""),
			[]string{"a.jpg: one", "b.jpg: two", "images[2]: id 2 is there twice, of b.jpg and of a.jpg"}},
		{"coco", "c.json",
			coco(`, {"id": 3, "file_name": null}, {"file_name": "b.jpg"}`, `, {"image_id": 3, "caption": "x"}`),
			[]string{
				"a.jpg: one", "b.jpg: two", "image 3: needs file_name",
				"images[3]: needs an id, a number or a text, and file_name",
			}},
		{
			"coco", "c.json", coco("", `, {"image_id": 2.0, "caption": "three"}`),
			[]string{"a.jpg: one", "b.jpg: two|three"},
		},
		{"coco", "c.json",
			coco(`, {"id": 1, "file_name": "a.jpg", "score": NaN, "x": [-Infinity, "NaN \"Infinity"]}`, ""),
			[]string{"a.jpg: one", "b.jpg: two"}},
		{"coco", "c.json", "\ufeff" + coco("", ""), []string{"a.jpg: one", "b.jpg: two"}},
		{"karpathy", "c.json", `{"images": [{"filename": "a.jpg", "split": "val", "sentences": [{"raw": "one"}]},
			{"filename": "a.jpg", "split": "val", "sentences": []}, {"filename": "b.jpg", "split": "?", "sentences": []}]}`,
			[]string{"a.jpg: one", "images[1]: picture a.jpg is there twice",
				`images[2]: split "?" is none of dev, restval, test, testing, train, training, val, valid, validation`}},
		{"folder", "c.csv", "image,caption\na.jpg,one\nthe dog barks\nb.jpg,two\n",
			[]string{"a.jpg: one", "line 3: has 1 fields, not 2", "b.jpg: two"}},
		{"folder", "c.csv", "image,caption\na.jpg,\"open\nb.jpg,two\n",
			[]string{"line 2: a quotation mark in line 2 that none closes takes in the lines up to 4",
				"line 3: a quotation mark in line 2 that none closes takes in the lines up to 4",
				"line 4: a quotation mark in line 2 that none closes takes in the lines up to 4", "?"}},
		{"folder", "c.csv", "image,caption\na.jpg,a 5\" red ball\nb.jpg,a blue box\n",
			[]string{`a.jpg: a 5" red ball`, "b.jpg: a blue box"}},
		{"folder", "c.csv", "image,caption\ra.jpg,a red ball\rb.jpg,a blue box\r",
			[]string{"a.jpg: a red ball", "b.jpg: a blue box"}},
		{"folder", "c.csv", "caption,image\nfour, five,a.jpg\nsix,b.jpg\n",
			[]string{"line 2: has 3 fields, not 2; quote those with a ',' in them", "b.jpg: six"}},
		{"folder", "c.jsonl",
			"{\"image\": \"a.jpg\", \"caption\": \"x\"}\n{\"image\"\n{\"image\": \"b.jpg\", \"caption\": 3}\n",
			[]string{
				"a.jpg: x", "line 2: broken JSON: unexpected end of JSON input",
				"line 3: caption is 3; must be a text or a list of texts",
			}},
		{"folder", "c.token", "a.jpg#0\tx\nb.jpg x\n", []string{
			"a.jpg: x", "line 2: is not PICTURE#NUMBER, a tab and the caption",
		}},
	} {
		captions := memory(RoleCaptions, c.name, []byte(c.contents))
		examples, warnings, err := List(t.Context(), Spec{Kind: c.kind}, []File{captions, images}, 0)
		if slices.Contains(c.want, "?") { // nothing is left
			if err == nil || !strings.Contains(err.Error(), c.want[0]) {
				t.Errorf("%q: %v", c.contents, err)
			}
			continue
		}
		var got []string
		bad := 0
		for _, e := range examples {
			line := cmp.Or(e.Image.Missing, e.Image.Name+": "+strings.Join(e.Captions, "|"))
			if e.Image.Missing != "" {
				bad++
			}
			got = append(got, line)
		}
		if err != nil || !slices.Equal(got, c.want) || (len(warnings) > 0) != (bad > 0) {
			t.Errorf("%q:\ngot  %q\nwant %q\n%q, %v", c.contents, got, c.want, warnings, err)
		}
	}
}

// Two pictures in each form that tables have.
func TestTablesAreReadAsTheyComeWithTheirOwnColumns(t *testing.T) {
	images := memory(RoleImages, "i.zip", zipOf(t, "a.jpg", "A", "b.jpg", "B"))
	for _, c := range []struct {
		name, contents string
		spec           Spec
	}{
		{name: "metadata.csv", contents: "file_name,text\na.jpg,\"one, two\"\nb.jpg,three\n"},
		{name: "metadata.csv", contents: "file_name,prompt\na.jpg,\"one, two\"\nb.jpg,three\n"}, // any name
		{name: "metadata.jsonl", contents: `{"file_name": "a.jpg", "text": "one, two"}` + "\n" +
			`{"file_name": "b.jpg", "prompt": "three"}` + "\n"},
		{name: "c.csv", contents: "filepath,title\r\na.jpg,\"one, two\"\r\nb.jpg,three\r\n"},
		{name: "c.tsv", contents: "image\tcaption\na.jpg\tone, two\nb.jpg\tthree\n"},
		{name: "c.txt", contents: "image\tcaption\na.jpg\tone, two\nb.jpg\tthree\n"},
		{name: "c.csv", contents: "image;caption\na.jpg;one, two\nb.jpg;three\n"},
		{name: "c.csv", contents: "image|caption\na.jpg|one, two\nb.jpg|three\n"},
		{name: "c.csv", contents: "a.jpg,one, two\nb.jpg,three\n"}, // no header, commas not quoted
		{name: "c.tsv", contents: "a.jpg\tone, two\nb.jpg\tthree\n"},
		{name: "c.csv", contents: "id,image,caption\n1,a.jpg,one, two\n2,b.jpg,three\n"},
		{name: "c.csv", contents: "Image , Caption\na.jpg, one, two\nb.jpg, three\n"},
		{name: "c.csv", contents: "x,y,z\n\"one, two\",1,a.jpg\nthree,2,b.jpg\n",
			spec: Spec{Columns: Columns{Image: "z", Captions: []string{"x"}}}},
		{name: "c.jsonl", contents: `{"x": "one, two", "y": 1, "z": "a.jpg"}` + "\n" +
			`{"x": ["three"], "y": 2, "z": "b.jpg"}`,
			spec: Spec{Columns: Columns{Image: "z", Captions: []string{"x"}}}},
		{name: "c.csv", contents: "image,caption,use\na.jpg,no,0\na.jpg,\"one, two\",1\nb.jpg,three,1\n",
			spec: Spec{Where: []Condition{{Column: "use", Equals: []string{"1", "yes"}}}}},
		{name: "c.jsonl", contents: `{"image": "a.jpg", "caption": "no"}` + "\n" +
			`{"image": "a.jpg", "caption": "one, two", "use": true}` + "\n" +
			`{"image": "b.jpg", "caption": "three", "use": "x"}`,
			spec: Spec{Where: []Condition{{Column: "use"}}}},
	} {
		c.spec.Kind, c.spec.Split = "folder", Train
		captions := memory(RoleCaptions, c.name, []byte(c.contents))
		examples, warnings, err := List(t.Context(), c.spec, []File{captions, images}, 0)
		if err != nil || len(warnings) > 0 || len(examples) != 2 ||
			!slices.Equal(examples[0].Captions, []string{"one, two"}) ||
			!slices.Equal(examples[1].Captions, []string{"three"}) ||
			examples[0].Image.Name != "a.jpg" || examples[1].Image.Name != "b.jpg" {
			t.Errorf("%s %q: %+v, %q, %v", c.name, c.contents, examples, warnings, err)
		}
	}
	// Pictures of one kind need no captions of their own.
	spec := Spec{
		Kind: "folder", Split: Train, Caption: "a document",
		Where: []Condition{{Column: "is_document", Equals: []string{"1"}}},
	}
	for name, contents := range map[string]string{
		"c.csv":   "image,is_document\na.jpg,1\nb.jpg,0\n",
		"c.jsonl": `{"image": "a.jpg", "is_document": 1}` + "\n" + `{"image": "b.jpg", "is_document": 0}`,
	} {
		captions := memory(RoleCaptions, name, []byte(contents))
		examples, _, err := List(t.Context(), spec, []File{captions, images}, 0)
		if err != nil || len(examples) != 1 || !slices.Equal(examples[0].Captions, []string{"a document"}) {
			t.Errorf("%s: %+v, %v", name, examples, err)
		}
	}
	if _, _, err := List(t.Context(), Spec{Kind: "folder", Where: []Condition{{Column: "label"}}},
		[]File{memory(RoleCaptions, "c.csv", []byte("image,caption\na.jpg,x\n")), images}, 0); err == nil ||
		!strings.Contains(err.Error(), "has no column label (where); the columns are image, caption") {
		t.Error(err)
	}
}

func TestFolderReadsCSVAndJSONLines(t *testing.T) {
	images := memory(RoleImages, "i.zip", zipOf(t, "a.jpg", "A", "d/b.jpg", "B"))
	want := []Example{
		{
			ID: "a.jpg", Captions: []string{"one, two", "three"}, Split: Train,
			Image: ImageRef{File: 1, Name: "a.jpg"},
		},
		{
			ID: "d/b.jpg", Captions: []string{"four"}, Group: "g", Split: Train,
			Image: ImageRef{File: 1, Name: "d/b.jpg"},
		},
	}
	for name, contents := range map[string]string{
		"c.csv": "\xef\xbb\xbfid,image,caption,group\r\n1,a.jpg,\"one, two\",\r\n2,d/b.jpg,four,g\r\n3,a.jpg,three,\r\n",
		"c.jsonl": "{\"image\":\"a.jpg\",\"captions\":[\"one, " +
			"two\",\"three\"]}\n\n{\"image\":\"d/b.jpg\",\"caption\":\"four\",\"group\":\"g\"}\n",
	} {
		got, warnings, err := List(context.Background(), Spec{Kind: "folder", Split: Train},
			[]File{memory(RoleCaptions, name, []byte(contents)), images}, 0)
		for i := range got {
			got[i].Image.Entry = nil
		}
		if err != nil || len(warnings) > 0 || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v, %v", name, got, warnings, err)
		}
	}
}

func TestSplitAndLimitDependOnTheIDAlone(t *testing.T) {
	var csv strings.Builder
	var entries []string
	csv.WriteString("image,caption\n")
	for i := range 2000 {
		name := fmt.Sprintf("p%d.jpg", i)
		fmt.Fprintf(&csv, "%s,x\n", name)
		entries = append(entries, name, "")
	}
	files := []File{
		memory(RoleCaptions, "c.csv", []byte(csv.String())),
		memory(RoleImages, "i.zip", zipOf(t, entries...)),
	}
	spec := Spec{Kind: "folder", ValidationFraction: 0.1, TestFraction: 0.2}
	all, _, err := List(context.Background(), spec, files, 1)
	if err != nil {
		t.Fatal(err)
	}
	counts, split := map[string]int{}, map[string]string{}
	for _, e := range all {
		counts[e.Split]++
		split[e.ID] = e.Split
	}
	if counts[Test] < 340 || counts[Test] > 460 || counts[Validation] < 150 || counts[Validation] > 250 {
		t.Errorf("splits: %v", counts)
	}
	spec.Limit = 500
	some, _, err := List(context.Background(), spec, files, 2)
	if err != nil || len(some) != 500 {
		t.Fatalf("%d, %v", len(some), err)
	}
	for _, e := range some {
		if e.Split != split[e.ID] {
			t.Fatalf("%s moved from %s to %s", e.ID, split[e.ID], e.Split)
		}
	}
}

func TestZipCutShortIsAClearError(t *testing.T) {
	whole := zipOf(t, "a.jpg", strings.Repeat("A", 1000), "b.jpg", "B")
	captions := memory(RoleCaptions, "c.csv", []byte("image,caption\na.jpg,one\n"))
	for _, n := range []int{0, 1, len(whole) / 2, len(whole) - 1, len(whole) - 30} {
		cut := memory(RoleImages, "pictures.zip", whole[:n])
		_, _, err := List(context.Background(), Spec{Kind: "folder"}, []File{captions, cut}, 0)
		if err == nil || !strings.Contains(err.Error(), "pictures.zip: not a zip file, or one cut short") {
			t.Errorf("cut to %d of %d: %v", n, len(whole), err)
		}
		o, _ := NewOpener(Spec{Kind: "folder"}, []File{captions, cut})
		_, err = o.Open(context.Background(), ImageRef{File: 1, Name: "a.jpg"})
		var archive *SourceError
		if !errors.As(err, &archive) {
			t.Errorf("cut to %d: opener: %v", n, err)
		}
	}
	damaged := bytes.Clone(whole)
	copy(damaged[40:], "damage!!!!")
	o, _ := NewOpener(Spec{Kind: "folder"}, []File{captions, memory(RoleImages, "pictures.zip", damaged)})
	if _, err := o.Open(context.Background(), ImageRef{File: 1, Name: "a.jpg"}); err == nil ||
		!strings.Contains(err.Error(), "a.jpg") {
		t.Errorf("damaged entry: %v", err)
	}
}

func TestOpenerOutlivesTheContextOfItsFirstCall(t *testing.T) {
	contents := zipOf(t, "a.jpg", "A", "b.jpg", "B")
	file := File{Role: RoleImages, Name: "i.zip",
		Open: func(ctx context.Context) (io.ReaderAt, int64, io.Closer, error) {
			return contextReader{ctx, bytes.NewReader(contents)}, int64(len(contents)), io.NopCloser(nil), nil
		}}
	o, err := NewOpener(Spec{Kind: "folder"}, []File{file})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	ctx, cancel := context.WithCancel(context.Background())
	if _, err := o.Open(ctx, ImageRef{Name: "a.jpg"}); err != nil {
		t.Fatal(err)
	}
	cancel()
	if b, err := o.Open(context.Background(), ImageRef{Name: "b.jpg"}); string(b) != "B" {
		t.Errorf("second picture: %q, %v", b, err)
	}
	if _, err := o.Open(ctx, ImageRef{Name: "b.jpg"}); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled call answers %v", err)
	}
}

// contextReader reads as long as its context lives, as an object store's does.
type contextReader struct {
	ctx context.Context
	io.ReaderAt
}

func (r contextReader) ReadAt(p []byte, off int64) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.ReaderAt.ReadAt(p, off)
}

func TestPicturesAreFoundByTheEndOfTheirPath(t *testing.T) {
	decomposed := "cafe\u0301.jpg" // as a Mac writes it
	as, err := openArchives(t.Context(), t.TempDir(), []File{memory(RoleImages, "i.zip", zipOf(t,
		"x/a.jpg", "", "y/a.jpg", "", "x/b.jpg", "", "c.jpg", "", "x/c.jpg", "", `w\d.jpg`, "", "x/E.JPG",
		"", "x/F.jpg", "", "x/f.jpg", "",
		"G.jpg", "", "g.JPG", "", decomposed, ""))})
	if err != nil {
		t.Fatal(err)
	}
	defer as.close()
	for name, want := range map[string]string{
		"b.jpg": "x/b.jpg", "y/a.jpg": "y/a.jpg", "./x/a.jpg": "x/a.jpg", `x\a.jpg`: "x/a.jpg",
		"c.jpg": "c.jpg", "../b.jpg": "x/b.jpg",
		"w/d.jpg": `w\d.jpg`, "d.jpg": `w\d.jpg`, // a zip made on Windows
		// the list has more folders than the archive
		"train2014/x/b.jpg": "x/b.jpg", "/data/c.jpg": "c.jpg", `C:\data\x\b.jpg`: "x/b.jpg",
		"e.jpg": "x/E.JPG", "X/E.jpg": "x/E.JPG", "B.JPG": "x/b.jpg", // another case
		"F.jpg": "x/F.jpg", "f.jpg": "x/f.jpg", "G.jpg": "G.jpg",
		"café.jpg": decomposed, "CAFÉ.jpg": decomposed,
		"a.jpg": "picture a.jpg: may be x/a.jpg or y/a.jpg in the image archives, 2 in all",
		"F.JPG": "picture f.jpg: may be x/F.jpg or x/f.jpg in the image archives, 2 in all",
		"z.jpg": "picture z.jpg: not in the image archives",
	} {
		ref, err := as.find(name)
		got := ref.Name
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %q, not %q", name, got, want)
		}
	}
}

func TestPackIsDeterministicAndKeepsArchivesSmall(t *testing.T) {
	dir := t.TempDir()
	for i, name := range []string{
		"b.png", "a.JPG", "sub/c.webp", "sub/.hidden.png", ".git/x.png", "notes.txt", "big.png",
	} {
		path := filepath.Join(dir, name)
		os.MkdirAll(filepath.Dir(path), 0o755)
		contents := strings.Repeat(string(rune('A'+i)), 3000)
		if name == "big.png" {
			contents = strings.Repeat(contents, 5)
		}
		if err := os.WriteFile(path, []byte(contents), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	archives := func(max int64) map[string][]byte {
		out := map[string][]byte{}
		err := pack(context.Background(), dir, false, max, func(name string, write func(io.Writer) error) error {
			var b bytes.Buffer
			err := write(&b)
			out[name] = b.Bytes()
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	first := archives(7500)
	os.Chtimes(filepath.Join(dir, "b.png"), testTime, testTime)
	if !reflect.DeepEqual(first, archives(7500)) {
		t.Error("the same pictures make other archives")
	}
	var names []string
	for i := range len(first) {
		b := first[fmt.Sprintf("images-%04d.zip", i)]
		z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > 7500 && len(z.File) > 1 {
			t.Errorf("archive %d has %d bytes", i, len(b))
		}
		for _, f := range z.File {
			names = append(names, fmt.Sprintf("%d %s", i, f.Name))
		}
	}
	if want := []string{"0 a.JPG", "0 b.png", "1 big.png", "2 sub/c.webp"}; !slices.Equal(names, want) {
		t.Errorf("archives hold %q", names)
	}
	for want, dir := range map[string]string{
		"does not exist": filepath.Join(dir, "none"), "not a folder": filepath.Join(dir, "b.png"),
		"no pictures": t.TempDir(),
	} {
		if err := Pack(context.Background(), dir, false, nil); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", dir, err)
		}
	}
}
