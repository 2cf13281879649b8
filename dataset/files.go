package dataset

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Extension ends the names of a kind's files of a role where a folder of them is
// given; "" where it has to be one file.
func Extension(kind, role string) string {
	switch {
	case role == RoleFiles && kind == "webdataset":
		return ".tar"
	case role == RoleFiles:
		return ".parquet"
	case role == RoleImages:
		return ".zip"
	}
	return ""
}

// FilesAt answers the local files that a path of a config names, sorted: the
// file itself, those of a folder that end in ext, or those that fit a pattern. It is an
// error if there are none.
func FilesAt(path, ext string) ([]string, error) {
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return filesBelow(path, ext)
	case err == nil:
		return []string{path}, nil
	case !strings.ContainsAny(path, "*?["):
		return nil, err
	}
	found, err := filepath.Glob(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	found = slices.DeleteFunc(found, func(name string) bool {
		info, err := os.Stat(name)
		return err != nil || info.IsDir()
	})
	if len(found) == 0 {
		return nil, fmt.Errorf("%s: no file fits this pattern", path)
	}
	slices.Sort(found)
	return found, nil
}

// filesBelow lists the files of an ending; what begins with a dot, such as a download's cache, is skipped.
func filesBelow(dir, ext string) ([]string, error) {
	var found []string
	err := WalkFiles(dir, func(name string, _ fs.DirEntry) error {
		if strings.EqualFold(path.Ext(name), ext) {
			found = append(found, filepath.Join(dir, filepath.FromSlash(name)))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s: no %s files in it", dir, ext)
	}
	slices.Sort(found)
	return found, nil
}
