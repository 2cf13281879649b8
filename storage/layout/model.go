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

// LatestFile is the name of the document that names the newest version of a model.
const LatestFile = "latest"

// Latest is the key of the document that names the newest version that is published under a name. It is of no group:
// versions come and go, and it is rewritten.
func Latest(name string) string { return Models + "/" + name + "/" + LatestFile }

// NameOf is the name in models/<name> and models/<name>/latest, which stand for its newest version.
func NameOf(key string) (name string, ok bool) {
	name, ok = strings.CutPrefix(strings.TrimSuffix(key, "/"), Models+"/")
	name = strings.TrimSuffix(name, "/"+LatestFile)
	return name, ok && name != "" && !strings.Contains(name, "/")
}

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
