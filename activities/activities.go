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
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/google/uuid"

	"distilvit/internal/backend"
	"distilvit/internal/telemetry"
	"distilvit/model/hub"
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
	Hub         hub.Options     // where models named hf:ORG/NAME come from

	Open      func(ctx context.Context, run string) (bool, error) // tells whether a run's workflow is open
	Telemetry *telemetry.Telemetry                                // nil: none
}

// versions of what a stage makes of the same input; raised by hand when that changes.
const (
	prepareVersion  = 2
	tokenizeVersion = 1
	exportVersion   = 1
)

// digestOf is the SHA-256 of v's canonical JSON: the key of what v determines.
func digestOf(v any) (string, error) {
	b, err := storage.Canonical(v)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}

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

// fetchAll fetches objects to files of these names below dir.
func (a *Activities) fetchAll(ctx context.Context, files map[string]pipeline.Object, dir string) error {
	for name, o := range files {
		path := filepath.FromSlash(name)
		if !filepath.IsLocal(path) {
			return invalid("object %s: %q is not a file name", o.Key, name)
		}
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := a.Store.Fetch(ctx, stored(o), path); err != nil {
			return err
		}
	}
	return nil
}

// fileDigest is the SHA-256 of a local file.
func fileDigest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// putBlob stores b under prefix/<sha256>ext unless it is there.
func (a *Activities) putBlob(ctx context.Context, prefix, ext string, b []byte) (pipeline.Object, error) {
	sum := sha256.Sum256(b)
	key := prefix + "/" + hex.EncodeToString(sum[:]) + ext
	if o, err := a.Store.Stat(ctx, key); err == nil && o.Size == int64(len(b)) {
		return pipeline.Object{Key: key, Size: o.Size, SHA256: hex.EncodeToString(sum[:])}, nil
	}
	o, err := a.Store.PutBytes(ctx, key, b)
	return object(o), err
}

func stored(o pipeline.Object) storage.Object {
	return storage.Object{Key: o.Key, Size: o.Size, SHA256: o.SHA256}
}

func object(o storage.Object) pipeline.Object {
	return pipeline.Object{Key: o.Key, Size: o.Size, SHA256: o.SHA256}
}
