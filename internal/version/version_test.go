package version

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// built is what a program linked with these flags says it is.
func built(t *testing.T, flags ...string) string {
	t.Helper()
	exe := filepath.Join(t.TempDir(), "print")
	build := exec.Command(
		"go", append(append([]string{"build", "-buildvcs=false"}, flags...), "-o", exe,
			"./testdata/print")...,
	)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	out, err := exec.Command(exe).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// The linker says nothing of a name that is not there: a build that means another one names no version.
func TestEveryBuildSetsTheVersion(t *testing.T) {
	flag := regexp.MustCompile(`-X (\S+)=\$`)
	for _, file := range []string{"Makefile", "deploy/Dockerfile"} {
		text, err := os.ReadFile(filepath.Join("../..", file))
		if err != nil {
			t.Fatal(err)
		}
		named := flag.FindSubmatch(text)
		if named == nil {
			t.Errorf("%s links no version", file)
			continue
		}
		if got := built(t, "-ldflags", "-X "+string(named[1])+"=v1.2.3-4"); got != "v1.2.3-4" {
			t.Errorf("a program built as in %s says it is %q", file, got)
		}
	}
	if got := built(t); got != "dev" {
		t.Errorf("a program built by hand says it is %q", got)
	}
}
