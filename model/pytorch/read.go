// Package pytorch reads the weights in a pytorch_model.bin: what torch.save makes of a state
// dict, in its zip form (torch 1.6 and newer) and in its form of before. It executes nothing of
// what a pickle asks for and trusts no size: pickle.go is the machine, this file finds tensors.
package pytorch

import (
	"archive/zip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"distilvit/model/safetensors"
)

// ErrRefused is the error for a pickle that wants more than tensors.
var ErrRefused = errors.New("refused, and nothing was executed")

// maxRank bounds the number of dimensions, maxRecords the files in an archive.
const (
	maxRank    = 16
	maxRecords = 1 << 16
)

// dtypes are safetensors' names of what storages hold.
var dtypes = map[global]string{
	"torch FloatStorage": "F32", "torch HalfStorage": "F16", "torch BFloat16Storage": "BF16",
	"torch DoubleStorage": "F64", "torch LongStorage": "I64", "torch IntStorage": "I32",
	"torch ShortStorage": "I16", "torch CharStorage": "I8", "torch ByteStorage": "U8",
	"torch BoolStorage": "BOOL",
}

// Globals that are called.
const (
	orderedDict = "collections OrderedDict"
	rebuild     = "torch._utils _rebuild_tensor"
	rebuildV2   = "torch._utils _rebuild_tensor_v2"
	parameter   = "torch._utils _rebuild_parameter"
)

func callable(g global) bool {
	return g == orderedDict || g == rebuild || g == rebuildV2 || g == parameter
}

// storage is a run of numbers in the file that tensors are views of.
type storage struct {
	key    string
	dtype  string
	width  int64 // bytes a number
	count  int64 // numbers
	offset int64 // bytes from the file's start
}

// tensor is a view of a storage: offset and strides count numbers.
type tensor struct {
	*storage
	first          int64
	shape, strides []int64
	elements       int64
}

// File is an open file of weights.
type File struct {
	r       io.ReaderAt
	size    int64
	tensors map[string]*tensor
}

// Open reads where tensors are in a file of size bytes; their numbers are read later.
func Open(r io.ReaderAt, size int64) (*File, error) {
	f := &File{r: r, size: size}
	start := make([]byte, min(4, size))
	if _, err := r.ReadAt(start, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("pytorch: %w", err)
	}
	read := f.readLegacy
	if string(start) == "PK\x03\x04" {
		read = f.readZip
	}
	if err := read(); err != nil {
		return nil, fmt.Errorf("pytorch: %w", err)
	}
	return f, nil
}

// Tensors lists what the file holds, by name.
func (f *File) Tensors() []safetensors.Info {
	all := make([]safetensors.Info, 0, len(f.tensors))
	for name, t := range f.tensors {
		info := safetensors.Info{Name: name, DType: t.dtype, Shape: make([]int, len(t.shape))}
		for i, d := range t.shape {
			info.Shape[i] = int(d)
		}
		all = append(all, info)
	}
	slices.SortFunc(all, func(a, b safetensors.Info) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Float32s reads an F32, F16 or BF16 tensor as float32, row-major.
func (f *File) Float32s(name string) ([]float32, error) {
	t, ok := f.tensors[name]
	if !ok {
		return nil, fmt.Errorf("pytorch: no tensor %q", name)
	}
	convert := safetensors.Decoder(t.dtype)
	if convert == nil {
		return nil, fmt.Errorf("pytorch: tensor %q has dtype %s; must be F32, F16 or BF16", name, t.dtype)
	}
	if t.elements > t.count {
		return nil, fmt.Errorf("pytorch: tensor %q of shape %v is a storage of %d numbers, repeated",
			name, t.shape, t.count)
	}
	values, err := f.read(t, convert)
	if err != nil {
		return nil, fmt.Errorf("pytorch: read tensor %q: %w", name, err)
	}
	return values, nil
}

// read reads a tensor's numbers piece by piece or, where they do not lie in order, all that lies
// between the first and the last.
func (f *File) read(t *tensor, convert func([]byte) float32) ([]float32, error) {
	out := make([]float32, 0, t.elements)
	if t.elements == 0 {
		return out, nil
	}
	from, span := t.offset+t.first*t.width, t.span()
	if t.rowMajor() {
		chunk := make([]byte, min(span*t.width, 1<<20)) // a multiple of every width
		for at := int64(0); at < span*t.width; at += int64(len(chunk)) {
			chunk = chunk[:min(int64(len(chunk)), span*t.width-at)]
			if _, err := f.r.ReadAt(chunk, from+at); err != nil && !errors.Is(err, io.EOF) {
				return nil, err
			}
			for i := int64(0); i < int64(len(chunk)); i += t.width {
				out = append(out, convert(chunk[i:]))
			}
		}
		return out, nil
	}
	all := make([]byte, span*t.width)
	if _, err := f.r.ReadAt(all, from); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	index := make([]int64, len(t.shape))
	at := int64(0)
	for range t.elements {
		out = append(out, convert(all[at*t.width:]))
		for d := len(index) - 1; d >= 0; d-- {
			if index[d]++; index[d] < t.shape[d] {
				at += t.strides[d]
				break
			}
			at -= (t.shape[d] - 1) * t.strides[d]
			index[d] = 0
		}
	}
	return out, nil
}

// span counts the storage's numbers from the tensor's first to its last.
func (t *tensor) span() int64 {
	n := int64(1)
	for i, d := range t.shape {
		n += (d - 1) * t.strides[i]
	}
	return n
}

// rowMajor says whether the numbers lie in order, without gaps.
func (t *tensor) rowMajor() bool {
	next := int64(1)
	for i := len(t.shape) - 1; i >= 0; i-- {
		if t.shape[i] != 1 && t.strides[i] != next {
			return false
		}
		next *= t.shape[i]
	}
	return true
}

// readZip reads an archive NAME/data.pkl, NAME/data/KEY.
func (f *File) readZip() error {
	z, err := zip.NewReader(f.r, f.size)
	if err != nil {
		return err
	}
	if len(z.File) > maxRecords {
		return fmt.Errorf("an archive of %d files; must be at most %d", len(z.File), maxRecords)
	}
	files, prefix := map[string]*zip.File{}, ""
	for _, file := range z.File {
		files[file.Name] = file
		if before, ok := strings.CutSuffix(file.Name, "data.pkl"); ok && strings.Count(before, "/") == 1 {
			prefix = before
		}
	}
	if order := files[prefix+"byteorder"]; order != nil {
		at, size, err := f.stored(order)
		text := make([]byte, min(size, 16))
		if err == nil {
			_, err = f.r.ReadAt(text, at)
		}
		if err != nil || string(text) != "little" {
			return errors.Join(fmt.Errorf("byteorder is %q; must be little", text), err)
		}
	}
	pickled := files[prefix+"data.pkl"]
	if prefix == "" || pickled == nil {
		return errors.New("an archive without NAME/data.pkl: not what torch.save writes")
	}
	at, size, err := f.stored(pickled)
	if err != nil {
		return err
	}
	storages := map[string]*storage{}
	u := newUnpickler(io.NewSectionReader(f.r, at, size), f.storages(storages))
	state, err := u.load()
	if err != nil {
		return fmt.Errorf("%s: %w", pickled.Name, err)
	}
	for key, s := range storages {
		file := files[prefix+"data/"+key]
		if file == nil {
			return fmt.Errorf("%sdata/%s is missing", prefix, key)
		}
		if s.offset, size, err = f.stored(file); err != nil {
			return err
		}
		if size/s.width < s.count {
			return fmt.Errorf("%s has %d bytes; must have %d numbers of %d", file.Name, size, s.count, s.width)
		}
	}
	return f.keep(state)
}

// stored answers where a file of the archive lies. Its checksum is not looked at: torch
// may be told not to write one.
func (f *File) stored(file *zip.File) (at, size int64, err error) {
	if file.Method != zip.Store {
		return 0, 0, fmt.Errorf("%s is compressed; torch.save stores files as they are", file.Name)
	}
	if at, err = file.DataOffset(); err != nil {
		return 0, 0, fmt.Errorf("%s: %w", file.Name, err)
	}
	if file.UncompressedSize64 > uint64(f.size) || at > f.size-int64(file.UncompressedSize64) {
		return 0, 0, fmt.Errorf("%s: the file is cut short", file.Name)
	}
	return at, int64(file.UncompressedSize64), nil
}

// legacyMagic is the number that a file of before torch 1.6 starts with.
const legacyMagic = long("\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19")

// readLegacy reads pickles of the magic number, the protocol, the machine, the state dict and
// the storages' keys, which a count and the numbers of each storage follow.
func (f *File) readLegacy() error {
	whole := io.NewSectionReader(f.r, 0, f.size)
	storages := map[string]*storage{}
	u := newUnpickler(whole, f.storages(storages))
	var values [5]any
	for i := range values {
		var err error
		values[i], err = u.load()
		if i == 0 && !errors.Is(err, ErrRefused) && (err != nil || values[0] != any(legacyMagic)) {
			return errors.New("neither an archive nor a pickle that torch.save wrote")
		}
		if err != nil {
			return err
		}
	}
	if values[1] != any(int64(1001)) {
		return fmt.Errorf("protocol is %v; must be 1001", values[1])
	}
	if machine, ok := values[2].(*dict); !ok || machine.values["little_endian"] != true {
		return errors.New("written on a machine that is not little endian")
	}
	keys, ok := values[4].(*list)
	if !ok {
		return fmt.Errorf("%s in place of the storages' keys", kind(values[4]))
	}
	at := maxPickle - u.left
	for _, key := range keys.items {
		name, _ := key.(string)
		s := storages[name]
		if s == nil {
			return fmt.Errorf("storage %.200q belongs to no tensor", name)
		}
		var count [8]byte
		if _, err := f.r.ReadAt(count[:], at); err != nil {
			return fmt.Errorf("storage %s: %w", name, cutShort(err))
		}
		if n := binary.LittleEndian.Uint64(count[:]); n != uint64(s.count) {
			return fmt.Errorf("storage %s has %d numbers; its tensors expect %d", name, n, s.count)
		}
		s.offset = at + 8
		if s.count > (f.size-s.offset)/s.width {
			return fmt.Errorf("storage %s: the file is cut short", name)
		}
		at = s.offset + s.count*s.width
	}
	for name, s := range storages {
		if s.offset == 0 {
			return fmt.Errorf("storage %s is missing", name)
		}
	}
	return f.keep(values[3])
}

// storages answers what makes storages of persistent ids.
func (f *File) storages(made map[string]*storage) func(id tuple) (any, error) {
	return func(id tuple) (any, error) { return f.storageOf(id, made) }
}

// storageOf makes a storage of ("storage", type, key, device, numbers[, None]), once.
func (f *File) storageOf(id tuple, storages map[string]*storage) (any, error) {
	if len(id) == 6 && id[5] == nil {
		id = id[:5]
	}
	if len(id) != 5 || id[0] != any("storage") {
		return nil, errors.New("a persistent id that is no storage")
	}
	class, isClass := id[1].(global)
	key, isText := id[2].(string)
	count, isNumber := id[4].(int64)
	dtype, known := dtypes[class]
	if !isClass || !isText || !isNumber || !known || count < 0 {
		return nil, errors.New("a storage without type, key or number")
	}
	if count > f.size {
		return nil, fmt.Errorf("storage %.200q of %d numbers in a file of %d bytes", key, count, f.size)
	}
	s := &storage{key: key, dtype: dtype, width: safetensors.Width(dtype), count: count}
	if other := storages[key]; other != nil {
		if other.dtype != s.dtype || other.count != s.count {
			return nil, fmt.Errorf("storage %s is %d numbers of %s and %d of %s",
				key, other.count, other.dtype, s.count, s.dtype)
		}
		return other, nil
	}
	storages[key] = s
	return s, nil
}

// call is what an allowed global makes of its arguments.
func call(f global, args tuple) (any, error) {
	switch {
	case f == orderedDict && len(args) == 0:
		return &dict{}, nil
	case f == parameter && len(args) == 3: // tensor, requires_grad, hooks
		if t, ok := args[0].(*tensor); ok {
			return t, nil
		}
	case f == rebuild && len(args) == 4, f == rebuildV2 && len(args) >= 6:
		return rebuilt(args)
	}
	return nil, fmt.Errorf("%s is called with %d arguments", f, len(args))
}

// rebuilt is a tensor of storage, offset, size and stride.
func rebuilt(args tuple) (*tensor, error) {
	s, isStorage := args[0].(*storage)
	first, isNumber := args[1].(int64)
	if !isStorage || !isNumber || first < 0 {
		return nil, errors.New("a tensor without storage or offset")
	}
	t := &tensor{storage: s, first: first, elements: 1}
	for _, part := range []struct {
		to   *[]int64
		from any
	}{{&t.shape, args[2]}, {&t.strides, args[3]}} {
		numbers, ok := part.from.(tuple)
		if !ok || len(numbers) > maxRank {
			return nil, errors.New("a tensor without shape or strides")
		}
		for _, v := range numbers {
			n, ok := v.(int64)
			if !ok || n < 0 {
				return nil, errors.New("a tensor's shape or stride is no whole number")
			}
			*part.to = append(*part.to, n)
		}
	}
	return t, t.check()
}

// check demands that all of the tensor lies in its storage.
func (t *tensor) check() error {
	if len(t.shape) != len(t.strides) {
		return fmt.Errorf("a tensor of shape %v has strides %v", t.shape, t.strides)
	}
	if slices.Contains(t.shape, 0) {
		t.elements = 0
		return nil
	}
	last := min(t.first, t.count)
	for i, d := range t.shape {
		if t.elements > (1<<62)/d || d > 1 && t.strides[i] > t.count/(d-1) {
			return fmt.Errorf("a tensor of shape %v and strides %v does not lie in its storage of %d",
				t.shape, t.strides, t.count)
		}
		t.elements *= d
		last += (d - 1) * t.strides[i]
	}
	if last >= t.count {
		return fmt.Errorf("a tensor of shape %v and strides %v from %d on does not lie in its storage of %d",
			t.shape, t.strides, t.first, t.count)
	}
	return nil
}

// keep takes the tensors of a state dict.
func (f *File) keep(state any) error {
	d, ok := state.(*dict)
	if !ok {
		return fmt.Errorf("%s is saved; must be a dict of tensors", kind(state))
	}
	f.tensors = make(map[string]*tensor, len(d.values))
	for name, value := range d.values {
		t, ok := value.(*tensor)
		if !ok {
			return fmt.Errorf("%.200q is %s; must be a tensor", name, kind(value))
		}
		f.tensors[name] = t
	}
	return nil
}
