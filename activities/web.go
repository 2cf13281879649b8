package activities

import (
	"fmt"

	"distilvit/internal/transformersjs"
	"distilvit/pipeline"
)

// web is what exports are checked in beside ONNX Runtime; nil where they are not: the config says so, or asks for
// nothing and this worker has no Node or Transformers.js. warnings say what it was told to check in and cannot.
func (a *Activities) web(e pipeline.ExportConfig) (web *transformersjs.Runner, warnings []string, err error) {
	find := a.FindWeb
	if find == nil {
		find = func() (transformersjs.Runner, error) {
			return transformersjs.Find(a.Backend.CacheDir, a.Chromium)
		}
	}
	found, err := find()
	web, lacks, err := transformersjs.Choose(found, err, e.CheckWeb, e.Require)
	if err != nil {
		return nil, nil, invalid("export.check_web: %v", err)
	}
	if lacks != nil {
		warnings = append(warnings, fmt.Sprintf("exports are not checked in Chromium, which DISTILVIT_CHROMIUM names: %v; "+
			"mend it, or set export.check_web: false to check nowhere", lacks))
	}
	return web, warnings, nil
}
