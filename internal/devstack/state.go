package devstack

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"distilvit/internal/atomicfile"
	"distilvit/internal/devstack/s3d"

	"github.com/google/uuid"
	"go.temporal.io/server/common/headers"
	"golang.org/x/sys/unix"
)

// Files of a state directory. The database is named by the server's version:
// the server migrates no SQLite file.
const (
	lockName  = "lock"
	stateName = "state.json" // what stays: versions and credentials
	stackName = "stack.json" // Addresses of the stack that runs now
	s3Name    = "s3"
	logsName  = "logs"
)

var databaseName = "temporal-" + headers.ServerVersion + ".db"

// stateFormat is raised when an older program could not go on with the directory.
const stateFormat = 1

const stateProgram = "distilvit"

// state is what a directory keeps between starts, readable by its owner only.
type state struct {
	Program   string `json:"program"`
	Format    int    `json:"format"`
	Temporal  string `json:"temporal"`   // server's version
	ClusterID string `json:"cluster_id"` // of the Temporal cluster, a UUID
	AccessKey string `json:"access_key"` // of the S3 server
	SecretKey string `json:"secret_key"`

	// once database and store have both been there: from then on it is a loss if one is not
	Settled bool `json:"settled,omitempty"`
	// the store was lost and begins anew, as a person has said; until Settled
	Anew bool `json:"anew,omitempty"`
}

// errNewer is a state that only a newer program understands.
var errNewer = errors.New("was written by a newer distilvit")

// loadState reads the directory's state, or makes one where there is none yet.
func loadState(dir string) (state, error) {
	s, err := readState(filepath.Join(dir, stateName))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return newState(dir)
	case err != nil:
		return state{}, err
	case s.Format > stateFormat:
		return state{}, fmt.Errorf("%s %w (state format %d, this program knows %d); use that one, or another "+
			"data directory", dir, errNewer, s.Format, stateFormat)
	case s.Temporal != headers.ServerVersion:
		return state{}, fmt.Errorf("%s was written with Temporal %s and this program has %s, between "+
			"which there is no migration; use the distilvit that wrote it, or another data directory", dir,
			s.Temporal, headers.ServerVersion)
	case s.AccessKey == "" || s.SecretKey == "" || uuid.Validate(s.ClusterID) != nil:
		return state{}, fmt.Errorf("%s is damaged; %s", filepath.Join(dir, stateName), toDo)
	}
	return s, nil
}

// readState reads a state as it is.
func readState(path string) (s state, err error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return s, err
	}
	if json.Unmarshal(content, &s) != nil || s.Program != stateProgram {
		return s, fmt.Errorf("%s is not of this program, or damaged; choose another data directory, or put it back "+
			"(distilvit recover makes a new one for an object store of ours)", path)
	}
	return s, nil
}

// newState refuses a directory in which another program's state lies, or ours
// without its credentials.
func newState(dir string) (state, error) {
	databases, err := filepath.Glob(filepath.Join(escapeGlob(dir), "temporal*.db"))
	if err != nil {
		return state{}, err
	}
	for _, path := range append(databases, filepath.Join(dir, s3Name)) {
		if _, err := os.Lstat(path); err == nil {
			return state{}, fmt.Errorf("%s exists, but no %s beside it: this is another program's state, "+
				"or an incomplete copy; choose another data directory, or put it back (distilvit recover makes a "+
				"new one for an object store of ours)", path, stateName)
		}
	}
	s := freshState()
	return s, writePrivate(filepath.Join(dir, stateName), s)
}

// freshState has keys and an identity of its own.
func freshState() state {
	return state{
		Program:   stateProgram,
		Format:    stateFormat,
		Temporal:  headers.ServerVersion,
		ClusterID: uuid.NewString(),
		AccessKey: strings.ToLower(rand.Text()[:16]),
		SecretKey: rand.Text() + rand.Text(),
	}
}

func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// tighten takes from others what they may do with histories, objects and logs: the directory itself may have
// been made by somebody else, for all to read.
func tighten(dir string) error {
	for name, mode := range map[string]fs.FileMode{databaseName: 0o600, s3Name: 0o700, logsName: 0o700} {
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) || err == nil && info.Mode().Perm()&0o077 == 0 {
			continue
		}
		if err == nil {
			err = os.Chmod(path, mode)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// escapePath makes a path safe in SQLite's file: URL.
func escapePath(path string) string { return (&url.URL{Path: path}).EscapedPath() }

// writePrivate replaces a JSON file that only its owner may read.
func writePrivate(path string, v any) error {
	content, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.WriteBytes(path, 0o600, append(content, '\n'))
}

// ErrBusy means that another process is about to start or to close the
// directory's stack: Find will tell in a moment.
var ErrBusy = errors.New("is in use by another process")

// busy is an ErrBusy that says by whom.
type busy struct{ error }

func (busy) Is(target error) bool { return target == ErrBusy }

// lockDir takes the directory for this process. The lock belongs to the open
// file, so Find can ask for it without taking it, and it ends with the process.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
	if err == nil {
		return f, nil
	}
	f.Close()
	if !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EACCES) {
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	if running, ok := Find(dir); ok {
		return nil, busy{fmt.Errorf("%s is in use by process %d, whose web UI is at %s", dir,
			running.PID, running.UI)}
	}
	return nil, fmt.Errorf("%s %w", dir, ErrBusy)
}

// Exists says whether a stack has ever run in a directory, by anything it leaves there, and makes nothing. Where that
// cannot be seen it may have: whoever opens it hears why not.
func Exists(dir string) bool {
	for _, name := range []string{stateName, databaseName, s3Name} {
		if _, err := os.Stat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			return true
		}
	}
	return false
}

// ObjectsDir is where the objects of a bucket whose keys begin with prefix/ lie below a state directory,
// BUCKET/prefix: to look, without a stack, whether there are any. Only the S3 server reads or writes them.
func ObjectsDir(dir, prefix string) string { return filepath.Join(dir, s3Name, s3d.ObjectsDir, prefix) }

// Find tells where the live stack of a directory listens, if there is one.
func Find(dir string) (*Addresses, bool) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR, 0)
	if err != nil {
		return nil, false
	}
	defer f.Close()
	held := unix.Flock_t{Type: unix.F_WRLCK}
	if unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &held) != nil || held.Type == unix.F_UNLCK {
		return nil, false
	}
	content, err := os.ReadFile(filepath.Join(dir, stackName))
	if err != nil {
		return nil, false
	}
	var a Addresses
	if json.Unmarshal(content, &a) != nil || a.PID <= 0 || syscall.Kill(a.PID, 0) == syscall.ESRCH {
		return nil, false
	}
	return &a, true
}
