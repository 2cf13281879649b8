package dataset

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"slices"

	"distilvit/internal/digest"
	"distilvit/model/safetensors"
)

// FeaturesFormat says what a frozen encoder's vectors of a picture are stored as. Zero: there are none.
type FeaturesFormat struct {
	DType  string `json:"dtype"`  // FeaturesFloat32 or FeaturesBFloat16
	Views  int    `json:"views"`  // drawn views of each picture; 1 where pictures are not changed
	Tokens int    `json:"tokens"` // vectors a view
	Width  int    `json:"width"`  // numbers a vector
}

// Names of FeaturesFormat.DType.
const (
	FeaturesFloat32  = "float32"
	FeaturesBFloat16 = "bfloat16" // 8 significant bits, rounded to the nearest, ties to even
)

// MaxFeatureViews bounds FeaturesFormat.Views.
const MaxFeatureViews = 64

// featureDTypes are the names that safetensors files have for ours.
var featureDTypes = map[string]string{FeaturesFloat32: "F32", FeaturesBFloat16: "BF16"}

// ViewBytes is the size of one view, bytes.
func (f FeaturesFormat) ViewBytes() int {
	return f.Tokens * f.Width * int(safetensors.Width(featureDTypes[f.DType]))
}

// Numbers are those of raw, which has them as f says.
func (f FeaturesFormat) Numbers(raw []byte) []float32 {
	if f.DType == FeaturesBFloat16 {
		numbers := make([]float32, len(raw)/2)
		for i := range numbers {
			numbers[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(raw[2*i:])) << 16)
		}
		return numbers
	}
	numbers := make([]float32, len(raw)/4)
	for i := range numbers {
		numbers[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return numbers
}

// view is the one that an epoch shows, of a row that it shows more than once the next each time. So the first Views
// epochs show what they would without features.
func (f FeaturesFormat) view(epoch, again int) int { return (epoch + again) % f.Views }

const (
	featuresTensor = "last_hidden_state" // [rows, views, tokens, width]
	featuresRows   = "rows"              // metadata: digest of the rows' ids
)

// WriteFeatures writes one safetensors file of the rows with these ids; pictures yields the numbers of each row's views,
// one view after the other. The same rows make the same bytes.
//
// Numbers of a picture hardly compress, and each is read alone and in no order: so they stand where a row number says,
// uncompressed, in a form that NumPy and PyTorch map.
func WriteFeatures(w io.Writer, f FeaturesFormat, ids []string, pictures iter.Seq2[[]float32, error]) error {
	shape := []int{len(ids), f.Views, f.Tokens, f.Width}
	if slices.Min(shape) < 1 {
		return fmt.Errorf("write features: shape %v; all must be at least 1", shape)
	}
	err := safetensors.WriteRows(
		w, featuresTensor, featureDTypes[f.DType], shape, map[string]string{featuresRows: rowsDigest(ids)}, pictures,
	)
	if err != nil {
		return fmt.Errorf("write features: %w", err)
	}
	return nil
}

// Views yields what is to be encoded of a shard's rows, the i-th view of each as c's augmentation changes it in epoch i.
// Of c, seed, augmentation and size of the pictures count; first is the number of the shard's first row, counted
// through all shards that are trained together. Pictures are valid until the next is asked for.
func (s *Shard) Views(c LoaderConfig, views, first int) iter.Seq2[[]uint8, error] {
	return func(yield func([]uint8, error) bool) {
		a, row := newAugmenter(c), uint64(first)
		var picture []uint8
		for r, err := range s.Rows() {
			if err == nil && len(r.Pixels) != 3*c.Width*c.Height {
				err = fmt.Errorf("%s has %d bytes of pixels, not %d×%d×3", r.ID, len(r.Pixels), c.Width, c.Height)
			}
			for view := range views {
				picture = append(picture[:0], r.Pixels...)
				if err == nil {
					a.apply(picture, view, row)
				}
				if !yield(picture, err) || err != nil {
					return
				}
			}
			row++
		}
	}
}

// View changes the H*W*3 picture of a row in place as Views does, for its view of this number.
func (c LoaderConfig) View(picture []uint8, view int, row uint64) {
	newAugmenter(c).apply(picture, view, row)
}

// IDs are those of the rows, in order.
func (s *Shard) IDs() ([]string, error) {
	ids := make([]string, 0, s.NumRows())
	for id, err := range s.ids() {
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// rowsDigest tells rows apart from others, and from the same in another order.
func rowsDigest(ids []string) string {
	sum := digest.New()
	for _, id := range ids {
		fmt.Fprintf(sum, "%q\n", id)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// Features is an open shard of features; safe for concurrent use.
type Features struct {
	FeaturesFormat
	file   *safetensors.File
	tensor safetensors.Info
}

// OpenFeatures reads the file's header. r must stay open while the shard is used.
func OpenFeatures(r io.ReaderAt, size int64) (*Features, error) {
	file, err := safetensors.Open(r, size)
	if err != nil {
		return nil, fmt.Errorf("open features: %w", err)
	}
	t, ok := file.Lookup(featuresTensor)
	if !ok || len(t.Shape) != 4 || slices.Min(t.Shape) < 1 {
		return nil, errors.New("open features: the file has no tensor " + featuresTensor + " of four axes")
	}
	f := &Features{file: file, tensor: t}
	f.Views, f.Tokens, f.Width = t.Shape[1], t.Shape[2], t.Shape[3]
	for name, stored := range featureDTypes {
		if stored == t.DType {
			f.DType = name
		}
	}
	if f.DType == "" {
		return nil, fmt.Errorf("open features: dtype %s; must be F32 or BF16", t.DType)
	}
	return f, nil
}

// Of makes sure that the features are those of rows with these ids.
func (f *Features) Of(ids []string) error {
	if f.tensor.Shape[0] != len(ids) || f.file.Metadata[featuresRows] != rowsDigest(ids) {
		return fmt.Errorf("features of %d rows, of other pictures than the %d rows they are to be of",
			f.tensor.Shape[0], len(ids))
	}
	return nil
}

// Read copies one view of a row into dst, whose length must be ViewBytes: Tokens·Width numbers, little-endian.
func (f *Features) Read(row, view int, dst []byte) error {
	size := f.ViewBytes()
	if view < 0 || view >= f.Views || len(dst) != size {
		return fmt.Errorf("read features: view %d of %d into %d bytes; it has %d", view, f.Views, len(dst), size)
	}
	if err := f.file.ReadRow(f.tensor, row, view*size, dst); err != nil {
		return fmt.Errorf("read features: %w", err)
	}
	return nil
}
