package dataset

import (
	"archive/zip"
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

func inMemory(role, name, content string) File {
	return File{Role: role, Name: name, Open: func(context.Context) (io.ReaderAt, int64, io.Closer, error) {
		r := bytes.NewReader([]byte(content))
		return r, r.Size(), io.NopCloser(r), nil
	}}
}

func TestCheckSaysFromAFilesHeadWhatIsWrongWithIt(t *testing.T) {
	var packed bytes.Buffer
	z := zip.NewWriter(&packed)
	w, err := z.Create("captions.csv")
	require.NoError(t, err)
	_, err = w.Write([]byte("picture,words\na.png,a star\n"))
	require.NoError(t, err)
	require.NoError(t, z.Close())
	folder, coco := Spec{Kind: "folder"}, Spec{Kind: "coco"}
	for _, c := range []struct {
		spec Spec
		file File
		want string // empty: nothing is wrong
	}{
		{folder, inMemory(RoleCaptions, "a.csv", "image,caption\na.png,a star\n"), ""},
		{folder, inMemory(RoleCaptions, "a.csv", "\xef\xbb\xbfimage,caption\r\na.png,a star\r\n"), ""},
		{folder, inMemory(RoleCaptions, "a.csv", "a.png,a star\nb.png,a circle\n"), ""},
		{folder, inMemory(RoleCaptions, "results.csv", "image_name| comment_number| comment\n1.jpg| 0| a dog\n"), ""},
		{folder, inMemory(RoleCaptions, "token.txt", "1.jpg#0\ta dog\n"), ""},
		{folder, inMemory(RoleCaptions, "a.csv", "picture,words\na.png,a star\n"), "the columns picture, words"},
		{folder, inMemory(RoleCaptions, "a.zip", packed.String()), "entry captions.csv: has no column"},
		{
			Spec{Kind: "folder", Columns: Columns{Image: "pic"}}, inMemory(RoleCaptions, "a.csv", "image,caption\n"),
			"has no column pic (image_column)",
		},
		{folder, inMemory(RoleCaptions, "a.csv", " \n"), "is empty"},
		{folder, inMemory(RoleCaptions, "a.csv", "i\x00m\x00a\x00g\x00e\x00"), "UTF-16"},
		{coco, inMemory(RoleCaptions, "a.json", `{"images": [`), ""},
		{coco, inMemory(RoleCaptions, "a.json", "image,caption\n"), "is not JSON"},
		{coco, inMemory(RoleImages, "a.zip", packed.String()), ""},
		{coco, inMemory(RoleImages, "a.zip", "image,caption\n"), "not a zip file"},
		{Spec{Kind: "parquet"}, inMemory(RoleFiles, "a.parquet", "image,caption\n"), "not a Parquet file"},
	} {
		err := Check(t.Context(), c.spec, c.file)
		if c.want == "" {
			require.NoError(t, err, c.file.Name)
			continue
		}
		require.ErrorContains(t, err, c.want)
		require.ErrorContains(t, err, c.file.Name)
	}
}
