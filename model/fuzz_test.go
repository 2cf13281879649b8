package model

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"testing"
)

// FuzzConfig demands that a config.json is an error or a network that is written
// and read back the same, and whose tensors' names take bounded memory.
func FuzzConfig(f *testing.F) {
	seeds, err := filepath.Glob("testdata/variants/*/config.json")
	if err != nil || len(seeds) < 10 {
		f.Fatalf("%d configs, %v", len(seeds), err)
	}
	for _, path := range seeds {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(
		`{"model_type":"vision-encoder-decoder","encoder":{"model_type":"vit",` +
			`"num_hidden_layers":1048576},"decoder":{"model_type":"gpt2","add_cross_attention":true}}`,
	))
	f.Add([]byte(`{"encoder":{"image_size":[16,16],"patch_size":[]},"decoder":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var c, again Config
		if json.Unmarshal(b, &c) != nil || c.Validate() != nil {
			return
		}
		text, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &again); err != nil || !reflect.DeepEqual(again, c) {
			t.Errorf("%+v is read back as %+v: %v", c, again, err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		names := c.Names()
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 64<<20 {
			t.Errorf("%d names took %d bytes", len(names), used)
		}
	})
}

// FuzzShardNames demands that an index names files of its own directory only.
func FuzzShardNames(f *testing.F) {
	f.Add([]byte(
		`{"metadata":{"total_size":8},"weight_map":{"a":"model-00001-of-00002.safetensors",` +
			`"b":"model-00002-of-00002.safetensors"}}`,
	))
	f.Add([]byte(`{"weight_map":{"a":"../secret"}}`))
	f.Add([]byte(`{"weight_map":{"a":""}}`))
	f.Add([]byte(`{"weight_map":[]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		names, err := shardNames(b, weightsExt)
		if err != nil {
			return
		}
		if len(names) == 0 || len(names) > maxShards {
			t.Errorf("%d names", len(names))
		}
		for i, name := range names {
			if !filepath.IsLocal(name) || filepath.Ext(name) != weightsExt || i > 0 && names[i-1] >= name {
				t.Errorf("names %q", names)
			}
		}
	})
}

// FuzzReadWeights demands an error or the network's own tensors of a file of weights.
func FuzzReadWeights(f *testing.F) {
	c, err := ReadConfig("testdata/variants/fp16")
	if err != nil {
		f.Fatal(err)
	}
	b, err := os.ReadFile("testdata/variants/fp16/model.safetensors")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:len(b)/2])
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, weightsName), b, 0o644); err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		w, err := ReadWeights(dir, c)
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 64*uint64(len(b))+8<<20 {
			t.Errorf("%d bytes took %d of memory", len(b), used)
		}
		if err == nil && w.Check(c) != nil {
			t.Error(w.Check(c))
		}
	})
}

// FuzzGenerationConfig demands an error or options, whatever a generation_config.json
// or, in its place, a config.json holds.
func FuzzGenerationConfig(f *testing.F) {
	f.Add([]byte(
		`{"max_length": 16, "num_beams": 4, "early_stopping": "never", "eos_token_id": [1, 2],`+
			` "bad_words_ids": null}`,
	), true)
	f.Add([]byte(`{"decoder": {"num_beams": 2, "max_new_tokens": 5}, "num_beams": 1}`), false)
	f.Add([]byte(`{"decoder": [], "eos_token_id": {}}`), false)
	c, _ := Preset("tiny")
	c.Decoder.VocabSize = 100
	f.Fuzz(func(t *testing.T, b []byte, own bool) {
		dir, name := t.TempDir(), configName
		if own {
			name = "generation_config.json"
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
		o, err := ReadGenerate(dir)
		if err != nil || o.Validate(&c) != nil {
			return
		}
		if o.MaxLength < 2 || o.MaxLength > c.Decoder.NPositions {
			t.Errorf("%+v is valid", o)
		}
		decodes(&o, &c, rand.New(rand.NewPCG(1, 1)))
	})
}
