package train

import (
	"testing"

	"github.com/stretchr/testify/require"

	"distilvit/dataset/pixels"
	"distilvit/model"
)

// The processor's pictures are those that the encoder takes, or the two files are named; DINOv2's may be of
// another size.
func TestProcessorAndConfigAgree(t *testing.T) {
	for _, c := range []struct {
		kind          model.EncoderKind
		width, height int
		want          string
	}{
		{model.ViT, 0, 0, ""},
		{model.ViT, 128, 128, "pictures are 128 pixels high, the encoder takes "},
		{model.SigLIP, 128, 128, "pictures are 128 pixels high, the encoder takes "},
		{model.DINOv2, 128, 128, ""},
		{model.DINOv2, 127, 127, "must be a multiple of encoder.patch_size"},
	} {
		config, ok := model.Preset("tiny")
		require.True(t, ok)
		config.Encoder.Kind = c.kind
		if c.width == 0 {
			c.width, c.height = config.Encoder.ImageSize, config.Encoder.ImageSize
		}
		dir := t.TempDir()
		require.NoError(t, config.WriteFile(dir))
		processor := pixels.NewProcessor(c.width)
		processor.Height = c.height
		require.NoError(t, processor.WriteFile(dir))
		got, p, err := ReadNetwork(dir)
		if c.want == "" {
			require.NoError(t, err)
			require.Equal(t, config.Encoder.ImageSize, got.Encoder.ImageSize) // whose weights are in the file
			require.Equal(t, c.width, p.Width)
			continue
		}
		require.ErrorContains(t, err, "preprocessor_config.json and config.json contradict each other")
		require.ErrorContains(t, err, c.want)
	}
}
