package activities

import (
	"distilvit/internal/transformersjs"
	"distilvit/pipeline"
)

// web is what exports are checked in beside ONNX Runtime; nil where they are not: the config says so, or asks for
// nothing and this worker has no Node or Transformers.js.
func (a *Activities) web(e pipeline.ExportConfig) (*transformersjs.Runner, error) {
	if e.CheckWeb != nil && !*e.CheckWeb {
		return nil, nil
	}
	find := a.FindWeb
	if find == nil {
		find = func() (transformersjs.Runner, error) {
			return transformersjs.Find(a.Backend.CacheDir, a.Chromium)
		}
	}
	r, err := find()
	if e.CheckWeb == nil && len(e.Require) == 0 && !r.Usual() {
		return nil, nil
	}
	if err == nil {
		err = r.Lacks(e.Require)
	}
	if err != nil {
		return nil, invalid("export.check_web: %v", err)
	}
	return &r, nil
}
