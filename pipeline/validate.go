package pipeline

import (
	"encoding/hex"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"distilvit/model/preset"
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
	v.check(c.Backend != BackendGo || c.Train.Precision != PrecisionBF16, "train.precision",
		"is bf16; backend go trains in float32 only")
	v.check(!slices.Contains([]string{BackendGo, BackendXLA}, c.Backend) || c.Train.Precision != PrecisionTF32,
		"train.precision", "is tf32, a format of GPUs; backend %s has none: use float32", c.Backend)
	if c.Compat != "" && v.oneOf("compat", c.Compat, compats) {
		v.check(
			c.Train.MaxLength == SeedMaxLength, "train.max_length",
			"is %d; compat: seed pads every caption to %d tokens, leave it out", c.Train.MaxLength,
			SeedMaxLength,
		)
	}
	v.check(c.Priority >= 0 && c.Priority <= 5, "priority", "is %d; must be from 1 (first) to 5 (last), or 0",
		c.Priority)
	for i, s := range c.Dataset {
		v.check(c.Compat == "" || s.Kind != KindJSON, fmt.Sprintf("dataset[%d].kind", i),
			"is missing; compat: seed reads each kind in its own way")
		v.source(fmt.Sprintf("dataset[%d]", i), s)
	}
	v.splits(c)
	v.model(c)
	v.prepare(c.Prepare)
	v.train(c.Train)
	v.parts(c)
	v.augment(c.Train.Augment)
	v.evaluate(c)
	v.generate(c.Generate)
	v.export(c.Export)
	v.publish(c.Publish)
	v.address("track.mlflow", c.Track.MLflow)
	v.address("notify.webhook", c.Notify.Webhook)
	v.check(c.Notify.Secret == "" || onlyReference.MatchString(c.Notify.Secret), "notify.secret",
		"must be ${%sNAME}, a variable of the workers' environment: the secret itself would be stored with the run",
		SecretPrefix)
	v.check(c.Notify.Secret == "" || c.Notify.Webhook != "", "notify.secret", "is for notify.webhook only")
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
	v.check(value >= least && value < limit, path, "is %v; must be at least %v and below %v",
		value, least, limit)
}

// maxWeight is dataset.MaxWeight.
const maxWeight = 100

func (v *validator) source(path string, s SourceConfig) {
	if s.Split != "" {
		v.oneOf(path+".split", s.Split, splits)
	}
	v.atLeast(path+".limit", s.Limit, 0)
	v.within(path+".weight", s.Weight, 0, maxWeight)
	v.check(s.Weight == 0 || s.Split == "" || s.Split == SplitTrain, path+".weight",
		"is for training pictures; this source's split is %s", s.Split)
	given := v.check(s.Kind != "", path+".kind",
		"is missing, and the names of the files do not tell it; must be one of %s", strings.Join(kinds, ", "))
	if !given || !v.oneOf(path+".kind", s.Kind, kinds) {
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
		v.check(s.Clean.MinWords <= s.Clean.MaxWords, path+".clean.min_words",
			"is %d; must be at most clean.max_words %d", s.Clean.MinWords, s.Clean.MaxWords)
	}
	if ending := s.filesEnding(); ending != "" {
		v.check(s.Captions == "", path+".captions", "is not for kind %s, whose files hold the captions", s.Kind)
		switch {
		case s.Kind == KindParquet && len(s.Images) > 0:
			v.paths(path+".images", s.Images, ".zip", s.Kind)
		case len(s.Images) > 0:
			v.check(false, path+".images", "is not for kind %s, whose files hold captions and pictures", s.Kind)
		}
		v.paths(path+".files", s.Files, ending, s.Kind)
	} else {
		v.check(s.Captions != "" || s.Kind == KindFolder, path+".captions",
			"is missing; kind %s needs it", s.Kind)
		v.check(!strings.HasSuffix(s.Captions, "#"), path+".captions", "names no entry after its #")
		v.paths(path+".images", s.Images, ".zip", s.Kind)
		v.check(len(s.Files) == 0, path+".files",
			"is for kinds parquet and webdataset only; this source is %s", s.Kind)
	}
	v.digests(path+".sha256", s)
	v.secrets(path, s)
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
		v.check(!remote || strings.HasSuffix(strings.ToLower(u), ending), at,
			"is a URL; it must name a %s", ending)
	}
}

// filesEnding is how the files of a kind end that holds captions and pictures in one; empty
// for the other kinds.
func (s SourceConfig) filesEnding() string {
	switch s.Kind {
	case KindParquet:
		return ".parquet"
	case KindWebDataset:
		return ".tar"
	}
	return ""
}

// columns checks the keys that are for some kinds only.
func (v *validator) columns(path string, s SourceConfig) {
	for _, c := range []struct {
		key   string
		given bool
		kinds []string
	}{
		{"image_column", s.ImageColumn != "", []string{KindParquet, KindFolder}},
		{"caption_columns", len(s.CaptionColumns) > 0, []string{KindParquet, KindFolder, KindWebDataset}},
		{"split_column", s.SplitColumn != "", []string{KindParquet, KindFolder}},
		{"id_column", s.IDColumn != "", []string{KindParquet}},
		{"where", len(s.Where) > 0, []string{KindFolder, KindWebDataset, KindParquet}},
		{"caption", s.Caption != "", []string{
			KindCOCO, KindKarpathy, KindFolder, KindJSON, KindWebDataset, KindParquet,
		}},
	} {
		v.check(
			!c.given || slices.Contains(c.kinds, s.Kind), path+"."+c.key,
			"is for kinds %s only; this source is %s",
			strings.Join(c.kinds, ", "), s.Kind,
		)
	}
	v.check(
		s.Caption == "" || len(s.CaptionColumns) == 0, path+".caption",
		"is every picture's only caption; leave caption_columns out",
	)
	for i, name := range s.CaptionColumns {
		at := fmt.Sprintf("%s.caption_columns[%d]", path, i)
		v.check(name != "", at, "is empty")
		v.check(slices.Index(s.CaptionColumns, name) == i, at, "names %s a second time", name)
	}
	for _, column := range sortedKeys(s.Where) {
		at := path + ".where." + column
		v.check(len(s.Where[column]) > 0, at, "is empty; it wants a text, a list of texts, or * for any value")
	}
}

// sortedKeys are a map's keys in order, the same whenever a workflow is replayed.
//
//workflowcheck:ignore
func sortedKeys(m map[string]Paths) []string { return slices.Sorted(maps.Keys(m)) }

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
		v.check(err == nil && len(raw) == 32 && digest == strings.ToLower(digest), path+"."+file.key,
			"is %q; must be 64 lower-case hex digits", digest)
		v.check(len(file.paths) < 2, path+"."+file.key, "can only be given for one file; %s are %d", file.key,
			len(file.paths))
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
	v.check(s.Clean == CleanConfig{Keep: s.Clean.Keep}, path+".clean",
		"is not for kind shapes, whose captions are made by rule")
	v.check(len(s.SHA256) == 0, path+".sha256", "is not for kind shapes, whose pictures are drawn")
	path += ".shapes"
	v.atLeast(path+".train", s.Shapes.Train, 0)
	v.atLeast(path+".validation", s.Shapes.Validation, 0)
	v.atLeast(path+".test", s.Shapes.Test, 0)
	v.atLeast(path+".test_unseen", s.Shapes.TestUnseen, 0)
	v.check(s.Shapes.MaxObjects >= 1 && s.Shapes.MaxObjects <= 3, path+".max_objects",
		"is %d; must be 1, 2 or 3", s.Shapes.MaxObjects)
	v.check(s.Shapes.ImageSize >= 16 && s.Shapes.ImageSize <= 1024, path+".image_size",
		"is %d; must be from 16 to 1024", s.Shapes.ImageSize)
	if s.Shapes.Language != "" {
		v.oneOf(path+".language", s.Shapes.Language, languages)
	}
}

// splits makes sure that there is something to train on and something to
// choose the best epoch by.
func (v *validator) splits(c Config) {
	if !v.check(len(c.Dataset) > 0, "dataset",
		"is missing; at least one source is needed, such as [{kind: shapes}]") {
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
			validation = validation || !drawn && (c.Prepare.ValidationFraction > 0 || s.SplitColumn != "" ||
				s.Kind == KindKarpathy) || drawn && s.Shapes.Validation > 0
		}
	}
	v.check(
		train, "dataset", "has no training pictures; a source with split train or without a split is needed",
	)
	v.check(validation, "dataset", "has no validation pictures; a source with split validation is needed, "+
		"or one without a split and prepare.validation_fraction above 0")
}

func (v *validator) model(c Config) {
	m := c.Model
	if m.Kind != "" && !v.oneOf("model.kind", m.Kind, []string{ModelCrossAttention, ModelPrefix}) {
		return
	}
	if m.Projection != "" {
		v.oneOf("model.projection", m.Projection, []string{"mlp", "linear"})
		v.check(m.Weights == "", "model.projection", "is given by the config.json of model.weights; leave it out")
		v.check(m.Kind != ModelCrossAttention && (m.Pretrained() || m.Kind == ModelPrefix), "model.projection",
			"is that of the kind prefix")
	}
	v.fromLayers(m)
	if m.ScaleFactor != 0 {
		v.scaleFactor(m)
	}
	if m.Prompt != "" {
		v.check(m.Kind != ModelCrossAttention && (m.Pretrained() || m.Kind == ModelPrefix), "model.prompt",
			"is that of the kind prefix")
	}
	if m.Pretrained() {
		from := v.towers(m)
		for _, size := range []struct {
			key   string
			value int
		}{
			{"image_size", m.ImageSize}, {"patch_size", m.PatchSize}, {"hidden_size", m.HiddenSize},
			{"encoder_layer", m.EncoderLayer},
			{"decoder_layer", m.DecoderLayer}, {"heads", m.Heads}, {"mlp_size", m.MLPSize},
			{"vocab_size", m.VocabSize}, {"positions", m.Positions},
			{"decoder_hidden_size", m.DecoderHiddenSize}, {"decoder_heads", m.DecoderHeads},
			{"key_value_heads", m.KeyValueHeads}, {"decoder_mlp_size", m.DecoderMLPSize},
		} {
			v.check(
				size.value == 0, "model."+size.key, "is given by the config.json of %s; leave it out", from,
			)
		}
		v.check(m.Preset == "", "model.preset", "is given by the config.json of %s; leave it out", from)
		return
	}
	if m.Preset != "" && !v.oneOf("model.preset", m.Preset, append(preset.Names(), preset.Captioners()...)) {
		return
	}
	if p, ok := preset.Of(m.Preset); ok && m.Kind != "" && !v.check(p.Prefix == (m.Kind == ModelPrefix), "model.preset",
		"is %s, which is not of the kind %s", m.Preset, m.Kind) {
		return
	}
	image := v.check(m.ImageSize >= 8 && m.ImageSize <= 1024, "model.image_size",
		"is %d; must be from 8 to 1024", m.ImageSize)
	if v.atLeast("model.patch_size", m.PatchSize, 1) && image {
		v.check(m.ImageSize%m.PatchSize == 0, "model.patch_size", "is %d; must divide model.image_size %d",
			m.PatchSize, m.ImageSize)
	}
	hidden := v.atLeast("model.hidden_size", m.HiddenSize, 1)
	if v.atLeast("model.heads", m.Heads, 1) && hidden {
		v.check(m.HiddenSize%m.Heads == 0, "model.heads", "is %d; must divide model.hidden_size %d",
			m.Heads, m.HiddenSize)
	}
	v.atLeast("model.encoder_layer", m.EncoderLayer, 1)
	v.atLeast("model.decoder_layer", m.DecoderLayer, 1)
	v.atLeast("model.mlp_size", m.MLPSize, 1)
	v.atLeast("model.vocab_size", m.VocabSize, leastVocabulary)
	least := 2
	if m.Kind == ModelPrefix {
		least = v.prefix(m) + 2
	}
	positions := v.atLeast("model.positions", m.Positions, least)
	m.Positions -= least - 2
	if positions && c.Compat == CompatSeed {
		positions = v.check(m.Positions >= SeedMaxLength, "model.positions",
			"is %d; compat: seed pads captions to %d tokens, which need as many", m.Positions, SeedMaxLength)
	}
	if positions {
		what := "model.positions"
		if m.Kind == ModelPrefix {
			what = "what the picture's vectors leave of model.positions,"
		}
		v.check(c.Train.MaxLength <= m.Positions, "train.max_length",
			"is %d; must be at most %s %d", c.Train.MaxLength, what, m.Positions)
		v.check(c.Evaluate.MaxLength <= m.Positions, "evaluate.max_length",
			"is %d; must be at most %s %d", c.Evaluate.MaxLength, what, m.Positions)
	}
}

// prefix checks the decoder's sizes of the kind prefix and answers how many vectors stand before a caption.
func (v *validator) prefix(m ModelConfig) int {
	hidden := v.atLeast("model.decoder_hidden_size", m.DecoderHiddenSize, 1)
	if v.atLeast("model.decoder_heads", m.DecoderHeads, 1) {
		if hidden {
			v.check(m.DecoderHiddenSize%(2*m.DecoderHeads) == 0, "model.decoder_heads",
				"is %d; twice that must divide model.decoder_hidden_size %d", m.DecoderHeads, m.DecoderHiddenSize)
		}
		if v.atLeast("model.key_value_heads", m.KeyValueHeads, 1) {
			v.check(m.DecoderHeads%m.KeyValueHeads == 0, "model.key_value_heads", "is %d; must divide model.decoder_heads %d",
				m.KeyValueHeads, m.DecoderHeads)
		}
	}
	v.atLeast("model.decoder_mlp_size", m.DecoderMLPSize, 1)
	return m.PictureVectors()
}

// fromLayers checks the numbers; how many layers there are is known with the network.
func (v *validator) fromLayers(m ModelConfig) {
	for _, l := range []struct {
		key  string
		keep []int
	}{{"encoder", m.FromLayers.Encoder}, {"decoder", m.FromLayers.Decoder}} {
		key := "model.from_layers." + l.key
		if len(l.keep) == 0 {
			continue
		}
		v.check(m.Pretrained(), key, "takes layers of given weights; it needs "+
			"model.weights, or model.encoder and model.decoder")
		v.check(m.Adapter == "", key, "cannot be with model.adapter, which is for all layers of model.weights")
		for i, n := range l.keep {
			v.check(n >= 0 && (i == 0 || n > l.keep[i-1]), fmt.Sprintf("%s[%d]", key, i), "is %d; layers are numbered from 0 "+
				"and must ascend", n)
		}
	}
}

// scaleFactor checks that a picture's vectors can be made fewer.
func (v *validator) scaleFactor(m ModelConfig) {
	const key = "model.scale_factor"
	v.check(m.Projection == "", key, "is in the place of model.projection; leave one of them out")
	v.check(m.Weights == "", key, "is given by the config.json of model.weights; leave it out")
	v.check(m.Kind != ModelCrossAttention && (m.Pretrained() || m.Kind == ModelPrefix), key, "is that of the kind prefix")
	if !v.atLeast(key, m.ScaleFactor, 1) || m.Pretrained() || m.PatchSize < 1 {
		return
	}
	side := m.ImageSize / m.PatchSize
	v.check(side%m.ScaleFactor == 0, key, "is %d; must divide the %d patches of a picture's side", m.ScaleFactor, side)
}

// towers checks that weights or both parts are given, and names what gives the sizes.
func (v *validator) towers(m ModelConfig) string {
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
	v.check(
		!(p.ValidationFraction+p.TestFraction >= 1), "prepare.test_fraction",
		"leaves nothing to train on: with prepare.validation_fraction it is %v; together they "+
			"must be below 1",
		p.ValidationFraction+p.TestFraction,
	)
	v.within("prepare.max_bad_fraction", p.MaxBadFraction, 0, 1)
	v.atLeast("prepare.max_pixels", p.MaxPixels, 0)
	v.atLeast("prepare.shard_rows", p.ShardRows, 1)
}

func (v *validator) train(t TrainConfig) {
	v.atLeast("train.epochs", t.Epochs, 1)
	if v.atLeast("train.batch_size", t.BatchSize, 1) &&
		v.atLeast("train.micro_batch_size", t.MicroBatchSize, 1) {
		v.check(t.BatchSize%t.MicroBatchSize == 0, "train.micro_batch_size",
			"is %d; must divide train.batch_size %d", t.MicroBatchSize, t.BatchSize)
	}
	v.atLeast("train.captions_per_picture", t.CaptionsPerPicture, 1)
	v.length("train.max_length", t.MaxLength)
	v.check(t.LearningRate > 0 && t.LearningRate <= 1, "train.learning_rate",
		"is %v; must be above 0 and at most 1", t.LearningRate)
	v.atLeast("train.max_steps", t.MaxSteps, 0)
	v.schedule(t)
	v.within("train.weight_decay", t.WeightDecay, 0, 1)
	v.below("train.beta1", t.Beta1, 0, 1)
	v.below("train.beta2", t.Beta2, 0, 1)
	v.check(
		t.Epsilon > 0 && t.Epsilon <= 1, "train.epsilon", "is %v; must be above 0 and at most 1", t.Epsilon,
	)
	v.check(t.MaxGradNorm >= 0, "train.max_grad_norm", "is %v; must be at least 0", t.MaxGradNorm)
	v.below("train.dropout", t.Dropout, 0, 1)
	v.below("train.label_smoothing_factor", t.LabelSmoothingFactor, 0, 1)
	v.below("train.ema", t.EMA, 0, 1)
	v.oneOf("train.precision", t.Precision, precisions)
	v.features(t)
	v.teacher(t)
	v.atLeast("train.eval_steps", t.EvalSteps, 0)
	v.atLeast("train.patience", t.Patience, 0)
	if t.MetricForBestModel != "" {
		v.oneOf("train.metric_for_best_model", t.MetricForBestModel, bestMetrics)
	}
	v.atLeast("train.checkpoint_steps", t.CheckpointSteps, 0)
	v.atLeast("train.checkpoint_seconds", t.CheckpointSeconds, 0)
	v.atLeast("train.keep_checkpoints", t.KeepCheckpoints, 1)
}

// features checks what is stored of a frozen encoder; that it is frozen is known with the network.
func (v *validator) features(t TrainConfig) {
	if t.Features != "" {
		v.oneOf("train.features", t.Features, featureTypes)
	}
	changed := t.Augment != AugmentConfig{}
	switch {
	case t.FeatureViews != 0 && !t.StoresFeatures():
		v.check(false, "train.feature_views", "is %d; views are stored with train.features alone", t.FeatureViews)
	case !t.StoresFeatures():
	case changed && t.FeatureViews == 0:
		v.check(false, "train.features", "stores one view of each picture, train.augment changes pictures every epoch: set "+
			"train.feature_views to the views to draw and store of each, such as 4, or leave augment out")
	case !changed:
		v.check(t.FeatureViews == 0, "train.feature_views", "is %d; without train.augment all views are the same: leave it "+
			"out", t.FeatureViews)
	default:
		v.check(t.FeatureViews >= 1 && t.FeatureViews <= MaxFeatureViews, "train.feature_views", "is %d; must be from 1 to %d",
			t.FeatureViews, MaxFeatureViews)
	}
	v.check(!t.StoresFeatures() || len(t.Freeze) > 0 || len(t.Parts) > 0 || t.LoRA.R > 0, "train.features",
		"is %s; features are those of a frozen encoder: set train.freeze: [encoder]", t.Features)
}

// teacher checks its values; whether it fits the student is known with the networks.
func (v *validator) teacher(t TrainConfig) {
	if t.Teacher == "" {
		for _, k := range []struct {
			key   string
			given bool
		}{
			{"weight", t.TeacherWeight != 0}, {"temperature", t.TeacherTemperature != 0},
			{"top_k", t.TeacherTopK != 0}, {"captions", t.TeacherCaptions != 0},
			{"views", t.TeacherViews != 0},
		} {
			v.check(!k.given, "train.teacher_"+k.key, "is for train.teacher, which is missing")
		}
		return
	}
	v.check(t.TeacherWeight > 0 && t.TeacherWeight <= 1, "train.teacher_weight", "is %v; must be above 0 and at most 1",
		t.TeacherWeight)
	v.within("train.teacher_temperature", t.TeacherTemperature, 0.1, 100)
	v.within("train.teacher_top_k", float64(t.TeacherTopK), 1, MaxTeacherTopK)
	v.within("train.teacher_captions", float64(t.TeacherCaptions), 0, MaxTeacherCaptions)
	v.within("train.teacher_views", float64(t.TeacherViews), 0, MaxFeatureViews)
	v.check(t.TeacherViews == 0 || t.Augment != AugmentConfig{}, "train.teacher_views",
		"is %d; without train.augment all views are the same: leave it out", t.TeacherViews)
	v.check(t.TeacherViews == 0 || !t.StoresFeatures() || t.TeacherViews == t.FeatureViews, "train.teacher_views",
		"is %d, train.feature_views %d; the student sees these views, so they must be the same", t.TeacherViews, t.FeatureViews)
}

// parts checks their values; whether there is what they mean is known with the network.
func (v *validator) parts(c Config) {
	t := c.Train
	v.check(t.LayerDecay == 0 || t.LayerDecay >= 0.01 && t.LayerDecay <= 1, "train.layer_decay",
		"is %v; must be from 0.01 to 1", t.LayerDecay)
	freezes := func(path string) {
		v.check(c.Model.Pretrained(), path, "freezes weights drawn by seed, which know nothing yet; it needs "+
			"model.weights, or model.encoder and model.decoder")
	}
	v.lora(c)
	for i, pattern := range t.Freeze {
		v.check(pattern != "", fmt.Sprintf("train.freeze[%d]", i), "is empty")
	}
	if len(t.Freeze) > 0 {
		freezes("train.freeze")
	}
	for i, p := range t.Parts {
		path := fmt.Sprintf("train.parts[%d]", i)
		v.check(p.Match != "", path+".match", "is missing; it names tensors, such as encoder or decoder.layers.0-2")
		v.check(p.LearningRate != nil || p.WeightDecay != nil || p.Freeze != nil, path,
			"changes nothing; it wants learning_rate, weight_decay or freeze")
		if r := p.LearningRate; r != nil {
			v.check(*r > 0 && *r <= 1, path+".learning_rate", "is %v; must be above 0 and at most 1, or freeze: true", *r)
		}
		if d := p.WeightDecay; d != nil {
			v.within(path+".weight_decay", *d, 0, 1)
		}
		if p.Freeze != nil && *p.Freeze {
			freezes(path + ".freeze")
		}
	}
}

// lora checks its values.
func (v *validator) lora(c Config) {
	l := c.Train.LoRA
	v.check(c.Model.Adapter == "" || l.R > 0, "model.adapter", "goes on with adapters; it needs train.lora, with the "+
		"adapter's r, lora_alpha and target_modules")
	v.check(c.Model.Adapter == "" || c.Model.Weights != "", "model.adapter", "is for weights; it needs model.weights")
	if l.R == 0 && l.Alpha == 0 && l.Dropout == 0 && !l.RSLoRA && len(l.TargetModules) == 0 {
		return
	}
	v.within("train.lora.r", float64(l.R), 1, 4096)
	v.check(l.Alpha > 0 && l.Alpha <= 1e6, "train.lora.lora_alpha", "is %v; must be above 0", l.Alpha)
	v.below("train.lora.lora_dropout", l.Dropout, 0, 1)
	for i, pattern := range l.TargetModules {
		v.check(pattern != "", fmt.Sprintf("train.lora.target_modules[%d]", i), "is empty")
	}
	v.check(c.Model.Pretrained(), "train.lora", "freezes weights drawn by seed, which know nothing yet; it needs "+
		"model.weights, or model.encoder and model.decoder")
}

// schedule checks what is known of it before the pictures are counted.
func (v *validator) schedule(t TrainConfig) {
	if t.LRSchedulerType != "" {
		v.oneOf("train.lr_scheduler_type", t.LRSchedulerType, schedules)
	}
	v.within("train.warmup_fraction", t.WarmupFraction, 0, 1)
	if !v.atLeast("train.warmup_steps", t.WarmupSteps, 0) || t.WarmupSteps == 0 {
		return
	}
	v.check(t.LRSchedulerType != ConstantSchedule, "train.warmup_steps",
		"is %d; train.lr_scheduler_type constant has no warm-up, %s has", t.WarmupSteps, ConstantAfterWarmup)
	v.check(t.MaxSteps == 0 || t.WarmupSteps <= t.MaxSteps, "train.warmup_steps",
		"is %d; must be at most train.max_steps %d", t.WarmupSteps, t.MaxSteps)
}

func (v *validator) augment(a AugmentConfig) {
	v.below("train.augment.shift", a.Shift, 0, 1)
	v.below("train.augment.scale", a.Scale, 0, 1)
	v.within("train.augment.rotation", a.Rotation, 0, 180)
	v.below("train.augment.color", a.Color, 0, 1)
}

// Ids are compared with the vocabulary when that is known.
func (v *validator) generate(g GenerateConfig) {
	for i, word := range g.BadWords {
		path := fmt.Sprintf("generate.bad_words[%d]", i)
		v.check(word != "" && word == strings.TrimSpace(word), path,
			"is %q; must be text without space around it", word)
	}
	for i, word := range g.BadWordsIDs {
		path := fmt.Sprintf("generate.bad_words_ids[%d]", i)
		v.check(len(word) > 0, path, "is empty; must be token ids")
		v.ids(path, word)
	}
	v.ids("generate.suppress_tokens", g.SuppressTokens)
	v.ids("generate.begin_suppress_tokens", g.BeginSuppressTokens)
	if g.ForcedBOSTokenID != nil {
		v.ids("generate.forced_bos_token_id", []int{*g.ForcedBOSTokenID})
	}
	if g.ForcedEOSTokenID != nil {
		v.ids("generate.forced_eos_token_id", []int{*g.ForcedEOSTokenID})
	}
	v.check(g.NoRepeatNGramSize >= 0 && g.NoRepeatNGramSize <= 1000, "generate.no_repeat_ngram_size",
		"is %d; must be from 0 to 1000", g.NoRepeatNGramSize)
	v.check(g.RepetitionPenalty == 0 || g.RepetitionPenalty >= 0.01 && g.RepetitionPenalty <= 100,
		"generate.repetition_penalty", "is %v; must be 0, or from 0.01 to 100", g.RepetitionPenalty)
}

func (v *validator) ids(path string, ids []int) {
	for _, id := range ids {
		v.check(id >= 0 && id < 1<<20, path, "has the token id %d; must be from 0 to below %d", id, 1<<20)
	}
}

// length is a number of tokens, the caption's end and another at least; 0: as the captions need.
func (v *validator) length(key string, n int) {
	v.check(n == 0 || n >= 2, key, "is %d; must be at least 2, or 0 for what the captions need", n)
}

func (v *validator) evaluate(c Config) {
	v.atLeast("evaluate.batch_size", c.Evaluate.BatchSize, 1)
	v.length("evaluate.max_length", c.Evaluate.MaxLength)
	v.atLeast("evaluate.limit", c.Evaluate.Limit, 0)
	v.atLeast("evaluate.samples", c.Evaluate.Samples, 0)
	if c.Evaluate.Words != "" {
		v.oneOf("evaluate.words", c.Evaluate.Words, wordRules)
	}
}

func (v *validator) export(e ExportConfig) {
	v.check(len(e.Dtypes) > 0, "export.dtypes", "is empty; must name at least one of %s",
		strings.Join(dtypes, ", "))
	for i, dtype := range e.Dtypes {
		path := fmt.Sprintf("export.dtypes[%d]", i)
		if v.oneOf(path, dtype, dtypes) {
			v.check(slices.Index(e.Dtypes, dtype) == i, path, "names %s a second time", dtype)
		}
	}
	v.atLeast("export.pictures", e.Pictures, 0)
	v.atLeast("export.calibrate", e.Calibrate, 0)
	v.atLeast("export.damage", e.Damage, 0)
	v.check(!e.Mixed || slices.ContainsFunc(e.Dtypes, mixes), "export.mixed",
		"is true, and export.dtypes names neither q4 nor q4f16")
	v.check(e.MaxSizeMiB >= 0 && e.MaxSizeMiB <= 2048, "export.max_size_mib", "is %v; must be from 0 to 2048", e.MaxSizeMiB)
	v.check(e.MaxLogitsDiff > 0, "export.max_logits_diff", "is %v; must be above 0", e.MaxLogitsDiff)
	v.within("export.max_rouge_l_drop", e.MaxRougeDrop, 0, 100)
	v.within("export.min_equal", e.MinEqual, 0, 1)
	for i, device := range e.Require {
		path := fmt.Sprintf("export.require[%d]", i)
		if v.oneOf(path, device, devices) {
			v.check(slices.Index(e.Require, device) == i, path, "names %s a second time", device)
		}
	}
	v.check(len(e.Require) == 0 || e.CheckWeb == nil || *e.CheckWeb, "export.check_web",
		"is false; export.require needs the check")
	_, err := e.PruneVocab.Most()
	v.check(err == nil, "export.prune_vocab",
		"is %q; must be auto or a number of tokens, at least %d: the bytes and an end token", e.PruneVocab,
		leastVocabulary)
}
