package dataset

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/parquet-go/parquet-go/encoding/thrift"
)

// Limits of a foreign Parquet file's metadata. The decoder allocates what a
// list or text says it holds before reading it, so lengths are checked first.
const (
	thriftDepth    = 32      // structs and lists within each other
	thriftElements = 1 << 20 // list elements in one message
)

var errThriftShort = errors.New("ends too early")

// decodeThrift reads one message at the start of b into v and answers its length.
func decodeThrift(b []byte, v any) (int, error) {
	w := thriftWalk{b: b}
	if err := w.structure(0); err != nil {
		return 0, err
	}
	var protocol thrift.CompactProtocol
	err := guard(func() error { return thrift.NewDecoder(protocol.NewReaderFromBytes(b[:w.at])).Decode(v) })
	return w.at, err
}

// thriftWalk passes over a message of the compact protocol without keeping anything.
type thriftWalk struct {
	b        []byte
	at       int
	elements int
}

// Types of the compact protocol.
const (
	thriftTrue = iota + 1
	thriftFalse
	thriftByte
	thriftI16
	thriftI32
	thriftI64
	thriftDouble
	thriftBinary
	thriftList
	thriftSet
	thriftMap
	thriftStruct
)

func (w *thriftWalk) structure(depth int) error {
	if depth > thriftDepth {
		return fmt.Errorf("metadata is nested more than %d deep", thriftDepth)
	}
	for {
		head, err := w.next()
		if err != nil {
			return err
		}
		if head == 0 {
			return nil
		}
		if head>>4 == 0 { // the field's number stands by itself
			if _, err := w.varint(); err != nil {
				return err
			}
		}
		if kind := head & 15; kind == thriftTrue || kind == thriftFalse {
			continue
		}
		if err := w.value(head&15, depth); err != nil {
			return err
		}
	}
}

func (w *thriftWalk) value(kind byte, depth int) error {
	switch kind {
	case thriftTrue, thriftFalse, thriftByte:
		return w.skip(1)
	case thriftI16, thriftI32, thriftI64:
		_, err := w.varint()
		return err
	case thriftDouble:
		return w.skip(8)
	case thriftBinary:
		n, err := w.varint()
		if err != nil {
			return err
		}
		return w.skip(n)
	case thriftList, thriftSet:
		return w.list(depth)
	case thriftStruct:
		return w.structure(depth + 1)
	}
	return fmt.Errorf("metadata has a value of the unknown type %d", kind)
}

func (w *thriftWalk) list(depth int) error {
	head, err := w.next()
	if err != nil {
		return err
	}
	n := uint64(head >> 4)
	if n == 15 {
		if n, err = w.varint(); err != nil {
			return err
		}
	}
	if n > uint64(len(w.b)-w.at) { // an element takes a byte at least
		return errThriftShort
	}
	if w.elements += int(n); w.elements > thriftElements {
		return fmt.Errorf("metadata has more than %d list elements", thriftElements)
	}
	if depth >= thriftDepth {
		return fmt.Errorf("metadata is nested more than %d deep", thriftDepth)
	}
	for range n {
		if err := w.value(head&15, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (w *thriftWalk) next() (byte, error) {
	if w.at >= len(w.b) {
		return 0, errThriftShort
	}
	w.at++
	return w.b[w.at-1], nil
}

func (w *thriftWalk) skip(n uint64) error {
	if n > uint64(len(w.b)-w.at) {
		return errThriftShort
	}
	w.at += int(n)
	return nil
}

func (w *thriftWalk) varint() (uint64, error) {
	v, n := binary.Uvarint(w.b[w.at:])
	if n == 0 {
		return 0, errThriftShort
	}
	if n < 0 {
		return 0, errors.New("metadata has a number of more than 64 bits")
	}
	w.at += n
	return v, nil
}
