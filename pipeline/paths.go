package pipeline

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Paths is one path or URL, or several. One is written as text and not as a
// list, as configs had it before there were lists.
type Paths []string

// onePath is the path alone; empty text is no path.
func onePath(path string) Paths {
	if path == "" {
		return nil
	}
	return Paths{path}
}

// MarshalJSON writes one path as text.
func (p Paths) MarshalJSON() ([]byte, error) {
	switch len(p) {
	case 0:
		return []byte(`""`), nil
	case 1:
		return json.Marshal(p[0])
	}
	return json.Marshal([]string(p))
}

// UnmarshalJSON reads text or a list.
func (p *Paths) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*p = onePath(one)
		return nil
	}
	return json.Unmarshal(data, (*[]string)(p))
}

// String lists the paths for people.
func (p Paths) String() string { return strings.Join(p, ", ") }

// MapPaths answers the source with each of its paths and URLs replaced by f, which
// is given the path's key below the source's and the path without a zip's entry.
func (s SourceConfig) MapPaths(f func(key, path string) (string, error)) (SourceConfig, error) {
	file, entry := CutEntry(s.Captions)
	captions := onePath(file)
	for _, list := range []struct {
		key   string
		paths *Paths
	}{{"captions", &captions}, {"images", &s.Images}, {"files", &s.Files}} {
		mapped := slices.Clone(*list.paths)
		for i, path := range mapped {
			key := list.key
			if len(mapped) > 1 {
				key = fmt.Sprintf("%s[%d]", list.key, i)
			}
			if path == "" {
				continue
			}
			var err error
			if mapped[i], err = f(key, path); err != nil {
				return s, err
			}
		}
		*list.paths = mapped
	}
	if s.Captions = strings.Join(captions, ""); entry != "" {
		s.Captions += "#" + entry
	}
	return s, nil
}

// CutEntry cuts the name of a zip's entry, which stands after a #, off a path or URL:
// annotations.zip#annotations/captions.json. Other paths may hold a #.
func CutEntry(path string) (file, entry string) {
	const mark = ".zip#"
	if at := strings.Index(strings.ToLower(path), mark); at >= 0 {
		return path[:at+len(mark)-1], path[at+len(mark):]
	}
	return path, ""
}

// IsURL tells a URL from a local path.
func IsURL(path string) bool {
	return strings.HasPrefix(path, "http://") || strings.HasPrefix(path, "https://")
}

// remotePath is a URL's path; not every path is a URL.
func remotePath(s string) (string, bool) {
	u, err := url.Parse(secretReference.ReplaceAllString(s, ""))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return "", false
	}
	return u.Path, true
}

// RunPrefix begins the name of a model that the store has, in the place of a directory: run:RUN.
const RunPrefix = "run:"

// FromStore is the run, or what else artifact.FindModel understands, whose published model a config names.
func FromStore(name string) (published string, ok bool) { return strings.CutPrefix(name, RunPrefix) }
