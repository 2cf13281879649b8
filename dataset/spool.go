package dataset

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
)

// spool is a file of records that are read again in any order: what lists of
// captions would take in memory. Its file has no name, so that it goes with its process.
type spool struct {
	f    *os.File
	w    *bufio.Writer
	size int64
	buf  []byte // of reading
}

// recordHead is a record's length, which precedes it.
const recordHead = 4

// spoolRead is read at once: most records are shorter.
const spoolRead = 512

// newSpool makes one in dir; "" is the usual place of temporary files.
func newSpool(dir string) (*spool, error) {
	f, err := os.CreateTemp(dir, "list-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return &spool{f: f, w: bufio.NewWriterSize(f, 64<<10)}, nil
}

func (s *spool) close() { s.f.Close() }

// put adds a record and answers where it is.
func (s *spool) put(record []byte) (at int64, err error) {
	var head [recordHead]byte
	binary.LittleEndian.PutUint32(head[:], uint32(len(record)))
	if _, err = s.w.Write(head[:]); err == nil {
		_, err = s.w.Write(record)
	}
	if err != nil {
		return 0, fmt.Errorf("list of pictures: %w", err)
	}
	at = s.size
	s.size += recordHead + int64(len(record))
	return at, nil
}

// get answers the record at, valid until the next get.
func (s *spool) get(at int64) ([]byte, error) {
	if s.w.Buffered() > 0 {
		if err := s.w.Flush(); err != nil {
			return nil, fmt.Errorf("list of pictures: %w", err)
		}
	}
	if len(s.buf) == 0 {
		s.buf = make([]byte, spoolRead)
	}
	n, err := s.f.ReadAt(s.buf[:min(int64(len(s.buf)), s.size-at)], at)
	if err != nil {
		return nil, fmt.Errorf("list of pictures: %w", err)
	}
	end := recordHead + int(binary.LittleEndian.Uint32(s.buf))
	if end > len(s.buf) {
		s.buf = append(s.buf, make([]byte, end-len(s.buf))...)
	}
	if end > n {
		if _, err := s.f.ReadAt(s.buf[n:end], at+int64(n)); err != nil {
			return nil, fmt.Errorf("list of pictures: %w", err)
		}
	}
	return s.buf[recordHead:end], nil
}

// putJSON and getJSON are for records that are values.
func (s *spool) putJSON(v any) (at int64, err error) {
	record, err := json.Marshal(v)
	if err != nil {
		return 0, err
	}
	return s.put(record)
}

func (s *spool) getJSON(at int64, v any) error {
	record, err := s.get(at)
	if err != nil {
		return err
	}
	return json.Unmarshal(record, v)
}
