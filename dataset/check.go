package dataset

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// Check finds out what is wrong with a source's file from its beginning (the columns of a table)
// or its end (those of a Parquet file, the entries of a zip), before anything is read as a whole.
// What it does not complain of may be wrong still.
func Check(ctx context.Context, spec Spec, f File) error {
	switch {
	case f.Role == RoleCaptions:
		if err := readCaptions(ctx, f, spec.Entry, checkHead(spec), nil); err != nil {
			return fmt.Errorf("captions file %s: %w", f.Name, err)
		}
	case f.Role == RoleImages:
		return checkWith(ctx, f, func(r io.ReaderAt, size int64) error {
			_, err := findDirectory(r, size)
			return err
		})
	case f.Role == RoleFiles && spec.Kind == "parquet":
		return checkWith(ctx, f, func(r io.ReaderAt, size int64) error {
			t, err := openTable(r, size)
			if err == nil {
				_, err = (&parquetList{spec: spec}).columns(t)
			}
			return err
		})
	}
	return nil
}

func checkWith(ctx context.Context, f File, check func(io.ReaderAt, int64) error) error {
	r, size, closer, err := f.Open(ctx)
	if err != nil {
		return err
	}
	defer closer.Close()
	if err := check(r, size); err != nil {
		return fmt.Errorf("file %s: %w", f.Name, err)
	}
	return nil
}

// checkHead looks at the first line of a table, or the first character of JSON.
func checkHead(spec Spec) captionsReader {
	return func(r io.Reader, name string, _ *pictureList) error {
		b, err := newText(r)
		if err != nil {
			return err
		}
		head, err := b.Peek(sniffBytes)
		if err != nil && len(head) == 0 && !errors.Is(err, io.EOF) {
			return err
		}
		ext := strings.ToLower(path.Ext(name))
		switch {
		case len(bytes.TrimSpace(head)) == 0:
			return errors.New("is empty")
		case ext == ".json" && !bytes.ContainsAny(bytes.TrimSpace(head)[:1], "{["):
			return errors.New("is not JSON: it begins with neither { nor [")
		case spec.Kind != "folder" || ext != ".csv" && ext != ".tsv" && ext != ".txt":
			return nil
		}
		line, _, whole := bytes.Cut(head, []byte("\n"))
		line = bytes.TrimRight(line, "\r")
		if !whole && len(head) == sniffBytes || isPiped(line) || tokenLine.Match(line) {
			return nil
		}
		_, err = newTextTable(string(line), ext, spec)
		return err
	}
}
