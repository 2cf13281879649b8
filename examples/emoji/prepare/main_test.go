package main

import (
	"encoding/json"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestNamesBecomePlainWords(t *testing.T) {
	for name, want := range map[string]string{
		"WAVING HAND SIGN":           "waving hand sign",
		"HEAR-NO-EVIL MONKEY":        "hear no evil monkey",
		"Côte d’Ivoire Flag":         "cote d ivoire flag",
		"U.S. Virgin Islands Flag":   "us virgin islands flag",
		"Trinidad & Tobago Flag":     "trinidad and tobago flag",
		"FAMILY: MAN, GIRL, BOY":     "family man girl boy",
		"KEYCAP: *":                  "keycap asterisk",
		"KEYCAP 7":                   "keycap 7",
		"  Åland\u00a0Islands  Flag": "aland islands flag",
	} {
		if got := plainWords(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

func TestSkinTonesAreNamed(t *testing.T) {
	for key, want := range map[string]string{
		"1F3FC": "medium light skin tone", "1F3FF-1F3FB": "dark skin tone and light skin tone",
	} {
		if got, err := skinTone(key); err != nil || got != want {
			t.Errorf("%s: %q, %v", key, got, err)
		}
	}
	if _, err := skinTone("1F3FA"); err == nil {
		t.Error("unknown tone accepted")
	}
}

// packages writes the three vendors' packages with a few emoji; facebook draws
// all but the first.
func packages(t *testing.T, names []string) string {
	t.Helper()
	dir := t.TempDir()
	for _, vendor := range []string{"twitter", "google", "facebook"} {
		pictures := filepath.Join(dir, "emoji-datasource-"+vendor, "img", vendor, "64")
		if err := os.MkdirAll(pictures, 0o777); err != nil {
			t.Fatal(err)
		}
		var list []map[string]any
		for i, name := range names {
			file := strings.ReplaceAll(name, " ", "-") + ".png"
			entry := map[string]any{"name": name, "image": file}
			files := []string{file}
			if i%2 == 0 {
				entry["skin_variations"] = map[string]any{"1F3FB": map[string]any{"image": "light-" + file}}
				files = append(files, "light-"+file)
			}
			list = append(list, entry)
			if vendor == "facebook" && i == 0 {
				continue
			}
			for _, f := range files {
				m := image.NewNRGBA(image.Rect(0, 0, 2, 2))
				m.Set(0, 0, color.NRGBA{200, 0, 100, 255})
				m.Set(1, 0, color.NRGBA{200, 0, 100, 128})
				out, err := os.Create(filepath.Join(pictures, f))
				if err != nil {
					t.Fatal(err)
				}
				if err := png.Encode(out, m); err != nil {
					t.Fatal(err)
				}
				if err := out.Close(); err != nil {
					t.Fatal(err)
				}
			}
		}
		data, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "emoji-datasource-"+vendor, "emoji.json"), data,
			0o666); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestEveryEmojiIsOnOneSide(t *testing.T) {
	var names []string
	for c := 'A'; c <= 'Z'; c++ {
		names = append(names, "SIGN "+strings.Repeat(string(c), 2))
	}
	out := t.TempDir()
	if err := run(packages(t, names), out); err != nil {
		t.Fatal(err)
	}
	bases := map[string]map[string]bool{}
	groups := map[string]int{}
	for _, split := range []string{"train", "validation", "test"} {
		data, err := os.ReadFile(filepath.Join(out, split+".json"))
		if err != nil {
			t.Fatal(err)
		}
		var file captionFile
		if err := json.Unmarshal(data, &file); err != nil {
			t.Fatal(err)
		}
		bases[split] = map[string]bool{}
		for i, im := range file.Images {
			caption, _, _ := strings.Cut(file.Annotations[i].Caption, " light")
			groups[im.Group]++
			if im.Group != seenNewDrawing {
				bases[split][caption] = true
			} else if !bases["train"][caption] {
				t.Errorf("%s: %q is not in train", im.ID, caption)
			}
			if strings.HasPrefix(im.ID, "facebook") != (im.Group == seenNewDrawing ||
				im.Group == newNewDrawing) {
				t.Errorf("%s: %s, group %q", split, im.ID, im.Group)
			}
			if _, err := os.Stat(filepath.Join(out, split, im.FileName)); err != nil {
				t.Error(err)
			}
		}
	}
	for a, other := range map[string]string{"train": "validation", "validation": "test", "test": "train"} {
		for base := range bases[a] {
			if bases[other][base] {
				t.Errorf("%q is in %s and %s", base, a, other)
			}
		}
	}
	if groups[seenNewDrawing] == 0 || groups[""] == 0 {
		t.Errorf("groups %v", groups)
	}
}

func TestPicturesStandOnWhite(t *testing.T) {
	dir := packages(t, []string{"A SIGN"})
	data, err := onWhite(filepath.Join(dir, "emoji-datasource-google", "img", "google", "64", "A-SIGN.png"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := png.Decode(strings.NewReader(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []color.RGBA{
		{200, 0, 100, 255}, {227, 127, 177, 255}, {255, 255, 255, 255}, {255, 255, 255, 255},
	} {
		if got := color.RGBAModel.Convert(m.At(i%2, i/2)).(color.RGBA); got != want {
			t.Errorf("pixel %d is %v, want %v", i, got, want)
		}
	}
}
