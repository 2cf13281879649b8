package sources

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"distilvit/dataset"
	"distilvit/hub"
	"distilvit/pipeline"
)

// Local opens sources from this machine's files, as a run would store them.
type Local struct {
	// Dir is where a folder of pictures is packed into the archives that a run would
	// pack it into. They are the caller's to remove.
	Dir string

	// Fetch answers the local files of what a path such as hf:datasets/ORG/NAME/data
	// names: of a folder those that end in ext.
	Fetch func(ctx context.Context, name, ext string) ([]string, error)
}

// PathError is a path of a source that cannot be used, with its role: captions, images
// or files.
type PathError struct {
	Role string // dataset.RoleCaptions, RoleImages or RoleFiles
	Path string // as the config has it
	Err  error  // why
}

// Error says which path, and why.
func (e *PathError) Error() string { return fmt.Sprintf("%s %s: %v", e.Role, e.Path, e.Err) }

// Unwrap answers why.
func (e *PathError) Unwrap() error { return e.Err }

// Open answers the sources for dataset.Catalog and dataset.NewReader. What is wrong with
// a path is a *PathError.
func (l Local) Open(
	ctx context.Context, configs []pipeline.SourceConfig, p pipeline.PrepareConfig,
) ([]dataset.Source, error) {
	out := make([]dataset.Source, len(configs))
	for i, c := range configs {
		out[i].Spec = Spec(c, p)
		_, err := c.MapPaths(func(key, path string) (string, error) {
			role, _, _ := strings.Cut(key, "[")
			files, err := l.files(ctx, fmt.Sprintf("%d-%s", i, key), c, role, path)
			out[i].Files = append(out[i].Files, files...)
			return path, err
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// files are those that one path of a source names; name distinguishes packed folders.
func (l Local) files(
	ctx context.Context, name string, c pipeline.SourceConfig, role, path string,
) ([]dataset.File, error) {
	wrong := func(err error) error { return &PathError{role, path, err} }
	var paths []string
	var err error
	switch {
	case hub.NamesFiles(path):
		paths, err = l.Fetch(ctx, path, dataset.Extension(c.Kind, role))
	case pipeline.IsURL(path):
		err = wrong(errors.New("only local files and the Hugging Face hub are read here"))
	case role == dataset.RoleFiles:
		if paths, err = dataset.FilesAt(path, dataset.Extension(c.Kind, role)); err != nil {
			err = wrong(err)
		}
	default:
		var info os.FileInfo
		if info, err = os.Stat(path); err != nil {
			return nil, wrong(err)
		}
		if info.IsDir() && role == dataset.RoleImages {
			return l.pack(ctx, name, path, c.CaptionsWithin())
		}
		if info.IsDir() {
			err = wrong(errors.New("is a directory"))
		}
		paths = []string{path}
	}
	if err == nil && role == dataset.RoleCaptions && len(paths) > 1 {
		err = wrong(fmt.Errorf("are %d files; one is wanted", len(paths)))
	}
	files := make([]dataset.File, len(paths))
	for i, path := range paths {
		files[i] = localFile(role, path)
	}
	return files, err
}

// pack makes archives of a folder of pictures, and of the captions among them.
func (l Local) pack(ctx context.Context, prefix, folder string, captions bool) ([]dataset.File, error) {
	var files []dataset.File
	err := dataset.Pack(ctx, folder, captions, func(name string, write func(io.Writer) error) error {
		packed := filepath.Join(l.Dir, prefix+"-"+name)
		file, err := os.Create(packed)
		if err != nil {
			return err
		}
		f := localFile(dataset.RoleImages, packed)
		f.Name = name
		files = append(files, f)
		return errors.Join(write(file), file.Close())
	})
	return files, err
}

func localFile(role, path string) dataset.File {
	return dataset.File{Role: role, Name: filepath.Base(path),
		Open: func(context.Context) (io.ReaderAt, int64, io.Closer, error) {
			file, err := os.Open(path)
			if err != nil {
				return nil, 0, nil, err
			}
			info, err := file.Stat()
			if err != nil {
				file.Close()
				return nil, 0, nil, err
			}
			return file, info.Size(), file, nil
		}}
}
