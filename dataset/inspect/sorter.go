package inspect

import (
	"bufio"
	"bytes"
	"container/heap"
	"fmt"
	"io"
	"iter"
	"os"
	"sort"
)

// sorter sorts records of one size by their bytes. Few are sorted in memory; of more, portions that fit there are sorted
// and written to a file, and merged when they are read. The files have no names, so that they go with the process.
type sorter struct {
	size   int    // of a record, bytes
	memory int    // bytes of records that are held at once; at least one record
	held   []byte // not yet written
	runs   *os.File
	ends   []int64 // of the sorted portions in runs, bytes
}

// heldBytes is a sorter's memory: 870,000 pictures, 3.9 million captions.
const heldBytes = 64 << 20

func (s *sorter) close() {
	if s.runs != nil {
		s.runs.Close()
	}
}

// add takes a copy of a record.
func (s *sorter) add(record []byte) error {
	if len(s.held)+s.size > max(s.memory, s.size) {
		if err := s.spill(); err != nil {
			return err
		}
	}
	s.held = append(s.held, record...)
	return nil
}

// sort sorts what is held.
func (s *sorter) sort() { sort.Sort(&records{s.held, s.size, make([]byte, s.size)}) }

// spill writes what is held, sorted.
func (s *sorter) spill() (err error) {
	if s.runs == nil {
		if s.runs, err = unnamed(); err != nil {
			return err
		}
	}
	s.sort()
	if _, err := s.runs.Write(s.held); err != nil {
		return fileTrouble(err)
	}
	end := int64(len(s.held))
	if n := len(s.ends); n > 0 {
		end += s.ends[n-1]
	}
	s.ends, s.held = append(s.ends, end), s.held[:0]
	return nil
}

// all yields the records in order, each valid until the next.
func (s *sorter) all() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		s.sort()
		m := merge{{r: bytes.NewReader(s.held), record: make([]byte, s.size)}}
		begin := int64(0)
		for _, end := range s.ends {
			portion := bufio.NewReaderSize(io.NewSectionReader(s.runs, begin, end-begin), 256<<10)
			m = append(m, &portionOf{r: portion, record: make([]byte, s.size)})
			begin = end
		}
		if err := m.begin(); err != nil {
			yield(nil, err)
			return
		}
		for len(m) > 0 {
			if !yield(m[0].record, nil) {
				return
			}
			if err := m.next(); err != nil {
				yield(nil, err)
				return
			}
		}
	}
}

// sorted puts all records into one list, after which nothing is added.
func (s *sorter) sorted() (*sortedList, error) {
	list := &sortedList{size: s.size}
	if s.runs == nil {
		s.sort()
		list.n, list.from = len(s.held)/s.size, bytes.NewReader(s.held)
		return list, nil
	}
	file, err := unnamed()
	if err != nil {
		return nil, err
	}
	list.from, list.file = file, file
	w := bufio.NewWriterSize(file, 1<<20)
	for record, err := range s.all() {
		if err == nil {
			list.n++
			_, err = w.Write(record)
		}
		if err != nil {
			file.Close()
			return nil, fileTrouble(err)
		}
	}
	if err := w.Flush(); err != nil {
		file.Close()
		return nil, fileTrouble(err)
	}
	s.runs.Close()
	s.held = nil
	return list, nil
}

// sortedList are sorted records, in memory or in a file.
type sortedList struct {
	size int
	n    int
	from io.ReaderAt
	file *os.File // nil: memory
}

func (l *sortedList) close() {
	if l.file != nil {
		l.file.Close()
	}
}

// read reads len(out)/size records from record i on.
func (l *sortedList) read(i int, out []byte) error {
	if _, err := l.from.ReadAt(out, int64(i)*int64(l.size)); err != nil {
		return fileTrouble(err)
	}
	return nil
}

// all yields the records in order, each valid until the next.
func (l *sortedList) all() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		r := bufio.NewReaderSize(io.NewSectionReader(l.from, 0, int64(l.n)*int64(l.size)), 1<<20)
		record := make([]byte, l.size)
		for range l.n {
			if _, err := io.ReadFull(r, record); err != nil {
				yield(nil, fileTrouble(err))
				return
			}
			if !yield(record, nil) {
				return
			}
		}
	}
}

// unnamed makes a file that nobody else can open.
func unnamed() (*os.File, error) {
	f, err := os.CreateTemp("", "distilvit-inspect-*")
	if err != nil {
		return nil, fileTrouble(err)
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, fileTrouble(err)
	}
	return f, nil
}

func fileTrouble(err error) error {
	return fmt.Errorf("lists for comparing in %s (TMPDIR names another folder): %w", os.TempDir(), err)
}

// records are sorted in place.
type records struct {
	b    []byte
	size int
	tmp  []byte
}

func (r *records) Len() int           { return len(r.b) / r.size }
func (r *records) at(i int) []byte    { return r.b[i*r.size : (i+1)*r.size] }
func (r *records) Less(i, j int) bool { return bytes.Compare(r.at(i), r.at(j)) < 0 }

func (r *records) Swap(i, j int) {
	copy(r.tmp, r.at(i))
	copy(r.at(i), r.at(j))
	copy(r.at(j), r.tmp)
}

// portionOf is what is left of a sorted portion, its next record read.
type portionOf struct {
	r      io.Reader
	record []byte
}

// merge is a heap of portions, that with the least record first.
type merge []*portionOf

func (m merge) Len() int           { return len(m) }
func (m merge) Less(i, j int) bool { return bytes.Compare(m[i].record, m[j].record) < 0 }
func (m merge) Swap(i, j int)      { m[i], m[j] = m[j], m[i] }
func (m *merge) Push(p any)        { *m = append(*m, p.(*portionOf)) }
func (m *merge) Pop() any {
	last := (*m)[len(*m)-1]
	*m = (*m)[:len(*m)-1]
	return last
}

// begin reads the first record of each portion.
func (m *merge) begin() error {
	all := *m
	*m = all[:0]
	for _, p := range all {
		if more, err := p.read(); err != nil {
			return err
		} else if more {
			*m = append(*m, p)
		}
	}
	heap.Init(m)
	return nil
}

// next goes on behind the least record.
func (m *merge) next() error {
	more, err := (*m)[0].read()
	switch {
	case err != nil:
		return err
	case more:
		heap.Fix(m, 0)
	default:
		heap.Pop(m)
	}
	return nil
}

func (p *portionOf) read() (more bool, err error) {
	switch _, err := io.ReadFull(p.r, p.record); err {
	case nil:
		return true, nil
	case io.EOF:
		return false, nil
	default:
		return false, fileTrouble(err)
	}
}
