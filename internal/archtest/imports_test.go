package archtest

import (
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	module = "distilvit"
	root   = "../.."
)

// graph is the imports of each package, whatever it is built for, without its tests.
type graph map[string]map[string]bool

// arrow is an import that must not be.
type arrow struct {
	from   []string // packages, or with /... those below, too
	to     []string // the same
	except []string // packages of from that may
	direct bool     // only of itself; otherwise also through other packages of ours
	why    string
}

var arrows = []arrow{
	{
		from: []string{
			module + "/artifact/...", module + "/dataset/...", module + "/model/...", module + "/metrics/...",
			module + "/report/...", module + "/hub/...", module + "/storage/...",
		},
		to: []string{
			"go.temporal.io/...", module + "/pipeline", module + "/workflows", module + "/activities",
		},
		why: "what a run is made of is used and tested without Temporal and without the config",
	},
	{
		from: []string{module + "/..."},
		to:   []string{"github.com/minio/..."},
		except: []string{
			module + "/storage/...", module + "/internal/devstack/...", module + "/deploy/minio/setupuser",
		},
		direct: true,
		why:    "the store is used through package storage, which verifies what it reads",
	},
	{
		from: []string{
			module + "/workflows", module + "/pipeline", module + "/artifact/record",
			module + "/storage/layout",
		},
		to: []string{
			"os/...", "io/fs", "io/ioutil", "path/filepath", "syscall", "golang.org/x/sys/...",
			"net", "net/http/...", "net/rpc/...", "database/...", "github.com/minio/...", "math/rand/...", "crypto/rand",
		},
		why: "a workflow is replayed: it does no I/O and draws nothing",
	},
	{
		from:   []string{module + "/cmd/..."},
		to:     []string{module + "/activities"},
		direct: true,
		why:    "commands start and follow runs; what they do themselves they do by the domain packages",
	},
}

func TestImportsPointOneWay(t *testing.T) {
	g := read(t)
	for _, a := range arrows {
		for _, from := range slices.Concat(a.from, a.except) {
			if !slices.ContainsFunc(slices.Collect(maps.Keys(g)), func(p string) bool { return fits(p, from) }) {
				t.Errorf("there is no package %s, of which a rule tells", from)
			}
		}
		for _, way := range g.breaches(a) {
			t.Errorf("%s: %s", strings.Join(way, " imports "), a.why)
		}
	}
}

// breaches are the shortest ways along which a's packages reach what they must not.
func (g graph) breaches(a arrow) (ways [][]string) {
	for _, from := range slices.Sorted(maps.Keys(g)) {
		if !fits(from, a.from...) || fits(from, a.except...) {
			continue
		}
		seen := map[string]bool{from: true}
		for queue := [][]string{{from}}; len(queue) > 0; queue = queue[1:] {
			way := queue[0]
			for _, to := range slices.Sorted(maps.Keys(g[way[len(way)-1]])) {
				if seen[to] {
					continue
				}
				seen[to] = true
				next := append(slices.Clone(way), to)
				if fits(to, a.to...) {
					ways = append(ways, next)
				} else if !a.direct && g[to] != nil {
					queue = append(queue, next)
				}
			}
		}
	}
	return ways
}

func fits(pkg string, patterns ...string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		above, all := strings.CutSuffix(p, "/...")
		return pkg == above || all && strings.HasPrefix(pkg, above+"/")
	})
}

func TestBreachesAreFoundOnEveryWay(t *testing.T) {
	g := graph{
		"m/a": {"m/b": true, "os": true}, "m/b": {"m/c": true}, "m/c": {"net/http": true, "m/a": true},
		"m/d": {"fmt": true},
	}
	a := arrow{from: []string{"m/..."}, to: []string{"net/...", "os"}, except: []string{"m/c"}}
	var found []string
	for _, way := range g.breaches(a) {
		found = append(found, strings.Join(way, " "))
	}
	want := []string{"m/a os", "m/a m/b m/c net/http", "m/b m/c net/http", "m/b m/c m/a os"}
	if !slices.Equal(found, want) {
		t.Errorf("found %q, want %q", found, want)
	}
	a.direct = true
	if ways := g.breaches(a); len(ways) != 1 || ways[0][0] != "m/a" {
		t.Errorf("direct ones: %q", ways)
	}
}

// read reads the imports of all our packages.
func read(t *testing.T) graph {
	g := graph{}
	for _, file := range sources(t) {
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, file), nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		pkg := path.Join(module, path.Dir(file))
		if g[pkg] == nil {
			g[pkg] = map[string]bool{}
		}
		for _, i := range f.Imports {
			to, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			g[pkg][to] = true
		}
	}
	return g
}

// sources are the module's Go files but for tests, slash-separated, by name.
func sources(t *testing.T) (files []string) {
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		skipped := strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules"
		if d.IsDir() && file != root && skipped {
			return filepath.SkipDir
		}
		if !d.IsDir() && strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") {
			below, err := filepath.Rel(root, file)
			if err != nil {
				return err
			}
			files = append(files, filepath.ToSlash(below))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 100 {
		t.Fatalf("only %d Go files are found", len(files))
	}
	return files
}
