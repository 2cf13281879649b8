package trainer

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"distilvit/dataset/pixels"
	"distilvit/internal/transformersjs"
	"distilvit/model/onnx"
)

// surePictures are so few since a browser on a processor takes seconds for each.
const surePictures = 4

// surest are the pictures that an export captions with the largest lead, so that the last digits, which differ from
// one ONNX Runtime to another, change nothing.
type surest struct{ pictures []surePicture }

type surePicture struct {
	pixels []uint8
	ids    []int32
	lead   float64
}

func (s *surest) add(e onnx.Example, ids []int32, lead float64) {
	s.pictures = append(s.pictures, surePicture{ids: ids, lead: lead, pixels: slices.Clone(e.Pixels)})
	slices.SortStableFunc(s.pictures, func(a, b surePicture) int { return cmp.Compare(b.lead, a.lead) })
	s.pictures = s.pictures[:min(len(s.pictures), surePictures)]
}

// write writes the pictures to dir; empty: none.
func (s *surest) write(dir, dtype string, p pixels.Processor) ([]transformersjs.Line, error) {
	if dir == "" {
		return nil, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	var lines []transformersjs.Line
	for i, picture := range s.pictures {
		png, err := pixels.EncodePNG(picture.pixels, p.Width, p.Height)
		if err != nil {
			return nil, err
		}
		path := filepath.Join(dir, fmt.Sprintf("%s-%d.png", dtype, i))
		if err := os.WriteFile(path, png, 0o644); err != nil {
			return nil, err
		}
		lines = append(lines, transformersjs.Line{Dtype: dtype, Image: path, TokenIDs: picture.ids})
	}
	return lines, nil
}
