package dataset

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"distilvit/dataset/pixels"
)

// maxPictureBytes bounds one picture's file, packed or not.
const maxPictureBytes = pixels.MaxFileBytes

// archive is one open zip of pictures.
type archive struct {
	name   string
	r      io.ReaderAt
	size   int64
	closer io.Closer
}

func openArchive(ctx context.Context, f File) (*archive, error) {
	r, size, closer, err := f.Open(ctx)
	if err != nil {
		return nil, fmt.Errorf("image archive %s: %w", f.Name, err)
	}
	return &archive{f.Name, sourceReader{r}, size, closer}, nil
}

// each calls f with all files of the archive.
func (a *archive) each(f func(name string, e Entry) error) error {
	err := eachEntry(a.r, a.size, f)
	switch {
	case errors.Is(err, errNotZip):
		return fmt.Errorf("image archive %s: not a zip file, or one cut short (%d bytes have no directory "+
			"at their end); download or copy it again", a.name, a.size)
	case err != nil:
		return fmt.Errorf("image archive %s: %w", a.name, err)
	}
	return nil
}

// read answers the whole entry.
func (a *archive) read(ref ImageRef) ([]byte, error) {
	e := ref.Entry
	if e == nil { // listed by an older version
		err := a.each(func(name string, at Entry) error {
			if name == ref.Name {
				e = &at
			}
			return nil
		})
		if err != nil {
			return nil, &SourceError{err}
		}
		if e == nil {
			return nil, fmt.Errorf("picture %s: not in %s", ref.Name, a.name)
		}
	}
	b, err := readEntry(a.r, *e)
	if err != nil {
		return nil, fmt.Errorf("picture %s in %s: %w", ref.Name, a.name, err)
	}
	return b, nil
}

// archives finds pictures by the names that captions files give them.
type archives struct {
	spool   *spool
	entries []entryAt // by hash, then in the archives' order
}

// entryAt is an entry of an archive: 16 bytes of memory.
type entryAt struct {
	base uint64 // hash of the last element of its name
	at   int64  // of its ImageRef in the spool
}

// openArchives reads the directory of every image archive of the source.
func openArchives(ctx context.Context, dir string, files []File) (*archives, error) {
	s, err := newSpool(dir)
	if err != nil {
		return nil, err
	}
	as := &archives{spool: s}
	found := false
	for i, f := range files {
		if f.Role == RoleImages {
			found = true
			if err := as.add(ctx, i, f); err != nil {
				as.close()
				return nil, err
			}
		}
	}
	if !found {
		as.close()
		return nil, errors.New("dataset: no image archive given")
	}
	slices.SortStableFunc(as.entries, func(a, b entryAt) int { return cmp.Compare(a.base, b.base) })
	return as, nil
}

func (as *archives) add(ctx context.Context, file int, f File) error {
	a, err := openArchive(ctx, f)
	if err != nil {
		return err
	}
	defer a.closer.Close()
	return a.each(func(name string, e Entry) error {
		name = validName(name)
		at, err := as.spool.putJSON(ImageRef{File: file, Name: name, Entry: &e})
		as.entries = append(as.entries, entryAt{hash(folded(path.Base(slashed(name)))), at})
		return err
	})
}

// validName is the name as JSON keeps it, in which the lists have it.
func validName(name string) string {
	if utf8.ValidString(name) {
		return name
	}
	return string([]rune(name))
}

// noPicture is a name for which there is not one entry.
type noPicture string

func (e noPicture) Error() string        { return string(e) }
func (e noPicture) Is(target error) bool { return target == errNoPicture }

var errNoPicture = errors.New("no such picture")

// errNotThere is what most of them are.
const errNotThere = noPicture("not in the image archives")

// find answers the entry that a captions file names: see called. What is not there by its name is looked for as a URL
// has it, and one without the extension of a picture with each of them: lists often have the numbers of pictures alone.
func (as *archives) find(name string) (ImageRef, error) {
	ref, err := as.called(name)
	if err == nil || !errors.Is(err, errNotThere) {
		return ref, err
	}
	for _, other := range unescaped(name) {
		if ref, otherErr := as.called(other); otherErr == nil || !errors.Is(otherErr, errNotThere) {
			return ref, otherErr
		}
	}
	if IsPicture(name) {
		return ref, err
	}
	var found []ImageRef
	for _, ext := range pictureExtensions {
		ref, otherErr := as.called(name + ext)
		switch {
		case otherErr == nil:
			found = append(found, ref)
		case !errors.Is(otherErr, errNotThere):
			return ref, otherErr
		}
	}
	switch {
	case len(found) == 0:
		return ref, err
	case len(found) == 1 || isUnread(found[1].Name): // the same picture converted
		return found[0], nil
	}
	return ref, severalPictures(name, found)
}

// unescaped are the names that a URL, or a path taken from one, stands for: without its query, and without %20 and the
// like.
func unescaped(name string) (names []string) {
	if _, rest, ok := strings.Cut(name, "://"); ok {
		if i := strings.IndexAny(rest, "?#"); i >= 0 {
			rest = rest[:i]
		}
		names = append(names, rest)
		name = rest
	}
	if plain, err := url.PathUnescape(name); err == nil && plain != name {
		names = append(names, validName(plain))
	}
	return names
}

// called answers the entry that is called name, in the first archive that has it; else
// the only one whose path ends in name, or that name ends in; else the same without
// regard to case. Of entries of one name in an archive the last counts. A backslash is
// a slash, and how accents are encoded makes no difference.
func (as *archives) called(name string) (ImageRef, error) {
	name = strings.TrimPrefix(path.Clean("/"+slashed(name)), "/")
	same, err := as.ofBase(folded(path.Base(name)))
	if err != nil {
		return ImageRef{}, err
	}
	for _, fold := range []func(string) string{norm.NFC.String, folded} {
		name := fold(name)
		called := func(ref ImageRef) bool { return fold(slashed(ref.Name)) == name }
		if i := slices.IndexFunc(same, called); i >= 0 {
			last := same[i]
			for _, ref := range same[i:] {
				if called(ref) && ref.File == last.File {
					last = ref
				}
			}
			return last, nil
		}
		for _, ends := range []func(ref string) bool{
			func(ref string) bool { return strings.HasSuffix(ref, "/"+name) },
			func(ref string) bool { return strings.HasSuffix(name, "/"+ref) },
		} {
			found := onePerName(same, func(ref ImageRef) bool { return ends(fold(slashed(ref.Name))) })
			switch len(found) {
			case 0:
			case 1:
				return found[0], nil
			default:
				return ImageRef{}, severalPictures(name, found)
			}
		}
	}
	return ImageRef{}, fmt.Errorf("picture %s: %w", name, errNotThere)
}

func severalPictures(name string, found []ImageRef) error {
	return noPicture(fmt.Sprintf("picture %s: may be %s or %s in the image archives, %d in all",
		name, found[0].Name, found[1].Name, len(found)))
}

// ofBase are the entries whose names end in this element, folded, and perhaps others
// of the same hash.
func (as *archives) ofBase(base string) ([]ImageRef, error) {
	sum := hash(base)
	from, _ := slices.BinarySearchFunc(
		as.entries, sum, func(e entryAt, sum uint64) int { return cmp.Compare(e.base, sum) },
	)
	var out []ImageRef
	for _, e := range as.entries[from:] {
		if e.base != sum {
			break
		}
		var ref ImageRef
		if err := as.spool.getJSON(e.at, &ref); err != nil {
			return nil, err
		}
		out = append(out, ref)
	}
	return out, nil
}

// onePerName are the entries that fit; of those of one name in an archive the last.
func onePerName(refs []ImageRef, fits func(ImageRef) bool) []ImageRef {
	var out []ImageRef
	for _, ref := range refs {
		if fits(ref) {
			out = slices.DeleteFunc(
				out, func(other ImageRef) bool { return other.File == ref.File && other.Name == ref.Name },
			)
			out = append(out, ref)
		}
	}
	return out
}

// slashed is a path as zips and captions files of Windows have it, with slashes.
func slashed(name string) string { return strings.ReplaceAll(name, `\`, "/") }

// folded is a name without regard to case and to how accents are encoded: archives
// from a Mac have them decomposed.
func folded(name string) string { return strings.ToLower(norm.NFC.String(name)) }

func (as *archives) close() { as.spool.close() }

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
	case "shapes", "coco", "karpathy", "folder", "json", "webdataset", "parquet":
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
	case o.spec.Kind == "parquet" && ref.Entry == nil:
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
	return a.read(ref)
}

func (o *Opener) archive(ctx context.Context, i int) (*archive, error) {
	if i < 0 || i >= len(o.files) || o.files[i].Role == RoleCaptions {
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
		return nil, &SourceError{err}
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
		return nil, &SourceError{err}
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

// SourceError is a file of a source that cannot be read, as opposed to one bad picture
// in it: the file is broken as a whole, or the store or disk that it comes from is.
type SourceError struct {
	Err error // what happened
}

// Error is the text of what happened.
func (e *SourceError) Error() string { return e.Err.Error() }

// Unwrap answers what happened.
func (e *SourceError) Unwrap() error { return e.Err }
