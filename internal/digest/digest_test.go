package digest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The digest of "abc" is the first example of FIPS 180-4.
const abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

func TestDigestsAreSHA256WithTheNumberOfBytes(t *testing.T) {
	require.Equal(t, abc, Bytes([]byte("abc")))
	s := New()
	for _, part := range []string{"a", "", "bc"} {
		n, err := s.Write([]byte(part))
		require.NoError(t, err)
		require.Equal(t, len(part), n)
	}
	require.Equal(t, abc, s.Hex())
	require.Equal(t, int64(3), s.Size)

	path := filepath.Join(t.TempDir(), "abc")
	require.NoError(t, os.WriteFile(path, []byte("abc"), 0o644))
	hex, size, err := File(path)
	require.NoError(t, err)
	require.Equal(t, abc, hex)
	require.Equal(t, int64(3), size)
	_, _, err = File(path + "d")
	require.ErrorIs(t, err, os.ErrNotExist)
	r, err := Reader(strings.NewReader(strings.Repeat("x", 3<<20)))
	require.NoError(t, err)
	require.Equal(t, int64(3<<20), r.Size)
}
