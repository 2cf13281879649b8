package dataset

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// jsonObject is a line, or an element of a list: keys and values not looked at yet.
type jsonObject map[string]json.RawMessage

// readJSONL reads a picture and captions a line. Keys have the names of a table's
// columns; caption and captions may both be there. A line may be a conversation as
// LLaVA's, too.
func readJSONL(b *bufio.Reader, spec Spec, pictures *pictureList) error {
	return eachLine(b, pictures, func(text string) error {
		var o jsonObject
		if err := json.Unmarshal([]byte(text), &o); err != nil {
			return badRow(fmt.Sprintf("broken JSON: %v", err))
		}
		return o.add(spec, pictures)
	})
}

// jsonReader reads a JSON file whose form is told by how it begins: a list, or an object whose keys are pictures, is of
// kind folder, an object with sentences of kind karpathy, any other of kind coco.
func jsonReader(spec Spec) captionsReader {
	return func(r io.Reader, name string, pictures *pictureList) error {
		b, start, err := jsonStart(r)
		switch {
		case err != nil:
			return err
		case bytes.HasPrefix(start, []byte("[")):
			return readJSONList(spec)(b, name, pictures)
		case keyIsPicture(start):
			return readByName(b, spec, pictures)
		case bytes.Contains(start, []byte(`"sentences"`)):
			return readKarpathy(b, name, pictures)
		}
		return readCOCO(b, name, pictures)
	}
}

// jsonStart is a reader and how its JSON begins.
func jsonStart(r io.Reader) (*bufio.Reader, []byte, error) {
	b, head, err := peeked(r)
	return b, bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf")), " \t\r\n"), err
}

// firstKey is how a JSON object begins.
var firstKey = regexp.MustCompile(`^\{\s*("(?:[^"\\]|\\.)*")\s*:`)

// keyIsPicture says whether a file begins as an object whose keys are the names of pictures.
func keyIsPicture(start []byte) bool {
	var key string
	m := firstKey.FindSubmatch(start)
	return m != nil && json.Unmarshal(m[1], &key) == nil && IsPicture(key)
}

// readJSONFile reads a list of such objects, or an object of them by the names of their pictures.
func readJSONFile(spec Spec) captionsReader {
	return func(r io.Reader, name string, pictures *pictureList) error {
		b, start, err := jsonStart(r)
		switch {
		case err != nil:
			return err
		case keyIsPicture(start):
			return readByName(b, spec, pictures)
		}
		return readJSONList(spec)(b, name, pictures)
	}
}

// readByName reads what decodeByName does.
func readByName(r io.Reader, spec Spec, pictures *pictureList) error {
	return readJSON(r, pictures, func(dec *json.Decoder, pictures *pictureList) error {
		return decodeByName(dec, spec, pictures)
	})
}

// decodeByName reads an object whose keys are the names of pictures and whose values are a caption, a list of them, or
// an object with some under a usual key, as kohya's meta_cap.json has them.
func decodeByName(dec *json.Decoder, spec Spec, pictures *pictureList) error {
	if err := expect(dec, json.Delim('{'), "an object of pictures"); err != nil {
		return err
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return err
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return err
		}
		name := key.(string)
		if err := pictures.orBad(name, addByName(name, value, spec, pictures)); err != nil {
			return err
		}
	}
	_, err := dec.Token() // the closing brace
	return err
}

func addByName(name string, value json.RawMessage, spec Spec, pictures *pictureList) error {
	const imageKey = "image"
	var o jsonObject
	if !bytes.HasPrefix(value, []byte("{")) {
		o = jsonObject{"caption": value}
	} else if err := json.Unmarshal(value, &o); err != nil {
		return badRow(fmt.Sprintf("broken JSON: %v", err))
	}
	quoted, err := json.Marshal(name)
	if err != nil {
		return err
	}
	o[imageKey] = quoted
	spec.Columns.Image = imageKey
	return o.add(spec, pictures)
}

// readJSONList reads a list of such objects.
func readJSONList(spec Spec) captionsReader {
	return func(r io.Reader, name string, pictures *pictureList) error {
		return readJSON(r, pictures, func(dec *json.Decoder, pictures *pictureList) error {
			return eachElement(dec, "it", func(i int) error {
				var o jsonObject
				err := dec.Decode(&o)
				var wrong *json.UnmarshalTypeError
				if errors.As(err, &wrong) {
					err = badRow("is a " + wrong.Value + ", not an object")
				}
				if err == nil {
					err = o.add(spec, pictures)
				}
				return pictures.orBad(fmt.Sprintf("[%d]", i), err)
			})
		})
	}
}

func (o jsonObject) add(spec Spec, pictures *pictureList) error {
	if !o.fits(spec.Where) {
		return nil
	}
	if key := o.first(conversationKeys); key != "" && len(spec.Columns.Captions) == 0 {
		return o.addConversation(key, spec, pictures)
	}
	imageKey := spec.Columns.Image
	if imageKey == "" {
		imageKey = o.first(tableImages)
	}
	image, err := o.picture(imageKey)
	if errors.Is(err, errSeveralPictures) {
		return err
	}
	if err != nil || image == "" {
		return badRow(
			"needs image, and caption or captions; other keys are named by image_column and caption_columns",
		)
	}
	captions, err := o.captions(spec, imageKey)
	if err != nil {
		return err
	}
	group, _ := o.text("group")
	split := ""
	if spec.Columns.Split != "" {
		given, _ := o.text(spec.Columns.Split)
		var ok bool
		if split, ok = splitNames[strings.ToLower(given)]; !ok {
			return badRow(fmt.Sprintf("split %q (%s) is none of %s", given, spec.Columns.Split, knownSplits()))
		}
	} else if given, err := o.text(usualSplit); err == nil {
		pictures.unusedSplit(given)
	}
	return pictures.named(image, group, split, captions...)
}

// captions are those under the keys that the config names, or the usual ones, or the
// only key beside the picture's.
func (o jsonObject) captions(spec Spec, imageKey string) (captions []string, err error) {
	if spec.Caption != "" {
		return nil, nil
	}
	keys := spec.Columns.Captions
	if len(keys) == 0 {
		if keys = o.usualCaptions(imageKey); len(keys) == 0 {
			return nil, badRow(
				"needs image, and caption or captions; other keys are named by image_column and caption_columns",
			)
		}
	}
	return o.captionsUnder(keys)
}

// captionsUnder are the captions under all of these keys; each has to have some.
func (o jsonObject) captionsUnder(keys []string) (captions []string, err error) {
	for _, key := range keys {
		texts, err := captionsOf(o[key])
		if err != nil {
			return nil, badRow(fmt.Sprintf("%s %v", key, err))
		}
		captions = append(captions, texts...)
	}
	return captions, nil
}

// fits says whether all conditions hold for the object.
func (o jsonObject) fits(where []Condition) bool {
	for _, c := range where {
		if value, _ := o.text(c.Column); !c.holds(value) {
			return false
		}
	}
	return true
}

func (o jsonObject) usualCaptions(imageKey string) (keys []string) {
	for _, key := range []string{"caption", "captions"} {
		if _, ok := o[key]; ok {
			keys = append(keys, key)
		}
	}
	if len(keys) > 0 {
		return keys
	}
	if key := o.first(tableCaptions); key != "" {
		return []string{key}
	}
	for key := range o {
		if key != imageKey && key != "group" {
			keys = append(keys, key)
		}
	}
	if len(keys) != 1 {
		return nil
	}
	return keys
}

// first is the first of these names that is a key.
func (o jsonObject) first(names []string) string {
	i := slices.IndexFunc(names, func(name string) bool { _, ok := o[name]; return ok })
	if i < 0 {
		return ""
	}
	return names[i]
}

// text is a value as text: a string, or a number or truth value as it is written.
func (o jsonObject) text(key string) (string, error) {
	raw := bytes.TrimSpace(o[key])
	if len(raw) == 0 || string(raw) == "null" {
		return "", nil
	}
	if raw[0] == '[' || raw[0] == '{' {
		return "", fmt.Errorf("%s is no text", key)
	}
	if raw[0] != '"' {
		return string(raw), nil
	}
	var s string
	err := json.Unmarshal(raw, &s)
	return s, err
}

// picture is the name of a picture: a text, or a list of one.
func (o jsonObject) picture(key string) (string, error) {
	var list []string
	switch {
	case !bytes.HasPrefix(bytes.TrimSpace(o[key]), []byte("[")):
		return o.text(key)
	case json.Unmarshal(o[key], &list) != nil:
		return "", fmt.Errorf("%s is no list of names", key)
	case len(list) > 1:
		return "", errSeveralPictures
	}
	return strings.Join(list, ""), nil
}

// captionsOf reads a text or a list of texts; other values are errors.
func captionsOf(raw json.RawMessage) ([]string, error) {
	raw = bytes.TrimSpace(raw)
	var one string
	var list []*string
	switch {
	case len(raw) == 0:
		return nil, badRow("is missing")
	case raw[0] == '"':
		if err := json.Unmarshal(raw, &one); err != nil {
			return nil, badRow(fmt.Sprintf("is broken: %v", err))
		}
		return []string{one}, nil
	case raw[0] != '[' || json.Unmarshal(raw, &list) != nil || slices.Contains(list, nil):
		return nil, badRow(fmt.Sprintf("is %.40s; must be a text or a list of texts", raw))
	}
	captions := make([]string, len(list))
	for i, text := range list {
		captions[i] = *text
	}
	return captions, nil
}
