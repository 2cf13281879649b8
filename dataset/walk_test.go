package dataset

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A linked folder counts as the folder, a link back to where it is is not followed, and a link to nothing is no folder.
func TestWalkFollowsLinksButNotInCircles(t *testing.T) {
	elsewhere, dir := t.TempDir(), t.TempDir()
	for _, name := range []string{"b.png", "deep/c.png", ".hidden/d.png", ".e.png"} {
		path := filepath.Join(elsewhere, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, nil, 0o644))
	}
	require.NoError(t, os.Mkdir(filepath.Join(dir, "own"), 0o755))
	for name, to := range map[string]string{
		"images": elsewhere, "a.png": filepath.Join(elsewhere, "b.png"), "own/up": dir, "gone.png": "nowhere",
		"own/again": filepath.Join(elsewhere, "deep"),
	} {
		require.NoError(t, os.Symlink(to, filepath.Join(dir, filepath.FromSlash(name))))
	}
	require.NoError(t, os.Symlink(elsewhere, filepath.Join(elsewhere, "deep", "round")))
	var found []string
	require.NoError(t, WalkFiles(dir, func(name string, _ fs.DirEntry) error {
		found = append(found, name)
		return nil
	}))
	require.Equal(t, []string{"a.png", "gone.png", "images/b.png", "images/deep/c.png", "own/again/c.png",
		"own/again/round/b.png"}, found)
	linked := filepath.Join(t.TempDir(), "linked")
	require.NoError(t, os.Symlink(elsewhere, linked))
	names, err := Pictures(linked)
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Join(linked, "b.png"), filepath.Join(linked, "deep", "c.png")}, names)
}
