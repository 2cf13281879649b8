package atomicfile

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWriteReplacesAFileAndGivesItsMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	for mode, text := range map[fs.FileMode]string{0o600: "secret", 0o644: "for all to read"} {
		require.NoError(t, WriteBytes(path, mode, []byte(text)))
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, text, string(data))
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode())
	}
}

func TestAFileIsNotThereBeforeItIsComplete(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, Write(path, 0o644, func(w io.Writer) error {
		_, err := io.WriteString(w, "half")
		require.NoError(t, err)
		require.NoFileExists(t, path)
		_, err = io.WriteString(w, " and half")
		return err
	}))
	require.FileExists(t, path)
}

func TestAnErrorLeavesTheOldFileAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	require.NoError(t, WriteBytes(path, 0o644, []byte("old")))
	broken := errors.New("broken")
	require.ErrorIs(t, Write(path, 0o644, func(w io.Writer) error {
		_, err := io.WriteString(w, "new")
		return errors.Join(err, broken)
	}), broken)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "folder"), 0o755))
	require.Error(t, WriteBytes(filepath.Join(dir, "folder"), 0o644, nil), "the last step fails")
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "old", string(data))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 2)
}
