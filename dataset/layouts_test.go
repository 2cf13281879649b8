package dataset

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// layout is a file of testdata/captions, see make_captions.py.
func layout(t testing.TB, role, name string) File {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "captions", name))
	if err != nil {
		t.Fatal(err)
	}
	return memory(role, name, b)
}

// told are the captions that make_captions.py gives a picture.
func told(i int) []string {
	var all []string
	for k := range 5 {
		all = append(all, fmt.Sprintf("Picture %d told %d.", i, k))
	}
	return all
}

// want is an example in short; file is the entry of its archive.
type want struct {
	id, split, file string
	number          int // of its captions
}

func TestDatasetsAreReadInTheLayoutsTheyAreGivenAwayIn(t *testing.T) {
	flickr := func(split ...string) []want {
		var all []want
		for i, number := range []int{1000092795, 1001573224, 2199200615} {
			name := fmt.Sprintf("%d.jpg", number)
			all = append(all, want{name, split[i%len(split)], "flickr30k-images/" + name, number})
		}
		return all
	}
	for _, c := range []struct {
		spec     Spec
		captions string
		images   []string
		want     []want
	}{
		{Spec{
			Kind: "coco", Split: Train, Entry: "annotations/captions_train2017.json",
		}, "annotations_trainval2017.zip", []string{"train2017.zip"}, []want{
			{"9", Train, "train2017/000000000009.jpg", 9}, {"25", Train, "train2017/000000000025.jpg", 25},
			{"42", Train, "train2017/000000000042.jpg", 42}}},
		{Spec{Kind: "karpathy"}, "dataset_coco.json", []string{"train2014.zip", "val2014.zip"}, []want{
			{"42", Test, "val2014/COCO_val2014_000000000042.jpg", 42},
			{"9", Train, "train2014/COCO_train2014_000000000009.jpg", 9},
			{"73", Train, "val2014/COCO_val2014_000000000073.jpg", 73},
			{"25", Train, "train2014/COCO_train2014_000000000025.jpg", 25},
			{"74", Validation, "val2014/COCO_val2014_000000000074.jpg", 74}}},
		{Spec{Kind: "karpathy", Split: Test}, "dataset_coco.json", []string{"train2014.zip", "val2014.zip"},
			[]want{{"42", Test, "val2014/COCO_val2014_000000000042.jpg", 42}}},
		{Spec{Kind: "karpathy"}, "dataset_flickr30k.json", []string{"flickr30k-images.zip"}, flickr(Train,
			Validation, Test)},
		{Spec{Kind: "folder"}, "flickr_annotations_30k.csv", []string{"flickr30k-images.zip"}, flickr(Train,
			Validation, Test)},
		{Spec{Kind: "folder", Split: Train}, "results.csv", []string{"flickr30k-images.zip"}, flickr(Train)},
		{Spec{Kind: "folder", Split: Train}, "captions.txt", []string{"flickr30k-images.zip"}, flickr(Train)},
		{
			Spec{Kind: "folder", Split: Train}, "Flickr8k.token.txt", []string{"flickr30k-images.zip"},
			flickr(Train),
		},
	} {
		files := []File{layout(t, RoleCaptions, c.captions)}
		for _, name := range c.images {
			files = append(files, layout(t, RoleImages, name))
		}
		examples, warnings, err := List(context.Background(), c.spec, files, 0)
		if err != nil || len(warnings) > 0 || len(examples) != len(c.want) {
			t.Errorf("%s: %d examples, %q, %v", c.captions, len(examples), warnings, err)
			continue
		}
		o, err := NewOpener(c.spec, files)
		if err != nil {
			t.Fatal(err)
		}
		for i, w := range c.want {
			e, captions := examples[i], told(w.number)
			if c.captions == "results.csv" {
				for k := range captions {
					captions[k] = strings.TrimSuffix(captions[k], ".") + ` , "so to speak" .`
				}
			}
			if e.ID != w.id || e.Split != w.split || e.Image.Name != w.file ||
				!slices.Equal(e.Captions, captions) {
				t.Errorf("%s: %+v, not %+v", c.captions, e, w)
			}
			if raw, err := o.Open(context.Background(), e.Image); err != nil ||
				!bytes.HasPrefix(raw, []byte("\xff\xd8\xff")) {
				t.Errorf("%s: %s: %v", c.captions, w.file, err)
			}
		}
		o.Close()
	}
}

func TestAJSONFileTellsItsForm(t *testing.T) {
	for captions, images := range map[string]string{
		"dataset_coco.json": "train2014.zip", "dataset_flickr30k.json": "flickr30k-images.zip",
	} {
		files := []File{layout(t, RoleCaptions, captions), layout(t, RoleImages, images)}
		told, _, err := List(t.Context(), Spec{Kind: "json"}, files, 0)
		named, _, _ := List(t.Context(), Spec{Kind: "karpathy"}, files, 0)
		if err != nil || !reflect.DeepEqual(told, named) {
			t.Errorf("%s: %+v, %v", captions, told, err)
		}
	}
	coco := memory(RoleCaptions, "c.json", []byte(cocoJSON))
	images := memory(RoleImages, "i.zip", zipOf(t, "a.jpg", "A"))
	if examples, _, err := List(t.Context(), Spec{Kind: "json"}, []File{coco, images}, 0); err != nil ||
		len(examples) != 4 {
		t.Errorf("%+v, %v", examples, err)
	}
}

func TestKarpathyFindsPicturesOfAPackedFolder(t *testing.T) {
	captions := memory(RoleCaptions, "k.json", []byte(
		`{"images": [{"filepath": "val2014", "filename": "a.jpg", "split": "val",
			"sentences": [{"raw": "x"}]}]}`,
	))
	examples, _, err := List(context.Background(), Spec{Kind: "karpathy"}, []File{
		captions, memory(RoleImages, "i.zip", zipOf(t, "a.jpg", "A")),
	}, 0)
	if err != nil || examples[0].Image.Name != "a.jpg" {
		t.Errorf("%+v, %v", examples, err)
	}
}

func TestEntriesOfACaptionsZipAreNamed(t *testing.T) {
	images := layout(t, RoleImages, "train2017.zip")
	for entry, want := range map[string]string{
		"": "annotations_trainval2017.zip: " +
			"is a zip of annotations/instances_train2017.json, annotations/captions_train2017.json, " +
			"annotations/captions_val2017.json; name the entry after a #",
		"captions_train2017.json":              "has no entry captions_train2017.json; it has annotations/instances_train2017.json, ",
		"annotations/instances_train2017.json": "lists no pictures",
	} {
		_, _, err := List(context.Background(), Spec{Kind: "karpathy", Entry: entry}, []File{
			layout(t, RoleCaptions, "annotations_trainval2017.zip"), images,
		}, 0)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, not %q", entry, err, want)
		}
	}
	only := memory(RoleCaptions, "captions.zip", zipOf(t, "c.csv", "image,caption\n000000000009.jpg,one\n",
		"__MACOSX/c.csv", ""))
	if examples, _, err := List(context.Background(), Spec{Kind: "folder"}, []File{only, images},
		0); err != nil || len(examples) != 1 {
		t.Errorf("the only entry: %+v, %v", examples, err)
	}
}

// Whatever a captions file holds, reading it answers or fails.
func FuzzCaptions(f *testing.F) {
	names, err := filepath.Glob("testdata/captions/*.[cjt][ssx][vot]*")
	if err != nil || len(names) < 5 {
		f.Fatal(names, err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b[:min(len(b), 2000)])
	}
	f.Add([]byte(cocoJSON))
	f.Add([]byte("{\"image\":\"a\",\"captions\":[\"b\"]}\n"))
	images := memory(RoleImages, "i.zip", zipOf(f, "a.jpg", ""))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, c := range []struct{ kind, name string }{
			{"coco", "c.json"}, {"karpathy", "c.json"}, {"folder", "c.csv"}, {"folder", "c.jsonl"},
		} {
			_, _, _ = List(context.Background(), Spec{Kind: c.kind}, []File{
				memory(RoleCaptions, c.name, raw), images,
			}, 0)
		}
	})
}

// Whatever an archive holds, its pictures are read or there is an error; as a
// captions file, too.
func FuzzZip(f *testing.F) {
	f.Add(zipOf(f, "a.jpg", "A", "d/", "", "d/b.jpg", strings.Repeat("B", 500)))
	for _, name := range []string{"train2017.zip", "annotations_trainval2017.zip"} {
		b, err := os.ReadFile(filepath.Join("testdata", "captions", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	captions := memory(
		RoleCaptions, "c.csv", []byte("image,caption\na.jpg,one\nb.jpg,two\n000000000009.jpg,nine\n"),
	)
	f.Fuzz(func(t *testing.T, raw []byte) {
		files := []File{captions, memory(RoleImages, "i.zip", raw)}
		if examples, _, err := List(context.Background(), Spec{Kind: "folder"}, files, 0); err == nil {
			o, err := NewOpener(Spec{Kind: "folder"}, files)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range examples {
				_, _ = o.Open(context.Background(), e.Image)
			}
			o.Close()
		}
		_, _, _ = List(
			context.Background(), Spec{Kind: "coco"}, []File{memory(RoleCaptions, "c.zip", raw), files[1]}, 0,
		)
	})
}

// tool is a file of testdata/layouts, see make_layouts.py.
func tool(t testing.TB, role, name string) File {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "layouts", name))
	if err != nil {
		t.Fatal(err)
	}
	return memory(role, name, b)
}

func TestLayoutsThatOtherToolsWriteAreRead(t *testing.T) {
	both := func(name string) []string {
		return []string{"Picture " + name + ", told first.", "Picture " + name + ", told again."}
	}
	type row struct {
		id, split, file string
		captions        []string
	}
	ab := func(a, b string) []row {
		return []row{{a, Train, a, both("a")}, {b, Train, b, both("b")}}
	}
	first := func(rows []row) []row {
		for i := range rows {
			rows[i].captions = rows[i].captions[:1]
		}
		return rows
	}
	images, shards := []string{"pictures.zip"}, []string{"shard-000000.tar", "shard-000001.tar"}
	for _, c := range []struct {
		name     string
		spec     Spec
		captions string
		images   []string
		want     []row
		warnings int
	}{
		{"imagefolder, CSV", Spec{Kind: "folder"}, "", []string{"imagefolder_csv.zip"}, ab("a.jpg", "b.jpg"), 0},
		{"imagefolder, JSON lines and splits", Spec{Kind: "folder"}, "", []string{"imagefolder_jsonl.zip"}, []row{
			{"train/a.jpg", Train, "train/a.jpg", both("a")}, {"test/b.jpg", Test, "test/b.jpg", both("b")}}, 0},
		{"imagefolder, one split of it", Spec{Kind: "folder", Split: Test}, "", []string{"imagefolder_jsonl.zip"},
			[]row{{"test/b.jpg", Test, "test/b.jpg", both("b")}}, 0},
		{"text beside", Spec{Kind: "folder"}, "", []string{"beside_txt.zip"},
			ab("photos/a.jpg", "photos/b.jpg"), 0},
		{".caption beside", Spec{Kind: "folder"}, "", []string{"beside_caption.zip"}, ab("a.JPG", "b.jpg"), 0},
		{"pictures alone, a constant caption", Spec{Kind: "folder", Caption: "a colour"}, "", images, []row{
			{"a.jpg", Train, "a.jpg", []string{"a colour"}}, {"b.jpg", Train, "b.jpg", []string{"a colour"}}}, 0},
		{"LLaVA", Spec{Kind: "folder"}, "llava.json", images, first([]row{
			{"00453/a.jpg", Train, "a.jpg", both("a")}, {"00453/b.jpg", Train, "b.jpg", both("b")}}), 1},
		{"LAVIS, told by what it holds", Spec{Kind: "json"}, "lavis.json", images, []row{
			{"val2014/a.jpg", Train, "a.jpg", both("a")}, {"val2014/b.jpg", Train, "b.jpg", both("b")}}, 0},
		{"kohya", Spec{Kind: "json"}, "meta_cap.json", images, first([]row{
			{"/workspace/train/a.jpg", Train, "a.jpg", both("a")}, {"/workspace/train/b.jpg", Train, "b.jpg", both("b")}}), 0},
		{"LAVIS", Spec{Kind: "folder"}, "lavis.json", images, []row{
			{"val2014/a.jpg", Train, "a.jpg", both("a")}, {"val2014/b.jpg", Train, "b.jpg", both("b")}}, 0},
		{"WebDataset", Spec{Kind: "webdataset"}, "", shards, []row{
			{"shard-000000.tar/000000000", Train, "000000000.jpg", both("a")},
			{"shard-000000.tar/000000010", Train, "000000010.jpg", both("a")[:1]},
			{"shard-000001.tar/000000001", Train, "000000001.jpg", both("b")},
			{"shard-000001.tar/000000011", Train, "000000011.jpg", both("b")[:1]}}, 0},
		{"WebDataset, a key of the JSON, some rows",
			Spec{Kind: "webdataset", Columns: Columns{Captions: []string{"captions"}},
				Where: []Condition{{Column: "status", Equals: []string{"success"}}}}, "", shards, []row{
				{"shard-000000.tar/000000000", Train, "000000000.jpg", both("a")},
				{"shard-000001.tar/000000001", Train, "000000001.jpg", both("b")}}, 0},
	} {
		files := []File{}
		if c.captions != "" {
			files = append(files, tool(t, RoleCaptions, c.captions))
		}
		for _, name := range c.images {
			role := RoleImages
			if c.spec.Kind == "webdataset" {
				role = RoleFiles
			}
			files = append(files, tool(t, role, name))
		}
		examples, warnings, err := List(t.Context(), c.spec, files, 0)
		if err != nil || len(warnings) != c.warnings || len(examples) != len(c.want) {
			t.Errorf("%s: %d examples, %q, %v", c.name, len(examples), warnings, err)
			continue
		}
		o, err := NewOpener(c.spec, files)
		if err != nil {
			t.Fatal(err)
		}
		for i, w := range c.want {
			e := examples[i]
			if e.ID != w.id || e.Split != w.split || e.Image.Name != w.file ||
				!slices.Equal(e.Captions, w.captions) {
				t.Errorf("%s: %+v, not %+v", c.name, e, w)
			}
			if raw, err := o.Open(t.Context(), e.Image); err != nil ||
				!bytes.HasPrefix(raw, []byte("\xff\xd8\xff")) {
				t.Errorf("%s: %s: %v", c.name, w.file, err)
			}
		}
		o.Close()
	}
}
