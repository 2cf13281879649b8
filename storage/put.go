package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/minio/minio-go/v7"

	"distilvit/internal/digest"
	"distilvit/storage/layout"
)

// PutFile stores a local file.
func (s *Store) PutFile(ctx context.Context, key, path string) (layout.Object, error) {
	f, err := os.Open(path)
	if err != nil {
		return layout.Object{}, fmt.Errorf("store %s: %w", key, err)
	}
	defer f.Close()
	return s.PutReader(ctx, key, f, -1)
}

// PutBytes stores b.
func (s *Store) PutBytes(ctx context.Context, key string, b []byte) (layout.Object, error) {
	return s.put(ctx, layout.Object{Key: key, Size: int64(len(b)), SHA256: digest.Bytes(b)},
		bytes.NewReader(b))
}

// PutReader stores what r holds from where it stands; size is its length in
// bytes, or -1 where that is not known. What can be rewound is read twice, so
// that its digest goes with it; other streams are not held in memory as a
// whole.
func (s *Store) PutReader(ctx context.Context, key string, r io.Reader, size int64) (layout.Object, error) {
	if seeker, ok := r.(io.ReadSeeker); ok {
		if start, err := seeker.Seek(0, io.SeekCurrent); err == nil {
			return s.putSeeker(ctx, key, seeker, start, size)
		}
	}
	head, err := io.ReadAll(io.LimitReader(r, partSizeBytes))
	if err != nil {
		return layout.Object{}, fmt.Errorf("store %s: %w", key, err)
	}
	if len(head) == partSizeBytes {
		return s.putStream(ctx, key, io.MultiReader(bytes.NewReader(head), r), size)
	}
	if size >= 0 && int64(len(head)) != size {
		return layout.Object{}, wrongLength(key, int64(len(head)), size)
	}
	return s.PutBytes(ctx, key, head)
}

// PutBlob stores a local file under prefix/<sha256><ext>, unless it is there already.
func (s *Store) PutBlob(ctx context.Context, prefix, ext, path string) (layout.Object, error) {
	return s.putBlob(ctx, prefix, ext, path, nil)
}

// PutKnownBlob is PutBlob of a file whose size and digest its writer told. A
// file that is otherwise by now is ErrDamaged, and nothing is stored.
func (s *Store) PutKnownBlob(
	ctx context.Context, prefix, ext, path string, known layout.Object,
) (layout.Object, error) {
	return s.putBlob(ctx, prefix, ext, path, &known)
}

func (s *Store) putBlob(
	ctx context.Context, prefix, ext, path string, known *layout.Object,
) (layout.Object, error) {
	f, err := os.Open(path)
	if err != nil {
		return layout.Object{}, fmt.Errorf("store a blob under %s: %w", prefix, err)
	}
	defer f.Close()
	object, err := read(f)
	if err != nil {
		return layout.Object{}, fmt.Errorf("store a blob under %s: %w", prefix, err)
	}
	if known != nil && (object.Size != known.Size || object.SHA256 != known.SHA256) {
		return layout.Object{}, fmt.Errorf("%s: %w: %d bytes, sha256 %s; %d bytes, sha256 %s were written",
			path, ErrDamaged, object.Size, object.SHA256, known.Size, known.SHA256)
	}
	object.Key = layout.Blob(prefix, object.SHA256, ext)
	stored, err := s.Stat(ctx, object.Key)
	switch {
	case err == nil && stored.Size == object.Size:
		return object, nil
	case err != nil && !errors.Is(err, ErrNotFound):
		return layout.Object{}, err
	}
	return s.put(ctx, object, io.NewSectionReader(f, 0, object.Size))
}

func (s *Store) putSeeker(
	ctx context.Context, key string, r io.ReadSeeker, start, size int64,
) (layout.Object, error) {
	object, err := read(r)
	if err == nil && size >= 0 && object.Size != size {
		err = wrongLength(key, object.Size, size)
	}
	if err == nil {
		_, err = r.Seek(start, io.SeekStart)
	}
	if err != nil {
		return layout.Object{}, fmt.Errorf("store %s: %w", key, err)
	}
	object.Key = key
	if at, ok := r.(io.ReaderAt); ok { // parts are read in parallel
		return s.put(ctx, object, io.NewSectionReader(at, start, object.Size))
	}
	return s.put(ctx, object, io.LimitReader(r, object.Size))
}

// put uploads bytes whose length and digest are known.
func (s *Store) put(ctx context.Context, object layout.Object, r io.Reader) (layout.Object, error) {
	options := putOptions()
	options.UserMetadata = map[string]string{metaSHA256: object.SHA256}
	info, err := s.core.Client.PutObject(ctx, s.config.Bucket, object.Key, r, object.Size, options)
	seeker, ok := r.(io.Seeker)
	for try := 1; ok && try < publishTries && folderGone(ctx, err); try++ {
		if _, err := seeker.Seek(0, io.SeekStart); err != nil {
			return layout.Object{}, fmt.Errorf("store %s: %w", object.Key, err)
		}
		info, err = s.core.Client.PutObject(ctx, s.config.Bucket, object.Key, r, object.Size, options)
	}
	if err != nil {
		return layout.Object{}, s.wrap(ctx, "store", object.Key, err)
	}
	if info.Size != object.Size {
		return layout.Object{}, wrongLength(object.Key, info.Size, object.Size)
	}
	return object, nil
}

// putStream uploads what cannot be rewound; its digest is known only at the end.
func (s *Store) putStream(ctx context.Context, key string, r io.Reader, size int64) (layout.Object, error) {
	sum := digest.New()
	options := putOptions()
	options.ConcurrentStreamParts = true
	_, err := s.core.Client.PutObject(ctx, s.config.Bucket, key, io.TeeReader(r, sum), size, options)
	if err != nil {
		return layout.Object{}, s.wrap(ctx, "store", key, err)
	}
	object := objectOf(sum, key)
	if size >= 0 && object.Size != size {
		return layout.Object{}, wrongLength(key, object.Size, size)
	}
	return object, s.label(ctx, object)
}

// putOnce stores b in one atomic request where nothing is stored under key yet.
func (s *Store) putOnce(ctx context.Context, key string, b []byte) (layout.Object, error) {
	return s.putIf(ctx, key, b, func(o *minio.PutObjectOptions) { o.SetMatchETagExcept("*") })
}

// putIf stores b in one atomic request under a condition.
func (s *Store) putIf(
	ctx context.Context, key string, b []byte, condition func(*minio.PutObjectOptions),
) (layout.Object, error) {
	object := layout.Object{Key: key, Size: int64(len(b)), SHA256: digest.Bytes(b)}
	options := putOptions()
	options.DisableMultipart = true // a multipart upload is not atomic under a condition
	options.UserMetadata = map[string]string{metaSHA256: object.SHA256}
	condition(&options)
	_, err := s.core.Client.PutObject(ctx, s.config.Bucket, key, bytes.NewReader(b), object.Size, options)
	for try := 1; try < publishTries && folderGone(ctx, err); try++ {
		_, err = s.core.Client.PutObject(ctx, s.config.Bucket, key, bytes.NewReader(b), object.Size, options)
	}
	return object, s.wrap(ctx, "publish", key, err)
}

// folderGone: the embedded server keeps objects as files, and another request
// removed the last object beside this one, and the folder with it, between the
// making of the folder and of the file. It takes that for a folder in the way,
// which our keys never have.
func folderGone(ctx context.Context, err error) bool {
	return ctx.Err() == nil && minio.ToErrorResponse(err).Code == "ExistingObjectIsDirectory"
}

// maxCopyBytes is the largest object S3 copies, which is how metadata is set
// after an upload.
const maxCopyBytes = 5 << 30

// label writes an object's digest into its metadata after the upload. Larger
// objects go without: whoever stored them knows the digest.
func (s *Store) label(ctx context.Context, object layout.Object) error {
	if object.Size > maxCopyBytes {
		return nil
	}
	_, err := s.core.Client.CopyObject(ctx, minio.CopyDestOptions{
		Bucket:          s.config.Bucket,
		Object:          object.Key,
		UserMetadata:    map[string]string{metaSHA256: object.SHA256},
		ReplaceMetadata: true,
	}, minio.CopySrcOptions{Bucket: s.config.Bucket, Object: object.Key})
	return s.wrap(ctx, "label", object.Key, err)
}

// putOptions: the payload is guarded by a checksum that the server verifies
// instead of by a signature over its digest, which one of the servers we
// support gets wrong for streams.
func putOptions() minio.PutObjectOptions {
	return minio.PutObjectOptions{
		ContentType:          "application/octet-stream",
		DisableContentSha256: true,
		AutoChecksum:         minio.ChecksumCRC32C,
		PartSize:             partSizeBytes,
		NumThreads:           uploadThreads,
	}
}

func wrongLength(key string, got, want int64) error {
	return fmt.Errorf("store %s: the source has %d bytes, %d were announced", key, got, want)
}

// objectOf is the object of that key with the bytes of a sum.
func objectOf(s *digest.Sum, key string) layout.Object {
	return layout.Object{Key: key, Size: s.Size, SHA256: s.Hex()}
}

// read digests r to its end.
func read(r io.Reader) (layout.Object, error) {
	s, err := digest.Reader(r)
	return objectOf(s, ""), err
}
