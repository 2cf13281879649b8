package pipeline

import (
	"fmt"
	"slices"
	"strings"

	"distilvit/internal/spelling"
)

// Problem is one mistake in a config.
type Problem struct {
	// key's path, such as dataset[0].kind; empty: the document as a whole
	Path    string `json:"path"`
	Message string `json:"message"`        // what is wrong and what is allowed
	Line    int    `json:"line,omitempty"` // 1-based line in the document; 0: not known
}

func (p Problem) String() string {
	var b strings.Builder
	if p.Line > 0 {
		fmt.Fprintf(&b, "line %d: ", p.Line)
	}
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Message)
	return b.String()
}

// ConfigError lists every mistake of a config at once, one line each.
type ConfigError struct {
	Problems []Problem
}

func (e *ConfigError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// configError is nil without problems; otherwise they come in the document's order.
func configError(problems []Problem) error {
	if len(problems) == 0 {
		return nil
	}
	slices.SortStableFunc(problems, func(a, b Problem) int { return a.Line - b.Line })
	return &ConfigError{Problems: problems}
}

// mistyped names the known key that was probably meant, or "".
func mistyped(key string, known []string) string {
	if near := spelling.Near(key, known, 1); near != nil {
		return near[0]
	}
	return ""
}
