package sources

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"distilvit/dataset"
	"distilvit/dataset/pixels"
	"distilvit/pipeline"
)

func TestLocalFilesOfASourceAreThoseThatARunStores(t *testing.T) {
	dir := t.TempDir()
	captions := filepath.Join(dir, "c.csv")
	require.NoError(t, os.WriteFile(captions, []byte("image,caption\na.png,one\n"), 0o644))
	images := filepath.Join(dir, "images")
	require.NoError(t, os.Mkdir(images, 0o755))
	raw, err := pixels.EncodePNG(make([]uint8, 3*2*2), 2, 2)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(images, "a.png"), raw, 0o644))
	l := Local{Dir: t.TempDir(), Fetch: func(_ context.Context, name, ext string) ([]string, error) {
		require.Equal(t, "hf:datasets/org/name/c.csv", name)
		require.Empty(t, ext)
		return []string{captions}, nil
	}}
	for _, given := range []string{captions, "hf:datasets/org/name/c.csv"} {
		opened, err := l.Open(t.Context(), []pipeline.SourceConfig{
			{Kind: pipeline.KindFolder, Captions: given, Images: pipeline.Paths{images}},
		}, pipeline.PrepareConfig{TestFraction: 1})
		require.NoError(t, err)
		require.Equal(t, "folder", opened[0].Spec.Kind)
		files := opened[0].Files
		require.Len(t, files, 2)
		require.Equal(t, []string{"captions", "c.csv"}, []string{files[0].Role, files[0].Name})
		require.Equal(t, []string{"images", "images-0000.zip"}, []string{files[1].Role, files[1].Name})
		list, err := dataset.Catalog(t.Context(), t.TempDir(), opened, 1)
		require.NoError(t, err)
		defer list.Close()
		require.Len(t, list.Split(dataset.Test), 1)
	}
}

func TestAPathThatCannotBeUsedIsNamed(t *testing.T) {
	dir := t.TempDir()
	fetched := []string{"a.json", "b.json"}
	for path, want := range map[string]string{
		dir:                             "is a directory",
		filepath.Join(dir, "none"):      "no such file",
		"https://x.org/c.json":          "only local files and the Hugging Face hub are read here",
		"hf:datasets/org/name/*.json":   "are 2 files; one is wanted",
		"hf:datasets/org/missing/*.csv": "away",
	} {
		l := Local{Dir: dir, Fetch: func(_ context.Context, name, ext string) ([]string, error) {
			if want == "away" {
				return nil, errors.New("away")
			}
			return fetched, nil
		}}
		_, err := l.Open(t.Context(), []pipeline.SourceConfig{{Kind: pipeline.KindCOCO, Captions: path}},
			pipeline.PrepareConfig{})
		require.ErrorContains(t, err, want)
		var named *PathError
		if want == "away" { // the hub's error says enough
			require.False(t, errors.As(err, &named))
			continue
		}
		require.ErrorAs(t, err, &named)
		require.Equal(t, []string{"captions", path}, []string{named.Role, named.Path})
	}
	_, err := Local{}.Open(t.Context(), []pipeline.SourceConfig{
		{Kind: pipeline.KindParquet, Files: pipeline.Paths{filepath.Join(dir, "none.parquet")}},
	}, pipeline.PrepareConfig{})
	require.ErrorIs(t, err, fs.ErrNotExist)
}
