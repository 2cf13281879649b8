package hub

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Files names files of a dataset repository, as people write them:
// hf:datasets/ORG/NAME[@REVISION][/PATH].
type Files struct {
	Repo Repo
	Path string // a file, a folder, or a pattern as path.Match has it; "": the whole repository
}

// NamesFiles says whether a source's path is of the hub.
func NamesFiles(s string) bool { return strings.HasPrefix(s, Prefix) }

// filesForm is what names files; a revision of the hub's own may have slashes, and
// those of others are written %2F, as huggingface_hub has it.
var filesForm = regexp.MustCompile(
	`^hf:(?://)?datasets/([^/@]+/[^/@]+)(@(?:refs/(?:convert|pr)/[^/]+|[^/]*))?(?:/(.*))?$`,
)

// ParseFiles reads a name of files of a dataset repository.
func ParseFiles(s string) (Files, error) {
	const form = "use hf:datasets/ORG/NAME[@REVISION]/PATH"
	parts := filesForm.FindStringSubmatch(s)
	if parts == nil {
		return Files{}, fmt.Errorf("%s: names no dataset of the Hugging Face hub; %s", s, form)
	}
	revision, err := url.PathUnescape(strings.TrimPrefix(parts[2], "@"))
	if err != nil || parts[2] == "@" {
		return Files{}, fmt.Errorf("%s: no revision after the @", s)
	}
	f := Files{
		Repo: Repo{Kind: Dataset, ID: parts[1], Revision: revision}.withDefaults(),
		Path: strings.TrimSuffix(parts[3], "/"),
	}
	if err := f.Repo.check(); err != nil {
		return f, fmt.Errorf("%s: %w; %s", s, err, form)
	}
	if f.Path != "" && !safePath(f.Path) {
		return f, fmt.Errorf("%s: %q is no path inside a repository", s, f.Path)
	}
	if _, err := path.Match(f.Path, ""); err != nil {
		return f, fmt.Errorf("%s: pattern %q: %w", s, f.Path, err)
	}
	return f, nil
}

// String is what ParseFiles reads.
func (f Files) String() string {
	return Prefix + path.Join(
		"datasets", f.Repo.ID+"@"+strings.ReplaceAll(f.Repo.Revision, "/", "%2F"), f.Path,
	)
}

// Select chooses the files that the path names, sorted: the file itself, those that
// fit the pattern, or those of the folder or repository that end in ext. It is an
// error if there are none. With ext "" only a file or a pattern will do.
func (f Files) Select(ext string) Select {
	return func(all []string) ([]string, error) {
		chosen := slices.DeleteFunc(slices.Clone(all), func(name string) bool { return !f.names(name, ext) })
		if slices.Contains(chosen, f.Path) {
			chosen = []string{f.Path}
		}
		if len(chosen) == 0 {
			return nil, f.nothing(all, ext)
		}
		slices.Sort(chosen)
		return chosen, nil
	}
}

// names says whether the path names a file.
func (f Files) names(name, ext string) bool {
	if name == f.Path {
		return true
	}
	if strings.ContainsAny(f.Path, "*?[") {
		fits, err := path.Match(f.Path, name)
		return fits && err == nil
	}
	rest, below := strings.CutPrefix("/"+name, strings.TrimSuffix("/"+f.Path, "/")+"/")
	hidden := strings.Contains("/"+rest, "/.")
	return below && !hidden && ext != "" && strings.EqualFold(path.Ext(name), ext)
}

// nothing says why no file is chosen, and what could be.
func (f Files) nothing(all []string, ext string) error {
	const shown = 5
	var have []string
	for _, name := range slices.Sorted(slices.Values(all)) {
		if ext == "" || strings.EqualFold(path.Ext(name), ext) {
			have = append(have, name)
		}
	}
	if n := len(have); n > shown {
		have = append(have[:shown], fmt.Sprintf("and %d more", n-shown))
	}
	what := "no file " + f.Path
	switch {
	case f.Path == "":
		what = "no " + ext + " file"
	case strings.ContainsAny(f.Path, "*?["):
		what = "no file that fits " + f.Path
	}
	switch {
	case len(have) > 0:
		return fmt.Errorf("it has %s; it has %s", what, strings.Join(have, ", "))
	case ext == ".parquet" && f.Repo.Revision == Main:
		return fmt.Errorf(
			"it has %s; the hub may have made .parquet files of it: name revision @refs/convert/parquet",
			what,
		)
	}
	return fmt.Errorf("it has %s", what)
}
