package pipeline

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// told is the source with its kind, where its files' names tell it, and with one
// path for each number of a pattern such as shard-{000..127}.tar.
func (s SourceConfig) told() SourceConfig {
	s.Images, s.Files = s.Images.numbered(), s.Files.numbered()
	if s.Kind == "" {
		s.Kind = s.kindByName()
	}
	return s
}

// kindByName is empty where the names tell none.
func (s SourceConfig) kindByName() string {
	ending := func(name string) string { return strings.ToLower(path.Ext(strings.TrimRight(name, "/"))) }
	captions, entry := CutEntry(s.Captions)
	if entry != "" {
		captions = entry
	}
	switch {
	case len(s.Files) > 0 && s.Captions == "" && ending(s.Files[0]) == ".parquet":
		return KindParquet
	case len(s.Files) > 0 && s.Captions == "" && len(s.Images) == 0 && ending(s.Files[0]) == ".tar":
		return KindWebDataset
	case len(s.Files) > 0 || len(s.Images) == 0:
	case s.Captions == "":
		return KindFolder
	case ending(captions) == ".json":
		return KindJSON
	case slices.Contains([]string{".csv", ".tsv", ".txt", ".token", ".jsonl", ".ndjson"}, ending(captions)):
		return KindFolder
	}
	return ""
}

// CaptionsWithin says that the captions are among the images.
func (s SourceConfig) CaptionsWithin() bool { return s.Captions == "" && len(s.Files) == 0 }

// numbers is a range in braces, as shells and WebDataset write it.
var numbers = regexp.MustCompile(`\{(\d+)\.\.(\d+)\}`)

// maxNumbered bounds what one pattern stands for.
const maxNumbered = 100_000

// numbered replaces a path with a range of numbers in braces by one for each number,
// with leading zeros where the first has them. A range that is too long stays as it is.
func (p Paths) numbered() Paths {
	var out Paths
	for _, path := range p {
		out = append(out, numberedPath(path)...)
	}
	return out
}

func numberedPath(path string) []string {
	at := numbers.FindStringSubmatchIndex(path)
	if at == nil {
		return []string{path}
	}
	from, to := path[at[2]:at[3]], path[at[4]:at[5]]
	first, err1 := strconv.Atoi(from)
	last, err2 := strconv.Atoi(to)
	if err1 != nil || err2 != nil || last < first || last-first >= maxNumbered {
		return []string{path}
	}
	var out []string
	for n := first; n <= last; n++ {
		out = append(out, numberedPath(fmt.Sprintf("%s%0*d%s", path[:at[0]], len(from), n, path[at[1]:]))...)
		if len(out) > maxNumbered {
			return []string{path}
		}
	}
	return out
}
