package onnx

import (
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"distilvit/model"
)

var update = flag.Bool("update", false, "write testdata/sha256.txt anew")

// The files of given weights stay the same, bit for bit: what has been published can be made again. Whoever
// changes them on purpose runs go test ./model/onnx -run Golden -update, and raises exportVersion.
func TestGoldenFiles(t *testing.T) {
	for name, c := range map[string]*model.Config{
		"testdata/sha256.txt": testConfig(32, 48), "testdata/prefix/sha256.txt": prefixConfig(),
	} {
		wantGolden(t, name, c)
	}
}

func wantGolden(t *testing.T, name string, c *model.Config) {
	t.Helper()
	var lines strings.Builder
	for _, dtype := range Dtypes() {
		dir := export(t, c, lively(c, 1), dtype)
		for _, file := range []string{EncoderFile(dtype), DecoderFile(dtype)} {
			sum := sha256.Sum256(read(t, dir, file))
			lines.WriteString(hex.EncodeToString(sum[:]) + "  " + filepath.ToSlash(file) + "\n")
		}
	}
	if *update {
		if err := os.WriteFile(name, []byte(lines.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != lines.String() {
		t.Errorf("%s: the files' digests are\n%s, want\n%s", name, lines.String(), want)
	}
}
