package dataset

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"distilvit/internal/pyjson"
)

// readCOCO reads an annotation file in COCO's caption form,
//
//	{"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}
//
// as a stream: other keys are skipped without being kept. An image may carry a
// "group", which is not COCO's. Pictures keep the file's order; captions too.
func readCOCO(r io.Reader, name string, pictures *pictureList) error {
	return readJSON(r, pictures, decodeCOCO)
}

// readJSON says in an error where decoding stopped.
func readJSON(r io.Reader, pictures *pictureList, decode func(*json.Decoder, *pictureList) error) error {
	text, err := newText(r)
	if err != nil {
		return err
	}
	lines := &lineCounter{r: pyjson.NewReader(text)}
	dec := json.NewDecoder(lines)
	if err := decode(dec, pictures); err != nil {
		return jsonError(err, dec, lines)
	}
	return nil
}

type cocoImage struct {
	ID       cocoID `json:"id"`
	FileName any    `json:"file_name"`
	Group    any    `json:"group"`
}

type cocoAnnotation struct {
	ImageID cocoID          `json:"image_id"`
	Caption json.RawMessage `json:"caption"`
}

// cocoID is a number or a string, kept as text; empty where it is neither. A whole
// number is the same id however it is written: 1 and 1.0.
type cocoID string

// UnmarshalJSON never fails: an element with a bad id is a bad row.
func (id *cocoID) UnmarshalJSON(b []byte) error {
	var s string
	var n json.Number
	switch {
	case len(b) > 0 && b[0] == '"':
		json.Unmarshal(b, &s)
	case json.Unmarshal(b, &n) == nil:
		s = n.String()
		if whole, ok := strings.CutSuffix(s, ".0"); ok {
			s = whole
		}
	}
	*id = cocoID(s)
	return nil
}

func decodeCOCO(dec *json.Decoder, pictures *pictureList) error {
	if err := expect(dec, json.Delim('{'), "an object with images and annotations"); err != nil {
		return err
	}
	seen := map[string]bool{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return err
		}
		switch key {
		case "images":
			err = eachElement(dec, "images", func(i int) error { return decodeCOCOImage(dec, i, pictures) })
		case "annotations":
			err = eachElement(
				dec, "annotations", func(i int) error { return decodeCOCOAnnotation(dec, i, pictures) },
			)
		default:
			err = skipValue(dec)
		}
		if err != nil {
			return err
		}
		seen[key.(string)] = true
	}
	if _, err := dec.Token(); err != nil { // the closing brace
		return err
	}
	for _, key := range []string{"images", "annotations"} {
		if !seen[key] {
			return fmt.Errorf("has no %q; is it in COCO's caption form?", key)
		}
	}
	return pictures.badMentioned()
}

func decodeCOCOImage(dec *json.Decoder, i int, pictures *pictureList) error {
	var im cocoImage
	if err := dec.Decode(&im); err != nil {
		return err
	}
	return pictures.orBad(fmt.Sprintf("images[%d]", i), im.list(pictures))
}

func (im cocoImage) list(pictures *pictureList) error {
	name, _ := im.FileName.(string)
	group, _ := im.Group.(string)
	if im.ID == "" {
		return badRow("needs an id, a number or a text, and file_name")
	}
	p := listed{ID: string(im.ID), Name: name, Group: group}
	if name == "" {
		p.Bad = fmt.Sprintf("image %s: needs file_name", im.ID)
	}
	at, added, err := pictures.add(p)
	if err != nil || added {
		return err
	}
	was, err := pictures.read(pictures.slots[at])
	if err != nil || was.Name == name {
		return err // the same picture once more
	}
	return badRow(fmt.Sprintf("id %s is there twice, of %s and of %s", im.ID, was.Name, name))
}

func decodeCOCOAnnotation(dec *json.Decoder, i int, pictures *pictureList) error {
	var an cocoAnnotation
	if err := dec.Decode(&an); err != nil {
		return err
	}
	return pictures.orBad(fmt.Sprintf("annotations[%d]", i), an.list(pictures))
}

func (an cocoAnnotation) list(pictures *pictureList) error {
	if an.ImageID == "" || an.Caption == nil {
		return badRow("needs image_id and caption (is this a file of captions?)")
	}
	captions, err := captionsOf(an.Caption)
	if err != nil {
		return badRow(fmt.Sprintf("caption of image_id %s %v", an.ImageID, err))
	}
	picture, err := pictures.mention(string(an.ImageID))
	for _, c := range captions {
		if err == nil {
			err = pictures.caption(picture, c)
		}
	}
	return err
}

func expect(dec *json.Decoder, want json.Delim, what string) error {
	t, err := dec.Token()
	if err != nil {
		return err
	}
	if t != want {
		return fmt.Errorf("expected %s, found %v", what, t)
	}
	return nil
}

// eachElement calls f before each element of the array that follows.
func eachElement(dec *json.Decoder, name string, f func(i int) error) error {
	if err := expect(dec, json.Delim('['), name+" to be a list"); err != nil {
		return err
	}
	for i := 0; dec.More(); i++ {
		if err := f(i); err != nil {
			return err
		}
	}
	_, err := dec.Token()
	return err
}

// skipValue passes over the next value, however large or deep.
func skipValue(dec *json.Decoder) error {
	for depth := 0; ; {
		t, err := dec.Token()
		if err != nil {
			return err
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}

// lineCounter remembers where lines begin, so that an error can name its line.
type lineCounter struct {
	r     io.Reader
	read  int64
	lines []int64 // offset after each newline
}

func (l *lineCounter) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	for i := 0; ; {
		j := bytes.IndexByte(p[i:n], '\n')
		if j < 0 {
			break
		}
		i += j + 1
		l.lines = append(l.lines, l.read+int64(i))
	}
	l.read += int64(n)
	return n, err
}

func (l *lineCounter) line(offset int64) int {
	n := 1
	for _, at := range l.lines {
		if at > offset {
			break
		}
		n++
	}
	return n
}

// jsonError says where decoding stopped. Errors of reading the file itself pass as they are.
func jsonError(err error, dec *json.Decoder, lines *lineCounter) error {
	offset := dec.InputOffset()
	at := func() string { return fmt.Sprintf("at byte %d (line %d)", offset, lines.line(offset)) }
	var syntax *json.SyntaxError
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("broken JSON: ends too early, after %d bytes", lines.read)
	case errors.As(err, &syntax):
		return fmt.Errorf("broken JSON %s: %w", at(), err)
	case errors.As(err, &wrong):
		field := wrong.Field
		if field == "" {
			field = "an element"
		}
		return fmt.Errorf("%s %s: is a %s, must be a %s", field, at(), wrong.Value, wrong.Type)
	}
	return err
}
