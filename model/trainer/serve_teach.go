package trainer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"os"
	"time"

	"distilvit/dataset"
	"distilvit/model"
	"distilvit/model/train"
	"distilvit/storage/layout"
)

// teachBatch is how many pictures a teacher is asked of at once, at most.
const teachBatch = 8

// teachNumbers bounds the logits of a batch: 256 MiB of them.
const teachNumbers = 64 << 20

// TeachArgs are a shard of pictures and the tokens of their captions, of which a teacher is asked. It needs an open
// child, whose backend and devices it takes.
type TeachArgs struct {
	ModelDir string                `json:"model_dir"` // the teacher's
	Pixels   string                `json:"pixels"`    // path of the shard of pictures
	Tokens   string                `json:"tokens"`    // path of the shard of their tokens
	Format   dataset.TeacherFormat `json:"format"`
	Out      string                `json:"out"` // path of what dataset.WriteTeacher writes

	// of Format's views: number of the shard's first row, counted through all training shards, and what changes pictures
	First   int             `json:"first,omitempty"`
	Augment dataset.Augment `json:"augment,omitzero"`

	// captions that the teacher says of each picture, the best of a beam search, behind those that are there; with
	// TokensOut as the path of what dataset.WriteTokens writes of all. 0: none
	Captions  int                   `json:"captions,omitempty"`
	Generate  model.GenerateOptions `json:"generate"`
	TokensOut string                `json:"tokens_out,omitempty"`
}

// Taught is what became of a teach command. Files are as they were written, without keys.
type Taught struct {
	File   layout.Object `json:"file"`
	Tokens layout.Object `json:"tokens,omitzero"` // of TokensOut
	Rows   int           `json:"rows"`
	Places int64         `json:"places"` // that the teacher was asked of: label tokens, in each view
	// sum over them of what the stored tokens have of probability at the format's temperature, 0 to 1 each
	Mass    float64 `json:"mass"`
	Seconds float64 `json:"seconds"`
}

// teacher is the network that is asked; zero: none is loaded.
type teacher struct {
	dir       string
	captioner *model.Captioner
	config    *model.Config
}

// close gives the device's memory back, which training needs.
func (t *teacher) close() {
	if t.captioner != nil {
		t.captioner.Close()
	}
	*t = teacher{}
}

// loadTeacher loads the teacher of this directory, unless it is there.
func (s *server) loadTeacher(dir string) error {
	if s.teacher.dir == dir {
		return nil
	}
	s.teacher.close()
	s.phase(PhaseLoad, "reading the teacher's weights")
	c, pixels, err := readModel(dir)
	var w model.Weights
	if err == nil {
		w, err = model.ReadWeights(dir, c)
	}
	if err == nil {
		err = c.FitPictures(w, pixels.Width)
	}
	if err == nil && c.Encoder.ImageSize != s.config.Encoder.ImageSize {
		err = fmt.Errorf("it takes pictures of %d pixels, the student of %d", c.Encoder.ImageSize, s.config.Encoder.ImageSize)
	}
	if err != nil {
		return &Error{Kind: InvalidInput, Message: fmt.Sprintf("teacher: %v", err)}
	}
	captioner, err := model.NewCaptioner(s.backend, c, w)
	if err != nil {
		return fmt.Errorf("load the teacher: %w", err)
	}
	captioner.SetNormalization(train.NormalizationOf(pixels))
	s.teacher = teacher{dir, captioner, c}
	clear(s.shapes) // of another teacher
	return nil
}

// teach writes what a teacher says of a shard's captions, and with captions of its own.
func (s *server) teach(ctx context.Context, a TeachArgs) error {
	begun := time.Now()
	if s.trainer == nil {
		return errorf(InvalidInput, "command before open")
	}
	if err := s.loadTeacher(a.ModelDir); err != nil {
		return err
	}
	rows, err := readTokenRows(a.Tokens)
	if err != nil {
		return &Error{Kind: Corrupt, Message: fmt.Sprintf("tokens %s: %v", a.Tokens, err)}
	}
	l := &lesson{server: s, ctx: ctx, a: a, rows: rows, of: int64(len(rows) * max(1, a.Format.Views))}
	out := Taught{Rows: len(rows)}
	if a.Captions > 0 {
		l.of += int64(len(rows))
		if out.Tokens, err = l.say(); err != nil {
			return err
		}
	}
	if out.File, err = l.ask(); err != nil {
		return err
	}
	out.Places, out.Mass, out.Seconds = l.places, l.mass, time.Since(begun).Seconds()
	s.send(Event{Event: EventDone, Taught: &out})
	return nil
}

func readTokenRows(path string) (rows []dataset.TokenRow, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	t, err := dataset.OpenTokens(f, info.Size())
	if err != nil {
		return nil, err
	}
	for row, err := range t.Rows() {
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// lesson is the run of one teach command.
type lesson struct {
	*server
	ctx    context.Context
	a      TeachArgs
	rows   []dataset.TokenRow
	done   int64 // pictures, each once for all that is asked
	of     int64
	report throttle
	places int64
	mass   float64
}

// batches hands out the pictures, size at once.
func (l *lesson) batches(size int, each func(b *dataset.EvalBatch) error) error {
	pair := dataset.ShardPair{Pixels: l.a.Pixels, Tokens: l.a.Tokens, Rows: len(l.rows)}
	for b, err := range dataset.Sequential(l.ctx, []dataset.ShardPair{pair}, size, 0) {
		if err != nil {
			if l.ctx.Err() != nil {
				return l.ctx.Err()
			}
			return &Error{Kind: Corrupt, Message: fmt.Sprintf("read batch: %v", err)}
		}
		if err := each(b); err != nil {
			return err
		}
		if l.done += int64(b.N); l.report.due() || l.done == l.of {
			l.send(Event{Event: EventProgress, Phase: PhaseTeach, Done: l.done, Total: l.of})
		}
	}
	return nil
}

// say adds to each row the captions that the teacher says, and writes all.
func (l *lesson) say() (layout.Object, error) {
	o := l.a.Generate
	o.NumReturnSequences, o.NumBeams, o.BatchSize = l.a.Captions, max(teacherBeams, l.a.Captions), teachBatch
	err := l.batches(teachBatch, func(b *dataset.EvalBatch) error {
		l.compiling("the teacher's captions", fmt.Sprintf("of %d pictures", teachBatch))
		ids, err := l.teacher.captioner.Generate(b.Pixels[:b.N*len(b.Pixels)/teachBatch], b.N, o)
		if err != nil {
			return fmt.Errorf("captions of the teacher: %w", err)
		}
		for i := range b.N {
			row := &l.rows[b.Rows[i]]
			row.IDs = append(row.IDs, ids[i*l.a.Captions:(i+1)*l.a.Captions]...)
		}
		return nil
	})
	if err != nil {
		return layout.Object{}, err
	}
	return train.WriteFile(l.a.TokensOut, func(w io.Writer) error {
		_, err := dataset.WriteTokens(w, iter.Seq2[dataset.TokenRow, error](func(yield func(dataset.TokenRow, error) bool) {
			for _, row := range l.rows {
				if !yield(row, nil) {
					return
				}
			}
		}))
		return err
	})
}

// teacherBeams are those of a teacher's captions, unless more captions are asked for.
const teacherBeams = 4

// ask writes what the teacher says of each place.
func (l *lesson) ask() (layout.Object, error) {
	return train.WriteFile(l.a.Out, func(w io.Writer) error {
		return dataset.WriteTeacher(w, l.a.Format, l.teacher.config.VocabSize(), l.rows, l.everyPlace)
	})
}

var errEnough = errors.New("enough")

// everyPlace yields the places of all captions, of one view after the other. Every batch has the shape that the shard's
// longest captions need.
func (l *lesson) everyPlace(yield func(dataset.Place, error) bool) {
	captions, longest := 1, 1
	for _, row := range l.rows {
		captions = max(captions, len(row.IDs))
		for _, ids := range row.IDs {
			longest = max(longest, len(ids))
		}
	}
	if most := l.teacher.config.Positions(); longest > most {
		yield(dataset.Place{}, errorf(InvalidInput, "a caption has %d tokens, the teacher has %d positions", longest, most))
		return
	}
	longest = min((longest+7)/8*8, l.teacher.config.Positions())
	perPicture := captions * longest
	size := max(1, min(teachBatch, teachNumbers/(perPicture*l.teacher.config.VocabSize())))
	for view := range max(1, l.a.Format.Views) {
		err := l.batches(size, func(b *dataset.EvalBatch) error {
			return l.askBatch(b, view, size, captions, longest, yield)
		})
		if errors.Is(err, errEnough) {
			return
		}
		if err != nil {
			yield(dataset.Place{}, err)
			return
		}
	}
}

// askBatch yields the places of a batch of size pictures, of so many captions and tokens each at most.
func (l *lesson) askBatch(
	b *dataset.EvalBatch, view, size, captions, longest int, yield func(dataset.Place, error) bool,
) error {
	k, perPicture := l.a.Format.TopK, captions*longest
	l.change(b, view)
	labels := make([]int32, size*perPicture)
	for i := range labels {
		labels[i] = dataset.Masked
	}
	for i := range b.N {
		for j, ids := range l.rows[b.Rows[i]].IDs {
			copy(labels[i*perPicture+j*longest:][:longest], ids)
		}
	}
	l.compiling("the teacher's logits", fmt.Sprintf("of %d captions of %d tokens of %d pictures", captions, longest, size))
	ids, logs, err := l.teacher.captioner.TopTokens(b.Pixels, size, labels, longest, k, l.a.Format.Temperature)
	if err != nil {
		return fmt.Errorf("ask the teacher: %w", err)
	}
	for i := range b.N {
		for j, caption := range l.rows[b.Rows[i]].IDs {
			for t := range caption {
				at := i*perPicture + j*longest + t
				p := dataset.Place{IDs: ids[at*k : (at+1)*k], LogProbs: logs[at*(k+1) : (at+1)*(k+1)]}
				if !yield(p, l.weigh(p.LogProbs)) {
					return errEnough
				}
			}
		}
	}
	return nil
}

// change draws a view of each picture of a batch, in place.
func (l *lesson) change(b *dataset.EvalBatch, view int) {
	f, size := l.a.Format, 3*l.pixels.Width*l.pixels.Height
	if f.Views == 0 {
		return
	}
	c := dataset.LoaderConfig{Seed: f.Seed, Augment: l.a.Augment, Width: l.pixels.Width, Height: l.pixels.Height}
	for i := range b.N {
		c.View(b.Pixels[i*size:(i+1)*size], view, uint64(l.a.First+int(b.Rows[i])))
	}
}

// weigh counts a place and what its tokens have of probability; the last of logProbs is that of the others.
func (l *lesson) weigh(logProbs []float32) error {
	l.places++
	tokens, all := 0.0, 0.0
	for _, x := range logProbs {
		tokens = all
		all += math.Exp(float64(x-logProbs[0]) / l.a.Format.Temperature)
	}
	if math.IsNaN(all) || math.IsInf(all, 0) {
		return errorf(InvalidInput, "the teacher's logits are not finite")
	}
	l.mass += tokens / all
	return nil
}
