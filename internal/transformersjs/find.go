package transformersjs

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"distilvit/artifact/record"
	"distilvit/internal/backend"
)

// browsers are the names that Chromium's program has.
var browsers = []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"}

// Find finds what this machine can check by: Node and Chromium (the program named, or one of its names in PATH), each
// with the Transformers.js that is installed for it in a cache directory. The error says what is missing where
// neither is there, or not the Chromium that is named; what is there is in the runner all the same.
func Find(cacheDir, chromium string) (Runner, error) {
	var r Runner
	module, version, nodeErr := backend.TransformersJSNode(cacheDir)
	if node, err := exec.LookPath("node"); err != nil {
		nodeErr = fmt.Errorf("find node: %w", err)
	} else if nodeErr == nil {
		r.Node, r.Library.Module, r.Library.Version = node, module, version
	}
	names := browsers
	if chromium != "" {
		names = []string{chromium}
	}
	program, err := firstProgram(names)
	if err == nil {
		var dir string
		if dir, _, err = backend.TransformersJS(cacheDir); err == nil {
			r.Chromium, r.Library.Script, r.Library.Wasm = program, dir, dir
			r.Library.Version = filepath.Base(dir)
		}
	}
	if err != nil && chromium != "" {
		err = fmt.Errorf("%s: %w", chromium, err)
	}
	if len(r.Devices()) == 0 || err != nil && chromium != "" {
		return r, errors.Join(nodeErr, err)
	}
	return r, nil
}

func firstProgram(names []string) (path string, err error) {
	for _, name := range names {
		if path, err = exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("find Chromium: %w", err)
}

// Devices are those that the runner has a program and a library for.
func (r Runner) Devices() []string {
	var devices []string
	if r.Node != "" && r.Library.Module != "" {
		devices = append(devices, record.DeviceNode)
	}
	if r.Chromium != "" && r.Library.Script != "" {
		devices = append(devices, record.DeviceWasm, record.DeviceWebGPU)
	}
	return devices
}

// Choose decides from what Find found whether exports are checked, and in what; nil: they are not. want and require
// are export.check_web and export.require. Without them exports are checked where there is Transformers.js for Node,
// which has no other use; lacks then says what this machine was told to check in, too, and cannot.
func Choose(found Runner, findErr error, want *bool, require []string) (web *Runner, lacks, err error) {
	switch {
	case want != nil && !*want:
		return nil, nil, nil
	case want == nil && len(require) == 0:
		if !slices.Contains(found.Devices(), record.DeviceNode) {
			return nil, nil, nil
		}
		return &found, findErr, nil
	case findErr != nil:
		return nil, nil, findErr
	}
	if err := found.Lacks(require); err != nil {
		return nil, nil, err
	}
	return &found, nil, nil
}

// Lacks is an error where a device is asked for that the runner does not have.
func (r Runner) Lacks(devices []string) error {
	lacking := slices.DeleteFunc(slices.Clone(devices), func(d string) bool { return slices.Contains(r.Devices(), d) })
	if len(lacking) == 0 {
		return nil
	}
	needs := "Chromium and `distilvit backend install transformers.js`"
	if lacking[0] == record.DeviceNode {
		needs = "Node and `distilvit backend install transformers.js-node`"
	}
	return fmt.Errorf("%s cannot be checked here; %s takes %s", strings.Join(lacking, " and "), lacking[0], needs)
}
