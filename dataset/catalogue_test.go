package dataset

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func TestCOCOCaptionsMayComeBeforeTheirPictures(t *testing.T) {
	captions := memory(RoleCaptions, "c.json", []byte(`{
		"annotations": [{"image_id": 2, "caption": "two"}, {"image_id": 1, "caption": "one"},
			{"image_id": 2, "caption": "more"}],
		"images": [{"id": 1, "file_name": "a.jpg"}, {"id": 3, "file_name": "c.jpg"},
			{"id": 2, "file_name": "b.jpg"}]}`))
	images := memory(RoleImages, "i.zip", zipOf(t, "a.jpg", "", "b.jpg", "", "c.jpg", ""))
	examples, _, err := List(context.Background(), Spec{Kind: "coco"}, []File{captions, images}, 0)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range examples {
		got = append(got, e.ID+": "+strings.Join(e.Captions, ", "))
	}
	if want := []string{"1: one", "3: ", "2: two, more"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// heap is what is in use, garbage not counted.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestCatalogueKeepsNeitherCaptionsNorNamesInMemory(t *testing.T) {
	const pictures = 4000
	var json bytes.Buffer
	var entries []string
	json.WriteString(`{"images": [`)
	for i := range pictures {
		fmt.Fprintf(&json, `%s{"id": %d, "file_name": "%d.jpg"}`, comma(i), i, i)
		entries = append(entries, fmt.Sprintf("folder/%d.jpg", i), "")
	}
	json.WriteString(`], "annotations": [`)
	for i := range 5 * pictures {
		fmt.Fprintf(&json, `%s{"image_id": %d, "caption": "%d %s"}`, comma(i), i%pictures, i,
			strings.Repeat("word ", 60))
	}
	json.WriteString(`]}`)
	files := []File{
		memory(RoleCaptions, "c.json", json.Bytes()), memory(RoleImages, "i.zip", zipOf(t, entries...)),
	}
	before := heap()
	c, err := Catalog(
		context.Background(), t.TempDir(), []Source{{Spec{Kind: "coco", Split: Train}, files}}, 0,
	)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if kept := int64(heap()) - int64(before); kept > 30*pictures+200<<10 {
		t.Errorf("%d bytes a picture", kept/pictures)
	}
	e, err := c.Example(pictures - 1)
	if err != nil || c.Len() != pictures || len(e.Captions) != 5 ||
		!strings.HasPrefix(e.Captions[4], fmt.Sprint(5*pictures-1, " word")) {
		t.Errorf("%d examples, the last is %.200v, %v", c.Len(), e, err)
	}
	runtime.KeepAlive(files)
}

func comma(i int) string {
	if i == 0 {
		return ""
	}
	return ", "
}
