package dataset

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"runtime"
	"sync"
)

// ShardPair names a shard and its tokens as local files.
type ShardPair struct {
	Pixels string `json:"pixels"`
	Tokens string `json:"tokens"`
	Rows   int    `json:"rows"` // as the manifest has it; 0: not checked

	// Weight is how often an epoch of Loader shows each row, in the mean; 0: once.
	// It neither changes the order of shards without one, nor that of Sequential.
	Weight float64 `json:"weight,omitempty"`
}

// Augment bounds the random change of each training picture; all zero is none.
type Augment struct {
	Shift    float64 `json:"shift"`    // share of the side, each direction
	Scale    float64 `json:"scale"`    // 0.1: between 0.9 and 1.1
	Rotation float64 `json:"rotation"` // degrees, each direction
	Color    float64 `json:"color"`    // 0.1: brightness, contrast and each channel's gain between 0.9 and 1.1
}

// LoaderConfig is all that the batches depend on, beside the shards.
type LoaderConfig struct {
	Seed               uint64  `json:"seed"`
	BatchSize          int     `json:"batch_size"`           // pictures
	CaptionsPerPicture int     `json:"captions_per_picture"` // K
	Width              int     `json:"width"`                // pixels
	Height             int     `json:"height"`               // pixels
	Augment            Augment `json:"augment"`
	Workers            int     `json:"workers"` // goroutines that make batches; 0: one a processor, at most 8. Changes no batch
}

// Masked is the label of positions that no loss counts.
const Masked = -100

// MaxWeight bounds ShardPair.Weight.
const MaxWeight = 100

// maxWorkers bounds LoaderConfig.Workers' default, and so the batches held in memory:
// three a worker.
const maxWorkers = 8

// labelBucket is what label lengths are rounded up to, so that few shapes are compiled.
const labelBucket = 8

// Batch is one step's examples. With B = BatchSize:
type Batch struct {
	Epoch  int
	Step   int64    // in the epoch
	N      int      // real pictures; the rest is padding, its labels masked
	IDs    []string // N
	Pixels []uint8  // B*H*W*3 RGB
	Labels []int32  // B*K*T token ids, end token included; Masked elsewhere
	T, K   int      // T a multiple of 8
	Rows   []uint64 // B: number of each picture's row among all shards' rows; a picture shown again in the epoch counts on behind all of them
}

// Loader hands out training batches. Its methods may be called concurrently.
type Loader struct {
	config LoaderConfig
	shards []*trainShard
	starts []int // number of each shard's first row, and of all rows
	seen   int   // pictures an epoch shows
}

// trainShard is a shard with its tokens in memory.
type trainShard struct {
	pair   ShardPair
	ids    []string
	tokens [][][]int32 // by row and caption

	once sync.Once
	file *os.File
	open *Shard
	err  error
}

// NewLoader reads the shards' tokens and checks that they are aligned with the pixels.
func NewLoader(shards []ShardPair, c LoaderConfig) (*Loader, error) {
	if c.BatchSize < 1 || c.CaptionsPerPicture < 1 || c.Width < 1 || c.Height < 1 {
		return nil, fmt.Errorf("loader: batch size %d, %d captions a picture, %dx%d pixels; all must be at least 1", c.BatchSize, c.CaptionsPerPicture, c.Width, c.Height)
	}
	if c.Workers <= 0 {
		c.Workers = min(runtime.GOMAXPROCS(0), maxWorkers)
	}
	l := &Loader{config: c, starts: []int{0}}
	for _, pair := range shards {
		s, err := readTrainShard(pair)
		if err == nil && !(pair.Weight >= 0 && pair.Weight <= MaxWeight) {
			err = fmt.Errorf("shard %s: weight %v; must be 0 to %d", pair.Pixels, pair.Weight, MaxWeight)
		}
		if err != nil {
			l.Close()
			return nil, err
		}
		l.shards = append(l.shards, s)
		l.starts = append(l.starts, l.rows()+len(s.ids))
		l.seen += Shown(len(s.ids), pair.Weight)
	}
	if l.seen == 0 {
		l.Close()
		return nil, errors.New("loader: no training pictures")
	}
	return l, nil
}

func (l *Loader) rows() int { return l.starts[len(l.starts)-1] }

// StepsPerEpoch is the number of batches, the padded last one included.
func (l *Loader) StepsPerEpoch() int64 {
	return int64((l.seen + l.config.BatchSize - 1) / l.config.BatchSize)
}

// Close closes the shards' files; no epoch may be under way.
func (l *Loader) Close() error {
	var errs []error
	for _, s := range l.shards {
		s.once.Do(func() { s.err = errors.New("closed") })
		if s.file != nil {
			errs = append(errs, s.file.Close())
			s.file, s.open, s.err = nil, nil, errors.New("closed")
		}
	}
	return errors.Join(errs...)
}

// readTrainShard reads a pair's tokens and compares its ids.
func readTrainShard(pair ShardPair) (*trainShard, error) {
	s := &trainShard{pair: pair}
	err := withFile(pair.Tokens, func(r io.ReaderAt, size int64) error {
		t, err := OpenTokens(r, size)
		if err != nil {
			return err
		}
		for row, err := range t.Rows() {
			if err != nil {
				return err
			}
			s.ids = append(s.ids, row.ID)
			s.tokens = append(s.tokens, row.IDs)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("tokens %s: %w", pair.Tokens, err)
	}
	if pair.Rows != 0 && pair.Rows != len(s.ids) {
		return nil, fmt.Errorf("tokens %s: %d rows, the manifest has %d", pair.Tokens, len(s.ids), pair.Rows)
	}
	shard, err := s.shard()
	if err != nil {
		return nil, err
	}
	if err := s.aligned(shard); err != nil {
		s.file.Close()
		return nil, fmt.Errorf("shard %s: %w", pair.Pixels, err)
	}
	return s, nil
}

func (s *trainShard) aligned(shard *Shard) error {
	if shard.NumRows() != len(s.ids) {
		return fmt.Errorf("%d rows, its tokens %d", shard.NumRows(), len(s.ids))
	}
	n := 0
	for row, err := range shard.Captions() {
		if err != nil {
			return err
		}
		if row.ID != s.ids[n] {
			return fmt.Errorf("row %d is %s, its tokens are of %s", n, row.ID, s.ids[n])
		}
		n++
	}
	return nil
}

// shard opens the pixels on first use.
func (s *trainShard) shard() (*Shard, error) {
	s.once.Do(func() {
		var info os.FileInfo
		if s.file, s.err = os.Open(s.pair.Pixels); s.err != nil {
			return
		}
		if info, s.err = s.file.Stat(); s.err == nil {
			s.open, s.err = OpenShard(s.file, info.Size())
		}
		if s.err != nil {
			s.file.Close()
			s.file = nil
		}
	})
	if s.err != nil {
		return nil, fmt.Errorf("shard %s: %w", s.pair.Pixels, s.err)
	}
	return s.open, nil
}

func withFile(path string, f func(r io.ReaderAt, size int64) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	return f(file, info.Size())
}

// Epoch yields the epoch's batches from step from on: the same ones, bit for bit,
// whatever from is. The goroutines that make batches ahead end with the iteration.
func (l *Loader) Epoch(ctx context.Context, epoch int, from int64) iter.Seq2[*Batch, error] {
	return func(yield func(*Batch, error) bool) {
		if from < 0 || from > l.StepsPerEpoch() || epoch < 0 {
			yield(nil, fmt.Errorf("loader: no step %d of epoch %d; an epoch has %d", from, epoch, l.StepsPerEpoch()))
			return
		}
		for b, err := range l.prefetch(ctx, epoch, from) {
			if !yield(b, err) || err != nil {
				return
			}
		}
	}
}

// plan is a batch still to be made.
type plan struct {
	step int64
	rows []position
	done chan made // buffered: nobody need wait for it
}

type made struct {
	batch *Batch
	err   error
}

// prefetch makes batches on several goroutines and yields them in order.
func (l *Loader) prefetch(parent context.Context, epoch int, from int64) iter.Seq2[*Batch, error] {
	return func(yield func(*Batch, error) bool) {
		var owned sync.WaitGroup
		defer owned.Wait()
		ctx, cancel := context.WithCancel(parent)
		defer cancel()

		work := make(chan plan)
		inOrder := make(chan plan, 2*l.config.Workers)
		owned.Go(func() {
			defer close(work)
			defer close(inOrder)
			step := from
			for rows := range l.batches(epoch, from) {
				p := plan{step, rows, make(chan made, 1)}
				step++
				select {
				case inOrder <- p:
				case <-ctx.Done():
					return
				}
				select {
				case work <- p:
				case <-ctx.Done():
					return
				}
			}
		})
		for range l.config.Workers {
			owned.Go(func() {
				for p := range work {
					b, err := l.make(epoch, p.step, p.rows)
					p.done <- made{b, err}
				}
			})
		}
		for p := range inOrder {
			select {
			case m := <-p.done:
				if !yield(m.batch, m.err) {
					return
				}
			case <-ctx.Done():
			}
			if ctx.Err() != nil {
				break
			}
		}
		if err := parent.Err(); err != nil {
			yield(nil, err)
		}
	}
}

// make reads, changes and labels one batch.
func (l *Loader) make(epoch int, step int64, rows []position) (*Batch, error) {
	c := l.config
	size := 3 * c.Width * c.Height
	b := &Batch{
		Epoch: epoch, Step: step, N: len(rows), K: c.CaptionsPerPicture,
		IDs: make([]string, len(rows)), Rows: make([]uint64, c.BatchSize),
		Pixels: make([]uint8, c.BatchSize*size),
	}
	captions := make([][][]int32, len(rows))
	a := newAugmenter(c)
	for i, p := range rows {
		s := l.shards[p.shard]
		shard, err := s.shard()
		if err != nil {
			return nil, err
		}
		b.IDs[i] = s.ids[p.row]
		b.Rows[i] = uint64(l.starts[p.shard] + p.row + p.copy*l.rows())
		captions[i] = rotate(s.tokens[p.row], c.CaptionsPerPicture, epoch, b.Rows[i])
		picture := b.Pixels[i*size : (i+1)*size]
		if err := shard.ReadPixels(p.row, picture); err != nil {
			return nil, fmt.Errorf("shard %s: %w", s.pair.Pixels, err)
		}
		a.apply(picture, epoch, b.Rows[i])
	}
	b.label(captions, c.BatchSize)
	return b, nil
}

// rotate chooses k captions; where there are more, each epoch goes on where the
// last ended. Pictures begin at different ones: an epoch that showed only first
// captions would teach only their wording.
func rotate(captions [][]int32, k, epoch int, row uint64) [][]int32 {
	if len(captions) <= k {
		return captions
	}
	first := epoch%len(captions)*k + int(row%uint64(len(captions)))
	chosen := make([][]int32, k)
	for i := range chosen {
		chosen[i] = captions[(first+i)%len(captions)]
	}
	return chosen
}

// label fills Labels and T, for size pictures of K captions.
func (b *Batch) label(captions [][][]int32, size int) {
	longest := 1
	for _, cs := range captions {
		for _, ids := range cs {
			longest = max(longest, len(ids))
		}
	}
	b.T = (longest + labelBucket - 1) / labelBucket * labelBucket
	b.Labels = make([]int32, size*b.K*b.T)
	for i := range b.Labels {
		b.Labels[i] = Masked
	}
	for i, cs := range captions {
		for k, ids := range cs {
			copy(b.Labels[(i*b.K+k)*b.T:], ids)
		}
	}
}
