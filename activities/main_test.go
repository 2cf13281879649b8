package activities

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/testsuite"

	"distilvit/internal/backend"
	"distilvit/internal/devstack/s3d/s3test"
	"distilvit/model/trainer"
	"distilvit/pipeline"
	"distilvit/storage"
)

// The test binary is the trainer and the S3 server too.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "trainer" {
		os.Exit(trainer.Main())
	}
	s3test.Main(m)
}

// bench is a worker's activities on an object store of their own.
type bench struct {
	*testing.T
	*Activities
	env *testsuite.TestActivityEnvironment
	s3  *s3test.Server
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{T: t, s3: s3test.Start(t)}
	b.Activities = newWorker(t, b.s3)
	b.register()
	return b
}

func (b *bench) register() {
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	b.env = suite.NewTestActivityEnvironment()
	b.env.RegisterActivity(b.Activities)
}

// newWorker makes another machine's activities on the same object store.
func newWorker(t *testing.T, s3 *s3test.Server) *Activities {
	t.Helper()
	store, err := storage.Open(t.Context(), storage.Config{
		Endpoint: s3.Endpoint, AccessKey: s3.AccessKey, SecretKey: s3.SecretKey, Bucket: "test",
	})
	check(t, err)
	exe, err := os.Executable()
	check(t, err)
	dir := t.TempDir()
	pool := trainer.NewPool(trainer.Options{
		Exe: exe, Environ: os.Environ(), LogDir: filepath.Join(dir, "logs"),
	})
	t.Cleanup(pool.Close)
	cache, err := os.UserCacheDir()
	check(t, err)
	return &Activities{
		Store: store, Cache: storage.NewCache(filepath.Join(dir, "cache"), 1<<30), Dir: dir, Pool: pool,
		Backend: backend.Options{CacheDir: filepath.Join(cache, "distilvit", "backend")},
	}
}

// try runs an activity as Temporal does.
func try[Out any](b *bench, activity, in any) (Out, error) {
	b.Helper()
	var out Out
	v, err := b.env.ExecuteActivity(activity, in)
	if err == nil && v.HasValue() {
		err = v.Get(&out)
	}
	return out, err
}

func do[Out any](b *bench, activity, in any) Out {
	b.Helper()
	out, err := try[Out](b, activity, in)
	check(b.T, err)
	return out
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tinyConfig trains in seconds on the pure-Go backend.
func tinyConfig() pipeline.Config {
	c := pipeline.Default()
	c.Backend = pipeline.BackendGo
	c.Dataset = []pipeline.SourceConfig{{Kind: pipeline.KindShapes, Shapes: pipeline.ShapesConfig{
		Train: 40, Validation: 8, Test: 6, TestUnseen: 4, MaxObjects: 2, ImageSize: 32,
	}}}
	c.Model = pipeline.ModelConfig{
		ImageSize: 32, PatchSize: 16, HiddenSize: 32, EncoderLayer: 1, DecoderLayer: 1, Heads: 2,
		VocabSize: 300, Positions: 32,
	}
	c.Prepare.ShardRows = 16
	c.Train.Epochs, c.Train.BatchSize, c.Train.MaxLength, c.Train.CaptionsPerPicture = 1, 8, 16, 2
	c.Train.CheckpointSteps = 2
	c.Evaluate.BatchSize, c.Evaluate.MaxLength, c.Evaluate.Samples = 8, 17, 3
	c.Export.Pictures, c.Export.MaxRougeDrop = 4, 100
	return c.Resolve()
}
