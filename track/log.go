package track

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"distilvit/internal/filelock"
)

// EventLog is an event file that grows while TensorBoard reads it. Several processes may append to it: of each
// tag only steps behind its last one are taken, so that nothing stands in it twice, whoever tells it again.
type EventLog struct {
	path string
	size int64            // bytes of whole records, as far as they are known
	last map[string]int64 // newest step by tag
}

// OpenEventLog opens the file, or makes it, in a directory that is made, too.
func OpenEventLog(path string) (*EventLog, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	return &EventLog{path: path, size: -1}, nil
}

// Append adds what is new of these values.
func (l *EventLog) Append(ctx context.Context, all []Scalars) error {
	return l.write(ctx, func() (out []byte) {
		for _, s := range all {
			fresh := Scalars{Wall: s.Wall, Step: s.Step}
			for _, v := range s.Values {
				if before, ok := l.last[v.Tag]; !ok || s.Step > before {
					fresh.Values = append(fresh.Values, v)
					l.last[v.Tag] = s.Step
				}
			}
			if len(fresh.Values) > 0 {
				out = append(out, EventScalars(fresh)...)
			}
		}
		return out
	})
}

// Restart takes back what the file has of this step and of later ones: they are to come with other values.
func (l *EventLog) Restart(ctx context.Context, wall time.Time, step int64) error {
	err := l.write(ctx, func() []byte {
		for _, last := range l.last {
			if last >= step {
				return EventRestart(wall, step)
			}
		}
		return nil
	})
	l.size = -1 // what is left by tag is read anew
	return err
}

// write appends what next makes, knowing all that is in the file.
func (l *EventLog) write(ctx context.Context, next func() []byte) error {
	lock, err := filelock.Lock(ctx, l.path+".lock", filelock.Exclusive)
	if err != nil {
		return err
	}
	defer lock.Close()
	f, err := os.OpenFile(l.path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := l.read(f); err != nil {
		return err
	}
	added := next()
	if l.size == 0 && len(added) > 0 {
		added = append(EventHeader(time.Now()), added...)
	}
	n, err := f.WriteAt(added, l.size)
	if err != nil {
		l.size = -1 // a part of it may be there
		return err
	}
	l.size += int64(n)
	return nil
}

// read learns what others have appended, and cuts off what a killed process has left of a record.
func (l *EventLog) read(f *os.File) error {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil || end == l.size {
		return err
	}
	events, err := ReadEvents(io.NewSectionReader(f, 0, end))
	if err != nil {
		return err
	}
	l.last = map[string]int64{}
	for _, s := range events.Scalars {
		for _, v := range s.Values {
			l.last[v.Tag] = max(l.last[v.Tag], s.Step)
		}
	}
	l.size = events.Size
	return f.Truncate(l.size)
}

// ReadEventFile reads an event file; none at all is empty.
func ReadEventFile(path string) (Events, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Events{}, nil
	}
	if err != nil {
		return Events{}, err
	}
	defer f.Close()
	return ReadEvents(f)
}
