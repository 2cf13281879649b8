package s3d

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/s3err"
	"github.com/versity/versitygw/s3response"
)

// durable makes an acknowledged object survive a power cut: the server itself
// never syncs. It also tells a full disk apart from an internal error wherever
// the server does not.
type durable struct {
	*posix.Posix
	root       string // absolute
	attributes meta.MetadataStorer
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

// etag is the attribute that every object of the server has.
const etag = "etag"

// clear makes room for an object: a directory may stand where its file belongs, or a file where one of its
// directories does, and the server refuses to store anything there, for ever. An empty directory is removed; what
// is none of the server's objects and holds none is laid aside, with all that is in it; and objects stay.
func (d *durable) clear(bucket, key *string) {
	if bucket == nil || key == nil || strings.HasSuffix(*key, "/") || !filepath.IsLocal(filepath.FromSlash(*key)) {
		return
	}
	name := filepath.FromSlash(*key)
	for parent := filepath.Dir(name); parent != "."; parent = filepath.Dir(parent) {
		if info, err := os.Lstat(filepath.Join(d.root, *bucket, parent)); err == nil && info.Mode().IsRegular() {
			d.layAside(*bucket, parent)
		}
	}
	path := filepath.Join(d.root, *bucket, name)
	if info, err := os.Lstat(path); err == nil && info.IsDir() && os.Remove(path) != nil { // it is not empty
		d.layAside(*bucket, name)
	}
}

// layAside moves what stands in an object's way to a directory of its own beside all objects, and says so in the
// log, unless there is an object of the server in it.
func (d *durable) layAside(bucket, name string) {
	root := filepath.Join(d.root, bucket)
	errObject := errors.New("an object")
	err := filepath.WalkDir(filepath.Join(root, name), func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		within, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if _, err := d.attributes.RetrieveAttribute(nil, bucket, within, etag); err == nil {
			return errObject
		}
		return nil
	})
	var aside string
	if err == nil {
		aside, err = d.aside()
	}
	if err == nil {
		aside = filepath.Join(aside, filepath.Base(name))
		err = os.Rename(filepath.Join(root, name), aside)
	}
	switch {
	case errors.Is(err, errObject):
	case err != nil:
		fmt.Fprintf(os.Stderr, "%s stands where an object belongs: %v\n", filepath.Join(root, name), err)
	default:
		fmt.Fprintf(os.Stderr, "%s stood where an object belongs; it is %s now\n", filepath.Join(root, name), aside)
	}
}

// aside makes a directory for what is laid aside.
func (d *durable) aside() (string, error) {
	dir := filepath.Join(filepath.Dir(d.root), AsideDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	return os.MkdirTemp(dir, time.Now().UTC().Format("20060102-150405-"))
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
