package main

import (
	"slices"
	"strings"

	"distilvit/internal/transformersjs"
	"distilvit/pipeline"
)

func (o exportOptions) checkRequired() error {
	for _, device := range o.require {
		if all := pipeline.Devices(); !slices.Contains(all, device) {
			return usagef("--require %s: use %s", device, strings.Join(all, ", "))
		}
	}
	if o.checkWeb != nil && !*o.checkWeb && len(o.require) > 0 {
		return usagef("--require needs the check; leave --check-web=false out")
	}
	return nil
}

// web is what exports are checked in beside ONNX Runtime; nil: in nothing.
func (o exportOptions) web() (*transformersjs.Runner, error) {
	if o.checkWeb != nil && !*o.checkWeb {
		return nil, nil
	}
	r, err := findWeb()
	if o.checkWeb == nil && len(o.require) == 0 && !r.Usual() {
		return nil, nil
	}
	if err == nil {
		err = r.Lacks(o.require)
	}
	return &r, err
}
