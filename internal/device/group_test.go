package device

import (
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/stretchr/testify/require"

	"distilvit/internal/backend"
	"distilvit/internal/backend/backendtest"
	"distilvit/internal/testenv"
)

// eachGroup runs a test on the one device of the pure-Go backend and on one, two and four of XLA's CPU
// devices.
func eachGroup(t *testing.T, test func(t *testing.T, g *Group)) {
	on := func(name string, be compute.Backend, devices int) {
		t.Run(name, func(t *testing.T) {
			g, err := NewGroup(be)
			require.NoError(t, err)
			require.Equal(t, devices, g.Size())
			test(t, g)
		})
	}
	on("go", backendtest.Open(t, backend.Go), 1)
	for name, devices := range map[string][]int{"xla": nil, "xla, 2": {0, 1}, "xla, 4": {0, 1, 2, 3}} {
		choice, err := backendtest.Choose(backend.XLA, devices...)
		if err != nil {
			t.Run(name, func(t *testing.T) { testenv.Without(t, err) })
			continue
		}
		be, err := backend.Open(choice)
		require.NoError(t, err)
		on(name, be, max(1, len(devices)))
		be.Finalize()
	}
}

// everywhere is tensor i as every device has it.
func everywhere(t *testing.T, list Tensors, i int) (parts [][]float32) {
	t.Helper()
	for _, on := range list.on {
		flat, err := Download[float32](on[i])
		require.NoError(t, err)
		parts = append(parts, flat)
	}
	return parts
}

func TestUploadsLieWholeOrSplitOnTheDevices(t *testing.T) {
	eachGroup(t, func(t *testing.T, g *Group) {
		flat := []float32{1, 2, 3, 4, 5, 6, 7, 8}
		whole, err := UploadWhole(g, flat, 4, 2)
		require.NoError(t, err)
		defer whole.Free()
		split, err := UploadSplit(g, flat, 4, 2)
		require.NoError(t, err)
		defer split.Free()
		require.Equal(t, 1, whole.Len())
		require.Len(t, everywhere(t, whole, 0), g.Size())
		var joined []float32
		for d, part := range everywhere(t, whole, 0) {
			require.Equal(t, flat, part, "device %d", d)
		}
		for _, part := range everywhere(t, split, 0) {
			require.Len(t, part, len(flat)/g.Size())
			joined = append(joined, part...)
		}
		require.Equal(t, flat, joined)
		require.Equal(t, []int{4 / g.Size(), 2}, split.First()[0].Shape().Dimensions)
		require.Equal(t, 1, g.First().Size())
	})
}

func TestUploadsOfAWrongShapeAreRefused(t *testing.T) {
	eachGroup(t, func(t *testing.T, g *Group) {
		_, err := UploadWhole(g, []float32{1, 2, 3}, 2)
		require.ErrorContains(t, err, "3 values for shape [2]")
		_, err = UploadSplit(g, []float32{1})
		require.ErrorContains(t, err, "cannot be split")
		if g.Size() > 1 {
			_, err = UploadSplit(g, []float32{1, 2, 3}, 3)
			require.ErrorContains(t, err, "shape [3] cannot be split over")
		}
	})
}

// TestAGroupComputesAsOneDevice: the program sees all rows at once, wherever they lie, and what it returns is
// whole on every device.
func TestAGroupComputesAsOneDevice(t *testing.T) {
	eachGroup(t, func(t *testing.T, g *Group) {
		p, err := g.NewProgram("scaled sum", func(in []*graph.Node) []*graph.Node {
			factor, x := in[0], in[1]
			return []*graph.Node{graph.Mul(x, factor), graph.ReduceSum(graph.Mul(x, factor), 0)}
		})
		require.NoError(t, err)
		defer p.Close()
		factor, err := UploadWhole(g, []float32{10})
		require.NoError(t, err)
		defer factor.Free()
		for _, flat := range [][]float32{{1, 2, 3, 4}, {5, 6, 7, 8}} {
			x, err := UploadSplit(g, flat, 4)
			require.NoError(t, err)
			out, err := p.Run(factor, Tensors{}, x)
			require.NoError(t, err)
			require.Equal(t, 2, out.Len())
			var sum float32
			scaled := make([]float32, len(flat))
			for i, v := range flat {
				scaled[i] = 10 * v
				sum += 10 * v
			}
			for d := range g.Size() {
				require.Equal(t, scaled, everywhere(t, out, 0)[d], "device %d", d)
				require.Equal(t, []float32{sum}, everywhere(t, out, 1)[d], "device %d", d)
			}
			x.Free()
			out.Free()
		}
	})
}

func TestListsOfTensorsAreCutJoinedAndReplacedInPlace(t *testing.T) {
	eachGroup(t, func(t *testing.T, g *Group) {
		one := func(v float32) Tensors {
			x, err := UploadWhole(g, []float32{v})
			require.NoError(t, err)
			return x
		}
		all := Tensors{}.With(one(1)).With(one(2)).With(one(3))
		require.Equal(t, 3, all.Len())
		require.Zero(t, Tensors{}.Len())
		middle := all.Slice(1, 2)
		require.Equal(t, []float32{2}, everywhere(t, middle, 0)[0])
		more := middle.With(one(9)) // must not write over the third
		require.Equal(t, []float32{3}, everywhere(t, all, 2)[0])

		old := middle.First()[0]
		middle.Replace(one(7))
		for d := range g.Size() {
			require.Equal(t, []float32{7}, everywhere(t, all, 1)[d], "device %d: the list that was cut", d)
		}
		_, err := Download[float32](old)
		require.Error(t, err, "what was replaced is freed")
		more.Slice(1, 2).Free()
		all.Free()
		_, err = Download[float32](all.First()[0])
		require.Error(t, err, "freed")
	})
}
