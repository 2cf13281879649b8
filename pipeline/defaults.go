package pipeline

// Names a config may hold.
const (
	KindShapes   = "shapes"
	KindCOCO     = "coco"
	KindKarpathy = "karpathy"
	KindFolder   = "folder"
	KindParquet  = "parquet"

	SplitTrain      = "train"
	SplitValidation = "validation"
	SplitTest       = "test"

	KeepAll   = "all"
	KeepFirst = "first"

	CompatSeed = "seed"

	DtypeFP32 = "fp32"
	DtypeQ8   = "q8"
	DtypeInt8 = "int8"

	PrecisionFloat32 = "float32"
	PrecisionBF16    = "bf16"

	BackendAuto = "auto"
	BackendCUDA = "cuda"
	BackendXLA  = "xla"
	BackendGo   = "go"
)

var (
	kinds    = []string{KindShapes, KindCOCO, KindKarpathy, KindFolder, KindParquet}
	splits   = []string{SplitTrain, SplitValidation, SplitTest}
	keeps    = []string{KeepAll, KeepFirst}
	compats  = []string{CompatSeed}
	dtypes   = []string{DtypeFP32, DtypeQ8, DtypeInt8}
	backends = []string{BackendAuto, BackendCUDA, BackendXLA, BackendGo}
	presets  = []string{"tiny", "small", "base"}

	precisions = []string{PrecisionFloat32, PrecisionBF16}
)

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

// preset is the sizes a name stands for; base is ViT-base/16-224 + DistilGPT2.
func preset(name string) (ModelConfig, bool) {
	switch name {
	case "tiny":
		return ModelConfig{ImageSize: 64, PatchSize: 8, HiddenSize: 128, EncoderLayer: 3, DecoderLayer: 3, Heads: 4, VocabSize: 2000, Positions: 64}, true
	case "small":
		return ModelConfig{ImageSize: 128, PatchSize: 16, HiddenSize: 256, EncoderLayer: 6, DecoderLayer: 4, Heads: 8, VocabSize: 8000, Positions: 128}, true
	case "base":
		return ModelConfig{ImageSize: 224, PatchSize: 16, HiddenSize: 768, EncoderLayer: 12, DecoderLayer: 6, Heads: 12, VocabSize: 50257, Positions: 1024}, true
	}
	return ModelConfig{}, false
}

// Frozen is what of a resolved config belongs to its run for good: the priority
// may be another each time the run goes on.
func (c Config) Frozen() Config {
	c.Priority = 0
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
	}
	c.byCompat(&c.Train.MaxLength, 32, SeedMaxLength)
	c.byCompat(&c.Train.CaptionsPerPicture, 5, 1)
	if c.Evaluate.MaxLength == 0 {
		c.byCompat(&c.Evaluate.MaxLength, c.Train.MaxLength+1, seedGenerate)
		if c.Model.Positions > 0 {
			c.Evaluate.MaxLength = min(c.Evaluate.MaxLength, c.Model.Positions)
		}
	}
	sources := make([]SourceConfig, len(c.Dataset))
	for i, s := range c.Dataset {
		if s.Kind == KindShapes && s.Shapes.ImageSize == 0 {
			if s.Shapes.ImageSize = c.Model.ImageSize; s.Shapes.ImageSize == 0 {
				s.Shapes.ImageSize = pretrainedImageSize
			}
		}
		if c.Compat == CompatSeed {
			s.Clean = s.Clean.asSeed(s.Kind)
		}
		sources[i] = s
	}
	c.Dataset = sources
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

// pretrainedImageSize is drawn where the model's own size stands in files that
// are not read yet; the processor resizes in any case.
const pretrainedImageSize = 224

// Pretrained says that training starts from given weights, which bring their own sizes.
func (m ModelConfig) Pretrained() bool { return m.Weights != "" || m.Encoder != "" || m.Decoder != "" }

// resolve fills sizes from the preset; given weights bring their own.
func (m ModelConfig) resolve() ModelConfig {
	if m.Pretrained() {
		return m
	}
	sizes := []*int{&m.ImageSize, &m.PatchSize, &m.HiddenSize, &m.EncoderLayer, &m.DecoderLayer, &m.Heads, &m.VocabSize, &m.Positions}
	if m.Preset == "" {
		for _, size := range sizes {
			if *size == 0 {
				m.Preset = "small"
			}
		}
	}
	p, _ := preset(m.Preset)
	for i, value := range []int{p.ImageSize, p.PatchSize, p.HiddenSize, p.EncoderLayer, p.DecoderLayer, p.Heads, p.VocabSize, p.Positions} {
		if *sizes[i] == 0 {
			*sizes[i] = value
		}
	}
	if m.MLPSize == 0 {
		m.MLPSize = 4 * m.HiddenSize
	}
	return m
}

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
