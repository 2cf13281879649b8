package dataset

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// listedByChild names the Parquet file that this process lists instead of running tests.
const listedByChild = "DISTILVIT_TEST_PARQUET"

func TestMain(m *testing.M) {
	name := os.Getenv(listedByChild)
	if name == "" {
		os.Exit(m.Run())
	}
	raw, err := os.ReadFile(name)
	files := []File{memory(RoleFiles, "p", raw)}
	if err == nil {
		var examples []Example
		examples, _, err = List(context.Background(), Spec{Kind: "parquet"}, files, 0)
		if err == nil {
			o, _ := NewOpener(Spec{Kind: "parquet"}, files)
			_, err = o.Open(context.Background(), examples[0].Image)
		}
	}
	fmt.Println(err)
	status, _ := os.ReadFile("/proc/self/status")
	os.Stdout.Write(status)
	os.Exit(0)
}

var peakMemory = regexp.MustCompile(`VmHWM:\s*(\d+) kB`)

// bomb is a Parquet file of an attacker's making, a row group of pages by column.
type bomb struct {
	bytes.Buffer
	columns []format.ColumnChunk
}

func thriftOf(v any) []byte {
	var protocol thrift.CompactProtocol
	raw, err := thrift.Marshal(&protocol, v)
	if err != nil {
		panic(err)
	}
	return raw
}

// run is a run of n times a number of at most eight bits; of levels, behind its length.
func run(n, number int) []byte { return append(binary.AppendUvarint(nil, uint64(n)<<1), byte(number)) }

func levels(runs ...[]byte) []byte {
	b := bytes.Join(runs, nil)
	return append(binary.LittleEndian.AppendUint32(nil, uint32(len(b))), b...)
}

func plainText(s string) []byte {
	return append(binary.LittleEndian.AppendUint32(nil, uint32(len(s))), s...)
}

func packed(codec format.CompressionCodec, b []byte) []byte {
	if codec != format.Zstd {
		return b
	}
	z, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err)
	}
	return z.EncodeAll(b, nil)
}

// column adds one: a dictionary, where there is one, and so many pages of the same values and body.
func (b *bomb) column(codec format.CompressionCodec, dictionary []byte, entries, pages, values int, body []byte) {
	if b.Len() == 0 {
		b.WriteString("PAR1")
	}
	start, at := int64(b.Len()), int64(0)
	meta := format.ColumnMetaData{Type: format.ByteArray, Codec: codec, NumValues: int64(pages * values)}
	if dictionary != nil {
		small := packed(codec, dictionary)
		h := format.PageHeader{
			Type: format.DictionaryPage, UncompressedPageSize: int32(len(dictionary)), CompressedPageSize: int32(len(small)),
		}
		h.DictionaryPageHeader.Valid = true
		h.DictionaryPageHeader.V = format.DictionaryPageHeader{NumValues: int32(entries), Encoding: format.Plain}
		b.Write(thriftOf(h))
		b.Write(small)
		at = start
	}
	meta.DictionaryPageOffset, meta.DataPageOffset = at, int64(b.Len())
	small := packed(codec, body)
	for range pages {
		h := format.PageHeader{
			Type: format.DataPage, UncompressedPageSize: int32(len(body)), CompressedPageSize: int32(len(small)),
		}
		h.DataPageHeader.Valid = true
		h.DataPageHeader.V = format.DataPageHeader{NumValues: int32(values), Encoding: format.Plain}
		if dictionary != nil {
			h.DataPageHeader.V.Encoding = format.RLEDictionary
		}
		b.Write(thriftOf(h))
		b.Write(small)
	}
	meta.TotalCompressedSize = int64(b.Len()) - start
	b.columns = append(b.columns, format.ColumnChunk{MetaData: meta})
}

// file ends it: columns image and caption, the latter of lists where that is said.
func (b *bomb) file(rows int, list bool) []byte {
	b.Write(make([]byte, max(0, bytesPerRow*(rows-freeRows)-b.Len())))
	element := func(name string, kind *format.Type, repetition format.FieldRepetitionType, children int32) format.SchemaElement {
		e := format.SchemaElement{Name: name}
		e.RepetitionType.Valid, e.RepetitionType.V = true, repetition
		if kind != nil {
			e.Type.Valid, e.Type.V = true, *kind
		}
		if children > 0 {
			e.NumChildren.Valid, e.NumChildren.V = true, children
		}
		return e
	}
	kind := format.ByteArray
	schema := []format.SchemaElement{element("schema", nil, format.Required, 2), element("image", &kind, format.Optional, 0)}
	if list {
		outer := element("caption", nil, format.Optional, 1)
		outer.ConvertedType.Valid, outer.ConvertedType.V = true, deprecated.List
		schema = append(schema, outer, element("list", nil, format.Repeated, 1), element("element", &kind, format.Required, 0))
	} else {
		schema = append(schema, element("caption", &kind, format.Optional, 0))
	}
	footer := thriftOf(format.FileMetaData{
		Version: 1, Schema: schema, NumRows: int64(rows),
		RowGroups: []format.RowGroup{{Columns: b.columns, NumRows: int64(rows)}},
	})
	b.Write(footer)
	b.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(footer))))
	b.WriteString("PAR1")
	return b.Bytes()
}

// Files of kilobytes, or of a byte a row, that would be gigabytes by their run lengths, dictionaries or compression.
func TestParquetBombsAreListedOrRefusedInLittleMemory(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("memory is read from /proc")
	}
	plain, zip := format.Uncompressed, format.Zstd
	said := map[string]string{
		"rows in runs": "holds no picture's bytes", "4 million rows in runs": "4194304 rows in row groups",
		"a row of 4 million captions":                "row 0 of the row group has more than",
		"a row of 16 million captions":               "write the file with smaller row groups",
		"one caption of a megabyte a thousand times": "bytes of text in files of",
		"a page of zeros":                            "would unpack to",
		"a dictionary of zeros for every row":        "has no caption",
		"a dictionary of zeros and too many of them": "write the file with smaller row groups",
		"a picture of zeros":                         "would unpack to",
	}
	for name, file := range map[string]func() []byte{
		"rows in runs": func() []byte {
			const n = 70_000
			var b bomb
			b.column(plain, nil, 0, 1, n, levels(run(n, 0)))
			b.column(plain, plainText("a dog"), 1, 1, n, append(levels(run(n, 1)), append([]byte{1}, run(n, 0)...)...))
			return b.file(n, false)
		},
		"4 million rows in runs": func() []byte {
			const n = 1 << 22
			var b bomb
			b.column(plain, nil, 0, 1, n, levels(run(n, 0)))
			b.column(plain, plainText("a dog"), 1, 1, n, append(levels(run(n, 1)), append([]byte{1}, run(n, 0)...)...))
			raw := b.file(n, false)
			return append(raw[:1<<20:1<<20], raw[len(raw)-1000:]...) // most of it is nothing
		},
		"a row of 4 million captions": func() []byte {
			const n = maxPageValues
			var b bomb
			b.column(plain, nil, 0, 1, 1, levels(run(1, 0)))
			b.column(plain, plainText("a dog"), 1, 1, n, bytes.Join([][]byte{
				levels(run(1, 0), run(n-1, 1)), levels(run(n, 2)), {1}, run(n, 0),
			}, nil))
			b.Write(make([]byte, 1<<20))
			return b.file(1, true)
		},
		"a row of 16 million captions": func() []byte {
			const n = 1 << 24
			var b bomb
			b.column(plain, nil, 0, 1, 1, levels(run(1, 0)))
			b.column(plain, plainText("a dog"), 1, 1, n, bytes.Join([][]byte{
				levels(run(1, 0), run(n-1, 1)), levels(run(n, 2)), {1}, run(n, 0),
			}, nil))
			return b.file(1, true)
		},
		"one caption of a megabyte a thousand times": func() []byte {
			const n = 1000
			var b bomb
			b.column(plain, nil, 0, 1, n, levels(run(n, 0)))
			b.column(zip, plainText(strings.Repeat("x", 1<<20)), 1, 1, n, append(levels(run(n, 1)), append([]byte{1}, run(n, 0)...)...))
			return b.file(n, false)
		},
		"a page of zeros": func() []byte {
			const n = 1 << 22
			var b bomb
			b.column(plain, nil, 0, 1, n, levels(run(n, 0)))
			b.column(zip, nil, 0, 1, n, append(levels(run(n, 1)), bytes.Repeat([]byte{0}, 900<<20)...))
			return b.file(n, false)
		},
		"a dictionary of zeros for every row": func() []byte {
			const n = 2000
			var b bomb
			b.column(plain, nil, 0, 1, n, levels(run(n, 0)))
			b.column(zip, bytes.Repeat([]byte{0}, 16<<20), 1<<22, n, 1, append(levels(run(1, 1)), append([]byte{1}, run(1, 0)...)...))
			return b.file(n, false)
		},
		"a dictionary of zeros and too many of them": func() []byte {
			var b bomb
			b.column(plain, nil, 0, 1, 1, levels(run(1, 0)))
			b.column(zip, bytes.Repeat([]byte{0}, 32<<20), 1<<23, 1, 1, append(levels(run(1, 1)), append([]byte{1}, run(1, 0)...)...))
			return b.file(1, false)
		},
		"a picture of zeros": func() []byte {
			var b bomb
			b.column(zip, nil, 0, 1, 1, append(levels(run(1, 1)), plainText(strings.Repeat("\x00", 900<<20))...))
			b.column(plain, plainText("a dog"), 1, 1, 1, append(levels(run(1, 1)), append([]byte{1}, run(1, 0)...)...))
			return b.file(1, false)
		},
	} {
		path := filepath.Join(t.TempDir(), "bomb.parquet")
		raw := file()
		if err := os.WriteFile(path, raw, 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), listedByChild+"="+path)
		begun := time.Now()
		out, err := cmd.CombinedOutput()
		m := peakMemory.FindSubmatch(out)
		if err != nil || m == nil {
			t.Fatalf("%s: %v: %.2000s", name, err, out)
		}
		kib, _ := strconv.Atoi(string(m[1]))
		answer, _, _ := strings.Cut(string(out), "Name:")
		t.Logf("%s: %d bytes of file, %d MiB, %v: %s", name, len(raw), kib>>10, time.Since(begun).Round(time.Millisecond),
			strings.TrimSpace(answer))
		if kib>>10 > 384 || !strings.Contains(answer, said[name]) {
			t.Errorf("%s takes %d MiB and says %q, not %q", name, kib>>10, answer, said[name])
		}
	}
}
