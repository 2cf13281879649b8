// Package track tells other programs how a run goes, where people already look: TensorBoard's event files
// (events.go), an MLflow server (mlflow.go) and whoever is to hear of an end or a question (webhook.go). It
// knows neither Temporal nor the config.
package track

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// An event file is a list of TFRecords: length (uint64, little endian), masked CRC-32C of the length, bytes,
// masked CRC-32C of the bytes. The bytes are an Event of tensorflow/core/util/event.proto, whose numbers of
// fields stand here.
const (
	eventWallTime    protowire.Number = 1 // double, seconds since 1970
	eventStep        protowire.Number = 2 // int64
	eventFileVersion protowire.Number = 3 // string
	eventSummary     protowire.Number = 5 // Summary
	eventSessionLog  protowire.Number = 7 // SessionLog

	summaryValue     protowire.Number = 1 // repeated Summary.Value
	valueTag         protowire.Number = 1 // string
	valueSimple      protowire.Number = 2 // float
	sessionLogStatus protowire.Number = 1 // enum
	sessionStart                      = 1 // of it

	fileVersion = "brain.Event:2"
)

// Scalar is a value under TensorBoard's tag, such as train/loss.
type Scalar struct {
	Tag   string
	Value float64 // stored in 32 bits
}

// Scalars are values at one step.
type Scalars struct {
	Wall   time.Time
	Step   int64
	Values []Scalar
}

// Events are what an event file holds: the values in order, but for those that a later restart took back.
type Events struct {
	Scalars []Scalars
	Size    int64 // bytes of whole records; what follows is of a write that broke off
}

// EventHeader begins an event file.
func EventHeader(wall time.Time) []byte {
	event := protowire.AppendTag(eventTime(wall), eventFileVersion, protowire.BytesType)
	return tfRecord(protowire.AppendString(event, fileVersion))
}

// EventScalars is a record of values at a step.
func EventScalars(s Scalars) []byte {
	var summary []byte
	for _, v := range s.Values {
		value := protowire.AppendString(protowire.AppendTag(nil, valueTag, protowire.BytesType), v.Tag)
		value = protowire.AppendTag(value, valueSimple, protowire.Fixed32Type)
		value = protowire.AppendFixed32(value, math.Float32bits(float32(v.Value)))
		summary = protowire.AppendTag(summary, summaryValue, protowire.BytesType)
		summary = protowire.AppendBytes(summary, value)
	}
	event := eventAt(s.Wall, s.Step)
	event = protowire.AppendTag(event, eventSummary, protowire.BytesType)
	return tfRecord(protowire.AppendBytes(event, summary))
}

// EventRestart is a record that makes TensorBoard forget what came before of this step and of later ones.
func EventRestart(wall time.Time, step int64) []byte {
	log := protowire.AppendVarint(protowire.AppendTag(nil, sessionLogStatus, protowire.VarintType), sessionStart)
	event := protowire.AppendTag(eventAt(wall, step), eventSessionLog, protowire.BytesType)
	return tfRecord(protowire.AppendBytes(event, log))
}

func eventTime(wall time.Time) []byte {
	seconds := float64(wall.UnixMicro()) / 1e6
	return protowire.AppendFixed64(protowire.AppendTag(nil, eventWallTime, protowire.Fixed64Type), math.Float64bits(seconds))
}

func eventAt(wall time.Time, step int64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(eventTime(wall), eventStep, protowire.VarintType), uint64(step))
}

func tfRecord(data []byte) []byte {
	var length [8]byte
	binary.LittleEndian.PutUint64(length[:], uint64(len(data)))
	out := binary.LittleEndian.AppendUint32(length[:], maskedCRC(length[:]))
	out = append(out, data...)
	return binary.LittleEndian.AppendUint32(out, maskedCRC(data))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// maskedCRC is TensorFlow's: a CRC of bytes that hold CRCs themselves would be weak.
func maskedCRC(b []byte) uint32 {
	crc := crc32.Checksum(b, castagnoli)
	return (crc>>15 | crc<<17) + 0xa282ead8
}

// maxEvent bounds what is read of one record: those written here have less than 1 KiB.
const maxEvent = 1 << 20

// ReadEvents reads an event file up to its end, or to a record that is not whole or not sound: a process that
// was killed leaves such a one. Only a reader's own failure is an error.
func ReadEvents(r io.Reader) (Events, error) {
	var out Events
	in := bufio.NewReader(r)
	for {
		data, err := readRecord(in)
		if errors.Is(err, errNotWhole) {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		if !out.take(data) {
			return out, nil
		}
		out.Size += int64(len(data)) + 16
	}
}

var errNotWhole = errors.New("the record is not whole")

func readRecord(in io.Reader) ([]byte, error) {
	var head [12]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return nil, notWhole(err)
	}
	length := binary.LittleEndian.Uint64(head[:8])
	if maskedCRC(head[:8]) != binary.LittleEndian.Uint32(head[8:]) || length > maxEvent {
		return nil, errNotWhole
	}
	data := make([]byte, length+4)
	if _, err := io.ReadFull(in, data); err != nil {
		return nil, notWhole(err)
	}
	if maskedCRC(data[:length]) != binary.LittleEndian.Uint32(data[length:]) {
		return nil, errNotWhole
	}
	return data[:length], nil
}

func notWhole(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return errNotWhole
	}
	return err
}

// take adds an event; false: it is none.
func (e *Events) take(data []byte) bool {
	var s Scalars
	restart := false
	ok := eachField(data, func(number protowire.Number, v field) bool {
		switch number {
		case eventWallTime:
			s.Wall = time.UnixMicro(int64(math.Round(math.Float64frombits(v.number) * 1e6))).UTC()
		case eventStep:
			s.Step = int64(v.number)
		case eventSessionLog:
			restart = true
		case eventSummary:
			return eachField(v.bytes, func(number protowire.Number, v field) bool {
				return number != summaryValue || s.value(v.bytes)
			})
		}
		return true
	})
	if restart {
		e.Scalars = slices.DeleteFunc(e.Scalars, func(old Scalars) bool { return old.Step >= s.Step })
	} else if len(s.Values) > 0 {
		e.Scalars = append(e.Scalars, s)
	}
	return ok
}

func (s *Scalars) value(data []byte) bool {
	var v Scalar
	ok := eachField(data, func(number protowire.Number, f field) bool {
		switch number {
		case valueTag:
			v.Tag = string(f.bytes)
		case valueSimple:
			v.Value = float64(math.Float32frombits(uint32(f.number)))
		}
		return true
	})
	s.Values = append(s.Values, v)
	return ok
}

// field is a value of a message: a number's bits, or bytes.
type field struct {
	number uint64
	bytes  []byte
}

// eachField hands the fields of a message to do until it answers false; ok says that all went well.
func eachField(message []byte, do func(protowire.Number, field) bool) (ok bool) {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return false
		}
		message = message[n:]
		var f field
		switch kind {
		case protowire.VarintType:
			f.number, n = protowire.ConsumeVarint(message)
		case protowire.Fixed32Type:
			var bits uint32
			bits, n = protowire.ConsumeFixed32(message)
			f.number = uint64(bits)
		case protowire.Fixed64Type:
			f.number, n = protowire.ConsumeFixed64(message)
		case protowire.BytesType:
			f.bytes, n = protowire.ConsumeBytes(message)
		default:
			n = -1
		}
		if n < 0 || !do(number, f) {
			return false
		}
		message = message[n:]
	}
	return true
}

// EventFile is a whole event file of these values.
func EventFile(all []Scalars) []byte {
	var out bytes.Buffer
	if len(all) > 0 {
		out.Write(EventHeader(all[0].Wall))
	}
	for _, s := range all {
		out.Write(EventScalars(s))
	}
	return out.Bytes()
}
