package layout

import (
	"fmt"
	"strconv"
	"strings"
)

// Model is a published model: what one branch of a run published under a name.
type Model struct {
	Name   string
	Run    string
	Branch int // counted from 1
}

// Group is models/<name>/<version>.
func (m Model) Group() string { return Models + "/" + m.Name + "/" + m.Version() }

// Version is <run>-b<branch>.
func (m Model) Version() string { return fmt.Sprintf("%s-b%d", m.Run, m.Branch) }

// ParseModel reads the group of a published model, or a key below it.
func ParseModel(key string) (m Model, ok bool) {
	part := strings.Split(key, "/")
	if len(part) < 3 || part[0] != Models {
		return m, false
	}
	version := part[2]
	at := strings.LastIndex(version, "-b")
	if at <= 0 {
		return m, false
	}
	branch, err := strconv.ParseUint(version[at+2:], 10, 31)
	return Model{part[1], version[:at], int(branch)}, err == nil
}
