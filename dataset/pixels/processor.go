package pixels

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Processor makes a picture into the model's pixels as Hugging Face's image processors of ViT, DeiT, SigLIP,
// CLIP and DINOv2 do after convert("RGB"), up to uint8; rescaling and normalising are the model's.
type Processor struct {
	Width, Height   int        // of the result, pixels
	Resized         Resized    // the size before the result is cut out of the middle; none: that of the result
	Resample        int        // Pillow's number of the filter, usually Bilinear
	Mean, Std       [3]float32 // of normalising, after rescaling
	RescaleFactor   float64    // usually 1/255
	ExifOrientation bool       // turn pictures as their EXIF tag says; Hugging Face does not. Not in the file
	MaxPixels       int        // a picture of more is refused; 0: DefaultMaxPixels. Not in the file
	// JPEG is the decoder of JPEG files; empty means JPEGStandard, as it does in stored
	// datasets. Not in the file.
	JPEG string
}

// Filters of Processor.Resample, by Pillow's names and numbers (PIL.Image.Resampling).
const (
	Nearest  = 0 // the nearest pixel, of no others
	Lanczos  = 1 // sinc windowed by sinc, over 3 pixels on each side
	Bilinear = 2 // a triangle over 1 pixel on each side; ViT's
	Bicubic  = 3 // Keys' cubic with a = -0.5, over 2 pixels on each side
	Box      = 4 // the mean of the pixels that are covered
	Hamming  = 5 // sinc windowed by Hamming's window, over 1 pixel on each side
)

// ProcessorFile is the processor's file in a model directory.
const ProcessorFile = "preprocessor_config.json"

// NewProcessor is ViT's usual processor for square pictures of that side, in pixels,
// with the better JPEG decoder of this process.
func NewProcessor(side int) Processor {
	return Processor{
		Width: side, Height: side, Resample: Bilinear, Mean: half, Std: half, RescaleFactor: 1.0 / 255,
		JPEG: JPEGDecoder(),
	}
}

// processorJSON is the file's form. Pointers tell an absent key from zero.
type processorJSON struct {
	DoNormalize          *bool           `json:"do_normalize"`
	DoRescale            *bool           `json:"do_rescale"`
	DoResize             *bool           `json:"do_resize"`
	DoCenterCrop         *bool           `json:"do_center_crop,omitempty"`
	CropSize             json.RawMessage `json:"crop_size,omitempty"`
	FeatureExtractorType string          `json:"feature_extractor_type"`
	ImageMean            []float32       `json:"image_mean"`
	ImageProcessorType   string          `json:"image_processor_type"`
	ImageStd             []float32       `json:"image_std"`
	Resample             *int            `json:"resample"`
	RescaleFactor        *float64        `json:"rescale_factor"`
	Size                 json.RawMessage `json:"size"`
}

// ReadProcessor reads preprocessor_config.json of a model directory, as ParseProcessor.
func ReadProcessor(dir string) (Processor, error) {
	path := filepath.Join(dir, ProcessorFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Processor{}, fmt.Errorf(
			"%s: does not exist; a model directory needs its image processor", path,
		)
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

// ParseProcessor reads the contents of a preprocessor_config.json. What it lacks is as transformers has it
// for its type, or for ViT's. It is an error if it asks for more than resizing and cutting out the middle.
func ParseProcessor(b []byte) (Processor, error) {
	var j processorJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return Processor{}, fmt.Errorf("broken JSON: %w", err)
	}
	p := NewProcessor(224)
	byShortestEdge, err := j.withDefaults()
	if err != nil {
		return Processor{}, err
	}
	if err := p.parseSizes(&j, byShortestEdge); err != nil {
		return Processor{}, err
	}
	for _, v := range []struct {
		from []float32
		to   *[3]float32
		name string
	}{{j.ImageMean, &p.Mean, "image_mean"}, {j.ImageStd, &p.Std, "image_std"}} {
		if len(v.from) != 3 {
			return Processor{}, fmt.Errorf("%s has %d values; must be 3", v.name, len(v.from))
		}
		copy(v.to[:], v.from)
	}
	p.Resample = *j.Resample
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
	return p, p.Validate()
}

// onLine is JSON of a file without its line ends, for messages.
func onLine(raw json.RawMessage) string { return strings.Join(strings.Fields(string(raw)), " ") }

// parseSize reads {"height","width"} or, as older files have it, one number.
func parseSize(key string, raw json.RawMessage) (width, height int, err error) {
	var side int
	if json.Unmarshal(raw, &side) == nil {
		return side, side, nil
	}
	var size struct{ Height, Width int }
	if err := json.Unmarshal(raw, &size); err != nil || size.Height == 0 || size.Width == 0 {
		return 0, 0, fmt.Errorf("%s is %s; must have height and width", key, onLine(raw))
	}
	return size.Width, size.Height, nil
}

// most bounds a side, pixels.
const most = 4096

// Validate answers what is wrong with the processor, by the file's keys.
func (p Processor) Validate() error {
	if p.Width < 1 || p.Height < 1 || p.Width > most || p.Height > most {
		return fmt.Errorf("size is %dx%d; must be 1 to %d pixels a side", p.Width, p.Height, most)
	}
	if err := p.Resized.validate(p.Width, p.Height); err != nil {
		return err
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

// MarshalJSON writes Hugging Face's form: a ViTImageProcessor, or a CLIPImageProcessor if the middle is cut
// out. Both type names are there because Transformers.js 2 reads the second.
func (p Processor) MarshalJSON() ([]byte, error) {
	yes := true
	size, err := Resized{Width: p.Width, Height: p.Height}.json()
	if err != nil {
		return nil, err
	}
	j := processorJSON{
		DoNormalize: &yes, DoRescale: &yes, DoResize: &yes,
		FeatureExtractorType: "ViTFeatureExtractor", ImageProcessorType: "ViTImageProcessor",
		ImageMean: p.Mean[:], ImageStd: p.Std[:],
		Resample: &p.Resample, RescaleFactor: &p.RescaleFactor, Size: size,
	}
	if !p.Resized.none() {
		j.FeatureExtractorType, j.ImageProcessorType = "CLIPFeatureExtractor", "CLIPImageProcessor"
		j.DoCenterCrop, j.CropSize = &yes, size
		if j.Size, err = p.Resized.json(); err != nil {
			return nil, err
		}
	}
	return json.Marshal(j)
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
// not. Whatever the bytes are, the answer is pixels or an error, which may be ErrFormat or ErrTooLarge.
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
	if err := CheckJPEGDecoder(p.JPEG); err != nil {
		return nil, false, fmt.Errorf("image processor: %w", err)
	}
	o, err := p.open(raw)
	if err != nil {
		return nil, false, err
	}
	defer reserve(o.bytes)()
	out, err := p.resized(o)
	if err != nil {
		return nil, false, err
	}
	return out.pix, o.orientation != 1, nil
}

// resized decodes a picture and resizes it.
func (p Processor) resized(o opened) (*rgbImage, error) {
	if p.streams(o) {
		return p.resizedRows(o)
	}
	im, err := o.pixels()
	if err != nil {
		return nil, err
	}
	return p.resize(im), nil
}

// resize gives the model's size to a picture, whose memory may be used again.
func (p Processor) resize(im *rgbImage) *rgbImage {
	w, h := p.Width, p.Height
	if !p.Resized.none() {
		w, h = p.Resized.of(im.w, im.h)
	}
	out := im.resizeMiddle(w, h, p.Width, p.Height, p.Resample)
	if out != im {
		im.giveBack()
	}
	return out
}
