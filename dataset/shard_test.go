package dataset

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

func shardBytes(t testing.TB, rows []Row, tokens []TokenRow) (pixels, ids []byte) {
	t.Helper()
	var p, k bytes.Buffer
	side := int(math.Sqrt(float64(len(rows[0].Pixels) / 3)))
	if n, err := WriteShard(&p, side, side, seq(rows)); err != nil || n != len(rows) {
		t.Fatal(n, err)
	}
	if n, err := WriteTokens(&k, seq(tokens)); err != nil || n != len(tokens) {
		t.Fatal(n, err)
	}
	return p.Bytes(), k.Bytes()
}

func all[T any](s iter.Seq2[T, error]) (rows []T, err error) {
	for r, err := range s {
		if err != nil {
			return rows, err
		}
		rows = append(rows, r)
	}
	return rows, nil
}

func TestShardKeepsRowsAndIsDeterministic(t *testing.T) {
	rows, tokens := testRows(0, 150, 16)
	rows[3].Captions = []string{"ünïcödé 🐈", strings.Repeat("long ", 500)}
	tokens[4].IDs = [][]int32{{}, {1 << 30, -5}, {}}
	pixels, ids := shardBytes(t, rows, tokens)
	again, idsAgain := shardBytes(t, rows, tokens)
	if !bytes.Equal(pixels, again) || !bytes.Equal(ids, idsAgain) {
		t.Error("the same rows make other bytes")
	}
	s, err := OpenShard(bytes.NewReader(pixels), int64(len(pixels)))
	if err != nil || s.NumRows() != len(rows) {
		t.Fatal(s, err)
	}
	got, err := all(s.Rows())
	if err != nil || !reflect.DeepEqual(got, rows) {
		t.Errorf("rows differ: %v", err)
	}
	for _, i := range rand.Perm(len(rows)) {
		p := make([]byte, len(rows[i].Pixels))
		if err := s.ReadPixels(i, p); err != nil || !bytes.Equal(p, rows[i].Pixels) {
			t.Fatalf("pixels of row %d: %v", i, err)
		}
	}
	for _, i := range []int{-1, len(rows)} {
		if s.ReadPixels(i, nil) == nil {
			t.Errorf("row %d is read", i)
		}
	}
	if s.ReadPixels(0, make([]byte, 5)) == nil {
		t.Error("pixels of another size are read")
	}
	k, err := OpenTokens(bytes.NewReader(ids), int64(len(ids)))
	if err != nil || k.NumRows() != len(tokens) {
		t.Fatal(k, err)
	}
	gotTokens, err := all(k.Rows())
	if err != nil {
		t.Fatal(err)
	}
	for i := range tokens {
		if fmt.Sprint(gotTokens[i]) != fmt.Sprint(tokens[i]) {
			t.Errorf("tokens %v became %v", tokens[i], gotTokens[i])
		}
	}
}

// countingReader counts the bytes read.
type countingReader struct {
	r    io.ReaderAt
	read int64
}

func (c *countingReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.r.ReadAt(p, off)
	c.read += int64(n)
	return n, err
}

func TestCaptionsAreReadWithoutPixels(t *testing.T) {
	rows, _ := testRows(0, 128, 128)
	pixels, _ := shardBytes(t, rows, nil)
	r := &countingReader{r: bytes.NewReader(pixels)}
	s, err := OpenShard(r, int64(len(pixels)))
	if err != nil {
		t.Fatal(err)
	}
	got, err := all(s.Captions())
	if err != nil || len(got) != len(rows) {
		t.Fatal(len(got), err)
	}
	for i, row := range got {
		if row.ID != rows[i].ID || row.Group != rows[i].Group ||
			!reflect.DeepEqual(row.Captions, rows[i].Captions) || row.Pixels != nil {
			t.Fatalf("row %d: %+v", i, row)
		}
	}
	if r.read > int64(len(pixels))/10 {
		t.Errorf("read %d of %d bytes", r.read, len(pixels))
	}
	t.Logf("read %d of %d bytes; %d bytes of pixels", r.read, len(pixels), 128*128*128*3)
	if most := 128*128*128*3*102/100 + 20000; len(pixels) > most {
		t.Errorf("shard has %d bytes, more than %d: are there statistics of pixels?", len(pixels), most)
	}
}

func TestWritersRefuseBrokenRows(t *testing.T) {
	good := Row{ID: "a", Pixels: []byte{1, 2, 3}}
	for _, rows := range [][]Row{
		{{Pixels: []byte{1, 2, 3}}}, {{ID: "a"}}, {good, {ID: "b", Pixels: []byte{1}}},
	} {
		if _, err := WriteShard(io.Discard, 1, 1, seq(rows)); err == nil {
			t.Errorf("%+v: written", rows)
		}
	}
	broken := errors.New("source broke")
	_, err := WriteShard(io.Discard, 1, 1, func(yield func(Row, error) bool) {
		if yield(good, nil) {
			yield(Row{}, broken)
		}
	})
	if !errors.Is(err, broken) {
		t.Errorf("a source's error becomes %v", err)
	}
	if _, err := WriteShard(brokenWriter{}, 1, 1, seq([]Row{good})); !errors.Is(err, errFull) {
		t.Errorf("a writer's error becomes %v", err)
	}
}

var errFull = errors.New("no space left")

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errFull }

// readEverything reads a shard in every way; only errors may come of it.
func readEverything(b []byte) (err error) {
	if s, e := OpenShard(bytes.NewReader(b), int64(len(b))); e == nil {
		_, e1 := all(s.Rows())
		_, e2 := all(s.Captions())
		e3 := s.ReadPixels(s.NumRows()/2, make([]byte, 3*testSide*testSide))
		err = errors.Join(e1, e2, e3)
	} else {
		err = e
	}
	if k, e := OpenTokens(bytes.NewReader(b), int64(len(b))); e == nil {
		_, e = all(k.Rows())
		return e
	}
	return err
}

// What flips here is never read elsewhere: a shard's digest is compared before it is opened. Of two of the flips
// parquet-go says on standard error that a page has other offsets than values; no written shard is such.
func TestDamagedShardsAreErrorsNotPanics(t *testing.T) {
	rows, tokens := testRows(0, 20, testSide)
	pixels, ids := shardBytes(t, rows, tokens)
	for _, whole := range [][]byte{pixels, ids} {
		for _, n := range []int{0, 3, 8, len(whole) / 2, len(whole) - 1} {
			if readEverything(whole[:n]) == nil {
				t.Errorf("cut to %d of %d bytes: no error", n, len(whole))
			}
		}
		rng := rand.New(rand.NewPCG(1, 2))
		errs := 0
		for range 400 {
			b := bytes.Clone(whole)
			at := rng.IntN(len(b))
			if rng.IntN(2) == 0 { // more often in the footer
				at = len(b) - 1 - rng.IntN(min(len(b), 1500))
			}
			b[at] ^= byte(1 << rng.IntN(8))
			if readEverything(b) != nil {
				errs++
			}
		}
		t.Logf("%d of 400 flipped bits were noticed", errs)
	}
}

func FuzzShard(f *testing.F) {
	rows, tokens := testRows(0, 3, testSide)
	pixels, ids := shardBytes(f, rows, tokens)
	f.Add(pixels)
	f.Add(ids)
	f.Fuzz(func(t *testing.T, b []byte) { readEverything(b) })
}

func BenchmarkWriteShard(b *testing.B) {
	rows, _ := testRows(0, 64, 224)
	b.SetBytes(64 * 224 * 224 * 3)
	for b.Loop() {
		WriteShard(io.Discard, 224, 224, seq(rows))
	}
}
