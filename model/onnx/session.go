//go:build cgo

package onnx

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"

	ort "github.com/yalue/onnxruntime_go"

	"distilvit/model"
)

// Threads is how many threads a session computes with: fixed, so that results do not depend on the machine's
// processors.
const Threads = 4

// Session runs a model directory's two files as Transformers.js does: the encoder once, then the decoder
// token by token, the caches of a step fed into the next. Several goroutines may caption at once: they share
// the weights and the threads, not the caches.
type Session struct {
	config           *model.Config
	encoder, decoder *ort.DynamicAdvancedSession
}

var library struct {
	sync.Mutex
	path string
}

// loadLibrary loads ONNX Runtime, once per process.
func loadLibrary(path string) error {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fmt.Errorf("load ONNX Runtime: %w", err)
	}
	if path, err = filepath.Abs(path); err != nil {
		return fmt.Errorf("load ONNX Runtime: %w", err)
	}
	library.Lock()
	defer library.Unlock()
	if library.path != "" {
		if library.path != path {
			return fmt.Errorf("load ONNX Runtime %s: this process has loaded %s already", path, library.path)
		}
		return nil
	}
	ort.SetSharedLibraryPath(path)
	if err := ort.InitializeEnvironment(ort.WithLogLevelError()); err != nil {
		return fmt.Errorf("load ONNX Runtime %s: %w (version 1.24 or newer is needed)", path, err)
	}
	library.path = path
	return nil
}

// Open loads a dtype's files of a model directory. libraryPath is a libonnxruntime.so, 1.24 or newer; a
// process has one.
func Open(libraryPath, dir, dtype string) (*Session, error) {
	if err := checkDtype(dtype); err != nil {
		return nil, err
	}
	config, err := model.ReadConfig(dir)
	if err != nil {
		return nil, err
	}
	if err := loadLibrary(libraryPath); err != nil {
		return nil, err
	}
	options, err := sessionOptions()
	if err != nil {
		return nil, fmt.Errorf("set up ONNX Runtime: %w", err)
	}
	defer options.Destroy()

	s := &Session{config: config}
	path := filepath.Join(dir, EncoderFile(dtype))
	s.encoder, err = ort.NewDynamicAdvancedSession(
		path, []string{"pixel_values"}, []string{"last_hidden_state"}, options,
	)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", path, err)
	}
	in, out := []string{"input_ids", "encoder_hidden_states"}, []string{"logits"}
	for i := range config.DecoderLayers() {
		for _, kind := range cacheKinds {
			in = append(in, cacheName("past_key_values", i, kind))
			out = append(out, cacheName("present", i, kind))
		}
	}
	path = filepath.Join(dir, DecoderFile(dtype))
	s.decoder, err = ort.NewDynamicAdvancedSession(path, in, out, options)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("load %s: %w", path, err), s.encoder.Destroy())
	}
	return s, nil
}

// sessionOptions are those of a repeatable run on the processor. Threads wait asleep: there may be fewer
// processors.
func sessionOptions() (*ort.SessionOptions, error) {
	o, err := ort.NewSessionOptions()
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		o.SetIntraOpNumThreads(Threads),
		o.SetInterOpNumThreads(1),
		o.SetExecutionMode(ort.ExecutionModeSequential),
		o.SetGraphOptimizationLevel(ort.GraphOptimizationLevelEnableAll),
		o.AddSessionConfigEntry("session.intra_op.allow_spinning", "0"),
	)
	if err != nil {
		return nil, errors.Join(err, o.Destroy())
	}
	return o, nil
}

// Close frees both files' memory; the library stays loaded.
func (s *Session) Close() error { return errors.Join(s.encoder.Destroy(), s.decoder.Destroy()) }

// Generate captions one picture greedily, of equal scores the lowest token: the ids after the start
// token, with the end token if it came. pixelValues are normalised float32 [C, H, W]. Of the options the
// lengths, special tokens and what may follow count; beams do not.
func (s *Session) Generate(pixelValues []float32, o model.GenerateOptions) ([]int32, error) {
	rows, err := s.GenerateBatch(pixelValues, 1, o)
	if err != nil {
		return nil, err
	}
	return rows[0], nil
}

// GenerateBatch is Generate for n pictures at once, [n, C, H, W]. q8 shares one range of numbers among the
// pictures of a batch, so that its logits, and with them a caption now and then, are not quite those of each
// picture by itself.
func (s *Session) GenerateBatch(pixelValues []float32, n int, o model.GenerateOptions) ([][]int32, error) {
	if err := o.Validate(s.config); err != nil {
		return nil, err
	}
	d, err := s.begin(pixelValues, n)
	if err != nil {
		return nil, err
	}
	defer d.close()
	vocab, ends, process := s.config.VocabSize(), o.Ends(s.config), o.LogitsProcessor(s.config)
	rows := make([][]int32, n) // start token first
	next, ended := make([]int64, n), make([]bool, n)
	for i := range next {
		next[i], rows[i] = int64(o.Start(s.config)), []int32{o.Start(s.config)}
	}
	for left, length := n, 1; left > 0 && length < o.MaxLength; length++ {
		logits, err := d.step(next)
		if err != nil {
			return nil, err
		}
		for i := range rows {
			if ended[i] {
				continue // whatever follows is of no use, and no row looks at another
			}
			scores := logits[i*vocab:][:vocab]
			if process != nil {
				process(rows[i], scores)
			}
			id := argmax(scores)
			next[i], rows[i] = int64(id), append(rows[i], id)
			if slices.Contains(ends, id) {
				ended[i] = true
				left--
			}
		}
		if err := o.ShowStep(rows, 1); err != nil {
			return nil, err
		}
	}
	for i := range rows {
		rows[i] = rows[i][1:]
	}
	return rows, nil
}

// StartTokenID is the first of a decoder's input ids.
func (s *Session) StartTokenID() int32 { return int32(s.config.DecoderStartTokenID) }

// Logits runs one picture with the decoder's input ids, the start token first, one by one through the caches
// as Generate does, and returns the logits at every position: float32 [len(ids)·vocabulary].
func (s *Session) Logits(pixelValues []float32, ids []int32) ([]float32, error) {
	d, err := s.begin(pixelValues, 1)
	if err != nil {
		return nil, err
	}
	defer d.close()
	all := make([]float32, 0, len(ids)*s.config.VocabSize())
	for _, id := range ids {
		logits, err := d.step([]int64{int64(id)})
		if err != nil {
			return nil, err
		}
		all = append(all, logits...)
	}
	return all, nil
}

// argmax is the index of the first of the largest.
func argmax(logits []float32) int32 {
	best := 0
	for i, v := range logits {
		if v > logits[best] {
			best = i
		}
	}
	return int32(best)
}

// decoding is the state of a batch of n pictures between two tokens. What caches hold is the file's business,
// see decoder.go: it is passed on as it comes, so files of before cross-attention was cached run, too.
type decoding struct {
	session  *Session
	n        int
	pictures ort.Value
	caches   []ort.Value
}

// begin encodes n pictures and makes caches of length zero.
func (s *Session) begin(pixelValues []float32, n int) (*decoding, error) {
	e := s.config.Encoder
	heads, size := s.config.KeyHeads()
	channels, side := int64(e.NumChannels), int64(e.ImageSize)
	batch := int64(n)
	if n < 1 || int64(len(pixelValues)) != batch*channels*side*side {
		return nil, fmt.Errorf("%d pixel values, the model takes %d×%d×%d of each of %d pictures",
			len(pixelValues), channels, side, side, n)
	}
	pixels, err := ort.NewTensor(ort.NewShape(batch, channels, side, side), pixelValues)
	if err != nil {
		return nil, err
	}
	defer pixels.Destroy()
	out := []ort.Value{nil}
	if err := s.encoder.Run([]ort.Value{pixels}, out); err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	state := &decoding{session: s, n: n, pictures: out[0]}
	for range 2 * s.config.DecoderLayers() {
		empty, err := ort.NewEmptyTensor[float32](ort.NewShape(batch, int64(heads), 0, int64(size)))
		if err != nil {
			state.close()
			return nil, err
		}
		state.caches = append(state.caches, empty)
	}
	return state, nil
}

// step feeds the next tokens of each picture, ids [n, T], and returns the logits [n·T·vocabulary] of those
// that follow them.
func (d *decoding) step(ids []int64) ([]float32, error) {
	tokens, err := ort.NewTensor(ort.NewShape(int64(d.n), int64(len(ids)/d.n)), ids)
	if err != nil {
		return nil, err
	}
	defer tokens.Destroy()
	out := make([]ort.Value, 1+len(d.caches))
	if err := d.session.decoder.Run(append([]ort.Value{tokens, d.pictures}, d.caches...), out); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	destroy(d.caches)
	d.caches = out[1:]
	defer out[0].Destroy()
	logits, ok := out[0].(*ort.Tensor[float32])
	if !ok {
		return nil, fmt.Errorf("decode: logits are %T, not float32", out[0])
	}
	return logits.GetData(), nil
}

func (d *decoding) close() {
	d.pictures.Destroy()
	destroy(d.caches)
}

func destroy(values []ort.Value) {
	for _, v := range values {
		v.Destroy()
	}
}
