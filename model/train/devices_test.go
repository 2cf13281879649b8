package train

import (
	"bytes"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"distilvit/internal/backend"
	"distilvit/internal/backend/backendtest"
	"distilvit/model/safetensors"
)

// TestDevicesTogetherTrainAsOneDoes trains a batch of 8 pictures with dropout on
// one device, and the same on 2 and 4 XLA devices of the CPU, which differ from
// one device by rounding only and from themselves not at all. So do adapters.
func TestDevicesTogetherTrainAsOneDoes(t *testing.T) {
	backendtest.Open(t, backend.XLA) // skips where there is none
	dir := t.TempDir()
	train := func(name string, a processArgs) map[string]string {
		a.Kind, a.Pictures, a.Until, a.To = backend.XLA, 8, 4, filepath.Join(dir, name)
		return trainInProcess(t, a)
	}
	half, adapters := filepath.Join(dir, "half"), filepath.Join(dir, "half of adapters")
	one, oneOfAdapters := train("one", processArgs{}), train("one of adapters", processArgs{LoRA: true, Half: adapters})
	two := train("two", processArgs{Devices: []int{0, 1}, Half: half})
	if again := train("again", processArgs{Devices: []int{0, 1}}); again[weightsFile] != two[weightsFile] ||
		again[momentsFile] != two[momentsFile] {
		t.Error("two devices give other bits when they train again")
	}
	if resumed := train(
		"resumed", processArgs{Devices: []int{0, 1}, From: half},
	); resumed[weightsFile] != two[weightsFile] || resumed[momentsFile] != two[momentsFile] {
		t.Error("two devices that go on from a checkpoint give other bits")
	}
	if oneOfAdapters[weightsFile] == one[weightsFile] {
		t.Error("adapters are trained as the whole network is")
	}
	for name, got := range map[string]map[string]string{
		"2 devices in parts from the half on, adapters": train(
			"more of adapters", processArgs{Devices: []int{0, 1}, LoRA: true, From: adapters, MicroBatch: 4},
		),
		"2 devices": two,
		"4 devices": train("four", processArgs{Devices: []int{0, 1, 2, 3}}),
		"2 devices with 2 micro-batches": train(
			"parts", processArgs{Devices: []int{0, 1}, MicroBatch: 4},
		),
		"2 devices and from the half on 1": train("fewer", processArgs{From: half}),
		"4 devices from the half of 2, in parts": train(
			"more", processArgs{Devices: []int{0, 1, 2, 3}, From: half, MicroBatch: 4},
		),
	} {
		want := one
		if strings.HasSuffix(name, "adapters") {
			want = oneOfAdapters
		}
		for _, file := range []string{weightsFile, momentsFile} {
			difference := relativeL2(t, want[file], got[file])
			t.Logf("%s, %s: relative L2 %.2g", name, file, difference)
			if difference > 5e-5 {
				t.Errorf("%s: %s differs from one device's by %g of its norm", name, file, difference)
			}
		}
	}
}

// relativeL2 is the norm of the difference of two safetensors files by the norm of the first.
func relativeL2(t *testing.T, want, got string) float64 {
	t.Helper()
	a, b := openTensors(t, want), openTensors(t, got)
	var square, difference float64
	for _, info := range a.Tensors() {
		name := info.Name
		if isKeyBias(name) { // no gradient but rounding
			continue
		}
		x, err := a.Float32s(name)
		if err != nil {
			t.Fatal(err)
		}
		y, err := b.Float32s(name)
		if err != nil {
			t.Fatal(err)
		}
		for i := range x {
			square += float64(x[i]) * float64(x[i])
			d := float64(y[i]) - float64(x[i])
			difference += d * d
		}
	}
	return math.Sqrt(difference / square)
}

func openTensors(t *testing.T, file string) *safetensors.File {
	t.Helper()
	s, err := safetensors.Open(bytes.NewReader([]byte(file)), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestMicroBatchesThatDevicesCannotShareAreRefused(t *testing.T) {
	c := Config{BatchSize: 8, MicroBatchSize: 4}
	for devices, ok := range map[int]bool{1: true, 2: true, 3: false, 4: true, 8: false} {
		err := c.divides(devices)
		if (err == nil) != ok || err != nil &&
			!strings.Contains(err.Error(), fmt.Sprintf("must be a multiple of the %d devices", devices)) {
			t.Errorf("%d devices: %v", devices, err)
		}
	}
}
