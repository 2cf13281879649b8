package backend

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// zipHolds reports whether a zip has an entry of that name.
func zipHolds(path, name string) (bool, error) {
	r, err := zip.OpenReader(path)
	if err != nil {
		return false, fmt.Errorf("read %s: %w", filepath.Base(path), err)
	}
	defer r.Close()
	for _, f := range r.File {
		if f.Name == name {
			return true, nil
		}
	}
	return false, nil
}

// unzip unpacks the entries that keep accepts into dir.
func unzip(path, dir string, keep func(name string) bool) error {
	r, err := zip.OpenReader(path)
	if err != nil {
		return fmt.Errorf("read %s: %w", filepath.Base(path), err)
	}
	defer r.Close()
	for _, f := range r.File {
		if f.FileInfo().IsDir() || !keep(f.Name) {
			continue
		}
		in, err := f.Open()
		if err != nil {
			return fmt.Errorf("read %s: %w", f.Name, err)
		}
		err = writeFile(dir, f.Name, f.Mode().Perm()|0o600, in)
		in.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// untar unpacks the regular files of a .tar.gz into dir.
func untar(r io.Reader, dir string) error {
	z, err := gzip.NewReader(r)
	if err != nil {
		return err
	}
	t := tar.NewReader(z)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if err := writeFile(dir, filepath.Clean(h.Name), 0o755, t); err != nil {
			return err
		}
	}
}

// writeFile writes an archive's entry below dir and nowhere else.
func writeFile(dir, name string, mode os.FileMode, in io.Reader) error {
	if !filepath.IsLocal(name) {
		return fmt.Errorf("archive entry %q leaves its folder", name)
	}
	path := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	out, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return fmt.Errorf("unpack %s: %w", name, err)
	}
	if err := out.Sync(); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
