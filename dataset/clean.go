package dataset

import "strings"

// Clean is what is done to a source's captions before they are used; the zero
// value does nothing but collapse white space.
type Clean struct {
	Lower       bool `json:"lower,omitempty"`        // to lower case
	StripPeriod bool `json:"strip_period,omitempty"` // remove periods at the end, and the space before them
	MinWords    int  `json:"min_words,omitempty"`    // leave out shorter captions; 0: none
	MaxWords    int  `json:"max_words,omitempty"`    // leave out longer captions; 0: none
	First       bool `json:"first,omitempty"`        // of what is left, only each picture's first caption
	Raw         bool `json:"raw,omitempty"`          // keep white space as it is
}

// unfit is why a caption is left out.
type unfit int

const (
	fits unfit = iota
	isEmpty
	tooShort
	tooLong
)

// apply cleans one caption.
func (c Clean) apply(caption string) (string, unfit) {
	caption = strings.ToValidUTF8(caption, "\uFFFD")
	words := strings.Fields(caption)
	if !c.Raw {
		caption = strings.Join(words, " ")
	}
	if c.Lower {
		caption = strings.ToLower(caption)
	}
	if c.StripPeriod {
		caption = strings.TrimRight(caption, ". \t\r\n")
		words = strings.Fields(caption)
	}
	switch {
	case len(words) == 0:
		return "", isEmpty
	case len(words) < c.MinWords:
		return "", tooShort
	case c.MaxWords > 0 && len(words) > c.MaxWords:
		return "", tooLong
	}
	return caption, fits
}
