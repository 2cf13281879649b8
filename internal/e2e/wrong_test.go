package e2e

import (
	"archive/zip"
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"distilvit/internal/testenv"
)

// oneLine checks a mistake's answer: exit code 1 or 2 and, beside progress, one
// line that starts with the program's name and says what is wrong.
func oneLine(t *testing.T, f finished, code int, parts ...string) {
	t.Helper()
	require.Equal(t, code, f.code, f.stdout+f.stderr)
	var lines []string
	for line := range strings.Lines(f.stderr) {
		if strings.HasPrefix(line, "distilvit: ") {
			lines = append(lines, line)
		}
	}
	require.Len(t, lines, 1, f.stderr)
	require.NotContains(t, f.stderr, "goroutine ")
	for _, part := range parts {
		require.Contains(t, lines[0], part)
	}
}

func TestMissingFilesAreNamed(t *testing.T) {
	dir := t.TempDir()
	oneLine(t, distilvit(t, "run", "-f", dir+"/none.yaml"), 2, "no such config", dir+"/none.yaml")
	config := writeFile(
		t, dir, "c.yaml", "dataset: [{kind: coco, captions: captions.json, images: images}]\n",
	)
	oneLine(t, distilvit(t, "run", "-f", config), 2, "no such file", "dataset[0].captions",
		filepath.Join(dir, "captions.json"))
}

func TestBrokenJSONIsNamed(t *testing.T) {
	dir := t.TempDir()
	config := writeFile(t, dir, "c.json", `{"dataset": [`)
	oneLine(t, distilvit(t, "run", "-f", config), 2, config, "JSON")

	writeFile(t, dir, "captions.json", `{"images": [{"id": 1, "file_name": "a.png"`)
	writeFile(t, dir, "images/a.png", "")
	config = writeFile(
		t, dir, "c.yaml",
		"dataset: [{kind: coco, captions: captions.json, images: images}]\nmodel: {preset: tiny}\n",
	)
	data, _ := sharedStack(t)
	oneLine(t, distilvit(t, "run", "-f", config, "--data", data), 1, "captions.json", "JSON")
}

func TestThreeMistakesInAConfigAreThreeLines(t *testing.T) {
	config := writeFile(
		t, t.TempDir(), "c.yaml",
		"dataset: [{kind: shapes}]\ntrain:\n  epochs: -1\n  batchsize: 8\n  dropout: high\n",
	)
	f := distilvit(t, "run", "-f", config)
	require.Equal(t, 2, f.code)
	require.Equal(t, 3, strings.Count(f.stderr, "\n"), f.stderr)
	for _, part := range []string{"train.epochs", "train.batchsize", "train.dropout"} {
		require.Contains(t, f.stderr, part)
	}
}

func TestPictureThatIsATextFileIsNamed(t *testing.T) {
	model, _, _ := publishedModel(t)
	text := writeFile(t, t.TempDir(), "notes.png", "not a picture\n")
	oneLine(t, distilvit(t, "caption", "-m", model, text), 1, text)

	good := pictures(t, 1)[0]
	f := distilvit(t, "caption", "-m", model, "-o", "json", text, good)
	oneLine(t, f, 1, text)
	require.Contains(t, f.stdout, good, "the other pictures are captioned all the same")
}

func TestZipCutShortIsNamed(t *testing.T) {
	dir := t.TempDir()
	var archive bytes.Buffer
	w := zip.NewWriter(&archive)
	for _, path := range pictures(t, 20) {
		raw, err := os.ReadFile(path)
		require.NoError(t, err)
		entry, err := w.Create(filepath.Base(path))
		require.NoError(t, err)
		_, err = entry.Write(raw)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	writeFile(t, dir, "images.zip", string(archive.Bytes()[:archive.Len()/2]))
	writeFile(t, dir, "captions.csv", "image,caption\nscene-000.png,a red circle\n")
	config := writeFile(
		t, dir, "c.yaml",
		"dataset: [{kind: folder, captions: captions.csv, images: images.zip}]\nmodel: {preset: tiny}\n",
	)
	data, _ := sharedStack(t)
	oneLine(t, distilvit(t, "run", "-f", config, "--data", data), 1, "images.zip")
}

func TestPortInUseIsNamed(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	port := strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
	for _, flag := range []string{"--temporal-port", "--ui-port", "--s3-port"} {
		f := distilvit(t, "up", "--data", filepath.Join(t.TempDir(), "data"), flag, port)
		require.Contains(t, []int{1, 2}, f.code)
		oneLine(t, f, f.code, port)
	}
}

func TestNoSpaceLeftIsSaid(t *testing.T) {
	data := filepath.Join(tmpfs(t, "128k"), "data")
	oneLine(t, distilvit(t, "up", "--data", data), 1, "no space left", data)

	data = filepath.Join(tmpfs(t, "4m"), "data")
	config := writeConfig(t, t.TempDir(), tinyConfig(nil))
	oneLine(t, distilvit(t, "run", "-f", config, "--id", "full", "--data", data), 1, data, "free")
}

// tmpfs mounts a file system of this size.
func tmpfs(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		testenv.Without(t, "mounting a small tmpfs needs root: "+err.Error())
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

func TestWrongS3SecretIsSaid(t *testing.T) {
	_, addresses := sharedStack(t)
	env := []string{
		"TEMPORAL_ADDRESS=" + addresses.Temporal, "S3_ENDPOINT=" + addresses.S3, "S3_ACCESS_KEY=distilvit",
		"S3_SECRET_KEY=wrong-secret",
	}
	oneLine(t, runCommand(t, env, testenv.Program, "list"), 1, addresses.S3)
	oneLine(t, runCommand(t, env, testenv.Program, "worker"), 1, addresses.S3)
}

func TestNoTemporalServerIsSaid(t *testing.T) {
	_, addresses := sharedStack(t)
	nobody := testenv.FreeAddress(t)
	env := []string{
		"TEMPORAL_ADDRESS=" + addresses.Temporal, "S3_ENDPOINT=" + nobody, "S3_ACCESS_KEY=a",
		"S3_SECRET_KEY=b",
	}
	oneLine(t, runCommand(t, env, testenv.Program, "list"), 1, nobody)
}

func TestSecondStackOnADirectoryIsRefused(t *testing.T) {
	data, _ := sharedStack(t)
	oneLine(t, distilvit(t, "up", "--data", data), 2, data)
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(data, link))
	oneLine(t, distilvit(t, "up", "--data", link), 2, "already")
}

// Of several that are started at the same moment one is up, whatever came before, and the others say so.
func TestOneOfSeveralStacksStartedAtOnceIsUp(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	for range 2 {
		started := make([]*testenv.Process, 3)
		for i := range started {
			started[i] = start(t, nil, "up", "--data", data, "-o", "json")
		}
		var up *testenv.Process
		testenv.Await(t, "one that is up, and the others' ends", func() bool {
			ended := 0
			for _, p := range started {
				if !p.Alive() {
					ended++
				} else if strings.Contains(p.Stdout.String(), "\n") {
					up = p
				}
			}
			return up != nil && ended == len(started)-1
		})
		for _, p := range started {
			if p != up {
				oneLine(t, finished{p.Wait(), p.Stdout.String(), p.Stderr.String()}, 2, "a stack is up for", data)
			}
		}
		up.Kill() // and once more on what it left
	}
}
