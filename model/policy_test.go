package model

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gomlx/compute"

	"distilvit/internal/backend/backendtest"
)

// TestIDsUnderAPolicyEqualTransformers goes through the generation_config.json files of make_policy.py.
func TestIDsUnderAPolicyEqualTransformers(t *testing.T) {
	const dir = "testdata/search"
	pictures := readPictures(t, dir)
	var cases []struct {
		File json.RawMessage `json:"file"`
		IDs  [][]int32       `json:"ids"`
	}
	raw, err := os.ReadFile(filepath.Join(dir, "policy.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &cases); err != nil || len(cases) < 50 {
		t.Fatalf("%d cases, %v", len(cases), err)
	}
	config, err := ReadConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	weights, err := ReadWeights(dir, config)
	if err != nil {
		t.Fatal(err)
	}
	backendtest.Each(t, func(t *testing.T, be compute.Backend) {
		c, err := NewCaptioner(be, config, weights)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for _, example := range cases {
			beside := copyFiles(t, "search/config.json", configName)
			if err := os.WriteFile(filepath.Join(beside, "generation_config.json"), example.File, 0o644); err != nil {
				t.Fatal(err)
			}
			o, err := ReadGenerate(beside)
			if err != nil {
				t.Fatal(err)
			}
			got, err := c.Generate(pictures, len(example.IDs), o)
			if err != nil {
				t.Fatalf("%s: %v", example.File, err)
			}
			for i := range got {
				if !slices.Equal(got[i], example.IDs[i]) {
					t.Errorf("%s, picture %d: got %v instead of %v", example.File, i, got[i], example.IDs[i])
				}
			}
		}
	})
}

// readPictures are the pixels of a directory's golden.json.
func readPictures(t *testing.T, dir string) []uint8 {
	t.Helper()
	var golden struct {
		Pixels []byte `json:"pixels"`
	}
	raw, err := os.ReadFile(filepath.Join(dir, "golden.json"))
	if err == nil {
		err = json.Unmarshal(raw, &golden)
	}
	if err != nil {
		t.Fatal(err)
	}
	return golden.Pixels
}
