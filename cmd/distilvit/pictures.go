package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"golang.org/x/term"

	"distilvit/dataset"
	"distilvit/dataset/pixels"
	"distilvit/internal/download"
	"distilvit/pipeline"
)

// pictureForms is what a picture's argument may be, for help and messages.
const pictureForms = "a file, a folder (all pictures below it), an http(s) URL, or - for stdin"

// How long a picture's URL may take until its answer begins, and as a whole.
const (
	urlAnswers = 20 * time.Second
	urlWhole   = time.Minute
)

// namedPicture is a picture that a command line names.
type namedPicture struct {
	name string // a path, a URL, or -
	read func(context.Context) ([]byte, error)
}

// namedPictures are those that the arguments name, in their order. What cannot be listed is a
// picture that cannot be read.
func (a *app) namedPictures(given []string) ([]namedPicture, error) {
	var list []namedPicture
	client := download.NewClient(urlAnswers)
	stdin := 0
	for _, name := range given {
		switch {
		case name == "-":
			if stdin++; stdin > 1 {
				return nil, usagef("- stands for one picture on stdin and is given twice")
			}
			if f, ok := a.stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
				return nil, usagef("- reads a picture from stdin, which is a terminal: use distilvit … - < PICTURE")
			}
			list = append(list, namedPicture{name, a.readStdin})
		case pipeline.IsURL(name):
			list = append(list, namedPicture{name, func(ctx context.Context) ([]byte, error) {
				return fetchPicture(ctx, client, name, urlWhole)
			}})
		default:
			list = append(list, localPictures(name)...)
		}
	}
	return list, nil
}

// localPictures are a file or the pictures below a folder.
func localPictures(path string) []namedPicture {
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		return []namedPicture{localPicture(path)}
	}
	paths, err := dataset.Pictures(path)
	if err == nil && len(paths) == 0 {
		err = fmt.Errorf("folder %s has no pictures in it", path)
	}
	if err != nil {
		return []namedPicture{{path, func(context.Context) ([]byte, error) { return nil, err }}}
	}
	list := make([]namedPicture, len(paths))
	for i, path := range paths {
		list[i] = localPicture(path)
	}
	return list
}

func localPicture(path string) namedPicture {
	return namedPicture{path, func(context.Context) ([]byte, error) {
		raw, err := pixels.ReadFile(path)
		if err != nil {
			return nil, fileError("picture", path, err)
		}
		return raw, nil
	}}
}

func (a *app) readStdin(context.Context) ([]byte, error) {
	raw, err := pixels.Read(a.stdin, 0)
	if err == nil && len(raw) == 0 {
		err = errors.New("nothing came")
	}
	if err != nil {
		return nil, fmt.Errorf("picture on stdin: %w", err)
	}
	return raw, nil
}

// fetchPicture gets a picture's file once, within bounds of time and size. Any address will do: it
// is the choice of who wrote the command line.
func fetchPicture(
	ctx context.Context, client *http.Client, from string, limit time.Duration,
) ([]byte, error) {
	raw, err := download.Picture(ctx, client, from, pixels.MaxFileBytes, limit)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", pipeline.ShownURL(from), err)
	}
	return raw, nil
}

// eachPicture hands on what decode makes of every readable picture. An
// unreadable one costs a line and, at the end, exit code 1.
func eachPicture[T any](
	ctx context.Context, list []namedPicture, decode func(raw []byte) (T, error), p *progress,
	do func(name string, picture T) error,
) error {
	unreadable := 0
	for _, picture := range list {
		decoded, err := readPicture(ctx, picture, decode)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			unreadable++
			p.line("distilvit: %v", err)
			continue
		}
		if err := do(picture.name, decoded); err != nil {
			return err
		}
	}
	if unreadable == 0 {
		return nil
	}
	if unreadable > 1 {
		p.line("distilvit: %d of %d pictures could not be read", unreadable, len(list))
	}
	return &quietError{errors.New("unreadable pictures")}
}

func readPicture[T any](
	ctx context.Context, picture namedPicture, decode func(raw []byte) (T, error),
) (decoded T, err error) {
	raw, err := picture.read(ctx)
	if err != nil {
		return decoded, err
	}
	if decoded, err = decode(raw); err != nil {
		name := picture.name
		switch {
		case pipeline.IsURL(name):
			name = pipeline.ShownURL(name)
		case name == "-":
			name = "picture on stdin"
		}
		return decoded, fmt.Errorf("%s: %w", name, err)
	}
	return decoded, nil
}
