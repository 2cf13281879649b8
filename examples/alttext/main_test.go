package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"distilvit/internal/testenv/modeltest"
)

func TestOnlyPicturesWithoutTextGetOne(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a.png"), modeltest.PNG(t, modeltest.Picture(1)), 0o644))
	file := filepath.Join(dir, "index.html")
	const before = "<!doctype html>\n<P  class=x>1 &lt; 2 <img src=\"a.png\"><img src='a.png' alt='mine'><IMG alt SRC=a.png>\n" +
		"<img src=https://example.org/a.png><img src=../a.png><script>'<img src=a.png>'</script>\n"
	require.NoError(t, os.WriteFile(file, []byte(before), 0o644))
	var said strings.Builder
	require.NoError(t, run(t.Context(), modeltest.Dir(t), "", []string{file}, &said))
	line := strings.Split(strings.TrimSuffix(said.String(), "\n"), "\t")
	require.Len(t, line, 3, "one picture")
	require.NotEmpty(t, line[2])
	after, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, strings.Replace(before, `<img src="a.png">`,
		`<img src="a.png" alt="`+line[2]+`" data-alt="proposed">`, 1), string(after))

	said.Reset()
	require.NoError(t, run(t.Context(), modeltest.Dir(t), "", []string{file}, &said))
	require.Empty(t, said.String(), "nothing is left to say")

	require.NoError(t, os.WriteFile(file, []byte("<img src=none.png>"), 0o644))
	require.ErrorContains(t, run(t.Context(), modeltest.Dir(t), "", []string{file}, &said), "none.png")
}
