// Package storage keeps a run's bytes in one bucket of an S3 server: blobs,
// manifests published atomically, verified reads, resumable downloads into the
// bucket and a local cache of verified files. It speaks the part of S3 that
// MinIO, AWS and versitygw share (no lifecycle rules, no listing of metadata)
// and knows nothing of what the keys mean. Start reading at Store.
package storage

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"distilvit/storage/layout"
)

const (
	partSizeBytes  = 16 << 20 // of a multipart upload; larger objects are not one PUT
	uploadThreads  = 4        // parts in flight
	maxParts       = 10_000   // S3's own limit
	maxRetries     = 4        // tries of one request; the caller's own retries come on top
	headerTimeout  = 3 * time.Minute
	idleConnsLimit = 64
)

// Config says where the bucket is and who asks.
type Config struct {
	Endpoint  string // host:port, or a URL, whose scheme then decides Secure
	AccessKey string
	SecretKey string
	Role      *Role  // in place of both keys; nil: they must be given
	Bucket    string // created when absent
	Region    string // default us-east-1
	Secure    bool   // https

	RootCAs *x509.CertPool // who may sign the server's certificate; nil: those that the machine trusts

	Transport func(http.RoundTripper) http.RoundTripper // goes around the one that asks; nil: none
}

// Store is one bucket. It is safe for concurrent use.
type Store struct {
	config    Config
	core      minio.Core
	transport http.RoundTripper // what asks, for requests that are not the client's
	verified  verified
}

// Open connects to the bucket and creates it when it is absent. A server that
// does not answer, a wrong secret and missing rights are one clear line each.
func Open(ctx context.Context, c Config) (*Store, error) {
	c, err := c.resolve()
	if err != nil {
		return nil, err
	}
	transport, err := minio.DefaultTransport(c.Secure)
	if err != nil {
		return nil, fmt.Errorf("object store %s: %w", c.url(), err)
	}
	transport.ResponseHeaderTimeout = headerTimeout // completing a large upload takes its time
	transport.MaxIdleConnsPerHost = idleConnsLimit
	if c.Secure && c.RootCAs != nil {
		transport.TLSClientConfig.RootCAs = c.RootCAs
	}
	var asks http.RoundTripper = transport
	if c.Transport != nil {
		asks = c.Transport(transport)
	}
	client, err := minio.New(c.Endpoint, &minio.Options{
		Creds:           c.credentials(),
		Secure:          c.Secure,
		Region:          c.Region,
		BucketLookup:    minio.BucketLookupPath,
		TrailingHeaders: true,
		MaxRetries:      maxRetries,
		Transport:       asks,
	})
	if err != nil {
		return nil, fmt.Errorf("object store %q: %w", c.Endpoint, err)
	}
	s := &Store{config: c, core: minio.Core{Client: client}, transport: asks}
	if err := s.openBucket(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

func (c Config) resolve() (Config, error) {
	if rest, ok := strings.CutPrefix(c.Endpoint, "https://"); ok {
		c.Endpoint, c.Secure = rest, true
	} else if rest, ok := strings.CutPrefix(c.Endpoint, "http://"); ok {
		c.Endpoint, c.Secure = rest, false
	}
	c.Endpoint = strings.TrimSuffix(c.Endpoint, "/")
	if c.Region == "" {
		c.Region = "us-east-1"
	}
	switch {
	case c.Endpoint == "":
		return c, errors.New("object store: no endpoint given")
	case c.Bucket == "":
		return c, fmt.Errorf("object store %s: no bucket given", c.url())
	case c.Role == nil && (c.AccessKey == "" || c.SecretKey == ""):
		return c, fmt.Errorf("object store %s: access key and secret key must both be given", c.url())
	}
	return c, nil
}

func (c Config) credentials() *credentials.Credentials {
	if c.Role != nil {
		return credentials.New(newRoleKeys(*c.Role, c))
	}
	return credentials.NewStaticV4(c.AccessKey, c.SecretKey, "")
}

func (c Config) url() string {
	if c.Secure {
		return "https://" + c.Endpoint
	}
	return "http://" + c.Endpoint
}

// openBucket lists rather than asks for the bucket's head: only an answer with
// a body tells a wrong secret from a missing right.
func (s *Store) openBucket(ctx context.Context) error {
	for _, err := range s.list(ctx, "", 1) {
		if err == nil {
			return nil
		}
		if !errors.Is(err, ErrNotFound) {
			return fmt.Errorf("open: %w", err)
		}
		err := s.core.MakeBucket(ctx, s.config.Bucket, minio.MakeBucketOptions{Region: s.config.Region})
		switch minio.ToErrorResponse(err).Code {
		case "BucketAlreadyOwnedByYou", "BucketAlreadyExists": // somebody was faster
			return nil
		}
		return s.wrap(ctx, "create bucket", "", err)
	}
	return nil
}

// Config that the store was opened with, defaults filled in.
func (s *Store) Config() Config { return s.config }

// Check writes, reads and removes a small object, and sees to it that the
// server honours conditional writes: what a run needs to be able to do, learnt
// before it starts.
func (s *Store) Check(ctx context.Context) error {
	key := layout.Check(rand.Text())
	content := []byte(key + "\n")
	object, err := s.PutBytes(ctx, key, content)
	if err != nil {
		return err
	}
	defer s.Remove(context.WithoutCancel(ctx), key)
	back, err := s.GetBytes(ctx, object)
	if err != nil {
		return err
	}
	if !bytes.Equal(back, content) {
		return s.fail("check", key, ErrCorrupt, "an object came back changed")
	}
	if _, err := s.putOnce(ctx, key, content); err == nil {
		return s.fail("check", key, nil, "the server ignores If-None-Match, so nothing can be published "+
			"atomically; use one that has conditional writes")
	} else if !errors.Is(err, ErrConflict) {
		return err
	}
	return s.Remove(ctx, key)
}

// Stat describes a stored object; ErrNotFound where there is none.
func (s *Store) Stat(ctx context.Context, key string) (layout.Object, error) {
	info, err := s.core.StatObject(ctx, s.config.Bucket, key, minio.StatObjectOptions{})
	if err != nil {
		return layout.Object{}, s.wrap(ctx, "stat", key, err)
	}
	return describe(key, info), nil
}

// List yields the objects below a prefix in the order of their keys, without digests.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[layout.Object, error] {
	return s.list(ctx, prefix, 0)
}

func (s *Store) list(ctx context.Context, prefix string, pageSize int) iter.Seq2[layout.Object, error] {
	return func(yield func(layout.Object, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		options := minio.ListObjectsOptions{Prefix: prefix, Recursive: true, MaxKeys: pageSize}
		for info := range s.core.ListObjectsIter(ctx, s.config.Bucket, options) {
			if info.Err != nil {
				yield(layout.Object{}, s.wrap(ctx, "list", prefix, info.Err))
				return
			}
			if !yield(layout.Object{Key: info.Key, Size: info.Size}, nil) {
				return
			}
		}
		if err := ctx.Err(); err != nil {
			yield(layout.Object{}, s.wrap(ctx, "list", prefix, err))
		}
	}
}

// Remove deletes objects; those that are not there are no error.
func (s *Store) Remove(ctx context.Context, keys ...string) error {
	if len(keys) == 1 {
		err := s.core.RemoveObject(ctx, s.config.Bucket, keys[0], minio.RemoveObjectOptions{})
		return s.wrap(ctx, "remove", keys[0], err)
	}
	infos := func(yield func(minio.ObjectInfo) bool) {
		for _, key := range keys {
			if !yield(minio.ObjectInfo{Key: key}) {
				return
			}
		}
	}
	results, err := s.core.RemoveObjectsWithIter(ctx, s.config.Bucket, infos, minio.RemoveObjectsOptions{})
	if err != nil {
		return s.wrap(ctx, "remove", "", err)
	}
	var errs []error
	for result := range results {
		errs = append(errs, s.wrap(ctx, "remove", result.ObjectName, result.Err))
	}
	errs = append(errs, s.wrap(ctx, "remove", "", ctx.Err()))
	return errors.Join(errs...)
}

// metaSHA256 is the user metadata that holds an object's digest.
const metaSHA256 = "Sha256"

func describe(key string, info minio.ObjectInfo) layout.Object {
	return layout.Object{Key: key, Size: info.Size, SHA256: info.UserMetadata[metaSHA256]}
}
