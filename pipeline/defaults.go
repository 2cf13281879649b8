package pipeline

import (
	"cmp"
	"slices"

	"distilvit/artifact/record"
	"distilvit/model/preset"
)

// Names a config may hold.
const (
	KindShapes   = "shapes"   // pictures drawn by this program
	KindCOCO     = "coco"     // COCO's annotation JSON
	KindKarpathy = "karpathy" // Andrej Karpathy's split JSON
	KindFolder   = "folder"   // CSV or JSON lines beside pictures
	KindParquet  = "parquet"  // Parquet files with pictures in them

	KindWebDataset = "webdataset"
	KindJSON       = "json" // a captions file whose form is told by what it holds: one of the others of JSON

	SplitTrain      = "train"
	SplitValidation = "validation"
	SplitTest       = "test"

	KeepAll   = "all"   // all captions of a picture
	KeepFirst = "first" // a picture's first caption

	CompatSeed = "seed" // as mozilla/distilvit's train.py

	WordsAuto       = "auto"
	WordsRougeScore = "rouge_score"
	WordsUnicode    = "unicode"

	DtypeFP32  = "fp32"  // float32, as trained
	DtypeFP16  = "fp16"  // float16 weights and products
	DtypeQ8    = "q8"    // 8-bit weights, unsigned
	DtypeInt8  = "int8"  // 7-bit weights, signed, for VNNI
	DtypeQ4    = "q4"    // 4-bit weights in blocks of 32
	DtypeQ4F16 = "q4f16" // as q4, with float16 products

	PrecisionFloat32 = "float32" // all in float32
	PrecisionTF32    = "tf32"    // factors of matrix products with 11 significant bits, on CUDA
	PrecisionBF16    = "bf16"    // factors of matrix products in bfloat16

	LinearSchedule      = "linear"
	CosineSchedule      = "cosine"
	ConstantSchedule    = "constant"
	ConstantAfterWarmup = "constant_with_warmup"

	BackendAuto = "auto" // the first of the others that is there
	BackendCUDA = "cuda" // XLA on NVIDIA GPUs
	BackendXLA  = "xla"  // XLA on the CPU
	BackendGo   = "go"   // GoMLX's backend in pure Go
)

var (
	kinds    = []string{KindShapes, KindCOCO, KindKarpathy, KindFolder, KindJSON, KindWebDataset, KindParquet}
	splits   = []string{SplitTrain, SplitValidation, SplitTest}
	keeps    = []string{KeepAll, KeepFirst}
	compats  = []string{CompatSeed}
	dtypes   = []string{DtypeFP32, DtypeFP16, DtypeQ8, DtypeInt8, DtypeQ4, DtypeQ4F16}
	backends = []string{BackendAuto, BackendCUDA, BackendXLA, BackendGo}

	devices = []string{record.DeviceNode, record.DeviceWasm, record.DeviceWebGPU}

	bestMetrics = []string{
		record.MetricLoss, record.MetricRougeL, record.MetricCider, record.MetricBleu4,
		record.MetricExactMatch,
	}

	wordRules = []string{WordsAuto, WordsRougeScore, WordsUnicode}
	languages = []string{"en", "zh", "ja", "ar", "th", "vi"} // of drawn scenes

	schedules  = []string{LinearSchedule, CosineSchedule, ConstantAfterWarmup, ConstantSchedule}
	precisions = []string{PrecisionFloat32, PrecisionTF32, PrecisionBF16}
	// of train.features
	featureTypes = []string{FeaturesOff, "float32", "bfloat16"}
)

// Devices are those that export.require knows.
func Devices() []string { return slices.Clone(devices) }

// Default is what absent keys mean. It has no dataset: that one key has to be written.
func Default() Config {
	return Config{
		Seed:    1,
		Backend: BackendAuto,
		Prepare: PrepareConfig{
			ValidationFraction: 0.05,
			TestFraction:       0.05,
			MaxBadFraction:     0.01,
			ShardRows:          1000,
		},
		Train: TrainConfig{
			Epochs:            10,
			BatchSize:         32,
			WarmupFraction:    0.05,
			WeightDecay:       0.01,
			Beta1:             0.9,
			Beta2:             0.999,
			Epsilon:           1e-8,
			MaxGradNorm:       1,
			Dropout:           0.1,
			Precision:         PrecisionFloat32,
			Patience:          3,
			CheckpointSeconds: 300,
			KeepCheckpoints:   10,
		},
		Evaluate: EvaluateConfig{BatchSize: 64, Samples: 16},
		Export: ExportConfig{
			Dtypes:        []string{DtypeFP32, DtypeQ8},
			Pictures:      500,
			MaxLogitsDiff: 1e-3,
			MaxRougeDrop:  0.5,
		},
	}
}

// defaultShapes are the sizes of a source of kind shapes.
func defaultShapes() ShapesConfig {
	return ShapesConfig{Train: 6000, Validation: 300, Test: 1000, TestUnseen: 200, MaxObjects: 3}
}

// Frozen is what of a resolved config belongs to its run for good: the priority
// may be another each time the run goes on.
func (c Config) Frozen() Config {
	c.Priority, c.Track, c.Notify = 0, TrackConfig{}, NotifyConfig{}
	return c
}

// Resolve fills every value whose default depends on other keys: sizes of the
// preset, and what follows from sizes. Resolving twice changes nothing.
func (c Config) Resolve() Config {
	c.Model = c.Model.resolve()
	if c.Train.MicroBatchSize == 0 {
		c.Train.MicroBatchSize = c.Train.BatchSize
	}
	if c.Train.LearningRate == 0 {
		c.Train.LearningRate = c.Model.learningRate()
		if c.Train.LoRA.R > 0 {
			c.Train.LearningRate = loraLearningRate
		}
	}
	if c.Train.LoRA.R > 0 && c.Train.LoRA.Alpha == 0 {
		c.Train.LoRA.Alpha = 16
	}
	if t := &c.Train; t.Teacher != "" {
		t.TeacherWeight, t.TeacherTemperature = cmp.Or(t.TeacherWeight, 0.25), cmp.Or(t.TeacherTemperature, 1)
		t.TeacherTopK = cmp.Or(t.TeacherTopK, 16)
	}
	if c.Train.Features == FeaturesOff {
		c.Train.Features = ""
	}
	c.byCompat(&c.Train.MaxLength, 0, SeedMaxLength)
	c.byCompat(&c.Train.CaptionsPerPicture, 5, 1)
	if c.Evaluate.MaxLength == 0 && c.Train.MaxLength > 0 {
		c.byCompat(&c.Evaluate.MaxLength, c.Train.MaxLength+1, seedGenerate)
		if c.Model.Positions > 0 {
			c.Evaluate.MaxLength = min(c.Evaluate.MaxLength, c.Model.Positions-c.Model.PictureVectors())
		}
	}
	if c.Evaluate.Words == "" && c.Compat == CompatSeed {
		c.Evaluate.Words = WordsRougeScore
	}
	sources := make([]SourceConfig, len(c.Dataset))
	for i, s := range c.Dataset {
		s = s.told()
		if s.Kind == KindShapes && s.Shapes.ImageSize == 0 {
			if s.Shapes.ImageSize = c.Model.ImageSize; s.Shapes.ImageSize == 0 {
				s.Shapes.ImageSize = pretrainedImageSize
			}
		}
		if s.Shapes.Language == "en" {
			s.Shapes.Language = "" // the same captions, under the same name
		}
		if c.Compat == CompatSeed {
			s.Clean = s.Clean.asSeed(s.Kind)
		}
		sources[i] = s
	}
	c.Dataset = sources
	return c
}

// WithDefaultsOf is a resolved config with the defaults that an older program resolved the frozen one by, where
// they were others: captions of 32 tokens.
func (c Config) WithDefaultsOf(frozen Config) Config {
	if c.Train.MaxLength == 0 && frozen.Train.MaxLength == 32 {
		c.Train.MaxLength = frozen.Train.MaxLength
		if c.Evaluate.MaxLength == 0 {
			c.Evaluate.MaxLength = frozen.Evaluate.MaxLength
		}
	}
	return c
}

// What mozilla/distilvit's train.py has as constants.
const (
	SeedMaxLength = 128 // tokens that captions are padded to
	seedGenerate  = 50  // generation_max_length
)

// byCompat fills a number that is 0.
func (c Config) byCompat(value *int, usual, seed int) {
	if *value != 0 {
		return
	}
	if *value = usual; c.Compat == CompatSeed {
		*value = seed
	}
}

// asSeed takes captions as the script does: of a list of captions the first, but
// of COCO's annotations every one, and none is changed.
func (c CleanConfig) asSeed(kind string) CleanConfig {
	if c.Keep == "" {
		if c.Keep = KeepFirst; kind == KindCOCO {
			c.Keep = KeepAll
		}
	}
	c.Raw = kind != KindShapes // whose captions are made by rule
	return c
}

// Kinds of models that a config names.
const (
	ModelCrossAttention = "cross_attention"
	ModelPrefix         = "prefix"
)

// pretrainedImageSize is drawn where the model's own size stands in files that
// are not read yet; the processor resizes in any case.
const pretrainedImageSize = 224

// Pretrained says that training starts from given weights, which bring their own sizes.
func (m ModelConfig) Pretrained() bool { return m.Weights != "" || m.Encoder != "" || m.Decoder != "" }

// PictureVectors are the vectors that stand before a caption of the kind prefix.
func (m ModelConfig) PictureVectors() int {
	if m.Kind != ModelPrefix || m.PatchSize < 1 {
		return 0
	}
	side := m.ImageSize / m.PatchSize / max(1, m.ScaleFactor)
	return side * side
}

// resolve fills sizes from the preset; given weights bring their own.
func (m ModelConfig) resolve() ModelConfig {
	if m.Pretrained() {
		return m
	}
	if weights, ok := preset.Captioner(m.Preset); ok {
		m.Preset, m.Weights = "", weights
		return m
	}
	sizes := []*int{
		&m.ImageSize, &m.PatchSize, &m.HiddenSize, &m.EncoderLayer, &m.DecoderLayer, &m.Heads, &m.VocabSize,
		&m.Positions,
	}
	if m.Preset == "" {
		for _, size := range sizes {
			if *size == 0 {
				if m.Preset = "small"; m.Kind == ModelPrefix {
					m.Preset = "modern-tiny"
				}
			}
		}
	}
	p, _ := preset.Of(m.Preset)
	if p.Prefix && m.Kind == "" {
		m.Kind = ModelPrefix
	}
	if m.Kind == ModelPrefix {
		sizes = append(sizes, &m.DecoderHiddenSize, &m.DecoderHeads, &m.KeyValueHeads, &m.DecoderMLPSize)
	}
	for i, value := range []int{p.ImageSize, p.PatchSize, p.HiddenSize, p.EncoderLayers, p.DecoderLayers,
		p.Heads, p.VocabSize, p.Positions, p.DecoderHiddenSize, p.DecoderHeads, p.KeyValueHeads, p.DecoderMLPSize} {
		if i < len(sizes) && *sizes[i] == 0 {
			*sizes[i] = value
		}
	}
	if m.MLPSize == 0 {
		m.MLPSize = 4 * m.HiddenSize
	}
	return m
}

// loraLearningRate is that of adapters, which begin at nothing and forget nothing of the weights.
const loraLearningRate = 5e-4

// learningRate is gentle with given weights and lower for wider networks.
func (m ModelConfig) learningRate() float64 {
	switch {
	case m.Pretrained():
		return 5e-5
	case m.HiddenSize <= 128:
		return 1e-3
	case m.HiddenSize <= 256:
		return 5e-4
	}
	return 1e-4
}

// Weights are those of the sources, or nothing where all are 1.
func (c Config) Weights() []float64 {
	weights, apart := make([]float64, len(c.Dataset)), false
	for i, s := range c.Dataset {
		if weights[i] = s.Weight; weights[i] == 0 {
			weights[i] = 1
		}
		apart = apart || weights[i] != 1
	}
	if !apart {
		return nil
	}
	return weights
}
