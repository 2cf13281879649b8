package onnx

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/x448/float16"
)

// The part of ONNX's protobuf schema that the two graphs use, written straight to the wire format. Weights
// are not held in these structs: a tensor knows its size and writes itself when its turn comes, so a file of
// any size is written in the memory of one block of rows.

// elemType is ONNX's TensorProto.DataType.
type elemType int64

const (
	elemFloat32 elemType = 1
	elemUint8   elemType = 2
	elemInt8    elemType = 3
	elemInt64   elemType = 7
	elemFloat16 elemType = 10
)

// size is the bytes of one element.
func (e elemType) size() int64 {
	switch e {
	case elemUint8, elemInt8:
		return 1
	case elemFloat16:
		return 2
	case elemFloat32:
		return 4
	default:
		return 8
	}
}

// tensor is an initializer: a constant or a weight.
type tensor struct {
	name  string
	elem  elemType
	shape []int64 // empty: a scalar
	write func(*sink) error
}

// bytes is the size of the raw data.
func (t *tensor) bytes() int64 {
	n := t.elem.size()
	for _, d := range t.shape {
		n *= d
	}
	return n
}

// attr is a node's attribute: exactly one of its kinds.
type attr struct {
	name string
	kind int64 // AttributeProto.AttributeType
	f    float32
	i    int64
	ints []int64
}

const (
	attrFloat int64 = 1
	attrInt   int64 = 2
	attrInts  int64 = 7
)

func floatAttr(name string, v float32) attr { return attr{name: name, kind: attrFloat, f: v} }
func intAttr(name string, v int64) attr     { return attr{name: name, kind: attrInt, i: v} }
func intsAttr(name string, v ...int64) attr { return attr{name: name, kind: attrInts, ints: v} }
func axisAttr(axis int64) attr              { return intAttr("axis", axis) }
func castAttr(to elemType) attr             { return intAttr("to", int64(to)) }

type node struct {
	op, name string
	domain   string // of operators; empty: ONNX's own
	in, out  []string
	attrs    []attr
}

// value is an input or output of the graph; a dimension is an int64 or the name of a symbol.
type value struct {
	name  string
	elem  elemType
	shape []any
}

type graph struct {
	name            string
	nodes           []node
	tensors         []*tensor
	inputs, outputs []value
}

// Opset 17 has LayerNormalization; IR 8 is the newest that every ONNX Runtime since 1.14 loads.
const (
	irVersion = 8
	opset     = 17
	producer  = "distilvit"
)

// ONNX Runtime's own operators, all in version 1 of their set.
const microsoft = "com.microsoft"

// appendOpsets says which versions of operators the nodes are of: OperatorSetIdProto, ModelProto's field 8.
func (g *graph) appendOpsets(b []byte) []byte {
	b = appendBytes(b, 8, appendInt(nil, 2, opset))
	if slices.ContainsFunc(g.nodes, func(n node) bool { return n.domain == microsoft }) {
		b = appendBytes(b, 8, appendInt(appendString(nil, 1, microsoft), 2, 1))
	}
	return b
}

// Protobuf wire types.
const (
	wireVarint = 0
	wireBytes  = 2
	wireFixed  = 5
)

func appendTag(b []byte, field, wire uint64) []byte { return binary.AppendUvarint(b, field<<3|wire) }

func appendInt(b []byte, field uint64, v int64) []byte {
	return binary.AppendUvarint(appendTag(b, field, wireVarint), uint64(v))
}

// appendHeader begins a length-delimited field whose n bytes follow.
func appendHeader(b []byte, field uint64, n int64) []byte {
	return binary.AppendUvarint(appendTag(b, field, wireBytes), uint64(n))
}

func appendBytes(b []byte, field uint64, p []byte) []byte {
	return append(appendHeader(b, field, int64(len(p))), p...)
}

func appendString(b []byte, field uint64, s string) []byte {
	return append(appendHeader(b, field, int64(len(s))), s...)
}

// TensorProto without its data, which is field 9 and comes last.
func (t *tensor) appendHead(b []byte) []byte {
	for _, d := range t.shape {
		b = appendInt(b, 1, d)
	}
	b = appendInt(b, 2, int64(t.elem))
	b = appendString(b, 8, t.name)
	return appendHeader(b, 9, t.bytes())
}

// AttributeProto.
func (a attr) append(b []byte) []byte {
	b = appendString(b, 1, a.name)
	switch a.kind {
	case attrFloat:
		b = appendTag(b, 2, wireFixed)
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(a.f))
	case attrInt:
		b = appendInt(b, 3, a.i)
	case attrInts:
		for _, v := range a.ints {
			b = appendInt(b, 8, v)
		}
	}
	return appendInt(b, 20, a.kind)
}

// NodeProto.
func (n *node) append(b []byte) []byte {
	for _, s := range n.in {
		b = appendString(b, 1, s)
	}
	for _, s := range n.out {
		b = appendString(b, 2, s)
	}
	b = appendString(b, 3, n.name)
	b = appendString(b, 4, n.op)
	for _, a := range n.attrs {
		b = appendBytes(b, 5, a.append(nil))
	}
	if n.domain != "" {
		b = appendString(b, 7, n.domain)
	}
	return b
}

// ValueInfoProto ⊃ TypeProto ⊃ TypeProto.Tensor ⊃ TensorShapeProto.
func (v *value) append(b []byte) []byte {
	var shape []byte
	for _, d := range v.shape {
		var dim []byte
		switch d := d.(type) {
		case int64:
			dim = appendInt(nil, 1, d)
		case string:
			dim = appendString(nil, 2, d)
		}
		shape = appendBytes(shape, 1, dim)
	}
	tensorType := appendBytes(appendInt(nil, 1, int64(v.elem)), 2, shape)
	return appendBytes(appendString(b, 1, v.name), 2, appendBytes(nil, 1, tensorType))
}

// frame is a ModelProto without its weights, which come each behind its head.
type frame struct {
	before, after []byte
	heads         [][]byte // of the tensors
	size          int64    // of all, weights included
}

// frame encodes everything but the weights in memory, because a length precedes each message.
func (g *graph) frame() (frame, error) {
	var before []byte
	var f frame
	for i := range g.nodes {
		before = appendBytes(before, 1, g.nodes[i].append(nil))
	}
	before = appendString(before, 2, g.name)
	for i := range g.inputs {
		f.after = appendBytes(f.after, 11, g.inputs[i].append(nil))
	}
	for i := range g.outputs {
		f.after = appendBytes(f.after, 12, g.outputs[i].append(nil))
	}
	total := int64(len(before) + len(f.after))
	for _, t := range g.tensors {
		head := t.appendHead(nil)
		head = append(appendHeader(nil, 5, int64(len(head))+t.bytes()), head...)
		f.heads = append(f.heads, head)
		total += int64(len(head)) + t.bytes()
	}

	if total >= math.MaxInt32 {
		return f, fmt.Errorf("%d bytes: an ONNX file holds at most 2 GiB", total)
	}
	f.before = appendInt(nil, 1, irVersion)
	f.before = appendString(f.before, 2, producer)
	f.before = g.appendOpsets(f.before)
	f.before = appendHeader(f.before, 7, total)
	f.size = int64(len(f.before)) + total
	f.before = append(f.before, before...)
	return f, nil
}

// writeTo writes the ModelProto.
func (g *graph) writeTo(w io.Writer) error {
	f, err := g.frame()
	if err != nil {
		return err
	}
	if _, err := w.Write(f.before); err != nil {
		return err
	}
	data := &sink{w: w}
	for i, t := range g.tensors {
		if _, err := w.Write(f.heads[i]); err != nil {
			return err
		}
		data.written = 0
		if err := t.write(data); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		if data.written != t.bytes() {
			return fmt.Errorf("%s: %d bytes written, %d announced", t.name, data.written, t.bytes())
		}
	}
	_, err = w.Write(f.after)
	return err
}

// sink is where tensors write themselves. Its buffers serve one after the other, so that a gigabyte of
// weights leaves no gigabyte of garbage.
type sink struct {
	w       io.Writer
	written int64 // bytes of the present tensor
	floats  []float32
	bytes   []byte
}

func (s *sink) write(p []byte) error {
	n, err := s.w.Write(p)
	s.written += int64(n)
	return err
}

// float32s writes v as little-endian float32.
func (s *sink) float32s(v []float32) error {
	const chunk = 1 << 16
	for len(v) > 0 {
		n := min(len(v), chunk)
		s.bytes = s.bytes[:0]
		for _, x := range v[:n] {
			s.bytes = binary.LittleEndian.AppendUint32(s.bytes, math.Float32bits(x))
		}
		if err := s.write(s.bytes); err != nil {
			return err
		}
		v = v[n:]
	}
	return nil
}

// float16s writes v as little-endian float16, rounded to the nearest, ties to even. A number beyond float16 is
// an error: as infinity it would make every caption the same.
func (s *sink) float16s(v []float32) error {
	const chunk = 1 << 16
	for len(v) > 0 {
		n := min(len(v), chunk)
		s.bytes = s.bytes[:0]
		for _, x := range v[:n] {
			half := float16.Fromfloat32(x)
			if half.IsInf(0) {
				return fmt.Errorf("%v is beyond float16's 65504: export fp32, q8 or q4", x)
			}
			s.bytes = binary.LittleEndian.AppendUint16(s.bytes, half.Bits())
		}
		if err := s.write(s.bytes); err != nil {
			return err
		}
		v = v[n:]
	}
	return nil
}
