package worker

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"

	"distilvit/internal/backend"
	"distilvit/internal/filelock"
)

// claims are the CUDA devices of a worker, kept from other workers of this machine, which would each find too little
// memory there and fail in turn. A worker that takes a part of the memory by choice shares with others that do.
type claims []*flock.Flock

// claim claims the devices of all slots, where there is CUDA.
func claim(o Options) (held claims, err error) {
	cuda := o.Backend
	cuda.Kind = backend.CUDA
	if _, err := backend.Choose(cuda); err != nil {
		return nil, nil // other kinds compute on the CPU, which the system shares out
	}
	kind := filelock.Exclusive
	if o.Backend.Memory > 0 {
		kind = filelock.Shared
	}
	for _, slot := range o.Slots {
		for _, n := range slot {
			path := claimFile(n)
			l, err := filelock.Try(path, kind)
			if err == nil && l == nil {
				held.release()
				return nil, fmt.Errorf("CUDA device %d is another worker's of this machine (lock %s): give this one other "+
					"--devices, or let both share it by --device-memory, such as 0.45 each", n, path)
			}
			if err != nil { // another user's file, say: it must not keep anybody from training
				o.Log.Warn("cannot tell whether another worker trains on this CUDA device", "device", n, "error", err)
				continue
			}
			held = append(held, l)
		}
	}
	return held, nil
}

// claimFile is the file that a machine's workers lock for a CUDA device, whatever number CUDA_VISIBLE_DEVICES gives it.
func claimFile(device int) string {
	name := fmt.Sprint(device)
	shown := strings.Split(os.Getenv("CUDA_VISIBLE_DEVICES"), ",")
	if device < len(shown) && shown[device] != "" {
		name = strings.ReplaceAll(strings.TrimSpace(shown[device]), "/", "-")
	}
	return filepath.Join(os.TempDir(), "distilvit-cuda-"+name+".lock")
}

func (c claims) release() {
	for _, l := range c {
		l.Close()
	}
}
