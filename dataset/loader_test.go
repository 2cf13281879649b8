package dataset

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"distilvit/dataset/pixels"
	"distilvit/internal/rusage"
)

const testSide = 8

// testRows are rows of noise, the i-th with i%4+1 captions.
func testRows(shard, n, side int) ([]Row, []TokenRow) {
	rng := rand.New(rand.NewPCG(uint64(shard), 1))
	rows, tokens := make([]Row, n), make([]TokenRow, n)
	for i := range rows {
		id := fmt.Sprintf("s%d-%d", shard, i)
		rows[i] = Row{ID: id, Group: []string{"", "rare"}[i%2], Pixels: make([]byte, 3*side*side)}
		for j := range rows[i].Pixels {
			rows[i].Pixels[j] = uint8(rng.Uint32())
		}
		tokens[i].ID = id
		for c := range i%4 + 1 {
			rows[i].Captions = append(rows[i].Captions, fmt.Sprintf("caption %d of %s", c, id))
			ids := make([]int32, rng.IntN(11)+1)
			for j := range ids {
				ids[j] = int32(c*100 + j)
			}
			tokens[i].IDs = append(tokens[i].IDs, ids)
		}
	}
	return rows, tokens
}

func seq[T any](rows []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, r := range rows {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// writeTestShards stores shards of the given sizes.
func writeTestShards(t testing.TB, side int, sizes ...int) []ShardPair {
	t.Helper()
	dir := t.TempDir()
	var pairs []ShardPair
	for i, n := range sizes {
		rows, tokens := testRows(i, n, side)
		var p, k bytes.Buffer
		if _, err := WriteShard(&p, side, side, seq(rows)); err != nil {
			t.Fatal(err)
		}
		if _, err := WriteTokens(&k, seq(tokens)); err != nil {
			t.Fatal(err)
		}
		pair := ShardPair{
			Pixels: filepath.Join(dir, fmt.Sprintf("%d.pixels", i)),
			Tokens: filepath.Join(dir, fmt.Sprintf("%d.tokens", i)), Rows: n,
		}
		os.WriteFile(pair.Pixels, p.Bytes(), 0o644)
		os.WriteFile(pair.Tokens, k.Bytes(), 0o644)
		pairs = append(pairs, pair)
	}
	return pairs
}

func testConfig() LoaderConfig {
	return LoaderConfig{
		Seed: 11, BatchSize: 7, CaptionsPerPicture: 2, Width: testSide, Height: testSide,
		Augment: Augment{Shift: 0.1, Scale: 0.1, Rotation: 10, Color: 0.2},
	}
}

func openLoader(t testing.TB, pairs []ShardPair, c LoaderConfig) *Loader {
	t.Helper()
	l, err := NewLoader(pairs, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func epochOf(t testing.TB, l *Loader, epoch int, from int64) []*Batch {
	t.Helper()
	var all []*Batch
	for b, err := range l.Epoch(context.Background(), epoch, from) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	return all
}

func TestEpochShowsEveryRowOnceWithItsPixelsAndLabels(t *testing.T) {
	sizes := []int{10, 3, 70, 1, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 2}
	pairs := writeTestShards(t, testSide, sizes...)
	c := testConfig()
	c.Augment = Augment{}
	l := openLoader(t, pairs, c)
	want := map[string]Row{}
	tokens := map[string][][]int32{}
	numbers := map[string]uint64{}
	n := 0
	for i, size := range sizes {
		rows, ids := testRows(i, size, testSide)
		for j := range rows {
			want[rows[j].ID], tokens[rows[j].ID], numbers[rows[j].ID] = rows[j], ids[j].IDs, uint64(n)
			n++
		}
	}
	batches := epochOf(t, l, 3, 0)
	if int64(len(batches)) != l.StepsPerEpoch() || len(batches) != (n+6)/7 {
		t.Fatalf("%d batches, %d promised, for %d rows", len(batches), l.StepsPerEpoch(), n)
	}
	size := 3 * testSide * testSide
	for s, b := range batches {
		if b.Step != int64(s) || b.Epoch != 3 || b.K != 2 || b.T%8 != 0 || len(b.Pixels) != 7*size ||
			len(b.Labels) != 7*2*b.T || len(b.Rows) != 7 || len(b.IDs) != b.N {
			t.Fatalf("batch %d: %+v", s, b)
		}
		for i, id := range b.IDs {
			row, ok := want[id]
			if !ok {
				t.Fatalf("%s comes twice, or never was", id)
			}
			delete(want, id)
			if !bytes.Equal(b.Pixels[i*size:(i+1)*size], row.Pixels) {
				t.Errorf("%s: other pixels", id)
			}
			if b.Rows[i] != numbers[id] {
				t.Errorf("%s: row %d, is %d", id, b.Rows[i], numbers[id])
			}
			for k := range b.K {
				got := b.Labels[(i*b.K+k)*b.T : (i*b.K+k+1)*b.T]
				var ids []int32
				if have := tokens[id]; len(have) > b.K {
					ids = have[(3*b.K+k+int(numbers[id]))%len(have)]
				} else if k < len(have) {
					ids = have[k]
				}
				if !slices.Equal(got[:len(ids)], ids) ||
					slices.ContainsFunc(got[len(ids):], func(v int32) bool { return v != Masked }) {
					t.Errorf("%s: caption %d is labelled %v, is %v", id, k, got, ids)
				}
			}
		}
		for _, v := range b.Labels[b.N*b.K*b.T:] {
			if v != Masked {
				t.Fatal("padding is labelled")
			}
		}
	}
	if len(want) > 0 {
		t.Errorf("%d rows never came", len(want))
	}
}

func TestEpochResumedFromAnyStepIsTheSame(t *testing.T) {
	pairs := writeTestShards(t, testSide, 30, 5, 20, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 40, 3)
	l := openLoader(t, pairs, testConfig())
	c := testConfig()
	c.Workers = 5
	other := openLoader(t, pairs, c)
	whole := epochOf(t, l, 1, 0)
	for from := int64(0); from <= l.StepsPerEpoch(); from++ {
		if got := epochOf(t, other, 1, from); !reflect.DeepEqual(got, whole[from:]) &&
			len(got)+len(whole[from:]) > 0 {
			t.Fatalf("from step %d on, the batches differ", from)
		}
	}
	for _, err := range l.Epoch(context.Background(), 1, l.StepsPerEpoch()+1) {
		if err == nil {
			t.Error("a step beyond the epoch is given")
		}
	}
}

// The shards come one by one in the order that ShardOrder has, each only when nothing
// more can be made of those before.
func TestShardsMayComeWhileTheEpochIsUnderWay(t *testing.T) {
	pairs := writeTestShards(t, testSide, 9, 5, 20, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 12, 3, 7,
		7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7)
	pairs[2].Weight, pairs[3].Weight, pairs[4].Weight = 2.5, 0.3, 0.01
	l := openLoader(t, pairs, testConfig())
	whole := epochOf(t, l, 2, 0)
	nameless := slices.Clone(pairs)
	for i := range nameless {
		nameless[i].Pixels, nameless[i].Tokens = "", ""
	}
	for _, from := range []int64{0, 1, 20, 36, l.StepsPerEpoch() - 1} {
		order := ShardOrder(nameless, testConfig().Seed, testConfig().BatchSize, 2, from)
		there := make([]chan struct{}, len(pairs))
		for i := range there {
			there[i] = make(chan struct{})
		}
		next := 0
		come := func() { close(there[order[next]]); next++ }
		wanted := make(chan int, 1<<16)
		c := testConfig()
		c.Await = func(ctx context.Context, shard int) (ShardPair, error) {
			wanted <- shard
			select {
			case <-there[shard]:
				return pairs[shard], nil
			case <-ctx.Done():
				return ShardPair{}, ctx.Err()
			}
		}
		late := openLoader(t, nameless, c)
		if late.StepsPerEpoch() != l.StepsPerEpoch() {
			t.Fatalf("%d steps", late.StepsPerEpoch())
		}
		var got []*Batch
		done := make(chan []*Batch)
		go func() {
			var all []*Batch
			for b, err := range late.Epoch(context.Background(), 2, from) {
				if err != nil {
					t.Error(err)
				}
				all = append(all, b)
			}
			done <- all
		}()
		for got == nil {
			select {
			case shard := <-wanted: // it and all that are listed before it may be needed now
				at := slices.Index(order, shard)
				if at < 0 || at >= next+2*blockShards {
					t.Fatalf("from step %d: shard %d is needed after %d of order %v", from,
						shard, next, order)
				}
				for next <= at {
					come()
				}
			case got = <-done:
			}
		}
		if !reflect.DeepEqual(got, whole[from:]) {
			t.Errorf("from step %d: the batches differ", from)
		}
		if next != len(order) {
			t.Errorf("from step %d: %d of %d listed shards were needed", from, next, len(order))
		}
	}
	c := testConfig()
	c.Await = func(context.Context, int) (ShardPair, error) { return ShardPair{}, errStopped }
	var last error
	for _, err := range openLoader(t, nameless, c).Epoch(context.Background(), 0, 0) {
		last = err
	}
	if !errors.Is(last, errStopped) {
		t.Errorf("a shard that never comes ends the epoch with %v", last)
	}
}

func TestOrderIsAFunctionOfSeedAndEpoch(t *testing.T) {
	pairs := writeTestShards(t, testSide, 20, 20, 20)
	order := func(seed uint64, epoch int) string {
		c := testConfig()
		c.Seed = seed
		var ids []string
		for _, b := range epochOf(t, openLoader(t, pairs, c), epoch, 0) {
			ids = append(ids, b.IDs...)
		}
		return strings.Join(ids, " ")
	}
	first := order(1, 0)
	if first != order(1, 0) {
		t.Error("the same seed and epoch have two orders")
	}
	if first == order(1, 1) || first == order(2, 0) {
		t.Error("another epoch or seed has the same order")
	}
}

func TestSurplusCaptionsRotateByEpoch(t *testing.T) {
	captions := [][]int32{{0}, {1}, {2}, {3}, {4}}
	for row := range uint64(5) {
		seen := map[int32]int{}
		for epoch := range 5 {
			for _, c := range rotate(captions, 2, epoch, row) {
				seen[c[0]]++
			}
		}
		for c := range captions {
			if seen[int32(c)] != 2 {
				t.Fatalf("row %d in 5 epochs of 2 captions each was shown: %v", row, seen)
			}
		}
	}
	first := map[int32]bool{}
	for row := range uint64(5) {
		first[rotate(captions, 1, 0, row)[0][0]] = true
	}
	if len(first) != 5 {
		t.Errorf("the first epoch shows %d of 5 wordings", len(first))
	}
}

func TestAugmentationChangesWithEpochAndStaysNear(t *testing.T) {
	c := LoaderConfig{Seed: 1, Width: 32, Height: 32}
	flat := bytes.Repeat([]byte{100, 150, 200}, 32*32)
	picture := func(a Augment, epoch int, row uint64, from []byte) []byte {
		c.Augment = a
		p := bytes.Clone(from)
		newAugmenter(c).apply(p, epoch, row)
		return p
	}
	scene := listTestShapes(t, ShapesSpec{Train: 1, ImageSize: 32}, 1)[0].Image.Scene
	drawn, err := scene.PNG()
	if err != nil {
		t.Fatal(err)
	}
	shapes, _, err := pixels.NewProcessor(32).Pixels(drawn)
	if err != nil {
		t.Fatal(err)
	}
	all := Augment{Shift: 0.1, Scale: 0.1, Rotation: 10, Color: 0.1}
	if !bytes.Equal(picture(all, 1, 5, shapes), picture(all, 1, 5, shapes)) {
		t.Error("the same epoch and row are changed in two ways")
	}
	if bytes.Equal(picture(all, 1, 5, shapes), picture(all, 2, 5, shapes)) ||
		bytes.Equal(picture(all, 1, 5, shapes), picture(all, 1, 6, shapes)) {
		t.Error("another epoch or row is changed alike")
	}
	if !bytes.Equal(picture(Augment{Shift: 0.2, Scale: 0.2, Rotation: 30}, 1, 1, flat), flat) {
		t.Error("a flat picture does not stay flat when it is moved")
	}
	for i, v := range picture(Augment{Color: 0.1}, 1, 1, flat) {
		if was := float64(flat[i]); float64(v) < was*0.7-15 || float64(v) > was*1.35+15 {
			t.Fatalf("%v became %v", was, v)
		}
	}
	if !bytes.Equal(picture(Augment{}, 1, 1, shapes), shapes) {
		t.Error("no augmentation changes the picture")
	}
	still := bytes.Clone(shapes)
	warp(still, shapes, 32, 32, 0, 0, 1, 0)
	if !bytes.Equal(still, shapes) {
		t.Error("the identity changes the picture")
	}
	warp(still, shapes, 32, 32, 2, 1, 1, 0)
	if !bytes.Equal(still[3*(32*5+7):][:3], shapes[3*(32*4+5):][:3]) {
		t.Error("a shift by (2, 1) is something else")
	}
}

func TestEpochStopsItsGoroutines(t *testing.T) {
	l := openLoader(t, writeTestShards(t, testSide, 200), testConfig())
	before, began := runtime.NumGoroutine(), time.Now()
	for range l.Epoch(context.Background(), 0, 0) {
		break
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var last error
	for _, err := range l.Epoch(ctx, 0, 0) {
		last = err
		cancel()
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("a cancelled epoch ends with %v", last)
	}
	// A goroutine that has said that it is done is counted until the scheduler has buried it.
	for n := runtime.NumGoroutine(); n > before; n = runtime.NumGoroutine() {
		if time.Since(began) > time.Minute {
			t.Fatalf("%d goroutines before, %d after:\n%s", before, n, stacks())
		}
		runtime.Gosched()
	}
}

// stacks are those of all goroutines.
func stacks() []byte {
	buf := make([]byte, 1<<20)
	return buf[:runtime.Stack(buf, true)]
}

func TestLoaderKeepsAFewShardsOpen(t *testing.T) {
	sizes := make([]int, 4*maxOpenShards)
	for i := range sizes {
		sizes[i] = 9
	}
	c := testConfig()
	c.Workers = 3
	l := openLoader(t, writeTestShards(t, testSide, sizes...), c)
	seen := map[string]bool{}
	for b, err := range l.Epoch(context.Background(), 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range b.IDs {
			seen[id] = true
		}
		if l.mu.Lock(); len(l.open) > maxOpenShards {
			t.Errorf("%d shards are open", len(l.open))
		}
		l.mu.Unlock()
	}
	if len(seen) != 9*len(sizes) {
		t.Errorf("%d pictures", len(seen))
	}
	if err := l.Close(); err != nil || len(l.open) > 0 {
		t.Errorf("%d shards are open after the end, %v", len(l.open), err)
	}
	for _, err := range l.Epoch(context.Background(), 0, 0) {
		if err == nil {
			t.Error("a closed loader gives batches")
		}
	}
}

func TestSequentialKeepsTheOrderAndAllCaptions(t *testing.T) {
	pairs := writeTestShards(t, testSide, 5, 6)
	var ids []string
	for b, err := range Sequential(context.Background(), pairs, 4, 10) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, b.IDs...)
		if len(b.Pixels) != 4*3*testSide*testSide || len(b.Rows) != 4 || len(b.Groups) != b.N ||
			len(b.Captions) != b.N {
			t.Fatalf("batch %d: %+v", b.Step, b)
		}
		labels := 0
		for _, v := range b.Labels {
			if v != Masked {
				labels++
			}
		}
		want := 0
		for i, captions := range b.Tokens {
			if len(captions) != len(b.Captions[i]) {
				t.Fatalf("%s: %d captions, %d tokenized", b.IDs[i], len(b.Captions[i]), len(captions))
			}
			for _, ids := range captions {
				want += len(ids)
			}
		}
		if labels != want {
			t.Errorf("%d labels of %d", labels, want)
		}
	}
	if want := []string{
		"s0-0", "s0-1", "s0-2", "s0-3", "s0-4", "s1-0", "s1-1", "s1-2", "s1-3", "s1-4",
	}; !slices.Equal(ids, want) {
		t.Errorf("order: %q", ids)
	}
}

func TestShardsThatDoNotBelongTogetherAreRefused(t *testing.T) {
	pairs := writeTestShards(t, testSide, 5, 6, 5)
	for _, pair := range []ShardPair{
		{Pixels: pairs[0].Pixels, Tokens: pairs[1].Tokens},
		{Pixels: pairs[0].Pixels, Tokens: pairs[2].Tokens},
		{Pixels: pairs[0].Pixels, Tokens: pairs[0].Pixels},
		{Pixels: pairs[0].Tokens, Tokens: pairs[0].Tokens},
		{Pixels: pairs[0].Pixels + "x", Tokens: pairs[0].Tokens},
		{Pixels: pairs[0].Pixels, Tokens: pairs[0].Tokens, Rows: 4},
	} {
		if _, err := NewLoader([]ShardPair{pair}, testConfig()); err == nil && pair.Rows == 0 {
			t.Errorf("%+v: opened", pair)
		}
		known := pair
		known.Rows = cmp.Or(pair.Rows, 5)
		for _, err := range openLoader(t, []ShardPair{known}, testConfig()).Epoch(context.Background(), 0,
			0) {
			if err == nil {
				t.Errorf("%+v: gives batches", pair)
			}
		}
		pair.Rows = 0
		if pair == (ShardPair{Pixels: pairs[0].Pixels, Tokens: pairs[0].Tokens}) {
			continue
		}
		var last error
		for _, err := range Sequential(context.Background(), []ShardPair{pair}, 2, 0) {
			last = err
		}
		if last == nil {
			t.Errorf("%+v: read", pair)
		}
	}
	c := testConfig()
	c.Width = 9
	for _, err := range openLoader(t, pairs, c).Epoch(context.Background(), 0, 0) {
		if err == nil || !strings.Contains(err.Error(), "bytes") {
			t.Errorf("pixels of another size: %v", err)
		}
	}
	if _, err := NewLoader(nil, testConfig()); err == nil {
		t.Error("a loader of nothing")
	}
}

func BenchmarkLoader(b *testing.B) {
	for _, c := range []struct {
		name    string
		side    int
		augment Augment
	}{
		{"64", 64, Augment{}}, {"64augmented", 64, Augment{0.1, 0.1, 10, 0.1}}, {"224", 224, Augment{}},
		{"224augmented", 224, Augment{0.1, 0.1, 10, 0.1}},
	} {
		b.Run(c.name, func(b *testing.B) {
			l := openLoader(b, writeTestShards(b, c.side, 64, 64), LoaderConfig{
				BatchSize: 32, CaptionsPerPicture: 5, Width: c.side, Height: c.side, Augment: c.augment,
			})
			b.ReportAllocs()
			pictures, start := 0, rusage.CPUTime()
			for b.Loop() {
				for batch, err := range l.Epoch(context.Background(), 0, 0) {
					if err != nil {
						b.Fatal(err)
					}
					pictures += batch.N
				}
			}
			b.ReportMetric(float64(pictures)/b.Elapsed().Seconds(), "pictures/s")
			b.ReportMetric(float64(rusage.CPUTime()-start)/1e6/float64(pictures), "cpu-ms/picture")
		})
	}
}
