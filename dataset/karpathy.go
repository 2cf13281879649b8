package dataset

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// karpathyImage is an entry of Karpathy's split files, dataset_coco.json and
// dataset_flickr30k.json: a picture with its captions and its split.
type karpathyImage struct {
	FileName  *string `json:"filename"`
	FilePath  string  `json:"filepath"` // COCO only: its folder
	COCOID    cocoID  `json:"cocoid"`   // COCO only
	Split     string  `json:"split"`
	Sentences []struct {
		Raw *string `json:"raw"`
	} `json:"sentences"`
}

// readKarpathy reads such a file as a stream. The split restval is training's.
func readKarpathy(r io.Reader, name string, pictures *pictureList) error {
	return readJSON(r, pictures, decodeKarpathy)
}

func decodeKarpathy(dec *json.Decoder, pictures *pictureList) error {
	if err := expect(dec, json.Delim('{'), "an object with images"); err != nil {
		return err
	}
	found := false
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return err
		}
		if key != "images" {
			if err := skipValue(dec); err != nil {
				return err
			}
			continue
		}
		found = true
		if err := eachElement(dec, "images", func(i int) error {
			return decodeKarpathyImage(dec, i, pictures)
		}); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil { // the closing brace
		return err
	}
	if !found {
		return fmt.Errorf("has no %q; is it one of Karpathy's split files?", "images")
	}
	return nil
}

func decodeKarpathyImage(dec *json.Decoder, i int, pictures *pictureList) error {
	var im karpathyImage
	if err := dec.Decode(&im); err != nil {
		return err
	}
	p, err := im.listed()
	if err == nil {
		var added bool
		if _, added, err = pictures.add(p); err == nil && !added {
			err = badRow(fmt.Sprintf("picture %s is there twice", p.ID))
		}
	}
	return pictures.orBad(fmt.Sprintf("images[%d]", i), err)
}

func (im karpathyImage) listed() (listed, error) {
	if im.FileName == nil || *im.FileName == "" || im.Sentences == nil {
		return listed{}, badRow("needs filename, split and sentences (is this one of Karpathy's split files?)")
	}
	split, ok := splitNames[strings.ToLower(im.Split)]
	if !ok {
		return listed{}, badRow(fmt.Sprintf("split %q is none of %s", im.Split, knownSplits()))
	}
	p := listed{ID: *im.FileName, Name: *im.FileName, Split: split}
	if im.COCOID != "" {
		p.ID = string(im.COCOID)
	}
	if im.FilePath != "" {
		p.Name = im.FilePath + "/" + *im.FileName
	}
	for i, s := range im.Sentences {
		if s.Raw == nil {
			return listed{}, badRow(fmt.Sprintf("sentences[%d] has no raw text", i))
		}
		p.Captions = append(p.Captions, *s.Raw)
	}
	return p, nil
}
