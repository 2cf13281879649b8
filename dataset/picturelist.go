package dataset

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"iter"
	"slices"
	"strings"
)

// listed is what a captions file says of one picture.
type listed struct {
	ID       string   `json:"id"`
	Name     string   `json:"name,omitempty"`
	Group    string   `json:"group,omitempty"`
	Split    string   `json:"split,omitempty"` // the source's own; empty: none
	Bad      string   `json:"bad,omitempty"`   // why it is no picture: a row that cannot be used
	Captions []string `json:"captions,omitempty"`
	Image    ImageRef `json:"image,omitzero"` // kind parquet
}

// pictureList gathers what captions files say, in the order pictures are first
// named. A picture takes some 60 bytes of memory, its id, names and captions lie in a spool.
type pictureList struct {
	file     string // being read, where a source has several; for messages
	textOnly int    // conversations without a picture

	unusedSplits map[string]int // rows by the split that they say themselves, where the config names no column of splits

	// Of a metadata file among the pictures: names in it are below its folder.
	folder, splitOfFolder string

	spool *spool
	slots []slot
	index map[idDigest]int32 // of slots
}

// slot is a picture: the record that names it, and the newest of its captions.
// Captions are chained backwards, since those of one picture may be anywhere in a file.
type slot struct {
	about   int64 // of listed; negative: only mentioned yet, and ^about is where its id is
	caption int64 // -1: none
	split   int8  // index into splitOrder, 0: none
}

// idDigest stands for a picture's id.
type idDigest [16]byte

func digestID(id string) (d idDigest) {
	sum := sha256.Sum256([]byte(id))
	copy(d[:], sum[:])
	return d
}

var splitOrder = []string{"", Train, Validation, Test}

func newPictureList(dir string) (*pictureList, error) {
	s, err := newSpool(dir)
	if err != nil {
		return nil, err
	}
	return &pictureList{spool: s, index: map[idDigest]int32{}}, nil
}

func (l *pictureList) close() { l.spool.close() }

// usualSplit is what a column of splits is called.
const usualSplit = "split"

// unusedSplit counts a row that says its split where nobody asked for it.
func (l *pictureList) unusedSplit(given string) {
	split := splitNames[strings.ToLower(strings.TrimSpace(given))]
	if split == "" || l.splitOfFolder != "" {
		return
	}
	if l.unusedSplits == nil {
		l.unusedSplits = map[string]int{}
	}
	l.unusedSplits[split]++
}

// splitsUnused warns of rows that say several splits, which the hashes of their pictures would mix: what is published
// as a test set would be trained on.
func (l *pictureList) splitsUnused(spec Spec, name string) []string {
	if len(l.unusedSplits) < 2 || spec.Split != "" {
		return nil
	}
	rows := 0
	for _, n := range l.unusedSplits {
		rows += n
	}
	advice := "split_column: split"
	if spec.Kind == "json" {
		advice = "kind: folder and " + advice
	}
	return warning(name, rows, "rows say whether they are for training, validation or test, which is not used; "+
		advice+" takes it")
}

// add takes a picture, unless one of its id is there already.
func (l *pictureList) add(p listed) (i int, added bool, err error) {
	if i, err = l.mention(p.ID); err != nil || l.slots[i].about >= 0 {
		return i, false, err
	}
	return i, true, l.set(i, p)
}

// append takes a picture whose id no other has, without remembering the id.
func (l *pictureList) append(p listed) error {
	l.slots = append(l.slots, slot{caption: -1})
	return l.set(len(l.slots)-1, p)
}

func (l *pictureList) set(i int, p listed) (err error) {
	l.slots[i].split = int8(slices.Index(splitOrder, p.Split))
	l.slots[i].about, err = l.spool.putJSON(p)
	return err
}

// mention is the number of an id that may not be listed yet.
func (l *pictureList) mention(id string) (int, error) {
	d := digestID(id)
	if i, ok := l.index[d]; ok {
		return int(i), nil
	}
	at, err := l.spool.put([]byte(id))
	l.index[d] = int32(len(l.slots))
	l.slots = append(l.slots, slot{about: ^at, caption: -1})
	return len(l.slots) - 1, err
}

// caption adds one behind those a picture has.
func (l *pictureList) caption(i int, text string) (err error) {
	s := &l.slots[i]
	record := binary.LittleEndian.AppendUint64(make([]byte, 0, 8+len(text)), uint64(s.caption))
	s.caption, err = l.spool.put(append(record, text...))
	return err
}

// all yields the pictures in the order they were added; it ends the list's use.
func (l *pictureList) all() iter.Seq2[listed, error] {
	return func(yield func(listed, error) bool) {
		l.index = nil
		slices.SortFunc(l.slots, func(a, b slot) int { return cmp.Compare(a.about, b.about) })
		for _, s := range l.slots {
			p, err := l.read(s)
			if !yield(p, err) || err != nil {
				return
			}
		}
	}
}

func (l *pictureList) read(s slot) (p listed, err error) {
	if err := l.spool.getJSON(s.about, &p); err != nil {
		return p, err
	}
	p.Split = splitOrder[s.split]
	if p.Bad != "" { // a row that is no picture: whoever prepares it counts it by its reason
		p.Image = ImageRef{File: -1, Missing: p.Bad}
		return p, nil
	}
	first := len(p.Captions)
	for at := s.caption; at >= 0; {
		record, err := l.spool.get(at)
		if err != nil {
			return p, err
		}
		at = int64(binary.LittleEndian.Uint64(record))
		p.Captions = append(p.Captions, string(record[8:]))
	}
	slices.Reverse(p.Captions[first:])
	return p, nil
}
