// Package examples holds configs to start from; its test keeps them valid.
package examples

import (
	"os"
	"path/filepath"
	"testing"

	"distilvit/pipeline"
)

func TestEveryExampleConfigIsValid(t *testing.T) {
	var files []string
	for _, pattern := range []string{"*.yaml", "*/config.yaml"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	if len(files) < 3 {
		t.Fatalf("examples: %v", files)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if file == "sweep.yaml" {
			if _, err := pipeline.DecodeSweep(data, nil); err != nil {
				t.Errorf("%s: %v", file, err)
			}
			continue
		}
		config, err := pipeline.Decode(data)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if err := config.Resolve().Validate(); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}
