package dataset

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/bits"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go/format"
	"github.com/pierrec/lz4/v4"
)

const (
	maxPageBytes   = 1 << 30 // of a page, unpacked: old files hold a row group's pictures in one
	maxPageValues  = maxGroupRows
	maxPageRatio   = 16       // of pages larger than freePageBytes, whose bytes must be there
	freePageBytes  = 32 << 20 // unpacked
	maxHeaderBytes = 1 << 20  // of a page's header, which may hold whole values as bounds
	headerBytes    = 4 << 10  // read at first
)

// page is where a page lies, as its header has it.
type page struct {
	kind             format.PageType
	body             int64 // offset of what follows the header
	packed, unpacked int   // bytes of it, levels included
	values           int   // nulls included
	encoding         format.Encoding
	repBytes, defLen int  // version 2: bytes of the levels, which are never packed
	plain            bool // version 2: the values are not packed
	crc              uint32
}

// pageAt reads the header at offset; a page must end before end.
func (t *table) pageAt(offset, end int64) (page, error) {
	var h format.PageHeader
	var n int
	for size := int64(headerBytes); ; size *= 4 {
		raw := make([]byte, min(size, end-offset))
		if got, err := t.r.ReadAt(raw, offset); got < len(raw) {
			return page{}, err
		}
		var err error
		if n, err = decodeThrift(raw, &h); err == nil {
			break
		}
		if !errors.Is(err, errThriftShort) || int64(len(raw)) < size || size >= maxHeaderBytes {
			return page{}, fmt.Errorf("corrupt page header: %w", err)
		}
	}
	p := page{
		kind: h.Type, body: offset + int64(n), packed: int(h.CompressedPageSize),
		unpacked: int(h.UncompressedPageSize), crc: uint32(h.CRC),
	}
	switch {
	case h.Type == format.DataPage && h.DataPageHeader.Valid:
		d := h.DataPageHeader.V
		p.values, p.encoding = int(d.NumValues), d.Encoding
	case h.Type == format.DataPageV2 && h.DataPageHeaderV2.Valid:
		d := h.DataPageHeaderV2.V
		p.values, p.encoding = int(d.NumValues), d.Encoding
		p.repBytes, p.defLen = int(d.RepetitionLevelsByteLength), int(d.DefinitionLevelsByteLength)
		p.plain = d.IsCompressed.Valid && !d.IsCompressed.V
	case h.Type == format.DictionaryPage && h.DictionaryPageHeader.Valid:
		p.values, p.encoding = int(h.DictionaryPageHeader.V.NumValues), format.Plain
	}
	if p.packed < 0 || p.unpacked < 0 || p.values < 0 || p.body+int64(p.packed) > end {
		return page{}, fmt.Errorf("corrupt page header: %d bytes packed, %d unpacked, %d values", p.packed,
			p.unpacked, p.values)
	}
	if p.unpacked > maxPageBytes || p.values > maxPageValues {
		return page{}, fmt.Errorf("a page of %d bytes and %d values is larger than %d bytes or %d values; "+
			"write the file with smaller row groups", p.unpacked, p.values, maxPageBytes, maxPageValues)
	}
	if p.unpacked > freePageBytes && p.unpacked/maxPageRatio > p.packed {
		return page{}, fmt.Errorf("a page of %d bytes would unpack to %d, more than %d and than %d times as many; "+
			"write the file with smaller pages or row groups", p.packed, p.unpacked, freePageBytes, maxPageRatio)
	}
	return p, nil
}

// next is the offset after the page.
func (p page) next() int64 { return p.body + int64(p.packed) }

// pageValues is a page that is decoded as it is walked over: a value for each definition level that is the
// column's highest. Levels are nil where the column has none.
type pageValues struct {
	n        int
	rep, def []uint8
	value    func() ([]byte, error) // the next one
}

// each calls put for each of the page's entries: whether it begins a row, and its value; nil: none.
func (v pageValues) each(maxDef int, put func(begins bool, value []byte) error) error {
	for i := range v.n {
		var value []byte
		if v.def == nil || int(v.def[i]) == maxDef {
			var err error
			if value, err = v.value(); err != nil {
				return err
			}
			if value == nil {
				value = []byte{}
			}
		}
		if err := put(v.rep == nil || v.rep[i] == 0, value); err != nil {
			return err
		}
	}
	return nil
}

// chunk walks over the pages of a column in one row group.
type chunk struct {
	t     *table
	leaf  leaf
	codec format.CompressionCodec
	at    int64 // next page
	end   int64
	dict  *page

	walked  bool  // by one goroutine, from page to page
	decoded *page // the dictionary whose values are these; of one that is walked
	words   [][]byte
}

func (t *table) chunk(group, column int) (*chunk, error) {
	m := t.meta.RowGroups[group].Columns[column].MetaData
	c := &chunk{t: t, leaf: t.leaves[column], codec: m.Codec, at: m.DataPageOffset}
	if d := m.DictionaryPageOffset; d > 0 && d < c.at {
		c.at = d
	}
	c.end = c.at + m.TotalCompressedSize
	if c.at < 4 || m.TotalCompressedSize < 0 || c.end < c.at || c.end > t.end {
		return nil, fmt.Errorf("corrupt footer: column %s of row group %d is not within the file",
			c.leaf.name, group)
	}
	return c, nil
}

// nextPage answers the next page of data, or io.EOF.
func (c *chunk) nextPage() (page, error) {
	for c.at < c.end {
		p, err := c.t.pageAt(c.at, c.end)
		if err != nil {
			return p, fmt.Errorf("column %s: %w", c.leaf.name, err)
		}
		c.at = p.next()
		switch p.kind {
		case format.DataPage, format.DataPageV2:
			return p, nil
		case format.DictionaryPage:
			c.dict = &p
		}
	}
	return page{}, io.EOF
}

// decode reads a page of data; dict is that of the chunk when the page was found.
func (c *chunk) decode(p page, dict *page) (pageValues, error) {
	v, err := c.decodePage(p, dict)
	if err != nil {
		return v, fmt.Errorf("column %s: page at byte %d: %w", c.leaf.name, p.body, err)
	}
	return v, nil
}

func (c *chunk) decodePage(p page, dict *page) (pageValues, error) {
	body, err := c.unpack(p)
	if err != nil {
		return pageValues{}, err
	}
	v := pageValues{n: p.values}
	if v.rep, body, err = p.levels(body, c.leaf.maxRep, p.values, p.repBytes); err != nil {
		return v, err
	}
	if v.def, body, err = p.levels(body, c.leaf.maxDef, p.values, p.defLen); err != nil {
		return v, err
	}
	n := p.values
	if v.def != nil {
		n = 0
		for _, d := range v.def {
			if int(d) == c.leaf.maxDef {
				n++
			}
		}
	}
	switch {
	case n == 0:
	case p.encoding == format.Plain && c.leaf.kind == format.ByteArray:
		v.value = plainBytes(body)
	//lint:ignore SA1019 files of version 1 name the dictionary so
	case p.encoding == format.PlainDictionary || p.encoding == format.RLEDictionary:
		v.value, err = c.fromDictionary(body, n, dict)
	default:
		var values [][]byte
		values, err = c.decodeValues(p.encoding, body, n)
		v.value = func() ([]byte, error) {
			value := values[0]
			values = values[1:]
			return value, nil
		}
	}
	return v, err
}

// unpack reads a page's body and undoes its compression.
func (c *chunk) unpack(p page) ([]byte, error) {
	raw, err := readSpan(c.t.r, p.body, p.packed)
	if err != nil {
		return nil, err
	}
	if p.crc != 0 && crc32.ChecksumIEEE(raw) != p.crc {
		return nil, errors.New("its checksum does not match")
	}
	levels := 0
	if p.kind == format.DataPageV2 {
		levels = p.repBytes + p.defLen
		if p.repBytes < 0 || p.defLen < 0 || levels > len(raw) || levels > p.unpacked {
			return nil, errors.New("corrupt: its levels are longer than it is")
		}
	}
	if c.codec == format.Uncompressed || p.plain {
		return raw, nil
	}
	body, err := unpackBytes(c.codec, raw[levels:], p.unpacked-levels)
	if err != nil || levels == 0 {
		return body, err
	}
	return append(raw[:levels:levels], body...), nil
}

// readSpan reads n bytes, which the caller knows to lie within the file.
func readSpan(r io.ReaderAt, at int64, n int) ([]byte, error) {
	b := make([]byte, n)
	if got, err := r.ReadAt(b, at); got < n {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return b, nil
}

// More than these can pack: in snappy two bytes copy at most 64, in LZ4 a byte at most 255.
const (
	snappyRatio = 64
	lz4Ratio    = 255
)

// unpackBytes undoes a compression whose result must have want bytes. Memory
// grows with what is really there, not with what is promised.
func unpackBytes(codec format.CompressionCodec, raw []byte, want int) ([]byte, error) {
	var r io.Reader
	switch codec {
	case format.Snappy:
		if n, err := snappy.DecodedLen(raw); err != nil || n != want || want > snappyRatio*(len(raw)+1) {
			return nil, fmt.Errorf("corrupt: %d bytes of snappy are not %d bytes packed", len(raw), want)
		}
		return snappy.Decode(nil, raw)
	case format.Gzip:
		z, err := gzip.NewReader(bytes.NewReader(raw))
		if err != nil {
			return nil, err
		}
		r = z
	case format.Zstd:
		z, err := zstd.NewReader(bytes.NewReader(raw), zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(maxPageBytes))
		if err != nil {
			return nil, err
		}
		defer z.Close()
		r = z
	case format.Brotli:
		r = brotli.NewReader(bytes.NewReader(raw))
	case format.Lz4Raw:
		if want > lz4Ratio*(len(raw)+1) {
			return nil, fmt.Errorf("corrupt: %d bytes of LZ4 are not %d bytes packed", len(raw), want)
		}
		out := make([]byte, want)
		if n, err := lz4.UncompressBlock(raw, out); err != nil || n != want {
			return nil, fmt.Errorf("corrupt: %d bytes of LZ4 are not %d bytes packed (%v)", len(raw), want, err)
		}
		return out, nil
	default:
		return nil, fmt.Errorf("it is compressed with %v, which is not read; write it with snappy, zstd, gzip, "+
			"brotli, LZ4_RAW or none", codec)
	}
	var out bytes.Buffer
	out.Grow(min(want, snappyRatio*len(raw)+maxHeaderBytes) + bytes.MinRead)
	if _, err := out.ReadFrom(io.LimitReader(r, int64(want)+1)); err != nil {
		return nil, err
	}
	if out.Len() != want {
		return nil, fmt.Errorf("corrupt: unpacks to %d bytes or more, its header says %d", out.Len(), want)
	}
	return out.Bytes(), nil
}

// levels reads repetition or definition levels and answers what follows them.
func (p page) levels(body []byte, highest, n, length int) ([]uint8, []byte, error) {
	if p.kind == format.DataPage {
		if highest == 0 {
			return nil, body, nil
		}
		if len(body) < 4 {
			return nil, nil, io.ErrUnexpectedEOF
		}
		length, body = int(binary.LittleEndian.Uint32(body)), body[4:]
	}
	if length > len(body) {
		return nil, nil, io.ErrUnexpectedEOF
	}
	if highest == 0 {
		return nil, body[length:], nil
	}
	levels, err := runs[uint8](body[:length], bits.Len(uint(highest)), n) // of at most maxNesting+1
	return levels, body[length:], err
}

// runs decodes n numbers of Parquet's hybrid of runs and packed bits.
func runs[N uint8 | uint32](b []byte, width, n int) ([]N, error) {
	if width > 32 {
		return nil, fmt.Errorf("corrupt: numbers of %d bits", width)
	}
	out := make([]N, 0, n)
	for len(out) < n {
		head, used := binary.Uvarint(b)
		if used <= 0 {
			return nil, io.ErrUnexpectedEOF
		}
		b = b[used:]
		count := min(head>>1, uint64(n-len(out)))
		if head&1 == 0 {
			size := (width + 7) / 8
			if len(b) < size || count == 0 {
				return nil, io.ErrUnexpectedEOF
			}
			var v uint32
			for i := range size {
				v |= uint32(b[i]) << (8 * i)
			}
			b = b[size:]
			for range count {
				out = append(out, N(v))
			}
			continue
		}
		groups := min(head>>1, uint64(n-len(out)+7)/8)
		size := groups * uint64(width)
		if size > uint64(len(b)) || groups == 0 {
			return nil, io.ErrUnexpectedEOF
		}
		out = unpackBits(out, b[:size], width, min(int(groups)*8, n-len(out)))
		b = b[size:]
	}
	return out, nil
}

// unpackBits appends n numbers of width bits, the lowest bits first.
func unpackBits[N uint8 | uint32](out []N, b []byte, width, n int) []N {
	var have uint64
	bitsLeft := 0
	for range n {
		for bitsLeft < width {
			have |= uint64(b[0]) << bitsLeft
			b = b[1:]
			bitsLeft += 8
		}
		out = append(out, N(have&(1<<width-1)))
		have >>= width
		bitsLeft -= width
	}
	return out
}

// fromDictionary looks up values by the indexes that a body holds.
func (c *chunk) fromDictionary(body []byte, n int, dict *page) (func() ([]byte, error), error) {
	if dict == nil {
		return nil, errors.New("corrupt: it has no dictionary")
	}
	words, err := c.dictionary(dict)
	if err != nil {
		return nil, fmt.Errorf("dictionary: %w", err)
	}
	if len(body) == 0 {
		return nil, io.ErrUnexpectedEOF
	}
	indexes, err := runs[uint32](body[1:], int(body[0]), n)
	return func() ([]byte, error) {
		at := int(indexes[0])
		indexes = indexes[1:]
		if at >= len(words) {
			return nil, fmt.Errorf("corrupt: value %d of a dictionary of %d", at, len(words))
		}
		return words[at], nil
	}, err
}

// dictionary decodes one, once for all pages in a row where the chunk is walked over by one goroutine.
func (c *chunk) dictionary(dict *page) ([][]byte, error) {
	if c.decoded == dict {
		return c.words, nil
	}
	raw, err := c.unpack(*dict)
	if err != nil {
		return nil, err
	}
	words, err := plainValues(raw, dict.values, c.leaf.kind)
	if err == nil && c.walked {
		c.decoded, c.words = dict, words
	}
	return words, err
}
