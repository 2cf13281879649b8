package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// keyText is what a text has in it that spells a key of the store, or a part of one.
var keyText = regexp.MustCompile(
	`(^|[\s"'(/])(runs|models|datasets|tokens|sources|weights|condemned|\.check)/|manifest\.json|-b%[dsv]`)

// notKeys are texts that look like keys and are not, by file.
var notKeys = map[string][]struct{ text, why string }{
	"hub/protocol.go":           {{"/datasets/", "a path of the hub's web API"}},
	"hub/dataset.go":            {{"hf:datasets/ORG/NAME", "a form that people write for files of the hub"}},
	"hub/hubtest/hubtest.go":    {{"datasets/", "paths of the hub's web API"}, {"models/", "the same"}},
	"hub/hubtest/push.go":       {{"models/", "paths of the hub's web API"}},
	"track/mlflow.go":           {{"runs/", "verbs of MLflow's web API"}},
	"cmd/distilvit/cmd_push.go": {{"models/NAME/VERSION", "a form that people write"}, {"models/demo/demo-b2", "an example"}},
	"pipeline/publish.go": {
		{"models/NAME/VERSION", "a form that people write"}, {"models/NAME", "the same"}, {"datasets/KEY", "the same"},
	},
	"cmd/distilvit/cmd_schedule.go": {{"models/NAME", "a form that people write, in help texts"}, {"models/<name>", "the same"}},
	"cmd/distilvit/models.go":       {{"models/NAME/VERSION", "a form that people write, in help texts"}},
	"cmd/distilvit/datasets.go":     {{"hf:datasets/ORG/NAME", "a form that people write, in help texts"}},
	"cmd/distilvit/cmd_ls.go": {{"runs/demo/checkpoints/", "an example, in a help text"}, {"models/ -o json", "the same"},
		{"runs/demo/config.json", "the same"}, {"runs/demo/report.html", "the same"}},
	"cmd/distilvit/cmd_recover.go": {{"runs/demo/config.json", "an example, in a help text"}},
	"cmd/distilvit/cmd_rm.go":      {{"runs/RUN/", "the place as people are told of it, in a help text"}},
	"cmd/distilvit/cmd_get.go": {{"public/models/demo", "a local directory, in an example"},
		{"models/NAME/VERSION", "a form that people write"}, {"models/NAME/latest", "the same"}},
	"internal/parity/parity.go": {{"models/", "a local directory of vectors"}},
}

func TestKeysAreSpeltInLayoutAlone(t *testing.T) {
	for _, file := range sources(t) {
		if strings.HasPrefix(file, "storage/layout/") {
			continue
		}
		allowed := notKeys[file]
		used := make([]bool, len(allowed))
		for _, text := range texts(t, file) {
			rest := text.value
			for i, a := range allowed {
				if cut := strings.ReplaceAll(rest, a.text, ""); cut != rest {
					rest, used[i] = cut, true
				}
			}
			if found := keyText.FindString(rest); found != "" {
				t.Errorf("%s:%d: %q looks like a part of a key (%q): make it with a function of storage/layout, "+
					"or say in notKeys what it is", file, text.line, text.value, found)
			}
		}
		for i, a := range allowed {
			if !used[i] {
				t.Errorf("%s has no text with %q any more: take it out of notKeys", file, a.text)
			}
		}
	}
}

type text struct {
	value string
	line  int
}

// texts are the strings that a file has in its code: no imports, tags and comments.
func texts(t *testing.T, file string) (all []text) {
	files := token.NewFileSet()
	f, err := parser.ParseFile(files, filepath.Join(root, file), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ImportSpec:
			return false
		case *ast.Field:
			if n.Tag != nil {
				n.Tag = nil
			}
		case *ast.BasicLit:
			if n.Kind != token.STRING {
				return true
			}
			value, err := strconv.Unquote(n.Value)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, text{value, files.Position(n.Pos()).Line})
		}
		return true
	})
	return all
}

func TestKeysAreKnownByTheirLook(t *testing.T) {
	for s, want := range map[string]bool{
		"runs/%s/config.json": true, "/manifest.json": true, "%s-b%d": true, "see models/x": true,
		".check/": true,
		"runs":    false, "%d tokens": false, "and/or": false, "my_models/": false, "config.json": false,
	} {
		if got := keyText.MatchString(s); got != want {
			t.Errorf("%q looks like a key: %v", s, got)
		}
	}
}
