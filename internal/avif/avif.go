// Package avif decodes AVIF pictures with libavif and libaom, which github.com/gen2brain/avif carries as
// WebAssembly. They run here and not by that package's own Decode, which knows no bounds of memory and time, would
// take another libavif where the machine has one, and blends colours with black where they are transparent.
package avif

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
	_ "unsafe" // for go:linkname

	_ "github.com/gen2brain/avif" // has the decoder
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// decodeWasm is the decoder, packed with gzip: one function, decode, beside malloc.
//
//go:linkname decodeWasm github.com/gen2brain/avif.decodeWasm
var decodeWasm []byte

// MemoryBytes bounds the decoder's memory, its input and the pixels among it.
const MemoryBytes = 256 << 20

// timeout bounds the decoding of one picture; the largest that MemoryBytes allows takes seconds.
const timeout = 2 * time.Minute

// compiled is the decoder as machine code, which takes a part of a second to make.
var compiled = sync.OnceValues(func() (d struct {
	wazero.Runtime
	wazero.CompiledModule
}, err error,
) {
	ctx := context.Background()
	z, err := gzip.NewReader(bytes.NewReader(decodeWasm))
	if err != nil {
		return d, err
	}
	wasm, err := io.ReadAll(z)
	if err != nil {
		return d, err
	}
	d.Runtime = wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().
		WithMemoryLimitPages(MemoryBytes>>16).WithCloseOnContextDone(true))
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, d.Runtime); err != nil {
		return d, err
	}
	d.CompiledModule, err = d.Runtime.CompileModule(ctx, wasm)
	return d, err
})

// Header is what is known of a picture before its pixels take memory.
type Header struct {
	Width, Height int // pixels
	Depth         int // bits a sample: 8, 10 or 12
}

// ReadHeader reads a picture's size.
func ReadHeader(file []byte) (Header, error) {
	var h Header
	err := withDecoder(file, func(d *decoder) (err error) {
		h, err = d.header()
		return err
	})
	return h, err
}

// Decode decodes the first frame and hands it to use, which must not keep it: RGBA [height, width, 4] of uint8,
// or where Depth is above 8 of uint16, little endian. Transparency is left out, and so is what the file says of
// turning.
func Decode(file []byte, use func(h Header, pix []uint8)) error {
	return withDecoder(opaque(file), func(d *decoder) error { return d.decode(use) })
}

// alphaNames mark an auxiliary picture as the alpha plane.
var alphaNames = [][]byte{
	[]byte("urn:mpeg:mpegB:cicp:systems:auxiliary:alpha"), []byte("urn:mpeg:hevc:2015:auxid:1"),
}

// opaque hides the alpha plane, with which the decoder would multiply the colours.
func opaque(file []byte) []byte {
	for _, name := range alphaNames {
		if bytes.Contains(file, name) {
			file = bytes.ReplaceAll(file, name, bytes.Repeat([]byte("-"), len(name)))
		}
	}
	return file
}

// decoder is an instance of the module with a file in its memory.
type decoder struct {
	api.Module
	ctx          context.Context
	file, values uint32 // addresses
	size         int    // of the file
}

var errDecode = errors.New("is damaged, or of a kind that libavif does not read")

func withDecoder(file []byte, do func(d *decoder) error) error {
	c, err := compiled()
	if err != nil {
		return fmt.Errorf("AVIF decoder: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	// A name would be taken while another picture is decoded.
	m, err := c.InstantiateModule(experimental.WithMemoryAllocator(ctx, experimental.MemoryAllocatorFunc(allocate)),
		c.CompiledModule, wazero.NewModuleConfig().WithName(""))
	if err != nil {
		return fmt.Errorf("AVIF decoder: %w", err)
	}
	defer m.Close(context.Background())
	d := &decoder{Module: m, ctx: ctx, size: len(file)}
	if d.file, err = d.malloc(len(file)); err != nil {
		return err
	}
	if d.values, err = d.malloc(6 * 4); err != nil { // width, height, depth, count; a duration
		return err
	}
	if !m.Memory().Write(d.file, file) {
		return errMemory
	}
	return do(d)
}

var errMemory = fmt.Errorf("takes more than %d MiB to decode; make the picture smaller", MemoryBytes>>20)

func (d *decoder) malloc(n int) (uint32, error) {
	if n < 1 || n > MemoryBytes {
		return 0, errMemory
	}
	out, err := d.ExportedFunction("malloc").Call(d.ctx, uint64(n))
	if err != nil {
		return 0, err
	}
	if out[0] == 0 {
		return 0, errMemory
	}
	return uint32(out[0]), nil
}

// call runs the module's one function: of the header, or of the pixels, which go to out.
func (d *decoder) call(headerOnly, out uint32) error {
	v := d.values
	result, err := d.ExportedFunction("decode").Call(d.ctx, uint64(d.file), uint64(d.size), uint64(headerOnly), 0,
		uint64(v), uint64(v+4), uint64(v+8), uint64(v+12), uint64(v+16), uint64(out))
	switch {
	case d.ctx.Err() != nil:
		return fmt.Errorf("is not decoded after %v", timeout)
	case err != nil:
		return errDecode // a trap, which says nothing to people
	case result[0] == 0:
		return errDecode
	}
	return nil
}

func (d *decoder) header() (h Header, err error) {
	if err := d.call(1, 0); err != nil {
		return h, err
	}
	for i, to := range []*int{&h.Width, &h.Height, &h.Depth} {
		v, ok := d.Memory().ReadUint32Le(d.values + uint32(4*i))
		if !ok {
			return h, errDecode
		}
		*to = int(v)
	}
	return h, nil
}

func (d *decoder) decode(use func(h Header, pix []uint8)) error {
	h, err := d.header()
	if err != nil {
		return err
	}
	n := h.Width * h.Height * 4
	if h.Depth > 8 {
		n *= 2
	}
	out, err := d.malloc(n)
	if err != nil {
		return err
	}
	// Where the stream is damaged the decoder answers 1 and writes nothing. What it writes
	// is never all 0: its last byte is opaque.
	memory := d.Memory()
	memory.WriteByte(out+uint32(n)-1, 0)
	if err := d.call(0, out); err != nil {
		return err
	}
	pix, ok := memory.Read(out, uint32(n))
	if !ok || len(pix) == 0 || pix[n-1] == 0 {
		return errDecode
	}
	use(h, pix)
	return nil
}
