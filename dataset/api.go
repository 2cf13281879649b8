package dataset

import (
	"context"
	"errors"
	"iter"
)

var errSoon = errors.New("dataset: not yet")

// ShardPair names a shard and its tokens as local files.
type ShardPair struct {
	Pixels string `json:"pixels"`
	Tokens string `json:"tokens"`
	Rows   int    `json:"rows"`
}

// Augment bounds the random change of each training picture; zero is none.
type Augment struct {
	Shift    float64 `json:"shift"`    // share of the side, each direction
	Scale    float64 `json:"scale"`    // 0.1: between 0.9 and 1.1
	Rotation float64 `json:"rotation"` // degrees, each direction
	Color    float64 `json:"color"`    // 0.1: brightness, contrast, each channel's gain between 0.9 and 1.1
}

type LoaderConfig struct {
	Seed               uint64  `json:"seed"`
	BatchSize          int     `json:"batch_size"` // pictures
	CaptionsPerPicture int     `json:"captions_per_picture"`
	Width              int     `json:"width"` // pixels
	Height             int     `json:"height"`
	Augment            Augment `json:"augment"`
	Workers            int     `json:"workers"` // goroutines making batches; 0: 2
}

// Batch is one step's examples. With B = BatchSize:
type Batch struct {
	Epoch  int
	Step   int64    // in the epoch
	N      int      // real pictures, the rest is padding
	IDs    []string // N
	Pixels []uint8  // B*H*W*3 RGB
	Labels []int32  // B*K*T; -100 is masked
	T, K   int      // T a multiple of 8
	Rows   []uint64 // B: global row number of each picture
}

type Loader struct{}

func NewLoader(shards []ShardPair, c LoaderConfig) (*Loader, error) { return nil, errSoon }
func (l *Loader) StepsPerEpoch() int64                              { return 0 }
func (l *Loader) Epoch(ctx context.Context, epoch int, from int64) iter.Seq2[*Batch, error] {
	return nil
}
func (l *Loader) Close() error { return nil }

// EvalBatch is a batch of stored order with everything evaluation needs. With B = batch:
type EvalBatch struct {
	Batch             // K: most captions of a picture in the batch; all captions are in Labels
	Groups   []string // N
	Captions [][]string
	Tokens   [][][]int32
}

// Sequential yields rows in stored order: batch pictures a time, limit pictures
// at most (0: all). Width and height follow from the stored pixels' length.
func Sequential(ctx context.Context, shards []ShardPair, batch, limit int) iter.Seq2[*EvalBatch, error] {
	return nil
}
