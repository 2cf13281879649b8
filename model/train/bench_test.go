package train

import (
	"maps"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/shapes"

	"distilvit/artifact/record"
	"distilvit/dataset"
	"distilvit/internal/backend"
	"distilvit/internal/backend/backendtest"
	"distilvit/model"
	"distilvit/storage/layout"
)

// BenchmarkTinyStep is a step of the tiny preset: 32 pictures of 5 captions of
// 24 tokens. It reports CPU seconds a step beside the wall time, and the first
// step with its compilation.
func BenchmarkTinyStep(b *testing.B) {
	for _, kind := range []string{backend.XLA, backend.Go} {
		b.Run(kind, func(b *testing.B) { benchmarkStep(b, kind, "tiny", 512, 32, 5, 24) })
	}
}

// BenchmarkFrozenStep is a step of the small preset, 16 pictures of 2 captions of 24 tokens, of which less and less is
// trained. It reports a checkpoint's bytes, too. Peak memory is the process's, so each is to be run by itself.
func BenchmarkFrozenStep(b *testing.B) {
	for name, frozen := range map[string][]string{
		"nothing": nil, "lower_half": {"encoder.embeddings", "encoder.layers.0-2"}, "encoder": {"encoder"},
		"all_but_cross_attention": {"encoder", "decoder"},
	} {
		b.Run(name, func(b *testing.B) {
			benchmarkStep(b, backend.XLA, "small", 4000, 16, 2, 24, func(c *Config) {
				for _, pattern := range frozen {
					c.Parts = append(c.Parts, Part{Match: pattern, Freeze: some(true)})
				}
				if name == "all_but_cross_attention" {
					c.Parts = append(c.Parts, Part{Match: "decoder.cross_attention", Freeze: some(false)})
				}
			})
		})
	}
}

// BenchmarkLoRAStep is BenchmarkFrozenStep of adapters of rank 8.
func BenchmarkLoRAStep(b *testing.B) {
	for name, targets := range map[string][]string{"all": {"all-linear"}, "decoder": {"decoder"}, "default": nil} {
		b.Run(name, func(b *testing.B) {
			benchmarkStep(b, backend.XLA, "small", 4000, 16, 2, 24, func(c *Config) {
				c.LoRA = &model.LoRA{R: 8, Alpha: 16, TargetModules: targets}
			})
		})
	}
}

// BenchmarkFeaturesStep is a step of the base preset with the encoder frozen, 8 pictures of a caption of 16 tokens: of
// pixels, and of what the encoder makes of them.
func BenchmarkFeaturesStep(b *testing.B) {
	for _, stored := range []string{"", dataset.FeaturesFloat32, dataset.FeaturesBFloat16} {
		b.Run("features="+stored, func(b *testing.B) {
			benchmarkStepOn(b, stored, backend.XLA, "base", 50257, 8, 1, 16, func(c *Config) {
				c.Parts = []Part{{Match: "encoder", Freeze: some(true)}}
			})
		})
	}
}

// BenchmarkEvaluate is an evaluation of 16 pictures of the small preset, and of the base preset, with the encoder frozen: the
// loss of two captions each and a greedy caption of 16 tokens, of pixels and of what the encoder makes of them.
func BenchmarkEvaluate(b *testing.B) {
	for preset, vocab := range map[string]int{"small": 4000, "base": 50257} {
		for _, stored := range []string{"", dataset.FeaturesFloat32} {
			b.Run(preset+"/features="+stored, func(b *testing.B) {
				c, _ := model.Preset(preset)
				c.Decoder.VocabSize = vocab
				c.SetSpecialToken(vocab - 1)
				t, err := New(backendtest.Open(b, backend.XLA), &c, model.Init(&c, 1), Config{
					BatchSize: 16, CaptionsPerPicture: 2, MaxLength: 16, LearningRate: 1e-3, Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8,
					TotalSteps: 1, Parts: []Part{{Match: "encoder", Freeze: some(true)}},
				})
				if err != nil {
					b.Fatal(err)
				}
				defer t.Close()
				captioner, err := t.Captioner()
				if err != nil {
					b.Fatal(err)
				}
				batch, o := randomBatch(&c, 16, 2, 16), model.GenerateOptions{MaxLength: 17}
				pixels := batch.Pixels
				if stored != "" {
					f := FeaturesFormat(&c, stored, 1)
					batch.Pixels, batch.Features, batch.Format = nil, make([]byte, 16*f.ViewBytes()), f
				}
				evaluate := func() {
					if _, _, err := t.Loss(batch); err != nil {
						b.Fatal(err)
					}
					var err error
					if stored == "" {
						_, err = captioner.Generate(pixels, 16, o)
					} else {
						_, err = captioner.GenerateEncoded(batch.Format.Numbers(batch.Features), 16, o)
					}
					if err != nil {
						b.Fatal(err)
					}
				}
				cpu := cpuSeconds()
				evaluate()
				first := cpuSeconds() - cpu
				cpu = cpuSeconds()
				for b.Loop() {
					evaluate()
				}
				b.ReportMetric((cpuSeconds()-cpu)/float64(b.N), "cpu-s/op")
				b.ReportMetric(first, "first-cpu-s")
			})
		}
	}
}

func benchmarkStep(
	b *testing.B, kind, preset string, vocab, pictures, captions, length int, change ...func(*Config),
) {
	benchmarkStepOn(b, "", kind, preset, vocab, pictures, captions, length, change...)
}

// benchmarkStepOn trains on features of a dtype; "": on pixels.
func benchmarkStepOn(
	b *testing.B, stored, kind, preset string, vocab, pictures, captions, length int, change ...func(*Config),
) {
	be := &clocked{Backend: backendtest.Open(b, kind)}
	c, _ := model.Preset(preset)
	c.Decoder.VocabSize = vocab
	c.SetSpecialToken(vocab - 1)
	config := Config{
		BatchSize: pictures, CaptionsPerPicture: captions, MaxLength: length, LearningRate: 1e-3,
		WeightDecay: 0.01,
		Beta1:       0.9, Beta2: 0.999, Epsilon: 1e-8, MaxGradNorm: 1, Dropout: 0.1, TotalSteps: 1000,
	}
	for _, f := range change {
		f(&config)
	}
	w := model.Init(&c, 1)
	adapters, err := Adapters(&c, config, nil, 1)
	if err != nil {
		b.Fatal(err)
	}
	maps.Copy(w, adapters)
	t, err := New(be, &c, w, config)
	if err != nil {
		b.Fatal(err)
	}
	defer t.Close()
	batch := randomBatch(&c, pictures, captions, length)
	if stored != "" {
		f := FeaturesFormat(&c, stored, 1)
		batch.Pixels, batch.Features, batch.Format = nil, make([]byte, pictures*f.ViewBytes()), f
	}
	next, err := t.Stage(batch, 0)
	if err != nil {
		b.Fatal(err)
	}
	step := func() { // as the trainer does it: the next batch is copied beside it
		now, after := next, t.step+1
		var beside sync.WaitGroup
		beside.Go(func() { next, err = t.Stage(batch, after) })
		_, stepErr := t.StepStaged(now)
		if beside.Wait(); err != nil || stepErr != nil {
			b.Fatal(err, stepErr)
		}
	}
	defer func() { next.Free() }()
	start, cpu := time.Now(), cpuSeconds()
	step()
	firstWall, firstCPU := time.Since(start).Seconds(), cpuSeconds()-cpu
	cpu = cpuSeconds()
	steps := 0
	be.executing.Store(0)
	be.uploading.Store(0)
	for b.Loop() {
		step()
		steps++
	}
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 / float64(steps) }
	b.ReportMetric(ms(b.Elapsed()-time.Duration(be.executing.Load())), "host-ms/op")
	b.ReportMetric(ms(time.Duration(be.uploading.Load())), "upload-ms/op")
	b.ReportMetric((cpuSeconds()-cpu)/float64(steps), "cpu-s/op")
	b.ReportMetric(firstWall, "first-s")
	b.ReportMetric(firstCPU, "first-cpu-s")
	var usage syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	b.ReportMetric(float64(usage.Maxrss)/1024, "peak-MiB")
	if len(change) > 0 {
		files, err := t.Save(filepath.Join(b.TempDir(), "checkpoint"), record.State{})
		if err != nil {
			b.Fatal(err)
		}
		var bytes int64
		for _, f := range files {
			bytes += f.Size
		}
		b.ReportMetric(float64(bytes)/1e6, "checkpoint-MB")
	}
}

// clocked takes the time that a backend's calls take: without executing, a step's is that in which the device is idle.
type clocked struct {
	compute.Backend
	executing, uploading atomic.Int64 // nanoseconds
}

func (c *clocked) Builder(name string) compute.Builder {
	return clockedBuilder{c.Backend.Builder(name), c}
}

func (c *clocked) BufferFromFlatData(
	device compute.DeviceNum, flat any, shape shapes.Shape,
) (compute.Buffer, error) {
	defer func(began time.Time) { c.uploading.Add(int64(time.Since(began))) }(time.Now())
	buffer, err := c.Backend.BufferFromFlatData(device, flat, shape)
	return clockedBuffer{buffer, c}, err
}

func (c *clocked) NewSharedBuffer(
	device compute.DeviceNum, shape shapes.Shape,
) (buffer compute.Buffer, flat any, err error) {
	buffer, flat, err = c.Backend.NewSharedBuffer(device, shape)
	return clockedBuffer{buffer, c}, flat, err
}

// clockedBuffer says that it is of the clocked backend, as GoMLX demands of what it hands to one.
type clockedBuffer struct {
	compute.Buffer
	clock *clocked
}

func (b clockedBuffer) Backend() compute.Backend { return b.clock }

type clockedBuilder struct {
	compute.Builder
	clock *clocked
}

func (b clockedBuilder) Compile() (compute.Executable, error) {
	program, err := b.Builder.Compile()
	return clockedProgram{program, b.clock}, err
}

type clockedProgram struct {
	compute.Executable
	clock *clocked
}

func (p clockedProgram) Execute(
	inputs []compute.Buffer, donate []bool, device compute.DeviceNum,
) ([]compute.Buffer, error) {
	own := make([]compute.Buffer, len(inputs))
	for i, b := range inputs {
		own[i] = b.(clockedBuffer).Buffer
	}
	began := time.Now()
	outputs, err := p.Executable.Execute(own, donate, device)
	p.clock.executing.Add(int64(time.Since(began)))
	for i := range outputs {
		outputs[i] = clockedBuffer{outputs[i], p.clock}
	}
	return outputs, err
}

// BenchmarkCheckpoint saves a whole state: weights and both moments, digests
// taken, synced to the disk. The step loop stands still meanwhile; stall-% is
// the share of the time that it loses with a checkpoint every 60 s. The upload
// runs beside training, in another process.
func BenchmarkCheckpoint(b *testing.B) {
	for _, preset := range []string{"small", "base"} {
		b.Run(preset, func(b *testing.B) {
			be := backendtest.Open(b, backend.Go) // nothing is computed
			c, _ := model.Preset(preset)
			c.SetSpecialToken(c.Decoder.VocabSize - 1)
			t, err := New(be, &c, model.Init(&c, 1), Config{
				BatchSize: 1, CaptionsPerPicture: 1, MaxLength: 8, LearningRate: 1e-3, Beta1: 0.9,
				Beta2: 0.999, Epsilon: 1e-8, TotalSteps: 1,
			})
			if err != nil {
				b.Fatal(err)
			}
			defer t.Close()
			dir := filepath.Join(b.TempDir(), "checkpoint")
			begun, cpu := time.Now(), cpuSeconds()
			var files map[string]layout.Object
			for b.Loop() {
				if files, err = t.Save(dir, record.State{}); err != nil {
					b.Fatal(err)
				}
			}
			saves := float64(b.N)
			var bytes int64
			for _, f := range files {
				bytes += f.Size
			}
			wall := time.Since(begun).Seconds() / saves
			b.ReportMetric((cpuSeconds()-cpu)/saves, "cpu-s/op")
			b.ReportMetric(float64(bytes)/1e6, "MB")
			b.ReportMetric(100*wall/(60+wall), "stall-%")
		})
	}
}

func randomBatch(c *model.Config, pictures, captions, length int) *dataset.Batch {
	rng := rand.New(rand.NewPCG(1, 2))
	side := c.Encoder.ImageSize
	b := &dataset.Batch{N: pictures, T: length, K: captions, Pixels: make([]uint8, pictures*side*side*3)}
	for i := range b.Pixels {
		b.Pixels[i] = uint8(rng.Uint32())
	}
	for i := range pictures {
		b.Rows = append(b.Rows, uint64(i))
		b.IDs = append(b.IDs, "x")
		for range captions {
			n := 8 + rng.IntN(length-8)
			for j := range length {
				if j < n {
					b.Labels = append(b.Labels, int32(rng.IntN(c.Decoder.VocabSize)))
				} else {
					b.Labels = append(b.Labels, ignored)
				}
			}
		}
	}
	return b
}

func cpuSeconds() float64 {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}
