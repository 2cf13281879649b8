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
func readKarpathy(r io.Reader, name string) ([]listed, error) {
	lines := &lineCounter{r: r}
	dec := json.NewDecoder(lines)
	pictures, err := decodeKarpathy(dec)
	if err != nil {
		return nil, jsonError(err, dec, lines)
	}
	return pictures, nil
}

func decodeKarpathy(dec *json.Decoder) ([]listed, error) {
	if err := expect(dec, json.Delim('{'), "an object with images"); err != nil {
		return nil, err
	}
	var pictures []listed
	ids, found := map[string]bool{}, false
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, err
		}
		if key != "images" {
			if err := skipValue(dec); err != nil {
				return nil, err
			}
			continue
		}
		found = true
		err = eachElement(dec, "images", func(i int) error {
			var im karpathyImage
			if err := dec.Decode(&im); err != nil {
				return err
			}
			p, err := im.listed()
			if err == nil && ids[p.id] {
				err = fmt.Errorf("picture %s is there twice", p.id)
			}
			if err != nil {
				return fmt.Errorf("images[%d]: %w", i, err)
			}
			ids[p.id] = true
			pictures = append(pictures, p)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if _, err := dec.Token(); err != nil { // the closing brace
		return nil, err
	}
	if !found {
		return nil, fmt.Errorf("has no %q; is it one of Karpathy's split files?", "images")
	}
	return pictures, nil
}

func (im karpathyImage) listed() (listed, error) {
	if im.FileName == nil || *im.FileName == "" || im.Sentences == nil {
		return listed{}, fmt.Errorf("needs filename, split and sentences (is this one of Karpathy's split files?)")
	}
	split, ok := splitNames[strings.ToLower(im.Split)]
	if !ok {
		return listed{}, fmt.Errorf("split %q is none of %s", im.Split, knownSplits())
	}
	p := listed{id: *im.FileName, name: *im.FileName, split: split}
	if im.COCOID != "" {
		p.id = string(im.COCOID)
	}
	if im.FilePath != "" { // a packed folder begins below it
		p.name, p.also = im.FilePath+"/"+*im.FileName, *im.FileName
	}
	for i, s := range im.Sentences {
		if s.Raw == nil {
			return listed{}, fmt.Errorf("sentences[%d] has no raw text", i)
		}
		p.captions = append(p.captions, *s.Raw)
	}
	return p, nil
}
