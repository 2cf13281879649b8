package backend

import (
	"context"
	"embed"
	"fmt"
	"os"
	"path/filepath"
)

// What npm installs for Node, with the digest of every package.
//
//go:embed node/package.json node/package-lock.json node/.npmrc
var nodeFiles embed.FS

// nodeModule is the file that Node loads.
const nodeModule = "node_modules/@huggingface/transformers/dist/transformers.node.mjs"

// TransformersJSNode is the module of Transformers.js that Node loads, in the cache directory, and its version.
func TransformersJSNode(cacheDir string) (path, version string, err error) {
	p, err := find(cacheDir, transformersJSNode)
	if err != nil {
		return "", "", fmt.Errorf("package transformers.js for Node: %w", err)
	}
	return p.path, p.Version, nil
}

// installNode has npm install Transformers.js with all that it needs under Node. No script of a package is run.
func installNode(ctx context.Context, root, tmp string, log func(string)) (string, error) {
	dir := filepath.Join(tmp, transformersJSVersion)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	for _, name := range []string{"package.json", "package-lock.json", ".npmrc"} {
		data, err := nodeFiles.ReadFile("node/" + name)
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return "", err
		}
	}
	log("downloading Transformers.js " + transformersJSVersion + " and what it needs, half a gigabyte on the disk")
	if err := npm(ctx, dir, "ci", "--no-audit", "--no-fund"); err != nil {
		return "", err
	}
	p := installed{Version: transformersJSVersion, Source: "@huggingface/transformers@" + transformersJSVersion}
	return publish(root, dir, p, log, nodeModule)
}
