package dataset

import (
	"errors"
	"fmt"
)

// badRow is why a row, line or element of a captions file cannot be used. It is
// counted beside the unreadable pictures; the rest of the file is used.
type badRow string

func (e badRow) Error() string { return string(e) }

// orBad lists what a row at this place is bad for, and passes on every other error.
func (l *pictureList) orBad(place string, err error) error {
	var why badRow
	if !errors.As(err, &why) {
		return err
	}
	return l.bad(place, string(why))
}

// bad lists a row that cannot be used as an example without a picture, so that
// whoever prepares the pictures counts it and keeps the reason.
func (l *pictureList) bad(place, why string) error {
	if l.file != "" {
		place = l.file + " " + place
	}
	return l.append(listed{ID: place, Bad: fmt.Sprintf("%s: %s", place, why)})
}

// badMentioned lists the ids that annotations mention and no picture has.
func (l *pictureList) badMentioned() error {
	for i, s := range l.slots {
		if s.about >= 0 {
			continue
		}
		id, err := l.spool.get(^s.about)
		if err != nil {
			return err
		}
		name := string(id)
		p := listed{
			ID: name, Bad: fmt.Sprintf("annotations name image_id %s, which images does not list", name),
		}
		if err := l.set(i, p); err != nil {
			return err
		}
	}
	return nil
}
