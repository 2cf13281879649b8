package dataset

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"runtime"
	"slices"
	"sync"
)

// ShardPair names a shard, its tokens and perhaps its features as local files.
type ShardPair struct {
	Pixels string `json:"pixels"` // path of what WriteShard wrote
	Tokens string `json:"tokens"` // path of what WriteTokens wrote, row by row the same examples
	Rows   int    `json:"rows"`   // as the manifest has it; 0: not known

	// path of what WriteFeatures wrote, row by row the same examples; for LoaderConfig.Features, which does without Pixels,
	// and for Sequential, which then takes captions alone from Pixels
	Features string `json:"features,omitempty"`

	// path of what WriteTeacher wrote, of the captions of Tokens; for LoaderConfig.Teacher
	Teacher string `json:"teacher,omitempty"`

	// Weight is how often an epoch of Loader shows each row, in the mean; 0 means once, too.
	// Where no shard has one, the order is that of before there were weights. Sequential
	// shows every row once, whatever it is.
	Weight float64 `json:"weight,omitempty"`
}

// Augment bounds the random change of each training picture; all zero is none.
type Augment struct {
	Shift    float64 `json:"shift"`    // share of the side, each direction
	Scale    float64 `json:"scale"`    // 0.1: between 0.9 and 1.1
	Rotation float64 `json:"rotation"` // degrees, each direction
	Color    float64 `json:"color"`    // 0.1: brightness, contrast, channels' gains between 0.9 and 1.1
}

// LoaderConfig is all that the batches depend on, beside the shards.
type LoaderConfig struct {
	Seed               uint64  `json:"seed"`                 // of order and augmentation
	BatchSize          int     `json:"batch_size"`           // pictures
	CaptionsPerPicture int     `json:"captions_per_picture"` // K
	Width              int     `json:"width"`                // pixels
	Height             int     `json:"height"`               // pixels
	Augment            Augment `json:"augment"`              // random changes of the pictures

	// Features, unless it is zero, is what is read in place of pixels: stored views, each in turn. Augment then
	// changes nothing: views were drawn by it.
	Features FeaturesFormat `json:"features,omitzero"`

	// Teacher, unless it is zero, is what is read beside the labels.
	Teacher TeacherFormat `json:"teacher,omitzero"`

	// Workers is how many goroutines make batches; 0: one a processor, at most 8. It
	// changes no batch.
	Workers int `json:"workers"`

	// Await, unless it is nil, waits until the files of a shard are there, and answers
	// their paths. The shards that NewLoader is given then need no paths, only Rows. It is
	// called concurrently, in about the order that ShardOrder has. It changes no batch.
	Await func(ctx context.Context, shard int) (ShardPair, error) `json:"-"`
}

// Masked is the label of positions that no loss counts.
const Masked = -100

// MaxWeight bounds ShardPair.Weight.
const MaxWeight = 100

// maxWorkers bounds the default of LoaderConfig.Workers, and with it the memory: up to
// three batches a worker are held at a time.
const maxWorkers = 8

// labelBucket is what label lengths are rounded up to, so that few shapes are compiled.
const labelBucket = 8

// Batch is the examples of one step, where B is LoaderConfig.BatchSize.
type Batch struct {
	Epoch  int      // from 0
	Step   int64    // in the epoch
	N      int      // real pictures; the rest is padding, its labels masked
	IDs    []string // N
	Pixels []uint8  // B*H*W*3 RGB
	Labels []int32  // B*K*T token ids, end token included; Masked elsewhere
	T, K   int      // T a multiple of 8

	// Features are B views as Format says, little-endian, of a loader that reads those in place of Pixels, which then
	// is nil.
	Features []byte
	Format   FeaturesFormat

	// Taught is what a teacher says of each label, of a loader that reads that: B*K*T*TopK token ids, and in LogProbs
	// B*K*T*(TopK+1) log-probabilities, the last of a label that of all other tokens at Temperature; 0 where the label is
	// masked.
	Taught      []int32
	LogProbs    []float32
	TopK        int
	Temperature float64

	// Rows has B numbers by which the pictures of an epoch are told apart; those behind the
	// first N are 0. A picture's number is that of its row, counted from 0 through all shards.
	// Where weights show a picture more than once in an epoch, the number grows by the number
	// of all rows each time.
	Rows []uint64
}

// Loader hands out training batches. Its methods may be called concurrently. It holds
// open only the shards that it reads at the moment (see maxOpenShards), so that its memory
// does not grow with the dataset.
type Loader struct {
	config LoaderConfig
	pairs  []ShardPair
	starts []int // number of each shard's first row, and of all rows
	seen   int   // pictures an epoch shows

	mu     sync.Mutex
	open   map[int]*trainShard // by index into pairs
	clock  int64               // counts uses
	closed bool
}

// maxOpenShards is how many shards are held open: those of two blocks, since batches are
// made ahead, and the first of a block may be made before the last of the block before.
const maxOpenShards = 2 * blockShards

// NewLoader makes a loader of training shards. A shard whose Rows are not known is read
// for them. Whether a shard's pixels and tokens belong together is seen when it is first
// used. Close the loader.
func NewLoader(shards []ShardPair, c LoaderConfig) (*Loader, error) {
	if c.BatchSize < 1 || c.CaptionsPerPicture < 1 || c.Width < 1 || c.Height < 1 {
		return nil, fmt.Errorf(
			"loader: batch size %d, %d captions a picture, %dx%d pixels; all must be at least 1", c.BatchSize,
			c.CaptionsPerPicture, c.Width, c.Height,
		)
	}
	if c.Workers <= 0 {
		c.Workers = min(runtime.GOMAXPROCS(0), maxWorkers)
	}
	l := &Loader{config: c, pairs: slices.Clone(shards), starts: []int{0}, open: map[int]*trainShard{}}
	for i, pair := range l.pairs {
		if !(pair.Weight >= 0 && pair.Weight <= MaxWeight) {
			return nil, fmt.Errorf("shard %s: weight %v; must be 0 to %d", pair.Pixels,
				pair.Weight, MaxWeight)
		}
		if pair.Rows == 0 {
			s := &trainShard{}
			if err := s.load(pair, c); err != nil {
				return nil, err
			}
			s.close()
			pair.Rows = s.rows()
			l.pairs[i] = pair
		}
		l.starts = append(l.starts, l.rows()+pair.Rows)
		l.seen += Shown(pair.Rows, pair.Weight)
	}
	if l.seen == 0 {
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
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	return l.evict(0)
}

// acquire answers shard i, open and with its tokens in memory; it waits for its files. The
// shard stays open until release is called as often as acquire was.
func (l *Loader) acquire(ctx context.Context, i int) (*trainShard, error) {
	pair := l.pairs[i]
	if l.config.Await != nil {
		files, err := l.config.Await(ctx, i)
		if err != nil {
			return nil, err
		}
		pair.Pixels, pair.Tokens, pair.Features, pair.Teacher = files.Pixels, files.Tokens, files.Features, files.Teacher
	}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil, errors.New("loader: closed")
	}
	s := l.open[i]
	if s == nil {
		if err := l.evict(maxOpenShards - 1); err != nil {
			l.mu.Unlock()
			return nil, err
		}
		s = &trainShard{}
		l.open[i] = s
	}
	l.clock++
	s.users, s.used = s.users+1, l.clock
	l.mu.Unlock()
	s.once.Do(func() { s.err = s.load(pair, l.config) })
	if s.err != nil {
		l.release(s)
		return nil, s.err
	}
	return s, nil
}

func (l *Loader) release(s *trainShard) {
	l.mu.Lock()
	s.users--
	l.mu.Unlock()
}

// evict closes shards that nobody reads, the least recently used first, until at most
// so many are open. l.mu is held.
func (l *Loader) evict(most int) error {
	var errs []error
	for len(l.open) > most {
		oldest := -1
		for i, s := range l.open {
			if s.users == 0 && (oldest < 0 || s.used < l.open[oldest].used) {
				oldest = i
			}
		}
		if oldest < 0 {
			break
		}
		errs = append(errs, l.open[oldest].close())
		delete(l.open, oldest)
	}
	return errors.Join(errs...)
}

// trainShard is an open shard with its tokens in memory.
type trainShard struct {
	users int   // that have not released it
	used  int64 // when last, by the loader's clock

	once   sync.Once
	err    error
	file   *os.File   // of pixels or features
	files  []*os.File // all that are open
	pixels *Shard     // nil: features
	stored *Features  // nil: pixels
	taught *Teacher   // nil: no teacher
	ids    []string
	tokens []int32 // of all captions, one after the other
	ends   []int32 // of each caption in tokens
	last   []int32 // of each row in ends
}

// load opens a pair, with features in place of pixels and with a teacher if c says so, and makes sure that its parts
// belong together.
func (s *trainShard) load(pair ShardPair, c LoaderConfig) error {
	if err := withFile(pair.Tokens, s.readTokens); err != nil {
		return fmt.Errorf("tokens %s: %w", pair.Tokens, err)
	}
	if pair.Rows != 0 && pair.Rows != s.rows() {
		return fmt.Errorf("tokens %s: %d rows, the manifest has %d", pair.Tokens, s.rows(), pair.Rows)
	}
	path, read := pair.Pixels, s.openPixels
	if c.Features != (FeaturesFormat{}) {
		path, read = pair.Features, func(r io.ReaderAt, size int64) error { return s.openFeatures(r, size, c.Features) }
	}
	file, err := s.open(path, read)
	if s.file = file; err == nil && c.Teacher != (TeacherFormat{}) {
		path = pair.Teacher
		_, err = s.open(path, func(r io.ReaderAt, size int64) error { return s.openTeacher(r, size, c.Teacher) })
	}
	if err != nil {
		s.close()
		return fmt.Errorf("shard %s: %w", path, err)
	}
	return nil
}

// close closes what is open.
func (s *trainShard) close() error {
	var errs []error
	for _, f := range s.files {
		errs = append(errs, f.Close())
	}
	s.files = nil
	return errors.Join(errs...)
}

func (s *trainShard) rows() int { return len(s.ids) }

func (s *trainShard) readTokens(r io.ReaderAt, size int64) error {
	t, err := OpenTokens(r, size)
	if err != nil {
		return err
	}
	s.ids = make([]string, 0, t.NumRows())
	for row, err := range t.Rows() {
		if err != nil {
			return err
		}
		s.ids = append(s.ids, row.ID)
		for _, ids := range row.IDs {
			s.tokens = append(s.tokens, ids...)
			s.ends = append(s.ends, int32(len(s.tokens)))
		}
		s.last = append(s.last, int32(len(s.ends)))
	}
	return nil
}

// open keeps the file open until close, whatever read says of it.
func (s *trainShard) open(path string, read func(r io.ReaderAt, size int64) error) (*os.File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	s.files = append(s.files, file)
	info, err := file.Stat()
	if err != nil {
		return file, err
	}
	return file, read(file, info.Size())
}

func (s *trainShard) openPixels(r io.ReaderAt, size int64) (err error) {
	if s.pixels, err = OpenShard(r, size); err != nil {
		return err
	}
	return s.aligned()
}

func (s *trainShard) openFeatures(r io.ReaderAt, size int64, want FeaturesFormat) (err error) {
	if s.stored, err = OpenFeatures(r, size); err != nil {
		return err
	}
	if s.stored.FeaturesFormat != want {
		return fmt.Errorf("features are %+v, not %+v", s.stored.FeaturesFormat, want)
	}
	return s.stored.Of(s.ids)
}

func (s *trainShard) openTeacher(r io.ReaderAt, size int64, want TeacherFormat) (err error) {
	if s.taught, err = OpenTeacher(r, size); err != nil {
		return err
	}
	if s.taught.TeacherFormat != want {
		return fmt.Errorf("what a teacher says is %+v, not %+v", s.taught.TeacherFormat, want)
	}
	rows := make([]TokenRow, s.rows())
	for i, id := range s.ids {
		rows[i] = TokenRow{ID: id}
		for _, c := range s.captions(i) {
			rows[i].IDs = append(rows[i].IDs, c.ids)
		}
	}
	return s.taught.Of(rows)
}

func (s *trainShard) aligned() error {
	if s.pixels.NumRows() != s.rows() {
		return fmt.Errorf("%d rows, its tokens %d", s.pixels.NumRows(), s.rows())
	}
	n := 0
	for id, err := range s.pixels.ids() {
		if err != nil {
			return err
		}
		if id != s.ids[n] {
			return fmt.Errorf("row %d is %s, its tokens are of %s", n, id, s.ids[n])
		}
		n++
	}
	return nil
}

// caption is one of a row's captions.
type caption struct {
	ids   []int32
	first int // number of the first of ids among all tokens of the shard

	taught   []int32 // what a teacher says of ids: as many tokens for each as it says
	logProbs []float32
}

// captions are a row's, without what a teacher says.
func (s *trainShard) captions(row int) []caption {
	at := func(ends []int32, i int) int32 {
		if i < 0 {
			return 0
		}
		return ends[i]
	}
	var all []caption
	for i := at(s.last, row-1); i < s.last[row]; i++ {
		first := at(s.ends, int(i)-1)
		all = append(all, caption{ids: s.tokens[first:s.ends[i]], first: int(first)})
	}
	return all
}

// teach reads what the teacher says of captions beside a view, if there is one.
func (s *trainShard) teach(captions []caption, view int) error {
	if s.taught == nil {
		return nil
	}
	for i := range captions {
		c := &captions[i]
		n := len(c.ids) * s.taught.TopK
		c.taught, c.logProbs = make([]int32, n), make([]float32, n+len(c.ids))
		if err := s.taught.Read(view, c.first, c.taught, c.logProbs); err != nil {
			return err
		}
	}
	return nil
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
			yield(nil, fmt.Errorf("loader: no step %d of epoch %d; an epoch has %d", from, epoch,
				l.StepsPerEpoch()))
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
					b, err := l.make(ctx, epoch, p.step, p.rows)
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
func (l *Loader) make(ctx context.Context, epoch int, step int64, rows []position) (*Batch, error) {
	c := l.config
	b := &Batch{
		Epoch: epoch, Step: step, N: len(rows), K: c.CaptionsPerPicture, Format: c.Features,
		IDs: make([]string, len(rows)), Rows: make([]uint64, c.BatchSize),
	}
	size := 3 * c.Width * c.Height
	if c.Features == (FeaturesFormat{}) {
		b.Pixels = make([]uint8, c.BatchSize*size)
	} else {
		size = c.Features.ViewBytes()
		b.Features = make([]byte, c.BatchSize*size)
	}
	captions := make([][]caption, len(rows))
	a := newAugmenter(c)
	if c.Teacher.Views > 0 {
		a.config.Seed = c.Teacher.Seed
	}
	for i, p := range rows {
		b.Rows[i] = uint64(l.starts[p.shard] + p.row + p.copy*l.rows())
		err := l.read(ctx, p, func(s *trainShard) error {
			b.IDs[i] = s.ids[p.row]
			captions[i] = rotate(s.captions(p.row), c.CaptionsPerPicture, epoch, b.Rows[i])
			if err := s.teach(captions[i], c.Teacher.view(epoch, p.copy)); err != nil {
				return err
			}
			if b.Features != nil {
				return s.stored.Read(p.row, c.Features.view(epoch, p.copy), b.Features[i*size:(i+1)*size])
			}
			picture := b.Pixels[i*size : (i+1)*size]
			err := s.pixels.ReadPixels(p.row, picture)
			if err != nil {
				return err
			}
			if c.Teacher.Views > 0 {
				a.apply(picture, c.Teacher.view(epoch, p.copy), uint64(l.starts[p.shard]+p.row))
			} else {
				a.apply(picture, epoch, b.Rows[i])
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	b.label(idsOf(captions), c.BatchSize)
	if c.Teacher != (TeacherFormat{}) {
		b.teach(captions, c.BatchSize, c.Teacher)
	}
	return b, nil
}

func idsOf(captions [][]caption) [][][]int32 {
	all := make([][][]int32, len(captions))
	for i, cs := range captions {
		for _, c := range cs {
			all[i] = append(all[i], c.ids)
		}
	}
	return all
}

// read reads one row by take.
func (l *Loader) read(ctx context.Context, p position, take func(*trainShard) error) error {
	s, err := l.acquire(ctx, p.shard)
	if err != nil {
		return err
	}
	defer l.release(s)
	if err := take(s); err != nil {
		return fmt.Errorf("shard %s: %w", s.file.Name(), err)
	}
	return nil
}

// rotate chooses k of a picture's captions; where there are more, each epoch goes on where
// the last one ended. Pictures begin with different captions, by their row: in an epoch
// that showed everybody's first, only the wording of first captions would be learnt.
func rotate[C any](captions []C, k, epoch int, row uint64) []C {
	if len(captions) <= k {
		return captions
	}
	first := epoch%len(captions)*k + int(row%uint64(len(captions)))
	chosen := make([]C, k)
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

// teach fills what a teacher says of Labels.
func (b *Batch) teach(captions [][]caption, size int, f TeacherFormat) {
	b.TopK, b.Temperature = f.TopK, f.Temperature
	b.Taught, b.LogProbs = make([]int32, size*b.K*b.T*f.TopK), make([]float32, size*b.K*b.T*(f.TopK+1))
	for i, cs := range captions {
		for k, c := range cs {
			at := (i*b.K + k) * b.T
			copy(b.Taught[at*f.TopK:], c.taught)
			copy(b.LogProbs[at*(f.TopK+1):], c.logProbs)
		}
	}
}
