package trainer

import (
	"context"
	"fmt"
	"slices"

	"github.com/gomlx/compute"

	"distilvit/artifact/record"
	"distilvit/dataset"
	"distilvit/metrics"
	"distilvit/model"
	"distilvit/model/onnx"
)

// prune leaves out of the vocabulary what training captions have no use for.
func (n network) prune(a PruneArgs) (network, error) {
	for id := range a.Counts {
		if id < 0 || int(id) >= n.config.VocabSize() {
			return n, errorf(InvalidInput, "training captions have token id %d; the model knows %d", id,
				n.config.VocabSize())
		}
	}
	pruned := n
	pruned.kept = n.tokens.Kept(a.Counts, model.NamedTokens(n.config, n.generate), a.Most)
	var err error
	if pruned.tokens, err = n.tokens.Prune(pruned.kept); err != nil {
		return n, fmt.Errorf("prune the tokenizer: %w", err)
	}
	pruned.config, pruned.weights, pruned.generate, err = model.Prune(n.config, n.weights, n.generate, pruned.kept)
	return pruned, err
}

// comparePruned captions the pictures with the whole model and with the pruned one. What the whole one says in
// kept tokens the other says, too, as their logits are the same; what it says otherwise may cost as much
// rougeL as an export.
func (s *server) comparePruned(
	ctx context.Context, a ExportArgs, be compute.Backend, whole, pruned network, normalization model.Normalization,
) (*record.Pruning, error) {
	before, err := s.caption(ctx, a, be, whole, normalization, "captioning with the whole vocabulary")
	if err != nil {
		return nil, err
	}
	after, err := s.caption(ctx, a, be, pruned, normalization, "captioning with the pruned vocabulary")
	if err != nil {
		return nil, err
	}
	p := &record.Pruning{
		Tokens: len(pruned.kept), WholeTokens: whole.config.VocabSize(), Pictures: len(before),
		WholeRougeL: onnx.RougeL(before),
	}
	for i := range after {
		if inTokens(before[i].TokenIDs, pruned.kept) {
			p.Kept++
		}
		if slices.Equal(widened(after[i].TokenIDs, pruned.kept), before[i].TokenIDs) {
			p.EqualIDs++
		}
	}
	if p.RougeL = onnx.RougeL(after); p.RougeL < p.WholeRougeL-a.MaxRougeDrop {
		return p, errorf(InvalidInput, "with %d of %d tokens the model captions worse: rougeL %.2f, with all %.2f (at most "+
			"%.2f less) on %d pictures: keep more (export.prune_vocab: auto, or a larger number), or allow more "+
			"(export.max_rouge_l_drop)", p.Tokens, p.WholeTokens, p.RougeL, p.WholeRougeL, a.MaxRougeDrop, p.Pictures)
	}
	return p, nil
}

// caption captions the pictures of an export greedily with the Go model.
func (s *server) caption(
	ctx context.Context, a ExportArgs, be compute.Backend, n network, normalization model.Normalization, what string,
) ([]metrics.Prediction, error) {
	s.phase(PhaseExport, what)
	captioner, err := n.captioner(be, normalization)
	if err != nil {
		return nil, err
	}
	defer captioner.Close()
	greedy := n.generate
	greedy.NumBeams, greedy.BatchSize = 1, verifyBatch
	var captions []metrics.Prediction
	total := count(a.Shards, a.Pictures)
	for b, err := range dataset.Sequential(ctx, a.Shards, verifyBatch, a.Pictures) {
		if err != nil {
			return nil, err
		}
		ids, err := captioner.Generate(b.Pixels, verifyBatch, greedy) // padded, so that all batches are alike
		if err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		for i := range b.N {
			captions = append(captions, metrics.Prediction{
				ImageID: b.IDs[i], Caption: n.decode(ids[i]), TokenIDs: ids[i], References: b.Captions[i],
			})
		}
		s.send(Event{
			Event: EventProgress, Phase: PhaseExport, Message: what, Done: int64(len(captions)), Total: total,
		})
	}
	return captions, nil
}

// widened are ids of a pruned vocabulary as the whole one has them.
func widened(ids, kept []int32) []int32 {
	out := make([]int32, len(ids))
	for i, id := range ids {
		out[i] = kept[id]
	}
	return out
}

// inTokens says whether all ids are of kept ones, which ascend.
func inTokens(ids, kept []int32) bool {
	return !slices.ContainsFunc(ids, func(id int32) bool {
		_, found := slices.BinarySearch(kept, id)
		return !found
	})
}
