package testenv

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Program is the built distilvit, between Main's begin and end.
var Program string

// Main runs a package's tests with Program: the one DISTILVIT_BIN names, or one
// built now. It returns the exit code.
func Main(m *testing.M) int {
	if Program = os.Getenv("DISTILVIT_BIN"); Program != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "distilvit-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	Program = filepath.Join(dir, "distilvit")
	build := exec.Command("go", "build", "-o", Program, "distilvit/cmd/distilvit")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build distilvit:", err)
		return 1
	}
	return m.Run()
}
