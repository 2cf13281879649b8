package activities

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"distilvit/artifact/record"
	"distilvit/internal/version"
	"distilvit/pipeline"
	"distilvit/storage/layout"
)

// work downloads and prepares a run's data and model.
func (b *bench) work(run string, c pipeline.Config) (pipeline.Work, []pipeline.DownloadResult) {
	b.Helper()
	var sources []pipeline.DownloadResult
	for i, s := range c.Dataset {
		sources = append(sources,
			do[pipeline.DownloadResult](b, b.Download, pipeline.DownloadInput{Run: run, Index: i, Source: s}))
	}
	var given *record.ModelRef // nil: random weights
	var processor record.ModelRef
	if c.Model.Pretrained() || c.Model.Tokenizer != "" {
		stored := do[record.ModelRef](b, b.StorePretrained, pipeline.PretrainedInput{
			Run: run, Weights: c.Model.Weights, Encoder: c.Model.Encoder, Decoder: c.Model.Decoder, Kind: c.Model.Kind, Seed: c.Seed,
			Tokenizer: c.Model.Tokenizer,
		})
		if given = &stored; c.Model.Pretrained() {
			processor = stored
		}
	}
	plan := do[pipeline.Plan](b, b.PlanPrepare, pipeline.PlanInput{
		Run: run, Sources: sources, Model: processor, Image: c.Model.ImageSize, Prepare: c.Prepare, Seed: c.Seed,
	})
	finish := pipeline.FinishPrepareInput{
		Run: run, Dataset: plan.Dataset, Prepare: c.Prepare, Weights: c.Weights(),
	}
	for _, task := range plan.Shards {
		finish.Shards = append(finish.Shards,
			do[pipeline.PrepareShardResult](b, b.PrepareShard, pipeline.PrepareShardInput{
				Run: run, Dataset: plan.Dataset, Task: task, Sources: sources, Model: processor,
				Image: c.Model.ImageSize, Prepare: c.Prepare,
			}))
	}
	data := do[pipeline.Dataset](b, b.FinishPrepare, finish)
	ref := do[record.ModelRef](b, b.BuildModel, pipeline.BuildModelInput{
		Run: run, Model: c.Model, Pretrained: given, Dataset: data, Train: c.Train, MaxLength: c.Evaluate.MaxLength,
	})
	in := pipeline.TokenizeInput{
		Run: run, Dataset: data, Model: ref, MaxLength: c.Train.MaxLength, Compat: c.Compat,
		Last: data.Shards,
	}
	tokens := do[pipeline.TokenizePlan](b, b.PlanTokenize, in)
	list := pipeline.FinishTokensInput{Run: run, Tokens: tokens.Tokens}
	if !tokens.Reused {
		list.Shards = do[pipeline.TokenizeResult](b, b.TokenizeShards, in).Shards
	}
	return pipeline.Work{
		Run: run, Branch: 1, Seed: c.Seed, Backend: c.Backend, Model: ref, Dataset: data,
		Tokens: do[pipeline.Tokens](b, b.FinishTokens, list), Train: c.Train,
	}, sources
}

func TestTinyPipelineGoesThroughEveryActivity(t *testing.T) {
	b := newBench(t)
	c := do[pipeline.PreflightResult](
		b, b.Preflight, pipeline.PreflightInput{Run: "tiny", Config: tinyConfig()},
	).Config
	device := do[pipeline.PreflightResult](
		b, b.Preflight, pipeline.PreflightInput{Run: "tiny", Config: c, Device: true},
	)
	if device.Backend != pipeline.BackendGo {
		t.Errorf("backend %q", device.Backend)
	}
	w, sources := b.work("tiny", c)
	if want := map[string]int{"train": 40, "validation": 8, "test": 10}; !maps.Equal(w.Dataset.Rows, want) {
		t.Errorf("rows %v, want %v", w.Dataset.Rows, want)
	}
	if w.Dataset.Shards != 5 {
		t.Errorf("%d shards", w.Dataset.Shards)
	}

	epoch := do[pipeline.EpochResult](b, b.TrainEpoch, pipeline.EpochInput{Work: w})
	if epoch.Checkpoint.Step != 5 || epoch.Checkpoint.Epoch != 1 || !(epoch.Loss > 0) {
		t.Errorf("epoch %+v", epoch)
	}
	if s := epoch.Times; !(s.Input > 0 && s.Compile > 0 && s.Checkpoint > 0 && s.CPU > 0 &&
		s.Input+s.Compile+s.Checkpoint <= s.Loop && s.Loop < epoch.Seconds) {
		t.Errorf("the epoch's time went to %+v", s)
	}
	again := do[pipeline.EpochResult](b, b.TrainEpoch, pipeline.EpochInput{Work: w})
	if again.Checkpoint != epoch.Checkpoint || again.Loss != epoch.Loss {
		t.Errorf("a finished epoch trained again: %+v, %+v", again, epoch)
	}
	eval := do[pipeline.EvaluateResult](b, b.Evaluate, pipeline.EvaluateInput{
		Work: w, Split: pipeline.SplitValidation, Checkpoint: epoch.Checkpoint, Evaluate: c.Evaluate,
	})
	test := do[pipeline.EvaluateResult](b, b.Evaluate, pipeline.EvaluateInput{
		Work: w, Split: pipeline.SplitTest, Checkpoint: epoch.Checkpoint, Evaluate: c.Evaluate, Baselines: true,
	})
	base := test.Metrics.Baselines
	if eval.Metrics.Baselines != nil || base == nil || base.Trained != 40 || base.Nearest.Samples != 10 ||
		!(base.Nearest.RougeL > 0) || base.Commonest.Distinct != 10 {
		t.Errorf("baselines %+v", base)
	}
	if eval.Metrics.Samples != 8 || test.Metrics.Samples != 10 ||
		test.Metrics.Groups["unseen"].Samples != 4 || len(test.Samples) != 3 || !(test.Metrics.Loss > 0) {
		t.Errorf("evaluations %+v, %+v", eval, test)
	}
	check(t, b.CloseTrainer(t.Context(), w))

	if _, err := b.onnxRuntime(); err != nil {
		t.Skipf("no export: %v", err)
	}
	export := do[record.Export](b, b.Export, pipeline.ExportInput{
		Work: w, Checkpoint: epoch.Checkpoint, Export: c.Export, MaxLength: c.Evaluate.MaxLength,
	})
	if len(export.Checks) != 2 || export.Checks[0].EqualIDs != 4 || export.Checks[0].MaxLogitsDiff > 1e-3 {
		t.Errorf("checks %+v", export.Checks)
	}
	c.Backend = pipeline.BackendAuto
	in := pipeline.PublishInput{
		Run: "tiny", Name: "shapes", Branch: 1, Config: c, Backend: device.Backend,
		Best: record.Best{Epoch: 1, Checkpoint: epoch.Checkpoint, Eval: eval.Metrics},
		Test: test, TestedOn: "test", Export: export, Dataset: w.Dataset, Sources: sources,
		History: []record.EpochRecord{{Epoch: 1, Step: 5, TrainLoss: epoch.Loss, Eval: eval.Metrics}},
	}
	do[struct{}](b, b.RecordProgress, pipeline.RecordProgressInput{Run: "tiny", Progress: record.Progress{
		Branch: 1, Epochs: in.History, Best: &in.Best, Last: &epoch.Checkpoint,
	}})
	result := do[pipeline.Result](b, b.Publish, in)
	b.recordBucket()
	if result.Model != "models/shapes/tiny-b1" {
		t.Errorf("published as %s", result.Model)
	}
	names := b.keys(result.Model + "/")
	for _, name := range []string{
		"README.md", "config.json", "generation_config.json", "manifest.json", "model.safetensors",
		"onnx/decoder_model_merged.onnx",
		"onnx/decoder_model_merged_quantized.onnx", "onnx/encoder_model.onnx",
		"onnx/encoder_model_quantized.onnx",
		"preprocessor_config.json", "report.html", "tokenizer.json", "tokenizer_config.json",
	} {
		if !slices.Contains(names, name) {
			t.Errorf("%s is not published; there are %v", name, names)
		}
	}
	in.Test.Metrics.Runtime++ // another evaluation of the same weights
	if again := do[pipeline.Result](b, b.Publish, in); again.Model != result.Model ||
		again.Bytes != result.Bytes {
		t.Errorf("published again: %+v, %+v", again, result)
	}
	card, html := b.text(result.Model+"/README.md"), b.text(result.Model+"/report.html")
	var m record.ModelManifest
	check(t, b.Store.GetJSON(t.Context(), result.Model+"/manifest.json", &m))
	if m.Program != version.Program() || !strings.Contains(card, "| Program | `"+m.Program+"` |") ||
		!strings.Contains(html, "<td class=\"key\">Program</td><td class=\"value\">"+m.Program+"</td>") {
		t.Errorf("published by program %q", m.Program)
	}
	if !regexp.MustCompile(`\| test, unseen \| 4 \|.*\| – \|`).MatchString(card) ||
		strings.Contains(b.text(result.Model+"/manifest.json"), `"eval_loss":0,`) {
		t.Errorf("a group's loss, which is not measured, is shown:\n%s", card)
	}
	if !strings.Contains(html, `<td class="key">Backend</td><td class="value">go</td>`) {
		t.Error("the report does not say that pure Go computed")
	}
	for _, part := range []string{"<h3>Learning rate</h3>", `class="box caption chance`, `class="box caption worst`, " of training, "} {
		if !strings.Contains(html, part) {
			t.Errorf("the report has no %s", part)
		}
	}
	if n := strings.Count(html, `class="box caption `); n != 10 { // 3 by chance, 8 of the worst and best of 10 pictures
		t.Errorf("the report shows %d captions", n)
	}
	// as if the first attempt had died before
	check(t, b.Store.Remove(t.Context(), result.Model+"/manifest.json"))
	do[pipeline.Result](b, b.Publish, in)
	if b.text(result.Model+"/README.md") != card || b.text(result.Model+"/report.html") != html {
		t.Error("another attempt publishes another card or report")
	}
	b.publishesNoFolder(in)
}

// text is all of a stored object.
func (b *bench) text(key string) string {
	b.Helper()
	all, err := b.Store.GetBytes(b.Context(), layout.Object{Key: key})
	check(b.T, err)
	return string(all)
}

// keys lists what stands below a prefix, without it.
func (b *bench) keys(prefix string) []string {
	b.Helper()
	var out []string
	for o, err := range b.Store.List(b.Context(), prefix) {
		check(b.T, err)
		out = append(out, strings.TrimPrefix(o.Key, prefix))
	}
	return out
}
