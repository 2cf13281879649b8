package dataset

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// maxCaptionsBytes bounds a captions file that is packed in a zip.
const maxCaptionsBytes = 4 << 30

// captionsReader reads one form of captions files; name tells its variants apart.
type captionsReader func(r io.Reader, name string, pictures *pictureList) error

// readCaptions reads a source's captions file, which may be an entry of a zip
// such as COCO's annotations_trainval2017.zip.
func readCaptions(
	ctx context.Context, f File, entry string, read captionsReader, pictures *pictureList,
) error {
	r, size, closer, err := f.Open(ctx)
	if err != nil {
		return err
	}
	defer closer.Close()
	if entry == "" && !strings.EqualFold(path.Ext(f.Name), ".zip") {
		return read(io.NewSectionReader(r, 0, size), f.Name, pictures)
	}
	z, err := zip.NewReader(r, size)
	if err != nil {
		return fmt.Errorf("not a zip file, or one cut short: %w", err)
	}
	e, err := captionsEntry(z, entry)
	if err != nil {
		return err
	}
	packed, err := e.Open()
	if err != nil {
		return fmt.Errorf("entry %s: %w", e.Name, err)
	}
	defer packed.Close()
	if err := read(&capped{r: packed, left: maxCaptionsBytes}, e.Name, pictures); err != nil {
		return fmt.Errorf("entry %s: %w", e.Name, err)
	}
	return nil
}

// captionsEntry finds the entry of that name, or the only one where none is given.
func captionsEntry(z *zip.Reader, name string) (*zip.File, error) {
	var all []string
	var found *zip.File
	for _, e := range z.File {
		if e.FileInfo().IsDir() || strings.HasPrefix(e.Name, "__MACOSX/") {
			continue
		}
		if e.Name == name {
			return e, nil
		}
		found = e
		all = append(all, e.Name)
	}
	if name == "" && len(all) == 1 {
		return found, nil
	}
	const most = 20
	if n := len(all); n > most {
		all = append(all[:most], fmt.Sprintf("and %d more", n-most))
	}
	if name == "" {
		return nil, fmt.Errorf("is a zip of %s; name the entry after a #", strings.Join(all, ", "))
	}
	return nil, fmt.Errorf("has no entry %s; it has %s", name, strings.Join(all, ", "))
}

// capped is an io.LimitedReader that fails where there is more.
type capped struct {
	r    io.Reader
	left int64
}

func (c *capped) Read(b []byte) (int, error) {
	if c.left <= 0 {
		return 0, errors.New("unpacks to more than 4 GiB")
	}
	n, err := c.r.Read(b[:min(int64(len(b)), c.left)])
	c.left -= int64(n)
	return n, err
}
