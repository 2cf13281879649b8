package dataset

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// packBytes bounds an archive that Pack makes; a picture larger than that has one alone.
const packBytes = 256 << 20

// zipOverhead is more than a stored entry's headers take, its name (twice) not counted.
const zipOverhead = 256

// pictureExtensions are the files that Pack takes, whether they can be decoded or not: a photograph of a phone that is
// passed over because of its format would be missed by nobody.
var pictureExtensions = slices.Concat(readExtensions, unreadExtensions)

// readExtensions end the names of pictures that are read.
var readExtensions = []string{
	".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".avif",
	".jfif", ".jpe", ".mpo", ".apng", ".avifs",
}

// unreadExtensions end the names of photographs in formats that are not read (docs/pictures.md).
var unreadExtensions = []string{".heic", ".heif", ".heics", ".heifs", ".hif", ".jp2", ".j2k", ".jpf", ".jpx", ".jxl"}

// isUnread says whether a name ends as that of a picture whose format is not read.
func isUnread(name string) bool {
	return slices.Contains(unreadExtensions, strings.ToLower(path.Ext(name)))
}

// withoutConverted leaves out what nobody misses: a picture in a format that is not read, beside one of the same
// name in a format that is, as it stands after conversion.
func withoutConverted(names []string) []string {
	read := map[string]bool{}
	for _, name := range names {
		if !isUnread(name) {
			read[folded(stem(name))] = true
		}
	}
	return slices.DeleteFunc(names, func(name string) bool { return isUnread(name) && read[folded(stem(name))] })
}

// stem is a name without its extension.
func stem(name string) string { return strings.TrimSuffix(name, path.Ext(name)) }

// Pack puts the pictures below dir into zip archives of at most 256 MiB, without
// compression, in the order of their names; with captions also the files of captions
// among them (IsCaptionsWithin). The same files make the same bytes. emit is called
// once per archive and calls write with where to put it.
func Pack(
	ctx context.Context, dir string, captions bool, emit func(name string, write func(io.Writer) error) error,
) error {
	return pack(ctx, dir, captions, packBytes, emit)
}

// picture is one file below the packed folder.
type picture struct {
	name string // relative, with slashes
	size int64
}

func pack(
	ctx context.Context, dir string, captions bool, maxBytes int64,
	emit func(name string, write func(io.Writer) error) error,
) error {
	pictures, err := picturesIn(dir, captions)
	if err != nil {
		return err
	}
	if len(pictures) == 0 {
		return fmt.Errorf(
			"image folder %s: no pictures (%s) in it", dir, strings.Join(readExtensions, " "),
		)
	}
	for n := 0; len(pictures) > 0; n++ {
		count, bytes := 0, int64(0)
		for _, p := range pictures {
			bytes += p.size + 2*int64(len(p.name)) + zipOverhead
			if count > 0 && bytes > maxBytes {
				break
			}
			count++
		}
		batch := pictures[:count]
		pictures = pictures[count:]
		name := fmt.Sprintf("images-%04d.zip", n)
		if err := emit(name, func(w io.Writer) error {
			return writeArchive(ctx, w, dir, batch)
		}); err != nil {
			return fmt.Errorf("pack %s: %w", dir, err)
		}
	}
	return nil
}

// Pictures answers the paths of the pictures below dir, sorted: those that Pack takes, but for a picture whose format
// is not read beside the same one converted.
func Pictures(dir string) ([]string, error) {
	found, err := picturesIn(dir, false)
	names := make([]string, len(found))
	for i, p := range found {
		names[i] = p.name
	}
	names = withoutConverted(names)
	for i, name := range names {
		names[i] = filepath.Join(dir, filepath.FromSlash(name))
	}
	return names, err
}

// picturesIn lists the pictures below dir, and with captions theirs, sorted; links are followed.
func picturesIn(dir string, captions bool) ([]picture, error) {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("image folder %s: does not exist", dir)
	}
	if err != nil {
		return nil, fmt.Errorf("image folder: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("image folder %s: not a folder", dir)
	}
	var pictures []picture
	root := os.DirFS(dir)
	err = WalkFiles(dir, func(p string, _ fs.DirEntry) error {
		if !IsPicture(p) && !(captions && IsCaptionsWithin(p)) {
			return nil
		}
		info, err := fs.Stat(root, p)
		if err != nil {
			return err
		}
		if info.Mode().IsRegular() {
			pictures = append(pictures, picture{name: p, size: info.Size()})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("image folder %s: %w", dir, err)
	}
	slices.SortFunc(pictures, func(a, b picture) int { return strings.Compare(a.name, b.name) })
	return pictures, nil
}

func writeArchive(ctx context.Context, w io.Writer, dir string, pictures []picture) error {
	z := zip.NewWriter(w)
	for _, p := range pictures {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := addPicture(z, dir, p); err != nil {
			return err
		}
	}
	return z.Close()
}

// addPicture stores one file. No time and no mode, so the bytes are those of the pictures alone.
func addPicture(z *zip.Writer, dir string, p picture) error {
	f, err := os.Open(filepath.Join(dir, filepath.FromSlash(p.name)))
	if err != nil {
		return err
	}
	defer f.Close()
	e, err := z.CreateHeader(&zip.FileHeader{Name: p.name, Method: zip.Store})
	if err != nil {
		return err
	}
	n, err := io.Copy(e, f)
	if err == nil && n != p.size {
		err = fmt.Errorf("%s changed while it was read: %d bytes, had %d", p.name, n, p.size)
	}
	return err
}
