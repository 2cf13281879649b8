package pipeline

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

func noBase(string) (Config, error) { return Config{}, errors.New("no file is read here") }

const minimalSweep = "run: {dataset: [{kind: shapes}], model: {preset: tiny}}\n"

func decodeSweep(t *testing.T, text string, set ...string) Sweep {
	t.Helper()
	s, err := DecodeSweep([]byte(minimalSweep+text), noBase, set...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func settingsTexts(s Sweep) (texts []string) {
	for _, settings := range s.Settings() {
		texts = append(texts, SettingsText(settings))
	}
	return texts
}

func TestGridIsEveryCombinationInTheOrderOfItsKeys(t *testing.T) {
	s := decodeSweep(t, "parameters:\n  train.weight_decay: [0, .1]\n  train.batch_size: [8, 16, 32]\n"+
		"  train.lr_scheduler_type: [linear]\n")
	want := []string{
		"train.batch_size=8 train.lr_scheduler_type=linear train.weight_decay=0",
		"train.batch_size=8 train.lr_scheduler_type=linear train.weight_decay=0.1",
		"train.batch_size=16 train.lr_scheduler_type=linear train.weight_decay=0",
		"train.batch_size=16 train.lr_scheduler_type=linear train.weight_decay=0.1",
		"train.batch_size=32 train.lr_scheduler_type=linear train.weight_decay=0",
		"train.batch_size=32 train.lr_scheduler_type=linear train.weight_decay=0.1",
	}
	if got := settingsTexts(s); !reflect.DeepEqual(got, want) {
		t.Errorf("%q", got)
	}
}

func TestTrialsConfigIsTheRunsWithTheSettings(t *testing.T) {
	s := decodeSweep(t, "parameters: {train.freeze: [[], encoder, [encoder, decoder.norm]], 'dataset[0].limit': [5], "+
		"model.vocab_size: [300], train.learning_rate: [1e-3], export.dtypes: [[fp32]]}", "train.epochs=2")
	c, err := s.TrialConfig("s-3", s.Settings()[2])
	if err != nil {
		t.Fatal(err)
	}
	if c.Name != "s-3" || c.Train.Epochs != 2 || c.Dataset[0].Limit != 5 || c.Train.LearningRate != 1e-3 ||
		c.Model.VocabSize != 300 || c.Train.Freeze.String() != "encoder, decoder.norm" || len(c.Export.Dtypes) != 1 ||
		c.Model.Preset != "tiny" {
		t.Errorf("%+v", c)
	}
}

// What is drawn is told to people and stands in stored histories: it never changes.
func TestDrawsAreThoseOfTheirSeedForEver(t *testing.T) {
	const parameters = "method: random\nparameters:\n  train.learning_rate: {min: 1e-5, max: 1e-3, log: true}\n" +
		"  train.batch_size: {min: 8, max: 64}\n"
	s := decodeSweep(t, parameters+"trials: 4\nseed: 7\n")
	want := []string{
		"train.batch_size=54 train.learning_rate=0.000113", "train.batch_size=64 train.learning_rate=3.84e-05",
		"train.batch_size=30 train.learning_rate=0.000236", "train.batch_size=33 train.learning_rate=0.000118",
	}
	got := settingsTexts(s)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%q", got)
	}
	more := settingsTexts(decodeSweep(t, parameters+"  train.weight_decay: [0, 0.01]\ntrials: 9\nseed: 7\n"))
	for i, text := range got {
		if !strings.HasPrefix(more[i], text) {
			t.Errorf("with more trials and another parameter draw %d is %q, was %q", i, more[i], text)
		}
	}
	if other := settingsTexts(decodeSweep(t, parameters+"trials: 4\nseed: 8\n")); reflect.DeepEqual(got, other) {
		t.Error("another seed draws the same")
	}
}

func TestDrawsStayInTheirRangeAndDoNotRepeat(t *testing.T) {
	s := decodeSweep(t, "method: random\ntrials: 300\nparameters: {train.batch_size: {min: 8, max: 15}, "+
		"train.learning_rate: {min: 1.2345e-4, max: 1.2346e-4}}\n")
	batches := map[string]int{}
	for _, settings := range s.Settings() {
		batches[settings[0].Text()]++
		rate, err := strconv.ParseFloat(settings[1].Text(), 64)
		if err != nil || rate < 1.2345e-4 || rate > 1.2346e-4 {
			t.Errorf("rate %v, %v", settings[1], err)
		}
	}
	if len(batches) != 8 || batches["8"] == 0 || batches["15"] == 0 {
		t.Errorf("batches %v", batches)
	}
	few := decodeSweep(t, "method: random\ntrials: 50\nparameters: {train.batch_size: [8, 16], seed: [1, 2]}\n")
	texts := settingsTexts(few)
	seen := map[string]bool{}
	for _, text := range texts {
		seen[text] = true
	}
	if len(texts) != 4 || len(seen) != 4 {
		t.Errorf("of 4 combinations are drawn %q", texts)
	}
}

func TestRungsGrowByTheFactorBelowTheLastEpoch(t *testing.T) {
	s := decodeSweep(t, "method: halving\nparameters: {train.learning_rate: [1e-3, 1e-4]}\nhalving: {epochs: 2, factor: 3}\n",
		"train.epochs=19")
	if got := s.Rungs(); !reflect.DeepEqual(got, []int{2, 6, 18}) {
		t.Errorf("rungs %v", got)
	}
	if s.Keep(7) != 3 || s.Keep(3) != 1 || s.Keep(1) != 1 || s.Keep(0) != 0 {
		t.Error("kept")
	}
}

func TestMistakesOfASweepAreAllToldWithTheirLines(t *testing.T) {
	for text, want := range map[string][]string{
		minimalSweep + "parameter: {}\n": {
			"line 2: parameter: unknown key; did you mean parameters?", "parameters: is missing",
		},
		"run:\n  dataset: [{kind: shapes}]\n  epochs: 3\nparameters: {train.dropout: [0]}\n": {
			"line 3: run.epochs: unknown key here; did you mean run.train.epochs?",
		},
		minimalSweep + "parameters:\n  train.lerning_rate: [1]\n  train: [1]\n  name: [a, b]\n": {
			"line 3: parameters.train.lerning_rate: is no key of a run's config; did you mean train.learning_rate?",
			"line 4: parameters.train: is a section", "line 5: parameters.name: cannot be tried",
		},
		minimalSweep + "parameters:\n  train.batch_size: [8, big]\n  train.dropout: 0.1\n": {
			"line 4: parameters.train.dropout: wants a list of values, or {min: …, max: …}, not 0.1",
		},
		minimalSweep + "parameters:\n  train.batch_size:\n  - 8\n  - big\n  - 8\n": {
			"line 6: parameters.train.batch_size[2]: is 8 a second time",
		},
		minimalSweep + "parameters:\n  train.batch_size:\n  - 8\n  - big\n": {
			`line 5: parameters.train.batch_size[1]: train.batch_size: wants a whole number, not the text "big"`,
		},
		minimalSweep + "parameters:\n  train.dropout: [0.1]\n  train.dropout: [0.2]\n": {
			"line 4: parameters.train.dropout: given twice",
		},
		minimalSweep + "parameters:\n  train.dropout: {min: 0.1}\n": {"line 3: parameters.train.dropout: has no max"},
		minimalSweep + "parameters:\n  train.dropout: {min: 0.1, max: 0.2, logg: true}\n": {
			"line 3: parameters.train.dropout.logg: unknown key; did you mean parameters.train.dropout.log?",
		},
		minimalSweep + "parameters:\n  train.dropout: {min: 0.1, max: 0.2}\n": {
			"line 3: parameters.train.dropout: is a range, which only draws can try",
		},
		minimalSweep + "method: random\nparameters:\n  train.dropout: {min: 0, max: 0.2, log: true}\n  backend: {min: 1, max: 2}\n": {
			"line 4: parameters.train.dropout: has min 0; with log", "line 5: parameters.backend: is no number",
		},
		minimalSweep + "method: gird\nparameters: {train.dropout: [0]}\n": {
			`line 2: method: is "gird"; must be one of grid, random, halving; did you mean grid?`,
		},
		minimalSweep + "method: halving\nhalving: {epochs: 10, factor: 1}\nparameters: {train.epochs: [1], train.dropout: [0]}\n": {
			"line 3: halving.epochs: is 10; must be below run.train.epochs, which is 10", "line 3: halving.factor: is 1",
			"line 4: parameters.train.epochs: is for grid and random",
		},
		minimalSweep + "parameters: {train.dropout: [1.5, -1]}\n": {
			"line 2: parameters: make every trial impossible: train.dropout: is 1.5",
		},
		minimalSweep + "trials: 3\nconcurrency: 0\nmetric: rouge\nparameters: {train.dropout: [0]}\n": {
			"line 2: trials: is for random and halving", "line 3: concurrency: is 0", `line 4: metric: is "rouge"`,
		},
		minimalSweep + "base: config.yaml\nparameters: {train.dropout: [0]}\n": {
			"line 2: base: wants the name of a run's config, in the place of run",
		},
		"run: {dataset: [{kind: shapes}], publish: {approve: true, push: hf:a/b}}\nparameters: {train.dropout: [0]}\n": {
			"line 1: run.publish.push: is for one run", "line 1: run.publish.approve: is for one run",
		},
		"parameters: {train.dropout: [0]}\n": {"run.dataset: "},
	} {
		_, err := DecodeSweep([]byte(text), noBase)
		if err == nil {
			t.Errorf("accepted:\n%s", text)
			continue
		}
		for _, part := range want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s\nsays\n%v\nlacks\n%s", text, err, part)
			}
		}
	}
}

func TestTooManyTrialsAreRefused(t *testing.T) {
	values := "[0"
	for i := range 30 {
		values += ", " + strconv.Itoa(i+1)
	}
	text := minimalSweep + "parameters: {seed: " + values + "], train.warmup_steps: " + values + "]}\n"
	if _, err := DecodeSweep([]byte(text), noBase); err == nil || !strings.Contains(err.Error(), "more than 500 combinations") {
		t.Error(err)
	}
}

// A sweep is checked in a workflow task, which has a second, also where its argument never went through DecodeSweep.
func TestSweepsThatOneHistoryDoesNotHoldAreRefusedAtOnce(t *testing.T) {
	var thousands []json.RawMessage
	for i := range 50_000 {
		thousands = append(thousands, json.RawMessage(strconv.Itoa(i)))
	}
	rate := map[string]Parameter{"train.learning_rate": {Range: &Range{Min: 1e-6, Max: 1, Log: true}}}
	for want, change := range map[string]func(*Sweep){
		"trials: is 1000000000; must be from 1 to 500": func(s *Sweep) { s.Trials = 1_000_000_000 },
		"trials: make a sweep of 500 trials with 9 rungs, which would take up to 22000 events": func(s *Sweep) {
			s.Method, s.Trials, s.Run.Train.Epochs = MethodHalving, 500, 512
		},
		"parameters.seed: has 50000 values; give 1000 at most": func(s *Sweep) {
			s.Parameters = map[string]Parameter{"seed": {Values: thousands}}
		},
	} {
		s := decodeSweep(t, "parameters: {train.dropout: [0]}")
		s.Method, s.Trials, s.Parameters = MethodRandom, 20, rate
		change(&s)
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, not %s", err, want)
		}
	}
}

func TestRungsEndBehindTheLargestNumber(t *testing.T) {
	s := Sweep{Method: MethodHalving, Halving: Halving{Epochs: 1, Factor: 2}}
	s.Run.Train.Epochs = math.MaxInt
	if rungs := s.Rungs(); len(rungs) != 63 || rungs[62] != 1<<62 {
		t.Error(rungs)
	}
}

// Whoever draws from few values stops when he has had all.
func TestDrawsEndWithTheLastCombination(t *testing.T) {
	s := decodeSweep(t, "method: random\ntrials: 500\nparameters: {seed: [1, 2, 3], train.dropout: [0, 0.1]}")
	if n := len(s.Settings()); n != 6 {
		t.Errorf("%d trials", n)
	}
}

func TestImpossibleCombinationsAreToldAndDoNotRefuseTheSweep(t *testing.T) {
	s := decodeSweep(t, "parameters: {model.heads: [2, 5]}")
	impossible := s.ImpossibleTrials()
	if len(impossible) != 1 || !strings.Contains(impossible[2].Error(), "model.heads") {
		t.Error(impossible)
	}
}

func TestBaseIsTheRunsConfig(t *testing.T) {
	s, err := DecodeSweep([]byte("base: b.yaml\nparameters: {train.dropout: [0]}\n"), func(file string) (Config, error) {
		return Decode([]byte("dataset: [{kind: shapes}]\nseed: 9\n"))
	})
	if err != nil || s.Run.Seed != 9 {
		t.Errorf("%v %+v", err, s.Run)
	}
}

func TestSweepSurvivesItsJSON(t *testing.T) {
	s := decodeSweep(t, "method: halving\ntrials: 5\nmetric: eval_loss\nparameters: {train.dropout: {min: 0.1, max: 0.2}, "+
		"train.learning_rate: [1e-4, 5E-5, 1_000.5], train.freeze: [encoder, []]}")
	raw, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var back Sweep
	if err := json.Unmarshal(raw, &back); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(s.Settings(), back.Settings()) || !reflect.DeepEqual(s.Run, back.Run) {
		t.Errorf("%s", raw)
	}
	if err := back.Validate(); err != nil {
		t.Error(err)
	}
}

func TestSweepsIdLeavesSpaceForItsTrials(t *testing.T) {
	long := strings.Repeat("a", 59)
	if err := CheckSweepID(long); err != nil {
		t.Error(err)
	}
	if err := CheckSweepID(long + "a"); err == nil {
		t.Error("accepted")
	}
}

func TestEventsOfASweepAreCountedByTrialsAndRungs(t *testing.T) {
	for _, c := range []struct {
		n, epochs, factor, events int
	}{
		{500, 1, 2, 8000},          // no rung
		{4, 4, 2, 4*16 + 14*(4+2)}, // after epochs 1 and 2
		{500, 64, 4, 500*16 + 14*(500+125+32)},
	} {
		s := SweepDefault()
		s.Method, s.Trials, s.Run.Train.Epochs, s.Halving.Factor = MethodHalving, c.n, c.epochs, c.factor
		s.Parameters = map[string]Parameter{"train.learning_rate": {Range: &Range{Min: 1e-6, Max: 1, Log: true}}}
		if got := s.Events(); got != c.events {
			t.Errorf("%+v: %d events", c, got)
		}
	}
}
