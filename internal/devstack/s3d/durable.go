package s3d

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/s3err"
	"github.com/versity/versitygw/s3response"
)

// durable makes an acknowledged object survive a power cut: the server itself
// never syncs. It also tells a full disk apart from an internal error wherever
// the server does not.
type durable struct {
	*posix.Posix
	root string // absolute
}

func (d *durable) PutObject(
	ctx context.Context, in s3response.PutObjectInput,
) (s3response.PutObjectOutput, error) {
	d.clear(in.Bucket, in.Key)
	out, err := d.Posix.PutObject(ctx, in)
	if err == nil {
		err = d.sync(in.Bucket, in.Key)
	}
	return out, full(err)
}

func (d *durable) CompleteMultipartUpload(
	ctx context.Context, in *s3.CompleteMultipartUploadInput,
) (s3response.CompleteMultipartUploadResult, string, error) {
	d.clear(in.Bucket, in.Key)
	out, version, err := d.Posix.CompleteMultipartUpload(ctx, in)
	if err == nil {
		err = d.sync(in.Bucket, in.Key)
	}
	return out, version, full(err)
}

func (d *durable) CopyObject(
	ctx context.Context, in s3response.CopyObjectInput,
) (s3response.CopyObjectOutput, error) {
	out, err := d.Posix.CopyObject(ctx, in)
	if err == nil {
		err = d.sync(in.Bucket, in.Key)
	}
	return out, full(err)
}

func (d *durable) CreateBucket(ctx context.Context, in *s3.CreateBucketInput, acl []byte) error {
	err := d.Posix.CreateBucket(ctx, in, acl)
	if err == nil {
		err = d.sync(in.Bucket, nil)
	}
	return full(err)
}

func (d *durable) CreateMultipartUpload(
	ctx context.Context, in s3response.CreateMultipartUploadInput,
) (s3response.InitiateMultipartUploadResult, error) {
	out, err := d.Posix.CreateMultipartUpload(ctx, in)
	return out, full(err)
}

func (d *durable) UploadPart(ctx context.Context, in *s3.UploadPartInput) (*s3.UploadPartOutput, error) {
	out, err := d.Posix.UploadPart(ctx, in)
	return out, full(err)
}

func (d *durable) UploadPartCopy(
	ctx context.Context, in *s3.UploadPartCopyInput,
) (s3response.CopyPartResult, error) {
	out, err := d.Posix.UploadPartCopy(ctx, in)
	return out, full(err)
}

// clear removes an empty directory that stands where an object's file belongs: the server refuses to store
// anything there, for ever. One that is not empty stays, with what is in it.
func (d *durable) clear(bucket, key *string) {
	if bucket == nil || key == nil || strings.HasSuffix(*key, "/") || !filepath.IsLocal(filepath.FromSlash(*key)) {
		return
	}
	path := filepath.Join(d.root, *bucket, filepath.FromSlash(*key))
	if info, err := os.Lstat(path); err == nil && info.IsDir() {
		_ = os.Remove(path) // refused where it is not empty
	}
}

// sync writes an object's file, and every directory from it up to the root,
// through to the disk. An object that another request removed meanwhile needs
// nothing.
func (d *durable) sync(bucket, key *string) error {
	if bucket == nil {
		return nil
	}
	path := filepath.Join(d.root, *bucket)
	if key != nil {
		path = filepath.Join(path, filepath.FromSlash(*key))
	}
	for ; strings.HasPrefix(path, d.root); path = filepath.Dir(path) {
		if err := syncPath(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

func full(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return s3err.GetAPIError(s3err.ErrNoSpaceLeftOnDevice)
	}
	return err
}
