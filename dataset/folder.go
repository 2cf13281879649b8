package dataset

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// maxLineBytes bounds a line of a JSONL file.
const maxLineBytes = 16 << 20

// readFolder reads the captions of an image folder: CSV with the header
// image,caption, or JSON lines with "image" and "caption" or "captions". A picture
// named several times has several captions. A "group" column or key is optional.
func readFolder(r io.Reader, name string) ([]listed, error) {
	b := bufio.NewReaderSize(r, 64<<10)
	if bom, _ := b.Peek(3); bytes.Equal(bom, []byte("\xef\xbb\xbf")) {
		b.Discard(3)
	}
	var pictures pictureList
	var err error
	switch ext := strings.ToLower(path.Ext(name)); ext {
	case ".csv":
		err = readCSV(b, &pictures)
	case ".jsonl", ".ndjson":
		err = readJSONL(b, &pictures)
	default:
		err = fmt.Errorf("ends in %q; captions of a folder are a .csv or .jsonl file", ext)
	}
	return pictures.all, err
}

// pictureList gathers captions by picture, in the order pictures are first named.
type pictureList struct {
	all   []listed
	index map[string]int
}

func (l *pictureList) add(image, group string, captions ...string) {
	if l.index == nil {
		l.index = map[string]int{}
	}
	i, ok := l.index[image]
	if !ok {
		i = len(l.all)
		l.index[image] = i
		l.all = append(l.all, listed{id: image, name: image, group: group})
	}
	l.all[i].captions = append(l.all[i].captions, captions...)
}

func readCSV(r io.Reader, pictures *pictureList) error {
	c := csv.NewReader(r)
	c.ReuseRecord = true
	header, err := c.Read()
	if errors.Is(err, io.EOF) {
		return errors.New("is empty; its first line must be image,caption")
	}
	if err != nil {
		return csvError(err)
	}
	column := func(name string) int {
		return slices.IndexFunc(header, func(h string) bool { return strings.EqualFold(strings.TrimSpace(h), name) })
	}
	image, caption, group := column("image"), column("caption"), column("group")
	if image < 0 || caption < 0 {
		return fmt.Errorf("first line is %q; it must name the columns image and caption", strings.Join(header, ","))
	}
	for {
		record, err := c.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return csvError(err)
		}
		line, _ := c.FieldPos(0)
		if record[image] == "" {
			return fmt.Errorf("line %d: image is empty", line)
		}
		g := ""
		if group >= 0 {
			g = record[group]
		}
		pictures.add(record[image], g, record[caption])
	}
}

// csvError names the line; encoding/csv counts it from 1 already.
func csvError(err error) error {
	var parse *csv.ParseError
	if errors.As(err, &parse) {
		return fmt.Errorf("broken CSV in line %d, column %d: %w", parse.Line, parse.Column, parse.Err)
	}
	return err
}

type jsonLine struct {
	Image    *string  `json:"image"`
	Caption  *string  `json:"caption"`
	Captions []string `json:"captions"`
	Group    string   `json:"group"`
}

func readJSONL(r io.Reader, pictures *pictureList) error {
	s := bufio.NewScanner(r)
	s.Buffer(nil, maxLineBytes)
	line := 0
	for s.Scan() {
		line++
		if len(bytes.TrimSpace(s.Bytes())) == 0 {
			continue
		}
		var l jsonLine
		if err := json.Unmarshal(s.Bytes(), &l); err != nil {
			return fmt.Errorf("broken JSON in line %d: %w", line, err)
		}
		if l.Image == nil || *l.Image == "" || l.Caption == nil && l.Captions == nil {
			return fmt.Errorf("line %d: needs image, and caption or captions", line)
		}
		captions := l.Captions
		if l.Caption != nil {
			captions = append([]string{*l.Caption}, captions...)
		}
		pictures.add(*l.Image, l.Group, captions...)
	}
	if errors.Is(s.Err(), bufio.ErrTooLong) {
		return fmt.Errorf("line %d: longer than %d bytes", line+1, maxLineBytes)
	}
	return s.Err()
}
