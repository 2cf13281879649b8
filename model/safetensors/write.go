package safetensors

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"sort"
	"strings"

	"distilvit/internal/atomicfile"
)

// Tensor is one float32 tensor to write. Data is asked for once, when its turn
// comes, so that not all need be in memory together.
type Tensor struct {
	Name  string
	Shape []int
	Data  func() ([]float32, error)
}

// Write writes tensors, sorted by name, as F32.
func Write(w io.Writer, list []Tensor, metadata map[string]string) error {
	list = append([]Tensor(nil), list...)
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	infos := make([]Info, len(list))
	for i, t := range list {
		infos[i] = Info{Name: t.Name, DType: "F32", Shape: t.Shape}
	}
	head, err := header(infos, metadata)
	if err != nil {
		return fmt.Errorf("safetensors: %w", err)
	}
	out := bufio.NewWriterSize(w, 1<<20)
	if _, err := out.Write(head); err != nil {
		return err
	}
	block := make([]byte, 64<<10)
	for _, t := range list {
		data, err := t.Data()
		if err != nil {
			return fmt.Errorf("safetensors: tensor %q: %w", t.Name, err)
		}
		if len(data) != elements(t.Shape) {
			return fmt.Errorf("safetensors: tensor %q has %d values for shape %v", t.Name, len(data), t.Shape)
		}
		for part := range slices.Chunk(data, len(block)/4) {
			for i, x := range part {
				binary.LittleEndian.PutUint32(block[4*i:], math.Float32bits(x))
			}
			if _, err := out.Write(block[:4*len(part)]); err != nil {
				return err
			}
		}
	}
	return out.Flush()
}

// Raw is a tensor of any dtype to write, whose numbers are there as the file has them: little-endian.
type Raw struct {
	Name, DType string
	Shape       []int
	Data        []byte
}

// WriteRaw writes tensors, sorted by name.
func WriteRaw(w io.Writer, list []Raw, metadata map[string]string) error {
	list = slices.SortedFunc(slices.Values(list), func(a, b Raw) int { return strings.Compare(a.Name, b.Name) })
	infos := make([]Info, len(list))
	for i, t := range list {
		infos[i] = Info{Name: t.Name, DType: t.DType, Shape: t.Shape}
		if want := int(Width(t.DType)) * elements(t.Shape); want != len(t.Data) || Width(t.DType) == 0 {
			return fmt.Errorf("safetensors: tensor %q has %d bytes for dtype %q, shape %v", t.Name, len(t.Data), t.DType, t.Shape)
		}
	}
	head, err := header(infos, metadata)
	if err != nil {
		return fmt.Errorf("safetensors: %w", err)
	}
	if _, err := w.Write(head); err != nil {
		return err
	}
	for _, t := range list {
		if _, err := w.Write(t.Data); err != nil {
			return err
		}
	}
	return nil
}

// header is the length and the JSON, padded with blanks to a multiple of 8.
func header(list []Info, metadata map[string]string) ([]byte, error) {
	var b bytes.Buffer
	b.Write(make([]byte, 8))
	b.WriteByte('{')
	if len(metadata) > 0 {
		m, err := json.Marshal(metadata) // sorts keys
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, `"__metadata__":%s`, m)
	}
	at := 0
	for i, t := range list {
		if i > 0 && list[i-1].Name == t.Name {
			return nil, fmt.Errorf("tensor %q is there twice", t.Name)
		}
		if b.Len() > 9 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(t.Name)
		if err != nil {
			return nil, err
		}
		shape, err := json.Marshal(append([]int{}, t.Shape...)) // never null
		if err != nil {
			return nil, err
		}
		end := at + int(Width(t.DType))*elements(t.Shape)
		fmt.Fprintf(&b, `%s:{"dtype":%q,"shape":%s,"data_offsets":[%d,%d]}`, name, t.DType, shape, at, end)
		at = end
	}
	b.WriteByte('}')
	for b.Len()%8 != 0 {
		b.WriteByte(' ')
	}
	binary.LittleEndian.PutUint64(b.Bytes(), uint64(b.Len()-8))
	return b.Bytes(), nil
}

func elements(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// WriteFile writes a file that is complete or absent: a temporary one beside
// it, synced, then renamed.
func WriteFile(path string, list []Tensor, metadata map[string]string) error {
	err := atomicfile.Write(path, 0o644, func(w io.Writer) error { return Write(w, list, metadata) })
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
