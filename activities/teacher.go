package activities

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"distilvit/artifact"
	"distilvit/artifact/record"
	"distilvit/dataset"
	"distilvit/hub"
	"distilvit/model"
	"distilvit/model/tokenizer"
	"distilvit/model/trainer"
	"distilvit/pipeline"
	"distilvit/storage/layout"
)

// teachVersion is part of the key of what a teacher says: another form, or other numbers, are another version.
const teachVersion = 2 // 1 had nothing of the tokens that are not stored

// checkTeacher makes sure that a teacher, of which the small files are read, can teach a network of this config.
func (a *Activities) checkTeacher(
	ctx context.Context, p *pulse, c pipeline.Config, net *model.Config, student givenModel,
) error {
	t := c.Train
	if t.Teacher == "" {
		return nil
	}
	dir, err := a.given(ctx, p, "train.teacher", t.Teacher, hub.ConfigFiles)
	if err != nil {
		return err
	}
	teacher, err := teacherIn(dir)
	if err != nil {
		return orInvalid(ctx, fmt.Errorf("train.teacher: %w", err))
	}
	words, err := tokenizer.Load(dir)
	if err != nil {
		return orInvalid(ctx, fmt.Errorf("train.teacher: %w", err))
	}
	if student.tokenizer != "" {
		own, err := tokenizer.Load(student.tokenizer)
		if err != nil {
			return orInvalid(ctx, fmt.Errorf("%s: %w", student.tokenizerKey, err))
		}
		if own.Digest() != words.Digest() {
			return invalid("train.teacher %s has another tokenizer than the student, so that it speaks of other tokens: "+
				"%d tokens, the student's has %d. Leave model.tokenizer out to take the teacher's, or take a teacher of the "+
				"same vocabulary", t.Teacher, words.VocabSize(), own.VocabSize())
		}
	}
	vocab := words.VocabSize()
	if student.processor != "" {
		vocab = net.VocabSize()
	}
	return teacherFits(t, teacher, vocab, net.Encoder.ImageSize)
}

// teacherIn is the network in a model directory, for the pictures of its processor.
func teacherIn(dir string) (*model.Config, error) {
	return givenModel{weights: dir, processor: dir}.config()
}

// teacherFits compares a teacher with what its student has: vocabulary, side of the pictures, length of captions.
func teacherFits(t pipeline.TrainConfig, teacher *model.Config, vocab, side int) error {
	switch {
	case teacher.VocabSize() != vocab:
		return invalid("train.teacher has a vocabulary of %d tokens, the student of %d; they must be the same",
			teacher.VocabSize(), vocab)
	case teacher.Encoder.ImageSize != side:
		return invalid("train.teacher takes pictures of %d pixels, the student of %d; they must be the same",
			teacher.Encoder.ImageSize, side)
	case t.MaxLength > teacher.Positions():
		return invalid("train.max_length is %d; train.teacher has %d positions", t.MaxLength, teacher.Positions())
	case t.TeacherTopK > vocab:
		return invalid("train.teacher_top_k is %d; the vocabulary has %d tokens", t.TeacherTopK, vocab)
	}
	return nil
}

// PlanTeacher names what a run's teacher says, and lists the shards that are to be made.
func (a *Activities) PlanTeacher(ctx context.Context, in pipeline.TeacherInput) (pipeline.DerivedPlan, error) {
	return run(ctx, func(ctx context.Context, p *pulse) (pipeline.DerivedPlan, error) {
		w := in.Work
		p.progress("teacher", 0, 0, "looking for what the teacher says")
		if err := a.adoptWork(ctx, w); err != nil {
			return pipeline.DerivedPlan{}, err
		}
		if err := a.fitTeacher(ctx, w); err != nil {
			return pipeline.DerivedPlan{}, err
		}
		f := teacherFormat(w.Train, in.Seed)
		of, err := artifact.Digest(struct {
			Dataset, Tokens, Model   string
			Version, TopK            int
			Temperature              float64
			Views                    int                    `json:",omitempty"`
			Augment                  pipeline.AugmentConfig `json:",omitzero"`
			Seed                     uint64                 `json:",omitempty"`
			Captions, CaptionsAtMost int                    `json:",omitempty"`
		}{w.Dataset.Manifest, w.Tokens.Manifest, w.Teacher.Model.Digest, teachVersion, f.TopK,
			f.Temperature, f.Views, viewsOf(w.Train), f.Seed, w.Train.TeacherCaptions, captionsAtMost(w)})
		if err != nil {
			return pipeline.DerivedPlan{}, err
		}
		return a.planDerived(ctx, w, teacherSays, of, ofTraining)
	})
}

// captionsAtMost is how many tokens a teacher's own captions have at most, end token included; 0: it says none.
func captionsAtMost(w pipeline.Work) int {
	if w.Train.TeacherCaptions == 0 {
		return 0
	}
	return w.Train.MaxLength
}

// fitTeacher compares the stored teacher with the run's model, which preflight could not yet do.
func (a *Activities) fitTeacher(ctx context.Context, w pipeline.Work) error {
	const tokens = "tokenizer.json"
	if was, is := w.Teacher.Model.Files[tokens].SHA256, w.Model.Files[tokens].SHA256; was != is {
		return invalid("train.teacher has another tokenizer than the student, so that it speaks of other tokens (%s: sha256 "+
			"%s, the student's %s)", tokens, was, is)
	}
	var nets [2]*model.Config
	for i, ref := range []record.ModelRef{w.Teacher.Model, w.Model} {
		dir, err := a.modelDir(ctx, ref, false)
		if err != nil {
			return err
		}
		if nets[i], err = teacherIn(dir); err != nil {
			return orInvalid(ctx, err)
		}
	}
	return teacherFits(w.Train, nets[0], nets[1].VocabSize(), nets[1].Encoder.ImageSize)
}

// TeachShard asks the teacher of the captions of one shard of training pictures.
func (a *Activities) TeachShard(ctx context.Context, in pipeline.TeachInput) (record.TaughtShard, error) {
	return run(ctx, func(ctx context.Context, p *pulse) (record.TaughtShard, error) {
		w, s := in.Work, in.Shard.Pictures
		out := record.TaughtShard{Shard: record.Shard{Index: s.Index, Split: s.Split, Source: s.Source, Rows: s.Rows}}
		if err := a.sameMachine(ctx, w, in.Numerics); err != nil {
			return out, err
		}
		args, done, err := a.lesson(ctx, in)
		if err != nil {
			return out, err
		}
		defer done()
		lease, err := a.open(ctx, p, w)
		if err != nil {
			return out, a.keepLog(ctx, w.Run, err)
		}
		defer lease.Release()
		e, err := lease.Do(ctx, trainer.Command{Do: trainer.DoTeach, Teach: &args}, p.follow)
		if err != nil {
			return out, a.keepLog(ctx, w.Run, err)
		}
		t := e.Taught
		if t == nil || t.Rows != s.Rows {
			return out, &typed{pipeline.Corrupt, fmt.Errorf("shard %s has not the %d rows of its manifest", s.Object.Key, s.Rows)}
		}
		out.Places, out.Mass = t.Places, t.Mass
		p.progress("upload", 0, 0, "")
		if out.Object, err = a.putWritten(ctx, in.Teacher, ".safetensors", args.Out, t.File); err == nil && args.Captions > 0 {
			out.Tokens, err = a.putWritten(ctx, in.Teacher, ".parquet", args.TokensOut, t.Tokens)
		}
		return out, err
	})
}

// lesson is what the trainer is told to ask of a shard. Files are there until done.
func (a *Activities) lesson(
	ctx context.Context, in pipeline.TeachInput,
) (args trainer.TeachArgs, done func(), err error) {
	w, s := in.Work, in.Shard.Pictures
	pairs, err := artifact.Pairs(ctx, a.Store, w.Dataset.Manifest, w.Tokens.Manifest, s.Split)
	if err != nil {
		return args, nil, err
	}
	at := slices.IndexFunc(pairs, func(p artifact.ShardPair) bool { return p.Pictures.Index == s.Index })
	if at < 0 {
		return args, nil, fmt.Errorf("dataset %s has no shard %d", w.Dataset.Manifest, s.Index)
	}
	var undo []func()
	done = func() {
		for _, f := range slices.Backward(undo) {
			f()
		}
	}
	defer func() {
		if err != nil {
			done()
		}
	}()
	for _, f := range []struct {
		object layout.Object
		path   *string
	}{{pairs[at].Pictures.Object, &args.Pixels}, {pairs[at].Tokens.Object, &args.Tokens}} {
		if *f.path, err = a.Cache.Path(ctx, a.Store, f.object); err != nil {
			return args, nil, err
		}
		undo = append(undo, func() { a.Cache.Release(f.object) })
	}
	dir, swept, err := a.scratch("teacher")
	if err != nil {
		return args, nil, err
	}
	undo = append(undo, swept)
	args.Out, args.Format = filepath.Join(dir, "teacher.safetensors"), teacherFormat(w.Train, in.Seed)
	args.First, args.Augment = in.Shard.First, augment(viewsOf(w.Train))
	if args.ModelDir, err = a.modelDir(ctx, w.Teacher.Model, true); err != nil {
		return args, nil, err
	}
	if args.Captions = w.Train.TeacherCaptions; args.Captions > 0 {
		args.TokensOut = filepath.Join(dir, "tokens.parquet")
		if args.Generate, err = model.ReadGenerate(args.ModelDir); err != nil {
			return args, nil, orInvalid(ctx, err)
		}
		args.Generate.MaxLength = captionsAtMost(w) + 1 // the start token, too
	}
	return args, done, nil
}

// putWritten stores a file as a blob, which must have the bytes that the trainer wrote.
func (a *Activities) putWritten(
	ctx context.Context, group, ext, path string, written layout.Object,
) (layout.Object, error) {
	o, err := a.Store.PutBlob(ctx, group, ext, path)
	if err == nil && o.SHA256 != written.SHA256 {
		err = &typed{pipeline.DeviceLost, fmt.Errorf("%s read back otherwise than it was written", filepath.Base(path))}
	}
	return o, err
}

// FinishTeacher publishes what a teacher says; without shards it answers what is published.
func (a *Activities) FinishTeacher(ctx context.Context, in pipeline.FinishTeacherInput) (pipeline.Teacher, error) {
	return run(ctx, func(ctx context.Context, _ *pulse) (pipeline.Teacher, error) {
		out := pipeline.Teacher{Model: in.Work.Teacher.Model, Manifest: layout.Manifest(in.Plan.Group)}
		m, err := artifact.ReadTeacher(ctx, a.Store, out.Manifest)
		if artifact.NotFound(err) {
			m = newTeacherManifest(in)
			err = a.Store.Publish(ctx, out.Manifest, m)
		}
		if err != nil {
			return out, err
		}
		return out, a.sameBytes(ctx, in.Plan.Group, m.Objects())
	})
}

func newTeacherManifest(in pipeline.FinishTeacherInput) record.TeacherManifest {
	f := teacherFormat(in.Work.Train, in.Seed)
	m := record.TeacherManifest{
		Version: teachVersion, Of: in.Plan.Of, Numerics: in.Plan.Numerics, Model: in.Work.Teacher.Model.Digest,
		TopK: f.TopK, Temperature: f.Temperature, Views: f.Views, Seed: f.Seed,
		Captions: in.Work.Train.TeacherCaptions, Shards: slices.Clone(in.Shards),
	}
	slices.SortFunc(m.Shards, func(x, y record.TaughtShard) int { return x.Index - y.Index })
	for _, s := range m.Shards {
		m.Places, m.Mass = m.Places+s.Places, m.Mass+s.Mass
		m.Bytes += s.Object.Size + s.Tokens.Size
	}
	m.Mass /= float64(max(1, m.Places))
	return m
}

// withTeacher puts what a run's teacher says beside its training shards, and the tokens with the teacher's captions, where
// it says some, in the place of the run's.
func (a *Activities) withTeacher(
	ctx context.Context, w pipeline.Work, shards []shardObjects,
) (f dataset.TeacherFormat, err error) {
	if w.Teacher.Manifest == "" {
		return f, nil
	}
	m, err := artifact.ReadTeacher(ctx, a.Store, w.Teacher.Manifest)
	if err != nil {
		return f, err
	}
	if m.Version != teachVersion {
		return f, invalid("what the run's teacher says, %s, is of form %d, this program's of %d; the loss of another form is "+
			"another: start a run of another id", w.Teacher.Manifest, m.Version, teachVersion)
	}
	at := func(i int) record.Shard { return m.Shards[i].Shard }
	if err := rowAligned(w.Teacher.Manifest, len(m.Shards), at, shards); err != nil {
		return f, err
	}
	for i, s := range m.Shards {
		if shards[i].teacher = s.Object; s.Tokens.Key != "" {
			shards[i].tokens = s.Tokens
		}
	}
	return dataset.TeacherFormat{TopK: m.TopK, Temperature: m.Temperature, Views: m.Views, Seed: m.Seed}, nil
}

// teacherFormat is how what a teacher says is stored for a run whose config has this seed.
func teacherFormat(t pipeline.TrainConfig, seed uint64) dataset.TeacherFormat {
	f := dataset.TeacherFormat{TopK: t.TeacherTopK, Temperature: t.TeacherTemperature, Views: t.TeacherViews}
	if f.Views > 0 {
		f.Seed = seed
	}
	return f
}

// viewsOf is what changes the pictures that a teacher is asked of; zero: it is asked of them as they are.
func viewsOf(t pipeline.TrainConfig) (a pipeline.AugmentConfig) {
	if t.TeacherViews > 0 {
		a = t.Augment
	}
	return a
}
