package activities

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"distilvit/artifact"
	"distilvit/artifact/record"
	"distilvit/dataset"
	"distilvit/dataset/pixels"
	"distilvit/hub"
	"distilvit/metrics"
	"distilvit/model"
	"distilvit/model/trainer"
	"distilvit/pipeline"
	"distilvit/report"
	"distilvit/storage/layout"
)

const (
	curvePoints  = 600     // steps of the loss curve, at most
	shownBad     = 50      // left-out examples in the report
	pictureBytes = 1 << 30 // of shards read for the samples' pictures, at most
)

// readable is what the model card and the report tell of a run.
type readable struct {
	a      *Activities
	in     pipeline.PublishInput
	m      record.ModelManifest
	config *model.Config

	decoding []report.Pair // of the published generation_config.json
	crops    bool          // pictures are cut out of their middle

	steps   []report.StepLoss
	bad     []report.Bad
	samples []report.Sample // by chance, for the card

	captions []report.Sample // with the best, the worst and those that exports differ in, for the report

	stored string // what lies in the store
}

// gather reads what stands in the object store.
func (r *readable) gather(ctx context.Context) error {
	d, err := artifact.ReadDataset(ctx, r.a.Store, r.in.Dataset.Manifest)
	if err != nil {
		return err
	}
	if err := r.readSteps(ctx); err != nil {
		return err
	}
	for _, o := range d.BadLists {
		bad, err := artifact.ReadBad(ctx, r.a.Store, o)
		if err != nil {
			return err
		}
		for _, b := range bad {
			if len(r.bad) < shownBad {
				r.bad = append(r.bad, report.Bad{ID: r.public(b.ID), Reason: r.public(b.Reason)})
			}
		}
	}
	r.crops = d.Pixels.ShortestEdge > 0 || d.Pixels.ResizedWidth > 0
	chosen, err := r.choose(ctx)
	if err != nil {
		return err
	}
	shown, err := r.readShown(ctx, d, r.in.TestedOn, chosen)
	if err != nil {
		return err
	}
	r.addCaptions(chosen, shown)
	if err := r.addDifferences(ctx, d); err != nil {
		return err
	}
	return r.readStored(ctx)
}

func (r *readable) addCaptions(chosen []report.Sample, shown map[string]shown) {
	for _, s := range chosen {
		s.Picture = shown[s.ImageID].picture
		s.ImageID = r.public(s.ImageID)
		r.captions = append(r.captions, s)
		if s.Choice == report.Chance {
			r.samples = append(r.samples, s)
		}
	}
}

// addDifferences shows the validation pictures whose captions differ most between exports.
func (r *readable) addDifferences(ctx context.Context, d record.DatasetManifest) error {
	least := map[string]float64{} // by picture: how alike its captions are
	var chosen []report.Sample
	for _, c := range r.in.Export.Checks {
		for _, one := range c.Differences {
			i := slices.IndexFunc(chosen, func(s report.Sample) bool { return s.ImageID == one.ImageID })
			if i < 0 {
				i = len(chosen)
				chosen = append(chosen, report.Sample{ImageID: one.ImageID, Caption: one.Model, Choice: report.Differs})
				least[one.ImageID] = one.RougeL
			}
			chosen[i].Exports = append(chosen[i].Exports, report.ExportCaption{Dtype: c.Dtype, Caption: one.Export})
			least[one.ImageID] = min(least[one.ImageID], one.RougeL)
		}
	}
	slices.SortStableFunc(chosen, func(x, y report.Sample) int {
		return cmp.Or(cmp.Compare(least[x.ImageID], least[y.ImageID]), cmp.Compare(x.ImageID, y.ImageID))
	})
	chosen = chosen[:min(len(chosen), extremes)]
	shown, err := r.readShown(ctx, d, pipeline.SplitValidation, chosen)
	if err != nil {
		return err
	}
	rule := metrics.WordRule(cmp.Or(r.in.Test.Metrics.Words, pipeline.WordsRougeScore))
	for i, s := range chosen {
		if row, ok := shown[s.ImageID]; ok {
			chosen[i].Group, chosen[i].References = row.group, row.captions
			chosen[i].RougeL = 100 * metrics.Rouge(s.Caption, row.captions, rule).RL
		}
	}
	r.addCaptions(chosen, shown)
	return nil
}

// readStored adds up what lies in the store of the run at this moment: the checkpoints that are kept, not all that
// there were.
func (r *readable) readStored(ctx context.Context) error {
	below := []report.Pair{{Name: "checkpoints and exports", Value: layout.Run(r.in.Run).Blobs() + "/"}}
	for name, manifest := range map[string]string{"prepared pictures": r.in.Dataset.Manifest, "tokens": r.in.Tokens.Manifest} {
		if group, ok := layout.GroupOf(manifest); ok {
			below = append(below, report.Pair{Name: name, Value: group + "/"})
		}
	}
	for _, d := range []derivation{features, teacherSays} {
		groups, err := artifact.Groups(ctx, r.a.Store, layout.Run(r.in.Run), d.area)
		if err != nil {
			return err
		}
		for _, group := range groups {
			below = append(below, report.Pair{Name: d.name, Value: group + "/"})
		}
	}
	slices.SortFunc(below, func(x, y report.Pair) int { return cmp.Compare(x.Name, y.Name) })
	var texts []string
	for _, b := range below {
		var bytes int64
		for o, err := range r.a.Store.List(ctx, b.Value) {
			if err != nil {
				return err
			}
			bytes += o.Size
		}
		texts = append(texts, fmt.Sprintf("%s %s", b.Name, report.Bytes(bytes)))
	}
	r.stored = strings.Join(append(texts, "the model "+report.Bytes(r.m.Bytes())), ", ")
	return nil
}

// extremes is how many of the best and of the worst captions the report shows.
const extremes = 8

// choose takes the samples, then the worst and the best captions of all.
func (r *readable) choose(ctx context.Context) ([]report.Sample, error) {
	var predictions []metrics.Prediction
	if key := r.in.Test.Predictions.Key; key != "" {
		raw, err := r.a.Store.GetBytes(ctx, r.in.Test.Predictions)
		if err != nil && !artifact.Unreadable(err) { // the samples alone do, too
			return nil, err
		}
		if err == nil {
			if predictions, err = metrics.ReadPredictions(bytes.NewReader(raw)); err != nil {
				return nil, fmt.Errorf("%s: %w", key, err)
			}
		}
	}
	rule := metrics.WordRule(cmp.Or(r.in.Test.Metrics.Words, pipeline.WordsRougeScore))
	var chosen []report.Sample
	take := func(p metrics.Prediction, choice report.Choice) {
		if slices.ContainsFunc(chosen, func(s report.Sample) bool { return s.ImageID == p.ImageID }) {
			return
		}
		chosen = append(chosen, report.Sample{
			ImageID: p.ImageID, Group: p.Group, Caption: p.Caption, References: p.References, Choice: choice,
			RougeL: 100 * metrics.Rouge(p.Caption, p.References, rule).RL,
		})
	}
	for _, s := range r.in.Test.Samples {
		take(metrics.Prediction{ImageID: s.ImageID, Caption: s.Caption, References: s.References}, report.Chance)
	}
	scores := make(map[string]float64, len(predictions))
	for _, p := range predictions {
		scores[p.ImageID] = metrics.Rouge(p.Caption, p.References, rule).RL
	}
	slices.SortStableFunc(predictions, func(x, y metrics.Prediction) int {
		return cmp.Compare(scores[x.ImageID], scores[y.ImageID])
	})
	for i := range min(extremes, len(predictions)) {
		take(predictions[i], report.Worst)
	}
	for i := range min(extremes, len(predictions)) {
		take(predictions[len(predictions)-1-i], report.Best)
	}
	return chosen, nil
}

// readSteps reads the steps of every epoch, those of the highest branch where
// an epoch was trained in several, and thins them out for the curve.
func (r *readable) readSteps(ctx context.Context) error {
	newest, err := r.a.metricsKeys(ctx, r.in.Run)
	if err != nil {
		return err
	}
	var all []report.StepLoss
	for _, key := range newest {
		records, err := r.a.stepRecords(ctx, key)
		if artifact.Unreadable(err) { // a part of a curve is no reason to publish nothing
			r.in.Warnings = append(r.in.Warnings, fmt.Sprintf("the loss curve lacks an epoch: %v", err))
			continue
		}
		if err != nil {
			return err
		}
		for _, s := range records {
			all = append(all, report.StepLoss{Step: s.Step, Loss: s.Loss, Rate: s.LearningRate, Norm: s.GradNorm})
		}
	}
	slices.SortFunc(all, func(x, y report.StepLoss) int { return int(x.Step - y.Step) })
	every := max(1, (len(all)+curvePoints-1)/curvePoints)
	for part := range slices.Chunk(all, every) {
		mean, n := report.StepLoss{Step: part[len(part)-1].Step}, float64(len(part))
		for _, s := range part {
			mean.Loss += s.Loss / n
			mean.Rate += s.Rate / n
			mean.Norm += s.Norm / n
		}
		r.steps = append(r.steps, mean)
	}
	return nil
}

// metricsKeys are the objects with the steps of each finished epoch, by its number: those of the highest branch
// where an epoch was trained in several.
func (a *Activities) metricsKeys(ctx context.Context, run string) (map[int]string, error) {
	newest := map[int]string{} // keys sort by branch first
	for o, err := range a.Store.List(ctx, layout.Run(run).Folder(layout.Metrics)) {
		if err != nil {
			return nil, err
		}
		if _, epoch, ok := layout.ParseMetrics(o.Key); ok {
			newest[epoch] = max(newest[epoch], o.Key)
		}
	}
	return newest, nil
}

func (a *Activities) stepRecords(ctx context.Context, key string) ([]trainer.StepRecord, error) {
	raw, err := a.Store.GetBytes(ctx, layout.Object{Key: key})
	if err != nil {
		return nil, err
	}
	records, err := trainer.DecodeRecords(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return records, nil
}

// shown is a picture of the report.
type shown struct {
	picture  []byte // PNG
	group    string
	captions []string
}

// readShown finds the samples' pictures in the shards of a split, by id.
func (r *readable) readShown(
	ctx context.Context, d record.DatasetManifest, split string, chosen []report.Sample,
) (map[string]shown, error) {
	wanted := map[string]bool{}
	for _, s := range chosen {
		wanted[s.ImageID] = true
	}
	pictures := map[string]shown{}
	var read int64
	for _, s := range d.Shards {
		if s.Split != split || len(pictures) == len(wanted) || read > pictureBytes {
			continue
		}
		read += s.Object.Size
		err := func() error {
			shard, done, err := r.a.openShard(ctx, s)
			if err != nil {
				return err
			}
			defer done()
			for row, err := range shard.Rows() {
				if err != nil {
					return err
				}
				if wanted[row.ID] {
					png, err := pixels.EncodePNG(row.Pixels, d.Pixels.Width, d.Pixels.Height)
					if err != nil {
						return err
					}
					pictures[row.ID] = shown{png, row.Group, slices.Clone(row.Captions)}
				}
			}
			return nil
		}()
		if err != nil {
			return nil, fmt.Errorf("shard %s: %w", s.Object.Key, err)
		}
	}
	return pictures, nil
}

// public is a text without the folders of this machine.
func (r *readable) public(text string) string { return publicText(r.in.Config, text) }

func (r *readable) card() report.Card {
	c, e := r.in.Config, r.config.Encoder
	var parameters int64
	for _, shape := range r.config.Shapes() {
		n := int64(1)
		for _, s := range shape {
			n *= int64(s)
		}
		parameters += n
	}
	return report.Card{
		Name: r.in.Name, Version: layout.Model{Run: r.in.Run, Branch: r.in.Branch}.Version(),
		RepoID: cmp.Or(c.Publish.RepoID, pushID(c)), License: c.Publish.License, LicenseName: c.Publish.LicenseName,
		LicenseLink: c.Publish.LicenseLink, Languages: languages(c), BaseModels: hubModels(c),
		StartedFrom: startedFrom(c.Model), ImageSize: e.ImageSize, Crops: r.crops, Parameters: parameters,
		VocabSize: r.config.VocabSize(), MaxLength: c.Evaluate.MaxLength, Decoding: r.decoding,
		Encoder: fmt.Sprintf("%s, %d layers, width %d, %d heads, patches of %d × %d",
			e.Name(), e.NumHiddenLayers, e.HiddenSize, e.NumAttentionHeads, e.PatchSize, e.PatchSize),
		Decoder: decoderText(r.config),
		Prefix:  r.config.PrefixLength(), StartTokenID: r.config.DecoderStartTokenID, PromptIDs: r.config.PromptIDs,
		SmolVLM: r.config.Projector.ScaleFactor > 0, GPT2: r.config.GPT2,
		Datasets: r.datasets(), Rows: r.in.Dataset.Rows,
		Epoch: r.in.Best.Epoch, Step: r.in.Best.Checkpoint.Step, TestedOn: r.in.TestedOn,
		Test: r.in.Test.Metrics, Eval: r.in.Best.Eval,
		Settings: append(settings(c), r.scored()...), Checks: r.in.Export.Checks,
		Pruning: r.in.Export.Pruning, Calibration: r.in.Export.Calibration, Damage: r.in.Export.Damage,
		Samples: withoutPictures(r.samples), Lineage: r.lineage(),
	}
}

// decoderText says what a captioner's decoder is.
func decoderText(c *model.Config) string {
	if c.HasLlama() {
		l := c.Llama
		return fmt.Sprintf("Llama behind %d vectors of the picture, %d layers, width %d, %d heads, %d of keys, %d positions",
			c.PrefixLength(), l.NumHiddenLayers, l.HiddenSize, l.NumAttentionHeads, l.NumKeyValueHeads, l.MaxPositionEmbeddings)
	}
	d, how := c.Decoder, "with cross-attention"
	if c.Kind == model.Prefix {
		how = fmt.Sprintf("behind %d vectors of the picture", c.PrefixLength())
	}
	return fmt.Sprintf("GPT-2 %s, %d layers, width %d, %d heads, %d positions", how, d.NLayer, d.NEmbd, d.NHead, d.NPositions)
}

// pushID is the repository that a run pushes to, "" where it does not.
func pushID(c pipeline.Config) string {
	id, _ := c.Publish.PushRepo()
	return id
}

func (r *readable) run() report.Run {
	out := report.Run{
		Run: r.in.Run, Model: r.m.Model, Rows: r.in.Dataset.Rows, Steps: r.steps, Best: r.in.Best.Epoch,
		BestStep: r.in.Best.Checkpoint.EpochStep,
		Metric:   r.in.Best.Metric(),
		History:  r.in.History,
		Summary: []report.Pair{
			{Name: "Backend", Value: cmp.Or(r.in.Backend, r.in.Config.Backend)},
			{Name: "Prepared data", Value: report.Bytes(r.in.Dataset.Bytes)},
			{Name: "Took", Value: r.took()},
			{Name: "Stored", Value: r.stored},
		},
		Faults:   r.in.Faults,
		TestedOn: r.in.TestedOn, Test: &r.in.Test.Metrics, Samples: r.captions, Checks: r.in.Export.Checks,
		Pruning: r.in.Export.Pruning, Calibration: r.in.Export.Calibration, Damage: r.in.Export.Damage,
		Bad: r.bad, BadTotal: r.in.Dataset.Bad,
		Warnings: slices.Clone(r.in.Warnings), Config: configYAML(publicConfig(r.in.Config)), Lineage: r.lineage(),
	}
	for i, warning := range out.Warnings {
		out.Warnings[i] = r.public(warning)
	}
	out.Summary = append(append(out.Summary, r.decoding...), r.scored()...)
	return out
}

// took is what training and validating cost, and what it left.
func (r *readable) took() string {
	var training, validating, cpu float64 // seconds
	for _, e := range r.in.History {
		training, validating, cpu = training+e.Seconds, validating+e.Eval.Runtime, cpu+e.Times.CPU
	}
	text := fmt.Sprintf("%s of training, %s of validating", report.Duration(seconds(training)),
		report.Duration(seconds(validating)))
	if cpu > 0 {
		text += fmt.Sprintf(", %s of processors while training", report.Duration(seconds(cpu)))
	}
	var exported int64
	for _, o := range r.in.Export.Files {
		exported += o.Size
	}
	return text + "; " + report.Bytes(exported) + " of exports"
}

// scored says what the best epoch was chosen by, and what captions were split into to be
// scored where it is not the usual.
func (r *readable) scored() []report.Pair {
	pairs := []report.Pair{{
		Name: "Best epoch", Value: "by " + r.in.Best.Metric() + " on the validation pictures",
	}}
	if m := r.in.Test.Metrics; m.Distinct > 0 {
		pairs = append(pairs, report.Pair{Name: "Different captions", Value: fmt.Sprintf(
			"%.1f %% of the %d %s pictures; the most frequent one is given to %.1f %%",
			m.Distinct, m.Samples, r.in.TestedOn, m.Commonest)})
	}
	if r.in.Test.Metrics.Words == pipeline.WordsUnicode {
		pairs = append(pairs, report.Pair{
			Name: "Words of the scores", Value: "Unicode's (UAX #29), characters for scripts without spaces; " +
				"not to be compared with scores on rouge_score's words",
		})
	}
	return pairs
}

func (r *readable) datasets() []report.Dataset {
	var out []report.Dataset
	for _, s := range r.in.Sources {
		name := s.Source.Kind
		named := slices.DeleteFunc(givenFiles(s.Source), func(g givenFile) bool {
			return s.Source.Captions != "" && g.role != dataset.RoleCaptions
		})
		if len(named) > 0 {
			name += " " + publicName(named[0].from)
		}
		if more := len(named) - 1; more > 0 {
			name += fmt.Sprintf(" and %d more", more)
		}
		note, id := []string{s.Source.Split}, ""
		for _, g := range givenFiles(s.Source) {
			// The hub indexes a model under the names of its datasets.
			if named, err := hub.ParseFiles(g.from); err == nil {
				name, id = named.Repo.ID, named.Repo.ID
				note = append(note, named.Path, "commit "+named.Repo.Revision)
				break
			}
		}
		note = slices.DeleteFunc(note, func(s string) bool { return s == "" })
		out = append(out, report.Dataset{Name: name, HubID: id, Digest: s.Digest, Note: strings.Join(note, ", ")})
	}
	return out
}

func (r *readable) lineage() []report.Pair {
	pairs := []report.Pair{
		{Name: "Run", Value: r.in.Run}, {Name: "Branch", Value: fmt.Sprint(r.in.Branch)},
		{Name: "Checkpoint", Value: r.in.Best.Checkpoint.Manifest},
		{Name: "Dataset", Value: r.in.Dataset.Manifest},
		{Name: "Program", Value: r.m.Program},
	}
	if c := r.in.Comparison; c != nil {
		pairs = append(pairs, report.Pair{Name: "Compared", Value: c.String()})
	}
	if r.in.Approval != nil {
		pairs = append(pairs, report.Pair{Name: "Decision", Value: "approved" + r.in.Approval.After()})
	}
	return pairs
}

// withoutPictures is for the card, which is plain text.
func withoutPictures(all []report.Sample) []report.Sample {
	out := slices.Clone(all)
	for i := range out {
		out[i].Picture = nil
	}
	return out
}

// settings are the choices of training that a reader of the card looks for.
func settings(c pipeline.Config) []report.Pair {
	t, labels := c.Train, fmt.Sprintf("at most %d tokens a caption, padding not counted", c.Train.MaxLength)
	if c.Compat == pipeline.CompatSeed {
		labels = fmt.Sprintf("padded to %d tokens, padding counted (compat: seed)", t.MaxLength)
	}
	pairs := []report.Pair{
		{Name: "Epochs", Value: epochsText(t)},
		{Name: "Batch", Value: fmt.Sprintf("%d pictures, %d captions each", t.BatchSize, t.CaptionsPerPicture)},
		{Name: "Labels", Value: labels},
		{Name: "Optimizer", Value: fmt.Sprintf("AdamW, learning rate %g, weight decay %g, betas %g and %g",
			t.LearningRate, t.WeightDecay, t.Beta1, t.Beta2)},
		{Name: "Schedule", Value: scheduleText(t)},
		{Name: "Dropout", Value: fmt.Sprint(t.Dropout)}, {Name: "Seed", Value: fmt.Sprint(c.Seed)},
	}
	if l := c.Model.FromLayers; len(l.Encoder)+len(l.Decoder) > 0 {
		var of []string
		for _, tower := range []struct {
			name   string
			layers []int
		}{{"encoder", l.Encoder}, {"decoder", l.Decoder}} {
			if len(tower.layers) > 0 {
				of = append(of, fmt.Sprintf("%s %s", tower.name, strings.Trim(fmt.Sprint(tower.layers), "[]")))
			}
		}
		pairs = append(pairs, report.Pair{Name: "Layers taken", Value: strings.Join(of, "; ")})
	}
	if text := partsText(t); text != "" {
		pairs = append(pairs, report.Pair{Name: "Parts", Value: text})
	}
	return pairs
}

// partsText says what of the network is trained otherwise than the rest; empty: nothing is.
func partsText(t pipeline.TrainConfig) string {
	var list []string
	if l := t.LoRA; l.R > 0 {
		scale := "lora_alpha / r"
		if l.RSLoRA {
			scale = "lora_alpha / √r"
		}
		text := fmt.Sprintf("LoRA, r %d, lora_alpha %g (%s), dropout %g", l.R, l.Alpha, scale, l.Dropout)
		if len(l.TargetModules) > 0 {
			text += ", of " + l.TargetModules.String()
		}
		list = append(list, text+"; the rest not trained")
	}
	if len(t.Freeze) > 0 {
		list = append(list, "not trained: "+t.Freeze.String())
	}
	if t.StoresFeatures() {
		text := "pictures encoded once, in " + t.Features
		if t.FeatureViews > 0 {
			text += fmt.Sprintf(", %d views of each", t.FeatureViews)
		}
		list = append(list, text)
	}
	if t.Teacher != "" {
		text := fmt.Sprintf("learns from %s beside the captions, weight %g, temperature %g, %d tokens a place",
			publicName(t.Teacher), t.TeacherWeight, t.TeacherTemperature, t.TeacherTopK)
		if t.TeacherViews > 0 {
			text += fmt.Sprintf(", of %d views of each picture", t.TeacherViews)
		}
		if t.TeacherCaptions > 0 {
			text += fmt.Sprintf(", and from %d captions of its own a picture", t.TeacherCaptions)
		}
		list = append(list, text)
	}
	if t.LayerDecay > 0 {
		list = append(list, fmt.Sprintf("learning rate times %g a layer", t.LayerDecay))
	}
	for _, p := range t.Parts {
		how := []string{p.Match}
		if p.LearningRate != nil {
			how = append(how, fmt.Sprintf("learning rate %g", *p.LearningRate))
		}
		if p.WeightDecay != nil {
			how = append(how, fmt.Sprintf("weight decay %g", *p.WeightDecay))
		}
		if p.Freeze != nil {
			how = append(how, map[bool]string{true: "not trained", false: "trained"}[*p.Freeze])
		}
		list = append(list, strings.Join(how, ", "))
	}
	return strings.Join(list, "; ")
}

func epochsText(t pipeline.TrainConfig) string {
	if t.MaxSteps > 0 {
		return fmt.Sprintf("as many as %d steps make", t.MaxSteps)
	}
	return fmt.Sprint(t.Epochs)
}

// scheduleText says of the learning rate how it goes, and what else smooths training.
func scheduleText(t pipeline.TrainConfig) string {
	text := map[string]string{
		pipeline.CosineSchedule: "cosine decay", pipeline.ConstantAfterWarmup: "constant rate",
	}[t.LRSchedulerType]
	warmup := fmt.Sprintf(", %g of all steps warm-up", t.WarmupFraction)
	if t.WarmupSteps > 0 {
		warmup = fmt.Sprintf(", %d steps warm-up", t.WarmupSteps)
	}
	if t.LRSchedulerType == pipeline.ConstantSchedule {
		text, warmup = "constant rate", ""
	}
	text = cmp.Or(text, "linear decay") + warmup
	if t.LabelSmoothingFactor > 0 {
		text += fmt.Sprintf("; label smoothing %g", t.LabelSmoothingFactor)
	}
	if t.EMA > 0 {
		text += fmt.Sprintf("; average of the weights, decay %g", t.EMA)
	}
	return text
}

// configYAML shows a config with the keys people write.
func configYAML(c pipeline.Config) string {
	raw, err := json.Marshal(c)
	if err != nil {
		return err.Error()
	}
	var tree yaml.Node // JSON is YAML, with its keys in the order of the fields
	if err := yaml.Unmarshal(raw, &tree); err != nil {
		return err.Error()
	}
	plain(&tree)
	out, err := yaml.Marshal(&tree)
	if err != nil {
		return err.Error()
	}
	return string(out)
}

// plain turns JSON's flow style into YAML's block style.
func plain(n *yaml.Node) {
	n.Style = 0
	for _, c := range n.Content {
		plain(c)
	}
}
