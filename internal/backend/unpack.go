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

// untar unpacks those regular files of a .tar.gz that keep accepts into dir.
func untar(r io.Reader, dir string, keep func(name string) bool) error {
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
		if h.Typeflag != tar.TypeReg || !keep(h.Name) {
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
