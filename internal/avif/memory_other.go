//go:build !unix

package avif

import "github.com/tetratelabs/wazero/experimental"

// heap is a module's memory where nothing is mapped.
type heap struct{ all []byte }

func allocate(_, most uint64) experimental.LinearMemory { return &heap{make([]byte, most)} }

func (h *heap) Reallocate(size uint64) []byte {
	if size > uint64(len(h.all)) {
		return nil
	}
	return h.all[:size]
}

func (h *heap) Free() { h.all = nil }
