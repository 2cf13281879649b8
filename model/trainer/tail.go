package trainer

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// tailBytes is how much of a child's log is kept in memory: enough for a Go
// stack trace from its first line.
const tailBytes = 64 << 10

// tail writes a child's log to a file and keeps the beginning of its newest
// burst: the first lines of a crash, not the last. A log without a line leaves
// no file.
type tail struct {
	path string
	mu   sync.Mutex
	file *os.File
	buf  bytes.Buffer
}

func openTail(path string) (*tail, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("trainer's log: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("trainer's log: %w", err)
	}
	return &tail{path: path, file: f}, nil
}

// Write never fails: a full disk must not block the child.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.file != nil {
		t.file.Write(b)
	}
	t.buf.Write(b)
	if over := t.buf.Len() - tailBytes; over > 0 {
		t.buf.Next(over)
	}
	return len(b), nil
}

// Lines is what is kept.
func (t *tail) Lines() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := strings.TrimRight(t.buf.String(), "\n")
	if s == "" {
		return nil
	}
	return strings.Split(s, "\n")
}

func (t *tail) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.file == nil {
		return nil
	}
	err := t.file.Close()
	t.file = nil
	if t.buf.Len() == 0 {
		return errors.Join(err, os.Remove(t.path))
	}
	return err
}
