package safetensors

import (
	"bytes"
	"errors"
	"iter"
	"math"
	"slices"
	"testing"
)

func rowsOf(rows ...[]float32) iter.Seq2[[]float32, error] {
	return func(yield func([]float32, error) bool) {
		for _, r := range rows {
			if !yield(r, nil) {
				return
			}
		}
	}
}

func TestRowsAreThoseOfTheTensorThatOthersRead(t *testing.T) {
	rows := [][]float32{{1, -2.5, 3e-39}, {0, float32(math.Inf(1)), 1.00390625}, {1.01171875, 1e30, -0.1}}
	for dtype, want := range map[string][]float32{
		"F32": slices.Concat(rows...),
		// ties go to even: 1+1/256 down to 1, 1+3/256 up to 1+4/256
		"BF16": {1, -2.5, 3.0305714e-39, 0, float32(math.Inf(1)), 1, 1.015625, 1.0002556e30, -0.10009766},
	} {
		var b bytes.Buffer
		check(t, WriteRows(&b, "x", dtype, []int{3, 3}, map[string]string{"k": "v"}, rowsOf(rows...)))
		f, err := Open(bytes.NewReader(b.Bytes()), int64(b.Len()))
		check(t, err)
		got, err := f.Float32s("x")
		check(t, err)
		for i := range want {
			if math.Abs(float64(got[i]-want[i])) > 1e-4*math.Abs(float64(want[i])) {
				t.Errorf("%s: number %d is %v, want %v", dtype, i, got[i], want[i])
			}
		}
		info, _ := f.Lookup("x")
		row := make([]byte, 2*Width(dtype))
		check(t, f.ReadRow(info, 2, int(Width(dtype)), row))
		for i := range 2 {
			if x := Decoder(dtype)(row[i*int(Width(dtype)):]); x != got[7+i] {
				t.Errorf("%s: number %d of row 2 is %v, in the whole tensor %v", dtype, i+1, x, got[7+i])
			}
		}
		for _, bad := range [][2]int{{3, 0}, {-1, 0}, {0, 2 * int(Width(dtype))}, {0, -1}} {
			if f.ReadRow(info, bad[0], bad[1], row) == nil {
				t.Errorf("%s: row %d from byte %d on was read", dtype, bad[0], bad[1])
			}
		}
	}
	if x := bfloat16(float32(math.NaN())); x&0x7f80 != 0x7f80 || x&0x7f == 0 {
		t.Errorf("NaN became %#x", x)
	}
}

func TestRowsThatDoNotFillTheTensorAreAnError(t *testing.T) {
	one := []float32{1, 2}
	failing := func(yield func([]float32, error) bool) { yield(nil, errors.New("broken off")) }
	for name, rows := range map[string]iter.Seq2[[]float32, error]{
		"few": rowsOf(one), "many": rowsOf(one, one, one), "short": rowsOf(one, one[:1]), "broken off": failing,
	} {
		if WriteRows(&bytes.Buffer{}, "x", "F32", []int{2, 2}, nil, rows) == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if WriteRows(&bytes.Buffer{}, "x", "I64", []int{2, 2}, nil, rowsOf(one, one)) == nil {
		t.Error("I64: no error")
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
