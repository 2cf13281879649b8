package metrics

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// References are the captions that people wrote for pictures, from a file.
type References struct {
	ids      []string // of the pictures, in the file's order
	captions map[string][]string
}

// ReadReferences reads an annotation file in COCO's caption form,
//
//	{"images": [{"id"}], "annotations": [{"image_id", "caption"}]}
//
// other keys are skipped. Pictures keep the order of images, or of annotations
// where images is missing.
func ReadReferences(r io.Reader) (*References, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	var file struct {
		Images []struct {
			ID fileID `json:"id"`
		} `json:"images"`
		Annotations *[]captionOf `json:"annotations"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, atLine(data, err)
	}
	if file.Annotations == nil {
		return nil, errors.New(
			`no "annotations": want COCO's caption form, ` +
				`{"images": [{"id"}], "annotations": [{"image_id", "caption"}]}`,
		)
	}
	refs := &References{captions: map[string][]string{}}
	known := map[string]bool{}
	add := func(id string) {
		if id != "" && !known[id] {
			known[id] = true
			refs.ids = append(refs.ids, id)
		}
	}
	for _, image := range file.Images {
		add(string(image.ID))
	}
	for i, a := range *file.Annotations {
		if err := a.check(); err != nil {
			return nil, fmt.Errorf("annotation %d: %w", i+1, err)
		}
		id := string(a.ImageID)
		add(id)
		refs.captions[id] = append(refs.captions[id], *a.Caption)
	}
	return refs, nil
}

// captionOf is a picture's caption: an annotation or a prediction.
type captionOf struct {
	ImageID    fileID   `json:"image_id"`
	Caption    *string  `json:"caption"`
	TokenIDs   []int32  `json:"token_ids"`
	References []string `json:"references"`
}

func (c captionOf) check() error {
	if c.ImageID == "" {
		return errors.New("it has no image_id")
	}
	if c.Caption == nil {
		return fmt.Errorf("it has no caption (image %s)", c.ImageID)
	}
	return nil
}

// fileID is a number or a string, kept as text.
type fileID string

func (id *fileID) UnmarshalJSON(b []byte) error {
	var text string
	if b[0] == '"' {
		if err := json.Unmarshal(b, &text); err != nil {
			return err
		}
	} else {
		var n json.Number
		if err := json.Unmarshal(b, &n); err != nil {
			return fmt.Errorf("id %s is neither a number nor a string", b)
		}
		text = n.String()
	}
	*id = fileID(text)
	return nil
}

// ReadPredictions reads captions in COCO's results form, a list of {"image_id",
// "caption"}, or such objects as JSON lines, which may also have token_ids and
// references, as distilvit evaluate --predictions writes them.
func ReadPredictions(r io.Reader) ([]Prediction, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	list, err := decodePredictions(data)
	if err != nil {
		return nil, atLine(data, err)
	}
	if len(list) == 0 {
		return nil, errors.New(`no predictions in it: want [{"image_id", "caption"}, ...] or JSON lines`)
	}
	first := map[fileID]int{}
	out := make([]Prediction, len(list))
	for i, p := range list {
		if err := p.check(); err != nil {
			return nil, fmt.Errorf("prediction %d: %w", i+1, err)
		}
		if at, twice := first[p.ImageID]; twice {
			return nil, fmt.Errorf("image %s has two predictions, number %d and %d: keep one",
				p.ImageID, at, i+1)
		}
		first[p.ImageID] = i + 1
		out[i] = Prediction{
			ImageID: string(p.ImageID), Caption: *p.Caption, TokenIDs: p.TokenIDs, References: p.References,
		}
	}
	return out, nil
}

func decodePredictions(data []byte) (list []captionOf, err error) {
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("[")) {
		return list, json.Unmarshal(data, &list)
	}
	for lines := json.NewDecoder(bytes.NewReader(data)); ; {
		var p captionOf
		switch err := lines.Decode(&p); {
		case errors.Is(err, io.EOF):
			return list, nil
		case err != nil:
			return nil, &offsetError{offset: lines.InputOffset(), err: err}
		}
		list = append(list, p)
	}
}

// offsetError says where a decoder of several values stood: the offsets in its
// own errors are relative to something else.
type offsetError struct {
	offset int64
	err    error
}

func (e *offsetError) Error() string { return e.err.Error() }

// atLine says in which line of data a JSON error is.
func atLine(data []byte, err error) error {
	offset := int64(-1)
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	var at *offsetError
	switch {
	case errors.As(err, &at):
		rest := data[at.offset:]
		offset = at.offset + int64(len(rest)-len(bytes.TrimLeft(rest, " \t\r\n")))
	case errors.As(err, &syntax):
		offset = syntax.Offset
	case errors.As(err, &kind):
		offset = kind.Offset
	}
	text := strings.TrimPrefix(err.Error(), "json: ")
	if text == "unexpected EOF" {
		text = "unexpected end of JSON input"
	}
	if offset < 0 {
		return errors.New(text)
	}
	return fmt.Errorf("line %d: %s", 1+bytes.Count(data[:min(offset, int64(len(data)))], []byte("\n")), text)
}

// Match gives predictions the references of their pictures, in the order of the
// references' file, and says how many pictures of it have no prediction. It is an
// error where a prediction has no reference.
func (r *References) Match(predictions []Prediction) (matched []Prediction, left int, err error) {
	byID := map[string]Prediction{}
	for i, p := range predictions {
		if len(r.captions[p.ImageID]) == 0 {
			return nil, 0, fmt.Errorf("image %s (prediction %d) has no reference", p.ImageID, i+1)
		}
		byID[p.ImageID] = p
	}
	for _, id := range r.ids {
		p, ok := byID[id]
		if !ok {
			left++
			continue
		}
		p.References = r.captions[id]
		matched = append(matched, p)
	}
	return matched, left, nil
}
