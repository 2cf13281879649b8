package caption

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"distilvit/dataset/pixels"
	"distilvit/internal/backend"
	"distilvit/model"
	"distilvit/model/onnx"
	"distilvit/model/train"
)

// export is a dtype's files in ONNX Runtime.
type export struct {
	session       *onnx.Session
	normalization model.Normalization
	alone         bool // pictures go through it one by one
}

func openExport(dir string, o Options, processor pixels.Processor) (network, error) {
	for _, name := range []string{onnx.EncoderFile(o.Dtype), onnx.DecoderFile(o.Dtype)} {
		if _, err := os.Stat(filepath.Join(dir, name)); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s: %w as %s; it has %s", dir, ErrNoExport, o.Dtype,
				cmp.Or(strings.Join(Dtypes(dir), ", "), "none at all"))
		}
	}
	library := o.ONNXRuntime
	if library == "" {
		cache, err := backend.CacheDir()
		if err != nil {
			return nil, err
		}
		if library, err = backend.ONNXRuntime(cache); err != nil {
			return nil, err
		}
	}
	session, err := onnx.Open(library, dir, o.Dtype)
	if err != nil {
		return nil, err
	}
	return export{session, train.NormalizationOf(processor), onnx.SharesRange(o.Dtype)}, nil
}

// Generate captions pictures one by one where those of a batch would share a range of numbers: so that a
// caption is what a page says.
func (e export) Generate(rgb []uint8, n int, o model.GenerateOptions) ([][]int32, error) {
	batch := n
	if e.alone {
		batch = 1
	}
	var rows [][]int32
	for some := range slices.Chunk(rgb, batch*(len(rgb)/n)) {
		ids, err := e.session.GenerateBatch(e.pixelValues(some, batch), batch, o)
		if err != nil {
			return nil, err
		}
		rows = append(rows, ids...)
	}
	return rows, nil
}

// pixelValues are those of n pictures, float32 [n, 3, H, W].
func (e export) pixelValues(rgb []uint8, n int) []float32 {
	values := make([]float32, 0, len(rgb))
	for picture := range slices.Chunk(rgb, len(rgb)/n) {
		values = append(values, onnx.PixelValues(picture, e.normalization)...)
	}
	return values
}

// Close gives the memory back; the library stays loaded.
func (e export) Close() error { return e.session.Close() }

// Dtypes are the exports that a model directory has, in the order fp32, fp16, q8, int8, q4, q4f16.
func Dtypes(dir string) []string {
	return slices.DeleteFunc(onnx.Dtypes(), func(dtype string) bool {
		_, err := onnx.FilesSize(dir, dtype)
		return err != nil
	})
}
