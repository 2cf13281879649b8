package storage_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"distilvit/internal/devstack/s3d/s3test"
	"distilvit/storage"
	"distilvit/storage/layout"
)

func TestMain(m *testing.M) { s3test.Main(m) }

// onEachServer runs a test against the embedded server and a real MinIO, each
// time with a fresh bucket.
func onEachServer(t *testing.T, test func(t *testing.T, s *storage.Store)) {
	t.Run("embedded", func(t *testing.T) { test(t, open(t, s3test.Start(t))) })
	t.Run("minio", func(t *testing.T) { test(t, open(t, s3test.MinIO(t))) })
}

func open(t *testing.T, server *s3test.Server) *storage.Store {
	t.Helper()
	s, err := storage.Open(t.Context(), configOf(server))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func configOf(server *s3test.Server) storage.Config {
	return storage.Config{
		Endpoint:  server.Endpoint,
		AccessKey: server.AccessKey,
		SecretKey: server.SecretKey,
		Bucket:    fmt.Sprintf("test-%08x", rand.Uint32()),
	}
}

// noise is n bytes that depend on seed alone.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(seed)}).Read(b)
	return b
}

func hexSum(b []byte) string {
	d := sha256.Sum256(b)
	return hex.EncodeToString(d[:])
}

func want(t *testing.T, s *storage.Store, o layout.Object, content []byte) {
	t.Helper()
	if o.Size != int64(len(content)) || o.SHA256 != hexSum(content) {
		t.Errorf("%s: size %d, sha256 %s; want %d, %s", o.Key, o.Size, o.SHA256, len(content),
			hexSum(content))
	}
	got, err := s.GetBytes(context.Background(), o)
	if err != nil {
		t.Error(err)
	} else if !bytes.Equal(got, content) {
		t.Errorf("%s: other bytes came back", o.Key)
	}
	stat, err := s.Stat(context.Background(), o.Key)
	if err != nil {
		t.Error(err)
	} else if stat != o {
		t.Errorf("stat says %+v, want %+v", stat, o)
	}
}

// oneLiner checks that an error is a single line that has all the words.
func oneLiner(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	t.Log(err)
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("not one line: %q", err)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q is not in %q", word, err)
		}
	}
}
