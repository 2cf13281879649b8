// Command prepare turns the packages emoji-datasource-twitter, -google and
// -facebook into a dataset in COCO's caption form: 64-pixel pictures on white
// and captions made of the emoji's names.
//
//	train        twitter and google
//	validation   twitter and google, emoji that are nowhere else
//	test         facebook, emoji of train            group "seen emoji, new drawing"
//	             facebook, emoji that are nowhere else     "new emoji, new drawing"
//	             twitter and google, the same emoji        "new emoji, known style"
//
// An emoji's split is a hash of its name without skin tones, so all vendors'
// drawings and all skin tones of an emoji are on one side.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"strings"
)

const (
	seenNewDrawing = "seen emoji, new drawing"
	newNewDrawing  = "new emoji, new drawing"
	newKnownStyle  = "new emoji, known style"
)

func main() {
	packages := flag.String("packages", "node_modules", "folder with the emoji-datasource packages")
	out := flag.String("out", "data", "folder to write; what is there of an earlier time is replaced")
	flag.Parse()
	if err := run(*packages, *out); err != nil {
		fmt.Fprintln(os.Stderr, "prepare:", err)
		os.Exit(1)
	}
}

func run(packages, out string) error {
	splits := map[string]*captionFile{"train": {}, "validation": {}, "test": {}}
	for name := range splits {
		if err := os.RemoveAll(filepath.Join(out, name)); err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Join(out, name), 0o777); err != nil {
			return err
		}
	}
	for _, vendor := range []string{"twitter", "google", "facebook"} {
		all, err := readEmoji(filepath.Join(packages, "emoji-datasource-"+vendor, "emoji.json"))
		if err != nil {
			return err
		}
		for _, e := range all {
			split, group := place(vendor, e.Base)
			if split == "" {
				continue
			}
			picture, err := onWhite(
				filepath.Join(packages, "emoji-datasource-"+vendor, "img", vendor, "64", e.Image),
			)
			if os.IsNotExist(err) { // not every vendor draws every emoji
				continue
			}
			if err != nil {
				return err
			}
			id := vendor + "-" + strings.TrimSuffix(e.Image, ".png")
			if err := os.WriteFile(filepath.Join(out, split, id+".png"), picture, 0o666); err != nil {
				return err
			}
			splits[split].add(id, group, e.Caption)
		}
	}
	for name, file := range splits {
		data, err := json.MarshalIndent(file, "", " ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(out, name+".json"), append(data, '\n'), 0o666); err != nil {
			return err
		}
		fmt.Printf("%s: %d pictures%s\n", name, len(file.Images), file.groups())
	}
	return nil
}

// place gives the split and group of a vendor's drawing of an emoji; no split
// where it is not used.
func place(vendor, base string) (split, group string) {
	split = splitOf(base)
	switch {
	case vendor != "facebook" && split == "test":
		return split, newKnownStyle
	case vendor != "facebook":
		return split, ""
	case split == "train":
		return "test", seenNewDrawing
	case split == "test":
		return "test", newNewDrawing
	}
	return "", ""
}

// captionFile is COCO's caption form, with a group beside it.
type captionFile struct {
	Images      []imageEntry      `json:"images"`
	Annotations []annotationEntry `json:"annotations"`
}

type imageEntry struct {
	ID       string `json:"id"`
	FileName string `json:"file_name"`
	Group    string `json:"group,omitempty"`
}

type annotationEntry struct {
	ID      int    `json:"id"`
	ImageID string `json:"image_id"`
	Caption string `json:"caption"`
}

func (f *captionFile) add(id, group, caption string) {
	f.Images = append(f.Images, imageEntry{ID: id, FileName: id + ".png", Group: group})
	f.Annotations = append(
		f.Annotations, annotationEntry{ID: len(f.Annotations) + 1, ImageID: id, Caption: caption},
	)
}

func (f *captionFile) groups() string {
	var out strings.Builder
	for _, group := range []string{seenNewDrawing, newNewDrawing, newKnownStyle} {
		n := 0
		for _, im := range f.Images {
			if im.Group == group {
				n++
			}
		}
		if n > 0 {
			fmt.Fprintf(&out, "; %d %s", n, group)
		}
	}
	return out.String()
}

// onWhite reads a PNG and gives it back without transparency.
func onWhite(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	from, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("decode %s: %w", path, err)
	}
	b := from.Bounds()
	to := image.NewNRGBA(image.Rect(0, 0, b.Dx(), b.Dy()))
	for y := range b.Dy() {
		for x := range b.Dx() {
			c := color.NRGBAModel.Convert(from.At(b.Min.X+x, b.Min.Y+y)).(color.NRGBA)
			over := func(v uint8) uint8 { return uint8((int(v)*int(c.A) + 255*(255-int(c.A)) + 127) / 255) }
			to.SetNRGBA(x, y, color.NRGBA{over(c.R), over(c.G), over(c.B), 255})
		}
	}
	var out bytes.Buffer
	if err := png.Encode(&out, to); err != nil {
		return nil, fmt.Errorf("encode %s: %w", path, err)
	}
	return out.Bytes(), nil
}
