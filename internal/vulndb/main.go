// Command vulndb makes the database that govulncheck reads of Go's list of vulnerabilities as the module
// golang.org/x/vulndb has it, so that a pinned version of the list comes through the module proxy and nothing else is
// asked. The form is that of https://go.dev/doc/security/vuln/database. And it compares what govulncheck found with the
// list of those that were looked at, triage.txt. make vulncheck uses both.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// entry is what the index needs of a vulnerability in OSV's form.
type entry struct {
	ID       string `json:"id"`
	Modified string `json:"modified"`
	Affected []struct {
		Package struct {
			Name string `json:"name"` // path of a module, or stdlib or toolchain
		} `json:"package"`
	} `json:"affected"`
}

// module is a line of index/modules.json.
type module struct {
	Path  string `json:"path"`
	Vulns []vuln `json:"vulns"`
}

type vuln struct {
	ID       string `json:"id"`
	Modified string `json:"modified"`
}

func main() {
	var err error
	switch {
	case len(os.Args) == 4 && os.Args[1] == "convert":
		err = convert(filepath.Join(os.Args[2], "data", "osv"), os.Args[3])
	case len(os.Args) == 3 && os.Args[1] == "triage":
		err = triageFile(os.Stdin, os.Args[2], os.Stdout)
	default:
		fmt.Fprintln(os.Stderr, "usage: vulndb convert DIRECTORY-OF-golang.org/x/vulndb OUT\n"+
			"       govulncheck -format json … | vulndb triage FILE")
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "vulndb:", err)
		os.Exit(1)
	}
}

func convert(from, to string) error {
	files, err := filepath.Glob(filepath.Join(from, "GO-*.json"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("no vulnerabilities in %s: %w", from, err)
	}
	for _, dir := range []string{"ID", "index"} {
		if err := os.MkdirAll(filepath.Join(to, dir), 0o755); err != nil {
			return err
		}
	}
	modules, newest := map[string][]vuln{}, ""
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		var e entry
		if err := json.Unmarshal(raw, &e); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		newest = max(newest, e.Modified)
		for _, a := range e.Affected {
			v, path := vuln{e.ID, e.Modified}, a.Package.Name
			if !slices.Contains(modules[path], v) {
				modules[path] = append(modules[path], v)
			}
		}
		if err := os.WriteFile(filepath.Join(to, "ID", e.ID+".json"), raw, 0o644); err != nil {
			return err
		}
	}
	index := []module{}
	for path, vulns := range modules {
		index = append(index, module{path, vulns})
	}
	slices.SortFunc(index, func(a, b module) int { return strings.Compare(a.Path, b.Path) })
	for name, document := range map[string]any{"modules": index, "db": map[string]string{"modified": newest}} {
		raw, err := json.Marshal(document)
		if err == nil {
			err = os.WriteFile(filepath.Join(to, "index", name+".json"), raw, 0o644)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
