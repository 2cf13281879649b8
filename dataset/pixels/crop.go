package pixels

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
)

// Resized is the size that a picture has before its middle is cut out. One of both is set, or none, where
// nothing is cut.
type Resized struct {
	ShortestEdge  int // pixels; the other side keeps the picture's form
	Width, Height int // pixels
}

// none says that nothing is cut.
func (r Resized) none() bool { return r == Resized{} }

// of is the size that a picture of w × h pixels gets, as get_resize_output_image_size of transformers.
func (r Resized) of(w, h int) (width, height int) {
	if r.ShortestEdge == 0 {
		return r.Width, r.Height
	}
	longest := int(float64(r.ShortestEdge*max(w, h)) / float64(min(w, h)))
	if w <= h {
		return r.ShortestEdge, longest
	}
	return longest, r.ShortestEdge
}

// smallest are the least sides that any picture gets.
func (r Resized) smallest() (width, height int) { return r.of(1, 1) }

// processorDefaults are what absent keys mean, by the beginning of the processor's type.
var processorDefaults = []struct {
	class           string
	size            string // JSON
	byShortestEdge  bool   // what a number as size means
	crop            int    // pixels, 0 if nothing is cut
	resample        int
	mean, deviation [3]float32
}{
	{"CLIP", `{"shortest_edge": 224}`, true, 224, Bicubic, clipMean, clipStd},
	{"Bit", `{"shortest_edge": 224}`, true, 224, Bicubic, clipMean, clipStd},
	{"DeiT", `{"height": 256, "width": 256}`, false, 224, Bicubic, half, half},
	{"Siglip", `{"height": 224, "width": 224}`, false, 0, Bicubic, half, half},
	{"", `{"height": 224, "width": 224}`, false, 0, Bilinear, half, half}, // ViT's
}

var (
	half     = [3]float32{0.5, 0.5, 0.5}
	clipMean = [3]float32{0.48145466, 0.4578275, 0.40821073}
	clipStd  = [3]float32{0.26862954, 0.26130258, 0.27577711}
)

// withDefaults fills in what is absent. Cutting is known of some types only.
func (j *processorJSON) withDefaults() (byShortestEdge bool, err error) {
	class := cmp.Or(j.ImageProcessorType, j.FeatureExtractorType)
	for _, d := range processorDefaults {
		if !strings.HasPrefix(class, d.class) {
			continue
		}
		crop := d.crop > 0
		if j.DoCenterCrop == nil {
			j.DoCenterCrop = &crop
		}
		if *j.DoCenterCrop && !crop {
			return false, fmt.Errorf("do_center_crop is true and the type %q; only image processors of CLIP, "+
				"DINOv2 (Bit) and DeiT may cut", class)
		}
		if j.CropSize == nil {
			j.CropSize = fmt.Append(nil, d.crop)
		}
		if j.Size == nil {
			j.Size = json.RawMessage(d.size)
		}
		if j.Resample == nil {
			j.Resample = &d.resample
		}
		if j.ImageMean == nil {
			j.ImageMean = d.mean[:]
		}
		if j.ImageStd == nil {
			j.ImageStd = d.deviation[:]
		}
		return d.byShortestEdge, nil
	}
	return false, nil
}

// parseSizes reads how a picture is resized and what of it is cut out.
func (p *Processor) parseSizes(j *processorJSON, byShortestEdge bool) error {
	resized, err := parseResized(j.Size, byShortestEdge)
	if err != nil {
		return err
	}
	if !*j.DoCenterCrop {
		if resized.ShortestEdge != 0 {
			return fmt.Errorf("size is %s and do_center_crop is false; must have height and width", onLine(j.Size))
		}
		p.Width, p.Height = resized.Width, resized.Height
		return nil
	}
	if p.Width, p.Height, err = parseSize("crop_size", j.CropSize); err != nil {
		return err
	}
	if resized != (Resized{Width: p.Width, Height: p.Height}) {
		p.Resized = resized
	}
	return nil
}

// parseResized reads a size that may be that of the shortest edge; a number is, where it is said so.
func parseResized(raw json.RawMessage, byShortestEdge bool) (r Resized, err error) {
	var keys struct {
		ShortestEdge int `json:"shortest_edge"`
		LongestEdge  int `json:"longest_edge"`
	}
	if byShortestEdge && json.Unmarshal(raw, &r.ShortestEdge) == nil {
		return r, nil
	}
	r = Resized{}
	if json.Unmarshal(raw, &keys) == nil && keys.ShortestEdge != 0 && keys.LongestEdge == 0 {
		return Resized{ShortestEdge: keys.ShortestEdge}, nil
	}
	r.Width, r.Height, err = parseSize("size", raw)
	return r, err
}

// validate answers what is wrong with a size of which width × height are cut out.
func (r Resized) validate(width, height int) error {
	if r.none() {
		return nil
	}
	sides := []int{r.Width, r.Height}
	if r.ShortestEdge != 0 {
		sides = []int{r.ShortestEdge}
	}
	for _, side := range sides {
		if side < 1 || side > most {
			return fmt.Errorf("size is %d; must be 1 to %d pixels a side", side, most)
		}
	}
	if w, h := r.smallest(); width > w || height > h {
		return fmt.Errorf("crop_size is %dx%d; must not be larger than the %dx%d that pictures are resized to",
			width, height, w, h)
	}
	return nil
}

// json is the size in the file's form.
func (r Resized) json() ([]byte, error) {
	if r.ShortestEdge != 0 {
		return json.Marshal(map[string]int{"shortest_edge": r.ShortestEdge})
	}
	return json.Marshal(map[string]int{"height": r.Height, "width": r.Width})
}
