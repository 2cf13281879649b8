package pytorch

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
)

// What a pickle may hold beside nil, bool, int64, float64 and string.
type (
	tuple  []any
	list   struct{ items []any }
	dict   struct{ values map[string]any } // keys are text or, as text, whole numbers
	long   string                          // a whole number that int64 does not hold, little endian
	global string                          // "module name": names a function or class, which is never called
	marker struct{}
)

// maxPickle bounds a file's pickles, bytes: a tensor takes about 200. Their values take up
// to 110 times as much memory.
const maxPickle = 2 << 20

// maxText bounds one text in a pickle, bytes.
const maxText = 1 << 16

// unpickler is a machine for the part of pickle's opcodes, of protocols 2 to 5, that torch.save
// writes for weights. It executes nothing: a global is a name, and what it is called with becomes
// one of the package's values, by call. Any other opcode or global is an error.
type unpickler struct {
	r       *bufio.Reader
	left    int64 // bytes that may be read
	stack   []any
	memo    map[uint32]any
	storage func(args tuple) (any, error) // what a persistent id stands for
}

func newUnpickler(r io.Reader, storage func(tuple) (any, error)) *unpickler {
	return &unpickler{r: bufio.NewReader(r), left: maxPickle, storage: storage}
}

// load reads one pickle.
func (u *unpickler) load() (any, error) {
	u.stack, u.memo = nil, map[uint32]any{}
	for {
		at := maxPickle - u.left
		op, err := u.byte()
		if err != nil {
			return nil, err
		}
		if op == '.' {
			v, err := u.pop()
			if err == nil && len(u.stack) > 0 {
				err = errors.New("values are left over")
			}
			return v, err
		}
		if err := u.do(op); err != nil {
			return nil, fmt.Errorf("byte %d of the pickle: %w", at, err)
		}
	}
}

// do executes an opcode. Names beside are pickletools'.
func (u *unpickler) do(op byte) error {
	switch op {
	case 0x80: // PROTO
		version, err := u.byte()
		if err == nil && (version < 2 || version > 5) {
			err = fmt.Errorf("protocol %d; must be from 2 to 5", version)
		}
		return err
	case 0x95: // FRAME, a hint for reading ahead
		_, err := u.bytes(8)
		return err
	case '(': // MARK
		return u.push(marker{}, nil)
	case '0', '1', '2': // POP, POP_MARK, DUP
		return u.rearrange(op)
	case 'q', 'r', 'h', 'j', 0x94: // BINPUT, LONG_BINPUT, BINGET, LONG_BINGET, MEMOIZE
		return u.remember(op)
	case ')', 't', 0x85, 0x86, 0x87: // EMPTY_TUPLE, TUPLE, TUPLE1, TUPLE2, TUPLE3
		return u.tuple(op)
	case ']', 'a', 'e': // EMPTY_LIST, APPEND, APPENDS
		return u.list(op)
	case '}', 's', 'u': // EMPTY_DICT, SETITEM, SETITEMS
		return u.dict(op)
	case 'c', 0x93: // GLOBAL, STACK_GLOBAL
		return u.push(u.global(op))
	case 'Q': // BINPERSID
		id, err := pop[tuple](u)
		if err != nil {
			return err
		}
		return u.push(u.storage(id))
	case 'R': // REDUCE
		args, err := pop[tuple](u)
		if err != nil {
			return err
		}
		f, err := pop[global](u)
		if err != nil {
			return err
		}
		return u.push(call(f, args))
	case 'b': // BUILD: attributes of an ordered dict, such as _metadata, are of no use here
		if _, err := u.pop(); err != nil {
			return err
		}
		d, err := pop[*dict](u)
		return u.push(d, err)
	}
	return u.push(u.scalar(op))
}

// scalar is the value of an opcode that makes one of itself and the bytes after it.
func (u *unpickler) scalar(op byte) (any, error) {
	switch op {
	case 'N': // NONE
		return nil, nil
	case 0x88, 0x89: // NEWTRUE, NEWFALSE
		return op == 0x88, nil
	case 'K', 'M', 'J': // BININT1, BININT2, BININT
		b, err := u.bytes(map[byte]int64{'K': 1, 'M': 2, 'J': 4}[op])
		if err != nil {
			return nil, err
		}
		if op == 'J' {
			return int64(int32(binary.LittleEndian.Uint32(b))), nil
		}
		return int64(unsigned(b)), nil
	case 0x8a: // LONG1
		b, err := u.counted(1)
		if err != nil || len(b) > 8 {
			return long(b), err
		}
		if len(b) > 0 && b[len(b)-1] >= 0x80 { // negative
			b = append(b, bytes.Repeat([]byte{0xff}, 8-len(b))...)
		}
		return int64(unsigned(b)), nil
	case 'G': // BINFLOAT
		b, err := u.bytes(8)
		if err != nil {
			return nil, err
		}
		return math.Float64frombits(binary.BigEndian.Uint64(b)), nil
	case 'U', 0x8c, 'C': // SHORT_BINSTRING, SHORT_BINUNICODE, SHORT_BINBYTES
		return u.text(1)
	case 'T', 'X', 'B': // BINSTRING, BINUNICODE, BINBYTES
		return u.text(4)
	case 0x8d: // BINUNICODE8
		return u.text(8)
	}
	return nil, fmt.Errorf("opcode 0x%02x is none that weights need", op)
}

func unsigned(b []byte) (n uint64) {
	for i, x := range b {
		n |= uint64(x) << (8 * i)
	}
	return n
}

// rearrange are POP, POP_MARK and DUP.
func (u *unpickler) rearrange(op byte) error {
	if op == '1' {
		_, err := u.popMark()
		return err
	}
	v, err := u.pop()
	if op == '0' {
		return err
	}
	return errors.Join(u.push(v, err), u.push(v, err))
}

// remember puts the top into the memo or gets a value of it.
func (u *unpickler) remember(op byte) error {
	var at uint32
	switch op {
	case 0x94:
		at = uint32(len(u.memo))
	default:
		n := int64(1)
		if op == 'r' || op == 'j' {
			n = 4
		}
		b, err := u.bytes(n)
		if err != nil {
			return err
		}
		at = uint32(unsigned(b))
	}
	if op == 'h' || op == 'j' {
		v, ok := u.memo[at]
		if !ok {
			return fmt.Errorf("nothing is remembered as %d", at)
		}
		return u.push(v, nil)
	}
	v, err := u.pop()
	if err == nil {
		u.memo[at] = v
	}
	return u.push(v, err)
}

func (u *unpickler) tuple(op byte) error {
	if op == 't' {
		items, err := u.popMark()
		return u.push(tuple(items), err)
	}
	items := make(tuple, map[byte]int{')': 0, 0x85: 1, 0x86: 2, 0x87: 3}[op])
	for i := len(items) - 1; i >= 0; i-- {
		var err error
		if items[i], err = u.pop(); err != nil {
			return err
		}
	}
	return u.push(items, nil)
}

func (u *unpickler) list(op byte) error {
	if op == ']' {
		return u.push(&list{}, nil)
	}
	items, err := u.items(op == 'e', 1)
	if err != nil {
		return err
	}
	l, err := pop[*list](u)
	if err == nil {
		l.items = append(l.items, items...)
	}
	return u.push(l, err)
}

func (u *unpickler) dict(op byte) error {
	if op == '}' {
		return u.push(&dict{}, nil)
	}
	items, err := u.items(op == 'u', 2)
	if err != nil {
		return err
	}
	d, err := pop[*dict](u)
	if err != nil {
		return err
	}
	if len(items)%2 != 0 {
		return errors.New("a key has no value")
	}
	for i := 0; i < len(items); i += 2 {
		if err := d.set(items[i], items[i+1]); err != nil {
			return err
		}
	}
	return u.push(d, nil)
}

func (d *dict) set(key, value any) error {
	var name string
	switch key := key.(type) {
	case string:
		name = key
	case int64:
		name = strconv.FormatInt(key, 10)
	default:
		return fmt.Errorf("%s is a key; must be text", kind(key))
	}
	if d.values == nil {
		d.values = map[string]any{}
	}
	d.values[name] = value
	return nil
}

// items are the values from the mark, or the n last ones.
func (u *unpickler) items(marked bool, n int) ([]any, error) {
	if marked {
		return u.popMark()
	}
	if len(u.stack) < n {
		return nil, errors.New("the stack is empty")
	}
	items := append([]any{}, u.stack[len(u.stack)-n:]...)
	u.stack = u.stack[:len(u.stack)-n]
	return items, nil
}

// popMark takes the values above the last mark, and the mark.
func (u *unpickler) popMark() ([]any, error) {
	for i := len(u.stack) - 1; i >= 0; i-- {
		if u.stack[i] == any(marker{}) {
			items := append([]any{}, u.stack[i+1:]...)
			u.stack = u.stack[:i]
			return items, nil
		}
	}
	return nil, errors.New("no mark on the stack")
}

func (u *unpickler) push(v any, err error) error {
	if err == nil {
		u.stack = append(u.stack, v)
	}
	return err
}

func (u *unpickler) pop() (any, error) {
	if len(u.stack) == 0 {
		return nil, errors.New("the stack is empty")
	}
	v := u.stack[len(u.stack)-1]
	u.stack = u.stack[:len(u.stack)-1]
	return v, nil
}

// pop takes a value of a type.
func pop[T any](u *unpickler) (T, error) {
	v, err := u.pop()
	t, ok := v.(T)
	if err == nil && !ok {
		err = fmt.Errorf("%s where %s belongs", kind(v), kind(t))
	}
	return t, err
}

// kind names a value's type for an error.
func kind(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case tuple:
		return "a tuple"
	case *list:
		return "a list"
	case *dict:
		return "a dict"
	case global:
		if v != "" {
			return fmt.Sprintf("global %q", string(v))
		}
		return "a global"
	case *storage:
		return "a storage"
	case *tensor:
		return "a tensor"
	case string:
		return "text"
	case int64, long:
		return "a whole number"
	}
	return fmt.Sprintf("a %T", v)
}

// global reads a name and refuses it unless it is allowed.
func (u *unpickler) global(op byte) (any, error) {
	var module, name string
	var err error
	if op == 'c' {
		if module, err = u.line(); err == nil {
			name, err = u.line()
		}
	} else if name, err = pop[string](u); err == nil {
		module, err = pop[string](u)
	}
	if err != nil {
		return nil, err
	}
	g := global(module + " " + name)
	if _, ok := dtypes[g]; !ok && !callable(g) {
		return nil, fmt.Errorf("global %.200q is none that weights need: %w", string(g), ErrRefused)
	}
	return g, nil
}

// line reads text up to a line's end.
func (u *unpickler) line() (string, error) {
	var text []byte
	for {
		b, err := u.byte()
		if err != nil || b == '\n' {
			return string(text), err
		}
		if text = append(text, b); len(text) > maxText {
			return "", fmt.Errorf("a name of more than %d bytes", maxText)
		}
	}
}

// text is a counted text.
func (u *unpickler) text(width int64) (any, error) {
	b, err := u.counted(width)
	return string(b), err
}

// counted reads a count of so many bytes, and as many bytes as it says.
func (u *unpickler) counted(width int64) ([]byte, error) {
	b, err := u.bytes(width)
	if err != nil {
		return nil, err
	}
	n := unsigned(b)
	if n > maxText {
		return nil, fmt.Errorf("a text of %d bytes; must be at most %d", n, maxText)
	}
	return u.bytes(int64(n))
}

// bytes reads n bytes, at most maxText.
func (u *unpickler) bytes(n int64) ([]byte, error) {
	if u.left -= n; u.left < 0 {
		return nil, fmt.Errorf("the pickle is longer than %d bytes", maxPickle)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(u.r, b); err != nil {
		return nil, cutShort(err)
	}
	return b, nil
}

func (u *unpickler) byte() (byte, error) {
	if u.left--; u.left < 0 {
		return 0, fmt.Errorf("the pickle is longer than %d bytes", maxPickle)
	}
	b, err := u.r.ReadByte()
	return b, cutShort(err)
}

func cutShort(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the file is cut short")
	}
	return err
}
