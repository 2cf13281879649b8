package dataset

import (
	"iter"
	"math/rand/v2"
)

// blockShards is how many shards' rows are shuffled together: as many as stay
// close to each other on a disk and in its cache.
const blockShards = 16

// position is one row of one shard.
type position struct{ shard, row int }

// batches yields the positions of each batch from step from on. The order depends
// on the seed, the epoch and the shards' row counts alone: shards are shuffled,
// then the rows within every 16 of them.
func (l *Loader) batches(epoch int, from int64) iter.Seq[[]position] {
	return func(yield func([]position) bool) {
		skip := int(from) * l.config.BatchSize
		var batch []position
		for block := range l.blocks(epoch, &skip) {
			for _, p := range block {
				batch = append(batch, p)
				if len(batch) == l.config.BatchSize {
					if !yield(batch) {
						return
					}
					batch = nil
				}
			}
		}
		if len(batch) > 0 {
			yield(batch)
		}
	}
}

// blocks yields the shuffled blocks without their first *skip rows. Blocks that
// are skipped as a whole are not shuffled.
func (l *Loader) blocks(epoch int, skip *int) iter.Seq[[]position] {
	return func(yield func([]position) bool) {
		shards := stream(l.config.Seed, "shards", epoch, 0).Perm(len(l.shards))
		for first := 0; first < len(shards); first += blockShards {
			members := shards[first:min(len(shards), first+blockShards)]
			total := 0
			for _, s := range members {
				total += len(l.shards[s].ids)
			}
			if *skip >= total {
				*skip -= total
				continue
			}
			rows := make([]position, 0, total)
			for _, s := range members {
				for r := range l.shards[s].ids {
					rows = append(rows, position{s, r})
				}
			}
			rng := stream(l.config.Seed, "rows", epoch, uint64(first))
			rng.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
			rows = rows[*skip:]
			*skip = 0
			if !yield(rows) {
				return
			}
		}
	}
}

// stream is the random numbers of one purpose, epoch and item.
func stream(seed uint64, purpose string, epoch int, item uint64) *rand.Rand {
	return rand.New(rand.NewPCG(mix(seed^hash(purpose)), mix(uint64(epoch)<<40^mix(item))))
}
