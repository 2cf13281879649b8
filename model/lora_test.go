package model

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// The adapters are those that PEFT wrote, see testdata/make_lora.py.
func TestAdapterIsWrittenAsPEFTWritesIt(t *testing.T) {
	c, err := ReadConfig("testdata/same")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"plain", "whole"} {
		from, to := filepath.Join("testdata/lora", name), t.TempDir()
		l, trained, err := ReadAdapter(from, c)
		if err != nil {
			t.Fatal(err)
		}
		w := Init(c, 1)
		var names []string
		for name, x := range trained {
			w[name] = x
			names = append(names, name)
		}
		if err := WriteAdapter(to, c, l, w, names, "same"); err != nil {
			t.Fatal(err)
		}
		want, got := adapterFiles(t, from), adapterFiles(t, to)
		if len(want.tensors) != len(got.tensors) || len(got.tensors) != len(trained) {
			t.Errorf("%s: %d tensors instead of %d", name, len(got.tensors), len(want.tensors))
		}
		for n, x := range want.tensors {
			if y := got.tensors[n]; y == nil || !slices.Equal(x.Shape, y.Shape) || !slices.Equal(x.Data, y.Data) {
				t.Errorf("%s: %s is another one", name, n)
			}
		}
		for key, value := range got.config {
			known, ok := want.config[key]
			switch {
			case !ok:
				t.Errorf("%s: PEFT has no key %s", name, key)
			case key == "target_modules": // whole names instead of their ends
				wantModules(t, c, known.([]any), value.([]any))
			case key == "modules_to_save": // layers instead of what holds them
				for _, m := range texts(value) {
					if !slices.ContainsFunc(texts(known), func(k string) bool { return strings.HasPrefix(m, k) }) {
						t.Errorf("%s: PEFT does not save %s", name, m)
					}
				}
			case !reflect.DeepEqual(known, value):
				t.Errorf("%s: %s is %v instead of %v", name, key, value, known)
			}
		}
	}
}

// wantModules compares names of layers with ends of names; PEFT's own excludes those of cross-attention where it has
// others of GPT-2's.
func wantModules(t *testing.T, c *Config, ends, names []any) {
	t.Helper()
	var want []string
	for _, end := range texts(ends) {
		found, err := c.MatchLinear(end)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(end, "attn.") || strings.HasPrefix(end, "mlp.") {
			found = slices.DeleteFunc(found, crossAttention)
		}
		want = append(want, found...)
	}
	slices.Sort(want)
	if got := texts(names); !slices.Equal(got, want) {
		t.Errorf("adapters of %v instead of %v", got, want)
	}
}

func texts(list any) (all []string) {
	if list == nil {
		return nil
	}
	for _, x := range list.([]any) {
		all = append(all, x.(string))
	}
	return all
}

type adapterFile struct {
	config  map[string]any
	tensors Weights
}

// adapterFiles are those of dir, by the names that stand there.
func adapterFiles(t *testing.T, dir string) (a adapterFile) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, AdapterConfigName))
	if err == nil {
		err = json.Unmarshal(raw, &a.config)
	}
	if err != nil {
		t.Fatal(err)
	}
	f := &tensorFiles{dir: dir, found: map[string]tensorAt{}}
	defer f.close()
	if err = f.open(filepath.Join(dir, AdapterWeightsName)); err != nil {
		t.Fatal(err)
	}
	shapes := map[string][]int{}
	for name, x := range f.found {
		shapes[name] = x.info.Shape
	}
	if a.tensors, err = f.read(shapes); err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAdaptersThatAreNotKnownAreRefused(t *testing.T) {
	c, err := ReadConfig("testdata/same")
	if err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(map[string]any){
		`peft_type is "IA3"`:                   func(j map[string]any) { j["peft_type"] = "IA3" },
		"use_dora is true":                     func(j map[string]any) { j["use_dora"] = true },
		"rank_pattern is map[query:2]":         func(j map[string]any) { j["rank_pattern"] = map[string]int{"query": 2} },
		`bias is "all"`:                        func(j map[string]any) { j["bias"] = "all" },
		"changes the base's weights":           func(j map[string]any) { j["init_lora_weights"] = "pissa" },
		"r is 0":                               func(j map[string]any) { j["r"] = 0 },
		"16 tensors of another shape: decoder": func(j map[string]any) { j["r"] = 5 },
	} {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS("testdata/lora/plain")); err != nil {
			t.Fatal(err)
		}
		j := adapterFiles(t, dir).config
		change(j)
		raw, err := json.Marshal(j)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, AdapterConfigName), raw, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := ReadAdapter(dir, c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v instead of %s", err, want)
		}
	}
}

func TestLoRATargetsAreLayersByPattern(t *testing.T) {
	for dir, patterns := range map[string]map[string]int{
		"testdata/same": {
			"all-linear": 2*6 + 2*7, "c_attn": 4, "attn.c_attn": 2, "query": 2, "encoder": 12, "decoder.layers.0-1": 14,
			"encoder.layers.1.attention": 4, "decoder.cross_attention": 6, "h.1.*.c_proj": 3,
		},
		"testdata/differ":          {"enc_to_dec_proj": 1, "projection": 1},
		"testdata/variants/siglip": {"q_proj": 2, "decoder": 14},
	} {
		c, err := ReadConfig(dir)
		if err != nil {
			t.Fatal(err)
		}
		for pattern, want := range patterns {
			found, err := c.MatchLinear(pattern)
			if layers := c.Encoder.NumHiddenLayers; pattern == "q_proj" {
				want = layers
			}
			if pattern == "decoder" {
				want = 7 * c.Decoder.NLayer
			}
			if err != nil || len(found) != want {
				t.Errorf("%s, %s: %v instead of %d: %v", dir, pattern, found, want, err)
			}
		}
		modules, err := (&LoRA{}).Modules(c)
		if want := 2*c.Encoder.NumHiddenLayers + 2*c.Decoder.NLayer; err != nil || len(modules) != want {
			t.Errorf("%s: by default %v: %v", dir, modules, err)
		}
	}
}

func TestDrawnAdapterChangesNothingAndIsUniform(t *testing.T) {
	c, err := ReadConfig("testdata/differ")
	if err != nil {
		t.Fatal(err)
	}
	l := &LoRA{R: 8, Alpha: 16}
	w := Init(c, 1)
	drawn := l.Init(c, c.LinearNames(), 5)
	for name, x := range drawn {
		w[name] = x
		if bound := 1 / math.Sqrt(float64(x.Shape[1])); strings.HasSuffix(name, loraA) {
			var square float64
			for _, v := range x.Data {
				if math.Abs(float64(v)) > bound {
					t.Fatalf("%s has %g", name, v)
				}
				square += float64(v) * float64(v)
			}
			// the variance of a uniform distribution, within five deviations
			n := float64(len(x.Data))
			if got := square / n / (bound * bound / 3); math.Abs(got-1) > 5*math.Sqrt(0.8/n) {
				t.Errorf("%s has %g of the variance", name, got)
			}
		}
	}
	for name, x := range l.Merge(c, w) {
		if !slices.Equal(x.Data, w[name].Data) {
			t.Errorf("%s is changed", name)
		}
	}
	if l.RSLoRA = true; math.Abs(l.Scale()-16/math.Sqrt(8)) > 1e-12 {
		t.Errorf("rsLoRA's scale is %g", l.Scale())
	}
}
