// Package safetensors reads and writes Hugging Face's tensor files. Reading
// trusts nothing: a header may lie about every size without making the program
// reserve more than the file has bytes. Writing is deterministic: the same
// tensors give the same bytes.
package safetensors

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"sort"
)

// maxHeader is the format's own limit of a header, bytes.
const maxHeader = 100_000_000

// maxRank bounds the number of dimensions.
const maxRank = 16

// Info describes one tensor of a file.
type Info struct {
	Name  string
	DType string // F32, F16, BF16, …
	Shape []int
	begin int64 // bytes from the start of the file
	end   int64
}

// File is an open safetensors file.
type File struct {
	Metadata map[string]string
	tensors  map[string]Info
	r        io.ReaderAt
}

var dtypeBytes = map[string]int64{
	"BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
	"U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8,
}

// Open reads and checks the header of a file of size bytes.
func Open(r io.ReaderAt, size int64) (*File, error) {
	var length [8]byte
	if size < 8 {
		return nil, fmt.Errorf("safetensors: file has only %d bytes", size)
	}
	if _, err := r.ReadAt(length[:], 0); err != nil {
		return nil, fmt.Errorf("safetensors: read header length: %w", err)
	}
	n := binary.LittleEndian.Uint64(length[:])
	if n > maxHeader || int64(n) > size-8 {
		return nil, fmt.Errorf("safetensors: header of %d bytes in a file of %d", n, size)
	}
	header := make([]byte, n)
	if _, err := r.ReadAt(header, 8); err != nil && !(errors.Is(err, io.EOF) && int64(n) == size-8) {
		return nil, fmt.Errorf("safetensors: read header: %w", err)
	}
	f := &File{tensors: map[string]Info{}, r: r}
	if err := f.parse(header, 8+int64(n), size); err != nil {
		return nil, fmt.Errorf("safetensors: %w", err)
	}
	return f, nil
}

// parse fills the file from its header; data lies from base to size.
func (f *File) parse(header []byte, base, size int64) error {
	var entries map[string]json.RawMessage
	if err := json.Unmarshal(header, &entries); err != nil {
		return fmt.Errorf("header: %w", err)
	}
	for name, raw := range entries {
		if name == "__metadata__" {
			if err := json.Unmarshal(raw, &f.Metadata); err != nil {
				return fmt.Errorf("metadata: %w", err)
			}
			continue
		}
		var e struct {
			DType   string  `json:"dtype"`
			Shape   []int64 `json:"shape"`
			Offsets []int64 `json:"data_offsets"`
		}
		d := json.NewDecoder(bytes.NewReader(raw))
		d.DisallowUnknownFields()
		if err := d.Decode(&e); err != nil {
			return fmt.Errorf("tensor %q: %w", name, err)
		}
		bytes, ok := dtypeBytes[e.DType]
		if !ok {
			return fmt.Errorf("tensor %q has unknown dtype %q", name, e.DType)
		}
		if len(e.Shape) > maxRank {
			return fmt.Errorf("tensor %q has %d dimensions", name, len(e.Shape))
		}
		shape := make([]int, len(e.Shape))
		for i, d := range e.Shape {
			if d < 0 || d > size || (d > 0 && bytes > size/d) {
				return fmt.Errorf("tensor %q of shape %v is larger than the file", name, e.Shape)
			}
			bytes *= d
			shape[i] = int(d)
		}
		if len(e.Offsets) != 2 || e.Offsets[0] < 0 || e.Offsets[1] < e.Offsets[0] ||
			e.Offsets[1] > size-base {
			return fmt.Errorf("tensor %q has data offsets %v in %d bytes", name, e.Offsets, size-base)
		}
		if e.Offsets[1]-e.Offsets[0] != bytes {
			return fmt.Errorf("tensor %q of shape %v and dtype %s has %d bytes", name, e.Shape, e.DType,
				e.Offsets[1]-e.Offsets[0])
		}
		f.tensors[name] = Info{
			Name: name, DType: e.DType, Shape: shape, begin: base + e.Offsets[0], end: base + e.Offsets[1],
		}
	}
	return f.checkLayout(base, size)
}

// checkLayout demands, as the format does, that tensors fill the data without
// gap or overlap.
func (f *File) checkLayout(base, size int64) error {
	all := f.Tensors()
	sort.SliceStable(all, func(i, j int) bool {
		return all[i].begin < all[j].begin || all[i].begin == all[j].begin && all[i].end < all[j].end
	})
	at := base
	for _, t := range all {
		if t.begin != at {
			return fmt.Errorf("tensor %q starts at byte %d instead of %d", t.Name, t.begin, at)
		}
		at = t.end
	}
	if at != size {
		return fmt.Errorf("file has %d bytes instead of %d: cut short or damaged", size, at)
	}
	return nil
}

// Tensors lists what the file holds, by name.
func (f *File) Tensors() []Info {
	all := make([]Info, 0, len(f.tensors))
	for _, t := range f.tensors {
		all = append(all, t)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Name < all[j].Name })
	return all
}

// Lookup finds a tensor by name.
func (f *File) Lookup(name string) (Info, bool) {
	t, ok := f.tensors[name]
	return t, ok
}

// Float32s reads an F32, F16 or BF16 tensor as float32.
func (f *File) Float32s(name string) ([]float32, error) {
	t, ok := f.tensors[name]
	if !ok {
		return nil, fmt.Errorf("safetensors: no tensor %q", name)
	}
	convert := Decoder(t.DType)
	if convert == nil {
		return nil, fmt.Errorf("safetensors: tensor %q has dtype %s; must be F32, F16 or BF16", name, t.DType)
	}
	return readValues(f, t, Width(t.DType), convert)
}

// Width is the bytes of a number of a dtype, 0 of one that is not known.
func Width(dtype string) int64 { return dtypeBytes[dtype] }

// Decoder makes float32 of a little-endian number of F32, F16 or BF16; it is nil for others.
func Decoder(dtype string) func(b []byte) float32 {
	switch dtype {
	case "F32":
		return func(b []byte) float32 { return math.Float32frombits(binary.LittleEndian.Uint32(b)) }
	case "BF16":
		return func(b []byte) float32 {
			return math.Float32frombits(uint32(binary.LittleEndian.Uint16(b)) << 16)
		}
	case "F16":
		return func(b []byte) float32 { return half(binary.LittleEndian.Uint16(b)) }
	}
	return nil
}

// Ints reads a U8, I32 or I64 tensor.
func (f *File) Ints(name string) ([]int64, error) {
	t, ok := f.tensors[name]
	if !ok {
		return nil, fmt.Errorf("safetensors: no tensor %q", name)
	}
	switch t.DType {
	case "U8":
		return readValues(f, t, 1, func(b []byte) int64 { return int64(b[0]) })
	case "I32":
		return readValues(
			f, t, 4, func(b []byte) int64 { return int64(int32(binary.LittleEndian.Uint32(b))) },
		)
	case "I64":
		return readValues(f, t, 8, func(b []byte) int64 { return int64(binary.LittleEndian.Uint64(b)) })
	}
	return nil, fmt.Errorf("safetensors: tensor %q has dtype %s; must be U8, I32 or I64", name, t.DType)
}

// readValues reads a tensor of elements of width bytes.
func readValues[T any](f *File, t Info, width int64, convert func(b []byte) T) ([]T, error) {
	out := make([]T, 0, (t.end-t.begin)/width)
	chunk := make([]byte, min(t.end-t.begin, 1<<20))
	for at := t.begin; at < t.end; {
		b := chunk[:min(int64(len(chunk)), t.end-at)]
		if n, err := f.r.ReadAt(b, at); n < len(b) {
			return nil, fmt.Errorf("safetensors: read tensor %q: %w", t.Name, err)
		}
		for i := int64(0); i < int64(len(b)); i += width {
			out = append(out, convert(b[i:]))
		}
		at += int64(len(b))
	}
	return out, nil
}

// half converts an IEEE 754 binary16 number.
func half(h uint16) float32 {
	sign := uint32(h>>15) << 31
	exponent, fraction := uint32(h>>10)&0x1f, uint32(h)&0x3ff
	switch exponent {
	case 0: // zero or subnormal: fraction · 2^-24
		f := float32(fraction) * (1.0 / (1 << 24))
		return math.Float32frombits(math.Float32bits(f) | sign)
	case 0x1f: // infinity or NaN
		return math.Float32frombits(sign | 0x7f800000 | fraction<<13)
	}
	return math.Float32frombits(sign | (exponent+112)<<23 | fraction<<13)
}
