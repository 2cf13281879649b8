package pipeline

import (
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Validate reports every impossible value at once, as a *ConfigError.
func (c Config) Validate() error {
	return configError(c.Resolve().problems())
}

var namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

const nameRule = "must be 1 to 63 of a-z 0-9 . _ - and begin with a letter or digit"

// CheckRunID rejects a workflow id that cannot name a run.
func CheckRunID(id string) error {
	if !namePattern.MatchString(id) {
		return fmt.Errorf("run id %q: %s", id, nameRule)
	}
	return nil
}

// problems of a resolved config.
func (c Config) problems() []Problem {
	v := &validator{}
	v.check(c.Name == "" || namePattern.MatchString(c.Name), "name", "is %q; %s", c.Name, nameRule)
	v.oneOf("backend", c.Backend, backends)
	v.check(c.Backend != BackendGo || c.Train.Precision != PrecisionBF16, "train.precision", "is bf16; backend go trains in float32 only")
	if c.Compat != "" && v.oneOf("compat", c.Compat, compats) {
		v.check(c.Train.MaxLength == SeedMaxLength, "train.max_length", "is %d; compat: seed pads every caption to %d tokens, leave it out", c.Train.MaxLength, SeedMaxLength)
	}
	v.check(c.Priority >= 0 && c.Priority <= 5, "priority", "is %d; must be from 1 (first) to 5 (last), or 0", c.Priority)
	for i, s := range c.Dataset {
		v.source(fmt.Sprintf("dataset[%d]", i), s)
	}
	v.splits(c)
	v.model(c)
	v.prepare(c.Prepare)
	v.train(c.Train)
	v.augment(c.Train.Augment)
	v.evaluate(c)
	v.export(c.Export)
	return v.found
}

type validator struct{ found []Problem }

func (v *validator) check(ok bool, path, format string, args ...any) bool {
	if !ok {
		v.found = append(v.found, Problem{Path: path, Message: fmt.Sprintf(format, args...)})
	}
	return ok
}

func (v *validator) oneOf(path, value string, allowed []string) bool {
	message := fmt.Sprintf("is %q; must be one of %s", value, strings.Join(allowed, ", "))
	if meant := mistyped(value, allowed); value != "" && meant != "" {
		message += fmt.Sprintf("; did you mean %s?", meant)
	}
	return v.check(slices.Contains(allowed, value), path, "%s", message)
}

func (v *validator) atLeast(path string, value, least int) bool {
	return v.check(value >= least, path, "is %d; must be at least %d", value, least)
}

// within checks a share or factor; a NaN is in no range.
func (v *validator) within(path string, value, least, most float64) {
	v.check(value >= least && value <= most, path, "is %v; must be from %v to %v", value, least, most)
}

func (v *validator) below(path string, value, least, limit float64) {
	v.check(value >= least && value < limit, path, "is %v; must be at least %v and below %v", value, least, limit)
}

// maxWeight is dataset.MaxWeight.
const maxWeight = 100

func (v *validator) source(path string, s SourceConfig) {
	if s.Split != "" {
		v.oneOf(path+".split", s.Split, splits)
	}
	v.atLeast(path+".limit", s.Limit, 0)
	v.within(path+".weight", s.Weight, 0, maxWeight)
	v.check(s.Weight == 0 || s.Split == "" || s.Split == SplitTrain, path+".weight", "is for training pictures; this source's split is %s", s.Split)
	if !v.oneOf(path+".kind", s.Kind, kinds) {
		return
	}
	if s.Clean.Keep != "" {
		v.oneOf(path+".clean.keep", s.Clean.Keep, keeps)
	}
	if s.Kind == KindShapes {
		v.shapes(path, s)
		return
	}
	v.check(s.Shapes == ShapesConfig{}, path+".shapes", "is for kind shapes only; this source is %s", s.Kind)
	v.columns(path, s)
	v.atLeast(path+".clean.min_words", s.Clean.MinWords, 0)
	if v.atLeast(path+".clean.max_words", s.Clean.MaxWords, 0) && s.Clean.MaxWords > 0 {
		v.check(s.Clean.MinWords <= s.Clean.MaxWords, path+".clean.min_words", "is %d; must be at most clean.max_words %d", s.Clean.MinWords, s.Clean.MaxWords)
	}
	if s.Kind == KindParquet {
		for _, file := range s.fileKeys()[:2] {
			v.check(len(file.paths) == 0, path+"."+file.key, "is not for kind parquet, whose files hold captions and pictures")
		}
		v.paths(path+".files", s.Files, ".parquet", s.Kind)
	} else {
		v.check(s.Captions != "", path+".captions", "is missing; kind %s needs it", s.Kind)
		v.check(!strings.HasSuffix(s.Captions, "#"), path+".captions", "names no entry after its #")
		v.paths(path+".images", s.Images, ".zip", s.Kind)
		v.check(len(s.Files) == 0, path+".files", "is for kind parquet only; this source is %s", s.Kind)
	}
	v.digests(path+".sha256", s)
}

// paths checks paths that a kind cannot do without, and what their URLs name.
func (v *validator) paths(path string, paths Paths, ending, kind string) {
	v.check(len(paths) > 0, path, "is missing; kind %s needs it", kind)
	for i, p := range paths {
		at := path
		if len(paths) > 1 {
			at = fmt.Sprintf("%s[%d]", path, i)
		}
		v.check(p != "", at, "is empty")
		v.check(slices.Index(paths, p) == i, at, "names %s a second time", p)
		u, remote := remotePath(p)
		v.check(!remote || strings.HasSuffix(strings.ToLower(u), ending), at, "is a URL; it must name a %s", ending)
	}
}

// columns checks the keys of kind parquet.
func (v *validator) columns(path string, s SourceConfig) {
	for _, column := range []struct{ key, value string }{
		{"image_column", s.ImageColumn}, {"split_column", s.SplitColumn}, {"id_column", s.IDColumn},
	} {
		v.check(column.value == "" || s.Kind == KindParquet, path+"."+column.key, "is for kind parquet only; this source is %s", s.Kind)
	}
	v.check(len(s.CaptionColumns) == 0 || s.Kind == KindParquet, path+".caption_columns", "is for kind parquet only; this source is %s", s.Kind)
	for i, name := range s.CaptionColumns {
		at := fmt.Sprintf("%s.caption_columns[%d]", path, i)
		v.check(name != "", at, "is empty")
		v.check(slices.Index(s.CaptionColumns, name) == i, at, "names %s a second time", name)
	}
}

// digests checks the expected digests; a folder or a pattern has none, which
// only the worker can tell.
func (v *validator) digests(path string, s SourceConfig) {
	known := 0
	for _, file := range s.fileKeys() {
		digest, given := s.SHA256[file.key]
		if !given {
			continue
		}
		known++
		raw, err := hex.DecodeString(digest)
		v.check(err == nil && len(raw) == 32 && digest == strings.ToLower(digest), path+"."+file.key, "is %q; must be 64 lower-case hex digits", digest)
		v.check(len(file.paths) < 2, path+"."+file.key, "can only be given for one file; %s are %d", file.key, len(file.paths))
	}
	v.check(known == len(s.SHA256), path, "knows only the keys captions, images and files")
}

// fileKey is a key of a source that names files.
type fileKey struct {
	key   string
	paths Paths
}

func (s SourceConfig) fileKeys() []fileKey {
	return []fileKey{{"captions", onePath(s.Captions)}, {"images", s.Images}, {"files", s.Files}}
}

func (v *validator) shapes(path string, s SourceConfig) {
	for _, file := range s.fileKeys() {
		v.check(len(file.paths) == 0, path+"."+file.key, "is not for kind shapes, whose pictures are drawn")
	}
	v.columns(path, s)
	v.check(s.Clean == CleanConfig{Keep: s.Clean.Keep}, path+".clean", "is not for kind shapes, whose captions are made by rule")
	v.check(len(s.SHA256) == 0, path+".sha256", "is not for kind shapes, whose pictures are drawn")
	path += ".shapes"
	v.atLeast(path+".train", s.Shapes.Train, 0)
	v.atLeast(path+".validation", s.Shapes.Validation, 0)
	v.atLeast(path+".test", s.Shapes.Test, 0)
	v.atLeast(path+".test_unseen", s.Shapes.TestUnseen, 0)
	v.check(s.Shapes.MaxObjects >= 1 && s.Shapes.MaxObjects <= 3, path+".max_objects", "is %d; must be 1, 2 or 3", s.Shapes.MaxObjects)
	v.check(s.Shapes.ImageSize >= 16 && s.Shapes.ImageSize <= 1024, path+".image_size", "is %d; must be from 16 to 1024", s.Shapes.ImageSize)
}

// splits makes sure that there is something to train on and something to
// choose the best epoch by.
func (v *validator) splits(c Config) {
	if !v.check(len(c.Dataset) > 0, "dataset", "is missing; at least one source is needed, such as [{kind: shapes}]") {
		return
	}
	var train, validation bool
	for _, s := range c.Dataset {
		drawn := s.Kind == KindShapes
		train = train || (s.Split == SplitTrain || s.Split == "") && (!drawn || s.Shapes.Train > 0)
		switch s.Split {
		case SplitValidation:
			validation = validation || !drawn || s.Shapes.Validation > 0
		case "":
			validation = validation || !drawn && (c.Prepare.ValidationFraction > 0 || s.SplitColumn != "" || s.Kind == KindKarpathy) || drawn && s.Shapes.Validation > 0
		}
	}
	v.check(train, "dataset", "has no training pictures; a source with split train or without a split is needed")
	v.check(validation, "dataset", "has no validation pictures; a source with split validation is needed, or one without a split and prepare.validation_fraction above 0")
}

func (v *validator) model(c Config) {
	m := c.Model
	if m.Pretrained() {
		from := v.parts(m)
		for _, size := range []struct {
			key   string
			value int
		}{
			{"image_size", m.ImageSize}, {"patch_size", m.PatchSize}, {"hidden_size", m.HiddenSize}, {"encoder_layer", m.EncoderLayer},
			{"decoder_layer", m.DecoderLayer}, {"heads", m.Heads}, {"mlp_size", m.MLPSize}, {"vocab_size", m.VocabSize}, {"positions", m.Positions},
		} {
			v.check(size.value == 0, "model."+size.key, "is given by the config.json of %s; leave it out", from)
		}
		v.check(m.Preset == "", "model.preset", "is given by the config.json of %s; leave it out", from)
		return
	}
	if m.Preset != "" && !v.oneOf("model.preset", m.Preset, presets) {
		return
	}
	image := v.check(m.ImageSize >= 8 && m.ImageSize <= 1024, "model.image_size", "is %d; must be from 8 to 1024", m.ImageSize)
	if v.atLeast("model.patch_size", m.PatchSize, 1) && image {
		v.check(m.ImageSize%m.PatchSize == 0, "model.patch_size", "is %d; must divide model.image_size %d", m.PatchSize, m.ImageSize)
	}
	hidden := v.atLeast("model.hidden_size", m.HiddenSize, 1)
	if v.atLeast("model.heads", m.Heads, 1) && hidden {
		v.check(m.HiddenSize%m.Heads == 0, "model.heads", "is %d; must divide model.hidden_size %d", m.Heads, m.HiddenSize)
	}
	v.atLeast("model.encoder_layer", m.EncoderLayer, 1)
	v.atLeast("model.decoder_layer", m.DecoderLayer, 1)
	v.atLeast("model.mlp_size", m.MLPSize, 1)
	v.atLeast("model.vocab_size", m.VocabSize, 257)
	positions := v.atLeast("model.positions", m.Positions, 2)
	if positions && c.Compat == CompatSeed {
		positions = v.check(m.Positions >= SeedMaxLength, "model.positions", "is %d; compat: seed pads captions to %d tokens, which need as many", m.Positions, SeedMaxLength)
	}
	if positions {
		v.check(c.Train.MaxLength <= m.Positions, "train.max_length", "is %d; must be at most model.positions %d", c.Train.MaxLength, m.Positions)
		v.check(c.Evaluate.MaxLength <= m.Positions, "evaluate.max_length", "is %d; must be at most model.positions %d", c.Evaluate.MaxLength, m.Positions)
	}
}

// parts checks that weights or both parts are given, and names what gives the sizes.
func (v *validator) parts(m ModelConfig) string {
	if m.Weights != "" {
		v.check(m.Encoder == "", "model.encoder", "is in model.weights, too; leave one of them out")
		v.check(m.Decoder == "", "model.decoder", "is in model.weights, too; leave one of them out")
		return "model.weights"
	}
	v.check(m.Encoder != "", "model.encoder", "is missing; model.decoder needs one")
	v.check(m.Decoder != "", "model.decoder", "is missing; model.encoder needs one")
	return "model.encoder and model.decoder"
}

func (v *validator) prepare(p PrepareConfig) {
	v.below("prepare.validation_fraction", p.ValidationFraction, 0, 1)
	v.below("prepare.test_fraction", p.TestFraction, 0, 1)
	v.check(!(p.ValidationFraction+p.TestFraction >= 1), "prepare.test_fraction", "leaves nothing to train on: with prepare.validation_fraction it is %v; together they must be below 1", p.ValidationFraction+p.TestFraction)
	v.within("prepare.max_bad_fraction", p.MaxBadFraction, 0, 1)
	v.atLeast("prepare.shard_rows", p.ShardRows, 1)
}

func (v *validator) train(t TrainConfig) {
	v.atLeast("train.epochs", t.Epochs, 1)
	if v.atLeast("train.batch_size", t.BatchSize, 1) && v.atLeast("train.micro_batch_size", t.MicroBatchSize, 1) {
		v.check(t.BatchSize%t.MicroBatchSize == 0, "train.micro_batch_size", "is %d; must divide train.batch_size %d", t.MicroBatchSize, t.BatchSize)
	}
	v.atLeast("train.captions_per_picture", t.CaptionsPerPicture, 1)
	v.atLeast("train.max_length", t.MaxLength, 2)
	v.check(t.LearningRate > 0 && t.LearningRate <= 1, "train.learning_rate", "is %v; must be above 0 and at most 1", t.LearningRate)
	v.within("train.warmup_fraction", t.WarmupFraction, 0, 1)
	v.within("train.weight_decay", t.WeightDecay, 0, 1)
	v.below("train.beta1", t.Beta1, 0, 1)
	v.below("train.beta2", t.Beta2, 0, 1)
	v.check(t.Epsilon > 0 && t.Epsilon <= 1, "train.epsilon", "is %v; must be above 0 and at most 1", t.Epsilon)
	v.check(t.MaxGradNorm >= 0, "train.max_grad_norm", "is %v; must be at least 0", t.MaxGradNorm)
	v.below("train.dropout", t.Dropout, 0, 1)
	v.oneOf("train.precision", t.Precision, precisions)
	v.atLeast("train.patience", t.Patience, 0)
	v.atLeast("train.checkpoint_steps", t.CheckpointSteps, 0)
	v.atLeast("train.checkpoint_seconds", t.CheckpointSeconds, 0)
	v.atLeast("train.keep_checkpoints", t.KeepCheckpoints, 1)
}

func (v *validator) augment(a AugmentConfig) {
	v.below("train.augment.shift", a.Shift, 0, 1)
	v.below("train.augment.scale", a.Scale, 0, 1)
	v.within("train.augment.rotation", a.Rotation, 0, 180)
	v.below("train.augment.color", a.Color, 0, 1)
}

func (v *validator) evaluate(c Config) {
	v.atLeast("evaluate.batch_size", c.Evaluate.BatchSize, 1)
	v.atLeast("evaluate.max_length", c.Evaluate.MaxLength, 2)
	v.atLeast("evaluate.limit", c.Evaluate.Limit, 0)
	v.atLeast("evaluate.samples", c.Evaluate.Samples, 0)
}

func (v *validator) export(e ExportConfig) {
	v.check(len(e.Dtypes) > 0, "export.dtypes", "is empty; must name at least one of %s", strings.Join(dtypes, ", "))
	for i, dtype := range e.Dtypes {
		path := fmt.Sprintf("export.dtypes[%d]", i)
		if v.oneOf(path, dtype, dtypes) {
			v.check(slices.Index(e.Dtypes, dtype) == i, path, "names %s a second time", dtype)
		}
	}
	v.atLeast("export.pictures", e.Pictures, 0)
	v.check(e.MaxLogitsDiff > 0, "export.max_logits_diff", "is %v; must be above 0", e.MaxLogitsDiff)
	v.within("export.max_rouge_l_drop", e.MaxRougeDrop, 0, 100)
}
