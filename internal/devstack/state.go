package devstack

import (
	"bytes"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/google/uuid"
	"go.temporal.io/server/common/headers"
	"golang.org/x/sys/unix"
	_ "modernc.org/sqlite" // to look into a database before the server does
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
}

// loadState reads the directory's state, or makes one where there is none yet.
func loadState(dir string) (state, error) {
	content, err := os.ReadFile(filepath.Join(dir, stateName))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return newState(dir)
	case err != nil:
		return state{}, err
	}
	var s state
	if json.Unmarshal(content, &s) != nil || s.Program != stateProgram {
		return state{}, fmt.Errorf("%s is not of this program; choose another data directory", filepath.Join(dir, stateName))
	}
	switch {
	case s.Format > stateFormat:
		return state{}, fmt.Errorf("%s was written by a newer distilvit (state format %d, this program knows %d); use that one, or another data directory", dir, s.Format, stateFormat)
	case s.Temporal != headers.ServerVersion:
		return state{}, fmt.Errorf("%s was written with Temporal %s and this program has %s, between which there is no migration; use the distilvit that wrote it, or another data directory", dir, s.Temporal, headers.ServerVersion)
	case s.AccessKey == "" || s.SecretKey == "" || uuid.Validate(s.ClusterID) != nil:
		return state{}, fmt.Errorf("%s is damaged; restore it, or choose another data directory", filepath.Join(dir, stateName))
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
			return state{}, fmt.Errorf("%s exists, but no %s beside it: this is another program's state, or an incomplete copy; choose another data directory", path, stateName)
		}
	}
	s := state{
		Program:   stateProgram,
		Format:    stateFormat,
		Temporal:  headers.ServerVersion,
		ClusterID: uuid.NewString(),
		AccessKey: strings.ToLower(rand.Text()[:16]),
		SecretKey: rand.Text() + rand.Text(),
	}
	return s, writePrivate(filepath.Join(dir, stateName), s)
}

func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// checkDatabase sees to it that a file under the database's name is one: the
// server's own words for a foreign file are many and late.
func checkDatabase(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	foreign := fmt.Errorf("%s is not a database of Temporal %s; choose another data directory", path, headers.ServerVersion)
	magic := make([]byte, 16)
	if _, err := io.ReadFull(f, magic); err != nil || !bytes.Equal(magic, []byte("SQLite format 3\x00")) {
		return foreign
	}
	db, err := sql.Open("sqlite", "file:"+escapePath(path)+"?mode=rw")
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	defer db.Close()
	var tables int
	err = db.QueryRow(`SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name IN ('namespaces', 'current_chasm_executions', 'executions_visibility')`).Scan(&tables)
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if tables != 3 {
		return foreign
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
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(append(content, '\n'))
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// ErrBusy means that another process is about to start or to close the
// directory's stack: Find will tell in a moment.
var ErrBusy = errors.New("is in use by another process")

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
		return nil, fmt.Errorf("%s is in use by process %d, whose web UI is at %s", dir, running.PID, running.UI)
	}
	return nil, fmt.Errorf("%s %w", dir, ErrBusy)
}

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
