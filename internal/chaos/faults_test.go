package chaos

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"distilvit/internal/testenv"
)

// fault is one thing that goes wrong while a run trains.
type fault struct {
	name   string
	inject func(r *run)        // does the damage
	seen   func(r *run) string // what shows its effect, in log or history; empty: nothing yet
	repair func(r *run)        // what a supervisor or a person does about it; nil: nothing
	once   bool                // not more than once a run
}

// Faults by what they hit. A short run takes one of each class, a long one all.
var faults = map[string][]fault{
	"trainer": {
		{
			"kill -9 of the trainer", signalTrainer(syscall.SIGKILL),
			inHistory("DeviceLost: trainer died: signal killed"), nil, false,
		},
		{"SIGSEGV in the trainer", signalTrainer(syscall.SIGSEGV), inHistory("SIGSEGV"), nil, false},
		{"SIGABRT in the trainer", signalTrainer(syscall.SIGABRT), inHistory("SIGABRT"), nil, false},
	},
	"silence": {
		{"trainer hangs", signalTrainer(syscall.SIGSTOP), inHistory("Stalled: "), nil, false},
	},
	"memory": {
		{"trainer out of memory", starveTrainer, inHistory("OutOfMemory: "), nil, true},
	},
	"worker": {
		{"kill -9 of the worker", killWorker, inHistory("Heartbeat timeout"), nil, false},
		{"kill -9 of everything", killEverything, inHistory("Heartbeat timeout"), nil, false},
	},
	"servers": {
		{"kill -9 of the S3 server", killS3, inLog("checkpoint is not stored yet"), startS3, false},
		{"kill -9 of Temporal", killTemporal, inLog("connection refused"), startTemporal, false},
	},
	"outages": {
		{"S3 away for a minute", killS3, aMinuteAfter(inLog("checkpoint is not stored yet")), startS3, true},
		{"Temporal away for a minute", killTemporal, aMinuteAfter(inLog("connection refused")),
			startTemporal, true},
	},
	"bytes": {
		{
			"local checkpoint truncated", truncateCheckpoint, inLog("damaged on this machine and dropped"),
			nil, false,
		},
		{
			"bit flipped in a checkpoint", flipBit, inLog("checkpoint cannot be read, trying an older one"),
			nil, false,
		},
	},
	"disk": {
		{"disk full", fillDisk, inHistory("StorageFull: "), emptyDisk, false},
	},
}

func inHistory(texts ...string) func(*run) string {
	return func(r *run) string { return r.inHistory(texts...) }
}

func inLog(texts ...string) func(*run) string {
	return func(r *run) string { return r.logged(texts...) }
}

func aMinuteAfter(seen func(*run) string) func(*run) string {
	return func(r *run) string {
		if time.Since(r.begun) < time.Minute {
			return ""
		}
		return seen(r)
	}
}

// hit sends a signal to the trainer that works just now.
func (r *run) hit(signal syscall.Signal) (m *machine, pid int) {
	r.t.Helper()
	testenv.Await(r.t, "a trainer to hit", func() bool {
		m, pid = r.training()
		return m != nil && syscall.Kill(pid, signal) == nil
	})
	return m, pid
}

func signalTrainer(signal syscall.Signal) func(*run) {
	return func(r *run) { r.hit(signal) }
}

// starveTrainer kills the trainer and leaves the one that takes its place hardly
// more address space than it has before its first step, so that an allocation
// fails for real. (A trainer in its stride may never ask for more memory.)
func starveTrainer(r *run) {
	const more = 16 << 20
	known := r.trainers()
	_, old := r.awaitTrainer()
	grown := addressSpace(old)
	r.hit(syscall.SIGKILL)
	testenv.Await(r.t, "the next trainer", func() bool {
		for _, pid := range r.trainers() {
			now := addressSpace(pid)
			if slices.Contains(known, pid) || now < grown*7/10 { // another run's left-over; or hardly started
				continue
			}
			limit := unix.Rlimit{Cur: now + more, Max: unix.RLIM_INFINITY}
			return unix.Prlimit(pid, unix.RLIMIT_AS, &limit, nil) == nil
		}
		return false
	})
}

// addressSpace of a process, in bytes; 0 where there is no such process.
func addressSpace(pid int) uint64 {
	statm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	size, _, _ := strings.Cut(string(statm), " ")
	pages, _ := strconv.ParseUint(size, 10, 64)
	return pages * uint64(os.Getpagesize())
}

// killWorker kills the worker that trains, whose trainer must go with it, and
// starts it again as a supervisor does. The other machine may be faster.
func killWorker(r *run) {
	m, pid := r.awaitTrainer()
	m.Kill()
	r.awaitGone(pid)
	m.start()
}

func killEverything(r *run) {
	_, pid := r.awaitTrainer()
	for _, m := range r.machines {
		m.Kill()
	}
	r.s3.Kill()
	r.temporal.Kill()
	r.awaitGone(pid)
	r.temporal.start()
	r.s3.start()
	for _, m := range r.machines {
		m.start()
	}
}

func (r *run) awaitGone(pid int) {
	r.t.Helper()
	testenv.Await(r.t, "the trainer's end with its worker", func() bool { return testenv.Gone(pid) })
}

func killS3(r *run)        { r.s3.Kill() }
func startS3(r *run)       { r.s3.start() }
func killTemporal(r *run)  { r.temporal.Kill() }
func startTemporal(r *run) { r.temporal.start() }

// truncateCheckpoint cuts finished local checkpoints short while a store that
// does not answer keeps them from being uploaded.
func truncateCheckpoint(r *run) {
	m, _ := r.awaitTrainer()
	r.s3.Signal(syscall.SIGSTOP)
	defer r.s3.Signal(syscall.SIGCONT)
	seen := map[string]bool{}
	cut := 0
	testenv.Await(r.t, "two checkpoints that wait to be uploaded", func() bool {
		for _, dir := range m.checkpoints() {
			if seen[dir] {
				continue
			}
			seen[dir] = true
			// the first is on its way already
			if len(seen) > 1 && os.Truncate(filepath.Join(dir, "optimizer.safetensors"), 1000) == nil {
				cut++
			}
		}
		return cut >= 2
	})
}

// attempts are the directories of the attempts at an epoch under way.
func (m *machine) attempts() []string {
	dirs, _ := filepath.Glob(filepath.Join(m.data, "work", "attempts", "epoch-*[0-9a-f]"))
	return dirs
}

// checkpoints are the directories of finished checkpoints not uploaded yet.
func (m *machine) checkpoints() []string {
	dirs, _ := filepath.Glob(filepath.Join(m.data, "work", "attempts", "epoch-*", "checkpoints", "*[0-9]"))
	return dirs
}

// flipBit changes one bit of the newest checkpoint, in the object store and in
// the machine's own copy, and makes a trainer that has to read it.
func flipBit(r *run) {
	m, pid := r.hit(syscall.SIGSTOP) // so that no newer one comes meanwhile
	testenv.Await(r.t, "the upload of what is finished", func() bool { return len(m.checkpoints()) == 0 })
	dirs, err := filepath.Glob(filepath.Join(r.s3.files, "runs", runID, "checkpoints", "*",
		strconv.FormatInt(r.points.newest(), 10), "manifest.json"))
	check(r.t, err)
	raw, err := os.ReadFile(dirs[0])
	check(r.t, err)
	var manifest struct {
		Files map[string]struct {
			Key  string `json:"key"`
			Size int64  `json:"size"`
		} `json:"files"`
	}
	check(r.t, json.Unmarshal(raw, &manifest))
	name := []string{"model.safetensors", "optimizer.safetensors"}[r.rng.IntN(2)]
	file := manifest.Files[name]
	at, bit := r.rng.Int64N(file.Size), byte(1)<<r.rng.IntN(8)
	check(r.t, flip(filepath.Join(r.s3.files, file.Key), at, bit))
	check(r.t, flip(filepath.Join(m.data, "work", "checkpoints", runID, name), at, bit))
	check(r.t, syscall.Kill(pid, syscall.SIGKILL))
}

func flip(path string, at int64, bit byte) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	var one [1]byte
	if _, err := f.ReadAt(one[:], at); err != nil {
		return err
	}
	one[0] ^= bit
	_, err = f.WriteAt(one[:], at)
	return err
}

// fillDisk leaves no byte free on the machine that trains.
func fillDisk(r *run) {
	m, _ := r.awaitTrainer()
	fill(r.t, filepath.Join(m.data, ballast))
}

const ballast = "ballast"

func emptyDisk(r *run) {
	for _, m := range r.machines {
		if err := os.Remove(filepath.Join(m.data, ballast)); err != nil && !errors.Is(err, os.ErrNotExist) {
			r.t.Fatal(err)
		}
	}
}
