// Package caption captions pictures with a published model directory: its ONNX files in ONNX Runtime, as a web
// page would, or its weights in pure Go or on another backend of GoMLX. It is for programs that caption, such as a
// web service; it trains nothing and fetches nothing.
//
// Start reading at Open. Decode and Resize make pictures ready, which can be done while others are captioned;
// Caption and Stream caption them.
package caption

import (
	"context"
	"errors"
	"fmt"
	"image"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gomlx/compute"

	"distilvit/dataset/pixels"
	"distilvit/internal/backend"
	"distilvit/model"
	"distilvit/model/onnx"
	"distilvit/model/tokenizer"
	"distilvit/model/train"
)

// What errors of this package are, for errors.Is. An error of Decode that is none of these means that the
// bytes are broken.
var (
	ErrClosed   = errors.New("the captioner is closed")
	ErrNoExport = errors.New("the model directory has no such export")
	ErrFormat   = pixels.ErrFormat   // not JPEG, PNG, GIF, WebP, AVIF, BMP or TIFF
	ErrTooLarge = pixels.ErrTooLarge // more than Options.MaxPixels, or too much to decode
)

// Options of Open. Their zero value is the weights in pure Go, decoded as generation_config.json says.
type Options struct {
	// Dtype is the export that captions in ONNX Runtime: fp32, fp16, q8, int8, q4 or q4f16. Empty: the weights,
	// model.safetensors.
	Dtype string

	// ONNXRuntime is the path of libonnxruntime.so, 1.24 or newer; a process can load one. Empty: that of
	// `distilvit backend install onnxruntime`.
	ONNXRuntime string

	// Backend opens what computes with the weights, once everything else is found to be good; Close finalizes
	// it. Nil: pure Go.
	Backend func() (compute.Backend, error)

	NumBeams  int // of the search; 1 is greedy, as an export always is. 0: as generation_config.json says
	MaxLength int // tokens at most, start token included. 0: as generation_config.json says
	BatchSize int // pictures that go through the network at once. 0: 16

	// Parallel is how many calls caption at the same time in ONNX Runtime, each on the same four threads; the
	// weights caption one call after another. 0: 1.
	Parallel int

	MaxPixels       int  // a picture of more is refused before it takes memory. 0: pixels.DefaultMaxPixels
	ExifOrientation bool // turn pictures as their EXIF tag says, as browsers do; Hugging Face's processors do not
}

// Captioner is a model that is ready. Several goroutines may use it.
type Captioner struct {
	processor pixels.Processor
	words     *tokenizer.Tokenizer
	generate  model.GenerateOptions
	network   network

	slots chan struct{} // held by calls that caption

	mu   sync.Mutex    // of Close
	done chan struct{} // closed by Close
}

// Picture is a picture at the model's size.
type Picture struct{ rgb []uint8 }

// Caption is what the model says of a picture.
type Caption struct {
	Text     string  `json:"caption"`
	TokenIDs []int32 `json:"token_ids"` // without the start token, with the end token where it came
}

// network captions n pictures, uint8 [n, H, W, 3].
type network interface {
	Generate(rgb []uint8, n int, o model.GenerateOptions) ([][]int32, error)
	Close() error
}

// Open reads a model directory: config.json, generation_config.json, preprocessor_config.json, the
// tokenizer's files, and the weights or the files of an export. An error says which file is wrong and what to
// do.
func Open(dir string, o Options) (*Captioner, error) {
	if o.Dtype != "" && !slices.Contains(onnx.Dtypes(), o.Dtype) {
		return nil, fmt.Errorf("dtype %q: %w: use %s", o.Dtype, ErrNoExport, strings.Join(onnx.Dtypes(), ", "))
	}
	if o.Dtype != "" && o.NumBeams > 1 {
		return nil, fmt.Errorf("%d beams: an export captions greedily", o.NumBeams)
	}
	config, processor, err := train.ReadNetwork(dir)
	if err != nil {
		return nil, err
	}
	processor.MaxPixels, processor.ExifOrientation = o.MaxPixels, o.ExifOrientation
	c := &Captioner{
		processor: processor, slots: make(chan struct{}, max(1, o.Parallel)), done: make(chan struct{}),
	}
	if c.generate, err = o.decoding(dir, config); err != nil {
		return nil, err
	}
	if c.words, err = tokenizer.Load(dir); err != nil {
		return nil, err
	}
	if o.Dtype == "" {
		c.slots = make(chan struct{}, 1)
		c.network, err = openWeights(dir, o, config, processor)
	} else {
		c.network, err = openExport(dir, o, processor)
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

const defaultBatch = 16

// decoding is how captions are decoded: as the directory says, with the options' changes.
func (o Options) decoding(dir string, config *model.Config) (model.GenerateOptions, error) {
	generate, err := model.ReadGenerate(dir)
	if err != nil {
		return generate, err
	}
	if o.NumBeams > 0 {
		generate.NumBeams = o.NumBeams
	}
	if o.MaxLength > 0 {
		generate.MaxLength = o.MaxLength
	}
	if generate.BatchSize = o.BatchSize; o.BatchSize <= 0 {
		generate.BatchSize = defaultBatch
	}
	if err := generate.Validate(config); err != nil {
		return generate, fmt.Errorf("decoding: %w", err)
	}
	return generate, nil
}

// weights are a model's on a backend of their own.
type weights struct {
	*model.Captioner
	backend compute.Backend
}

func openWeights(dir string, o Options, config *model.Config, processor pixels.Processor) (network, error) {
	tensors, err := model.ReadWeights(dir, config)
	if err != nil {
		return nil, err
	}
	if err := config.FitPictures(tensors, processor.Width); err != nil {
		return nil, err
	}
	open := o.Backend
	if open == nil {
		open = func() (compute.Backend, error) { return backend.Open(backend.Choice{Kind: backend.Go}) }
	}
	opened, err := open()
	if err != nil {
		return nil, err
	}
	captioner, err := model.NewCaptioner(opened, config, tensors)
	if err != nil {
		opened.Finalize()
		return nil, err
	}
	captioner.SetNormalization(train.NormalizationOf(processor))
	return weights{captioner, opened}, nil
}

// Close gives the memory back.
func (w weights) Close() error {
	w.Captioner.Close()
	w.backend.Finalize()
	return nil
}

// Decode makes a picture's file ready: JPEG, PNG, GIF, WebP, AVIF, BMP or TIFF. Its size is looked at before it
// takes memory; the error may be ErrFormat or ErrTooLarge.
func (c *Captioner) Decode(file []byte) (Picture, error) {
	rgb, _, err := c.processor.Pixels(file)
	return Picture{rgb}, err
}

// Resize makes a decoded picture ready. Transparency is dropped, as in a file.
func (c *Captioner) Resize(m image.Image) (Picture, error) {
	rgb, err := c.processor.Resize(m)
	return Picture{rgb}, err
}

// Pixels takes a picture that has the model's size already: uint8 RGB [side, side, 3].
func (c *Captioner) Pixels(rgb []uint8) (Picture, error) {
	if want := c.processor.Width * c.processor.Height * 3; len(rgb) != want {
		return Picture{}, fmt.Errorf("%d bytes of pixels; the model takes %d", len(rgb), want)
	}
	return Picture{rgb}, nil
}

// Side is how many pixels the model's square pictures have a side.
func (c *Captioner) Side() int { return c.processor.Width }

// Caption captions pictures, in their order. It waits for calls that caption already and ends with the
// context's cause when that ends, between two tokens at the latest.
func (c *Captioner) Caption(ctx context.Context, pictures ...Picture) ([]Caption, error) {
	return c.caption(ctx, pictures, func([][]int32) error { return nil })
}

// Stream captions one picture and calls said with what there is of the caption whenever that has grown. An
// error of said ends the work and is returned. Beam search has nothing to show before its end.
func (c *Captioner) Stream(ctx context.Context, p Picture, said func(text string) error) (Caption, error) {
	shown := ""
	captions, err := c.caption(ctx, []Picture{p}, func(ids [][]int32) error {
		if len(ids) == 0 {
			return nil
		}
		// a character's bytes may come in two tokens
		text := strings.TrimRight(c.words.Decode(ids[0], true), "\ufffd")
		if text == shown || !strings.HasPrefix(text, shown) {
			return nil
		}
		shown = text
		return said(text)
	})
	if err != nil {
		return Caption{}, err
	}
	return captions[0], nil
}

// Timing is how long a caption took, with the wait for other calls.
type Timing struct {
	First time.Duration // to the first token, the encoder's part in it
	Total time.Duration
	Steps int // each of which gives a token, of every beam in a beam search
}

// PerToken is the mean of the tokens behind the first; 0 where there is none.
func (t Timing) PerToken() time.Duration {
	if t.Steps < 2 {
		return 0
	}
	return (t.Total - t.First) / time.Duration(t.Steps-1)
}

// Timed captions one picture and says how long that took.
func (c *Captioner) Timed(ctx context.Context, p Picture) (Caption, Timing, error) {
	var t Timing
	begun := time.Now()
	captions, err := c.caption(ctx, []Picture{p}, func([][]int32) error {
		if t.Steps++; t.Steps == 1 {
			t.First = time.Since(begun)
		}
		return nil
	})
	if err != nil {
		return Caption{}, t, err
	}
	t.Total = time.Since(begun)
	return captions[0], t, nil
}

func (c *Captioner) caption(
	ctx context.Context, pictures []Picture, step func(ids [][]int32) error,
) ([]Caption, error) {
	if len(pictures) == 0 {
		return nil, nil
	}
	for _, p := range pictures {
		if len(p.rgb) == 0 {
			return nil, errors.New("a picture is empty; make it with Decode, Resize or Pixels")
		}
	}
	if err := c.begin(ctx); err != nil {
		return nil, err
	}
	defer c.end()
	o := c.generate
	o.Step = func(ids [][]int32) error {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		return step(ids)
	}
	o.BatchSize = min(o.BatchSize, len(pictures))
	captions := make([]Caption, 0, len(pictures))
	for batch := range slices.Chunk(pictures, o.BatchSize) {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		rgb := make([]uint8, 0, len(batch)*len(batch[0].rgb))
		for _, p := range batch {
			rgb = append(rgb, p.rgb...)
		}
		rows, err := c.network.Generate(rgb, len(batch), o)
		if err != nil {
			return nil, err
		}
		for _, ids := range rows {
			captions = append(captions, Caption{c.words.Decode(ids, true), ids})
		}
	}
	return captions, nil
}

// begin waits for a slot.
func (c *Captioner) begin(ctx context.Context) error {
	select {
	case <-c.done:
		return ErrClosed
	default:
	}
	select {
	case c.slots <- struct{}{}:
	case <-c.done:
		return ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case <-c.done: // both were ready
		c.end()
		return ErrClosed
	default:
		return nil
	}
}

func (c *Captioner) end() { <-c.slots }

// Close waits for calls that caption, refuses all others with ErrClosed, and gives the memory back. Closing
// again does nothing.
func (c *Captioner) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.done:
		return nil
	default:
	}
	close(c.done)
	for range cap(c.slots) { // calls that caption end, and nobody else begins
		c.slots <- struct{}{}
	}
	return c.network.Close()
}
