package trainer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"

	"distilvit/internal/atomicfile"
	"distilvit/internal/backend"
)

// FailuresOutOfService is how many failures in a row, without a checkpoint or an
// evaluation between them, take a device out of service.
const FailuresOutOfService = 3

// Health counts what happens to a worker's devices. Those that fail again and
// again are out of service until a person puts them back; they stand in a file,
// so that a worker that starts again knows of them too.
type Health struct {
	path string

	mu       sync.Mutex
	failures map[int][]string // reasons since the device last did its work
}

// Outage is a device out of service.
type Outage struct {
	Device  int       `json:"device"`
	Since   time.Time `json:"since"`
	Reasons []string  `json:"reasons"` // of its failures, oldest first
}

// Reason is the outage in a line.
func (o Outage) Reason() string {
	return fmt.Sprintf("device %d is out of service since %s after %d failures in a row, last: %s",
		o.Device, o.Since.Local().Format(time.DateTime), len(o.Reasons), o.Reasons[len(o.Reasons)-1])
}

// Fix is the command that ends the outage.
func (o Outage) Fix() string { return fmt.Sprintf("distilvit doctor --reinstate %d", o.Device) }

// String is both.
func (o Outage) String() string {
	return fmt.Sprintf("%s; `%s` on that machine puts it back", o.Reason(), o.Fix())
}

// NewHealth keeps its outages in the file at path, which need not exist.
func NewHealth(path string) *Health {
	return &Health{path: path, failures: map[int][]string{}}
}

// Outages lists the devices out of service. An unreadable file is an error, not
// a device in good order.
func (h *Health) Outages() ([]Outage, error) { return Outages(h.path) }

// Out lists those of some devices that are out of service.
func (h *Health) Out(devices []int) ([]Outage, error) {
	all, err := h.Outages()
	return slices.DeleteFunc(all, func(o Outage) bool { return !slices.Contains(devices, o.Device) }), err
}

// errDamaged is a file of outages that tells nothing.
var errDamaged = errors.New("damaged")

// SetAside renames a damaged file of outages, and answers its new name; empty where it is not damaged. The
// file lies among what may be lost: then every device is in service until it fails again.
func (h *Health) SetAside() (aside string, err error) {
	if _, err := h.Outages(); !errors.Is(err, errDamaged) {
		return "", nil
	}
	aside = h.path + ".damaged"
	err = os.Rename(h.path, aside)
	if errors.Is(err, fs.ErrNotExist) { // another slot was faster
		return "", nil
	}
	return aside, err
}

// Outages reads a worker's file of devices out of service.
func Outages(path string) ([]Outage, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("devices out of service: %w", err)
	}
	var all []Outage
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, fmt.Errorf("devices out of service: %s is %w: %w", path, errDamaged, err)
	}
	for _, o := range all {
		if len(o.Reasons) == 0 {
			return nil, fmt.Errorf("devices out of service: %s is %w: device %d has no reasons", path, errDamaged,
				o.Device)
		}
	}
	return all, nil
}

// Reinstate puts a device back into service and answers whether it was out. A
// worker that runs takes it up by itself.
func Reinstate(path string, device int) (was bool, err error) {
	if all, err := Outages(path); err != nil || len(all) == 0 {
		return false, err
	}
	return was, change(path, func(all []Outage) []Outage {
		return slices.DeleteFunc(all, func(o Outage) bool {
			was = was || o.Device == device
			return o.Device == device
		})
	})
}

// change rewrites the file, one process at a time.
func change(path string, do func([]Outage) []Outage) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("devices out of service: %w", err)
	}
	lock := flock.New(path + ".lock")
	if err := lock.Lock(); err != nil {
		return fmt.Errorf("devices out of service: %w", err)
	}
	defer lock.Unlock()
	all, err := Outages(path)
	if err != nil {
		return err
	}
	b, err := json.MarshalIndent(do(all), "", "  ")
	if err != nil {
		return fmt.Errorf("devices out of service: %w", err)
	}
	if err := atomicfile.WriteBytes(path, 0o644, append(b, '\n')); err != nil {
		return fmt.Errorf("devices out of service: %w", err)
	}
	return nil
}

// refuse is an OutOfService error if one of the devices is out.
func (h *Health) refuse(devices []int) error {
	if h == nil {
		return nil
	}
	out, err := h.Out(devices)
	if err != nil {
		return &Error{Kind: OutOfService, Message: err.Error()}
	}
	if len(out) > 0 {
		return &Error{Kind: OutOfService, Message: out[0].String()}
	}
	return nil
}

// worked forgives earlier failures.
func (h *Health) worked(devices []int) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range devices {
		delete(h.failures, d)
	}
}

// failed counts an error that may be the devices' fault and gives it back, as
// OutOfService if it was one too many. Of several devices that compute together
// nobody knows which one failed: all of them are counted.
func (h *Health) failed(devices []int, err error) error {
	var e *Error
	if h == nil || !errors.As(err, &e) || e.Kind != DeviceLost && e.Kind != Stalled {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	reason := string(e.Kind) + ": " + e.Error()
	out := false
	for _, d := range devices {
		h.failures[d] = append(h.failures[d], reason)
		out = out || len(h.failures[d]) >= FailuresOutOfService
	}
	if !out {
		return err
	}
	since, reasons := time.Now().UTC().Truncate(time.Second), h.failures[devices[0]]
	written := change(h.path, func(all []Outage) []Outage {
		for _, d := range devices {
			all = slices.DeleteFunc(all, func(o Outage) bool { return o.Device == d })
			all = append(all, Outage{Device: d, Since: since, Reasons: reasons})
			delete(h.failures, d)
		}
		slices.SortFunc(all, func(a, b Outage) int { return a.Device - b.Device })
		return all
	})
	if written != nil {
		e.Message += "; " + written.Error()
		return err
	}
	var commands []string
	for _, d := range devices {
		commands = append(commands, "`"+Outage{Device: d}.Fix()+"`")
	}
	last := *e
	last.Kind = OutOfService
	last.Message = fmt.Sprintf("%s out of service after %d failures in a row (%s on that machine ends "+
		"it), last: %s: %s",
		backend.Names(devices), len(reasons), strings.Join(commands, " and "), e.Kind, e.Message)
	return &last
}
