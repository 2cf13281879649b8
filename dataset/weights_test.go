package dataset

import (
	"bytes"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
)

// visitsOf counts how often an epoch shows each shard's rows.
func visitsOf(batches []*Batch, shards int) []map[string]int {
	counts := make([]map[string]int, shards)
	for i := range counts {
		counts[i] = map[string]int{}
	}
	for _, b := range batches {
		for _, id := range b.IDs {
			var shard, row int
			fmt.Sscanf(id, "s%d-%d", &shard, &row)
			counts[shard][id]++
		}
	}
	return counts
}

func TestWeightsShowRowsSoOftenAnEpoch(t *testing.T) {
	pairs := writeTestShards(t, testSide, 20, 40, 10, 30)
	pairs[1].Weight, pairs[2].Weight, pairs[3].Weight = 0.25, 2.5, 1
	l := openLoader(t, pairs, testConfig())
	if want := int64((20 + 10 + 25 + 30 + 6) / 7); l.StepsPerEpoch() != want {
		t.Errorf("%d steps, not %d", l.StepsPerEpoch(), want)
	}
	chosen := map[string]int{}
	for epoch := range 12 {
		batches := epochOf(t, l, epoch, 0)
		counts := visitsOf(batches, 4)
		for shard, want := range []struct{ rows, times int }{{20, 1}, {10, 1}, {10, 2}, {30, 1}} {
			if got := counts[shard]; len(got) != want.rows {
				t.Errorf("epoch %d: %d rows of shard %d, not %d", epoch, len(got), shard, want.rows)
			} else if least := slices.Min(slices.Collect(maps.Values(got))); least != want.times {
				t.Errorf("epoch %d: a row of shard %d %d times, not %d", epoch, shard, least, want.times)
			}
		}
		total, rows := 0, map[uint64]bool{}
		for _, n := range counts[2] {
			total += n
		}
		if total != 25 {
			t.Errorf("epoch %d: shard 2 shown %d times, not 25", epoch, total)
		}
		for id := range counts[1] {
			chosen[id]++
		}
		for _, b := range batches {
			for _, r := range b.Rows[:b.N] {
				if rows[r] {
					t.Fatalf("epoch %d: row number %d twice: its augmentation would be the same", epoch, r)
				}
				rows[r] = true
			}
		}
	}
	if len(chosen) < 36 {
		t.Errorf("12 epochs of a quarter showed %d of 40 rows", len(chosen))
	}
}

func TestWeightedEpochGoesOnFromAnyStepBitForBit(t *testing.T) {
	pairs := writeTestShards(t, testSide, 9, 31, 5)
	pairs[0].Weight, pairs[1].Weight = 3.3, 0.4
	one, many := testConfig(), testConfig()
	one.Workers, many.Workers = 1, 5
	whole := epochOf(t, openLoader(t, pairs, one), 3, 0)
	for from := range whole {
		rest := epochOf(t, openLoader(t, pairs, many), 3, int64(from))
		if !reflect.DeepEqual(rest, whole[from:]) {
			t.Fatalf("from step %d other batches", from)
		}
	}
}

func TestWeightOfOneIsNoWeight(t *testing.T) {
	pairs := writeTestShards(t, testSide, 9, 31)
	plain := epochOf(t, openLoader(t, pairs, testConfig()), 1, 0)
	pairs[0].Weight, pairs[1].Weight = 1, 1
	weighted := epochOf(t, openLoader(t, pairs, testConfig()), 1, 0)
	if !reflect.DeepEqual(plain, weighted) || !bytes.Equal(plain[2].Pixels, weighted[2].Pixels) {
		t.Error("weights of 1 change the batches")
	}
	for weight, want := range map[float64]int{0: 10, 1: 10, 0.04: 0, 0.96: 10, 2.5: 25, 0.3: 3} {
		if got := Shown(10, weight); got != want {
			t.Errorf("weight %v shows %d of 10 rows, not %d", weight, got, want)
		}
	}
	pairs[0].Weight = -1
	if _, err := NewLoader(pairs, testConfig()); err == nil {
		t.Error("a negative weight is taken")
	}
}
