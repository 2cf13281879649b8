package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/image/draw"
)

// wavesJPEG draws soft waves of that frequency, resized to a side and compressed.
func wavesJPEG(t *testing.T, frequency float64, side, quality int) string {
	t.Helper()
	im := image.NewRGBA(image.Rect(0, 0, 256, 256))
	for y := range 256 {
		for x := range 256 {
			v := uint8(128 + 60*math.Sin(frequency*float64(x))*math.Cos(frequency*1.7*float64(y)) + float64(x)/5)
			im.Set(x, y, color.RGBA{v, 255 - v, uint8(y), 255})
		}
	}
	out := image.NewRGBA(image.Rect(0, 0, side, side))
	draw.CatmullRom.Scale(out, out.Bounds(), im, im.Bounds(), draw.Src, nil)
	var b bytes.Buffer
	require.NoError(t, jpeg.Encode(&b, out, &jpeg.Options{Quality: quality}))
	return b.String()
}

func TestInspectSaysWhatIsThereAndWhatOccursTwice(t *testing.T) {
	dir := t.TempDir()
	images := filepath.Join(dir, "images")
	require.NoError(t, os.Mkdir(images, 0o755))
	write(t, images, "a.jpg", wavesJPEG(t, 0.03, 256, 90))
	write(t, images, "b.jpg", wavesJPEG(t, 0.05, 256, 90))
	write(t, images, "c.jpg", wavesJPEG(t, 0.03, 100, 40))
	write(t, images, "d.jpg", "no picture")
	write(t, dir, "c.csv", "image,caption,split\na.jpg,a man in a boat,train\nb.jpg,zwei Katzen,train\n"+
		"c.jpg,a boat,test\nd.jpg,x,test\n")
	config := write(t, dir, "config.yaml", "train: {max_length: 3}\n"+
		"dataset: [{kind: folder, captions: c.csv, images: images, split_column: split}]\n")
	terms := write(t, dir, "terms.txt", "# mine\n[animals]\nKatzen\n[boats]\nboat\na boat\n")
	page := filepath.Join(dir, "page.html")
	inspect := func(args ...string) (code int, stdout, stderr string) {
		var out, said bytes.Buffer
		a := &app{stdout: &out, stderr: &said, env: environment(map[string]string{})}
		code = a.main(t.Context(), append([]string{"inspect"}, args...))
		return code, out.String(), said.String()
	}

	code, text, stderr := inspect(config, "--words", terms, "--html", page)
	require.Zero(t, code, stderr)
	for _, want := range []string{
		"3 pictures with 3 captions\n",
		"! Pictures of test that are in train, too: 1 (100.0 %), 0 as an equal file and 1 that look alike.",
		"more than prepare.max_bad_fraction (1.0 %)",
		"near   train a.jpg, test c.jpg", "boats    666.7  boat 666.7, a boat 666.7",
		"animals  333.3  katzen 333.3", "cannot be used: 1 (25.0 %)\n  test d.jpg: picture: not JPEG",
	} {
		require.Contains(t, text, want)
	}
	html, err := os.ReadFile(page)
	require.NoError(t, err)
	require.Equal(t, 2, strings.Count(string(html), `<img src="data:image/png`))

	code, text, stderr = inspect(config, "-o", "json", "-m", "../../model/testdata/seed")
	require.Zero(t, code, stderr)
	var found struct {
		Tokens struct {
			MaxLength int `json:"max_length"`
			Cut       int
			Longest   []struct{ Caption string }
		} `json:"tokens_per_caption"`
	}
	require.NoError(t, json.Unmarshal([]byte(text), &found))
	require.Equal(t, 3, found.Tokens.MaxLength, "the config's")
	require.Equal(t, found.Tokens.Cut, len(found.Tokens.Longest))
	require.Positive(t, found.Tokens.Cut)

	code, text, stderr = inspect(dir)
	require.Zero(t, code, stderr)
	require.Contains(t, text, "3 pictures with 3 captions\n", "a folder is looked at as distilvit init would")
	code, text, stderr = inspect(images)
	require.Zero(t, code, stderr)
	require.Contains(t, stderr, "has 4 pictures and no captions")
	require.Contains(t, text, "near   ")

	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "inspect needs a DATASET"},
		{[]string{config, "--near", "17"}, "--near must be 0 to 16"},
		{[]string{config, "--top", "0"}, "--top must be at least 1"},
		{[]string{config, "--words", filepath.Join(dir, "none")}, "no such --words"},
		{[]string{config, "--words", config}, "stands before the first [GROUP]"},
		{[]string{filepath.Join(dir, "none.yaml")}, "no such DATASET"},
	} {
		code, _, stderr := inspect(c.args...)
		require.Equal(t, exitUsage, code, stderr)
		require.Contains(t, stderr, c.want)
	}
}

// interrupting ends a context at the first word of progress.
type interrupting struct {
	bytes.Buffer
	end func()
}

func (w *interrupting) Write(p []byte) (int, error) {
	w.end()
	return w.Buffer.Write(p)
}

func TestInspectThatIsInterruptedEndsAndLeavesNothing(t *testing.T) {
	dir, temp := t.TempDir(), t.TempDir()
	t.Setenv("TMPDIR", temp)
	for i := range 64 * runtime.GOMAXPROCS(0) {
		write(t, dir, fmt.Sprintf("%03d.png", i), stripes(t, i))
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	var out bytes.Buffer
	w := &interrupting{}
	a := &app{stdout: &out, stderr: w, env: environment(nil), output: "text"}
	o := inspectOptions{name: dir, top: 20, near: 6, html: filepath.Join(dir, "page.html")}
	w.end = func() { cancel(errInterrupted) }
	said := w.Len()
	require.Equal(t, exitFailed, a.report(nil, a.inspect(ctx, "", o)))
	require.Contains(t, w.String()[said:], "distilvit: interrupted\n")
	require.Empty(t, out.String())
	require.NoFileExists(t, o.html)
	left, err := os.ReadDir(temp)
	require.NoError(t, err)
	require.Empty(t, left)
}
