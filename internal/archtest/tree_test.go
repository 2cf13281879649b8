package archtest

import (
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// README's tree is how a newcomer finds the room of a change: it names every folder of packages but those of tests,
// and none that is gone.
func TestTheTreeOfREADMEIsTheRepositorys(t *testing.T) {
	named := treeOfREADME(t)
	for _, name := range named {
		if _, err := os.Stat(filepath.Join("../..", name)); err != nil {
			t.Errorf("README.md names %s: %v", name, err)
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(packageFolders(t))) {
		if strings.Count(dir, "/") < 2 && !strings.HasSuffix(dir, "test") && !slices.Contains(named, dir) {
			t.Errorf("README.md's tree lacks %s/", dir)
		}
	}
}

// treeOfREADME are the paths in README.md's section The tree.
func treeOfREADME(t *testing.T) (names []string) {
	t.Helper()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, tree, _ := strings.Cut(string(readme), "\n## The tree\n")
	tree, _, _ = strings.Cut(tree, "\n## ")
	above := ""
	for line := range strings.Lines(tree) {
		name, _, ok := strings.Cut(strings.TrimPrefix(line, "    "), " ")
		switch {
		case !strings.HasPrefix(line, "    ") || strings.TrimSpace(line) == "":
		case name == "": // below the last that was not
			name, _, _ = strings.Cut(strings.TrimSpace(line), " ")
			names = append(names, path.Join(above, name))
		case ok:
			above = path.Clean(name)
			names = append(names, above)
		}
	}
	if len(names) < 20 {
		t.Fatalf("README.md's tree has %q only", names)
	}
	return names
}

// packageFolders are the folders with Go files.
func packageFolders(t *testing.T) map[string]bool {
	t.Helper()
	folders := map[string]bool{}
	goFiles(t, func(name string, _ []byte) { folders[path.Dir(name)] = true })
	return folders
}
