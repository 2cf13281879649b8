package train

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/gomlx/compute/dtypes/bfloat16"

	"distilvit/dataset"
	"distilvit/internal/device"
	"distilvit/model"
)

// CheckFeatures makes sure that c does not train the encoder, so that its vectors of a picture stay what they are.
func CheckFeatures(mc *model.Config, c Config) error {
	p, err := c.plan(mc)
	if err != nil {
		return err
	}
	encoder := mc.EncoderShapes()
	for _, name := range p.names {
		if encoder[name] != nil {
			return fmt.Errorf("%s is trained: features are a frozen encoder's; add train.freeze: [encoder]", name)
		}
	}
	for _, module := range p.modules {
		if encoder[module+".weight"] != nil {
			return fmt.Errorf("%s has an adapter: features are a frozen encoder's; name the decoder's layers alone in "+
				"train.lora.target_modules", module)
		}
	}
	return nil
}

// EncoderDigest is the digest of the weights of the encoder in a model directory, interpolated for pictures of c.
func EncoderDigest(dir string, c *model.Config, side int) (string, error) {
	w, err := model.ReadEncoder(dir, c)
	if err != nil {
		return "", err
	}
	fitted := *c
	if err := fitted.FitPictures(w, side); err != nil {
		return "", err
	}
	return Digest(slices.Sorted(maps.Keys(w)), w), nil
}

// FeaturesFormat is how a network's features are stored.
func FeaturesFormat(c *model.Config, dtype string, views int) dataset.FeaturesFormat {
	return dataset.FeaturesFormat{
		DType: dtype, Views: max(1, views), Tokens: c.Encoder.Tokens(), Width: c.Encoder.HiddenSize,
	}
}

// Encode makes the encoder's vectors of n pictures [n, H, W, 3]: [n, S, hidden], in float32 whatever
// Config.Precision is.
func (t *Trainer) Encode(pixels []uint8, n int) ([]float32, error) {
	side := t.model.Encoder.ImageSize
	if len(pixels) != n*t.pictureBytes() {
		return nil, fmt.Errorf("encode: %d bytes of pixels are not %d pictures of %d×%d", len(pixels), n, side, side)
	}
	in, err := device.UploadSplit(t.first, pixels, n, side, side, t.model.Encoder.NumChannels)
	if err != nil {
		return nil, err
	}
	defer in.Free()
	out, err := t.encode.Run(t.weights, t.frozen, in)
	if err != nil {
		return nil, err
	}
	defer out.Free()
	return device.Download[float32](out.First()[0])
}

// pictures is the number of a batch's.
func (t *Trainer) pictures(b *dataset.Batch) int {
	if b.Features != nil {
		return len(b.Rows)
	}
	return len(b.Pixels) / t.pictureBytes()
}

// checkFeatures compares a batch of features with the model, as check does with pixels.
func (t *Trainer) checkFeatures(b *dataset.Batch) error {
	c, f := &t.model.Encoder, b.Format
	encoder := t.model.EncoderShapes()
	trained := func(name string) bool {
		name = strings.TrimSuffix(strings.TrimSuffix(name, ".lora_A.weight"), ".lora_B.weight")
		return encoder[name] != nil || encoder[name+".weight"] != nil
	}
	switch {
	case slices.ContainsFunc(t.names, trained):
		return errors.New("batch: features instead of pixels, but the encoder is trained")
	case f.Tokens != c.Tokens() || f.Width != c.HiddenSize:
		return fmt.Errorf("batch: features of %d vectors of %d numbers; the encoder makes %d of %d", f.Tokens, f.Width,
			c.Tokens(), c.HiddenSize)
	case f.ViewBytes() == 0 || len(b.Features) != len(b.Rows)*f.ViewBytes():
		return fmt.Errorf("batch: %d bytes of features for %d pictures of %d", len(b.Features), len(b.Rows), f.ViewBytes())
	}
	return nil
}

// uploadFeatures gives each device its part of count pictures from first.
func uploadFeatures(to *device.Group, b *dataset.Batch, first, count int) (device.Tensors, error) {
	f := b.Format
	size := f.ViewBytes()
	raw := b.Features[first*size : (first+count)*size]
	if f.DType == dataset.FeaturesBFloat16 {
		numbers := make([]bfloat16.BFloat16, len(raw)/2)
		for i := range numbers {
			numbers[i] = bfloat16.BFloat16(binary.LittleEndian.Uint16(raw[2*i:]))
		}
		return device.UploadSplit(to, numbers, count, f.Tokens, f.Width)
	}
	return device.UploadSplit(to, f.Numbers(raw), count, f.Tokens, f.Width)
}
