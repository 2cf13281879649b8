package s3d

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/versity/versitygw/s3err"
)

func TestSyncReachesTheObjectAndToleratesItsRemoval(t *testing.T) {
	root := t.TempDir()
	os.MkdirAll(filepath.Join(root, "bucket", "a", "b"), 0o700)
	os.WriteFile(filepath.Join(root, "bucket", "a", "b", "key"), []byte("x"), 0o600)
	d := &durable{root: root}
	bucket := "bucket"
	for _, key := range []string{"a/b/key", "a/b/removed", "gone/altogether"} {
		if err := d.sync(&bucket, &key); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
	under := "a/b/key/under a file"
	if err := d.sync(&bucket, &under); err == nil {
		t.Error("what cannot be synced is acknowledged")
	}
}

func TestFullDiskIsToldAsSuch(t *testing.T) {
	for _, err := range []error{syscall.ENOSPC, fmt.Errorf("write: %w", syscall.EDQUOT)} {
		var api s3err.APIError
		if !errors.As(full(err), &api) || api.HTTPStatusCode != 507 {
			t.Errorf("%v: %v", err, full(err))
		}
	}
	if other := errors.New("other"); full(other) != other || full(nil) != nil {
		t.Error("another error was changed")
	}
}
