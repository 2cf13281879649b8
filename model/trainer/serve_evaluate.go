package trainer

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"time"

	"distilvit/dataset"
	"distilvit/metrics"
	"distilvit/model"
)

// evaluate captions stored pictures greedily and sums the loss over all label
// tokens of all their captions.
func (s *server) evaluate(ctx context.Context, a EvaluateArgs) (err error) {
	begun := time.Now()
	if err := s.load(a.From); err != nil {
		return err
	}
	t, err := readTokenizer(s.args.ModelDir)
	if err != nil {
		return err
	}
	captioner, err := s.trainer.Captioner()
	if err != nil {
		return fmt.Errorf("make captioner: %w", err)
	}
	defer captioner.Close()
	f, err := os.Create(a.Out)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	enc := json.NewEncoder(w)
	generate := a.Generate
	generate.BatchSize = a.BatchSize

	var sum Evaluated
	total := count(a.Shards, a.Limit)
	for b, err := range dataset.Sequential(ctx, a.Shards, a.BatchSize, a.Limit) {
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return &Error{Kind: Corrupt, Message: fmt.Sprintf("read batch: %v", err)}
		}
		s.compiling("loss", fmt.Sprintf("of %d captions of %d tokens", b.K, b.T))
		loss, tokens, err := s.trainer.Loss(&b.Batch)
		if err != nil {
			return fmt.Errorf("evaluate batch %d: %w", b.Step, err)
		}
		s.compiling("captions", fmt.Sprintf("of %d pictures", a.BatchSize))
		ids, err := captions(captioner, b, generate)
		if err != nil {
			return fmt.Errorf("caption batch %d: %w", b.Step, err)
		}
		sum.LossSum, sum.Tokens, sum.Pictures = sum.LossSum+loss, sum.Tokens+tokens, sum.Pictures+b.N
		for i := range b.N {
			if err := enc.Encode(metrics.Prediction{
				ImageID: b.IDs[i], Caption: t.Decode(ids[i], true), TokenIDs: ids[i], References: b.Captions[i],
				Group: b.Groups[i],
			}); err != nil {
				return err
			}
		}
		s.send(Event{Event: EventProgress, Phase: PhaseEvaluate, Done: int64(sum.Pictures), Total: total})
	}
	if math.IsNaN(sum.LossSum) || math.IsInf(sum.LossSum, 0) {
		return errorf(Diverged, "the loss of the checkpoint of step %d is not finite", a.From.Step)
	}
	if err := errors.Join(w.Flush(), f.Close()); err != nil {
		return err
	}
	sum.Seconds = time.Since(begun).Seconds()
	s.send(Event{Event: EventDone, Evaluated: &sum})
	return nil
}

// captions says what each picture of a batch shows, of which there are pixels or what the encoder makes of them.
func captions(c *model.Captioner, b *dataset.EvalBatch, o model.GenerateOptions) ([][]int32, error) {
	if b.Features != nil {
		return c.GenerateEncoded(b.Format.Numbers(b.Features[:b.N*b.Format.ViewBytes()]), b.N, o)
	}
	return c.Generate(b.Pixels[:b.N*len(b.Pixels)/len(b.Rows)], b.N, o)
}

// count is how many pictures of shards a limit leaves.
func count(shards []dataset.ShardPair, limit int) int64 {
	n := 0
	for _, s := range shards {
		n += s.Rows
	}
	if limit > 0 {
		n = min(n, limit)
	}
	return int64(n)
}
