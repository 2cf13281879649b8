package pytorch

import (
	"archive/zip"
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"distilvit/model/safetensors"
)

// forms are the files of testdata/make_pytorch.py that hold the tensors of want.safetensors.
var forms = []string{"zip", "dict", "protocol4", "legacy", "legacy4"}

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func open(b []byte) (*File, error) { return Open(bytes.NewReader(b), int64(len(b))) }

func TestEveryFormHoldsTorchsTensors(t *testing.T) {
	b := read(t, "want.safetensors")
	want, err := safetensors.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	for _, form := range forms {
		f, err := open(read(t, form+".bin"))
		if err != nil {
			t.Fatalf("%s: %v", form, err)
		}
		if len(f.Tensors()) != len(want.Tensors()) {
			t.Errorf("%s has %d tensors instead of %d", form, len(f.Tensors()), len(want.Tensors()))
		}
		for _, info := range f.Tensors() {
			expected, _ := want.Lookup(info.Name)
			if info.DType != expected.DType || !slices.Equal(info.Shape, expected.Shape) {
				t.Errorf("%s: %s is %s %v instead of %s %v",
					form, info.Name, info.DType, info.Shape, expected.DType, expected.Shape)
			}
			got, err := f.Float32s(info.Name)
			values, wantErr := want.Float32s(info.Name)
			if (err == nil) != (wantErr == nil) || !slices.EqualFunc(got, values, sameBits) {
				t.Errorf("%s: %s is %v, %v instead of %v, %v", form, info.Name, got, err, values, wantErr)
			}
		}
	}
}

func sameBits(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) }

func TestWhatIsNoStateDictIsRefusedByName(t *testing.T) {
	legacy, archive := read(t, "legacy.bin"), read(t, "zip.bin")
	four := pickleOf("(K\x04t", "(K\x01t")
	for _, c := range []struct {
		name string
		file []byte
		says string
	}{
		{"hostile-zip", read(t, "hostile-zip.bin"), `global "posix system"`},
		{"hostile-legacy", read(t, "hostile-legacy.bin"), `global "posix system"`},
		{"hostile-protocol4", read(t, "hostile-protocol4.bin"), `global "posix system"`},
		{"hostile-pickle", read(t, "hostile-pickle.bin"), `global "posix system"`},
		{"hostile-old", read(t, "hostile-old.bin"), `global "posix system"`},
		{"module", read(t, "module.bin"), `global "torch.nn.modules.linear Linear"`},
		{"compressed", read(t, "compressed.bin"), "zip/byteorder is compressed"},
		{"archive of something else", zipOf(t, "a/b.txt", "hello"), "without NAME/data.pkl"},
		{"big endian", bytes.Replace(archive, []byte("little"), []byte("big\x00\x00\x00"), 1), "byteorder is"},
		{
			"legacy big endian",
			bytes.Replace(legacy, []byte("little_endianq\x02\x88"), []byte("little_endianq\x02\x89"), 1),
			"not little endian",
		},
		{"legacy cut", legacy[:len(legacy)-1], "cut short"},
		{"pickle cut", legacy[:300], "cut short"},
		{"archive cut", archive[:len(archive)-1], "zip:"},
		{"empty", nil, "neither an archive nor a pickle"},
		{"a page", []byte("<!doctype html>"), "neither an archive nor a pickle"},
		{
			"a number", zipOf(t, "x/data.pkl", "\x80\x02K\x07."),
			"a whole number is saved; must be a dict of tensors",
		},
		{"a dict of texts", zipOf(t, "x/data.pkl", "\x80\x02}U\x01aU\x01bs."), `"a" is text; must be a tensor`},
		{
			"a storage that is not there",
			zipOf(t, "x/data.pkl", four),
			"x/data/0 is missing",
		},
		{
			"a storage too small",
			zipOf(t, "x/data.pkl", four, "x/data/0", "123456789012345"),
			"x/data/0 has 15 bytes",
		},
		{
			"a tensor outside",
			zipOf(t, "x/data.pkl", pickleOf("(K\x02K\x02t", "(K\x03K\x01t"), "x/data/0", "1234567890123456"),
			"does not lie in its storage of 4",
		},
	} {
		_, err := open(c.file)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", c.name, err, c.says)
		}
		if strings.Contains(c.says, "global") && !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v is not ErrRefused", c.name, err)
		}
	}
	repeated := pickleOf("(K\xffK\xffK\xfft", "(K\x00K\x00K\x00t")
	f, err := open(zipOf(t, "x/data.pkl", repeated, "x/data/0", "1234567890123456"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Float32s("a"); err == nil ||
		!strings.Contains(err.Error(), "a storage of 4 numbers, repeated") {
		t.Errorf("255³ numbers of 4: %v", err)
	}
}

// pickleOf is a dict of one tensor of four numbers, "a"; shape and strides are opcodes.
func pickleOf(shape, strides string) string {
	return "\x80\x02}U\x01a" + tensorPickle("0", 4, shape, strides) + "s."
}

// tensorPickle are the opcodes of a float tensor; shape and strides are opcodes, too.
func tensorPickle(key string, count byte, shape, strides string) string {
	text := func(s string) string { return "U" + string([]byte{byte(len(s))}) + s }
	return "ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage") + "ctorch\nFloatStorage\n" +
		text(key) + text("cpu") + "K" + string([]byte{count}) +
		"tQK\x00" + shape + strides + "\x89NtR"
}

// zipOf is an archive of files as they are.
func zipOf(t *testing.T, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		f, err := w.CreateHeader(&zip.FileHeader{Name: files[i], Method: zip.Store})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(files[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// everything opens a file and reads all tensors, one by one; it answers the bytes reserved in all.
func everything(b []byte) (tensors int, reserved uint64, err error) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f, err := open(b)
	if err == nil {
		for _, info := range f.Tensors() {
			if _, e := f.Float32s(info.Name); e == nil {
				tensors++
			}
		}
	}
	runtime.ReadMemStats(&after)
	return tensors, after.TotalAlloc - before.TotalAlloc, err
}

// TestMutantsNeitherPanicNorHangNorTakeMemory changes files of all forms in 10,000 ways.
func TestMutantsNeitherPanicNorHangNorTakeMemory(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var seeds [][]byte
	for _, form := range forms {
		seeds = append(seeds, read(t, form+".bin"))
	}
	opcodes := []byte(
		"().012qrhjte]a}suCcQRbNKMJGUTXB\x80\x81\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x8f\x93\x94\x95\xff\x00\x7f",
	)
	opened := 0
	for i := range 10_000 {
		b := slices.Clone(seeds[i%len(seeds)])
		for range 1 + rng.IntN(4) {
			at := rng.IntN(len(b))
			switch rng.IntN(5) {
			case 0:
				b[at] ^= 1 << rng.IntN(8)
			case 1:
				b[at] = opcodes[rng.IntN(len(opcodes))]
			case 2: // a large number
				copy(b[at:], bytes.Repeat([]byte{0xff}, 1+rng.IntN(8)))
			case 3:
				b = b[:at+1]
			case 4: // a part of it again
				from := rng.IntN(len(b))
				b = slices.Insert(b, at, slices.Clone(b[from:min(len(b), from+rng.IntN(300))])...)
			}
		}
		_, reserved, err := everything(b)
		if reserved > 64<<20 {
			t.Errorf("mutant %d of %d bytes reserved %d: %v", i, len(b), reserved, err)
		}
		if err == nil {
			opened++
		}
	}
	if opened < 500 || opened > 9500 {
		t.Errorf("%d of 10,000 mutants are files still: they try little", opened)
	}
	t.Logf("%d of 10,000 mutants are files still", opened)
}

// TestBombsTakeBoundedMemory has pickles that make much of little.
func TestBombsTakeBoundedMemory(t *testing.T) {
	for name, piece := range map[string]string{
		"tuples": ")", "lists": "]", "copies": "2", "memo": "\x94", "memo of dicts": "}\x94",
		"dicts of a key": "}U\x00]s", "nested tuples": "\x85", "items": "U\x00]s",
	} {
		pickled := append([]byte("\x80\x02}]"), bytes.Repeat([]byte(piece), 2*maxPickle/len(piece))...)
		_, reserved, err := everything(pickled)
		if err == nil || reserved > 512<<20 {
			t.Errorf("%s: %d MiB reserved, %v", name, reserved>>20, err)
		}
		t.Logf("%s: %d MiB", name, reserved>>20)
	}
	pickled := "\x80\x02}" + strings.Repeat(")", 2*maxPickle)
	if _, reserved, err := everything(zipOf(t, "x/data.pkl", pickled)); err == nil || reserved > 512<<20 {
		t.Errorf("archive: %d MiB reserved, %v", reserved>>20, err)
	}
}

// FuzzRead demands an error or tensors of their own shapes, in memory bounded by the file.
func FuzzRead(f *testing.F) {
	files, err := filepath.Glob("testdata/*.bin")
	if err != nil || len(files) < 10 {
		f.Fatalf("%d files, %v", len(files), err)
	}
	for _, path := range files {
		f.Add(read(f, filepath.Base(path)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		_, reserved, err := everything(b)
		if err != nil {
			return
		}
		if reserved > 512<<20 {
			t.Errorf("%d bytes reserved %d", len(b), reserved)
		}
		file, err := open(b)
		if err != nil {
			t.Fatalf("opened once, then %v", err)
		}
		for _, info := range file.Tensors() {
			n := 1
			for _, d := range info.Shape {
				n *= d
			}
			one, err := file.Float32s(info.Name)
			two, again := file.Float32s(info.Name)
			if err == nil && (again != nil || len(one) != n || !reflect.DeepEqual(len(one), len(two))) {
				t.Errorf("%s of shape %v has %d values", info.Name, info.Shape, len(one))
			}
		}
	})
}
