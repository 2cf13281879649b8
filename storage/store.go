// Package storage keeps a run's bytes in one bucket of an S3 server: blobs,
// manifests published atomically, verified reads, resumable downloads into the
// bucket and a local cache of verified files. It speaks the portable core of
// S3 that MinIO, AWS and versitygw share (no lifecycle rules, no listing of
// metadata) and knows nothing of what the keys mean. Start reading at Store.
package storage

import (
	"context"
	"io"
	"iter"
)

// Config says where the bucket is and who asks.
type Config struct {
	Endpoint  string // host:port, without a scheme
	AccessKey string
	SecretKey string
	Bucket    string // created when absent
	Region    string // default us-east-1
	Secure    bool   // https
}

// Object names stored bytes.
type Object struct {
	Key    string `json:"key"`
	Size   int64  `json:"size"`   // bytes
	SHA256 string `json:"sha256"` // lower-case hex of the bytes; "" where List does not know it
}

// Store is one bucket. It is safe for concurrent use.
type Store struct{}

// Open connects to the bucket and creates it when it is absent.
func Open(ctx context.Context, c Config) (*Store, error) { return nil, nil }

func (s *Store) PutFile(ctx context.Context, key, path string) (Object, error) { return Object{}, nil }
func (s *Store) PutBytes(ctx context.Context, key string, b []byte) (Object, error) {
	return Object{}, nil
}
func (s *Store) PutReader(ctx context.Context, key string, r io.Reader, size int64) (Object, error) {
	return Object{}, nil
}
func (s *Store) PutBlob(ctx context.Context, prefix, ext, path string) (Object, error) {
	return Object{}, nil
}
func (s *Store) Publish(ctx context.Context, key string, manifest any) error    { return nil }
func (s *Store) PutJSON(ctx context.Context, key string, v any) (Object, error) { return Object{}, nil }
func (s *Store) GetJSON(ctx context.Context, key string, v any) error           { return nil }
func (s *Store) Get(ctx context.Context, key string) (io.ReadCloser, Object, error) {
	return nil, Object{}, nil
}
func (s *Store) GetBytes(ctx context.Context, o Object) ([]byte, error)           { return nil, nil }
func (s *Store) ReaderAt(ctx context.Context, o Object) (*Reader, error)          { return nil, nil }
func (s *Store) Fetch(ctx context.Context, o Object, path string) error           { return nil }
func (s *Store) Stat(ctx context.Context, key string) (Object, error)             { return Object{}, nil }
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[Object, error] { return nil }
func (s *Store) Remove(ctx context.Context, keys ...string) error                 { return nil }
func (s *Store) Download(ctx context.Context, url, key string, o DownloadOptions) (Object, error) {
	return Object{}, nil
}

// Check writes, reads and removes a small object: a preflight of rights and space.
func (s *Store) Check(ctx context.Context) error { return nil }

type Reader struct{}

func (r *Reader) ReadAt(p []byte, off int64) (int, error) { return 0, nil }
func (r *Reader) Size() int64                             { return 0 }
func (r *Reader) Close() error                            { return nil }

type DownloadOptions struct {
	SHA256   string
	Progress func(done, total int64)
	State    []byte
	Save     func([]byte)
}

type Cache struct{}

func NewCache(dir string, maxBytes int64) *Cache { return &Cache{} }

// Path returns a local file with the object's bytes; it stays until Release, whatever the cache's size.
func (c *Cache) Path(ctx context.Context, s *Store, o Object) (string, error) { return "", nil }

// Release lets the cache trim the objects' files again, one count per Path.
func (c *Cache) Release(objects ...Object) {}
