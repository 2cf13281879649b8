package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"distilvit/dataset/pixels"
)

// smallModel is a model directory: some hundred random weights, 16 pixels.
func smallModel(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, path := range []string{
		"seed/config.json", "seed/model.safetensors", "seed/tokenizer.json", "transformers5/preprocessor_config.json",
	} {
		raw, err := os.ReadFile(filepath.Join("../../model/testdata", path))
		require.NoError(t, err)
		write(t, dir, filepath.Base(path), string(raw))
	}
	return dir
}

// captionCLI captions with a small model of random weights.
func captionCLI(t *testing.T, stdin string, images ...string) (code int, lines []string, stderr string) {
	t.Helper()
	code, stdout, stderr := cli(t, stdin, append([]string{"caption", "-m", smallModel(t), "--backend", "go"}, images...)...)
	if stdout == "" {
		return code, nil, stderr
	}
	return code, strings.Split(strings.TrimSuffix(stdout, "\n"), "\n"), stderr
}

// stripes are the bytes of a PNG that differs by n.
func stripes(t *testing.T, n int) string {
	t.Helper()
	const side = 16
	rgb := make([]uint8, 3*side*side)
	for i := range rgb {
		rgb[i] = uint8(i / 3 * (n + 1) * 13)
	}
	raw, err := pixels.EncodePNG(rgb, side, side)
	require.NoError(t, err)
	return string(raw)
}

func TestCaptionTakesStdinFoldersAndURLs(t *testing.T) {
	dir := t.TempDir()
	var paths []string
	for i := range captionBatch + 3 {
		paths = append(paths, write(t, dir, fmt.Sprintf("%c/%02d.png", 'a'+i%2, i), stripes(t, i)))
	}
	write(t, dir, "notes.txt", "no picture")
	server := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer server.Close()

	code, alone, stderr := captionCLI(t, "", paths[0])
	require.Zero(t, code, stderr)
	require.Len(t, alone, 1)
	require.NotContains(t, alone[0], "\t", "one picture's caption needs no name")
	code, lines, stderr := captionCLI(t, stripes(t, 0), "-")
	require.Zero(t, code, stderr)
	require.Equal(t, alone, lines)
	code, lines, stderr = captionCLI(t, "", server.URL+"/a/00.png?size=large")
	require.Zero(t, code, stderr)
	require.Equal(t, alone, lines)

	code, lines, stderr = captionCLI(t, "", dir)
	require.Zero(t, code, stderr)
	require.Len(t, lines, len(paths))
	require.Equal(t, paths[0]+"\t"+alone[0], lines[0])
	require.True(t, strings.HasPrefix(lines[1], paths[2]+"\t"), "sorted by name: %s", lines[1])
	require.Contains(t, stderr, fmt.Sprintf("caption  %d/%d", captionBatch, len(paths)))
	require.NotContains(t, stderr, "\r", "no live line in a pipe")

	code, lines, stderr = captionCLI(t, "", filepath.Join(dir, "a"), "-o", "json")
	require.Zero(t, code, stderr)
	require.Len(t, lines, (len(paths)+1)/2)
	require.True(t, strings.HasPrefix(lines[0], `{"image":"`+paths[0]+`","caption":`), lines[0])
}

func TestOneBadPictureDoesNotEndTheOthers(t *testing.T) {
	dir := t.TempDir()
	good := write(t, dir, "good.png", stripes(t, 1))
	text := write(t, dir, "text.png", "no picture")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "empty"), 0o755))
	mux := http.NewServeMux()
	mux.HandleFunc("/page", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html><body>sign in") })
	server := httptest.NewServer(mux)
	defer server.Close()
	secret := strings.Replace(server.URL, "http://", "http://me:secret@", 1)

	code, lines, stderr := captionCLI(t, "", text, server.URL+"/page", filepath.Join(dir, "none.png"), good,
		secret+"/none?token=secret", filepath.Join(dir, "empty"), "-")
	require.Equal(t, exitFailed, code)
	require.Len(t, lines, 1)
	require.True(t, strings.HasPrefix(lines[0], good+"\t"))
	said := strings.Split(strings.TrimSuffix(stderr, "\n"), "\n")
	for i, want := range []string{
		text + ": picture: not JPEG", server.URL + "/page: the server answers with a web page, not with a picture",
		"no such picture: " + filepath.Join(dir, "none.png"), "/none: the server answers 404 Not Found",
		"empty has no pictures in it", "picture on stdin: nothing came", "6 of 7 pictures could not be read",
	} {
		require.Contains(t, said[i], want)
		require.True(t, strings.HasPrefix(said[i], "distilvit: "), said[i])
	}
	require.NotContains(t, stderr, "secret")

	code, _, stderr = captionCLI(t, "", "-", "-")
	require.Equal(t, exitUsage, code)
	require.Contains(t, stderr, "is given twice")
}

// A server that begins and goes on for ever, or says that it will send too much, is given up.
func TestAPictureOfAURLIsBounded(t *testing.T) {
	release := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "GIF89a")
		w.(http.Flusher).Flush()
		select {
		case <-r.Context().Done():
		case <-release:
		}
	})
	mux.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(pixels.MaxFileBytes+1))
		w.Header().Set("Content-Type", "image/png")
		w.WriteHeader(http.StatusOK)
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	defer close(release)
	_, err := fetchPicture(t.Context(), server.Client(), server.URL+"/slow", time.Millisecond)
	require.ErrorContains(t, err, server.URL+"/slow: not all of it came within 1ms")
	_, err = fetchPicture(t.Context(), server.Client(), server.URL+"/large", urlWhole)
	require.ErrorContains(t, err, "a picture has at most")
}

func TestPreprocessNamesItsFilesByThePicture(t *testing.T) {
	var out bytes.Buffer
	dir := t.TempDir()
	server := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(write(t, dir, "in/b.png", stripes(t, 2))))))
	defer server.Close()
	a := &app{stdin: strings.NewReader(stripes(t, 1)), stdout: &out, stderr: &out, env: environment(nil)}
	seen := filepath.Join(dir, "seen")
	code := a.main(t.Context(), []string{"preprocess", "-m", smallModel(t), "-o", seen, "-", server.URL + "/b.png?x=y"})
	require.Zero(t, code, out.String())
	require.FileExists(t, filepath.Join(seen, "stdin.png"))
	require.FileExists(t, filepath.Join(seen, "b.png"))
}

// louder multiplies the weights of a safetensors file of float32, so that a model of random ones tells pictures apart.
func louder(t *testing.T, path string) {
	t.Helper()
	const factor = 8
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	for at := 8 + int(binary.LittleEndian.Uint64(raw)); at < len(raw); at += 4 {
		v := factor * math.Float32frombits(binary.LittleEndian.Uint32(raw[at:]))
		binary.LittleEndian.PutUint32(raw[at:], math.Float32bits(v))
	}
	require.NoError(t, os.WriteFile(path, raw, 0o644))
}

// What lies on its side is captioned upright, as transformers' pipelines do (testdata/turned/make_turned.py).
func TestCaptionTurnsPicturesAsTransformersPipelinesDo(t *testing.T) {
	model, different := smallModel(t), 0
	louder(t, filepath.Join(model, "model.safetensors"))
	captions := func(args ...string) []string {
		code, stdout, stderr := cli(t, "", append([]string{"caption", "-m", model, "--backend", "go", "-o", "json"}, args...)...)
		require.Zero(t, code, stderr)
		lines := strings.Split(strings.TrimSuffix(stdout, "\n"), "\n")
		require.Len(t, lines, 2)
		return lines
	}
	for orientation := 2; orientation <= 8; orientation++ {
		lying := fmt.Sprintf("testdata/turned/%d.png", orientation)
		upright := fmt.Sprintf("testdata/turned/%d-upright.png", orientation)
		lines := captions(lying, upright)
		require.Equal(t, strings.Replace(lines[1], upright, lying, 1), lines[0])
		asItLies := captions("--exif-orientation=false", lying, upright)
		require.Equal(t, lines[1], asItLies[1])
		if asItLies[0] != lines[0] {
			different++
		}

		seen := func(picture string, flags ...string) string {
			dir := t.TempDir()
			code, _, stderr := cli(t, "", append([]string{"preprocess", "-m", smallModel(t), "-o", dir, picture}, flags...)...)
			require.Zero(t, code, stderr)
			raw, err := os.ReadFile(filepath.Join(dir, filepath.Base(picture)))
			require.NoError(t, err)
			return string(raw)
		}
		require.Equal(t, seen(upright), seen(lying, "--exif-orientation"), lying)
		require.NotEqual(t, seen(upright), seen(lying), lying)
	}
	require.NotZero(t, different, "the model says the same of a picture however it lies: this shows nothing")
}
