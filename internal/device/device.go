// Package device is the thin layer over GoMLX that moves tensors to and from a
// backend's device and runs compiled graphs, with Go errors instead of panics
// and with memory freed when it is said, not when the collector runs.
package device

import (
	"fmt"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/dtypes/gotype"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
)

// Upload copies flat data of the given shape to the device.
func Upload[T gotype.Supported](be compute.Backend, flat []T, dims ...int) (*tensors.Tensor, error) {
	shape := shapes.Make(dtypes.FromGenericsType[T](), dims...)
	if shape.Size() != len(flat) {
		return nil, fmt.Errorf("upload: %d values for shape %v", len(flat), dims)
	}
	return uploadTo(be, 0, flat, shape)
}

func uploadTo(be compute.Backend, device int, flat any, shape shapes.Shape) (*tensors.Tensor, error) {
	buffer, err := be.BufferFromFlatData(compute.DeviceNum(device), flat, shape)
	if err != nil {
		return nil, fmt.Errorf("upload %s: %w", shape, err)
	}
	return tensors.FromBuffer(buffer)
}

// Download copies a tensor's data to the host and keeps no host copy in the tensor.
func Download[T gotype.Supported](t *tensors.Tensor) ([]T, error) {
	flat, err := tensors.CopyFlatData[T](t)
	if err != nil {
		return nil, fmt.Errorf("download %s: %w", t.Shape(), err)
	}
	if !t.IsLocal() {
		t.FinalizeLocal()
	}
	return flat, nil
}

// Scalar reads a one-element tensor and frees it.
func Scalar[T gotype.Supported](t *tensors.Tensor) (T, error) {
	flat, err := Download[T](t)
	Free(t)
	if err != nil {
		var zero T
		return zero, err
	}
	return flat[0], nil
}

// Free releases tensors on the device and on the host.
func Free(list ...*tensors.Tensor) {
	for _, t := range list {
		if t != nil {
			_ = t.FinalizeAll() // an already released tensor is fine
		}
	}
}

// Program is a graph-building function, compiled once for each set of input shapes.
type Program struct {
	exec *graph.Exec
}

// NewProgram wraps a function that builds a graph from its input nodes.
func NewProgram(
	be compute.Backend, name string, build func(inputs []*graph.Node) []*graph.Node,
) (*Program, error) {
	exec, err := graph.NewExec(be, build)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &Program{exec: exec.WithName(name).SetMaxCache(-1)}, nil
}

// Run executes the program. Inputs stay as they are: nothing is donated, since
// XLA through GoMLX cannot reuse a donated buffer and would free it only when the
// collector runs. Whoever replaces a state frees the old one.
func (p *Program) Run(inputs ...[]*tensors.Tensor) (out []*tensors.Tensor, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%s: %v", p.exec.Name(), r)
		}
	}()
	var args []any
	for _, list := range inputs {
		for _, t := range list {
			args = append(args, t)
		}
	}
	out, err = p.exec.Call(args...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.exec.Name(), err)
	}
	return out, nil
}

// Close releases the compiled graphs.
func (p *Program) Close() {
	if p != nil {
		p.exec.Finalize()
	}
}
