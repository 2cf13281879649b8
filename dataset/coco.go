package dataset

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
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
	lines := &lineCounter{r: r}
	dec := json.NewDecoder(lines)
	if err := decode(dec, pictures); err != nil {
		return jsonError(err, dec, lines)
	}
	return nil
}

type cocoImage struct {
	ID       cocoID  `json:"id"`
	FileName *string `json:"file_name"`
	Group    string  `json:"group"`
}

type cocoAnnotation struct {
	ImageID cocoID  `json:"image_id"`
	Caption *string `json:"caption"`
}

// cocoID is a number or a string, kept as text.
type cocoID string

func (id *cocoID) UnmarshalJSON(b []byte) error {
	var s string
	if len(b) > 0 && b[0] == '"' {
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
	} else {
		var n json.Number
		if err := json.Unmarshal(b, &n); err != nil {
			return errors.New("an id is neither a number nor a string")
		}
		s = n.String()
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
			err = eachElement(dec, "annotations", func(i int) error { return decodeCOCOAnnotation(dec, i, pictures) })
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
	id, err := pictures.unlisted()
	if err == nil && id != "" {
		err = fmt.Errorf("annotations name image_id %s, which images does not list", id)
	}
	return err
}

func decodeCOCOImage(dec *json.Decoder, i int, pictures *pictureList) error {
	var im cocoImage
	if err := dec.Decode(&im); err != nil {
		return err
	}
	if im.ID == "" || im.FileName == nil || *im.FileName == "" {
		return fmt.Errorf("images[%d]: needs id and file_name", i)
	}
	_, added, err := pictures.add(listed{ID: string(im.ID), Name: *im.FileName, Group: im.Group})
	if err == nil && !added {
		err = fmt.Errorf("images[%d]: id %s is there twice", i, im.ID)
	}
	return err
}

func decodeCOCOAnnotation(dec *json.Decoder, i int, pictures *pictureList) error {
	var an cocoAnnotation
	if err := dec.Decode(&an); err != nil {
		return err
	}
	if an.ImageID == "" || an.Caption == nil {
		return fmt.Errorf("annotations[%d]: needs image_id and caption (is this a file of captions?)", i)
	}
	picture, err := pictures.mention(string(an.ImageID))
	if err != nil {
		return err
	}
	return pictures.caption(picture, *an.Caption)
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
	case strings.HasPrefix(err.Error(), "an id"):
		return fmt.Errorf("%w, %s", err, at())
	}
	return err
}
