package sources

import (
	"archive/zip"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"distilvit/dataset"
	"distilvit/internal/download"
	"distilvit/pipeline"
)

var update = flag.Bool("update", false, "write the table of docs/datasets.md")

const page = "../../docs/datasets.md"

// tested are the layouts of docs/datasets.md: the config of each and its files, of
// dataset/testdata. A zip among the images is given as it is and as the folder of its files, and
// each is downloaded from a server, too.
var tested = []struct{ name, config string }{
	{"COCO", "{captions: captions/annotations_trainval2017.zip#annotations/captions_train2017.json, images: captions/train2017.zip}"},
	{"Karpathy's splits", "{captions: captions/dataset_coco.json, images: [captions/train2014.zip, captions/val2014.zip]}"},
	{"Flickr30k, results.csv", "{captions: captions/results.csv, images: captions/flickr30k-images.zip}"},
	{"Flickr30k, the hub's table", "{captions: captions/flickr_annotations_30k.csv, images: captions/flickr30k-images.zip}"},
	{"Flickr8k, token.txt", "{captions: captions/Flickr8k.token.txt, images: captions/flickr30k-images.zip}"},
	{"image,caption table", "{captions: captions/captions.txt, images: captions/flickr30k-images.zip}"},
	{"imagefolder, metadata.csv", "{images: layouts/imagefolder_csv.zip}"},
	{"imagefolder, metadata.jsonl in train/ and test/", "{images: layouts/imagefolder_jsonl.zip}"},
	{"a .txt beside each picture", "{images: layouts/beside_txt.zip}"},
	{"a .caption beside each picture", "{images: layouts/beside_caption.zip}"},
	{"one caption for all", "{images: layouts/pictures.zip, caption: a colour}"},
	{"JSON list (LAVIS, BLIP)", "{captions: layouts/lavis.json, images: layouts/pictures.zip}"},
	{"JSON by pictures' names (kohya)", "{captions: layouts/meta_cap.json, images: layouts/pictures.zip}"},
	{"conversations (LLaVA)", "{captions: layouts/llava.json, images: layouts/pictures.zip}"},
	{"WebDataset (img2dataset)", "{files: 'layouts/shard-{000000..000001}.tar'}"},
	{"Parquet (datasets)", "{files: parquet/hf_rows.parquet}"},
	{"Parquet that names pictures", "{files: parquet/layout.parquet, images: layouts/pictures.zip}"},
}

func TestLayoutsOfTheManualAreRead(t *testing.T) {
	var table strings.Builder
	table.WriteString("| layout | kind | given as | pictures | captions | bad |\n|---|---|---|---|---|---|\n")
	server := httptest.NewServer(http.FileServer(http.Dir("../../dataset/testdata")))
	defer server.Close()
	for _, c := range tested {
		var first []string
		for _, form := range []string{"zip", "folder", "URL"} {
			source, files := resolved(t, c.config, form, server.URL)
			switch {
			case len(source.Images) > 0 || form == "URL":
			case form == "folder":
				continue
			default:
				form = "files"
			}
			examples, captions, bad := read(t, source, files)
			fmt.Fprintf(&table, "| %s | %s | %s | %d | %d | %d |\n", c.name, source.Kind, form, len(examples), captions, bad)
			if first == nil {
				first = examples
				continue
			}
			require.Equal(t, first, examples, "%s as %s", c.name, form)
		}
	}
	raw, err := os.ReadFile(page)
	require.NoError(t, err)
	before, rest, found := strings.Cut(string(raw), "<!-- table -->\n")
	old, after, closed := strings.Cut(rest, "<!-- end of table -->\n")
	require.True(t, found && closed, "%s has no place for the table", page)
	if *update {
		require.NoError(t, os.WriteFile(page, []byte(before+"<!-- table -->\n"+table.String()+"<!-- end of table -->\n"+after), 0o644))
		return
	}
	require.Equal(t, old, table.String(), "run go test ./pipeline/sources -update")
}

// resolved is a source as a run has it, with its files in a directory of their own:
// zips of images unpacked where form is folder, everything downloaded where it is URL.
func resolved(t *testing.T, config, form, server string) (pipeline.SourceConfig, string) {
	t.Helper()
	decoded, err := pipeline.Decode([]byte("dataset: [" + config + "]"))
	require.NoError(t, err)
	source := decoded.Resolve().Dataset[0]
	dir := t.TempDir()
	source, err = source.MapPaths(func(key, path string) (string, error) {
		from := filepath.Join("../../dataset/testdata", path)
		if form == "URL" {
			to := filepath.Join(dir, filepath.Base(path))
			return to, get(t.Context(), server+"/"+path, to)
		}
		if form == "zip" || !strings.HasPrefix(key, "images") {
			return from, nil
		}
		to := filepath.Join(dir, strings.TrimSuffix(filepath.Base(path), ".zip"))
		return to, unpack(from, to)
	})
	require.NoError(t, err)
	return source, dir
}

// get downloads a URL as a run and the hub's cache do.
func get(ctx context.Context, url, to string) error {
	file, err := os.Create(to)
	if err != nil {
		return err
	}
	transfer := download.Transfer{To: &fileTarget{File: file}, Version: download.Version{Size: -1}, Stall: time.Minute,
		Refuse: func(r *http.Response) error { return errors.New(r.Status) },
		Pause:  func(context.Context, time.Duration) error { return errors.New("the server does not answer") },
		Send: func(ctx context.Context, header http.Header) (*http.Response, error) {
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
			if err != nil {
				return nil, err
			}
			r.Header = header
			return http.DefaultClient.Do(r)
		}}
	return errors.Join(transfer.Run(ctx), file.Close())
}

// fileTarget keeps a download in a file.
type fileTarget struct {
	*os.File
	have int64
}

func (f *fileTarget) Have() int64 { return f.have }

func (f *fileTarget) Append(_ context.Context, p []byte) error {
	n, err := f.Write(p)
	f.have += int64(n)
	return err
}

func (f *fileTarget) Restart(context.Context) error {
	f.have = 0
	_, err := f.Seek(0, io.SeekStart)
	return errors.Join(err, f.Truncate(0))
}

func unpack(from, to string) error {
	z, err := zip.OpenReader(from)
	if err != nil {
		return err
	}
	defer z.Close()
	for _, e := range z.File {
		if e.FileInfo().IsDir() {
			continue
		}
		r, err := e.Open()
		if err != nil {
			return err
		}
		b, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		path := filepath.Join(to, filepath.FromSlash(e.Name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, b, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// read answers the examples as text (the end of a picture's path, its split and its captions),
// how many captions they have and how many rows are bad.
func read(t *testing.T, source pipeline.SourceConfig, dir string) (examples []string, captions, bad int) {
	t.Helper()
	opened, err := Local{Dir: dir}.Open(t.Context(), []pipeline.SourceConfig{source}, pipeline.PrepareConfig{})
	require.NoError(t, err)
	list, err := dataset.Catalog(t.Context(), t.TempDir(), opened, 1)
	require.NoError(t, err)
	defer list.Close()
	for i := range list.Len() {
		e, err := list.Example(i)
		require.NoError(t, err)
		if e.Image.Missing != "" {
			bad++
			continue
		}
		captions += len(e.Captions)
		examples = append(examples, fmt.Sprintf("%s %s %q", filepath.Base(e.Image.Name), e.Split, e.Captions))
	}
	slices.Sort(examples) // that of metadata files in several folders is the archive's
	return examples, captions, bad
}
