package dataset

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
)

// pixelFeatures store of each view the pixels themselves as numbers: side tokens of 3·side numbers.
func pixelFeatures(t testing.TB, pairs []ShardPair, c LoaderConfig, f FeaturesFormat) []ShardPair {
	t.Helper()
	out, first := slices.Clone(pairs), 0
	for i, pair := range pairs {
		err := withShard(pair.Pixels, func(s *Shard) error {
			ids, err := s.IDs()
			if err != nil {
				return err
			}
			numbers := iter.Seq2[[]float32, error](func(yield func([]float32, error) bool) {
				var row []float32
				for picture, err := range s.Views(c, f.Views, first) {
					for _, x := range picture {
						row = append(row, float32(x))
					}
					if len(row) < f.Views*f.Tokens*f.Width && err == nil {
						continue
					}
					if !yield(row, err) {
						return
					}
					row = row[:0]
				}
			})
			var b bytes.Buffer
			if err := WriteFeatures(&b, f, ids, numbers); err != nil {
				return err
			}
			out[i].Features = filepath.Join(t.TempDir(), fmt.Sprint(i))
			return os.WriteFile(out[i].Features, b.Bytes(), 0o644)
		})
		if err != nil {
			t.Fatal(err)
		}
		first += pair.Rows
	}
	return out
}

func withShard(path string, do func(*Shard) error) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	s, err := OpenShard(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		return err
	}
	return do(s)
}

func featureTestFormat(views int) FeaturesFormat {
	return FeaturesFormat{DType: FeaturesFloat32, Views: views, Tokens: testSide, Width: 3 * testSide}
}

// What is stored of each view stands in a batch where the view's pixels would, in the first epochs as without features,
// then again from the first view on, and pixels are not read.
func TestABatchOfFeaturesHasWhatOnePixelBatchWouldGive(t *testing.T) {
	pairs := writeTestShards(t, testSide, 9, 5)
	pairs[1].Weight = 2.5
	c := testConfig()
	format := featureTestFormat(2)
	paths := pixelFeatures(t, pairs, c, format)
	for i := range paths {
		paths[i].Pixels = ""
	}
	seen := openLoader(t, pairs, c)
	c.Features = format
	read := openLoader(t, paths, c)
	for epoch := range 3 {
		want := epochOf(t, seen, epoch, 0)
		got := epochOf(t, read, epoch, 0)
		if len(got) != len(want) {
			t.Fatalf("epoch %d has %d batches, not %d", epoch, len(got), len(want))
		}
		for i, b := range got {
			w := want[i]
			if !slices.Equal(b.IDs, w.IDs) || !slices.Equal(b.Labels, w.Labels) || !slices.Equal(b.Rows, w.Rows) ||
				b.Pixels != nil || b.Format != format {
				t.Errorf("epoch %d, batch %d is of %v, %v, want %v, %v", epoch, i, b.IDs, b.Rows, w.IDs, w.Rows)
			}
			same := 0
			for p := range b.N {
				if epoch < 2 && b.Rows[p] < 14 && slices.Equal(stored(b, p), floats(w.Pixels, p)) {
					same++
				}
			}
			once := 0
			for _, row := range b.Rows[:b.N] {
				if row < 14 {
					once++
				}
			}
			if epoch < 2 && same != once {
				t.Errorf("epoch %d, batch %d: %d of %d pictures are those of the loader of pixels", epoch, i, same, once)
			}
		}
	}
	first, again := epochOf(t, read, 0, 0), epochOf(t, read, 2, 0)
	if !slices.Equal(view(first, 3), view(again, 3)) || slices.Equal(view(first, 3), view(epochOf(t, read, 1, 0), 3)) {
		t.Error("of two views, epoch 2 has not the one of epoch 0, or epoch 1 has")
	}
}

// Evaluation is given features where its pixels would stand, with all else as it is; pixels are not read.
func TestSequentialGivesFeaturesInThePlaceOfPixels(t *testing.T) {
	pairs := writeTestShards(t, testSide, 5, 6)
	encoded := pixelFeatures(t, pairs, LoaderConfig{Width: testSide, Height: testSide}, featureTestFormat(1))
	all := func(pairs []ShardPair) (batches []*EvalBatch) {
		for b, err := range Sequential(t.Context(), pairs, 4, 10) {
			if err != nil {
				t.Fatal(err)
			}
			batches = append(batches, b)
		}
		return batches
	}
	want := all(pairs)
	for i, b := range all(encoded) {
		numbers := b.Format.Numbers(b.Features)
		for j, x := range want[i].Pixels {
			if numbers[j] != float32(x) {
				t.Fatalf("batch %d, number %d is %v, of the pixel %d", i, j, numbers[j], x)
			}
		}
		b.Features, b.Format, b.Pixels = nil, FeaturesFormat{}, want[i].Pixels
		if !reflect.DeepEqual(b, want[i]) {
			t.Errorf("batch %d is %+v, with pixels %+v", i, b, want[i])
		}
	}
	mixed := []ShardPair{pairs[0], encoded[1]}
	swapped := slices.Clone(encoded)
	swapped[0].Features = encoded[1].Features
	for name, pairs := range map[string][]ShardPair{"pixels and features": mixed, "other pictures'": swapped} {
		for _, err := range Sequential(t.Context(), pairs, 11, 0) {
			if err == nil {
				t.Errorf("%s in one batch", name)
			}
		}
	}
}

// view is what an epoch shows of a row when it first shows it.
func view(batches []*Batch, row uint64) []float32 {
	for _, b := range batches {
		if i := slices.Index(b.Rows[:b.N], row); i >= 0 {
			return stored(b, i)
		}
	}
	return nil
}

func stored(b *Batch, i int) []float32 {
	raw := b.Features[i*b.Format.ViewBytes():][:b.Format.ViewBytes()]
	out := make([]float32, len(raw)/4)
	for j := range out {
		out[j] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*j:]))
	}
	return out
}

func floats(pixels []uint8, i int) []float32 {
	out := make([]float32, 3*testSide*testSide)
	for j := range out {
		out[j] = float32(pixels[i*len(out)+j])
	}
	return out
}

func TestFeaturesOfOtherPicturesAreRefused(t *testing.T) {
	pairs := writeTestShards(t, testSide, 4, 4, 5)
	c := testConfig()
	format := featureTestFormat(1)
	paths := pixelFeatures(t, pairs, c, format)
	c.Features = format
	cut := filepath.Join(t.TempDir(), "cut")
	raw, err := os.ReadFile(paths[0].Features)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cut, raw[:len(raw)-1], 0o644); err != nil {
		t.Fatal(err)
	}
	other := c
	other.Features.Views = 2
	for name, of := range map[string]struct {
		path string
		c    LoaderConfig
	}{
		"another shard's": {paths[1].Features, c}, "another number of rows": {paths[2].Features, c},
		"cut short": {cut, c}, "another format": {paths[0].Features, other}, "a shard of pixels": {pairs[0].Pixels, c},
		"none": {"", c},
	} {
		pair := paths[0]
		pair.Features = of.path
		failed := false
		for _, err := range openLoader(t, []ShardPair{pair}, of.c).Epoch(t.Context(), 0, 0) {
			failed = failed || err != nil
		}
		if !failed {
			t.Errorf("%s: were read", name)
		}
	}
}
