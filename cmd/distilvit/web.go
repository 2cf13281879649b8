package main

import (
	"fmt"
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
func (a *app) web(o exportOptions) (*transformersjs.Runner, error) {
	found, err := findWeb()
	web, lacks, err := transformersjs.Choose(found, err, o.checkWeb, o.require)
	if lacks != nil {
		fmt.Fprintf(a.stderr, "warning: not checked in Chromium, which %s names: %v\n", chromiumVariable, lacks)
	}
	return web, err
}
