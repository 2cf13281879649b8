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
// neither is there, or not the Chromium that is named.
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
	if len(r.Devices()) == 0 || err != nil && chromium != "" {
		return Runner{}, errors.Join(nodeErr, err)
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

// Usual says that exports are checked without being asked to be: what is installed for Node has no other use.
func (r Runner) Usual() bool { return slices.Contains(r.Devices(), record.DeviceNode) }

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
