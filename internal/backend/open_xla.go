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
		visible := make([]int64, c.count())
		for i, d := range c.Devices {
			visible[i] = int64(d)
		}
		options["visible_devices"] = visible
	} else {
		options["cpu_device_count"] = int64(c.count())
	}
	return xla.NewWithOptions(c.Plugin, options)
}
