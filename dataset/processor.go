package dataset

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Processor makes a picture into the model's pixels as Hugging Face's
// ViTImageProcessor does after convert("RGB"), up to uint8; rescaling and
// normalising are the model's.
type Processor struct {
	Width, Height   int        // of the result, pixels
	Resample        int        // Pillow's number of the filter, usually Bilinear
	Mean, Std       [3]float32 // of normalising, after rescaling
	RescaleFactor   float64    // usually 1/255
	ExifOrientation bool       // turn pictures as their EXIF tag says; Hugging Face does not. Not in the file
	JPEG            string     // decoder of JPEG files; empty: JPEGDecoder(). Not in the file
}

// Pillow's numbers of the filters known here.
const (
	Nearest  = 0
	Lanczos  = 1
	Bilinear = 2
	Bicubic  = 3
	Box      = 4
	Hamming  = 5
)

// ProcessorFile is the processor's file in a model directory.
const ProcessorFile = "preprocessor_config.json"

// NewProcessor is ViT's usual processor for square pictures of that side.
func NewProcessor(side int) Processor {
	half := [3]float32{0.5, 0.5, 0.5}
	return Processor{Width: side, Height: side, Resample: Bilinear, Mean: half, Std: half, RescaleFactor: 1.0 / 255}
}

// processorJSON is the file's form. Pointers tell an absent key from zero.
type processorJSON struct {
	DoNormalize          *bool           `json:"do_normalize"`
	DoRescale            *bool           `json:"do_rescale"`
	DoResize             *bool           `json:"do_resize"`
	DoCenterCrop         *bool           `json:"do_center_crop,omitempty"`
	FeatureExtractorType string          `json:"feature_extractor_type"`
	ImageMean            []float32       `json:"image_mean"`
	ImageProcessorType   string          `json:"image_processor_type"`
	ImageStd             []float32       `json:"image_std"`
	Resample             *int            `json:"resample"`
	RescaleFactor        *float64        `json:"rescale_factor"`
	Size                 json.RawMessage `json:"size"`
}

// ReadProcessor reads preprocessor_config.json of a model directory.
func ReadProcessor(dir string) (Processor, error) {
	path := filepath.Join(dir, ProcessorFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Processor{}, fmt.Errorf("%s: does not exist; a model directory needs its image processor", path)
	}
	if err != nil {
		return Processor{}, fmt.Errorf("read image processor: %w", err)
	}
	p, err := ParseProcessor(b)
	if err != nil {
		return Processor{}, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

// ParseProcessor reads the contents of a preprocessor_config.json.
func ParseProcessor(b []byte) (Processor, error) {
	var j processorJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return Processor{}, fmt.Errorf("broken JSON: %w", err)
	}
	p := NewProcessor(224)
	if j.Size != nil {
		var err error
		if p.Width, p.Height, err = parseSize(j.Size); err != nil {
			return Processor{}, err
		}
	}
	for _, v := range []struct {
		from []float32
		to   *[3]float32
		name string
	}{{j.ImageMean, &p.Mean, "image_mean"}, {j.ImageStd, &p.Std, "image_std"}} {
		if v.from == nil {
			continue
		}
		if len(v.from) != 3 {
			return Processor{}, fmt.Errorf("%s has %d values; must be 3", v.name, len(v.from))
		}
		copy(v.to[:], v.from)
	}
	if j.Resample != nil {
		p.Resample = *j.Resample
	}
	if j.RescaleFactor != nil {
		p.RescaleFactor = *j.RescaleFactor
	}
	off := func(b *bool) bool { return b != nil && !*b }
	if off(j.DoRescale) {
		p.RescaleFactor = 1
	}
	if off(j.DoNormalize) {
		p.Mean, p.Std = [3]float32{}, [3]float32{1, 1, 1}
	}
	if off(j.DoResize) {
		return Processor{}, errors.New("do_resize is false; only processors that resize are supported")
	}
	if j.DoCenterCrop != nil && *j.DoCenterCrop {
		return Processor{}, errors.New("do_center_crop is true; only processors that resize to a fixed size are supported")
	}
	return p, p.Validate()
}

// parseSize reads {"height","width"} or, as older files have it, one number.
func parseSize(raw json.RawMessage) (width, height int, err error) {
	var side int
	if json.Unmarshal(raw, &side) == nil {
		return side, side, nil
	}
	var size struct{ Height, Width int }
	if err := json.Unmarshal(raw, &size); err != nil || size.Height == 0 || size.Width == 0 {
		return 0, 0, fmt.Errorf("size is %s; must have height and width", raw)
	}
	return size.Width, size.Height, nil
}

// Validate answers what is wrong with the processor, by the file's keys.
func (p Processor) Validate() error {
	const most = 4096
	if p.Width < 1 || p.Height < 1 || p.Width > most || p.Height > most {
		return fmt.Errorf("size is %dx%d; must be 1 to %d pixels a side", p.Width, p.Height, most)
	}
	if p.Resample < Nearest || p.Resample > Hamming {
		return fmt.Errorf("resample is %d; must be from 0 to 5, as Pillow numbers its filters", p.Resample)
	}
	for _, s := range p.Std {
		if !(s > 0) {
			return fmt.Errorf("image_std is %v; must be above 0", p.Std)
		}
	}
	if !(p.RescaleFactor > 0) {
		return fmt.Errorf("rescale_factor is %v; must be above 0", p.RescaleFactor)
	}
	return nil
}

// MarshalJSON writes Hugging Face's form. Both type names are there because
// Transformers.js 2 reads the second.
func (p Processor) MarshalJSON() ([]byte, error) {
	yes := true
	size, err := json.Marshal(map[string]int{"height": p.Height, "width": p.Width})
	if err != nil {
		return nil, err
	}
	return json.Marshal(processorJSON{
		DoNormalize: &yes, DoRescale: &yes, DoResize: &yes,
		FeatureExtractorType: "ViTFeatureExtractor", ImageProcessorType: "ViTImageProcessor",
		ImageMean: p.Mean[:], ImageStd: p.Std[:],
		Resample: &p.Resample, RescaleFactor: &p.RescaleFactor, Size: size,
	})
}

// WriteFile writes preprocessor_config.json into dir.
func (p Processor) WriteFile(dir string) error {
	if err := p.Validate(); err != nil {
		return fmt.Errorf("write image processor: %w", err)
	}
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return fmt.Errorf("write image processor: %w", err)
	}
	return os.WriteFile(filepath.Join(dir, ProcessorFile), append(b, '\n'), 0o644)
}

// Pixels decodes a picture file and resizes it to Height*Width*3 RGB values. turned
// says that the picture carries an EXIF orientation other than upright, applied or
// not. Whatever the bytes are, the answer is pixels or an error.
func (p Processor) Pixels(raw []byte) (rgb []uint8, turned bool, err error) {
	defer func() {
		if r := recover(); r != nil {
			rgb, turned = nil, false
			err = fmt.Errorf("picture: the decoder gave up: %v", r)
		}
	}()
	if err := p.Validate(); err != nil {
		return nil, false, fmt.Errorf("image processor: %w", err)
	}
	decoder := p.JPEG
	if decoder == "" {
		decoder = JPEGDecoder()
	}
	if err := CheckJPEGDecoder(decoder); err != nil {
		return nil, false, fmt.Errorf("image processor: %w", err)
	}
	im, turned, err := decode(raw, p.ExifOrientation, decoder == JPEGTurbo)
	if err != nil {
		return nil, false, err
	}
	out := im.resize(p.Width, p.Height, p.Resample)
	if out != im {
		im.giveBack()
	}
	return out.pix, turned, nil
}
