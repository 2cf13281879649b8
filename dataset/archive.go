package dataset

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"sync"
)

// maxPictureBytes bounds one picture's file, packed or not.
const maxPictureBytes = 256 << 20

// archive is one zip of pictures.
type archive struct {
	name    string
	zip     *zip.Reader
	closer  io.Closer
	entries map[string]*zip.File
}

func openArchive(ctx context.Context, f File) (*archive, error) {
	r, size, closer, err := f.Open(ctx)
	if err != nil {
		return nil, fmt.Errorf("image archive %s: %w", f.Name, err)
	}
	z, err := zip.NewReader(r, size)
	if err != nil {
		closer.Close()
		if errors.Is(err, zip.ErrFormat) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("image archive %s: not a zip file, or one cut short (%d bytes have no directory at their end); download or copy it again", f.Name, size)
		}
		return nil, fmt.Errorf("image archive %s: %w", f.Name, err)
	}
	a := &archive{name: f.Name, zip: z, closer: closer, entries: make(map[string]*zip.File, len(z.File))}
	for _, e := range z.File {
		if !e.FileInfo().IsDir() {
			a.entries[e.Name] = e
		}
	}
	return a, nil
}

// read answers the whole entry, verified by its CRC.
func (a *archive) read(name string) ([]byte, error) {
	e := a.entries[name]
	if e == nil {
		return nil, fmt.Errorf("picture %s: not in %s", name, a.name)
	}
	if e.UncompressedSize64 > maxPictureBytes {
		return nil, fmt.Errorf("picture %s: %d bytes, more than %d", name, e.UncompressedSize64, maxPictureBytes)
	}
	r, err := e.Open()
	if err != nil {
		return nil, fmt.Errorf("picture %s in %s: %w", name, a.name, err)
	}
	defer r.Close()
	var b bytes.Buffer
	b.Grow(int(min(e.UncompressedSize64, 1<<20)) + bytes.MinRead)               // no more for a size that may be a lie
	if _, err := b.ReadFrom(io.LimitReader(r, maxPictureBytes+1)); err != nil { // ends with the CRC's check
		return nil, fmt.Errorf("picture %s in %s: %w", name, a.name, err)
	}
	if b.Len() > maxPictureBytes {
		return nil, fmt.Errorf("picture %s: more than %d bytes", name, maxPictureBytes)
	}
	return b.Bytes(), nil
}

// archives finds pictures by the names that captions files give them.
type archives struct {
	byIndex map[int]*archive
	exact   map[string]place   // full entry name
	base    map[string][]place // last element of the entry's name
}

type place struct {
	file int // index into the source's files
	name string
}

// openArchives reads the directory of every image archive of the source.
func openArchives(ctx context.Context, files []File) (*archives, error) {
	as := &archives{byIndex: map[int]*archive{}, exact: map[string]place{}, base: map[string][]place{}}
	for i, f := range files {
		if f.Role != RoleImages {
			continue
		}
		a, err := openArchive(ctx, f)
		if err != nil {
			as.close()
			return nil, err
		}
		as.byIndex[i] = a
		for _, e := range a.zip.File {
			if a.entries[e.Name] != e {
				continue
			}
			p := place{file: i, name: e.Name}
			if _, ok := as.exact[e.Name]; !ok {
				as.exact[e.Name] = p
			}
			as.base[path.Base(e.Name)] = append(as.base[path.Base(e.Name)], p)
		}
	}
	if len(as.byIndex) == 0 {
		return nil, errors.New("dataset: no image archive given")
	}
	return as, nil
}

// locate finds a listed picture by either of its names.
func (as *archives) locate(p listed) (file int, entry string, err error) {
	file, entry, err = as.find(p.name)
	if err != nil && p.also != "" {
		if file, entry, also := as.find(p.also); also == nil {
			return file, entry, nil
		}
	}
	return file, entry, err
}

// find answers the entry that is called name, or the only one whose path ends in it.
func (as *archives) find(name string) (file int, entry string, err error) {
	name = strings.TrimPrefix(path.Clean("/"+strings.ReplaceAll(name, `\`, "/")), "/")
	if p, ok := as.exact[name]; ok {
		return p.file, p.name, nil
	}
	var found []place
	for _, p := range as.base[path.Base(name)] {
		if strings.HasSuffix(p.name, "/"+name) {
			found = append(found, p)
		}
	}
	switch len(found) {
	case 1:
		return found[0].file, found[0].name, nil
	case 0:
		return -1, "", fmt.Errorf("picture %s: not in the image archives", name)
	}
	return -1, "", fmt.Errorf("picture %s: %d entries of the image archives end in that name", name, len(found))
}

func (as *archives) close() {
	for _, a := range as.byIndex {
		a.closer.Close()
	}
}

// Opener reads the pictures of one source; safe for concurrent use.
type Opener struct {
	spec  Spec
	files []File

	mu     sync.Mutex
	open   map[int]*archive
	tables map[int]*pictureTable
}

// NewOpener answers an opener that opens each archive when a picture of it is first asked for.
func NewOpener(spec Spec, files []File) (*Opener, error) {
	switch spec.Kind {
	case "shapes", "coco", "karpathy", "folder", "parquet":
	default:
		return nil, unknownKind(spec.Kind)
	}
	return &Opener{spec: spec, files: files, open: map[int]*archive{}, tables: map[int]*pictureTable{}}, nil
}

// Open answers the picture's file as it was stored; for a generated scene, a PNG.
func (o *Opener) Open(ctx context.Context, ref ImageRef) ([]byte, error) {
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case ref.Missing != "":
		return nil, errors.New(ref.Missing)
	case ref.Scene != nil:
		return ref.Scene.PNG()
	case o.spec.Kind == "parquet":
		t, err := o.table(ctx, ref.File)
		if err != nil {
			return nil, err
		}
		return t.read(ref.Row)
	}
	a, err := o.archive(ctx, ref.File)
	if err != nil {
		return nil, err
	}
	return a.read(ref.Name)
}

func (o *Opener) archive(ctx context.Context, i int) (*archive, error) {
	if i < 0 || i >= len(o.files) || o.files[i].Role != RoleImages {
		return nil, fmt.Errorf("image archive %d: the source has no such file", i)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if a := o.open[i]; a != nil {
		return a, nil
	}
	// The archive stays open for later calls, so it must outlive this one's context.
	a, err := openArchive(context.WithoutCancel(ctx), o.files[i])
	if err != nil {
		return nil, &ArchiveError{err}
	}
	o.open[i] = a
	return a, nil
}

// table is archive for a Parquet file.
func (o *Opener) table(ctx context.Context, i int) (*pictureTable, error) {
	if i < 0 || i >= len(o.files) || o.files[i].Role != RoleFiles {
		return nil, fmt.Errorf("file %d: the source has no such file", i)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if t := o.tables[i]; t != nil {
		return t, nil
	}
	t, err := openPictures(context.WithoutCancel(ctx), o.files[i], o.spec.Columns.Image)
	if err != nil {
		return nil, &ArchiveError{err}
	}
	o.tables[i] = t
	return t, nil
}

// Close closes the archives.
func (o *Opener) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	var errs []error
	for _, a := range o.open {
		errs = append(errs, a.closer.Close())
	}
	for _, t := range o.tables {
		errs = append(errs, t.closer.Close())
	}
	o.open, o.tables = map[int]*archive{}, map[int]*pictureTable{}
	return errors.Join(errs...)
}

// ArchiveError is a whole archive that cannot be read, as opposed to one bad
// picture: the source is broken, or the store it comes from is.
type ArchiveError struct{ Err error }

func (e *ArchiveError) Error() string { return e.Err.Error() }
func (e *ArchiveError) Unwrap() error { return e.Err }
