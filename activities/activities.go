// Package activities is what a run does, one file per stage: Temporal's
// context, heartbeats and errors on one side, domain packages on the other, and
// the only place that translates pipeline's structs into a domain package's
// own. Every activity may run twice at once: it writes blobs named by their
// digest and publishes with one conditional PUT. Start reading at Activities,
// then in a run's order: preflight.go, download.go, prepare.go, build.go,
// tokenize.go, epoch.go, evaluate.go, export.go, publish.go.
package activities

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/uuid"

	"distilvit/hub"
	"distilvit/internal/backend"
	"distilvit/internal/telemetry"
	"distilvit/internal/transformersjs"
	"distilvit/model/trainer"
	"distilvit/pipeline"
	"distilvit/storage"
)

// Activities are registered by a worker under their methods' names.
type Activities struct {
	Store *storage.Store
	Cache *storage.Cache // whole shards for the trainer
	Dir   string         // scratch space of this worker: models, attempts
	Pool  *trainer.Pool

	Backend     backend.Options // what to choose from; Kind is each run's own
	ONNXRuntime string          // path of libonnxruntime.so; empty: the installed one
	Chromium    string          // program that exports are checked in; empty: the one in PATH, if any
	Hub         hub.Options     // where models named hf:ORG/NAME come from
	Curves      string          // directory of TensorBoard's live files, one below for each run; empty: none are kept

	// FindWeb finds what exports are checked by where they will run; nil: transformersjs.Find.
	FindWeb func() (transformersjs.Runner, error)

	// Secrets answers the environment's variables that URLs refer to; nil: there are none.
	Secrets pipeline.SecretLookup

	PageShards int // shards that one history, payload and document bear; 0: 1,000

	Open func(ctx context.Context, run string) (bool, error) // tells whether a run's workflow is open
	// Others tells whether other workers than this one may serve a queue; nil: there are none.
	Others    func(ctx context.Context, queue string) (bool, error)
	Telemetry *telemetry.Telemetry // nil: none
}

// versions of what a stage makes of the same input; raised by hand when that changes.
const (
	prepareVersion  = 2
	tokenizeVersion = 1
	encodeVersion   = 1
	exportVersion   = 2
)

// scratch makes a new directory for one attempt and answers how to remove it.
// Those of attempts whose process is gone are swept away first.
func (a *Activities) scratch(kind string) (dir string, done func(), err error) {
	root := filepath.Join(a.Dir, "attempts")
	if err := os.MkdirAll(root, 0o755); err != nil {
		return "", nil, fmt.Errorf("scratch directory: %w", err)
	}
	sweep(root)
	dir = filepath.Join(root, kind+"-"+uuid.NewString())
	lock, err := lockNew(dir)
	if err != nil {
		return "", nil, fmt.Errorf("scratch directory: %w", err)
	}
	return dir, func() {
		os.RemoveAll(dir)
		os.Remove(dir + lockSuffix)
		lock.Close()
	}, nil
}
