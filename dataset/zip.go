package dataset

import (
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
)

// A zip is read by its directory here, not with archive/zip, because that keeps the
// whole directory in memory, some 300 bytes an entry, and would have to read it again for
// every shard of an archive. APPNOTE.TXT of PKWARE, 4.3, has the format.

// Entry is where an archive has one file.
type Entry struct {
	Header int64  `json:"header"`           // offset of its local header
	Packed int64  `json:"packed"`           // bytes in the archive
	Size   int64  `json:"size"`             // bytes
	CRC    uint32 `json:"crc"`              // CRC-32 (IEEE) of them
	Method uint16 `json:"method,omitempty"` // methodStore or methodDeflate
}

const (
	methodStore   = 0
	methodDeflate = 8
	methodRaw     = 0xffff // not zip's: the bytes themselves begin at Header, without a checksum
)

// Signatures and lengths of a zip's records, and the values that send a reader to
// their 64-bit forms.
const (
	localSignature = "PK\x03\x04"
	entrySignature = "PK\x01\x02"
	endSignature   = "PK\x05\x06"
	end64Signature = "PK\x06\x06"
	find64         = "PK\x06\x07"

	localBytes = 30
	localRoom  = 256 // for the name and extra field that follow a local header
	entryBytes = 46
	endBytes   = 22
	end64Bytes = 56
	findBytes  = 20

	in64 = 1<<32 - 1
)

// A picture larger than freeEntryBytes may be so many times what is really there of it: several are unpacked at
// once, and zeros take a thousandth of their bytes.
const (
	freeEntryBytes = 16 << 20
	maxEntryRatio  = 64
)

var errNotZip = errors.New("not a zip file, or one cut short")

// flagEncrypted is the bit of an entry's flags that says that a password is wanted.
const flagEncrypted = 1

var errEncrypted = errors.New("the zip is encrypted; pack its files again without a password")

// zipDirectory is where the records of a zip's entries are.
type zipDirectory struct {
	start, end int64
	base       int64  // what offsets count from: something may stand before the zip
	count      uint64 // of entries; modulo 1<<16 without a 64-bit form
}

// findDirectory reads the end of a zip.
func findDirectory(r io.ReaderAt, size int64) (d zipDirectory, err error) {
	tail := make([]byte, min(size, endBytes+1<<16)) // a comment may follow
	if _, err := readAt(r, tail, size-int64(len(tail))); err != nil {
		return d, err
	}
	at := bytes.LastIndex(tail, []byte(endSignature))
	for ; at >= 0; at = bytes.LastIndex(tail[:at], []byte(endSignature)) {
		if at+endBytes <= len(tail) &&
			at+endBytes+int(binary.LittleEndian.Uint16(tail[at+20:])) <= len(tail) {
			break
		}
	}
	if at < 0 {
		return d, errNotZip
	}
	end := tail[at:]
	d.end = size - int64(len(tail)) + int64(at)
	d.count = uint64(binary.LittleEndian.Uint16(end[10:]))
	length, offset := int64(binary.LittleEndian.Uint32(end[12:])), int64(binary.LittleEndian.Uint32(end[16:]))
	if d.count == 1<<16-1 || length == in64 || offset == in64 {
		if err := d.find64(r, &length, &offset); err != nil {
			return d, err
		}
	}
	if length < 0 || offset < 0 || length > d.end || offset > d.end {
		return d, errNotZip
	}
	d.start = d.end - length
	d.base = d.start - offset
	if d.base < 0 || d.count == 0 {
		d.base = 0
	}
	if d.base > 0 { // or the length is wrong
		var signature [4]byte
		if _, err := readAt(r, signature[:], offset); err == nil && string(signature[:]) == entrySignature {
			d.start, d.base = offset, 0
		}
	}
	return d, nil
}

// find64 reads the 64-bit form of the end, where there is one.
func (d *zipDirectory) find64(r io.ReaderAt, length, offset *int64) error {
	if d.end < findBytes {
		return nil
	}
	var locator [findBytes]byte
	if _, err := readAt(r, locator[:], d.end-findBytes); err != nil || string(locator[:4]) != find64 {
		return err
	}
	at := int64(binary.LittleEndian.Uint64(locator[8:]))
	if at < 0 || at > d.end-findBytes-end64Bytes {
		return errNotZip
	}
	var end [end64Bytes]byte
	if _, err := readAt(r, end[:], at); err != nil {
		return err
	}
	if string(end[:4]) != end64Signature {
		return errNotZip
	}
	d.end = at
	d.count = binary.LittleEndian.Uint64(end[32:])
	*length, *offset = int64(binary.LittleEndian.Uint64(end[40:])),
		int64(binary.LittleEndian.Uint64(end[48:]))
	return nil
}

// eachEntry calls f with the files of a zip, in the directory's order.
func eachEntry(r io.ReaderAt, size int64, f func(name string, e Entry) error) error {
	d, err := findDirectory(r, size)
	if err != nil {
		return err
	}
	records := bufio.NewReaderSize(io.NewSectionReader(r, d.start, d.end-d.start), 256<<10)
	var head [entryBytes]byte
	var rest []byte
	n := uint64(0)
	for ; ; n++ {
		if signature, err := records.Peek(4); string(signature) != entrySignature {
			if err != nil && !errors.Is(err, io.EOF) {
				return err
			}
			break
		}
		if _, err := io.ReadFull(records, head[:]); err != nil {
			return shortZip(err)
		}
		nameLength, extraLength := int(binary.LittleEndian.Uint16(head[28:])),
			int(binary.LittleEndian.Uint16(head[30:]))
		rest = append(
			rest[:0], make([]byte, nameLength+extraLength+int(binary.LittleEndian.Uint16(head[32:])))...,
		)
		if _, err := io.ReadFull(records, rest); err != nil {
			return shortZip(err)
		}
		if binary.LittleEndian.Uint16(head[8:])&flagEncrypted != 0 {
			return errEncrypted
		}
		e, err := parseEntry(head[:], rest[nameLength:nameLength+extraLength], d.base)
		if err != nil {
			return err
		}
		if name := string(rest[:nameLength]); !strings.HasSuffix(name, "/") { // not a folder
			if err := f(name, e); err != nil {
				return err
			}
		}
	}
	if uint16(n) != uint16(d.count) {
		return errNotZip
	}
	return nil
}

// parseEntry reads a record of the directory, whose large numbers stand in an extra field.
func parseEntry(head, extra []byte, base int64) (Entry, error) {
	packed, size := int64(binary.LittleEndian.Uint32(head[20:])), int64(binary.LittleEndian.Uint32(head[24:]))
	header := int64(binary.LittleEndian.Uint32(head[42:]))
	for len(extra) >= 4 {
		id, n := binary.LittleEndian.Uint16(extra), int(binary.LittleEndian.Uint16(extra[2:]))
		if extra = extra[4:]; n > len(extra) {
			break
		}
		field := extra[:n]
		extra = extra[n:]
		if id != 1 { // zip64
			continue
		}
		for _, v := range []*int64{&size, &packed, &header} {
			if *v != in64 {
				continue
			}
			if len(field) < 8 {
				return Entry{}, errNotZip
			}
			*v, field = int64(binary.LittleEndian.Uint64(field)), field[8:]
		}
	}
	if header += base; packed < 0 || size < 0 || header < 0 {
		return Entry{}, errNotZip
	}
	return Entry{
		Header: header, Packed: packed, Size: size,
		CRC: binary.LittleEndian.Uint32(head[16:]), Method: binary.LittleEndian.Uint16(head[10:]),
	}, nil
}

// readEntry answers the whole file, verified by its CRC.
func readEntry(r io.ReaderAt, e Entry) ([]byte, error) {
	if e.Size > maxPictureBytes || e.Packed > maxPictureBytes {
		return nil, fmt.Errorf("%d bytes, more than %d", max(e.Size, e.Packed), maxPictureBytes)
	}
	if e.Method == methodRaw {
		b := make([]byte, e.Size)
		if n, err := r.ReadAt(b, e.Header); n < len(b) {
			return nil, fmt.Errorf("%d bytes of %d are there: %w", n, len(b), err)
		}
		return b, nil
	}
	// all of it as a rule; no more for a size that may be a lie
	head := make([]byte, min(localBytes+localRoom+e.Packed, 1<<20))
	n, err := r.ReadAt(head, e.Header)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if n < localBytes {
		return nil, errNotZip
	}
	if string(head[:4]) != localSignature {
		return nil, errors.New("damaged: its header is not there")
	}
	start := localBytes + int64(binary.LittleEndian.Uint16(head[26:])) +
		int64(binary.LittleEndian.Uint16(head[28:]))
	here := head[min(start, int64(n)):min(start+e.Packed, int64(n))]
	rest := io.NewSectionReader(r, e.Header+start+int64(len(here)), e.Packed-int64(len(here)))
	from := io.MultiReader(bytes.NewReader(here), rest)
	switch e.Method {
	case methodStore:
	case methodDeflate:
		packed := &counted{r: from}
		unpacked := flate.NewReader(packed)
		defer unpacked.Close()
		from = &proportionate{r: unpacked, packed: packed}
	default:
		return nil, fmt.Errorf("packed by method %d of zip; 0 (stored) and 8 (deflate) can be read", e.Method)
	}
	var b bytes.Buffer
	b.Grow(int(min(e.Size, 1<<20)) + bytes.MinRead) // no more for a size that may be a lie
	if _, err := b.ReadFrom(io.LimitReader(from, e.Size+1)); err != nil {
		return nil, err
	}
	if int64(b.Len()) != e.Size || crc32.ChecksumIEEE(b.Bytes()) != e.CRC {
		return nil, fmt.Errorf(
			"damaged: has not the %d bytes with the checksum that the archive says", e.Size,
		)
	}
	return b.Bytes(), nil
}

// readAt fills p; what ends early is no zip.
func readAt(r io.ReaderAt, p []byte, off int64) (int, error) {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return n, nil
	}
	return n, shortZip(err)
}

func shortZip(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errNotZip
	}
	return err
}

// counted knows how many bytes were read through it.
type counted struct {
	r io.Reader
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// proportionate ends where what is unpacked is out of proportion to what was read for it, whatever the archive
// says of both.
type proportionate struct {
	r      io.Reader
	n      int64
	packed *counted
}

func (p *proportionate) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	if p.n += int64(n); p.n > freeEntryBytes && p.n/maxEntryRatio > p.packed.n {
		return n, fmt.Errorf("%d bytes unpack to more than %d, and more than %d times as many", p.packed.n, freeEntryBytes,
			maxEntryRatio)
	}
	return n, err
}
