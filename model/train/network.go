package train

import (
	"fmt"
	"path/filepath"

	"distilvit/dataset/pixels"
	"distilvit/model"
)

// ReadNetwork reads what a model directory says of its network and of its input: config.json and
// preprocessor_config.json. It is an error if the two contradict each other. Of a DINOv2, which takes
// pictures of other sizes than image_size, config is as the file has it: FitPictures makes it one for
// pictures of the processor's width, with its weights.
func ReadNetwork(dir string) (*model.Config, pixels.Processor, error) {
	c, err := model.ReadConfig(dir)
	if err != nil {
		return nil, pixels.Processor{}, err
	}
	p, err := pixels.ReadProcessor(dir)
	if err != nil {
		return nil, p, err
	}
	fitted := *c
	if err = fitted.FitPictures(nil, p.Width); err == nil && p.Width != p.Height {
		err = fmt.Errorf("pictures are %d pixels wide and %d high, the encoder takes squares", p.Width, p.Height)
	}
	if err != nil {
		return nil, p, fmt.Errorf("%s and config.json contradict each other: %w; take both of the same model",
			filepath.Join(dir, pixels.ProcessorFile), err)
	}
	return c, p, nil
}
