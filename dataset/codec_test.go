package dataset

import (
	"bytes"
	"math/rand/v2"
	"testing"

	parquetzstd "github.com/parquet-go/parquet-go/compress/zstd"
)

func TestPagesAreCompressedAsParquetGoDoes(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	theirs, ours := &parquetzstd.Codec{Level: parquetzstd.SpeedFastest}, &pageCodec{}
	for _, size := range []int{0, 1, 1000, 64 << 10, 130 << 10, 300 << 10, 5 << 20} {
		src := make([]byte, size)
		for i := range src {
			src[i] = uint8(rng.IntN(1 + i%97))
			if i > 5000 && i%3 > 0 {
				src[i] = src[i-4999]
			}
		}
		want, err := theirs.Encode(nil, src)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ours.Encode(nil, src)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes become %d, not %d, %v", size, len(got), len(want), err)
		}
		if back, err := ours.Decode(nil, got); err != nil || !bytes.Equal(back, src) {
			t.Errorf("%d bytes come back changed, %v", size, err)
		}
	}
}
