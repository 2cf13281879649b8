package chaos

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"distilvit/internal/testenv"
)

// place is where a machine's own stack is when its disk becomes full, and what it says.
type place struct {
	name string
	at   string // the disk is filled once an object of this pattern is stored; empty: before the stack starts
	says string // the last line
	long bool   // of make chaos alone
}

var places = []place{
	{"start", "", "no space left for DATA: free some, or choose another place with --data", true},
	{"prepare", "datasets/*/*.parquet", "free some", false},
	{"checkpoint", "runs/*/checkpoints/1/20/manifest.json", "free some", true},
	{"export", "runs/*/checkpoints/1/40/manifest.json", "free some", true},
}

// A machine's disk, with its stack's database, its store and its work on it, becomes full in one stage or another. The
// run ends with a line that says so, and goes on once there is space, to the weights of one that nothing happened to.
func TestChaosOfFullDisks(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "config.json")
	raw, err := json.Marshal(size{epochs: 2, stepsPerEpoch: 20}.config())
	check(t, err)
	check(t, os.WriteFile(file, raw, 0o644))

	calm := ownStack(t, file)
	if code, said := calm.run(nil); code != 0 {
		t.Fatalf("undisturbed: %s", said)
	}
	want := calm.weights()
	calm.getsOntoAFullDisk(want)
	for _, p := range places {
		if p.long && *faultCount <= shortFaults {
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			s := ownStack(t, file)
			code, said := s.run(&p)
			said = strings.TrimSpace(said)
			last := said[strings.LastIndex(said, "\n")+1:]
			if says := strings.ReplaceAll(p.says, "DATA", s.data); code != 1 || !strings.Contains(last, "no space left") ||
				!strings.Contains(last, says) {
				t.Errorf("exit code %d: %s", code, said)
			}
			check(t, os.Remove(s.ballast()))
			if code, said := s.run(nil); code != 0 {
				t.Fatalf("with space again: %s", said)
			}
			if got := s.weights(); got != want {
				t.Errorf("other weights: %s, undisturbed %s", got, want)
			}
			t.Logf("said: %s", last)
		})
	}
}

// stack is the program with its own stack on a small disk.
type stack struct {
	t    *testing.T
	disk string
	data string
	file string // config of its run
}

func ownStack(t *testing.T, file string) *stack {
	t.Helper()
	disk, own := smallDisk(t)
	if !own {
		testenv.Without(t, "no disk can be filled: mounting a small tmpfs needs root")
	}
	return &stack{t: t, disk: disk, data: filepath.Join(disk, "data"), file: file}
}

func (s *stack) ballast() string { return filepath.Join(s.disk, ballast) }

// run runs to its end, with a disk that becomes full at a place; nil: it does not.
func (s *stack) run(p *place) (code int, said string) {
	s.t.Helper()
	if p != nil && p.at == "" {
		fill(s.t, s.ballast())
	}
	command := testenv.Start(s.t, testenv.Command(nil, testenv.Program, "run", "-f", s.file, "--id", runID, "--data", s.data))
	if p != nil && p.at != "" {
		command.Await("an object of "+p.at, func() bool {
			found, _ := filepath.Glob(filepath.Join(s.data, "s3", "objects", bucket, p.at))
			return len(found) > 0
		})
		fill(s.t, s.ballast())
	}
	return command.Wait(), command.Stderr.String()
}

// weights is the SHA-256 of the published ones.
func (s *stack) weights() string {
	s.t.Helper()
	dir := filepath.Join(s.t.TempDir(), "model")
	if code, said := s.get(dir); code != 0 {
		s.t.Fatal(said)
	}
	return fileDigest(s.t, filepath.Join(dir, "model.safetensors"))
}

func (s *stack) get(dir string) (code int, said string) {
	s.t.Helper()
	p := testenv.Start(s.t, testenv.Command(nil, testenv.Program, "get", runID, dir, "--data", s.data))
	return p.Wait(), p.Stderr.String()
}

// getsOntoAFullDisk fetches the model to a disk without space: one line, no half a file, and the same command goes on.
func (s *stack) getsOntoAFullDisk(want string) {
	t := s.t
	t.Helper()
	disk, _ := smallDisk(t)
	fill(t, filepath.Join(disk, ballast))
	dir := filepath.Join(disk, "model")
	code, said := s.get(dir)
	if code != 1 || !strings.Contains(said, "no space left") || strings.Count(strings.TrimSpace(said), "\n") > 0 {
		t.Errorf("exit code %d: %s", code, said)
	}
	check(t, os.Remove(filepath.Join(disk, ballast)))
	check(t, filepath.WalkDir(disk, func(path string, e fs.DirEntry, err error) error {
		if err == nil && strings.Contains(e.Name(), ".part") {
			t.Errorf("left: %s", path)
		}
		return err
	}))
	if code, said := s.get(dir); code != 0 {
		t.Fatal(said)
	}
	if got := fileDigest(t, filepath.Join(dir, "model.safetensors")); got != want {
		t.Errorf("other weights: %s, %s", got, want)
	}
}

// fill leaves no byte free on the disk of a file.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	check(t, err)
	defer f.Close()
	_, err = io.Copy(f, endless{})
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

// endless is a file of zeros without an end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func fileDigest(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	check(t, err)
	return digest(raw)
}
