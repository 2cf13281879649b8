package parity

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"

	"distilvit/dataset/pixels"
	"distilvit/model/onnx"
	"distilvit/model/train"
)

// What a tensor's name begins with, before a picture's file name.
const (
	resizedPrefix = "resized."
	valuesPrefix  = "pixel_values."
)

// processor compares one image processor's answers for the pictures of pictures/.
func (r *run) processor(dir string) error {
	if !exists(dir, pixels.ProcessorFile) {
		return layoutf("vectors %s: no %s", dir, pixels.ProcessorFile)
	}
	file, err := openTensors(filepath.Join(dir, "vectors.safetensors"))
	if err != nil {
		return err
	}
	defer file.close()
	p, err := pixels.ReadProcessor(dir)
	if err != nil {
		r.table.row(pixelsExact, "").fail(r.name(dir), err)
		return nil
	}
	for _, t := range file.Tensors() {
		compare, name := r.resized, ""
		if picture, ok := strings.CutPrefix(t.Name, resizedPrefix); ok {
			name = picture
		} else if name, ok = strings.CutPrefix(t.Name, valuesPrefix); ok {
			compare = r.pixelValues
		} else {
			return layoutf("vectors %s: tensor %s begins neither with %s nor with %s", file.path, t.Name,
				resizedPrefix, valuesPrefix)
		}
		raw, err := os.ReadFile(filepath.Join(r.Dir, "pictures", name))
		if err != nil {
			return layoutf("vectors %s: the picture of %s: %w", file.path, t.Name, err)
		}
		if err := compare(r.name(dir)+", "+name, file, t.Name, p, raw); err != nil {
			return err
		}
	}
	return nil
}

// resized compares uint8 [H, W, 3].
func (r *run) resized(at string, file *tensorFile, name string, p pixels.Processor, raw []byte) error {
	want, err := file.ints(name, 0, 255, p.Height, p.Width, 3)
	if err != nil {
		return err
	}
	kinds := []*kind{pixelsExact}
	if bytes.HasPrefix(raw, []byte("\xff\xd8\xff")) {
		kinds = []*kind{pixelsJPEG, pixelsWorst}
	}
	got, _, err := p.Pixels(raw)
	if err != nil {
		r.table.row(kinds[0], "").fail(at, err)
		return nil
	}
	var sum, worst, where int
	for i, v := range want {
		d := max(int(v)-int(got[i]), int(got[i])-int(v))
		if sum += d; d > worst {
			worst, where = d, i
		}
	}
	at = fmt.Sprintf("%s, row %d, column %d, channel %d", at, where/3/p.Width, where/3%p.Width, where%3)
	for _, k := range kinds {
		d := float64(worst)
		if k == pixelsJPEG {
			d = float64(sum) / float64(len(want))
		}
		r.table.row(k, "").near(at, d, got[where], want[where])
	}
	return nil
}

// pixelValues compares what the encoder is given: float32 [3, H, W].
func (r *run) pixelValues(at string, file *tensorFile, name string, p pixels.Processor, raw []byte) error {
	want, err := file.floats(name, 3, p.Height, p.Width)
	if err != nil {
		return err
	}
	row := r.table.row(pixelValues, "")
	pixels, _, err := p.Pixels(raw)
	if err != nil {
		row.fail(at, err)
		return nil
	}
	got := onnx.PixelValues(pixels, train.NormalizationOf(p))
	i, d := worstOf(got, want)
	row.near(fmt.Sprintf("%s[%d]", at, i), d, got[i], want[i])
	return nil
}

// worstOf finds the largest difference of two lists of one length, at least 1.
func worstOf(got, want []float32) (at int, difference float64) {
	for i := range want {
		d := math.Abs(float64(got[i]) - float64(want[i]))
		if math.IsNaN(d) {
			return i, math.Inf(1)
		}
		if d > difference {
			at, difference = i, d
		}
	}
	return at, difference
}
