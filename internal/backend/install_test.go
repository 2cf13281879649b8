package backend

import (
	"archive/zip"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"distilvit/internal/digest"
)

// leftOut are packages that the pinned ones require and that are not needed here.
var leftOut = map[string]string{
	"nvidia-cuda-crt":  "headers that nvcc compiles against; XLA runs its ptxas and nvlink alone",
	"nvidia-cuda-cccl": "C++ headers",
}

var requirement = regexp.MustCompile(`^([A-Za-z0-9._-]+?)([<>=!~][^;]*)?(;.*)?$`)

// Whatever jax's plugin requires with its CUDA libraries, and what those require, is pinned in a version
// that fits, for both processors, or left out for a reason.
func TestCUDAWheelsArePinnedWithAllTheyRequire(t *testing.T) {
	var told map[string][]string
	raw, err := os.ReadFile("testdata/cuda13-requires.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &told); err != nil {
		t.Fatal(err)
	}
	pins := map[string]pin{}
	for _, p := range wheels[cudaPlugin].pins {
		pins[p.Name] = p
		if _, ok := told[p.Name]; !ok {
			t.Errorf("%s is pinned, and nothing is recorded of what it requires", p.Name)
		}
		for _, arch := range []string{"amd64", "arm64"} {
			if f := p.Files[arch]; len(f.SHA256) != 64 || f.Bytes == 0 {
				t.Errorf("%s: no wheel for %s: %+v", p.requirement(), arch, f)
			}
		}
	}
	if first := wheels[cudaPlugin].pins[0]; first.Name != "jax-cuda13-pjrt" || first.Version != wheels[cudaPlugin].version {
		t.Errorf("the plugin's own wheel is %s", first.requirement())
	}
	seen := 0
	for from, requires := range told {
		for _, line := range requires {
			part := requirement.FindStringSubmatch(strings.ReplaceAll(line, " ", ""))
			if part == nil {
				t.Fatalf("%s requires %q", from, line)
			}
			if strings.Contains(part[3], "extra==") && !strings.Contains(part[3], "with-cuda") {
				continue
			}
			name, range_ := strings.ToLower(part[1]), part[2]
			p, ok := pins[name]
			switch {
			case !ok && leftOut[name] == "":
				t.Errorf("%s requires %s, which is not pinned", from, name)
			case ok && !fits(t, p.Version, range_):
				t.Errorf("%s requires %s%s, pinned is %s", from, name, range_, p.Version)
			}
			seen++
		}
	}
	if seen < 14+9 {
		t.Errorf("only %d requirements are recorded", seen)
	}
}

// fits compares a version with conditions such as >=13.0,<14.
func fits(t *testing.T, version, conditions string) bool {
	t.Helper()
	for c := range strings.SplitSeq(conditions, ",") {
		if c == "" {
			continue
		}
		bound := strings.TrimLeft(c, "<>=")
		order := compare(t, version, bound)
		ok := map[string]bool{">=": order >= 0, "<": order < 0, "==": order == 0}
		is, known := ok[strings.TrimSuffix(c, bound)]
		if !known {
			t.Fatalf("condition %q", c)
		}
		if !is {
			return false
		}
	}
	return true
}

func compare(t *testing.T, a, b string) int {
	t.Helper()
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := range max(len(x), len(y)) {
		var n [2]int
		for k, parts := range [][]string{x, y} {
			if i < len(parts) {
				var err error
				if n[k], err = strconv.Atoi(parts[i]); err != nil {
					t.Fatal(err)
				}
			}
		}
		if n[0] != n[1] {
			return n[0] - n[1]
		}
	}
	return 0
}

// Nothing of a download is unpacked unless every wheel is there and is the pinned one.
func TestOnlyPinnedWheelsAreUnpacked(t *testing.T) {
	downloads := t.TempDir()
	make := func(name, entry string) string {
		path := filepath.Join(downloads, name)
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		z := zip.NewWriter(f)
		w, err := z.Create(entry)
		if err == nil {
			_, err = w.Write([]byte(entry))
		}
		if err == nil {
			err = z.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		sum, _, err := digest.File(path)
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	w := wheel{file: "a/plugin.so"}
	pins := map[string]pin{
		make("a.whl", "a/plugin.so"): {Name: "a", Version: "1"},
		make("b.whl", "b/lib.so"):    {Name: "b", Version: "2"},
	}
	unpack := func() (string, error) {
		dir := t.TempDir()
		return dir, w.unpack(downloads, dir, pins, func(string) {})
	}
	b := filepath.Join(downloads, "b.whl")
	whole, err := os.ReadFile(b)
	if err != nil {
		t.Fatal(err)
	}
	for content, want := range map[string]string{"": "no wheel of b==2", "x" + string(whole): "b.whl has SHA-256"} {
		os.Remove(b)
		if content != "" {
			os.WriteFile(b, []byte(content), 0o600)
		}
		dir, err := unpack()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v instead of %q", err, want)
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("%v was unpacked", left)
		}
	}
	os.WriteFile(b, whole, 0o600)
	dir, err := unpack()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a/plugin.so", "b/lib.so"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}
