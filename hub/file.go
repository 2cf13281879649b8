package hub

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"path"
	"syscall"

	"distilvit/internal/download"
	"distilvit/internal/retry"
)

// changes of a file while it is fetched, after which we give up.
const changes = 3

// file brings one file into the snapshot.
func (f *fetch) file(ctx context.Context, name string) error {
	if size, ok := f.here(name); ok {
		f.counted(size)
		return nil
	}
	for range changes {
		size, err := f.bring(ctx, name)
		if errors.Is(err, errChanged) {
			continue
		}
		if err == nil {
			f.counted(size)
		}
		return err
	}
	return errChanged
}

// here says whether the snapshot has the file. Only whole and verified files
// are ever linked there; a length that differs is a disk's or a person's doing.
func (f *fetch) here(name string) (size int64, ok bool) {
	info, err := f.root.Stat(path.Join(snapshotsDir, f.commit, name))
	if err != nil || !info.Mode().IsRegular() {
		return 0, false
	}
	want := f.sizes[name]
	return info.Size(), want < 0 || want == info.Size()
}

// bring fetches a file's blob, unless it is there, and links it.
func (f *fetch) bring(ctx context.Context, name string) (int64, error) {
	var a *about
	err := f.client.persist(ctx, func() (err error) {
		a, err = f.client.head(ctx, f.repo, f.commit, name)
		return err
	})
	if err != nil {
		return 0, err
	}
	if want := f.sizes[name]; want >= 0 && want != a.size {
		return 0, fmt.Errorf("the hub says that it has %d bytes and that it has %d", want, a.size)
	}
	unlock, err := f.lock(ctx, a.etag)
	if err != nil {
		return 0, err
	}
	defer unlock()
	blob := path.Join(blobsDir, a.etag)
	if info, err := f.root.Stat(blob); err != nil || !info.Mode().IsRegular() || info.Size() != a.size {
		if err := f.blob(ctx, name, blob, a); err != nil {
			return 0, err
		}
	}
	f.progress(name, a.size)
	return a.size, f.link(name, a.etag)
}

// blob fetches bytes to blob.incomplete and makes them blob once they are
// whole and verified.
func (f *fetch) blob(ctx context.Context, name, blob string, a *about) error {
	if err := f.root.MkdirAll(blobsDir, 0o755); err != nil {
		return f.client.cacheError(err)
	}
	file, err := f.root.OpenFile(blob+incomplete, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return f.client.cacheError(err)
	}
	defer file.Close()
	d := newDownloading(f, name, a, file)
	if err := d.all(ctx); err != nil {
		return err
	}
	if err := errors.Join(file.Sync(), file.Close()); err != nil {
		return f.client.cacheError(err)
	}
	if err := f.root.Rename(blob+incomplete, blob); err != nil {
		return f.client.cacheError(err)
	}
	return nil
}

// downloading is a blob's transfer under way, and the download.Target of it.
type downloading struct {
	*fetch
	name string
	*about
	file     *os.File
	have     int64 // bytes in file
	transfer download.Transfer
}

func newDownloading(f *fetch, name string, a *about, file *os.File) *downloading {
	d := &downloading{fetch: f, name: name, about: a, file: file}
	d.transfer = download.Transfer{
		To: d, Version: download.Version{ETag: a.validator, Size: a.size}, Verified: true,
		Send: d.send, Refuse: d.refuse, Renew: d.renew, Stall: f.client.stall, Pause: f.client.pause,
	}
	return d
}

// all gets every byte and verifies them.
func (d *downloading) all(ctx context.Context) error {
	if err := d.begin(ctx); err != nil {
		return err
	}
	for {
		if err := d.run(ctx); err != nil {
			return err
		}
		err := d.verify(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		again := d.transfer.Resumed
		if err := d.transfer.Restart(ctx); err != nil {
			return err
		}
		if !again {
			return err
		}
		// What an earlier attempt left was not the beginning of this file.
	}
}

// begin takes up what an earlier attempt left, and makes sure that there is
// room for the rest.
func (d *downloading) begin(ctx context.Context) error {
	size, err := d.file.Seek(0, io.SeekEnd)
	if err != nil {
		return d.client.cacheError(err)
	}
	if d.have = size; d.have > d.size {
		if err := d.transfer.Restart(ctx); err != nil {
			return err
		}
	}
	d.transfer.Resumed = d.have > 0
	var disk syscall.Statfs_t
	if err := syscall.Statfs(d.root.Name(), &disk); err != nil {
		return nil // the write will tell
	}
	if free, need := int64(disk.Bavail)*disk.Bsize, d.size-d.have; free < need {
		return fmt.Errorf("cache directory %s: %w: %d MB more are needed and %d MB free; free some or "+
			"set HF_HUB_CACHE",
			d.client.cache, syscall.ENOSPC, need/1e6+1, free/1e6)
	}
	return nil
}

// run gets the bytes that are missing. When more come than the hub says there are, none of them is trusted.
func (d *downloading) run(ctx context.Context) error {
	err := exhausted(d.transfer.Run(ctx))
	if errors.Is(err, download.ErrTooLong) {
		return errors.Join(d.transfer.Restart(ctx), err)
	}
	return err
}

// renew asks again what the file is and where: the addresses of large files expire.
func (d *downloading) renew(ctx context.Context) error {
	now, err := d.client.head(ctx, d.repo, d.commit, d.name)
	if err != nil {
		return err
	}
	if now.etag != d.etag || now.size != d.size {
		return errChanged
	}
	d.about = now
	if now.validator != "" {
		d.transfer.Version = download.Version{ETag: now.validator, Size: now.size}
	}
	return nil
}

// send implements download.Transfer.
func (d *downloading) send(ctx context.Context, header http.Header) (*http.Response, error) {
	response, err := d.client.send(ctx, http.MethodGet, d.location, header, false)
	if err != nil {
		return nil, err
	}
	host := response.Request.URL.Host
	coding := response.Header.Get("Content-Encoding")
	switch n := response.ContentLength; {
	case coding != "" && coding != "identity":
		err = fmt.Errorf("%s sends it as %.20q though that was not asked for", host, coding)
	case response.StatusCode == http.StatusOK && n >= 0 && n != d.size:
		err = fmt.Errorf("%s announces %d bytes instead of %d", host, n, d.size)
	default:
		return response, nil
	}
	response.Body.Close()
	return nil, err
}

// refuse implements download.Transfer.
func (d *downloading) refuse(response *http.Response) error {
	if err := passing(response); err != nil {
		return err
	}
	if u := response.Request.URL; u.Host != d.client.endpoint.Host {
		// An address that expired, most likely: the next try gets a new one.
		return &retry.Passing{Err: fmt.Errorf("%s answers %s", u.Host, statusText(response))}
	}
	return d.client.refusal(d.repo, response)
}

// Have implements download.Target.
func (d *downloading) Have() int64 { return d.have }

// Append implements download.Target.
func (d *downloading) Append(_ context.Context, p []byte) error {
	if _, err := d.file.WriteAt(p, d.have); err != nil {
		return d.client.cacheError(err)
	}
	d.have += int64(len(p))
	d.progress(d.name, d.have)
	return nil
}

// Restart implements download.Target.
func (d *downloading) Restart(context.Context) error {
	d.have = 0
	if err := d.file.Truncate(0); err != nil {
		return d.client.cacheError(err)
	}
	return nil
}

// verify compares the bytes with the digest that is the blob's name: SHA-256
// of large files, git's name of a blob for others.
func (d *downloading) verify(ctx context.Context) error {
	var sum hash.Hash
	if len(d.etag) == hex.EncodedLen(sha256.Size) {
		sum = sha256.New()
	} else {
		sum = sha1.New()
		fmt.Fprintf(sum, "blob %d\x00", d.size)
	}
	if _, err := io.Copy(sum, io.NewSectionReader(&readerAt{ctx, d.file}, 0, d.size)); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return d.client.cacheError(err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != d.etag {
		return fmt.Errorf(
			"what came has digest %s instead of %s: damaged on the way, or not what the hub holds", got,
			d.etag,
		)
	}
	return nil
}

// readerAt ends with its context.
type readerAt struct {
	ctx context.Context
	io.ReaderAt
}

func (r *readerAt) ReadAt(p []byte, off int64) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.ReaderAt.ReadAt(p, off)
}
