//go:build cgo

package backend

import (
	"github.com/gomlx/compute"
	"github.com/gomlx/go-xla/compute/xla"
	"github.com/gomlx/go-xla/pjrt"
)

const haveXLA = true

func openXLA(c Choice) (compute.Backend, error) {
	xla.EnableAutoInstall(false)
	options := pjrt.NamedValuesMap{}
	if c.Kind == CUDA {
		options["visible_devices"] = []int64{int64(c.Device)}
	} else {
		options["cpu_device_count"] = int64(max(c.CPUDevices, 1))
	}
	return xla.NewWithOptions(c.Plugin, options)
}
