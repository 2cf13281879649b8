package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"distilvit/internal/backend/backendtest"
	"distilvit/internal/testenv"
)

// A run whose device fails as CUDA's do, in a kernel, for want of memory while the checkpoint is loaded, and
// while a later one is read from it, ends with the weights of a run that nothing happened to.
func TestRunOnCUDAEndsBitIdentical(t *testing.T) {
	choice, environ := backendtest.FaultyCUDA(t)
	environ = append(environ, "DISTILVIT_PLUGIN="+choice.Plugin)
	config := writeConfig(t, t.TempDir(), tinyConfig(map[string]any{
		"backend": "cuda",
		"model":   map[string]any{"patch_size": 16, "hidden_size": 32, "encoder_layer": 1, "decoder_layer": 1},
		"train":   map[string]any{"checkpoint_steps": 4, "micro_batch_size": 16},
	}))
	train := func(name string, more ...string) string {
		data := filepath.Join(t.TempDir(), name)
		run := runCommand(t, append(more, environ...), testenv.Program,
			"run", "-f", config, "--id", "cuda", "--data", data)
		require.Zero(t, run.code, run.stderr)
		return weightsDigest(t, data, "cuda")
	}
	undisturbed := train("undisturbed")
	struck := filepath.Join(t.TempDir(), "struck-")
	disturbed := train("disturbed", "CUDAFAULT=execute:30:illegal-address,transfer:80:out-of-memory,read:200:ecc",
		"CUDAFAULT_ONCE="+struck)
	for _, n := range []string{"0", "1", "2"} {
		_, err := os.Stat(struck + n)
		require.NoError(t, err, "fault %s has not struck", n)
	}
	require.Equal(t, undisturbed, disturbed)
}
