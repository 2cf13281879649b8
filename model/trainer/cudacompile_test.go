package trainer

import (
	"os"
	"slices"
	"testing"

	"distilvit/internal/backend/backendtest"
	"distilvit/model/train"
)

// Every program of a run, trained, validated and asked for captions by a real trainer, compiles with CUDA's
// compiler for GPUs that are not here: an instruction that it does not know would be found on the first day with
// one. What they compute is not looked at.
func TestProgramsCompileForCUDA(t *testing.T) {
	for _, c := range []struct {
		target, precision string
		checkpointing     bool
	}{
		{"sm_80", train.Float32, false},
		{"sm_90", train.BF16, true},
	} {
		t.Run(c.target+" "+c.precision, func(t *testing.T) {
			environ, compiled := backendtest.CUDACompiler(t, c.target)
			l := newCUDALab(t)
			l.open.Train.Precision, l.open.Train.GradientCheckpointing = c.precision, c.checkpointing
			pool := NewPool(Options{
				Exe: testExe(t), LogDir: t.TempDir(), Environ: slices.Concat(os.Environ(), l.environ, environ),
			})
			defer pool.Close()
			p, err := pool.Open(t.Context(), "run", l.open, nothing)
			check(t, err)
			defer p.Release()
			last := l.epoch(p, 0, State{}, "compiled")
			l.evaluate(p, state(last))
			var names []string
			for _, program := range compiled() {
				names = append(names, program.Module)
				if program.Error != "" || program.Outputs == 0 {
					t.Errorf("%+v", program)
				}
				t.Logf("%+v", program)
			}
			slices.Sort(names)
			want := []string{
				"backward_pass_1", "decode_a_token_1", "encode_pictures_1", "gradient_norm_1", "loss_1",
				"update_1", "zeros_1",
			}
			if !slices.Equal(names, want) {
				t.Errorf("compiled %v, want %v", names, want)
			}
		})
	}
}
