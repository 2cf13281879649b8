//go:build unix

package avif

import (
	"github.com/tetratelabs/wazero/experimental"
	"golang.org/x/sys/unix"
)

// mapped is a module's memory outside Go's heap: it grows without being copied, and goes
// back to the system with the module.
type mapped struct{ all []byte }

func allocate(_, most uint64) experimental.LinearMemory {
	b, err := unix.Mmap(-1, 0, int(most), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return &mapped{}
	}
	return &mapped{b}
}

func (m *mapped) Reallocate(size uint64) []byte {
	if size > uint64(len(m.all)) {
		return nil
	}
	return m.all[:size]
}

func (m *mapped) Free() {
	if m.all != nil {
		// The whole mapping, as it was made: it cannot fail.
		_ = unix.Munmap(m.all)
		m.all = nil
	}
}
