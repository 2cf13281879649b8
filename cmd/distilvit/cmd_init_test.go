package main

import (
	"archive/tar"
	"archive/zip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"distilvit/pipeline"
)

// layoutFiles copies files of dataset/testdata; of a .zip/ its entries.
func layoutFiles(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		from, unpack := strings.CutSuffix(name, "/")
		from = filepath.Join("../../dataset/testdata", from)
		if !unpack {
			raw, err := os.ReadFile(from)
			require.NoError(t, err)
			write(t, dir, filepath.Base(from), string(raw))
			continue
		}
		z, err := zip.OpenReader(from)
		require.NoError(t, err)
		defer z.Close()
		folder := strings.TrimSuffix(filepath.Base(from), ".zip")
		for _, e := range z.File {
			if e.FileInfo().IsDir() {
				continue
			}
			r, err := e.Open()
			require.NoError(t, err)
			raw, err := io.ReadAll(r)
			require.NoError(t, err)
			write(t, dir, filepath.Join(folder, e.Name), string(raw))
		}
	}
	return dir
}

// table writes a table of so many pictures with a row each.
func tableOf(t *testing.T, header string, rows int, row func(i int) string) string {
	t.Helper()
	dir := t.TempDir()
	text := header + "\n"
	for i := range rows {
		write(t, dir, fmt.Sprintf("pictures/%04d.jpg", i), "")
		text += row(i) + "\n"
	}
	write(t, dir, "list.csv", text)
	return dir
}

// What init writes for a layout is a config that a run takes, and finds what is there.
func TestInitWritesAConfigThatARunTakes(t *testing.T) {
	for name, c := range map[string]struct {
		dir  string
		want []string
	}{
		"table and folder": {layoutFiles(t, "captions/captions.txt", "captions/flickr30k-images.zip/"),
			[]string{"captions: captions.txt", "images: flickr30k-images", "3 pictures with 15 captions", "preset: distilvit"}},
		"table and zip": {layoutFiles(t, "captions/results.csv", "captions/flickr30k-images.zip"),
			[]string{"captions: results.csv", "images: flickr30k-images.zip"}},
		"COCO's annotations in a zip": {layoutFiles(t, "captions/annotations_trainval2017.zip", "captions/train2017.zip/"),
			[]string{"captions: annotations_trainval2017.zip#annotations/captions_train2017.json"}},
		"Karpathy's splits": {layoutFiles(t, "captions/dataset_coco.json", "captions/train2014.zip", "captions/val2014.zip"),
			[]string{"captions: dataset_coco.json", "images: [train2014.zip, val2014.zip]"}},
		"texts beside pictures": {layoutFiles(t, "layouts/beside_txt.zip/"),
			[]string{"images: beside_txt/photos\n", "2 pictures with 4 captions"}},
		"imagefolder": {layoutFiles(t, "layouts/imagefolder_jsonl.zip/"), []string{"images: imagefolder_jsonl\n"}},
		"LLaVA":       {layoutFiles(t, "layouts/llava.json", "layouts/pictures.zip"), []string{"captions: llava.json"}},
		"WebDataset": {layoutFiles(t, "layouts/shard-000000.tar", "layouts/shard-000001.tar"),
			[]string{"files: [shard-000000.tar, shard-000001.tar]"}},
		"Parquet":               {layoutFiles(t, "parquet/hf_rows.parquet"), []string{"files: hf_rows.parquet", "7 pictures"}},
		"a file for each split": {splitFiles(t), []string{"split: train", "split: validation", "split: test"}},
		"columns of another name": {tableOf(t, "who,datei,beschreibung,split", 40, func(i int) string {
			return fmt.Sprintf("me,%04d.jpg,ein Haus,%s", i, []string{"train", "val", "test"}[i%3])
		}), []string{"image_column: datei", "caption_columns: [beschreibung]", "split_column: split", "batch_size: 4"}},
		"more captions than pictures": {filtered(t),
			[]string{"captions: captions.csv", "max_bad_fraction: 0.96", "24 of 25 entries have no picture here"}},
		"few pictures": {tableOf(t, "image,caption", 60, func(i int) string { return fmt.Sprintf("%04d.jpg,a boat", i) }),
			[]string{"validation_fraction: 0.15", "test_fraction: 0.15"}},
		"captions that English decoders do not know": {tableOf(t, "image,caption", 60, func(i int) string {
			return fmt.Sprintf("%04d.jpg,Một người đàn ông", i)
		}), []string{"43 % of the letters of these captions are beyond a-z", "preset: distilvit"}},
		"all in one archive": {oneArchive(t),
			[]string{"captions: all.zip#all/captions.txt", "images: all.zip\n", "2 pictures with 2 captions"}},
		"Parquet with splits of its own": {layoutFiles(t, "parquet/hf_list.parquet"), []string{"split_column: split",
			"5 for training, 3 for validation, 3 for test"}},
		"Parquet that names pictures": {layoutFiles(t, "parquet/layout.parquet", "layouts/pictures.zip"),
			[]string{"files: layout.parquet", "images: pictures.zip"}},
		"JSON by names": {layoutFiles(t, "layouts/meta_cap.json", "layouts/pictures.zip/"),
			[]string{"captions: meta_cap.json"}},
		"linked pictures":             {linked(t), []string{"images: images/pictures\n", "60 pictures with 60 captions"}},
		"metadata above its pictures": {metadataAbove(t), []string{"images: .\n", "1 pictures with 1 captions"}},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := cli(t, "", "init", c.dir)
			require.Zero(t, code, stderr)
			file := filepath.Join(c.dir, "config.yaml")
			require.Contains(t, stdout, file+": ")
			raw, err := os.ReadFile(file)
			require.NoError(t, err)
			for _, want := range c.want {
				require.Contains(t, string(raw), want)
			}
			for line := range strings.Lines(string(raw)) {
				require.LessOrEqual(t, len(line), 130, line)
			}
			cfg, err := readConfig(file, nil, nil)
			require.NoError(t, err, string(raw))
			require.NoError(t, cfg.Validate())
			require.NoError(t, missingFiles(cfg))
			a := &app{stderr: io.Discard, env: environment(nil)}
			e, err := a.listDataset(t.Context(), cfg.Resolve(), newProgress(io.Discard))
			require.NoError(t, err)
			defer e.close()
			require.NotZero(t, e.catalogue.Len())
			found := &foundDataset{pictures: map[string]int{}}
			require.NoError(t, found.count(e.catalogue))
			require.Contains(t, stdout, found.summary())

			code, _, stderr = cli(t, "", "init", c.dir)
			require.Equal(t, exitUsage, code)
			require.Contains(t, stderr, file+" is there already and is never overwritten")
			again, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, raw, again)
		})
	}
}

// oneArchive is a dataset as it is downloaded: pictures and their captions in one zip, with what a Mac adds.
func oneArchive(t *testing.T) string {
	dir := t.TempDir()
	file, err := os.Create(filepath.Join(dir, "all.zip"))
	require.NoError(t, err)
	z := zip.NewWriter(file)
	for name, text := range map[string]string{
		"all/captions.txt": "image,caption\na.jpg,a boat\nb.jpg,a cat\n", "all/Images/a.jpg": "", "all/Images/b.jpg": "",
		"__MACOSX/all/._captions.txt": "x", "all/readme.txt": "About these.",
	} {
		w, err := z.Create(name)
		require.NoError(t, err)
		_, err = io.WriteString(w, text)
		require.NoError(t, err)
	}
	require.NoError(t, z.Close())
	require.NoError(t, file.Close())
	return dir
}

// linked is a folder whose pictures lie elsewhere.
func linked(t *testing.T) string {
	elsewhere, dir := tableOf(t, "image,caption", 60, func(i int) string { return fmt.Sprintf("%04d.jpg,a boat", i) }), t.TempDir()
	require.NoError(t, os.Rename(filepath.Join(elsewhere, "list.csv"), filepath.Join(dir, "list.csv")))
	require.NoError(t, os.Symlink(elsewhere, filepath.Join(dir, "images")))
	return dir
}

// metadataAbove is an image folder whose metadata.csv stands beside the folder of pictures.
func metadataAbove(t *testing.T) string {
	dir := t.TempDir()
	write(t, dir, "metadata.csv", "file_name,text\nimages/a.jpg,a boat\n")
	write(t, dir, "images/a.jpg", "")
	return dir
}

// filtered is a dataset of which few pictures are there.
func filtered(t *testing.T) string {
	dir := t.TempDir()
	text := "image,caption\n"
	for i := range 25 {
		text += fmt.Sprintf("%d.jpg,a boat\n", i)
	}
	write(t, dir, "captions.csv", text)
	write(t, dir, "images/7.jpg", "")
	return dir
}

// splitFiles are COCO's files of captions, and others beside them that have none.
func splitFiles(t *testing.T) string {
	dir := t.TempDir()
	for i, split := range []string{"train", "val", "test"} {
		name := fmt.Sprintf("%s2017/%d.jpg", split, i)
		write(t, dir, name, "")
		write(t, dir, "captions_"+split+"2017.json", fmt.Sprintf(
			`{"images": [{"id": %d, "file_name": "%d.jpg"}], "annotations": [{"image_id": %d, "id": 1, "caption": "a boat"}]}`, i, i, i))
		write(t, dir, "instances_"+split+"2017.json", fmt.Sprintf(
			`{"images": [{"id": %d, "file_name": "%d.jpg"}], "annotations": [{"image_id": %d, "id": 1, "bbox": [0, 0, 1, 1]}]}`, i, i, i))
	}
	return dir
}

func TestInitSaysWhatIsMissing(t *testing.T) {
	empty, bare, other := t.TempDir(), t.TempDir(), t.TempDir()
	file := write(t, bare, "a.jpg", "")
	dots := t.TempDir()
	write(t, dots, "s.tar", tarOf(t, "photo.1.jpg", "X", "photo.1.txt", "a boat"))
	write(t, other, "a.jpg", "")
	write(t, other, "captions.csv", "image,caption\nb.jpg,a boat\n")
	for _, c := range []struct {
		dir, want string
		code      int
	}{
		{filepath.Join(empty, "none"), "no such folder", exitUsage},
		{file, "is a file: name the folder", exitUsage},
		{empty, "has no pictures in it", exitFailed},
		{bare, "has 1 pictures and no captions; docs/datasets.md", exitFailed},
		{layoutFiles(t, "parquet/layout.parquet"), "file layout.parquet: no column of pictures is called image", exitFailed},
		{dots, "s.tar/photo: has no picture: that of photo.1.jpg is another one's", exitFailed},
		{other, "captions.csv: none of its 1 pictures (the first is b.jpg)", exitFailed},
	} {
		code, stdout, stderr := cli(t, "", "init", c.dir)
		require.Equal(t, c.code, code, stderr)
		require.Empty(t, stdout)
		require.Contains(t, stderr, c.want)
		require.NoFileExists(t, filepath.Join(c.dir, configName))
	}
}

// tarOf packs members, given as name, contents, name, contents …
func tarOf(t *testing.T, members ...string) string {
	t.Helper()
	var b strings.Builder
	w := tar.NewWriter(&b)
	for i := 0; i < len(members); i += 2 {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: members[i], Size: int64(len(members[i+1])), Mode: 0o644}))
		_, err := io.WriteString(w, members[i+1])
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.String()
}

func TestInitsBatchesFitThePictures(t *testing.T) {
	f := &foundDataset{pictures: map[string]int{pipeline.SplitTrain: 100}}
	f.sources = []pipeline.SourceConfig{{Images: pipeline.Paths{"a: b"}}}
	text := f.config("here")
	require.Contains(t, text, "batch_size: 8")
	require.Contains(t, text, "preset: distilvit")
	require.Contains(t, text, `images: 'a: b'`)
	f.pictures[pipeline.SplitTrain] = pipeline.FewPictures
	text = f.config("here")
	require.Contains(t, text, "batch_size: 32")
	require.Contains(t, text, "preset: small")
	require.NotContains(t, text, "0.15")
}
