package train

import (
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/gomlx/compute"

	"distilvit/internal/backend/backendtest"
)

// trainInProcess trains in a fresh process and returns the checkpoint's files.
func trainInProcess(t *testing.T, a processArgs, env ...string) map[string]string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if a.Golden == "" {
		a.Golden = goldenDir
	}
	cmd := exec.Command(self)
	args, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(append(os.Environ(), "TRAIN_TEST_PROCESS="+string(args)), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("train until step %d: %v\n%s", a.Until, err, out)
	}
	files := map[string]string{}
	for _, name := range []string{weightsFile, momentsFile, stateFile} {
		b, err := os.ReadFile(filepath.Join(a.To, name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(b)
	}
	return files
}

// TestSixStepsGiveTheSameBitsStraightRepeatedAndResumed has dropout on. All
// runs are processes of their own, one of them with a single Go thread.
func TestSixStepsGiveTheSameBitsStraightRepeatedAndResumed(t *testing.T) {
	for _, golden := range smallDirs {
		t.Run(filepath.Base(golden), func(t *testing.T) { sixSteps(t, golden) })
	}
}

func sixSteps(t *testing.T, golden string) {
	backendtest.Each(t, func(t *testing.T, be compute.Backend) {
		kind, dir := filepath.Base(t.Name()), t.TempDir()
		train := func(until int64, from, to, half string, env ...string) map[string]string {
			a := processArgs{Kind: kind, Golden: golden, Until: until, To: filepath.Join(dir, to)}
			if from != "" {
				a.From = filepath.Join(dir, from)
			}
			if half != "" {
				a.Half = filepath.Join(dir, half)
			}
			return trainInProcess(t, a, env...)
		}
		straight := train(6, "", "straight", "half")
		repeated := train(6, "", "repeated", "", "GOMAXPROCS=1")
		resumed := train(6, "half", "resumed", "")
		for name, bytes := range straight {
			if repeated[name] != bytes {
				t.Errorf("%s differs between two runs", name)
			}
			if resumed[name] != bytes {
				t.Errorf("%s differs after resuming at step 3", name)
			}
		}
	})
}

func TestMicroBatchesEqualTheWholeBatch(t *testing.T) {
	for _, golden := range smallDirs {
		t.Run(filepath.Base(golden), func(t *testing.T) { microBatches(t, golden) })
	}
}

func microBatches(t *testing.T, golden string) {
	g, b, c, w, err := readSmall(golden)
	if err != nil {
		t.Fatal(err)
	}
	backendtest.Each(t, func(t *testing.T, be compute.Backend) {
		train := func(micro int) map[string][]float32 {
			config := goldenConfig(g)
			config.MicroBatchSize, config.Dropout = micro, 0.1
			tr, err := New(be, c, w, config)
			if err != nil {
				t.Fatal(err)
			}
			defer tr.Close()
			for range 3 {
				if _, err := tr.Step(b); err != nil {
					t.Fatal(err)
				}
			}
			after, err := tr.Weights()
			if err != nil {
				t.Fatal(err)
			}
			data := map[string][]float32{}
			for name, x := range after {
				data[name] = x.Data
			}
			return data
		}
		whole, parts := train(0), train(1)
		var square, diff float64
		for name := range whole {
			if isKeyBias(name) {
				continue
			}
			for i, x := range whole[name] {
				square += float64(x) * float64(x)
				d := float64(parts[name][i] - x)
				diff += d * d
			}
		}
		if relative := math.Sqrt(diff / square); relative > 1e-5 {
			t.Errorf("weights differ by %g of their norm", relative)
		}
	})
}
