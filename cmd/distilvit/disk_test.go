package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// Not even root makes files below /proc/sys.
func TestDoctorSaysThatADataDirectoryCannotBeWrittenTo(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for dir, want := range map[string]string{
		"/proc/sys/kernel":           "cannot be written to",
		filepath.Join(file, "below"): "is not a directory",
	} {
		f := (&app{dataFlag: dir}).lookDisk()
		require.False(t, f.OK, dir)
		require.Contains(t, f.Detail, want)
		require.NotEmpty(t, f.Fix)
	}
	require.True(t, (&app{dataFlag: filepath.Join(t.TempDir(), "new", "one")}).lookDisk().OK)
}
