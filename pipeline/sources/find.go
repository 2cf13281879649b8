package sources

import (
	"archive/zip"
	"context"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"distilvit/dataset"
	"distilvit/pipeline"
)

// Folder is what a folder holds that datasets are made of. All paths are below it, with slashes, sorted.
type Folder struct {
	Dir      string
	Pictures []string // their files
	Within   []string // files that are captions among pictures where they stand beside some
	Captions []string // tables, JSON and JSON lines; an entry of a .zip follows a #
	Zips     []string // archives with pictures in them
	Parquet  []string
	Tars     []string
}

// tables are the endings of files that may be captions of pictures elsewhere.
var tables = []string{".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".txt", ".token"}

// Look lists a folder. What begins with a dot is skipped.
func Look(ctx context.Context, dir string) (*Folder, error) {
	f := &Folder{Dir: dir}
	err := dataset.WalkFiles(dir, func(name string, _ fs.DirEntry) error {
		f.add(name)
		return context.Cause(ctx)
	})
	f.Captions = notBeside(f.Captions, f.Pictures)
	return f, err
}

func (f *Folder) add(name string) {
	ext := strings.ToLower(path.Ext(name))
	switch {
	case dataset.IsPicture(name):
		f.Pictures = append(f.Pictures, name)
	case ext == ".parquet":
		f.Parquet = append(f.Parquet, name)
	case ext == ".tar":
		f.Tars = append(f.Tars, name)
	case ext == ".zip":
		f.addZip(name)
	default:
		if dataset.IsCaptionsWithin(name) {
			f.Within = append(f.Within, name)
		}
		if slices.Contains(tables, ext) {
			f.Captions = append(f.Captions, name)
		}
	}
}

// addZip takes an archive for pictures, for captions, or for both. One that cannot be read is none of them.
func (f *Folder) addZip(name string) {
	z, err := zip.OpenReader(filepath.Join(f.Dir, filepath.FromSlash(name)))
	if err != nil {
		return
	}
	defer z.Close()
	var pictures, captions []string
	for _, e := range z.File {
		switch {
		case strings.HasPrefix(path.Base(e.Name), ".") || strings.HasPrefix(e.Name, "__MACOSX/"):
		case dataset.IsPicture(e.Name):
			pictures = append(pictures, e.Name)
		case slices.Contains(tables, strings.ToLower(path.Ext(e.Name))):
			captions = append(captions, e.Name)
		}
	}
	if len(pictures) > 0 {
		f.Zips = append(f.Zips, name)
	}
	for _, entry := range notBeside(captions, pictures) {
		f.Captions = append(f.Captions, name+"#"+entry)
	}
}

// notBeside leaves out what is about one picture, captions or what a download knows of it: files of its name.
func notBeside(captions, pictures []string) []string {
	stem := func(name string) string { return strings.ToLower(strings.TrimSuffix(name, path.Ext(name))) }
	about := map[string]bool{}
	for _, name := range pictures {
		about[stem(name)], about[strings.ToLower(name)] = true, true
	}
	return slices.DeleteFunc(slices.Clone(captions), func(name string) bool {
		return slices.Contains([]string{".txt", ".json"}, strings.ToLower(path.Ext(name))) && about[stem(name)]
	})
}

// Root is the folder that all pictures are below, and the metadata files of image folders; . is the whole.
func (f *Folder) Root() string {
	root, names := "", f.Pictures
	for _, name := range f.Within {
		if strings.HasPrefix(path.Base(name), "metadata.") {
			names = append(slices.Clip(names), name)
		}
	}
	for i, name := range names {
		dir := path.Dir(name)
		if i == 0 {
			root = dir
		}
		for root != "." && dir != root && !strings.HasPrefix(dir, root+"/") {
			root = path.Dir(root)
		}
	}
	return root
}

// Images are what a source names for all pictures: a folder, archives, or both.
func (f *Folder) Images() pipeline.Paths {
	var images pipeline.Paths
	if len(f.Pictures) > 0 {
		images = append(images, f.Root())
	}
	return append(images, f.Zips...)
}

// Names writes an archive that lists like the folder of pictures: their names without their bytes, and the
// captions among them. So a large folder is tried out without being copied.
func (f *Folder) Names(w io.Writer) error {
	z := zip.NewWriter(w)
	root := f.Root()
	for _, name := range slices.Concat(f.Pictures, f.Within) {
		below := name
		if root != "." {
			var inside bool
			if below, inside = strings.CutPrefix(name, root+"/"); !inside {
				continue
			}
		}
		e, err := z.Create(below)
		if err != nil {
			return err
		}
		if dataset.IsPicture(name) {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(f.Dir, filepath.FromSlash(name)))
		if err == nil {
			_, err = e.Write(raw)
		}
		if err != nil {
			return err
		}
	}
	return z.Close()
}

// Candidates are the datasets that the folder may be, the likeliest first, with paths below it.
func (f *Folder) Candidates() [][]pipeline.SourceConfig {
	var all [][]pipeline.SourceConfig
	for _, files := range [][]string{f.Parquet, f.Tars} {
		if len(files) > 0 {
			all = append(all, bySplit(files))
		}
	}
	images := f.Images()
	if len(images) == 0 {
		return all
	}
	if len(f.Parquet) > 0 { // rows that only name their pictures, such as metadata.parquet
		named := bySplit(f.Parquet)
		for i := range named {
			named[i].Images = images
		}
		all = append(all, named)
	}
	for _, name := range f.Captions {
		all = append(all, []pipeline.SourceConfig{{Captions: name, Images: images}})
	}
	return append(all, []pipeline.SourceConfig{{Images: images}})
}

// bySplit makes a source of the files of each split that their names tell, and of all where some tell none.
func bySplit(files []string) []pipeline.SourceConfig {
	named := map[string]pipeline.Paths{}
	for _, name := range files {
		split := SplitOf(name)
		named[split] = append(named[split], name)
	}
	if len(named[""]) > 0 || len(named[pipeline.SplitTrain]) == 0 {
		return []pipeline.SourceConfig{{Files: patterns(files)}}
	}
	var list []pipeline.SourceConfig
	for _, split := range []string{pipeline.SplitTrain, pipeline.SplitValidation, pipeline.SplitTest} {
		if len(named[split]) > 0 {
			list = append(list, pipeline.SourceConfig{Split: split, Files: patterns(named[split])})
		}
	}
	return list
}

// patterns shortens many files of one folder to a pattern that only they fit, as far as their split tells.
func patterns(files pipeline.Paths) pipeline.Paths {
	const few = 3
	dir, ext := path.Dir(files[0]), path.Ext(files[0])
	common := path.Base(files[0])
	for _, name := range files {
		if path.Dir(name) != dir || path.Ext(name) != ext {
			return files
		}
		base := path.Base(name)
		for !strings.HasPrefix(base, common) {
			common = common[:len(common)-1]
		}
	}
	if len(files) <= few || strings.ContainsAny(common, "*?[{") {
		return files
	}
	return pipeline.Paths{path.Join(dir, common+"*"+ext)}
}

var splitWord = regexp.MustCompile(`(?:^|[^a-z])(train|training|validation|valid|val|dev|test|testing)(?:[^a-z]|$)`)

// SplitOf is the split that a file's name tells, captions_train2017.json for instance; empty: none.
func SplitOf(name string) string {
	m := splitWord.FindStringSubmatch(strings.ToLower(path.Base(name)))
	switch {
	case m == nil:
		return ""
	case strings.HasPrefix(m[1], "train"):
		return pipeline.SplitTrain
	case strings.HasPrefix(m[1], "test"):
		return pipeline.SplitTest
	}
	return pipeline.SplitValidation
}
