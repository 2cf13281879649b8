//go:build cgo

package backend

import (
	"fmt"

	"github.com/gomlx/compute"
	"github.com/gomlx/go-xla/compute/xla"
	"github.com/gomlx/go-xla/pjrt"
)

const haveXLA = true

func openXLA(c Choice) (compute.Backend, error) {
	xla.EnableAutoInstall(false)
	// go-xla tells from the whole path what a plugin is, and gives CUDA's options to no other.
	if pjrt.IsCUDAName(c.Plugin) != (c.Kind == CUDA) {
		return nil, fmt.Errorf("plugin %s: a path that says cuda or nvidia is taken for CUDA's plugin, and no other "+
			"is: move the plugin, or set XDG_CACHE_HOME to another directory and install it there", c.Plugin)
	}
	config, options := c.Plugin, pjrt.NamedValuesMap{}
	if c.Kind == CUDA {
		visible := make([]int64, c.count())
		for i, d := range c.Devices {
			visible[i] = int64(d)
		}
		options["visible_devices"] = visible
		// go-xla would take buffers for shared in a path that says cpu, and TF32 for wanted on CUDA.
		config += fmt.Sprintf(",shared_buffers=false,tf32=%t", c.TF32)
		if c.Memory > 0 {
			options["memory_fraction"] = float32(c.Memory) // go-xla has it grow up to that: preallocate is false
		}
	} else {
		options["cpu_device_count"] = int64(c.count())
	}
	return xla.NewWithOptions(config, options)
}
