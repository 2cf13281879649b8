package dataset

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// listTars lists WebDataset shards, such as img2dataset writes: tar files in which a
// picture and its captions stand next to each other under one name, 000000010.jpg and
// 000000010.txt or .json. https://github.com/webdataset/webdataset has the form: what
// follows the first dot of a member's name says what it is, what precedes it is the key.
func listTars(ctx context.Context, dir string, spec Spec, files []File, g *gathering) error {
	pictures, err := newPictureList(dir)
	if err != nil {
		return err
	}
	defer pictures.close()
	names := fileNames(files)
	for i, f := range files {
		if f.Role != RoleFiles {
			continue
		}
		t := tarList{spec: spec, pictures: pictures, file: i, name: names[i]}
		if err := t.read(ctx, f); err != nil {
			return fmt.Errorf("file %s: %w", f.Name, err)
		}
	}
	if len(pictures.slots) == 0 {
		return errors.New("dataset kind webdataset: the files hold no pictures")
	}
	g.name = "WebDataset files"
	bad, first := 0, ""
	for p, err := range pictures.all() {
		if err != nil {
			return err
		}
		if p.Bad != "" {
			bad++
			first = cmp.Or(first, p.Bad)
		}
		if err := g.add(p); err != nil {
			return err
		}
	}
	if bad == len(pictures.slots) {
		return fmt.Errorf("%s: none of the %d samples can be used; the first: %s", g.name, bad, first)
	}
	g.noted = warning(g.name, bad, "samples cannot be used; the first: "+first)
	return nil
}

// tarList lists one shard.
type tarList struct {
	spec     Spec
	pictures *pictureList
	file     int
	name     string // of the file, for ids
}

// tarSample is the members of one key.
type tarSample struct {
	key, image string // image: the picture's member; empty: none
	at         Entry
	several    bool
	texts      map[string][]byte // .txt, .caption and .json members
	bad        string
	passed     string // a member that would be the picture, had its name one dot
}

// tarTexts are the members that hold captions, in the order of choice.
var tarTexts = []string{".txt", ".caption", ".json"}

func (l *tarList) read(ctx context.Context, f File) error {
	r, size, closer, err := f.Open(ctx)
	if err != nil {
		return err
	}
	defer closer.Close()
	section := io.NewSectionReader(&blockReader{r: sourceReader{r}, size: size}, 0, size)
	if err := notCompressed(section); err != nil {
		return err
	}
	members := tar.NewReader(section)
	var sample *tarSample
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := members.Next()
		if errors.Is(err, io.EOF) {
			return l.add(sample)
		}
		at, seekErr := section.Seek(0, io.SeekCurrent)
		if err != nil || seekErr != nil {
			return tarError(err, at, size)
		}
		name := strings.TrimPrefix(path.Clean("/"+slashed(validName(h.Name))), "/")
		if h.Typeflag != tar.TypeReg || strings.HasPrefix(path.Base(name), ".") {
			continue
		}
		if at+h.Size > size {
			return tarError(io.ErrUnexpectedEOF, at, size)
		}
		key, ext := tarKey(name)
		if sample == nil || sample.key != key {
			if err := l.add(sample); err != nil {
				return err
			}
			sample = &tarSample{key: key, texts: map[string][]byte{}}
		}
		if err := sample.member(name, ext, at, h, members); err != nil {
			return tarError(err, at, size)
		}
	}
}

// notCompressed names a tar file that is packed as a whole: pictures are read from where they lie in it, in any order.
func notCompressed(section *io.SectionReader) error {
	head := make([]byte, 6)
	if _, err := section.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	for _, c := range []struct{ magic, name, command string }{
		{"\x1f\x8b", "gzip", "gunzip"}, {"BZh", "bzip2", "bunzip2"}, {"\xfd7zXZ\x00", "xz", "unxz"},
		{"\x28\xb5\x2f\xfd", "zstd", "unzstd"},
	} {
		if bytes.HasPrefix(head, []byte(c.magic)) {
			return fmt.Errorf("a tar file compressed by %s, in which no picture can be found without unpacking all before it: "+
				"%s it first (pictures hardly get smaller)", c.name, c.command)
		}
	}
	return nil
}

func tarError(err error, at, size int64) error {
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("a tar file cut short: its %d bytes end within a member", size)
	case errors.Is(err, tar.ErrHeader):
		return fmt.Errorf("no tar file, or a damaged one: no header at byte %d", at)
	}
	return err
}

// tarKey cuts a member's name at the first dot of its last element.
func tarKey(name string) (key, ext string) {
	folder, base := path.Split(name)
	stem, rest, _ := strings.Cut(base, ".")
	return folder + stem, "." + strings.ToLower(rest)
}

// member takes one file of the sample.
func (s *tarSample) member(name, ext string, at int64, h *tar.Header, r io.Reader) error {
	last := path.Ext(ext) // 10.seg.png is no picture of the sample, 10.input.txt no caption
	switch {
	case last != ext && slices.Contains(pictureExtensions, last):
		s.passed = cmp.Or(s.passed, name)
	case last == ext && slices.Contains(pictureExtensions, ext):
		s.several = s.several || s.image != ""
		s.image, s.at = name, Entry{Header: at, Packed: h.Size, Size: h.Size, Method: methodRaw}
		if h.PAXRecords["GNU.sparse.major"] != "" || h.PAXRecords["GNU.sparse.map"] != "" {
			s.bad = "a sparse file"
		}
	case last == ext && slices.Contains(tarTexts, ext):
		if h.Size > maxTextBytes {
			s.bad = fmt.Sprintf("%s has %d bytes; %d are the most", ext, h.Size, maxTextBytes)
			return nil
		}
		text, err := io.ReadAll(r)
		s.texts[ext] = text
		return err
	}
	return nil
}

// add lists a sample that is complete.
func (l *tarList) add(s *tarSample) error {
	if s == nil || s.image == "" && s.passed == "" && len(s.texts) == 0 {
		return nil
	}
	id := l.name + "/" + s.key
	p := listed{ID: id, Name: s.image, Image: ImageRef{File: l.file, Name: s.image, Entry: &s.at}}
	captions, used, err := s.captions(l.spec)
	var why badRow
	switch {
	case err == nil && !used:
		return nil
	case s.bad != "":
		p.Bad = s.bad
	case s.image == "" && s.passed != "":
		p.Bad = fmt.Sprintf("has no picture: that of %s is another one's, since what follows the first dot of a member's "+
			"name says what it is; names of pictures may have no dots", s.passed)
	case s.image == "":
		p.Bad = "captions without a picture"
	case s.several:
		p.Bad = "several pictures of one name"
	case errors.As(err, &why):
		p.Bad = string(why)
	case err != nil:
		return err
	}
	if p.Bad != "" {
		return l.pictures.bad(id, p.Bad)
	}
	p.Captions = captions
	_, added, err := l.pictures.add(p)
	if err == nil && !added {
		err = l.pictures.bad(id, "is there twice: members of one name have to stand together")
	}
	return err
}

// captions are the lines of the text, or what the JSON holds under the config's keys or
// the usual ones. used is false where the config's conditions do not hold.
func (s *tarSample) captions(spec Spec) (captions []string, used bool, err error) {
	var o jsonObject
	if raw, ok := s.texts[".json"]; ok {
		if err := json.Unmarshal(raw, &o); err != nil && (len(spec.Where) > 0 || len(s.texts) == 1) {
			return nil, true, badRow(fmt.Sprintf("broken JSON: %v", err))
		}
	}
	if !o.fits(spec.Where) {
		return nil, false, nil
	}
	if spec.Caption != "" {
		return nil, true, nil
	}
	if len(spec.Columns.Captions) == 0 {
		for _, ext := range tarTexts[:2] {
			if text, ok := s.texts[ext]; ok {
				captions, err := captionLines(text)
				return captions, true, err
			}
		}
	}
	if o == nil {
		return nil, true, nil // counted as a picture without captions
	}
	keys := spec.Columns.Captions
	if len(keys) == 0 {
		key := o.first(tableCaptions)
		if key == "" {
			return nil, true,
				badRow("its .json has no captions under a usual key; name it with caption_columns")
		}
		keys = []string{key}
	}
	captions, err = o.captionsUnder(keys)
	return captions, true, err
}
