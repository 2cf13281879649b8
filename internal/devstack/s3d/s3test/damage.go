package s3test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FlipBit changes one bit of a stored object's bytes on the server's disk, in
// the middle, as a failing disk does.
func (s *Server) FlipBit(t testing.TB, bucket, key string) {
	t.Helper()
	path := filepath.Join(s.dir, "objects", bucket, filepath.FromSlash(key))
	if s.child == nil { // MinIO: the object is a folder with its parts, or with the bytes within the metadata
		path = largestFile(t, filepath.Join(s.dir, bucket, filepath.FromSlash(key)))
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := len(content) / 2
	if strings.HasSuffix(path, "xl.meta") {
		at = len(content) - 1 - len(content)/8 // bytes of the object stand at its end
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0) // in place: the attributes stay
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{content[at] ^ 1}, int64(at)); err != nil {
		t.Fatal(err)
	}
}

// ReplaceByFolder puts a folder with these files where the embedded server has an object's bytes, and answers the
// mode that the bytes had.
func (s *Server) ReplaceByFolder(t testing.TB, bucket, key string, files ...string) fs.FileMode {
	t.Helper()
	path := filepath.Join(s.dir, "objects", bucket, filepath.FromSlash(key))
	info, err := os.Stat(path)
	if err == nil {
		err = os.Remove(path)
	}
	if err == nil {
		err = os.Mkdir(path, 0o755)
	}
	for _, name := range files {
		if err == nil {
			err = os.WriteFile(filepath.Join(path, name), []byte(name), 0o644)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode()
}

// ReplaceByFile puts a file where the embedded server has a folder, and all that is in it.
func (s *Server) ReplaceByFile(t testing.TB, bucket, folder string) {
	t.Helper()
	path := filepath.Join(s.dir, "objects", bucket, filepath.FromSlash(folder))
	err := os.RemoveAll(path)
	if err == nil {
		err = os.WriteFile(path, []byte(folder), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Fill makes many small objects of the embedded server, faster than it takes them: n files of a folder, named by number.
func (s *Server) Fill(t testing.TB, bucket, folder, suffix string, n int) {
	t.Helper()
	dir := filepath.Join(s.dir, "objects", bucket, filepath.FromSlash(folder))
	err := os.MkdirAll(dir, 0o755)
	for i := 0; i < n && err == nil; i++ {
		err = os.WriteFile(filepath.Join(dir, fmt.Sprintf("%08d%s", i, suffix)), []byte{byte(i)}, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Aside are the files that the embedded server has laid aside, by their last names.
func (s *Server) Aside(t testing.TB) (names []string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(s.dir, "aside"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			names = append(names, d.Name())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func largestFile(t testing.TB, dir string) string {
	t.Helper()
	largest, size := "", int64(-1)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Size() > size {
			largest, size = path, info.Size()
		}
		return err
	})
	if err != nil || largest == "" {
		t.Fatalf("no file of an object in %s: %v", dir, err)
	}
	return largest
}
