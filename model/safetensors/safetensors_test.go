package safetensors

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// file is a safetensors file with the given header and data.
func file(header, data string) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), data...)
}

func open(b []byte) (*File, error) { return Open(bytes.NewReader(b), int64(len(b))) }

func values(x ...float32) func() ([]float32, error) {
	return func() ([]float32, error) { return x, nil }
}

func TestWrittenTensorsAreReadBackAndBytesAreDeterministic(t *testing.T) {
	list := []Tensor{
		{Name: "b", Shape: []int{2, 2}, Data: values(1, -2, float32(math.Inf(1)), 1e-45)},
		{Name: "a", Shape: nil, Data: values(7)},
		{Name: "empty", Shape: []int{0, 3}, Data: values()},
	}
	var one, two bytes.Buffer
	if err := Write(&one, list, map[string]string{"x": "1", "format": "pt"}); err != nil {
		t.Fatal(err)
	}
	slices.Reverse(list)
	if err := Write(&two, list, map[string]string{"format": "pt", "x": "1"}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(one.Bytes(), two.Bytes()) {
		t.Error("bytes depend on the order of tensors")
	}
	f, err := open(one.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if f.Metadata["format"] != "pt" {
		t.Errorf("metadata %v", f.Metadata)
	}
	got, err := f.Float32s("b")
	if err != nil || !slices.Equal(got, []float32{1, -2, float32(math.Inf(1)), 1e-45}) {
		t.Errorf("b is %v, %v", got, err)
	}
	if i, ok := f.Lookup("b"); !ok || !slices.Equal(i.Shape, []int{2, 2}) || i.DType != "F32" {
		t.Errorf("b is %+v", i)
	}
	if base := 8 + binary.LittleEndian.Uint64(one.Bytes()); base%8 != 0 {
		t.Errorf("data starts at byte %d", base)
	}
}

func TestHalfPrecisionIsReadExactly(t *testing.T) {
	header := `{"h":{"dtype":"F16","shape":[8],"data_offsets":[0,16]},"b":{"dtype":"BF16","shape":[2],` +
		`"data_offsets":[16,20]}}`
	var data []byte
	for _, h := range []uint16{0x3c00, 0xc000, 0x7bff, 0x0001, 0x03ff, 0x8000, 0x7c00, 0x3555} {
		data = binary.LittleEndian.AppendUint16(data, h)
	}
	data = binary.LittleEndian.AppendUint16(data, 0x3f80)
	data = binary.LittleEndian.AppendUint16(data, 0xc2f7)
	f, err := open(file(header, string(data)))
	if err != nil {
		t.Fatal(err)
	}
	h, err := f.Float32s("h")
	if err != nil {
		t.Fatal(err)
	}
	want := []float32{
		1, -2, 65504, 5.9604644775390625e-08, 6.097555160522461e-05, 0, float32(math.Inf(1)), 0.333251953125,
	}
	if !slices.Equal(h, want) || !math.Signbit(float64(h[5])) {
		t.Errorf("got %v instead of %v", h, want)
	}
	b, err := f.Float32s("b")
	if err != nil || !slices.Equal(b, []float32{1, -123.5}) {
		t.Errorf("bf16 is %v, %v", b, err)
	}
}

func TestEveryHalfIsWhatIEEESays(t *testing.T) {
	for h := range 1 << 16 {
		sign, exponent, fraction := 1-2*(h>>15), h>>10&0x1f, h&0x3ff
		want := float64(sign) * math.Ldexp(float64(fraction+1024), exponent-25)
		switch {
		case exponent == 0:
			want = float64(sign) * math.Ldexp(float64(fraction), -24)
		case exponent == 31 && fraction == 0:
			want = math.Inf(sign)
		case exponent == 31:
			want = math.NaN()
		}
		got := float64(half(uint16(h)))
		if got != want && !(math.IsNaN(got) && math.IsNaN(want)) {
			t.Fatalf("%#04x is %g instead of %g", h, got, want)
		}
	}
}

func TestIntegersAreReadExactly(t *testing.T) {
	header := `{"a":{"dtype":"I64","shape":[2],"data_offsets":[0,16]},"b":{"dtype":"I32","shape":[1],` +
		`"data_offsets":[16,20]},"c":{"dtype":"U8","shape":[2],"data_offsets":[20,22]}}`
	data := binary.LittleEndian.AppendUint64(nil, math.MaxUint64-99) // -100
	data = binary.LittleEndian.AppendUint64(data, 1<<40)
	data = binary.LittleEndian.AppendUint32(data, math.MaxUint32)
	f, err := open(file(header, string(append(data, 0, 255))))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]int64{"a": {-100, 1 << 40}, "b": {-1}, "c": {0, 255}} {
		if got, err := f.Ints(name); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s is %v, %v; want %v", name, got, err, want)
		}
	}
	if _, err := f.Float32s("c"); err == nil {
		t.Error("integers were read as floats")
	}
}

func TestLyingFilesAreErrors(t *testing.T) {
	tensor := func(shape, offsets string) string {
		return fmt.Sprintf(`{"a":{"dtype":"F32","shape":%s,"data_offsets":%s}}`, shape, offsets)
	}
	for name, b := range map[string][]byte{
		"empty":                nil,
		"header beyond file":   binary.LittleEndian.AppendUint64(nil, 1<<40),
		"header of 2^64-1":     append(bytes.Repeat([]byte{0xff}, 8), '{', '}'),
		"not JSON":             file("{", ""),
		"shape too large":      file(tensor("[1000000000,1000000000]", "[0,4]"), "1234"),
		"shape overflows":      file(tensor("[4611686018427387904,4]", "[0,0]"), ""),
		"negative dimension":   file(tensor("[-1]", "[0,4]"), "1234"),
		"offsets beyond data":  file(tensor("[2]", "[0,8]"), "1234"),
		"offsets backwards":    file(tensor("[1]", "[4,0]"), "1234"),
		"offsets do not match": file(tensor("[1]", "[0,8]"), "12345678"),
		"one offset":           file(tensor("[1]", "[0]"), "1234"),
		"gap before":           file(tensor("[1]", "[4,8]"), "12345678"),
		"bytes after":          file(tensor("[1]", "[0,4]"), "12345678"),
		"unknown dtype":        file(`{"a":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}}`, "1234"),
		"overlap": file(
			`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],`+
				`"data_offsets":[0,4]}}`,
			"1234",
		),
	} {
		if _, err := open(b); err == nil {
			t.Errorf("%s: opened", name)
		} else if strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: more than a line: %v", name, err)
		}
	}
	f, err := open(file(`{"a":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}`, "12345678"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Float32s("a"); err == nil {
		t.Error("an I64 tensor was read as floats")
	}
	if _, err := f.Float32s("b"); err == nil {
		t.Error("a tensor that is not there was read")
	}
}

func TestAFailedWriteLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	bad := []Tensor{{Name: "a", Shape: []int{3}, Data: values(1)}}
	if err := WriteFile(filepath.Join(dir, "x.safetensors"), bad, nil); err == nil {
		t.Fatal("wrote a tensor with missing values")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("left %v", entries)
	}
}

// FuzzOpen demands an error or a readable file, and no more memory than the
// input can account for.
func FuzzOpen(f *testing.F) {
	f.Add(
		file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"__metadata__":{"format":"pt"}}`, "1234"),
	)
	f.Add(file(`{"a":{"dtype":"BF16","shape":[2,1],"data_offsets":[0,4]}}`, "1234"))
	f.Add(file(`{"a":{"dtype":"F16","shape":[],"data_offsets":[0,2]}}`, "12"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		s, err := open(b)
		if err == nil {
			for _, i := range s.Tensors() {
				if x, err := s.Float32s(i.Name); err == nil && len(x) != elements(i.Shape) {
					t.Errorf("%d values for shape %v", len(x), i.Shape)
				}
			}
		}
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 64*uint64(len(b))+1<<23 {
			t.Errorf("%d bytes of input took %d of memory", len(b), used)
		}
	})
}
