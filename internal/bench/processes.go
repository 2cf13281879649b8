package bench

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"distilvit/internal/devstack/s3d"
)

// Roles of the processes of a measured run. Those of processes that this one started are the command lines'
// first words.
const (
	RoleTemporal = "temporal" // this process, which hosts it
	RoleS3       = s3d.Command
	RoleWorker   = "worker"
	RoleTrainer  = "trainer"
)

// Memory of a process, in bytes.
type Memory struct {
	// with pages of files such as the program's, as many as the kernel happens to keep
	Resident  int64 `json:"resident"`
	Anonymous int64 `json:"anonymous"` // without them; seen every 200 ms
}

// watched is what the processes that descend from this one take, by role.
type watched struct {
	peak map[string]Memory                // at the most since reset; of several processes the largest
	cpu  map[string]map[int]time.Duration // by role and process id, when it was last seen
}

func newWatched() *watched {
	return &watched{peak: map[string]Memory{}, cpu: map[string]map[int]time.Duration{}}
}

// look reads /proc once. A process that ends between two looks has no later numbers.
func (w *watched) look() {
	for pid, role := range descendants() {
		was, now := w.peak[role], memoryOf(pid)
		w.peak[role] = Memory{max(was.Resident, now.Resident), max(was.Anonymous, now.Anonymous)}
		if cpu, ok := cpuOf(pid); ok {
			if w.cpu[role] == nil {
				w.cpu[role] = map[int]time.Duration{}
			}
			w.cpu[role][pid] = cpu
		}
	}
}

// reset forgets peaks, the kernel's too.
func (w *watched) reset() {
	for pid := range descendants() {
		_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0) // a process that has ended
	}
	clear(w.peak)
}

// workers is the CPU time of all workers so far; what they started and is over is in it.
func (w *watched) workers() time.Duration { return w.sum(RoleWorker) }

func (w *watched) stack() time.Duration { return w.sum(RoleTemporal) + w.sum(RoleS3) }

func (w *watched) sum(role string) (total time.Duration) {
	for _, cpu := range w.cpu[role] {
		total += cpu
	}
	return total
}

// descendants are this process and all that descend from it, with their roles.
func descendants() map[int]string {
	self := os.Getpid()
	found := map[int]string{self: RoleTemporal}
	for next := childrenOf(self); len(next) > 0; {
		pid := next[0]
		found[pid] = roleOf(pid)
		next = append(next[1:], childrenOf(pid)...)
	}
	return found
}

// childrenOf are the processes that a process's threads have started. Asking for all processes instead would cost a
// measured hour minutes of CPU time, which would count as the stack's.
func childrenOf(pid int) (pids []int) {
	threads, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid)) // the process may have ended
	for _, thread := range threads {
		raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, thread.Name()))
		for field := range strings.FieldsSeq(string(raw)) {
			if child, err := strconv.Atoi(field); err == nil {
				pids = append(pids, child)
			}
		}
	}
	return pids
}

// roleOf is the first argument of a process of this program.
func roleOf(pid int) string {
	line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	words := bytes.Split(line, []byte{0})
	if len(words) < 2 {
		return ""
	}
	return string(words[1])
}

// statOf are the fields of /proc/PID/stat from the state on; nil: it has ended.
func statOf(pid int) []string {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	_, rest, _ := strings.Cut(string(line[bytes.LastIndexByte(line, ')')+1:]), " ")
	fields := strings.Fields(rest)
	if len(fields) < 15 {
		return nil
	}
	return fields
}

// cpuOf is the user and system time of a process and of its children that have ended.
func cpuOf(pid int) (time.Duration, bool) {
	fields := statOf(pid)
	if fields == nil {
		return 0, false
	}
	const tick = 10 * time.Millisecond // USER_HZ is 100 on Linux
	var ticks int64
	for _, field := range fields[11:15] {
		n, _ := strconv.ParseInt(field, 10, 64)
		ticks += n
	}
	return time.Duration(ticks) * tick, true
}

// memoryOf is the most resident and the present anonymous memory of a process; zero: it has ended.
func memoryOf(pid int) (m Memory) {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		to := map[string]*int64{"VmHWM": &m.Resident, "RssAnon": &m.Anonymous}[name]
		if to == nil {
			continue
		}
		kib, _ := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
		*to = kib << 10
	}
	return m
}
