package bench

import (
	"math/rand/v2"
	"slices"
	"time"

	"distilvit/internal/rusage"
)

// Measurement is what was found of one kind of work, done again and again in one process. The first rounds,
// which compile and touch memory for the first time, are kept apart. Times are seconds of one round.
type Measurement struct {
	Bench    string  `json:"bench"`              // train, caption or prepare
	Work     string  `json:"work"`               // what a round is
	With     string  `json:"with"`               // what computed
	Preset   string  `json:"preset,omitempty"`   // sizes of the network
	Pictures int     `json:"pictures"`           // of a round
	Captions int     `json:"captions,omitempty"` // of a picture
	Tokens   int     `json:"tokens,omitempty"`   // of a caption
	Rounds   int     `json:"rounds"`             // measured
	CPU      float64 `json:"cpu_s"`              // user and system time, median
	Wall     float64 `json:"wall_s"`             // median
	Unit     string  `json:"unit"`               // what per_cpu_s counts
	PerCPU   float64 `json:"per_cpu_s"`          // units of work for a second of CPU time
	FirstCPU float64 `json:"first_cpu_s"`        // of the very first round
	First    float64 `json:"first_wall_s"`       // of the very first round
	MeanCPU  float64 `json:"mean_cpu_s"`         // mean
	MeanWall float64 `json:"mean_wall_s"`        // mean
	Peak     int64   `json:"peak_bytes"`         // most resident memory of this process so far
	Bytes    float64 `json:"bytes_per_picture,omitempty"`
	Loss     float64 `json:"loss,omitempty"`           // of the last training step
	Weights  string  `json:"weights_sha256,omitempty"` // after it: train.Digest of all
}

// Rounds says how often work is repeated. Both numbers are at least 1.
type Rounds struct {
	Count  int // measured
	Warmup int // before those
}

// Measure repeats work and fills in m's times, memory and rounds; units is the units of work of one round.
func (r Rounds) Measure(m *Measurement, units int, work func() error) error {
	var cpu, wall []float64
	for i := range r.Warmup + r.Count {
		begun, used := time.Now(), rusage.CPUTime()
		if err := work(); err != nil {
			return err
		}
		c, w := (rusage.CPUTime() - used).Seconds(), time.Since(begun).Seconds()
		if i == 0 {
			m.FirstCPU, m.First = c, w
		}
		if i >= r.Warmup {
			cpu, wall = append(cpu, c), append(wall, w)
		}
	}
	m.Rounds, m.CPU, m.Wall = r.Count, median(cpu), median(wall)
	m.MeanCPU, m.MeanWall = mean(cpu), mean(wall)
	m.PerCPU = float64(units) / max(m.CPU, 1e-9)
	m.Peak = rusage.PeakMemory()
	return nil
}

// median of a list that is not empty.
func median(list []float64) float64 {
	list = slices.Sorted(slices.Values(list))
	n := len(list)
	return (list[(n-1)/2] + list[n/2]) / 2
}

// mean of a list that is not empty.
func mean(list []float64) (sum float64) {
	for _, x := range list {
		sum += x
	}
	return sum / float64(len(list))
}

// randomPixels are pictures of noise, which cost a network what any others do.
func randomPixels(n int) []uint8 {
	rng := rand.New(rand.NewPCG(1, 2))
	pixels := make([]uint8, n)
	for i := range pixels {
		pixels[i] = uint8(rng.Uint32())
	}
	return pixels
}
