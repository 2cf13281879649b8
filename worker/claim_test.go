package worker

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"distilvit/internal/backend"
)

// claimant is a worker with two CUDA devices, of which only the plugin's name is there: nothing is computed.
func claimant(t *testing.T, memory float64) Options {
	plugin := filepath.Join(t.TempDir(), "xla_cuda_plugin.so")
	require.NoError(t, os.WriteFile(plugin, nil, 0o644))
	return Options{
		Slots: [][]int{{0}, {1}}, Backend: backend.Options{Plugin: plugin, Memory: memory}, Log: slog.New(slog.DiscardHandler),
	}
}

// Two workers of a machine share a CUDA device only where both say how much of its memory they take.
func TestACUDADeviceIsOneWorkersUnlessItIsShared(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	alone, err := claim(claimant(t, 0))
	require.NoError(t, err)
	require.Len(t, alone, 2)
	for _, memory := range []float64{0, 0.4} {
		_, err = claim(claimant(t, memory))
		require.ErrorContains(t, err, "CUDA device 0 is another worker's of this machine")
	}
	t.Setenv("CUDA_VISIBLE_DEVICES", "4,1")
	_, err = claim(claimant(t, 0))
	require.ErrorContains(t, err, "CUDA device 1 is another worker's", "device 0 is another one than before")
	t.Setenv("CUDA_VISIBLE_DEVICES", "")
	alone.release()

	half, err := claim(claimant(t, 0.5))
	require.NoError(t, err)
	other, err := claim(claimant(t, 0.4))
	require.NoError(t, err)
	_, err = claim(claimant(t, 0))
	require.ErrorContains(t, err, "--device-memory")
	half.release()
	other.release()

	none := claimant(t, 0)
	none.Backend.Plugin = ""
	held, err := claim(none)
	require.NoError(t, err)
	require.Empty(t, held, "no CUDA, no claim")
}
