package devstack

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	enums "go.temporal.io/api/enums/v1"
)

// oldDirectory is what a program that marked nothing has left: one run, with this status, and its store.
func oldDirectory(t *testing.T, status enums.WorkflowExecutionStatus) (dir string, s state) {
	t.Helper()
	dir = t.TempDir()
	s, err := loadState(dir)
	must(t, err)
	database := filepath.Join(dir, databaseName)
	must(t, createDatabase(database))
	db, err := sql.Open("sqlite", "file:"+escapePath(database))
	must(t, err)
	now := time.Now()
	_, err = db.Exec(`INSERT INTO executions_visibility (namespace_id, run_id, start_time, execution_time, workflow_id, `+
		`workflow_type_name, status, close_time, task_queue, encoding) VALUES ('n', 'r', ?, ?, 'w', 'Pipeline', ?, ?, 'q', '')`,
		now, now, status, now)
	must(t, errors.Join(err, db.Close()))
	return dir, s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A directory of an older program whose store was emptied before this one first started it is refused as one of
// this program is, until a person says that it begins anew; one that is whole, or has no model to lose, is not.
func TestStoreEmptiedBeforeItWasEverMarkedIsNoticed(t *testing.T) {
	const marker = "distilvit/store.json"
	ctx := t.Context()
	dir, s := oldDirectory(t, enums.WORKFLOW_EXECUTION_STATUS_COMPLETED)
	if err := s.check(ctx, dir, marker); !errors.Is(err, ErrLost) || !strings.Contains(err.Error(), "distilvit recover") {
		t.Errorf("emptied: %v", err)
	}
	done, err := Recover(ctx, dir, marker)
	if err != nil || !done.EmptyStore || done.NewDatabase || done.NewState {
		t.Errorf("%+v, %v", done, err)
	}
	s, err = loadState(dir)
	must(t, err)
	if err := s.check(ctx, dir, marker); err != nil {
		t.Errorf("recovered: %v", err)
	}
	must(t, (&Stack{dir: dir}).Settle())
	s, err = loadState(dir)
	must(t, err)
	if err := s.check(ctx, dir, marker); !errors.Is(err, ErrLost) {
		t.Errorf("settled and emptied again: %v", err)
	}

	dir, s = oldDirectory(t, enums.WORKFLOW_EXECUTION_STATUS_COMPLETED)
	model := ObjectsDir(dir, "distilvit/models/w/manifest.json")
	must(t, os.MkdirAll(filepath.Dir(model), 0o700))
	must(t, os.WriteFile(model, nil, 0o600))
	if err := s.check(ctx, dir, marker); err != nil {
		t.Errorf("whole: %v", err)
	}
	dir, s = oldDirectory(t, enums.WORKFLOW_EXECUTION_STATUS_FAILED)
	if err := s.check(ctx, dir, marker); err != nil {
		t.Errorf("nothing to lose: %v", err)
	}
}
