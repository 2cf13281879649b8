// Package atomicfile writes files that are either complete and on the disk or not there, whatever ends the
// process or the machine.
package atomicfile

import (
	"bufio"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Partial is in the name of a file that is being written, between the name it will have and a random number.
const Partial = ".part"

// Write puts what write writes into a file beside path, syncs it, gives it the mode, and renames it to path,
// over a file that was there. An error leaves path as it was and nothing beside it.
func Write(path string, mode fs.FileMode, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+Partial+"*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close() // has failed already, or is closed
			os.Remove(f.Name())
		}
	}()
	buffered := bufio.NewWriterSize(f, 1<<20)
	if err := write(buffered); err != nil {
		return err
	}
	if err := buffered.Flush(); err != nil {
		return err
	}
	if err := f.Chmod(mode); err != nil { // a temporary file is its owner's alone
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// WriteBytes is Write of what is in memory.
func WriteBytes(path string, mode fs.FileMode, data []byte) error {
	return Write(path, mode, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}
