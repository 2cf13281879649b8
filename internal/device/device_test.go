package device

import (
	"math"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/stretchr/testify/require"

	"distilvit/internal/backend"
	"distilvit/internal/backend/backendtest"
)

func TestWhatIsUploadedComesBack(t *testing.T) {
	backendtest.Each(t, func(t *testing.T, be compute.Backend) {
		floats := []float32{1, -2.5, float32(math.Inf(1)), 0, 1e-40, 6}
		x, err := Upload(be, floats, 2, 3)
		require.NoError(t, err)
		defer Free(x)
		require.Equal(t, []int{2, 3}, x.Shape().Dimensions)
		for range 2 { // a download leaves the tensor as it is
			back, err := Download[float32](x)
			require.NoError(t, err)
			require.Equal(t, floats, back)
		}
		ids, err := Upload(be, []int32{7, -1}, 2)
		require.NoError(t, err)
		defer Free(ids)
		back, err := Download[int32](ids)
		require.NoError(t, err)
		require.Equal(t, []int32{7, -1}, back)
	})
}

func TestUploadRefusesAnotherNumberOfValues(t *testing.T) {
	_, err := Upload(backendtest.Open(t, backend.Go), []float32{1, 2, 3}, 2, 2)
	require.EqualError(t, err, "upload: 3 values for shape [2 2]")
}

func TestScalarReadsAndFrees(t *testing.T) {
	backendtest.Each(t, func(t *testing.T, be compute.Backend) {
		x, err := Upload(be, []float32{2.5})
		require.NoError(t, err)
		v, err := Scalar[float32](x)
		require.NoError(t, err)
		require.Equal(t, float32(2.5), v)
		_, err = Download[float32](x)
		require.Error(t, err, "it is freed")
		Free(x, nil) // once more, and nothing at all
	})
}

// sums is a program of two outputs: x + y, and the sum of x's elements.
func sums(in []*graph.Node) []*graph.Node {
	return []*graph.Node{graph.Add(in[0], in[1]), graph.ReduceAllSum(in[0])}
}

func TestProgramRunsForEachShapeAndLeavesItsInputs(t *testing.T) {
	backendtest.Each(t, func(t *testing.T, be compute.Backend) {
		p, err := NewProgram(be, "sums", sums)
		require.NoError(t, err)
		defer p.Close()
		for _, n := range []int{2, 5, 2} {
			flat := make([]float32, n)
			for i := range flat {
				flat[i] = float32(i + 1)
			}
			x, err := Upload(be, flat, n)
			require.NoError(t, err)
			y, err := Upload(be, flat, n)
			require.NoError(t, err)
			out, err := p.Run([]*tensors.Tensor{x}, []*tensors.Tensor{y}) // lists one after the other
			require.NoError(t, err)
			require.Len(t, out, 2)
			both, err := Download[float32](out[0])
			require.NoError(t, err)
			sum, err := Scalar[float32](out[1])
			require.NoError(t, err)
			require.Equal(t, 2*float32(n), both[n-1])
			require.Equal(t, float32(n*(n+1)/2), sum)
			kept, err := Download[float32](x)
			require.NoError(t, err)
			require.Equal(t, flat, kept)
			Free(x, y, out[0])
		}
	})
}

func TestProgramGivesAnErrorWithItsNameInsteadOfAPanic(t *testing.T) {
	backendtest.Each(t, func(t *testing.T, be compute.Backend) {
		p, err := NewProgram(be, "unequal", sums)
		require.NoError(t, err)
		defer p.Close()
		x, err := Upload(be, []float32{1, 2}, 2)
		require.NoError(t, err)
		y, err := Upload(be, []float32{1, 2, 3}, 3)
		require.NoError(t, err)
		defer Free(x, y)
		_, err = p.Run([]*tensors.Tensor{x, y})
		require.ErrorContains(t, err, "unequal")

		// The next run works.
		out, err := p.Run([]*tensors.Tensor{x, x})
		require.NoError(t, err)
		Free(out...)
	})
}

func TestNoProgramClosesToo(t *testing.T) {
	(*Program)(nil).Close()
	(*Parallel)(nil).Close()
}
