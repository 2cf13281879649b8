package dataset

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// names is testdata/names.json, see make_names.py.
func names(t *testing.T) (n struct {
	Extensions []string
	URLs       map[string]string
}) {
	t.Helper()
	raw, err := os.ReadFile("testdata/names.json")
	if err == nil {
		err = json.Unmarshal(raw, &n)
	}
	if err != nil || len(n.Extensions) < 15 || len(n.URLs) < 5 {
		t.Fatalf("%+v, %v", n, err)
	}
	return n
}

// No file that Pillow would take for a picture is passed over: a folder with it lists it, so that one which cannot be
// read is counted.
func TestNoPictureIsPassedOverForItsExtension(t *testing.T) {
	n := names(t)
	var entries []string
	for i, ext := range n.Extensions {
		for j, ext := range []string{ext, strings.ToUpper(ext)} {
			entries = append(entries, fmt.Sprintf("%d-%d%s", i, j, ext), "X")
		}
	}
	images := memory(RoleImages, "i.zip", zipOf(t, entries...))
	examples, warnings, err := List(t.Context(), Spec{Kind: "folder", Caption: "one for all"}, []File{images}, 0)
	if err != nil || len(warnings) > 0 || len(examples) != 2*len(n.Extensions) {
		t.Errorf("%d examples of %d pictures, %q, %v", len(examples), 2*len(n.Extensions), warnings, err)
	}
	dir := t.TempDir()
	for i := 0; i < len(entries); i += 2 {
		if err := os.WriteFile(filepath.Join(dir, entries[i]), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if found, err := Pictures(dir); err != nil || len(found) != 2*len(n.Extensions) {
		t.Errorf("%d pictures of %d in a folder, %v", len(found), 2*len(n.Extensions), err)
	}
}

func TestAPictureThatWasConvertedIsNotMissed(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"IMG_1.HEIC", "img_1.jpg", "IMG_2.HEIC", "IMG_3.png"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	found, err := Pictures(dir)
	if got := strings.Join(found, " "); err != nil || strings.ReplaceAll(got, dir+"/", "") != "IMG_2.HEIC IMG_3.png img_1.jpg" {
		t.Errorf("%s, %v", got, err)
	}
	images := memory(RoleImages, "i.zip", zipOf(t, "IMG_1.HEIC", "X", "img_1.jpg", "X", "IMG_1.txt", "a boat", "IMG_2.HEIC", "X"))
	examples, _, err := List(t.Context(), Spec{Kind: "folder"}, []File{images}, 0)
	if err != nil || len(examples) != 2 || examples[0].Image.Name != "img_1.jpg" || examples[0].Captions[0] != "a boat" ||
		!strings.Contains(examples[1].Image.Missing, "IMG_2.HEIC: has no caption") {
		t.Errorf("%+v, %v", examples, err)
	}
}

// found answers what each row of a list found: the file's name, or why there is none.
func found(t *testing.T, names []string, files ...string) []string {
	t.Helper()
	rows, entries := "image,caption\n", []string{}
	for _, name := range names {
		rows += name + ",a boat\n"
	}
	for _, file := range files {
		entries = append(entries, file, "X")
	}
	examples, _, err := List(t.Context(), Spec{Kind: "folder"}, []File{
		memory(RoleCaptions, "c.csv", []byte(rows)), memory(RoleImages, "i.zip", zipOf(t, entries...))}, 0)
	if err != nil || len(examples) != len(names) {
		t.Fatalf("%+v, %v", examples, err)
	}
	out := make([]string, len(names))
	for i, e := range examples {
		out[i] = cmp.Or(e.Image.Missing, e.Image.Name)
	}
	return out
}

func TestPicturesAreFoundAsURLsNameThem(t *testing.T) {
	for url, want := range names(t).URLs {
		if got := found(t, []string{"b/other.jpg", url}, "b/other.jpg", want); got[1] != want {
			t.Errorf("%s: %s, not %s", url, got[1], want)
		}
	}
	for _, c := range []struct{ name, want string }{
		{"100%25.jpg", "100%25.jpg"}, // a file of that very name comes first
		{"https://example.org/b/x%20y.jpg?w=1", "b/x y.jpg"},
		{"https://example.org/b/none.jpg?w=1", "picture https:/example.org/b/none.jpg?w=1: not in the image archives"},
		{"x%zz.jpg", "picture x%zz.jpg: not in the image archives"},
	} {
		if got := found(t, []string{"100%.jpg", c.name}, "100%.jpg", "100%25.jpg", "a/x y.jpg", "b/x y.jpg"); got[1] != c.want {
			t.Errorf("%s: %s, not %s", c.name, got[1], c.want)
		}
	}
}

func TestPicturesAreFoundByNumbersWithoutAnExtension(t *testing.T) {
	files := []string{"p/ROCO_00001.jpg", "p/ROCO_00002.PNG", "p/3.jpg", "p/3.png", "p/4.heic", "p/4.jpg", "p/v1.5.jpg", "q/3"}
	for _, c := range []struct{ name, want string }{
		{"ROCO_00001", "p/ROCO_00001.jpg"},
		{"p/ROCO_00002", "p/ROCO_00002.PNG"},
		{"p/3", "picture p/3: may be p/3.jpg or p/3.png in the image archives, 2 in all"},
		{"3", "q/3"}, // a file of that very name comes first
		{"4", "p/4.jpg"},
		{"v1.5", "p/v1.5.jpg"},
		{"5", "picture 5: not in the image archives"},
	} {
		if got := found(t, []string{"p/3.jpg", c.name}, files...); got[1] != c.want {
			t.Errorf("%s: %s, not %s", c.name, got[1], c.want)
		}
	}
}

func TestTextsAreFoundBesidePicturesWhateverTheirCase(t *testing.T) {
	nfc, nfd := "caf\u00e9", "cafe\u0301"
	images := memory(RoleImages, "i.zip", zipOf(t, "Sunset.Jpeg", "X", "Sunset.txt", "one", "b.jpg", "X", "B.TXT", "two",
		nfd+".jpg", "X", nfc+".txt", "three", "d.jpg", "X", "d.jpg.txt", "four", "e.png", "X", "e.jpg", "X", "e.png.txt", "five",
		"F.JPG", "X", "f.Jpg", "X", "f.txt", "six", "g.jpg", "X", "h.txt", "seven"))
	examples, _, err := List(t.Context(), Spec{Kind: "folder"}, []File{images}, 0)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, e := range examples {
		got[e.ID] = strings.Join(e.Captions, " ") + e.Image.Missing
	}
	for id, want := range map[string]string{
		"Sunset.Jpeg": "one", "b.jpg": "two", nfd + ".jpg": "three", "d.jpg": "four", "e.png": "five",
		"e.jpg": "picture e.jpg: has no caption", "f.txt": "f.txt: may be about F.JPG or f.Jpg",
		"h.txt": "h.txt: there is no picture of this name beside it",
	} {
		if got[id] != want {
			t.Errorf("%s: %q, not %q", id, got[id], want)
		}
	}
}

func TestACompressedTarIsNamed(t *testing.T) {
	for magic, want := range map[string]string{
		"\x1f\x8b\x08\x00": "compressed by gzip", "BZh91AY": "compressed by bzip2", "\xfd7zXZ\x00\x00": "compressed by xz",
		"\x28\xb5\x2f\xfd\x04": "compressed by zstd",
	} {
		file := memory(RoleFiles, "s.tar.gz", []byte(magic+strings.Repeat("\x00", 600)))
		if _, _, err := List(t.Context(), Spec{Kind: "webdataset"}, []File{file}, 0); err == nil ||
			!strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "it first") {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestCaptionsByTheNamesOfTheirPictures(t *testing.T) {
	text := "\xef\xbb\xbf\n{\n \"a.jpg\": \"one\", \"b \\\"x\\\".PNG\": [\"two\", \"three\"],\n" +
		" \"c.jpg\": {\"tags\": \"t\", \"caption\": [\"four\"]}, \"d.jpg\": null, \"e.jpg\": 5, \"a.jpg\": \"six\"}"
	images := memory(RoleImages, "i.zip", zipOf(t, "a.jpg", "X", "b \"x\".PNG", "X", "c.jpg", "X", "d.jpg", "X", "e.jpg", "X"))
	for _, kind := range []string{"json", "folder"} {
		examples, _, err := List(t.Context(), Spec{Kind: kind}, []File{memory(RoleCaptions, "c.json", []byte(text)), images}, 0)
		got := ""
		for _, e := range examples {
			got += fmt.Sprintf("%s %q %s\n", e.Image.Name, e.Captions, e.Image.Missing)
		}
		want := `a.jpg ["one" "six"] ` + "\n" + `b "x".PNG ["two" "three"] ` + "\n" + `c.jpg ["four"] ` + "\n" +
			" [] d.jpg: caption is null; must be a text or a list of texts\n" +
			" [] e.jpg: caption is 5; must be a text or a list of texts\n"
		if err != nil || got != want {
			t.Errorf("%s: %s, %v", kind, got, err)
		}
		cut := memory(RoleCaptions, "c.json", []byte(text[:len(text)-9]))
		if _, _, err := List(t.Context(), Spec{Kind: kind}, []File{cut, images}, 0); err == nil ||
			!strings.Contains(err.Error(), "ends too early") {
			t.Errorf("%s, cut: %v", kind, err)
		}
	}
}

// Splits that the rows say are used or spoken of: by hashes their test pictures would be trained on.
func TestSplitsThatAreNotUsedAreSaid(t *testing.T) {
	table := "image,caption,split\na.jpg,x,train\nb.jpg,y,Val\nc.jpg,z,\n"
	lines := `{"image": "a.jpg", "caption": "x", "split": "train"}` + "\n" + `{"image": "b.jpg", "caption": "x", "split": "test"}`
	images := memory(RoleImages, "i.zip", zipOf(t, "a.jpg", "X", "b.jpg", "X", "c.jpg", "X"))
	for _, c := range []struct {
		spec Spec
		file File
		want string
	}{
		{Spec{Kind: "folder"}, memory(RoleCaptions, "c.csv", []byte(table)), "c.csv: 2 rows say whether they are for training, " +
			"validation or test, which is not used; split_column: split takes it"},
		{Spec{Kind: "folder"}, memory(RoleCaptions, "c.jsonl", []byte(lines)), "c.jsonl: 2 rows say"},
		{Spec{Kind: "json"}, memory(RoleCaptions, "c.json", []byte("["+strings.Replace(lines, "\n", ",", 1)+"]")),
			"c.json: 2 rows say whether they are for training, validation or test, which is not used; " +
				"kind: folder and split_column: split takes it"},
		{Spec{Kind: "folder"}, memory(RoleCaptions, "c.csv", []byte(strings.Replace(table, "Val", "train", 1))), ""},
		{Spec{Kind: "folder", Split: Train}, memory(RoleCaptions, "c.csv", []byte(table)), ""},
		{Spec{Kind: "folder", Columns: Columns{Split: "split"}}, memory(RoleCaptions, "c.jsonl", []byte(lines)), ""},
		{Spec{Kind: "parquet"}, memory(RoleFiles, "p", testParquet(t, "hf_list.parquet")), "Parquet files: 11 rows say"},
		{Spec{Kind: "parquet"}, memory(RoleFiles, "p", testParquet(t, "hf_rows.parquet")), "Parquet files: 8 rows say"}, // a ClassLabel
		{Spec{Kind: "parquet", Columns: Columns{Split: "split"}}, memory(RoleFiles, "p", testParquet(t, "hf_list.parquet")), ""},
	} {
		_, warnings, err := List(t.Context(), c.spec, []File{c.file, images}, 0)
		said := strings.Join(warnings, "\n")
		if err != nil || !strings.Contains(said, c.want) || c.want == "" && strings.Contains(said, "is not used") {
			t.Errorf("%+v: %q, %v", c.spec, said, err)
		}
	}
}
