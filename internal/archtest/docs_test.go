package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// goFiles calls f with every Go file of the module, by its path in the repository.
func goFiles(t *testing.T, f func(path string, source []byte)) {
	t.Helper()
	const top = "../.."
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != top && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules"):
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".go":
			return nil
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(top, path)
		f(filepath.ToSlash(name), source)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Lines are to have 110 characters at most, a tab counted as 4; what is longer than
// longestLine is not read any more.
const longestLine = 140

func TestNoLineIsTooLongToRead(t *testing.T) {
	goFiles(t, func(path string, source []byte) {
		for i, line := range strings.Split(string(source), "\n") {
			width := utf8.RuneCountInString(line) + 3*strings.Count(line, "\t")
			if width > longestLine {
				t.Errorf("%s:%d: %d characters; wrap at 110", path, i+1, width)
			}
		}
	})
}

func TestEveryExportedNameHasADoc(t *testing.T) {
	files := token.NewFileSet()
	packages := map[string]bool{} // by folder: whether one of its files has a package comment
	goFiles(t, func(path string, source []byte) {
		if strings.HasSuffix(path, "_test.go") {
			return
		}
		file, err := parser.ParseFile(files, path, source, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		packages[filepath.Dir(path)] = packages[filepath.Dir(path)] || file.Doc != nil
		for _, name := range undocumented(file) {
			t.Errorf("%s: exported name %s has no comment", files.Position(name.Pos()), name.Name)
		}
	})
	for _, folder := range slices.Sorted(maps.Keys(packages)) {
		if !packages[folder] {
			t.Errorf("package %s has no comment", folder)
		}
	}
}

// undocumented lists a file's exported names without a comment. A constant's or a
// variable's may be that of its group.
func undocumented(file *ast.File) (names []*ast.Ident) {
	add := func(name *ast.Ident, comments ...*ast.CommentGroup) {
		for _, c := range comments {
			if c != nil {
				return
			}
		}
		if name.IsExported() {
			names = append(names, name)
		}
	}
	for _, declaration := range file.Decls {
		switch d := declaration.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil || isExported(d.Recv.List[0].Type) && !ofInterface[d.Name.Name] {
				add(d.Name, d.Doc)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					add(s.Name, d.Doc, s.Doc, s.Comment)
				case *ast.ValueSpec:
					for _, name := range s.Names {
						add(name, d.Doc, s.Doc, s.Comment)
					}
				}
			}
		}
	}
	return names
}

// ofInterface are methods that everybody knows.
var ofInterface = map[string]bool{"Error": true, "Unwrap": true, "String": true}

// isExported says whether a method's receiver has an exported type.
func isExported(receiver ast.Expr) bool {
	switch r := receiver.(type) {
	case *ast.StarExpr:
		return isExported(r.X)
	case *ast.IndexExpr:
		return isExported(r.X)
	case *ast.IndexListExpr:
		return isExported(r.X)
	case *ast.Ident:
		return r.IsExported()
	}
	return false
}

func TestUndocumentedNamesAreFound(t *testing.T) {
	source := `package p

// Group has a comment.
const (
	A = 1
)

const B = 2

type T struct{}

func (*T) M()     {}
func (T) String() string { return "" }
func (t[X]) N()   {}
func F()          {}
func g()          {}
`
	file, err := parser.ParseFile(token.NewFileSet(), "p.go", source, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, name := range undocumented(file) {
		found = append(found, name.Name)
	}
	if got := strings.Join(found, " "); got != "B T M F" {
		t.Errorf("found %s", got)
	}
}
