package e2e

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"distilvit/internal/testenv"
)

var mutants = flag.Int("mutants", 1, "mutants of each kind of foreign file that the program is given; make mutants gives 300")

// foreignFile is a kind of file from elsewhere, and the command that reads one of it.
type foreignFile struct {
	kind string
	seed string                       // path of a sound one
	name string                       // what a mutant is called; with a folder where it lies in one
	args func(dir string) []string    // dir holds the mutant and what goes with it
	ends int                          // exit code of a sound one
	with func(t *testing.T, d string) // puts that there; nil: nothing
	many bool                         // one process reads all mutants: dir holds as many files
}

// Whatever is done to a file from elsewhere, the program answers with one of its exit codes, says why, and takes
// no memory out of proportion.
func TestMutantsOfForeignFilesEndInALineAndAnExitCode(t *testing.T) {
	data, _ := sharedStack(t)
	model := filepath.Join(t.TempDir(), "model")
	config := writeFile(t, t.TempDir(), "c.yaml", fmt.Sprintf(soakConfig, 1))
	succeed(t, "run", "-f", config, "--id", "mutants", "--data", data, "-o", "json")
	succeed(t, "get", "mutants", model, "--data", data)
	t.Log("| kind | mutants | exit 0 | exit 1 | exit 2 | most memory MB |\n|---|--:|--:|--:|--:|--:|")
	for _, f := range foreignFiles(model, config) {
		t.Run(f.kind, f.try)
	}
}

func foreignFiles(model, config string) (all []foreignFile) {
	root := testenv.Root()
	picture := filepath.Join(root, "examples", "pictures", "yellow-circle-and-star.png")
	copied := func(without ...string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			require.NoError(t, os.CopyFS(dir, os.DirFS(model)))
			for _, name := range without {
				require.NoError(t, os.Remove(filepath.Join(dir, name)))
			}
		}
	}
	caption := func(dir string) []string { return []string{"caption", "-m", dir, "--backend", "go", picture} }
	exported := func(dir string) []string { return []string{"caption", "-m", dir, "--onnx", "fp32", picture} }
	for _, name := range []string{
		"config.json", "generation_config.json", "preprocessor_config.json", "tokenizer.json", "model.safetensors",
	} {
		all = append(all, foreignFile{kind: name, seed: filepath.Join(model, name), name: name, args: caption, with: copied()})
	}
	for _, name := range []string{"vocab.json", "merges.txt"} {
		all = append(all, foreignFile{
			kind: name, seed: filepath.Join(model, name), name: name, args: caption, with: copied("tokenizer.json"),
		})
	}
	for _, name := range []string{"onnx/encoder_model.onnx", "onnx/decoder_model_merged.onnx"} {
		all = append(all, foreignFile{
			kind: filepath.Base(name), seed: filepath.Join(model, name), name: name, args: exported, with: copied(),
		})
	}
	torch := filepath.Join(root, "model", "testdata", "pytorch", "zip")
	for _, name := range []string{"zip", "legacy"} {
		all = append(all, foreignFile{
			kind: "pytorch_model.bin " + name, seed: filepath.Join(filepath.Dir(torch), name, "pytorch_model.bin"),
			name: "pytorch_model.bin", args: caption, with: func(t *testing.T, dir string) {
				copied("model.safetensors")(t, dir)
				raw, err := os.ReadFile(filepath.Join(torch, "config.json"))
				require.NoError(t, err)
				writeFile(t, dir, "config.json", string(raw))
				writeFile(t, dir, "generation_config.json", `{"max_length": 8, "eos_token_id": 23, "decoder_start_token_id": 23}`)
			},
		})
	}
	inspect := func(format string) func(string) []string {
		return func(dir string) []string {
			return []string{"inspect", strings.ReplaceAll(format, "DIR", dir)}
		}
	}
	layouts, pixels := filepath.Join(root, "dataset", "testdata"), filepath.Join(root, "dataset", "pixels", "testdata")
	for _, f := range []struct{ kind, seed, name, dataset string }{
		{"Parquet delta", "parquet/delta_v2.parquet", "a.parquet", "parquet:DIR/a.parquet"},
		{"Parquet dictionary", "parquet/dictionary_v2.parquet", "a.parquet", "parquet:DIR/a.parquet"},
		{"Parquet zstd", "parquet/plain_v2_zstd.parquet", "a.parquet", "parquet:DIR/a.parquet"},
		{"COCO JSON", "captions/dataset_coco.json", "a.json", "karpathy:DIR/a.json," + layouts + "/captions/val2014.zip"},
		{"CSV", "captions/results.csv", "a.csv", "folder:DIR/a.csv," + layouts + "/captions/flickr30k-images.zip"},
		{"zip", "layouts/imagefolder_csv.zip", "a.zip", "folder:DIR/a.zip"},
		{"tar", "layouts/shard-000000.tar", "a.tar", "webdataset:DIR/a.tar"},
	} {
		all = append(all, foreignFile{
			kind: f.kind, seed: filepath.Join(layouts, f.seed), name: f.name, args: inspect(f.dataset),
		})
	}
	for _, name := range []string{
		"progressive.jpg", "sub2_64x48.jpg", "rgb.png", "interlaced.gif", "lossy_44x34.webp", "lossless.webp", "lzw.tiff",
		"formats/group4_0.tiff", "formats/sub420.avif", "formats/rle8.bmp",
	} {
		all = append(all, foreignFile{
			kind: filepath.Base(name), seed: filepath.Join(pixels, name), name: filepath.Base(name), many: true,
			args: func(dir string) []string { return []string{"caption", "-m", model, "--backend", "go", dir} },
		})
	}
	refused := "TEMPORAL_ADDRESS=127.0.0.1:1" // nothing listens there
	return append(all, foreignFile{
		kind: "config.yaml", seed: config, name: "c.yaml", ends: 1, args: func(dir string) []string {
			return []string{"env", refused, "S3_ENDPOINT=127.0.0.1:1", "S3_ACCESS_KEY=a", "S3_SECRET_KEY=b",
				testenv.Program, "run", "-f", filepath.Join(dir, "c.yaml"), "--id", "m"}
		},
	})
}

// tried counts how a kind's mutants ended.
type tried struct {
	mu    sync.Mutex
	codes [3]int
	most  int64 // bytes, resident
}

func (f foreignFile) try(t *testing.T) {
	seed, err := os.ReadFile(f.seed)
	require.NoError(t, err)
	r := rand.New(rand.NewPCG(16, uint64(len(seed))))
	var sound, got tried
	f.one(t, &sound, seed)
	require.Equal(t, 1, sound.codes[f.ends], "the sound file is not read")
	work := make(chan []byte)
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for mutant := range work {
				f.one(t, &got, mutant)
			}
		})
	}
	if f.many {
		dir := t.TempDir()
		for i := range *mutants {
			writeFile(t, dir, fmt.Sprintf("%04d-%s", i, f.name), string(testenv.Mutate(r, seed)))
		}
		got.run(t, f.args(dir), nil)
	} else {
		for range *mutants {
			work <- testenv.Mutate(r, seed)
		}
	}
	close(work)
	workers.Wait()
	t.Logf("| %s | %d | %d | %d | %d | %.0f |", f.kind, *mutants, got.codes[0], got.codes[1], got.codes[2],
		float64(got.most)/1e6)
}

func (f foreignFile) one(t *testing.T, got *tried, mutant []byte) {
	dir, err := os.MkdirTemp(t.TempDir(), "")
	if err == nil && f.with != nil {
		f.with(t, dir)
	}
	if err == nil {
		err = os.MkdirAll(filepath.Dir(filepath.Join(dir, f.name)), 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, f.name), mutant, 0o644)
	}
	if err != nil {
		t.Error(err)
		return
	}
	got.run(t, f.args(dir), mutant)
	_ = os.RemoveAll(dir)
}

// maxMutantBytes is what the program may take for a small file of anybody's making.
const maxMutantBytes = 512 << 20

var crashed = regexp.MustCompile(`(?m)^panic: |^fatal error: |^goroutine \d+ \[|SIGSEGV|runtime error`)

func (got *tried) run(t *testing.T, args []string, mutant []byte) {
	if args[0] != "env" {
		args = append([]string{testenv.Program}, args...)
	}
	cmd := testenv.Command(nil, args[0], args[1:]...)
	var said bytes.Buffer
	cmd.Stderr = &said
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Error(err)
		return
	}
	most := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
	code := cmd.ProcessState.ExitCode()
	got.mu.Lock()
	defer got.mu.Unlock()
	got.most = max(got.most, most)
	if code >= 0 && code < len(got.codes) {
		got.codes[code]++
	}
	bad := code < 0 || code >= len(got.codes) || crashed.Match(said.Bytes()) || most > maxMutantBytes ||
		code != 0 && !strings.Contains(said.String(), "distilvit: ")
	if bad {
		kept := "not kept"
		if dir := os.Getenv("MUTANTS_DIR"); dir != "" && mutant != nil {
			kept = filepath.Join(dir, fmt.Sprintf("%x", len(mutant))+"-"+filepath.Base(t.Name()))
			_ = os.WriteFile(kept, mutant, 0o644)
		}
		t.Errorf("%s\nexit code %d, %d MB, mutant %s\n%.3000s", strings.Join(args, " "), code, most>>20, kept, said.String())
	}
}
