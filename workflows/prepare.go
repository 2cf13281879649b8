package workflows

import (
	"fmt"

	"go.temporal.io/sdk/workflow"

	"distilvit/artifact/record"
	"distilvit/pipeline"
	"distilvit/storage/layout"
)

// preflight learns what would fail the run later, and freezes the config. The
// backend is chosen on a worker that has devices.
func (r *run) preflight(ctx workflow.Context) error {
	r.enter(ctx, pipeline.StagePreflight, "checking sources, storage and space")
	checked, err := call[pipeline.PreflightResult](ctx, r, preflight, "preflight", "sources, storage, space",
		pipeline.PreflightInput{
			Run: r.id, Config: r.Config,
		})
	if err != nil {
		return err
	}
	r.Config = checked.Config
	r.warn(checked.Warnings)

	r.show(ctx, "waiting for a worker with a device to choose the backend")
	chosen, err := call[pipeline.PreflightResult](ctx, r, preflightGPU, "preflight-device", "backend",
		pipeline.PreflightInput{
			Run: r.id, Config: r.Config, Device: true,
		})
	if err != nil {
		return err
	}
	r.Backend = chosen.Backend
	r.warn(chosen.Warnings)
	return nil
}

// download brings every source, and weights or a tokenizer to start from, into
// the object store. Its result is nil for a model built from scratch.
func (r *run) download(ctx workflow.Context) (*record.ModelRef, error) {
	sources := r.Config.Dataset
	r.enter(ctx, pipeline.StageDownload, fmt.Sprintf("%d sources", len(sources)))
	r.expect(len(sources))
	downloaded, err := fanOut(ctx, len(sources),
		func(ctx workflow.Context, i int) (pipeline.DownloadResult, error) {
			defer r.tick(ctx)
			return call[pipeline.DownloadResult](ctx, r, download, fmt.Sprintf("download-%d", i),
				sourceSummary(sources[i]), pipeline.DownloadInput{
					Run: r.id, Index: i, Source: sources[i],
				})
		})
	if err != nil {
		return nil, err
	}
	r.Sources = downloaded

	model := r.Config.Model
	if teacher := r.Config.Train.Teacher; teacher != "" {
		r.show(ctx, "storing the teacher")
		r.Teacher.Model, err = call[record.ModelRef](ctx, r, storeModel, "teacher", teacher,
			pipeline.PretrainedInput{Run: r.id, Weights: teacher, Teacher: true})
		if err != nil {
			return nil, err
		}
		if !model.Pretrained() && model.Tokenizer == "" {
			model.Tokenizer = teacher
		}
	}
	if !model.Pretrained() && model.Tokenizer == "" {
		return nil, nil
	}
	r.show(ctx, "storing given weights and tokenizer")
	input := pipeline.PretrainedInput{
		Run: r.id, Weights: model.Weights, Tokenizer: model.Tokenizer, Encoder: model.Encoder,
		Decoder: model.Decoder, Adapter: model.Adapter, Kind: model.Kind, Projection: model.Projection,
		FromLayers: model.FromLayers, ScaleFactor: model.ScaleFactor,
	}
	if model.Encoder != "" {
		input.Seed = r.Config.Seed
	}
	stored, err := call[record.ModelRef](
		ctx, r, storeModel, "weights", model.Weights+model.Encoder+model.Tokenizer, input,
	)
	r.Pretrained = &stored
	return &stored, err
}

func sourceSummary(s pipeline.SourceConfig) string {
	if s.Kind == pipeline.KindShapes {
		return fmt.Sprintf("shapes, %d training pictures", s.Shapes.Train)
	}
	if s.Kind == pipeline.KindParquet {
		return fmt.Sprintf("%s %s", s.Kind, s.Files)
	}
	return fmt.Sprintf("%s %s", s.Kind, s.Images)
}

// prepare makes shards of pictures, the model's directory, shards of token ids, and with
// train.features those of the encoder's vectors, with train.teacher what that says, each only where no earlier run has
// made the same.
func (r *run) prepare(ctx workflow.Context, pretrained *record.ModelRef) error {
	r.enter(ctx, pipeline.StagePrepare, "listing the pictures")
	if err := r.preparePictures(ctx, pretrained); err != nil {
		return err
	}
	if err := r.buildModel(ctx, pretrained); err != nil {
		return err
	}
	if err := r.tokenize(ctx); err != nil {
		return err
	}
	if err := r.encode(ctx); err != nil {
		return err
	}
	if err := r.teach(ctx); err != nil {
		return err
	}
	r.Prepared = true
	return nil
}

func (r *run) preparePictures(ctx workflow.Context, pretrained *record.ModelRef) error {
	var processor record.ModelRef
	if pretrained != nil && r.Config.Model.Pretrained() {
		processor = *pretrained
	}
	had, _ := layout.GroupOf(r.Dataset.Manifest)
	plan, err := call[pipeline.Plan](ctx, r, planPrepare, "plan-prepare", "list of pictures",
		pipeline.PlanInput{
			Run: r.id, Sources: r.Sources, Model: processor, Image: r.Config.Model.ImageSize,
			Prepare: r.Config.Prepare, Seed: r.Config.Seed,
			Dataset: had,
		})
	if err != nil {
		return err
	}
	r.warn(plan.Warnings)
	finish := pipeline.FinishPrepareInput{
		Run: r.id, Dataset: plan.Dataset, Prepare: r.Config.Prepare, Weights: r.Config.Weights(),
	}
	if !plan.Reused {
		input := pipeline.PrepareShardInput{
			Run: r.id, Dataset: plan.Dataset, Sources: r.Sources, Model: processor,
			Image: r.Config.Model.ImageSize, Prepare: r.Config.Prepare,
		}
		if plan.Sources != nil {
			input.Sources, input.SourcesPage = nil, plan.Sources
		}
		if finish.Shards, finish.Pages, err = r.prepareShards(ctx, plan, input); err != nil {
			return err
		}
	}
	r.Dataset, err = call[pipeline.Dataset](ctx, r, finishPrepare, "finish-prepare", "manifest of the pictures", finish)
	r.warn(r.Dataset.Warnings)
	if rows := r.Dataset.Rows[pipeline.SplitTrain]; err == nil && !r.Config.Model.Pretrained() &&
		rows < pipeline.FewPictures {
		r.warn([]string{fmt.Sprintf("%d training pictures are few for a model of random weights, which learns to write "+
			"and to see from them alone: below some %d start from a captioner that exists "+
			"(model.preset: distilvit, or model.weights: a directory in Hugging Face form)", rows, pipeline.FewPictures)})
	}
	return err
}

// prepareShards answers the shards that a plan lists, or of a plan in pages the stored lists of them.
func (r *run) prepareShards(
	ctx workflow.Context, plan pipeline.Plan, input pipeline.PrepareShardInput,
) (shards []pipeline.PrepareShardResult, pages []record.Page, err error) {
	all := len(plan.Shards) + record.Entries(plan.Pages)
	r.show(ctx, fmt.Sprintf("%d pictures into %d shards", plan.Examples, all))
	r.expect(all)
	if len(plan.Pages) > 0 {
		var parts []pipeline.ShardsPart
		first := 0
		for _, page := range plan.Pages {
			parts = append(parts, pipeline.ShardsPart{First: first, Last: first + page.Entries, Tasks: &page})
			first += page.Entries
		}
		pages, err = r.inChildren(ctx, "prepare", parts, pipeline.ShardsInput{Group: plan.Dataset, Prepare: &input})
		return nil, pages, err
	}
	shards, err = fanOut(ctx, all, func(ctx workflow.Context, i int) (pipeline.PrepareShardResult, error) {
		defer r.tick(ctx)
		input := input
		input.Task = plan.Shards[i]
		return call[pipeline.PrepareShardResult](ctx, r, prepareShard, fmt.Sprintf("prepare-%d", i),
			shardSummary(i, all, input.Task), input)
	})
	return shards, nil, err
}

func shardSummary(i, all int, t pipeline.ShardTask) string {
	return fmt.Sprintf("shard %d of %d, %s, %d pictures", i+1, all, t.Split, t.Rows)
}

func (r *run) buildModel(ctx workflow.Context, pretrained *record.ModelRef) error {
	r.show(ctx, "building the model's directory")
	built, err := call[pipeline.BuiltModel](ctx, r, buildModel, "build-model", "config, tokenizer, weights",
		pipeline.BuildModelInput{
			Run: r.id, Model: r.Config.Model, Pretrained: pretrained, Dataset: r.Dataset,
			Train: r.Config.Train, MaxLength: r.Config.Evaluate.MaxLength,
			Generate: r.Config.Generate,
		})
	r.Model, r.Lengths = built.ModelRef, built.Lengths
	r.warn(built.Warnings)
	return err
}

func (r *run) tokenize(ctx workflow.Context) error {
	tokens, cut, err := r.tokensOf(ctx, "", r.Dataset, r.Model)
	if r.Tokens = tokens; cut > 0 {
		r.warn([]string{fmt.Sprintf("%d captions are longer than %d tokens and were cut (train.max_length, at most "+
			"the model's positions)", cut, r.config().Train.MaxLength)})
	}
	return err
}

// tokensOf are the token ids of a dataset's captions by a model's tokenizer, and how many captions were cut. Names of
// activities and children begin with prefix.
func (r *run) tokensOf(
	ctx workflow.Context, prefix string, dataset pipeline.Dataset, model record.ModelRef,
) (tokens pipeline.Tokens, cut int, err error) {
	input := pipeline.TokenizeInput{
		Run: r.id, Dataset: dataset, Model: model, MaxLength: r.config().Train.MaxLength,
		Compat: r.Config.Compat, Last: dataset.Shards,
	}
	plan, err := call[pipeline.TokenizePlan](ctx, r, planTokenize, prefix+"plan-tokenize", "token ids", input)
	if err != nil {
		return tokens, 0, err
	}
	r.warn(plan.Warnings)
	finish := pipeline.FinishTokensInput{Run: r.id, Tokens: plan.Tokens, Cut: plan.Cut}
	paged := !plan.Reused && dataset.PageShards > 0
	switch {
	case paged:
		finish.Pages, err = r.tokenizePages(ctx, prefix, input, plan.Tokens)
	case !plan.Reused:
		finish.Shards, finish.Cut, err = r.tokenizeShards(ctx, prefix, input)
	}
	if err != nil {
		return tokens, finish.Cut, err
	}
	tokens, err = call[pipeline.Tokens](
		ctx, r, finishTokens, prefix+"finish-tokens", "manifest of the token ids", finish,
	)
	if paged { // then FinishTokens counts
		finish.Cut = tokens.Cut
	}
	return tokens, finish.Cut, err
}

// tokenizePages answers stored lists of the token shards, in order.
func (r *run) tokenizePages(
	ctx workflow.Context, prefix string, input pipeline.TokenizeInput, tokens string,
) ([]record.Page, error) {
	shards, page := input.Dataset.Shards, input.Dataset.PageShards
	r.show(ctx, fmt.Sprintf("captions of %d shards into token ids", shards))
	r.expect(shards)
	var parts []pipeline.ShardsPart
	for first := 0; first < shards; first += page {
		parts = append(parts, pipeline.ShardsPart{First: first, Last: min(first+page, shards)})
	}
	return r.inChildren(ctx, prefix+"tokenize", parts, pipeline.ShardsInput{Group: tokens, Tokenize: &input})
}

// tokenizeShards answers the token shards, in order, and how many captions were cut.
func (r *run) tokenizeShards(
	ctx workflow.Context, prefix string, input pipeline.TokenizeInput,
) ([]record.Shard, int, error) {
	calls := (input.Last + shardsPerTokenize - 1) / shardsPerTokenize
	r.show(ctx, fmt.Sprintf("captions of %d shards into token ids", input.Last))
	r.expect(calls)
	parts, err := fanOut(ctx, calls, func(ctx workflow.Context, i int) (pipeline.TokenizeResult, error) {
		defer r.tick(ctx)
		part := input
		part.First = i * shardsPerTokenize
		part.Last = min(part.First+shardsPerTokenize, input.Last)
		return call[pipeline.TokenizeResult](ctx, r, tokenizeShards, fmt.Sprintf("%stokenize-%d", prefix, i),
			fmt.Sprintf("shards %d to %d", part.First+1, part.Last), part)
	})
	if err != nil {
		return nil, 0, err
	}
	var shards []record.Shard
	cut := 0
	for _, part := range parts {
		shards = append(shards, part.Shards...)
		cut += part.Cut
	}
	return shards, cut, nil
}
