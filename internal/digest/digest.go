// Package digest is SHA-256 as this program names things by it: in lower-case hex, beside the number of
// bytes.
package digest

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"os"
)

// Sum is the digest and the number of the bytes that were written to it so far. Its Hash's state can be
// marshalled.
type Sum struct {
	hash.Hash
	Size int64
}

// New is the Sum of no bytes.
func New() *Sum { return &Sum{Hash: sha256.New()} }

// Write implements io.Writer; it does not fail.
func (s *Sum) Write(p []byte) (int, error) {
	s.Size += int64(len(p))
	return s.Hash.Write(p)
}

// Hex is the digest, 64 hex digits.
func (s *Sum) Hex() string { return hex.EncodeToString(s.Sum(nil)) }

// Reader reads to the end.
func Reader(r io.Reader) (*Sum, error) {
	s := New()
	_, err := io.CopyBuffer(s, struct{ io.Reader }{r}, make([]byte, 1<<20))
	return s, err
}

// File is the digest, 64 hex digits, and the number of bytes of a local file.
func File(path string) (hex string, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	s, err := Reader(f)
	return s.Hex(), s.Size, err
}

// Bytes is the digest of bytes in memory, 64 hex digits.
func Bytes(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
