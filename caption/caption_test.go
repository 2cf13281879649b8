package caption

import (
	"bytes"
	"context"
	"errors"
	"image"
	"image/color"
	"image/jpeg"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"distilvit/internal/backend"
	"distilvit/internal/testenv"
	"distilvit/internal/testenv/modeltest"
)

// open opens a small model: its weights in pure Go, or an export in ONNX Runtime.
func open(t *testing.T, o Options) *Captioner {
	t.Helper()
	dtypes := []string{"fp32", "q8"}
	if o.Dtype == "" {
		dtypes = nil
	} else {
		needRuntime(t)
	}
	c, err := Open(modeltest.Dir(t, dtypes...), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func needRuntime(t *testing.T) {
	t.Helper()
	cache, err := backend.CacheDir()
	require.NoError(t, err)
	if _, err := backend.ONNXRuntime(cache); err != nil {
		testenv.Without(t, err)
	}
}

// pictures are ready ones that are not all captioned alike.
func pictures(t *testing.T, c *Captioner, n int) []Picture {
	t.Helper()
	list := make([]Picture, n)
	for i := range list {
		var err error
		list[i], err = c.Resize(modeltest.Picture(i))
		require.NoError(t, err)
	}
	return list
}

// A model whose picture stands before the caption captions by its weights and by its export alike.
func TestPrefixModelCaptions(t *testing.T) {
	needRuntime(t)
	dir := filepath.Join(t.TempDir(), "model")
	require.NoError(t, modeltest.WritePrefix(dir, "fp32"))
	var said [2][]Caption
	for i, dtype := range []string{"", "fp32"} {
		c, err := Open(dir, Options{Dtype: dtype})
		require.NoError(t, err)
		said[i], err = c.Caption(t.Context(), pictures(t, c, 4)...)
		require.NoError(t, err)
		require.NoError(t, c.Close())
	}
	require.Equal(t, said[0], said[1])
	require.NotEqual(t, said[0][0], said[0][1])
}

// A caption does not depend on the pictures beside it, on batches, or on what else is captioned.
func TestCaptionsAreThoseOfEachPictureAlone(t *testing.T) {
	for _, o := range []Options{{}, {Dtype: "fp32", Parallel: 2}, {Dtype: "q8", Parallel: 2}} {
		t.Run(o.Dtype, func(t *testing.T) {
			o.BatchSize = 3
			c := open(t, o)
			list := pictures(t, c, 7)
			together, err := c.Caption(t.Context(), list...)
			require.NoError(t, err)
			different := map[string]bool{}
			var work sync.WaitGroup
			for i, p := range list {
				different[together[i].Text] = true
				work.Go(func() {
					alone, err := c.Caption(context.Background(), p)
					if err != nil || alone[0].Text != together[i].Text {
						t.Errorf("picture %d: %q, %v, beside others %q", i, alone, err, together[i].Text)
					}
				})
			}
			work.Wait()
			require.Greater(t, len(different), 3, "%v", together)
		})
	}
}

// What streams in grows to the caption and is not all there at once.
func TestStreamShowsTheCaptionGrow(t *testing.T) {
	for _, o := range []Options{{}, {Dtype: "q8"}} {
		c := open(t, o)
		p := pictures(t, c, 1)[0]
		var steps []string
		said, err := c.Stream(t.Context(), p, func(text string) error {
			steps = append(steps, text)
			return nil
		})
		require.NoError(t, err)
		require.Greater(t, len(steps), 3, "%q", steps)
		for i, text := range steps[1:] {
			require.True(t, len(text) > len(steps[i]) && strings.HasPrefix(text, steps[i]), "%q", steps)
		}
		require.Equal(t, said.Text, steps[len(steps)-1])
		whole, err := c.Caption(t.Context(), p)
		require.NoError(t, err)
		require.Equal(t, whole[0], said)

		full := errors.New("full")
		_, err = c.Stream(t.Context(), p, func(string) error { return full })
		require.ErrorIs(t, err, full)
	}
}

// A call ends between two tokens when its context does, with that one's cause, and the next one works.
func TestAContextEndsTheWork(t *testing.T) {
	for _, o := range []Options{{}, {Dtype: "q8"}, {NumBeams: 3}} {
		c := open(t, o)
		list := pictures(t, c, 2)
		gone := errors.New("the client is gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		tokens := 0
		_, err := c.caption(ctx, list, func([][]int32) error {
			if tokens++; tokens == 2 {
				cancel(gone)
			}
			return nil
		})
		require.ErrorIs(t, err, gone)
		require.Equal(t, 2, tokens)
		_, err = c.Caption(ctx, list...)
		require.ErrorIs(t, err, gone)
		_, err = c.Caption(t.Context(), list...)
		require.NoError(t, err)
	}
}

// Close waits for what is under way; who waits for a turn, or comes later, is refused.
func TestCloseWaitsForCallsAndRefusesOthers(t *testing.T) {
	c := open(t, Options{})
	list := pictures(t, c, 1)
	begun, release, closed := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	results := make(chan error, 2)
	go func() {
		once := sync.Once{}
		_, err := c.caption(context.Background(), list, func([][]int32) error {
			once.Do(func() { close(begun); <-release })
			return nil
		})
		results <- err
	}()
	<-begun
	go func() { closed <- c.Close() }()
	<-c.done
	_, err := c.Caption(t.Context(), list...)
	require.ErrorIs(t, err, ErrClosed)
	select {
	case err := <-closed:
		t.Fatalf("closed while it captions: %v", err)
	default:
	}
	close(release)
	require.NoError(t, <-results)
	require.NoError(t, <-closed)
	require.NoError(t, c.Close())
}

// A decoded picture and its file give the same pixels.
func TestResizeIsWhatDecodeGives(t *testing.T) {
	c := open(t, Options{})
	photo := image.NewNRGBA(image.Rect(0, 0, 70, 45))
	for i := range photo.Pix {
		photo.Pix[i] = uint8(i * i >> 5)
		if i%4 == 3 {
			photo.Pix[i] = 255
		}
	}
	file, err := c.Decode(modeltest.PNG(t, photo))
	require.NoError(t, err)
	opaque := image.NewRGBA(photo.Rect)
	copy(opaque.Pix, photo.Pix)
	wide := image.NewNRGBA(image.Rect(0, 0, 100, 45)) // of which the photo is the right part
	for y := range 45 {
		copy(wide.Pix[wide.PixOffset(30, y):], photo.Pix[photo.PixOffset(0, y):][:4*70])
	}
	for _, m := range []image.Image{photo, opaque, wide.SubImage(image.Rect(30, 0, 100, 45)), paletted(photo)} {
		got, err := c.Resize(m)
		require.NoError(t, err)
		require.Equal(t, file, got, "%T", m)
	}

	var b bytes.Buffer
	require.NoError(t, jpeg.Encode(&b, photo, nil))
	decoded, err := jpeg.Decode(bytes.NewReader(b.Bytes()))
	require.NoError(t, err)
	c.processor.JPEG = "" // Go's decoder
	file, err = c.Decode(b.Bytes())
	require.NoError(t, err)
	got, err := c.Resize(decoded)
	require.NoError(t, err)
	require.Equal(t, file, got)
}

// paletted is a type of picture that is not known.
func paletted(m image.Image) image.Image { return struct{ image.Image }{m} }

func TestPicturesThatCannotBeAreRefused(t *testing.T) {
	c := open(t, Options{MaxPixels: 1000})
	for want, file := range map[error][]byte{
		ErrFormat:   []byte("GIF, or is it"),
		ErrTooLarge: modeltest.PNG(t, image.NewGray(image.Rect(0, 0, 40, 26))),
	} {
		_, err := c.Decode(file)
		require.ErrorIs(t, err, want)
	}
	whole := modeltest.PNG(t, modeltest.Picture(0))
	c.processor.MaxPixels = 0
	_, err := c.Decode(whole[:len(whole)/2])
	require.Error(t, err)
	require.NotErrorIs(t, err, ErrFormat)
	require.NotErrorIs(t, err, ErrTooLarge)

	c.processor.MaxPixels = 1000
	_, err = c.Resize(image.NewUniform(color.Black)) // as large as can be
	require.ErrorIs(t, err, ErrTooLarge)
	_, err = c.Resize(image.NewRGBA(image.Rectangle{}))
	require.ErrorContains(t, err, "has no pixels")
	_, err = c.Pixels(make([]uint8, 5))
	require.ErrorContains(t, err, "the model takes 3072")
	_, err = c.Caption(t.Context(), Picture{})
	require.ErrorContains(t, err, "a picture is empty")
	none, err := c.Caption(t.Context())
	require.NoError(t, err)
	require.Empty(t, none)
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	dir := modeltest.Dir(t, "q8")
	_, err := Open(dir, Options{Dtype: "q2"})
	require.ErrorIs(t, err, ErrNoExport)
	require.ErrorContains(t, err, "use fp32, fp16, q8")
	_, err = Open(dir, Options{Dtype: "q4"})
	require.ErrorIs(t, err, ErrNoExport)
	require.ErrorContains(t, err, "as q4; it has q8")
	_, err = Open(dir, Options{Dtype: "q8", NumBeams: 2})
	require.ErrorContains(t, err, "captions greedily")
	_, err = Open(filepath.Join(dir, "none"), Options{})
	require.ErrorContains(t, err, "config.json")
	_, err = Open(dir, Options{MaxLength: 1000})
	require.ErrorContains(t, err, "max_length is 1000; must be from 2 to the decoder's 40")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tokenizer.json"), []byte("{"), 0o644))
	_, err = Open(dir, Options{})
	require.ErrorContains(t, err, "tokenizer.json")
}

// A caption's time is told apart into that of its first token and that of the others.
func TestTimedCaptionIsTheCaption(t *testing.T) {
	for _, o := range []Options{{}, {NumBeams: 2}, {Dtype: "fp32"}} {
		c := open(t, o)
		p := pictures(t, c, 1)[0]
		want, err := c.Caption(t.Context(), p)
		require.NoError(t, err)
		got, took, err := c.Timed(t.Context(), p)
		require.NoError(t, err)
		require.Equal(t, want[0], got)
		require.GreaterOrEqual(t, took.Steps, len(got.TokenIDs))
		require.Positive(t, took.First)
		require.Greater(t, took.Total, took.First)
		require.Positive(t, took.PerToken())
		require.LessOrEqual(t, took.PerToken()*time.Duration(took.Steps-1), took.Total-took.First)
	}
}
