package dataset

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// in64Form gives a small zip the ends and extra fields that those of more than 4 GiB have.
func in64Form(t *testing.T, b []byte) []byte {
	t.Helper()
	d, err := findDirectory(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	out := bytes.Clone(b[:d.start])
	for record := b[d.start:d.end]; len(record) > 0; {
		name := int(binary.LittleEndian.Uint16(record[28:]))
		rest := int(binary.LittleEndian.Uint16(record[30:])) + int(binary.LittleEndian.Uint16(record[32:]))
		head := bytes.Clone(record[:entryBytes+name])
		extra := binary.LittleEndian.AppendUint16(nil, 1)
		extra = binary.LittleEndian.AppendUint16(extra, 24)
		for _, at := range []int{24, 20, 42} { // size, packed, header
			extra = binary.LittleEndian.AppendUint64(extra, uint64(binary.LittleEndian.Uint32(head[at:])))
			binary.LittleEndian.PutUint32(head[at:], in64)
		}
		binary.LittleEndian.PutUint16(head[30:], uint16(len(extra)))
		binary.LittleEndian.PutUint16(head[32:], 0)
		out = append(append(out, head...), extra...)
		record = record[entryBytes+name+rest:]
	}
	end := len(out)
	out = append(out, end64Signature...)
	out = append(out, make([]byte, end64Bytes-4)...)
	binary.LittleEndian.PutUint64(out[end+4:], end64Bytes-12)
	binary.LittleEndian.PutUint64(out[end+24:], d.count)
	binary.LittleEndian.PutUint64(out[end+32:], d.count)
	binary.LittleEndian.PutUint64(out[end+40:], uint64(end)-uint64(d.start))
	binary.LittleEndian.PutUint64(out[end+48:], uint64(d.start))
	out = append(out, find64...)
	out = append(out, 0, 0, 0, 0)
	out = binary.LittleEndian.AppendUint64(out, uint64(end))
	out = append(out, 1, 0, 0, 0)
	out = append(out, endSignature...)
	return append(out, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0)
}

func TestZipIsReadAsTheStandardLibraryDoes(t *testing.T) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := range 300 {
		h := &zip.FileHeader{
			Name: fmt.Sprintf("d/%d.jpg", i), Comment: strings.Repeat("c", i%3), Method: zip.Deflate,
		}
		if i%2 == 0 {
			h.Method = zip.Store
		}
		w, err := z.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, strings.Repeat(fmt.Sprint(i, " "), i*10))
	}
	z.Create("d/")
	z.SetComment("PK\x05\x06 is no end here")
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	plain := zipOf(t, "a.jpg", "A", "b.jpg", strings.Repeat("B", 1000))
	archives := map[string][]byte{
		"many": b.Bytes(), "empty": zipOf(t), "64-bit": in64Form(t, plain),
		"64-bit, many":     in64Form(t, b.Bytes()),
		"behind a program": append([]byte(strings.Repeat("#!", 5000)), plain...),
	}
	for _, name := range []string{
		"train2017.zip", "val2014.zip", "flickr30k-images.zip", "annotations_trainval2017.zip",
	} {
		raw, err := os.ReadFile(filepath.Join("testdata", "captions", name))
		if err != nil {
			t.Fatal(err)
		}
		archives[name] = raw
	}
	for name, raw := range archives {
		r := bytes.NewReader(raw)
		std, err := zip.NewReader(r, r.Size())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var files []*zip.File
		for _, f := range std.File {
			if !f.FileInfo().IsDir() {
				files = append(files, f)
			}
		}
		i := 0
		err = eachEntry(r, r.Size(), func(entry string, e Entry) error {
			got, err := readEntry(r, e)
			if err != nil {
				t.Errorf("%s: %s: %v", name, entry, err)
			}
			f, err := files[i].Open()
			if err != nil {
				t.Fatal(err)
			}
			want, err := io.ReadAll(f)
			if entry != files[i].Name || !bytes.Equal(got, want) || err != nil {
				t.Errorf("%s: entry %d is %s with %d bytes, not %s with %d, %v", name, i, entry, len(got),
					files[i].Name, len(want), err)
			}
			i++
			return nil
		})
		if err != nil || i != len(files) {
			t.Errorf("%s: %d of %d entries, %v", name, i, len(files), err)
		}
	}
}

// reads counts the reads of an archive.
type reads struct {
	io.ReaderAt
	n int
}

func (r *reads) ReadAt(p []byte, off int64) (int, error) {
	r.n++
	return r.ReaderAt.ReadAt(p, off)
}

// A picture costs one read, unless it is large: a read of a stored archive is a request.
func TestEntryIsOneRead(t *testing.T) {
	noise := make([]byte, 3<<20) // does not pack
	rand.NewChaCha8([32]byte{}).Read(noise)
	raw := zipOf(t, "first.jpg", string(noise[:200_000]), "large.jpg", string(noise), "last.jpg", "c")
	var got []int
	err := eachEntry(bytes.NewReader(raw), int64(len(raw)), func(_ string, e Entry) error {
		r := &reads{ReaderAt: bytes.NewReader(raw)}
		b, err := readEntry(r, e)
		if err == nil && int64(len(b)) != e.Size {
			t.Errorf("%d bytes of %d", len(b), e.Size)
		}
		got = append(got, r.n)
		return err
	})
	if err != nil || got[0] != 1 || got[1] < 2 || got[2] != 1 {
		t.Errorf("%v reads, %v", got, err)
	}
}

func TestPicturesWhoseNamesAreNoUTF8AreFound(t *testing.T) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	w, err := z.CreateHeader(&zip.FileHeader{Name: "caf\xe9.jpg", NonUTF8: true})
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, "coffee")
	z.Close()
	files := []File{
		memory(RoleCaptions, "c.csv", []byte("image,caption\ncaf\uFFFD.jpg,x\n")),
		memory(RoleImages, "i.zip", b.Bytes()),
	}
	examples, warnings, err := List(context.Background(), Spec{Kind: "folder"}, files, 0)
	if err != nil || len(warnings) > 0 {
		t.Fatal(warnings, err)
	}
	o, _ := NewOpener(Spec{Kind: "folder"}, files)
	if raw, err := o.Open(context.Background(), examples[0].Image); string(raw) != "coffee" {
		t.Errorf("%q, %v", raw, err)
	}
}

func TestEncryptedZipIsCalledOne(t *testing.T) {
	b := zipOf(t, "a.jpg", "A")
	at := bytes.LastIndex(b, []byte(entrySignature))
	b[at+8] |= flagEncrypted
	captions := memory(RoleCaptions, "c.csv", []byte("image,caption\na.jpg,x\n"))
	_, _, err := List(t.Context(), Spec{Kind: "folder"}, []File{captions, memory(RoleImages, "i.zip", b)}, 0)
	if err == nil || !strings.Contains(err.Error(), "image archive i.zip: the zip is encrypted") {
		t.Error(err)
	}
}

// A picture of zeros is not unpacked, whatever the archive says that it takes.
func TestPictureOutOfProportionIsNotUnpacked(t *testing.T) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, content := range map[string]io.Reader{
		"zeros.bmp": bytes.NewReader(make([]byte, 200<<20)), "drawing.bmp": bytes.NewReader(make([]byte, 10<<20)),
		"noise.bmp": io.LimitReader(rand.NewChaCha8([32]byte{}), 20<<20),
	} {
		w, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate})
		if err == nil {
			_, err = io.Copy(w, content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	err := eachEntry(bytes.NewReader(b.Bytes()), int64(b.Len()), func(name string, e Entry) error {
		if name == "zeros.bmp" {
			e.Packed = 150 << 20 // a lie
		}
		raw, err := readEntry(bytes.NewReader(b.Bytes()), e)
		if want := name == "zeros.bmp"; (err != nil) != want || want && !strings.Contains(err.Error(), "times as many") {
			t.Errorf("%s: %d bytes, %v", name, len(raw), err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
