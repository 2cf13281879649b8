// Package dataset turns sources of captioned pictures into training batches:
// list the examples of a source, read and resize their pictures exactly as
// Pillow and Hugging Face do, keep them in Parquet shards, and hand them out in
// a reproducible order.
package dataset

import (
	"context"
	"errors"
	"io"
	"iter"
)

// Example is one picture with its captions, as listed by List. A shard's work
// list is a JSON array of them.
type Example struct {
	ID       string   `json:"id"`              // unique within the source
	Captions []string `json:"captions"`        // white space collapsed, never empty strings
	Group    string   `json:"group,omitempty"` // reported apart where not empty
	Split    string   `json:"split"`           // train, validation or test
	Image    ImageRef `json:"image"`
}

// ImageRef says where a picture's bytes are.
type ImageRef struct {
	File    int    `json:"file"`              // index into the source's files
	Name    string `json:"name,omitempty"`    // entry in that archive
	Scene   *Scene `json:"scene,omitempty"`   // kind shapes: what to draw
	Missing string `json:"missing,omitempty"` // why there is no usable picture: what Open answers
}

// Scene is a generated picture: its objects and the seed of their sizes and places.
type Scene struct {
	Side    int      `json:"side"` // pixels
	Seed    uint64   `json:"seed"`
	Objects []Object `json:"objects"`
}

// Object is one coloured shape of a scene.
type Object struct {
	Colour string `json:"colour"`
	Shape  string `json:"shape"`
}

// Roles of a source's files.
const (
	RoleCaptions = "captions"
	RoleImages   = "images"
)

// File is one stored file of a source.
type File struct {
	Role string // RoleCaptions or RoleImages
	Name string // for messages and, by its extension, the format
	Open func(ctx context.Context) (r io.ReaderAt, size int64, c io.Closer, err error)
}

// Spec says how to read a source.
type Spec struct {
	Kind  string `json:"kind"`  // shapes, coco or folder
	Split string `json:"split"` // train, validation, test; empty: by the hash of the id
	Limit int    `json:"limit"` // examples at most; 0: all

	ValidationFraction float64 `json:"validation_fraction"` // held out where Split is empty
	TestFraction       float64 `json:"test_fraction"`

	Shapes ShapesSpec `json:"shapes"`
}

// ShapesSpec sizes the generated source.
type ShapesSpec struct {
	Train      int `json:"train"`
	Validation int `json:"validation"`
	Test       int `json:"test"`
	TestUnseen int `json:"test_unseen"`
	MaxObjects int `json:"max_objects"` // 1 to 3; 0: 3
	ImageSize  int `json:"image_size"`  // pixels; 0: 64
}

var errSoon = errors.New("dataset: not yet")

func List(ctx context.Context, spec Spec, files []File, seed uint64) (examples []Example, warnings []string, err error) {
	return nil, nil, errSoon
}

// Opener reads pictures of one source; safe for concurrent use.
type Opener struct{}

func NewOpener(spec Spec, files []File) (*Opener, error) { return nil, errSoon }

// Open answers the picture's file, as it was stored.
func (o *Opener) Open(ctx context.Context, ref ImageRef) ([]byte, error) { return nil, errSoon }
func (o *Opener) Close() error                                           { return nil }

func Pack(ctx context.Context, dir string, emit func(name string, write func(io.Writer) error) error) error {
	return errSoon
}

// Processor makes pictures into the model's pixels as Hugging Face's ViTImageProcessor does.
type Processor struct {
	Width, Height   int // pixels
	Resample        int // Pillow's number: 2 bilinear, 3 bicubic
	Mean, Std       [3]float32
	RescaleFactor   float64
	ExifOrientation bool // turn pictures as their EXIF tag says
}

func NewProcessor(side int) Processor             { return Processor{} }
func ReadProcessor(dir string) (Processor, error) { return Processor{}, errSoon }
func (p Processor) WriteFile(dir string) error    { return errSoon }
func (p Processor) Pixels(raw []byte) (rgb []uint8, turned bool, err error) {
	return nil, false, errSoon
}

// Row is one example of a shard.
type Row struct {
	ID       string
	Group    string
	Captions []string
	Pixels   []byte // H*W*3 RGB
}

// TokenRow is the row of a token shard, aligned with the pixel shard's.
type TokenRow struct {
	ID  string
	IDs [][]int32 // a caption's ids, end token included
}

func WriteShard(w io.Writer, rows iter.Seq2[Row, error]) (n int, err error)       { return 0, errSoon }
func WriteTokens(w io.Writer, rows iter.Seq2[TokenRow, error]) (n int, err error) { return 0, errSoon }

type Shard struct{}

func OpenShard(r io.ReaderAt, size int64) (*Shard, error) { return nil, errSoon }
func (s *Shard) NumRows() int                             { return 0 }
func (s *Shard) Rows() iter.Seq2[Row, error]              { return nil }

// Captions yields the rows without their pixels, which it does not read.
func (s *Shard) Captions() iter.Seq2[Row, error] { return nil }

type Tokens struct{}

func OpenTokens(r io.ReaderAt, size int64) (*Tokens, error) { return nil, errSoon }
func (t *Tokens) NumRows() int                              { return 0 }
func (t *Tokens) Rows() iter.Seq2[TokenRow, error]          { return nil }

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
