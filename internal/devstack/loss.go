package devstack

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/server/common/headers"
	_ "modernc.org/sqlite" // to look into a database before the server does
)

// ErrLost is the start of a directory that lacks something it had, or has it damaged. To go on
// would begin anew beside what is left.
var ErrLost = errors.New("state is lost")

// lost says what is lost, in a message that is whole by itself.
type lost struct{ error }

func (lost) Is(target error) bool { return target == ErrLost }

// toDo ends every message of a loss.
const toDo = "put it back from a copy, or let distilvit recover rebuild what can be rebuilt"

// checkLimit bounds the look at a database before a start. What takes longer is started unseen.
const checkLimit = 5 * time.Second

// check sees to it that a directory has all that it had when a stack last came up in it.
func (s state) check(ctx context.Context, dir, marker string) error {
	database := filepath.Join(dir, databaseName)
	_, err := os.Stat(database)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return err
	}
	switch {
	case missing && s.Settled:
		return lost{fmt.Errorf("%s is missing: Temporal would know none of the runs of this data directory; %s",
			database, toDo)}
	case missing && hasObjects(dir):
		return lost{fmt.Errorf("%s is missing, beside an object store that is not empty: Temporal would know none "+
			"of its runs; %s", database, toDo)}
	case !missing:
		if err := checkDatabase(ctx, database, s.Settled); err != nil {
			return err
		}
	}
	emptied, why := false, "runs are completed, and nothing is stored"
	switch {
	case s.Settled && marker != "":
		_, err := os.Stat(ObjectsDir(dir, marker))
		emptied, why = errors.Is(err, fs.ErrNotExist), marker+" is missing"
		if err != nil && !emptied {
			return err
		}
	case !s.Settled && !s.Anew && !missing && !hasObjects(dir): // nothing is marked yet, as older programs left it
		if emptied, err = hasCompletedRuns(ctx, database); err != nil {
			return err
		}
	}
	if emptied {
		return lost{fmt.Errorf("the object store in %s is empty or gone (%s): data, checkpoints and "+
			"models of all runs are lost, or a disk is not mounted; %s", filepath.Join(dir, s3Name), why, toDo)}
	}
	return nil
}

// hasCompletedRuns says whether Temporal knows a run that came to its end, which has stored a model. What
// distilvit rm removed it does not know.
func hasCompletedRuns(ctx context.Context, path string) (bool, error) {
	db, err := sql.Open("sqlite", "file:"+escapePath(path)+"?mode=rw")
	if err != nil {
		return false, fmt.Errorf("open %s: %w", path, err)
	}
	defer db.Close()
	var completed int
	err = db.QueryRowContext(ctx,
		`SELECT count(*) FROM executions_visibility WHERE workflow_type_name = ? AND status = ?`,
		pipelineType, enums.WORKFLOW_EXECUTION_STATUS_COMPLETED).Scan(&completed)
	if err != nil {
		return false, fmt.Errorf("read %s: %w", path, err)
	}
	return completed > 0, nil
}

// pipelineType is the type of runs' workflows; pipeline names it too.
const pipelineType = "Pipeline"

// hasObjects says whether a bucket has anything in it but what the S3 server keeps there for itself.
func hasObjects(dir string) bool {
	found, err := filepath.Glob(filepath.Join(escapeGlob(ObjectsDir(dir, "")), "[^.]*", "[^.]*"))
	return err == nil && len(found) > 0
}

// checkDatabase sees to it that a file under the database's name is one, and whole: the server's own
// words for another file are many and late, and of a damaged one it knows some runs and others not.
// ours says that it was one before.
func checkDatabase(ctx context.Context, path string, ours bool) error {
	magic, err := readMagic(path)
	if err != nil {
		return err
	}
	wrong := func(why string) error {
		if ours {
			return lost{fmt.Errorf("%s is damaged (%s); %s", path, why, toDo)}
		}
		return fmt.Errorf("%s is not a database of Temporal %s; choose another data directory", path,
			headers.ServerVersion)
	}
	if !bytes.Equal(magic, []byte("SQLite format 3\x00")) {
		return wrong("it does not begin as a database does")
	}
	db, err := sql.Open("sqlite", "file:"+escapePath(path)+"?mode=rw")
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	var tables int
	err = db.QueryRowContext(ctx,
		`SELECT count(*) FROM sqlite_master WHERE type = 'table' `+
			`AND name IN ('namespaces', 'current_chasm_executions', 'executions_visibility')`,
	).Scan(&tables)
	if err == nil && tables != 3 {
		return wrong("it lacks tables of Temporal " + headers.ServerVersion)
	}
	said := "ok"
	if err == nil {
		err = db.QueryRowContext(ctx, `PRAGMA quick_check(1)`).Scan(&said)
	}
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil && ours:
		return wrong(err.Error())
	case err != nil:
		return fmt.Errorf("read %s: %w", path, err)
	case said != "ok":
		return lost{fmt.Errorf("%s is damaged (%s); %s", path, said, toDo)}
	}
	return nil
}

// readMagic is the beginning of a file; shorter where the file is.
func readMagic(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	magic := make([]byte, 16)
	n, err := io.ReadFull(f, magic)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	return magic[:n], nil
}

// Recovered is what Recover did to a directory.
type Recovered struct {
	NewState    bool   `json:"new_state,omitempty"`    // state.json was missing or damaged, or of another Temporal
	NewDatabase bool   `json:"new_database,omitempty"` // Temporal knows no runs any more
	EmptyStore  bool   `json:"empty_store,omitempty"`  // the store begins anew
	SetAside    string `json:"set_aside,omitempty"`    // where the damaged database lies now
}

// Recover makes a directory fit to be started again: what is lost begins anew, what is damaged is set
// aside. Nothing is removed. A directory in which nothing of this program is left, or which is whole, is
// left as it is. marker is as in Options.
func Recover(ctx context.Context, dir, marker string) (done Recovered, err error) {
	if !Exists(dir) {
		return done, fmt.Errorf("%s has nothing to recover", dir)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	kept, err := loadState(dir)
	if err != nil {
		if kept, err = renewState(dir, err); err != nil {
			return done, err
		}
		done.NewState = true
	}
	database := filepath.Join(dir, databaseName)
	_, err = os.Stat(database)
	missing := errors.Is(err, fs.ErrNotExist)
	if !missing {
		// whose cluster is another than the state's knows nobody that asks for ours
		damaged := checkDatabase(ctx, database, true)
		if damaged != nil && !errors.Is(damaged, ErrLost) {
			return done, damaged
		}
		if damaged != nil || done.NewState {
			if done.SetAside, err = setAside(database); err != nil {
				return done, err
			}
			missing = true
		}
	}
	if missing {
		if err := createDatabase(database); err != nil {
			return done, err
		}
		done.NewDatabase = true
	}
	if _, err := os.Stat(ObjectsDir(dir, marker)); errors.Is(err, fs.ErrNotExist) {
		known := kept.Settled
		if !known && !done.NewDatabase {
			if known, err = hasCompletedRuns(ctx, database); err != nil {
				return done, err
			}
		}
		done.EmptyStore = known && !hasObjects(dir)
		kept.Settled, kept.Anew = false, done.EmptyStore // until the marker is there again
	}
	return done, writePrivate(filepath.Join(dir, stateName), kept)
}

// renewState replaces a state that is missing, damaged or of another Temporal, where the store is ours;
// why is what was found. Credentials that can be read stay.
func renewState(dir string, why error) (state, error) {
	path := filepath.Join(dir, stateName)
	old, err := readState(path)
	switch {
	case errors.Is(why, errNewer):
		return state{}, why
	case err != nil && !hasObjects(dir):
		return state{}, why // nothing is left, or nothing says that it is ours
	}
	fresh := freshState()
	if old.AccessKey != "" && old.SecretKey != "" {
		fresh.AccessKey, fresh.SecretKey = old.AccessKey, old.SecretKey
	}
	fresh.Settled = old.Settled
	return fresh, nil
}

// setAside renames a database with what SQLite keeps beside it, and says how it is called now.
func setAside(path string) (string, error) {
	aside := path + time.Now().UTC().Format(".damaged-20060102-150405")
	for _, suffix := range []string{"-journal", "-wal", "-shm", ""} {
		if err := os.Rename(path+suffix, aside+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return aside, nil
}
