package activities

import (
	"os"
	"path/filepath"
	"testing"

	"distilvit/internal/backend"
	"distilvit/pipeline"
)

// What several devices cannot do is known before anything long starts.
func TestPreflightRefusesWhatTheDevicesOfARunCannotShare(t *testing.T) {
	b := newBench(t)
	b.Activities.Backend.Devices = []int{0, 1, 2}
	b.register()
	in := pipeline.PreflightInput{Run: "shared", Config: tinyConfig(), Device: true}
	_, err := try[pipeline.PreflightResult](b, b.Preflight, in)
	wantType(t, err, pipeline.InvalidInput,
		"backend go computes on one device; asked for 3 in one run: use --devices-per-run 1")

	cache, err := os.UserCacheDir()
	check(t, err)
	b.Activities.Backend.CacheDir = filepath.Join(cache, "distilvit", "backend")
	if _, err := backend.Choose(backend.Options{Kind: backend.XLA, CacheDir: b.Activities.Backend.CacheDir}); err != nil {
		t.Skip(err)
	}
	in.Config.Backend = pipeline.BackendXLA
	_, err = try[pipeline.PreflightResult](b, b.Preflight, in)
	wantType(t, err, pipeline.InvalidInput,
		"train.micro_batch_size 8 cannot be shared by the 3 devices this worker gives a run")
}
