package model

import (
	"math"
	"slices"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"distilvit/internal/backend/backendtest"
	"distilvit/internal/device"
)

// masks runs the three kinds of site over ones, for captions of the given keys, K a picture.
func masks(t *testing.T, be compute.Backend, keys []uint32, k, length int) (hidden, self, cross []float32) {
	t.Helper()
	const width, heads, vectors = 24, 2, 5
	p, err := device.NewProgram(be, "masks", func(in []*Node) []*Node {
		g, rows := in[0].Graph(), len(keys)
		ones := func(dims ...int) *Node { return Ones(g, shapes.Make(dtypes.Float32, dims...)) }
		d := &Dropout{Rate: 0.25, Keys: in[0]}
		return []*Node{
			d.Hidden(ones(rows, length, width)), d.SelfProbabilities(ones(rows, heads, length, length)),
			d.CrossProbabilities(ones(rows/k, heads, k*length, vectors)),
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	x, err := device.Upload(be, keys, len(keys))
	if err != nil {
		t.Fatal(err)
	}
	inputs := []*tensors.Tensor{x}
	out, err := p.Run(inputs)
	if err != nil {
		t.Fatal(err)
	}
	var flat [3][]float32
	for i := range flat {
		if flat[i], err = device.Download[float32](out[i]); err != nil {
			t.Fatal(err)
		}
	}
	return flat[0], flat[1], flat[2]
}

func TestDropoutMasksAreEqualOnAllBackendsAndDropTheRate(t *testing.T) {
	keys := []uint32{1, 2, 3, 0xffffffff, 77, 1 << 31}
	var first []float32
	backendtest.Each(t, func(t *testing.T, be compute.Backend) {
		hidden, self, cross := masks(t, be, keys, 2, 16)
		all := slices.Concat(hidden, self, cross)
		if first == nil {
			first = all
		}
		if !slices.Equal(all, first) {
			t.Error("masks differ between backends")
		}
		for i, x := range [][]float32{hidden, self, cross} {
			dropped := 0
			for _, v := range x {
				if v == 0 {
					dropped++
				} else if v != float32(1/0.75) {
					t.Fatalf("kept element is %g", v)
				}
			}
			share := float64(dropped) / float64(len(x))
			if sigma := math.Sqrt(0.25 * 0.75 / float64(len(x))); math.Abs(share-0.25) > 4*sigma {
				t.Errorf("kind %d drops %g of %d", i, share, len(x))
			}
		}
	})
}

// TestDropoutMasksDependOnTheCaptionAlone compares a caption in a batch of six,
// two a picture, with the same one alone in a longer bucket.
func TestDropoutMasksDependOnTheCaptionAlone(t *testing.T) {
	keys := []uint32{1, 2, 3, 0xffffffff, 77, 1 << 31}
	backendtest.Each(t, func(t *testing.T, be compute.Backend) {
		const short, long, width, heads, vectors = 8, 16, 24, 2, 5
		hidden, self, cross := masks(t, be, keys, 2, short)
		hidden1, self1, cross1 := masks(t, be, keys[3:4], 1, long)
		at := func(x []float32, dims []int, index ...int) float32 {
			i := 0
			for axis, d := range dims {
				i = i*d + index[axis]
			}
			return x[i]
		}
		const row = 3
		for pos := range short {
			for c := range width {
				if at(hidden, []int{6, short, width}, row, pos, c) != at(hidden1,
					[]int{1, long, width}, 0, pos, c) {
					t.Fatalf("hidden mask differs at position %d, channel %d", pos, c)
				}
			}
			for h := range heads {
				for key := range short {
					if at(self, []int{6, heads, short, short}, row, h, pos, key) != at(self1,
						[]int{1, heads, long, long}, 0, h, pos, key) {
						t.Fatalf("self-attention mask differs at %d, %d, %d", h, pos, key)
					}
				}
				for v := range vectors { // row 3 is the second caption of picture 1
					if at(cross, []int{3, heads, 2 * short, vectors}, 1, h, short+pos, v) != at(cross1,
						[]int{1, heads, long, vectors}, 0, h, pos, v) {
						t.Fatalf("cross-attention mask differs at %d, %d, %d", h, pos, v)
					}
				}
			}
		}
	})
}
