package dataset

import (
	"archive/zip"
	"bytes"
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
		{ID: "1", Captions: []string{"A cat on a mat.", "A cat."}, Split: Test, Image: ImageRef{File: 1, Name: "val/a.jpg"}},
		{ID: "22", Captions: []string{"Two dogs."}, Group: "rare", Split: Test, Image: ImageRef{File: 2, Name: "b.jpg"}},
		{ID: "x", Captions: []string{"Gone."}, Split: Test, Image: ImageRef{File: -1, Name: "gone.jpg", Missing: "picture gone.jpg: not in the image archives"}},
		{ID: "4", Split: Test, Image: ImageRef{File: 1, Name: "val/silent.jpg", Missing: "picture silent.jpg: has no caption"}},
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
	if want := []string{"captions.json: 1 pictures are not in the image archives", "captions.json: 1 pictures have no caption", "captions.json: 1 empty captions left out"}; !slices.Equal(warnings, want) {
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
		{"coco", "c.json", `{"images": [{"id": 1}], "annotations": []}`, "images[0]: needs id and file_name"},
		{"coco", "c.json", `{"images": [{"id": true, "file_name": "a"}], "annotations": []}`, "neither a number nor a string"},
		{"coco", "c.json", `{"images": [{"id": 1, "file_name": 3}], "annotations": []}`, "file_name at byte"},
		{"coco", "c.json", `{"images": [{"id": 1, "file_name": "a.jpg"}, {"id": 1, "file_name": "b.jpg"}], "annotations": []}`, "images[1]: id 1 is there twice"},
		{"coco", "c.json", `{"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"image_id": 1, "bbox": []}]}`, "annotations[0]: needs image_id and caption"},
		{"coco", "c.json", `{"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"image_id": 2, "caption": "x"}]}`, "image_id 2, which images does not list"},
		{"folder", "c.csv", "", "is empty"},
		{"folder", "c.csv", "file,text\n", "must name the columns image and caption"},
		{"folder", "c.csv", "image,caption\na.jpg,one\nb.jpg\n", "broken CSV in line 3"},
		{"folder", "c.csv", "image,caption\na.jpg,\"open\n", "broken CSV in line"},
		{"folder", "c.csv", "image,caption\n,one\n", "line 2: image is empty"},
		{"folder", "c.jsonl", "{\"image\": \"a.jpg\", \"caption\": \"x\"}\n{\"image\"\n", "broken JSON in line 2"},
		{"folder", "c.jsonl", "{\"image\": \"a.jpg\"}\n", "line 1: needs image, and caption or captions"},
		{"folder", "c.doc", "a", `ends in ".doc"`},
		{"folder", "c.txt", "a", "must name the columns image and caption"},
		{"folder", "c.csv", "image_name| comment_number| comment\na.jpg\n", "line 2: is not image_name| comment_number| comment"},
		{"folder", "c.token", "a.jpg#0\tx\nb.jpg x\n", "line 2: is not PICTURE#NUMBER"},
		{"folder", "c.csv", "raw,split,filename\n[1],train,a.jpg\n", "line 2: raw is no JSON list of captions"},
		{"folder", "c.csv", "raw,split,filename\n\"[\"\"x\"\"]\",all,a.jpg\n", `line 2: split "all" is none of dev, restval`},
		{"karpathy", "c.json", "{}", `has no "images"`},
		{"karpathy", "c.json", cocoJSON, "images[0]: needs filename, split and sentences"},
		{"karpathy", "c.json", `{"images": [{"filename": "a", "split": "x", "sentences": []}]}`, `images[0]: split "x" is none of`},
		{"karpathy", "c.json", `{"images": [{"filename": "a", "split": "val", "sentences": [{}]}]}`, "images[0]: sentences[0] has no raw text"},
		{"karpathy", "c.json", `{"images": [{"filename": "a", "split": "val", "sentences": []}, {"filename": "a", "split": "val", "sentences": []}]}`, "images[1]: picture a is there twice"},
		{"karpathy", "c.json", `{"images": [`, "broken JSON: ends too early"},
		{"coco", "c.zip", "PK", "not a zip file, or one cut short"},
		{"coco", "c.json", `{"images": [{"id": 1, "file_name": "z.jpg"}], "annotations": [{"image_id": 1, "caption": "x"}]}`, "none of its 1 pictures (the first is z.jpg) is in the image archives"},
	} {
		_, _, err := List(context.Background(), Spec{Kind: c.kind}, []File{memory(RoleCaptions, c.name, []byte(c.contents)), images}, 0)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.name) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.60q: %v, not %q", c.contents, err, c.want)
		}
	}
}

func TestFolderReadsCSVAndJSONLines(t *testing.T) {
	images := memory(RoleImages, "i.zip", zipOf(t, "a.jpg", "A", "d/b.jpg", "B"))
	want := []Example{
		{ID: "a.jpg", Captions: []string{"one, two", "three"}, Split: Train, Image: ImageRef{File: 1, Name: "a.jpg"}},
		{ID: "d/b.jpg", Captions: []string{"four"}, Group: "g", Split: Train, Image: ImageRef{File: 1, Name: "d/b.jpg"}},
	}
	for name, contents := range map[string]string{
		"c.csv":   "\xef\xbb\xbfid,image,caption,group\r\n1,a.jpg,\"one, two\",\r\n2,d/b.jpg,four,g\r\n3,a.jpg,three,\r\n",
		"c.jsonl": "{\"image\":\"a.jpg\",\"captions\":[\"one, two\",\"three\"]}\n\n{\"image\":\"d/b.jpg\",\"caption\":\"four\",\"group\":\"g\"}\n",
	} {
		got, warnings, err := List(context.Background(), Spec{Kind: "folder", Split: Train}, []File{memory(RoleCaptions, name, []byte(contents)), images}, 0)
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
	files := []File{memory(RoleCaptions, "c.csv", []byte(csv.String())), memory(RoleImages, "i.zip", zipOf(t, entries...))}
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
		var archive *ArchiveError
		if !errors.As(err, &archive) {
			t.Errorf("cut to %d: opener: %v", n, err)
		}
	}
	damaged := bytes.Clone(whole)
	copy(damaged[40:], "damage!!!!")
	o, _ := NewOpener(Spec{Kind: "folder"}, []File{captions, memory(RoleImages, "pictures.zip", damaged)})
	if _, err := o.Open(context.Background(), ImageRef{File: 1, Name: "a.jpg"}); err == nil || !strings.Contains(err.Error(), "a.jpg") {
		t.Errorf("damaged entry: %v", err)
	}
}

func TestOpenerOutlivesTheContextOfItsFirstCall(t *testing.T) {
	contents := zipOf(t, "a.jpg", "A", "b.jpg", "B")
	file := File{Role: RoleImages, Name: "i.zip", Open: func(ctx context.Context) (io.ReaderAt, int64, io.Closer, error) {
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
	as, err := openArchives(context.Background(), t.TempDir(), []File{memory(RoleImages, "i.zip", zipOf(t, "x/a.jpg", "", "y/a.jpg", "", "x/b.jpg", "", "c.jpg", "", "x/c.jpg", ""))})
	if err != nil {
		t.Fatal(err)
	}
	defer as.close()
	for name, want := range map[string]string{"b.jpg": "x/b.jpg", "y/a.jpg": "y/a.jpg", "./x/a.jpg": "x/a.jpg", `x\a.jpg`: "x/a.jpg", "c.jpg": "c.jpg", "a.jpg": "", "d.jpg": "", "../b.jpg": "x/b.jpg"} {
		ref, err := as.find(name)
		if ref.Name != want || (err != nil) != (want == "") {
			t.Errorf("%s: %q, %v", name, ref.Name, err)
		}
	}
}

func TestPackIsDeterministicAndKeepsArchivesSmall(t *testing.T) {
	dir := t.TempDir()
	for i, name := range []string{"b.png", "a.JPG", "sub/c.webp", "sub/.hidden.png", ".git/x.png", "notes.txt", "big.png"} {
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
		err := pack(context.Background(), dir, max, func(name string, write func(io.Writer) error) error {
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
	for want, dir := range map[string]string{"does not exist": filepath.Join(dir, "none"), "not a folder": filepath.Join(dir, "b.png"), "no pictures": t.TempDir()} {
		if err := Pack(context.Background(), dir, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", dir, err)
		}
	}
}
