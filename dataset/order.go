package dataset

import (
	"iter"
	"math"
	"math/rand/v2"
)

// blockShards is how many shards' rows are shuffled together: as many as stay
// close to each other on a disk and in its cache.
const blockShards = 16

// position is a place in an epoch's order: one row of one shard. copy is how often the
// epoch has shown the row before.
type position struct{ shard, row, copy int }

// visit is one pass of an epoch over a shard. A weight of 2.5 makes three: two over all
// rows, and a partial one over half of them.
type visit struct {
	shard, copy int  // copy is how many passes came before
	rows        int  // that are shown
	partial     bool // rows are drawn anew for each epoch
}

// visits are the passes of an epoch, in the order of the shards: one a shard where there
// are no weights. They are the same in every epoch.
func (l *Loader) visits() []visit {
	var all []visit
	for i, pair := range l.pairs {
		whole, rest := shares(pair.Rows, pair.Weight)
		for c := range whole {
			all = append(all, visit{shard: i, copy: c, rows: pair.Rows})
		}
		if rest > 0 {
			all = append(all, visit{shard: i, copy: whole, rows: rest, partial: true})
		}
	}
	return all
}

// shares splits a weight into passes over all rows and the rows of a partial pass.
func shares(rows int, weight float64) (whole, rest int) {
	if weight == 0 {
		return 1, 0
	}
	whole = int(weight)
	rest = int(math.Round((weight - float64(whole)) * float64(rows)))
	if rest == rows && rows > 0 {
		return whole + 1, 0
	}
	return whole, rest
}

// Shown is how many pictures an epoch shows of a shard with so many rows and that weight,
// where a weight of 0 means 1.
func Shown(rows int, weight float64) int {
	whole, rest := shares(rows, weight)
	return whole*rows + rest
}

// batches yields the positions of each batch of an epoch, beginning with step from. Their
// order is a function of the seed, the epoch, and the shards' numbers of rows and weights:
// the passes over shards are shuffled, then the rows within every 16 passes.
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

// blocks yields the shuffled rows of 16 passes after the other, without the first *skip
// rows of the epoch. What is skipped as a whole is not shuffled.
func (l *Loader) blocks(epoch int, skip *int) iter.Seq[[]position] {
	return func(yield func([]position) bool) {
		for first, members := range l.members(epoch, skip) {
			var rows []position
			for _, v := range members {
				rows = l.appendRows(rows, v, epoch)
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

// members yields the passes of each block, and the number of the block's first pass. It
// passes over blocks that lie within the first *skip rows, and takes their rows off *skip.
func (l *Loader) members(epoch int, skip *int) iter.Seq2[int, []visit] {
	return func(yield func(int, []visit) bool) {
		visits := l.visits()
		order := stream(l.config.Seed, "shards", epoch, 0).Perm(len(visits))
		for first := 0; first < len(order); first += blockShards {
			var members []visit
			total := 0
			for _, v := range order[first:min(len(order), first+blockShards)] {
				members = append(members, visits[v])
				total += visits[v].rows
			}
			if *skip >= total {
				*skip -= total
				continue
			}
			if !yield(first, members) {
				return
			}
		}
	}
}

// ShardOrder lists the shards that an epoch needs from step from on, in the order in which
// a Loader of the same shards needs them: 16 together, then the next 16. Of the shards,
// only Rows and Weight count.
func ShardOrder(shards []ShardPair, seed uint64, batchSize, epoch int, from int64) []int {
	l := &Loader{config: LoaderConfig{Seed: seed}, pairs: shards}
	var order []int
	listed := map[int]bool{}
	skip := int(from) * batchSize
	for _, members := range l.members(epoch, &skip) {
		skip = 0
		for _, v := range members {
			if v.rows > 0 && !listed[v.shard] {
				listed[v.shard] = true
				order = append(order, v.shard)
			}
		}
	}
	return order
}

// appendRows adds the rows of a pass. Those of a partial pass are drawn for each epoch.
func (l *Loader) appendRows(rows []position, v visit, epoch int) []position {
	if !v.partial {
		for r := range v.rows {
			rows = append(rows, position{v.shard, r, v.copy})
		}
		return rows
	}
	for _, r := range stream(l.config.Seed, "weights", epoch,
		uint64(v.shard)).Perm(l.pairs[v.shard].Rows)[:v.rows] {
		rows = append(rows, position{v.shard, r, v.copy})
	}
	return rows
}

// stream is the source of random numbers for one purpose and one item of it, such as a
// row, in one epoch.
func stream(seed uint64, purpose string, epoch int, item uint64) *rand.Rand {
	return rand.New(rand.NewPCG(mix(seed^hash(purpose)), mix(uint64(epoch)<<40^mix(item))))
}
