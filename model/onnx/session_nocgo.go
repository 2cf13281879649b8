//go:build !cgo

package onnx

import (
	"errors"

	"distilvit/model"
)

// Session needs cgo, as ONNX Runtime is a C library; without it files are written but not run.
type Session struct{}

// Threads is how many threads a session computes with.
const Threads = 0

var errNoCgo = errors.New("this program was built without cgo: ONNX files cannot be run")

// Open fails: ONNX files cannot be run.
func Open(libraryPath, dir, dtype string) (*Session, error) { return nil, errNoCgo }

// StartTokenID is 0; no session was ever open.
func (*Session) StartTokenID() int32 { return 0 }

// Close fails; no session was ever open.
func (*Session) Close() error { return errNoCgo }

// Generate fails: ONNX files cannot be run.
func (*Session) Generate(pixelValues []float32, o model.GenerateOptions) ([]int32, error) {
	return nil, errNoCgo
}

// Logits fails: ONNX files cannot be run.
func (*Session) Logits(pixelValues []float32, ids []int32) ([]float32, error) { return nil, errNoCgo }

// GenerateBatch fails: ONNX files cannot be run.
func (*Session) GenerateBatch(pixelValues []float32, n int, o model.GenerateOptions) ([][]int32, error) {
	return nil, errNoCgo
}
