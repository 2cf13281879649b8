package transformersjs

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"distilvit/artifact/record"
	"distilvit/model/onnx"
)

// CheckExports adds to the checks of a model directory's exports what each does in Transformers.js, by what the trainer is
// sure of, and lets config.json name another dtype where its own is wrong. A dtype that is not right on
// one of the required devices is a *MissingError.
func (r Runner) CheckExports(
	ctx context.Context, dir string, checks []record.ExportCheck, sure []Line, require []string,
	told func(device string, l Line),
) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	found, err := r.Check(ctx, dir, sure, told)
	if err != nil {
		return err
	}
	for i, c := range checks {
		checks[i].Devices = found[c.Dtype]
	}
	if err := missing(checks, require); err != nil {
		return err
	}
	_, err = onnx.Recommend(dir, checks)
	return err
}

// MissingError says which exports are not right where they have to be.
type MissingError struct{ Exports []string }

func (e *MissingError) Error() string {
	return "exports are not right where they are required to be (export.require); leave the dtypes or the devices " +
		"out:\n  " + strings.Join(e.Exports, "\n  ")
}

// missing compares with what is required.
func missing(checks []record.ExportCheck, require []string) error {
	var exports []string
	for _, c := range checks {
		for _, device := range require {
			i := slices.IndexFunc(c.Devices, func(d record.DeviceCheck) bool { return d.Device == device })
			switch {
			case i < 0:
				exports = append(exports, fmt.Sprintf("%s, %s: not checked, as it captions no picture as the model does",
					c.Dtype, device))
			case !c.Devices[i].Right():
				exports = append(exports, fmt.Sprintf("%s, %s: %v", c.Dtype, device, c.Devices[i]))
			}
		}
	}
	if exports == nil {
		return nil
	}
	return &MissingError{exports}
}

// Check captions a model's pictures with each dtype on every device, and compares with what is wanted: an export's
// captions of them in Go. The result is by dtype. What does not run, crashes or falls silent is part of it; an error
// is only that of ctx or of this machine. told, if not nil, is told of each caption.
func (r Runner) Check(
	ctx context.Context, dir string, want []Line, told func(device string, l Line),
) (map[string][]record.DeviceCheck, error) {
	checks := map[string][]record.DeviceCheck{}
	for _, device := range r.Devices() {
		for left := workOf(want); len(left) > 0; {
			got := map[string][]Line{}
			err := r.Captions(ctx, device, []string{dir}, left, func(l Line) {
				got[l.Dtype] = append(got[l.Dtype], l)
				if told != nil {
					told(device, l)
				}
			})
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			done := 0
			for _, w := range left {
				c := compare(want, w, append(got[w.Dtype], got[""]...), err)
				c.Device, c.Version = device, r.Library.Version
				checks[w.Dtype] = append(checks[w.Dtype], c)
				if done++; err != nil && c.Error == err.Error() {
					break // the others are tried without it
				}
			}
			left = left[done:]
		}
	}
	return checks, nil
}

// workOf are the pictures by dtype, in their order.
func workOf(want []Line) []Work {
	var work []Work
	for _, l := range want {
		i := slices.IndexFunc(work, func(w Work) bool { return w.Dtype == l.Dtype })
		if i < 0 {
			i, work = len(work), append(work, Work{Dtype: l.Dtype})
		}
		work[i].Images = append(work[i].Images, l.Image)
	}
	return work
}

// compare judges what came of a dtype; err is why the rest did not.
func compare(want []Line, w Work, got []Line, err error) (c record.DeviceCheck) {
	for _, l := range got {
		if l.Error != "" {
			c.Error = l.Error
			return c
		}
		c.Pictures++
		if slices.ContainsFunc(want, func(x Line) bool {
			return x.Dtype == w.Dtype && x.Image == l.Image && slices.Equal(x.TokenIDs, l.TokenIDs)
		}) {
			c.EqualIDs++
		}
	}
	if c.Pictures < len(w.Images) {
		c.Error = "no captions"
		if err != nil {
			c.Error = err.Error()
		}
	}
	return c
}
