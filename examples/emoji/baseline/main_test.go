package main

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"testing"
)

// writeSplit writes one plain picture for each colour and caption.
func writeSplit(t *testing.T, dir, split, captions string, pictures map[string]color.Color) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, split), 0o777); err != nil {
		t.Fatal(err)
	}
	for name, c := range pictures {
		m := image.NewRGBA(image.Rect(0, 0, 64, 64))
		for i := range 64 * 64 {
			m.Set(i%64, i/64, c)
		}
		var out bytes.Buffer
		if err := png.Encode(&out, m); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, split, name), out.Bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, split+".json"), []byte(captions), 0o666); err != nil {
		t.Fatal(err)
	}
}

func TestNearestPictureGivesTheCaption(t *testing.T) {
	dir := t.TempDir()
	writeSplit(t, dir, "train", `{"images": [{"id": "r", "file_name": "r.png"}, {"id": "b", "file_name": "b.png"}],
		"annotations": [{"image_id": "r", "caption": "red thing"}, {"image_id": "b", "caption": "blue thing"}]}`,
		map[string]color.Color{"r.png": color.RGBA{255, 0, 0, 255}, "b.png": color.RGBA{0, 0, 255, 255}})
	writeSplit(t, dir, "test",
		`{"images": [{"id": "x", "file_name": "x.png", "group": "g"}],
			"annotations": [{"image_id": "x", "caption": "a blue thing"}]}`,
		map[string]color.Color{"x.png": color.RGBA{60, 20, 180, 255}})
	train, err := readSplit(dir, "train")
	if err != nil {
		t.Fatal(err)
	}
	test, err := readSplit(dir, "test")
	if err != nil {
		t.Fatal(err)
	}
	mean := meanOf(train)
	centre(train, &mean)
	centre(test, &mean)
	for _, by := range distances {
		p := predict(train, test, by.distance)
		if len(p) != 1 || p[0].Caption != "blue thing" || p[0].Group != "g" ||
			p[0].References[0] != "a blue thing" {
			t.Errorf("%s: %+v", by.name, p)
		}
	}
	if _, err := readSplit(dir, "validation"); err == nil {
		t.Error("a split that is not there was read")
	}
}
