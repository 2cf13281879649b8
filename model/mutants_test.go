package model

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"testing"
)

// extremes are what stands in the place of a value of a foreign file.
var extremes = []string{
	"9223372036854775807", "-9223372036854775808", "18446744073709551616", "2147483648", "1000000000",
	"1048577", "257", "50", "0", "-1", "1.5", "1e308", "-1e308", "1e400", "5e-324",
	"null", "true", "[]", "{}", "[[]]", "[[1], [2, 3]]",
	"[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]", `""`, `"never"`, "NaN", "Infinity", "-Infinity",
}

var jsonValue = regexp.MustCompile(`-?\d+(\.\d+)?(e-?\d+)?|true|false|null|"[^"]*"|\[[^\[\]]*\]`)

// mutant changes values of a JSON text, or bytes.
func mutant(rng *rand.Rand, seed []byte) []byte {
	b := slices.Clone(seed)
	for range 1 + rng.IntN(3) {
		at := rng.IntN(len(b) + 1)
		switch found := jsonValue.FindAllIndex(b, -1); {
		case len(found) > 0 && rng.IntN(8) > 0:
			value := found[rng.IntN(len(found))]
			b = slices.Replace(b, value[0], value[1], []byte(extremes[rng.IntN(len(extremes))])...)
		case at < len(b):
			b[at] ^= 1 << rng.IntN(8)
		default:
			b = b[:rng.IntN(len(b)+1)]
		}
	}
	return b
}

// decodes lets options decode a vocabulary's worth of scores, as a captioner does, for some steps.
func decodes(o *GenerateOptions, c *Config, rng *rand.Rand) {
	process, beams := o.LogitsProcessor(c), newBeams(&GenerateOptions{
		MaxLength: o.MaxLength, NumBeams: max(1, o.NumBeams), LengthPenalty: o.LengthPenalty,
		EarlyStopping: o.EarlyStopping,
	}, o.Start(c), o.Ends(c))
	for steps := 0; !beams.over && steps < 6; steps++ {
		rows := make([][]float32, len(beams.open))
		for i := range rows {
			rows[i] = make([]float32, c.Decoder.VocabSize)
			for j := range rows[i] {
				rows[i][j] = rng.Float32() * 9
			}
			logSoftmax(rows[i])
			if process != nil {
				process(beams.open[i].ids, rows[i])
			}
		}
		beams.step(rows)
	}
}

// TestMutantsOfGenerationConfigAreErrorsOrOptions changes generation_config.json, and config.json in its
// place, in 10,000 ways: an error or options that decode, in little memory.
func TestMutantsOfGenerationConfigAreErrorsOrOptions(t *testing.T) {
	seeds := [][]byte{
		[]byte(`{"bos_token_id": 344, "decoder_start_token_id": 34, "eos_token_id": [], "max_length": -1,
			"num_beams": 3, "pad_token_id": 4}`),
		[]byte(`{"decoder": {"num_beams": 2, "max_new_tokens": 5, "min_new_tokens": 2, "no_repeat_ngram_size": 2},
			"length_penalty": 1.0}`),
	}
	raw, err := os.ReadFile("testdata/search/policy.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		File json.RawMessage `json:"file"`
	}
	if err := json.Unmarshal(raw, &cases); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		seeds = append(seeds, c.File)
	}
	c, err := ReadConfig("testdata/search")
	if err != nil {
		t.Fatal(err)
	}
	rng, dir, valid := rand.New(rand.NewPCG(3, 4)), t.TempDir(), 0
	for i := range 10_000 {
		b, name := mutant(rng, seeds[i%len(seeds)]), "generation_config.json"
		if i%len(seeds) == 1 {
			name = configName
		}
		os.Remove(filepath.Join(dir, "generation_config.json"))
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		o, err := ReadGenerate(dir)
		if err == nil && o.Validate(c) == nil {
			valid++
			decodes(&o, c, rng)
		}
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 64<<20 {
			t.Errorf("%s took %d bytes: %v", b, used, err)
		}
	}
	if valid < 500 || valid > 9500 {
		t.Errorf("%d of 10,000 are options", valid)
	}
	t.Logf("%d of 10,000 are options", valid)
}

// TestMutantsOfConfigAreErrorsOrNetworks is the same of config.json.
func TestMutantsOfConfigAreErrorsOrNetworks(t *testing.T) {
	paths, err := filepath.Glob("testdata/variants/*/config.json")
	if err != nil || len(paths) < 8 {
		t.Fatalf("%d configs, %v", len(paths), err)
	}
	var seeds [][]byte
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		seeds = append(seeds, b)
	}
	rng, dir, valid := rand.New(rand.NewPCG(5, 6)), t.TempDir(), 0
	for i := range 10_000 {
		b := mutant(rng, seeds[i%len(seeds)])
		if err := os.WriteFile(filepath.Join(dir, configName), b, 0o600); err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		c, err := ReadConfig(dir)
		if err == nil {
			valid++
			for name, shape := range c.Shapes() {
				if elements(shape) < 1 {
					t.Errorf("%s: %s has the shape %v", b, name, shape)
				}
			}
		}
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 64<<20 {
			t.Errorf("%s took %d bytes: %v", b, used, err)
		}
	}
	if valid < 500 || valid > 9500 {
		t.Errorf("%d of 10,000 are networks", valid)
	}
	t.Logf("%d of 10,000 are networks", valid)
}
