package activities

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"distilvit/artifact"
	"distilvit/dataset"
	"distilvit/hub"
	"distilvit/internal/download"
	"distilvit/pipeline"
	"distilvit/storage"
	"distilvit/storage/layout"
)

// Download stores a source's files as they are under sources/<digest>/: a URL's bytes, files of a dataset
// repository of the Hugging Face hub, local files, or a folder of pictures packed into archives. Kind shapes
// has no files, only a digest of what to draw.
func (a *Activities) Download(ctx context.Context, in pipeline.DownloadInput) (pipeline.DownloadResult, error) {
	return run(ctx, func(ctx context.Context, p *pulse) (pipeline.DownloadResult, error) {
		out := pipeline.DownloadResult{Source: in.Source}
		for _, g := range givenFiles(in.Source) {
			b := &bringing{a, p, in.Run}
			files, err := b.bring(ctx, g, in.Source.SHA256[g.role])
			if err != nil {
				return out, fmt.Errorf("dataset[%d].%s: %w", in.Index, g.key, err)
			}
			out.Files = append(out.Files, files...)
		}
		var err error
		if out.Digest, err = sourceDigest(in.Source, out.Files); err != nil {
			return out, err
		}
		return out, a.listFiles(ctx, in.Run, &out)
	})
}

// givenFile is a path or URL of a source's config.
type givenFile struct {
	kind       string // of the source
	role, from string
	key        string // below dataset[i]; names the download's state, too
	captions   bool   // those of a folder of pictures are among them
}

// givenFiles are those of a source, in a fixed order.
func givenFiles(s pipeline.SourceConfig) []givenFile {
	if s.Kind == pipeline.KindShapes {
		return nil
	}
	var out []givenFile
	_, _ = s.MapPaths(func(key, path string) (string, error) { // no error comes from here
		out = append(out, newGivenFile(s, key, path))
		return path, nil
	})
	return out
}

// newGivenFile: the key without an index is the role.
func newGivenFile(s pipeline.SourceConfig, key, from string) givenFile {
	role, _, _ := strings.Cut(key, "[")
	return givenFile{kind: s.Kind, role: role, from: from, key: key, captions: s.CaptionsWithin()}
}

// fits checks the number of files that are given as one path.
func (g givenFile) fits(n int, want string) error {
	switch {
	case n > 1 && g.role == dataset.RoleCaptions:
		return invalid("%s names %d files; one is wanted", g.from, n)
	case n > 1 && want != "":
		return invalid("%s names %d files; a sha256 can only be given for a file", g.from, n)
	}
	return nil
}

// sourceDigest names what a source holds, wherever it came from.
func sourceDigest(s pipeline.SourceConfig, files []pipeline.SourceFile) (string, error) {
	if s.Kind == pipeline.KindShapes {
		return artifact.Digest(s.Shapes)
	}
	type file struct{ Role, Name, SHA256 string }
	var list []file
	for _, f := range files {
		list = append(list, file{f.Role, f.Name, f.Object.SHA256})
	}
	return artifact.Digest(list)
}

// bringing stores files for a run.
type bringing struct {
	*Activities
	*pulse
	run string
}

// bring stores what one of a source's paths or URLs names.
func (b *bringing) bring(ctx context.Context, g givenFile, want string) ([]pipeline.SourceFile, error) {
	if pipeline.IsURL(g.from) {
		f, err := b.bringURL(ctx, g, want)
		return []pipeline.SourceFile{f}, err
	}
	if hub.NamesFiles(g.from) {
		return b.bringHub(ctx, g, want)
	}
	if g.role == dataset.RoleFiles {
		return b.bringFiles(ctx, g, want)
	}
	info, err := os.Stat(g.from)
	if err != nil {
		return nil, invalid("%v", err)
	}
	if info.IsDir() {
		if g.role != dataset.RoleImages {
			return nil, invalid("%s is a folder, not a file", g.from)
		}
		if want != "" {
			return nil, invalid("%s is a folder; a sha256 can only be given for a file", g.from)
		}
		return b.bringFolder(ctx, g)
	}
	f, err := b.bringFile(ctx, g.role, g.from, want)
	return []pipeline.SourceFile{f}, err
}

// bringFiles stores the files of a folder or those that fit a pattern.
func (b *bringing) bringFiles(ctx context.Context, g givenFile, want string) ([]pipeline.SourceFile, error) {
	paths, err := dataset.FilesAt(g.from, dataset.Extension(g.kind, g.role))
	if err != nil {
		return nil, invalid("%v", err)
	}
	if want != "" && (len(paths) > 1 || paths[0] != g.from) {
		return nil, invalid("%s names %d files; a sha256 can only be given for a file", g.from, len(paths))
	}
	var files []pipeline.SourceFile
	for _, path := range paths {
		f, err := b.bringFile(ctx, g.role, path, want)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

// bringURL downloads a URL once for each version of it that the server tells
// apart; a broken download goes on in the next attempt.
func (b *bringing) bringURL(ctx context.Context, g givenFile, want string) (pipeline.SourceFile, error) {
	role, from := g.role, g.from
	name, err := fileName(pipeline.ShownURL(from))
	if err != nil {
		return pipeline.SourceFile{}, invalid("%v", err)
	}
	version, err := b.headURL(ctx, from)
	if err != nil {
		return pipeline.SourceFile{}, err
	}
	whole, err := b.withSecrets(from)
	if err != nil {
		return pipeline.SourceFile{}, err
	}
	digest := want
	if want == "" {
		if digest, err = artifact.Digest(version); err != nil {
			return pipeline.SourceFile{}, err
		}
	}
	if err := b.adopt(ctx, b.run, layout.Source(digest)); err != nil {
		return pipeline.SourceFile{}, err
	}
	key := layout.SourceFile(digest, name)
	if want == "" {
		if o, err := b.Store.Stat(ctx, key); err == nil && o.SHA256 != "" && version.Tag != "" {
			return pipeline.SourceFile{Role: role, Name: name, Object: o}, nil
		}
	}
	o, err := b.Store.Download(ctx, whole, key, storage.DownloadOptions{
		SHA256: want, State: b.resume[g.key],
		Save:     func(state []byte) { b.keep(g.key, state) },
		Progress: func(done, total int64) { b.progress("download", done, max(total, 0), pipeline.ShownURL(from)) },
	})
	if errors.Is(err, storage.ErrCorrupt) && want != "" {
		err = invalid("%v", err)
	}
	return pipeline.SourceFile{Role: role, Name: name, Object: o}, err
}

func (b *bringing) bringFile(ctx context.Context, role, from, want string) (pipeline.SourceFile, error) {
	digest, size, err := fileDigest(ctx, b.pulse, from)
	if err != nil {
		return pipeline.SourceFile{}, err
	}
	if want != "" && digest != want {
		return pipeline.SourceFile{}, invalid("%s: sha256 is %s, the config expects %s", from, digest, want)
	}
	name := filepath.Base(from)
	o, err := b.putUnless(ctx, layout.SourceFile(digest, name), from, digest, size)
	return pipeline.SourceFile{Role: role, Name: name, Object: o}, err
}

// fileDigest is a local file's SHA-256 and its size.
func fileDigest(ctx context.Context, p *pulse, path string) (digest string, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, invalid("%v", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", 0, err
	}
	sum := sha256.New()
	progress := func(n int64) { p.progress("digest", n, info.Size(), path) }
	_, err = io.Copy(sum, &counted{ctx, f, progress, 0})
	return hex.EncodeToString(sum.Sum(nil)), info.Size(), err
}

// bringFolder packs a folder of pictures, and the captions among them.
func (b *bringing) bringFolder(ctx context.Context, g givenFile) ([]pipeline.SourceFile, error) {
	dir, done, err := b.scratch("pack")
	if err != nil {
		return nil, err
	}
	defer done()
	var files []pipeline.SourceFile
	err = dataset.Pack(ctx, g.from, g.captions, func(name string, write func(io.Writer) error) error {
		b.progress("pack", int64(len(files)), 0, name)
		local := filepath.Join(dir, name)
		defer os.Remove(local)
		f, err := os.Create(local)
		if err != nil {
			return err
		}
		sum := sha256.New()
		if err := write(io.MultiWriter(f, sum)); err != nil {
			f.Close()
			return err
		}
		size, err := f.Seek(0, io.SeekCurrent)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
		digest := hex.EncodeToString(sum.Sum(nil))
		o, err := b.putUnless(ctx, layout.SourceFile(digest, name), local, digest, size)
		files = append(files, pipeline.SourceFile{Role: g.role, Name: name, Object: o})
		return err
	})
	return files, orInvalid(ctx, err)
}

// putUnless stores a file unless its key, which holds its digest, is there.
func (b *bringing) putUnless(ctx context.Context, key, from, digest string, size int64) (layout.Object, error) {
	if err := b.adopt(ctx, b.run, layout.Source(digest)); err != nil {
		return layout.Object{}, err
	}
	if o, err := b.Store.Stat(ctx, key); err == nil && o.Size == size {
		return layout.Object{Key: key, Size: size, SHA256: digest}, nil
	}
	b.progress("upload", 0, size, from)
	o, err := b.Store.PutFile(ctx, key, from)
	if err == nil && o.SHA256 != digest {
		return layout.Object{}, invalid("%s changed while it was read", from)
	}
	return o, err
}

// fileName is the last part of a URL's path.
func fileName(raw string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return "", err
	}
	name := path.Base(u.Path)
	if name == "/" || name == "." {
		return "", fmt.Errorf("%s names no file", raw)
	}
	return layout.SafeName(name), nil
}

// urlVersion is what a server says of a file without sending it.
type urlVersion struct {
	URL      string `json:"url"`
	Tag      string `json:"tag"`
	Modified string `json:"modified"`
	Size     int64  `json:"size"`
}

var httpClient = &http.Client{
	Transport: download.NewClient(30 * time.Second).Transport, Timeout: 30 * time.Second,
}

// withSecrets is a URL as it is requested. It goes nowhere else.
func (a *Activities) withSecrets(from string) (string, error) {
	lookup := a.Secrets
	if lookup == nil {
		lookup = func(string) (string, bool, error) { return "", false, nil }
	}
	whole, err := pipeline.ExpandSecrets(from, lookup)
	if err != nil {
		return "", invalid("%s: %v", pipeline.ShownURL(from), err)
	}
	return whole, nil
}

// headURL asks whether a URL can be read; servers that know no HEAD are asked for one
// byte. The version names the URL as the config has it, whatever its secrets are today.
func (a *Activities) headURL(ctx context.Context, from string) (urlVersion, error) {
	v, shown := urlVersion{URL: from}, pipeline.ShownURL(from)
	whole, err := a.withSecrets(from)
	if err != nil {
		return v, err
	}
	for _, method := range []string{http.MethodHead, http.MethodGet} {
		r, err := http.NewRequestWithContext(ctx, method, whole, nil)
		if err != nil {
			return v, invalid("%s: not a URL that can be requested", shown)
		}
		if method == http.MethodGet {
			r.Header.Set("Range", "bytes=0-0")
		}
		answer, err := httpClient.Do(r)
		if err != nil {
			reason, passes := download.Failed(err)
			if !passes {
				return v, invalid("%s: %v", shown, reason)
			}
			return v, fmt.Errorf("%s: %w", shown, errors.Join(storage.ErrUnavailable, reason))
		}
		answer.Body.Close()
		switch code := answer.StatusCode; {
		case code < 300:
			v.Tag, v.Modified = answer.Header.Get("ETag"), answer.Header.Get("Last-Modified")
			if method == http.MethodHead {
				v.Size = answer.ContentLength
			}
			return v, nil
		case method == http.MethodHead && slices.Contains([]int{400, 403, 404, 405, 501}, code):
			continue // not every server knows HEAD
		case code == http.StatusRequestTimeout, code == http.StatusTooManyRequests, code >= 500:
			return v, fmt.Errorf("%s: %w: %s", shown, storage.ErrUnavailable, answer.Status)
		default:
			return v, invalid("%s: the server answers %s", shown, answer.Status)
		}
	}
	return v, nil
}

// counted tells how much was read and ends with its context.
type counted struct {
	ctx   context.Context
	r     io.Reader
	tell  func(int64)
	count int64
}

func (c *counted) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.r.Read(b)
	c.count += int64(n)
	c.tell(c.count)
	return n, err
}
