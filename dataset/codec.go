package dataset

import (
	"runtime"
	"sync"

	"github.com/klauspost/compress/zstd"
	parquetzstd "github.com/parquet-go/parquet-go/compress/zstd"
)

// pageCodec is parquet-go's zstd at its fastest level, byte for byte, with fewer
// encoders: it has as many as processors, each with half the history, instead of
// one for every goroutine that ever wrote a shard. Each takes megabytes.
type pageCodec struct{ parquetzstd.Codec }

// pageEncoder has the options of parquet-go's.
var pageEncoder = sync.OnceValues(func() (*zstd.Encoder, error) {
	return zstd.NewWriter(nil,
		zstd.WithEncoderConcurrency(min(runtime.GOMAXPROCS(0), maxWorkers)), zstd.WithLowerEncoderMem(true),
		zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithZeroFrames(true), zstd.WithEncoderCRC(false))
})

func (c *pageCodec) Encode(dst, src []byte) ([]byte, error) {
	e, err := pageEncoder()
	if err != nil {
		return dst, err
	}
	return e.EncodeAll(src, dst[:0]), nil
}
