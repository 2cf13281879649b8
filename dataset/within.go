package dataset

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// maxTextBytes bounds a text file beside a picture.
const maxTextBytes = 1 << 20

// textExtensions are those of captions beside a picture, in the order of choice.
var textExtensions = []string{".caption", ".txt"}

// IsCaptionsWithin says whether a file among the pictures holds captions: the
// metadata file of the datasets library's image folders, or a text beside a picture.
func IsCaptionsWithin(name string) bool {
	base := strings.ToLower(path.Base(name))
	return isMetadata(base) || slices.Contains(textExtensions, path.Ext(base)) && !isNotice(base)
}

func isMetadata(base string) bool { return base == "metadata.csv" || base == "metadata.jsonl" }

// isNotice says whether a text is about the whole folder.
func isNotice(base string) bool {
	return slices.Contains([]string{"readme", "license", "licence", "notice", "classes"}, stem(base))
}

// listWithin lists image archives that hold the captions, too: in the metadata
// files of the datasets library's image folders, or else in a text beside each picture,
// a caption a line. A folder called train, test, validation or the like says what
// split is below it.
func listWithin(ctx context.Context, dir string, spec Spec, files []File, g *gathering) error {
	w := &within{spec: spec, files: files}
	if err := w.find(ctx); err != nil {
		return err
	}
	pictures, err := newPictureList(dir)
	if err != nil {
		return err
	}
	defer pictures.close()
	if len(w.metadata) > 0 {
		err = w.readMetadata(ctx, pictures)
	} else {
		err = w.readTexts(ctx, pictures)
	}
	if err != nil {
		return err
	}
	if len(pictures.slots) == 0 {
		return fmt.Errorf("the images of kind %s hold no pictures", spec.Kind)
	}
	archives, err := openArchives(ctx, dir, files)
	if err != nil {
		return err
	}
	defer archives.close()
	g.name = "the images"
	return g.join(pictures, archives)
}

// within is what the archives hold beside pictures.
type within struct {
	spec     Spec
	files    []File
	metadata []captionsAt
	texts    []captionsAt
	pictures []string
}

// captionsAt is a file of captions in an archive.
type captionsAt struct {
	file int
	name string
	at   Entry
}

// find lists the archives' entries.
func (w *within) find(ctx context.Context) error {
	for i, f := range w.files {
		if f.Role != RoleImages {
			continue
		}
		a, err := openArchive(ctx, f)
		if err != nil {
			return err
		}
		err = a.each(func(name string, e Entry) error {
			name = slashed(validName(name))
			base := strings.ToLower(path.Base(name))
			switch {
			case strings.HasPrefix(name, "__MACOSX/") || strings.HasPrefix(base, "."):
			case isMetadata(base):
				w.metadata = append(w.metadata, captionsAt{i, name, e})
			case IsCaptionsWithin(name):
				w.texts = append(w.texts, captionsAt{i, name, e})
			case IsPicture(name):
				w.pictures = append(w.pictures, name)
			}
			return nil
		})
		if err := errors.Join(err, a.closer.Close()); err != nil {
			return err
		}
	}
	w.pictures = withoutConverted(w.pictures)
	return nil
}

// splitAbove is the split that a folder of the path names; empty: none does.
func splitAbove(name string) string {
	for folder := range strings.SplitSeq(path.Dir(name), "/") {
		if split := splitNames[strings.ToLower(folder)]; split != "" {
			return split
		}
	}
	return ""
}

// each opens every archive once and calls f with the contents of what lies in
// it, in the order in which they lie there.
func (w *within) each(
	ctx context.Context, all []captionsAt, most int64, f func(p captionsAt, text []byte) error,
) error {
	slices.SortStableFunc(all, func(a, b captionsAt) int {
		return cmp.Or(cmp.Compare(a.file, b.file), cmp.Compare(a.at.Header, b.at.Header))
	})
	for first := 0; first < len(all); {
		last := first
		for last < len(all) && all[last].file == all[first].file {
			last++
		}
		a, err := openArchive(ctx, w.files[all[first].file])
		if err != nil {
			return err
		}
		blocks := &blockReader{r: a.r, size: a.size}
		for _, p := range all[first:last] {
			var text []byte
			if p.at.Size > most || p.at.Packed > most {
				err = fmt.Errorf("%d bytes; %d are the most that captions may have here", p.at.Size, most)
			} else {
				text, err = readEntry(blocks, p.at)
			}
			if err == nil {
				err = ctx.Err()
			}
			if err == nil {
				err = f(p, text)
			}
			if err != nil {
				err = fmt.Errorf("%s in %s: %w", p.name, a.name, err)
				break
			}
		}
		if err := errors.Join(err, a.closer.Close()); err != nil {
			return err
		}
		first = last
	}
	return nil
}

// readMetadata reads the metadata files: names in them are below their own folder.
func (w *within) readMetadata(ctx context.Context, pictures *pictureList) error {
	return w.each(ctx, w.metadata, maxPictureBytes, func(p captionsAt, text []byte) error {
		pictures.file, pictures.folder, pictures.splitOfFolder = p.name, path.Dir(p.name), splitAbove(p.name)
		defer func() { pictures.file, pictures.folder, pictures.splitOfFolder = "", "", "" }()
		return folderReader(w.spec)(bytes.NewReader(text), p.name, pictures)
	})
}

// readTexts lists every picture with the lines of its text.
func (w *within) readTexts(ctx context.Context, pictures *pictureList) error {
	for _, name := range w.pictures {
		if _, _, err := pictures.add(listed{ID: name, Name: name, Split: splitAbove(name)}); err != nil {
			return err
		}
	}
	beside := picturesBeside{list: pictures, names: w.pictures}
	return w.each(ctx, w.chosenTexts(), maxTextBytes, func(p captionsAt, text []byte) error {
		captions, err := captionLines(text)
		if err != nil {
			return pictures.orBad(p.name, err)
		}
		i, err := beside.find(p.name)
		if err != nil {
			return pictures.orBad(p.name, err)
		}
		for _, caption := range captions {
			if err := pictures.caption(i, caption); err != nil {
				return err
			}
		}
		return nil
	})
}

// picturesBeside finds the pictures that texts are about.
type picturesBeside struct {
	list   *pictureList
	names  []string
	folded map[string][]string // names by what folded makes of their stems; made when first wanted
}

// find answers the picture that a text is about: that of its name but for the extension, or with that (photo.jpg.txt);
// else the only one of such a name without regard to case and to how accents are encoded.
func (b *picturesBeside) find(text string) (int, error) {
	about := stem(text)
	if i, ok := b.list.index[digestID(about)]; ok {
		return int(i), nil
	}
	for _, ext := range pictureExtensions {
		for _, name := range []string{about + ext, about + strings.ToUpper(ext)} {
			if i, ok := b.list.index[digestID(name)]; ok {
				return int(i), nil
			}
		}
	}
	if b.folded == nil {
		b.folded = map[string][]string{}
		for _, name := range b.names {
			b.folded[folded(stem(name))] = append(b.folded[folded(stem(name))], name)
		}
	}
	found := b.folded[folded(about)]
	if len(found) == 0 && IsPicture(about) {
		found = slices.DeleteFunc(slices.Clone(b.folded[folded(stem(about))]),
			func(name string) bool { return folded(name) != folded(about) })
	}
	switch len(found) {
	case 0:
		return 0, badRow("there is no picture of this name beside it")
	case 1:
		return int(b.list.index[digestID(found[0])]), nil
	}
	return 0, badRow(fmt.Sprintf("may be about %s or %s", found[0], found[1]))
}

// captionLines are the captions of a text, one a line.
func captionLines(text []byte) (captions []string, err error) {
	r, err := newText(bytes.NewReader(text))
	if err == nil {
		text, err = io.ReadAll(r)
	}
	if err != nil {
		return nil, badRow(err.Error())
	}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" {
			captions = append(captions, line)
		}
	}
	return captions, nil
}

// chosenTexts are one text a picture: those of the first extension where there are
// several.
func (w *within) chosenTexts() []captionsAt {
	best := map[string]int{}
	rank := func(name string) int { return slices.Index(textExtensions, strings.ToLower(path.Ext(name))) }
	for _, p := range w.texts {
		about := stem(p.name)
		if was, ok := best[about]; !ok || rank(p.name) < was {
			best[about] = rank(p.name)
		}
	}
	var out []captionsAt
	for _, p := range w.texts {
		if best[stem(p.name)] == rank(p.name) {
			out = append(out, p)
		}
	}
	return out
}

// blockReader reads a file in large blocks and keeps the last: texts that lie among
// pictures, in their order, cost one pass and not a request each.
type blockReader struct {
	r     io.ReaderAt
	size  int64
	block []byte
	at    int64
}

const blockBytes = 1 << 20

func (b *blockReader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= b.size {
		return 0, io.EOF
	}
	if off < b.at || off+int64(len(p)) > b.at+int64(len(b.block)) {
		block := make([]byte, min(max(blockBytes, int64(len(p))), b.size-off))
		n, err := b.r.ReadAt(block, off)
		if err != nil && !(errors.Is(err, io.EOF) && n == len(block)) {
			return 0, err
		}
		b.block, b.at = block[:n], off
	}
	n := copy(p, b.block[off-b.at:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
