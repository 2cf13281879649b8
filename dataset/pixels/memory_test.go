package pixels

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// asChild names the picture that this process decodes instead of running tests.
const asChild = "DISTILVIT_TEST_PICTURES"

func TestMain(m *testing.M) {
	if names := os.Getenv(asChild); names != "" {
		p := NewProcessor(224)
		for _, name := range strings.Split(names, "\n") {
			raw, err := ReadFile(name)
			if err == nil {
				_, _, err = p.Pixels(raw)
			}
			fmt.Println(err)
		}
		status, _ := os.ReadFile("/proc/self/status")
		os.Stdout.Write(status)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

var peak = regexp.MustCompile(`VmHWM:\s*(\d+) kB`)

// decodeInChild decodes files in a process of their own, and answers what it said and its
// peak of memory, MiB.
func decodeInChild(t *testing.T, names ...string) (said string, mib int) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("memory is read from /proc")
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), asChild+"="+strings.Join(names, "\n"))
	out, err := cmd.CombinedOutput()
	m := peak.FindSubmatch(out)
	if err != nil || m == nil {
		t.Fatalf("%v: %s", err, out)
	}
	kib, _ := strconv.Atoi(string(m[1]))
	said, _, _ = strings.Cut(string(out), "Name:")
	return strings.TrimSpace(said), kib >> 10
}

// zeros is a PNG of so many pixels, all of them 0.
func zeros(w, h, depth int, colour, interlaced byte) []byte {
	var b bytes.Buffer
	chunk := func(kind string, body []byte) {
		binary.Write(&b, binary.BigEndian, uint32(len(body)))
		body = append([]byte(kind), body...)
		b.Write(body)
		binary.Write(&b, binary.BigEndian, crc32.ChecksumIEEE(body))
	}
	b.WriteString(pngMagic)
	head := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, uint32(w)), uint32(h))
	chunk("IHDR", append(head, byte(depth), colour, 0, 0, interlaced))
	var packed bytes.Buffer
	z, _ := zlib.NewWriterLevel(&packed, zlib.BestSpeed)
	n := int64(h) * int64(1+(w*depth*pngChannels[colour]+7)/8)
	if interlaced == 1 {
		n *= 2 // filters of passes; rows too many do no harm
	}
	io.CopyN(z, zeroReader{}, n)
	z.Close()
	chunk("IDAT", packed.Bytes())
	chunk("IEND", nil)
	return b.Bytes()
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// tiffOf is a TIFF of one strip, whose data are given.
func tiffOf(w, h, bits, compression, photometric int, strip []byte) []byte {
	b := append([]byte("II*\x00\x08\x00\x00\x00"), 8, 0)
	at := 8 + 2 + 8*12 + 4
	for _, e := range [][2]int{
		{tagWidth, w}, {tagHeight, h}, {tagBitsPerSample, bits}, {tagCompression, compression},
		{tagPhotometric, photometric}, {tagStripOffsets, at}, {tagRowsPerStrip, h}, {tagStripCounts, len(strip)},
	} {
		b = binary.LittleEndian.AppendUint16(b, uint16(e[0]))
		b = binary.LittleEndian.AppendUint16(b, 4)
		b = binary.LittleEndian.AppendUint32(b, 1)
		b = binary.LittleEndian.AppendUint32(b, uint32(e[1]))
	}
	return append(append(b, 0, 0, 0, 0), strip...)
}

func deflated(n int64) []byte {
	var b bytes.Buffer
	z, _ := zlib.NewWriterLevel(&b, zlib.BestSpeed)
	io.CopyN(z, zeroReader{}, n)
	z.Close()
	return b.Bytes()
}

// resized is a JPEG whose header says another size.
func resized(jpeg []byte, w, h int) []byte {
	b := bytes.Clone(jpeg)
	for i := range b[:len(b)-9] {
		if b[i] == 0xff && (b[i+1] == 0xc0 || b[i+1] == 0xc2) {
			binary.BigEndian.PutUint16(b[i+5:], uint16(h))
			binary.BigEndian.PutUint16(b[i+7:], uint16(w))
			break
		}
	}
	return b
}

// Small files that stand for large pictures are refused or read within 512 MiB, of which
// the program takes some 190.
func TestBombsTakeLittleMemory(t *testing.T) {
	bmp := bytes.Clone(readFile(t, "formats/palette1.bmp"))
	binary.LittleEndian.PutUint32(bmp[18:], 13000)
	binary.LittleEndian.PutUint32(bmp[22:], 13000)
	webp := []byte("RIFF\x1a\x00\x00\x00WEBPVP8L\x0e\x00\x00\x00/\xff\xff\xff\x0f\x00\x88\x88\x08\x08\x08\x00\x00\x00")
	canvas := bytes.Clone(readFile(t, "formats/animated.webp"))
	copy(canvas[24:30], "\xff\x2f\x00\xff\x2f\x00")
	const refused = "of memory to decode, more than 300"
	for _, c := range []struct {
		name string
		file []byte
		says string
	}{
		{"wide.png", zeros(178_000_000, 1, 1, pngGrey, 0), refused},
		{"high.png", zeros(1, 170_000_000, 1, pngGrey, 0), refused},
		{"deep.png", zeros(7000, 7000, 16, pngRGBA, 0), "<nil>"},
		{"large.png", zeros(13000, 13000, 1, pngGrey, 0), "<nil>"},
		{"interlaced.png", zeros(6000, 6000, 16, pngRGBA, 1), "<nil>"},
		{"interlaced-large.png", zeros(12000, 12000, 1, pngGrey, 1), refused},
		{"many.png", zeros(400_000, 400, 8, pngRGB, 0), "<nil>"},
		{"34-bytes.webp", webp, "decompression bomb"},
		{"canvas.webp", canvas, refused},
		{"header.bmp", bmp, "cannot be in"},
		{"deflate.tiff", tiffOf(13000, 13000, 8, 8, tiffBlackIsZero, deflated(13000*13000)), refused},
		{"more-than-it-says.tiff", tiffOf(100, 100, 8, 8, tiffBlackIsZero, deflated(1<<28)), "<nil>"},
		{"baseline.jpg", resized(readFile(t, "sub2_64x48.jpg"), 12000, 12000), "cannot be in"},
		{"progressive.jpg", resized(append(readFile(t, "progressive.jpg"), make([]byte, 1<<20)...), 13000, 13000), refused},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), c.name)
			if err := os.WriteFile(name, c.file, 0o600); err != nil {
				t.Fatal(err)
			}
			said, mib := decodeInChild(t, name)
			t.Logf("%d bytes, %d MiB: %s", len(c.file), mib, said)
			if mib >= 512-190 {
				t.Errorf("took %d MiB", mib)
			}
			if !strings.Contains(said, c.says) {
				t.Errorf("said %q; must say %q", said, c.says)
			}
		})
	}
}

// Damaged files of each format are pixels or an error, within memory.
func TestMutantsTakeLittleMemory(t *testing.T) {
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(7, 7))
	for _, pattern := range []string{"*.jpg", "*.png", "*.gif", "*.webp", "*.bmp", "*.tiff", "*.avif"} {
		files, _ := filepath.Glob("testdata/" + pattern)
		more, _ := filepath.Glob("testdata/formats/" + pattern)
		files = append(files, more...)
		slices.Sort(files)
		var mutants []string
		for i := range 300 {
			raw, err := os.ReadFile(files[rng.IntN(len(files))])
			if err != nil {
				t.Fatal(err)
			}
			for range 1 + rng.IntN(6) {
				// headers matter most
				raw[rng.IntN(min(len(raw), 1<<(4+rng.IntN(10))))] = byte(rng.Uint32())
			}
			if rng.IntN(4) == 0 {
				raw = raw[:rng.IntN(len(raw))]
			}
			name := filepath.Join(dir, fmt.Sprint(i, filepath.Ext(pattern)))
			if err := os.WriteFile(name, raw, 0o600); err != nil {
				t.Fatal(err)
			}
			mutants = append(mutants, name)
		}
		said, mib := decodeInChild(t, mutants...)
		lines := strings.Split(said, "\n")
		good := strings.Count(said, "<nil>")
		t.Logf("%s: %d of %d read, %d MiB", pattern, good, len(lines), mib)
		if len(lines) != 300 || good == 0 || good == 300 || mib >= 512-190 {
			t.Errorf("%s: %d of %d read, %d MiB", pattern, good, len(lines), mib)
		}
	}
}

func TestPicturesAtOnceShareTheBudget(t *testing.T) {
	var mu sync.Mutex
	var now, most int64
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			defer reserve(maxDecodeBytes)()
			mu.Lock()
			now += maxDecodeBytes
			most = max(most, now)
			mu.Unlock()
			runtime.Gosched()
			mu.Lock()
			now -= maxDecodeBytes
			mu.Unlock()
		})
	}
	group.Wait()
	if most > budgetBytes || most == 0 {
		t.Errorf("%d bytes at once", most)
	}
}

func TestOnlyRegularFilesOfBoundedSizeAreReadAsPictures(t *testing.T) {
	dir := t.TempDir()
	fifo, large := filepath.Join(dir, "pipe"), filepath.Join(dir, "large")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Skip(err)
	}
	f, err := os.Create(large)
	if err == nil {
		err = errors.Join(f.Truncate(MaxFileBytes+1), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		fifo: "is not a regular file", "/dev/zero": "is not a regular file", dir: "is not a regular file",
		large: "a picture has at most",
	} {
		if _, err := ReadFile(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Read(zeroReader{}, 5); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("a file that grows: %v", err)
	}
}
