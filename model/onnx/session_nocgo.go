//go:build !cgo

package onnx

import "errors"

// Session needs cgo, as ONNX Runtime is a C library; without it files are written but not run.
type Session struct{}

// Threads is how many threads a session computes with.
const Threads = 0

var errNoCgo = errors.New("this program was built without cgo: ONNX files cannot be run")

func Open(libraryPath, dir, dtype string) (*Session, error)                     { return nil, errNoCgo }
func (*Session) Close() error                                                   { return errNoCgo }
func (*Session) StartTokenID() int32                                            { return 0 }
func (*Session) Generate(pixelValues []float32, maxLength int) ([]int32, error) { return nil, errNoCgo }
func (*Session) Logits(pixelValues []float32, ids []int32) ([]float32, error)   { return nil, errNoCgo }
func (*Session) GenerateBatch(pixelValues []float32, n, maxLength int) ([][]int32, error) {
	return nil, errNoCgo
}
