// Package version says which build of distilvit this is. It stands here alone so that all
// who name the program, down to a worker's published manifest, name it alike.
package version

import (
	"cmp"
	"runtime/debug"
)

// linked is set when the program is linked, as the Makefile does:
// -ldflags '-X distilvit/internal/version.linked=v0.1.0'.
var linked string

// Program is the version of this program: what the linker was told, else the module's version
// (go install distilvit@v0.1.0), else "dev". It is the same in every process of one binary.
func Program() string {
	if linked != "" {
		return linked
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "(devel)" {
		return "dev"
	}
	return cmp.Or(info.Main.Version, "dev")
}
