// Command alttext gives pictures of a static site their alternative text: every <img> of the HTML files that has no alt
// attribute and whose picture lies beside it. It is an example of package caption in a program of one's own.
//
//	go run ./examples/alttext -model .distilvit/demo site/*.html
//
// Nothing else of a file is changed. A model's words are a proposal: they are marked with data-alt="proposed", so that a
// person can look for them.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"golang.org/x/net/html"

	"distilvit/caption"
)

func main() {
	model := flag.String("model", "", "model directory, as distilvit get fetches it")
	onnx := flag.String("onnx", "", "caption with this export in ONNX Runtime, such as q8 (default: the weights in Go)")
	flag.Parse()
	if *model == "" || flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: alttext -model DIR [-onnx q8] FILE.html...")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *model, *onnx, flag.Args(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "alttext:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, model, onnx string, files []string, out io.Writer) error {
	c, err := caption.Open(model, caption.Options{Dtype: onnx, ExifOrientation: true})
	if err != nil {
		return err
	}
	defer c.Close()
	for _, file := range files {
		before, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		after, err := describe(before, func(src string) (string, error) {
			text, err := text(ctx, c, filepath.Join(filepath.Dir(file), filepath.FromSlash(src)))
			fmt.Fprintf(out, "%s\t%s\t%s\n", file, src, text)
			return text, err
		})
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if bytes.Equal(after, before) {
			continue
		}
		if err := os.WriteFile(file, after, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// text captions a picture's file.
func text(ctx context.Context, c *caption.Captioner, file string) (string, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	picture, err := c.Decode(raw)
	if err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	said, err := c.Caption(ctx, picture)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(said[0].Text), nil
}

// describe gives every img without alt the text of its picture; all other bytes stay as they are.
func describe(page []byte, text func(src string) (string, error)) ([]byte, error) {
	var out bytes.Buffer
	for z := html.NewTokenizer(bytes.NewReader(page)); ; {
		kind := z.Next()
		if kind == html.ErrorToken {
			if errors.Is(z.Err(), io.EOF) {
				return out.Bytes(), nil
			}
			return nil, z.Err()
		}
		raw := bytes.Clone(z.Raw()) // Token uses its memory again
		tag := z.Token()
		src, ok := undescribed(tag)
		if !ok {
			out.Write(raw)
			continue
		}
		said, err := text(src)
		if err != nil {
			return nil, err
		}
		tag.Attr = append(tag.Attr, html.Attribute{Key: "alt", Val: said}, html.Attribute{Key: "data-alt", Val: "proposed"})
		out.WriteString(tag.String())
	}
}

// undescribed is the picture beside the page that a tag shows without saying what it is.
func undescribed(tag html.Token) (src string, ok bool) {
	if tag.Data != "img" || tag.Type == html.EndTagToken {
		return "", false
	}
	for _, a := range tag.Attr {
		switch a.Key {
		case "alt":
			return "", false // empty, too: the picture is an ornament
		case "src":
			src = a.Val
		}
	}
	return src, filepath.IsLocal(filepath.FromSlash(src)) && !strings.Contains(src, ":")
}
