package dataset

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// WalkFiles visits what is below a folder and no folder itself, in the order of names, each by its path from there with
// slashes. What begins with a dot is skipped. Links are followed, those to folders too, as people link folders of pictures
// that lie on another disk; one that leads back to a folder around it is an end.
func WalkFiles(dir string, visit func(name string, entry fs.DirEntry) error) error {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	return walkFiles(dir, ".", []string{real}, visit)
}

// walkFiles is WalkFiles of a folder below dir; around are the real paths of it and of those that lead to it.
func walkFiles(dir, folder string, around []string, visit func(string, fs.DirEntry) error) error {
	entries, err := os.ReadDir(filepath.Join(dir, filepath.FromSlash(folder)))
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(folder, e.Name())
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if !isFolder(filepath.Join(dir, filepath.FromSlash(name)), e) {
			if err := visit(name, e); err != nil {
				return err
			}
			continue
		}
		real, err := filepath.EvalSymlinks(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil {
			return err
		}
		if slices.Contains(around, real) {
			continue
		}
		if err := walkFiles(dir, name, append(slices.Clip(around), real), visit); err != nil {
			return err
		}
	}
	return nil
}

// isFolder is whether an entry is a folder or a link to one.
func isFolder(path string, e fs.DirEntry) bool {
	if e.Type()&fs.ModeSymlink == 0 {
		return e.IsDir()
	}
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
