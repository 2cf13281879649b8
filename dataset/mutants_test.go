package dataset

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"distilvit/internal/testenv"
)

// foreign are files as other tools write them, each the one file of a source that
// mutants are made of; with it go pictures.zip where captions lie apart.
var foreign = []struct {
	name string
	role string
	spec Spec
}{
	{"shard-000000.tar", RoleFiles, Spec{Kind: "webdataset"}},
	{"imagefolder_csv.zip", RoleImages, Spec{Kind: "folder"}},
	{"imagefolder_jsonl.zip", RoleImages, Spec{Kind: "folder"}},
	{"beside_txt.zip", RoleImages, Spec{Kind: "folder"}},
	{"llava.json", RoleCaptions, Spec{Kind: "folder"}},
	{"lavis.json", RoleCaptions, Spec{Kind: "folder"}},
}

// open lists a source and opens what it lists. Errors are as good as anything: what
// counts is that it ends.
func listAndOpen(t testing.TB, spec Spec, files []File) {
	t.Helper()
	examples, _, err := List(t.Context(), spec, files, 0)
	if err != nil {
		return
	}
	o, err := NewOpener(spec, files)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	for _, e := range examples {
		o.Open(t.Context(), e.Image)
	}
}

// 10,000 mutants of what other tools write end in a list or an error, soon.
func TestMutantsOfForeignFilesNeitherPanicNorHang(t *testing.T) {
	pictures := tool(t, RoleImages, "pictures.zip")
	for _, f := range foreign {
		whole, err := os.ReadFile(filepath.Join("testdata", "layouts", f.name))
		if err != nil {
			t.Fatal(err)
		}
		r := rand.New(rand.NewPCG(1, 2))
		for i := range 10_000 / len(foreign) {
			files := []File{memory(f.role, f.name, testenv.Mutate(r, whole))}
			if f.role == RoleCaptions {
				files = append(files, pictures)
			}
			done := time.AfterFunc(30*time.Second, func() { panic(f.name + ": a mutant hangs") })
			listAndOpen(t, f.spec, files)
			if !done.Stop() {
				t.Fatalf("%s, mutant %d", f.name, i)
			}
		}
	}
}

func FuzzWebDataset(f *testing.F) {
	b, err := os.ReadFile(filepath.Join("testdata", "layouts", "shard-000000.tar"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		listAndOpen(t, Spec{Kind: "webdataset"}, []File{memory(RoleFiles, "a.tar", b)})
	})
}

func FuzzTables(f *testing.F) {
	for _, s := range []string{
		"image,caption\na.jpg,\"x\"\"y\"\nb.jpg,1,2\n", "a.jpg;b\n", "file_name\ttext\n",
		"\ufeffimage|caption\r",
	} {
		f.Add("c.csv", []byte(s))
	}
	f.Add("c.jsonl", []byte(`{"image": "a.jpg", "captions": ["x"]}`))
	f.Add("c.json", []byte(
		`[{"image": "a.jpg", "conversations": [{"from": "human", "value": "<image>"}, {"from": "gpt", "value": "x"}]}]`,
	))
	pictures := tool(f, RoleImages, "pictures.zip")
	f.Fuzz(func(t *testing.T, name string, b []byte) {
		listAndOpen(t, Spec{Kind: "folder"}, []File{memory(RoleCaptions, name, b), pictures})
	})
}
