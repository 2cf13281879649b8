package retention

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"distilvit/internal/devstack/s3d/s3test"
	"distilvit/internal/retry"
	"distilvit/storage"
	"distilvit/storage/layout"
)

func TestMain(m *testing.M) { s3test.Main(m) }

// bucket is a fresh bucket and the runs that are open.
type bucket struct {
	*testing.T
	*storage.Store
	core *minio.Core
	mu   sync.Mutex
	open map[string]bool
}

func onEachServer(t *testing.T, test func(b *bucket)) {
	for name, start := range map[string]func(testing.TB) *s3test.Server{
		"embedded": s3test.Start, "minio": s3test.MinIO,
	} {
		t.Run(name, func(t *testing.T) { test(newBucket(t, start(t))) })
	}
}

func newBucket(t *testing.T, server *s3test.Server) *bucket {
	t.Helper()
	s, err := storage.Open(t.Context(), storage.Config{
		Endpoint: server.Endpoint, AccessKey: server.AccessKey, SecretKey: server.SecretKey,
		Bucket: fmt.Sprintf("test-%08x", rand.Uint32()),
	})
	if err != nil {
		t.Fatal(err)
	}
	core, err := minio.NewCore(server.Endpoint, &minio.Options{
		Creds: credentials.NewStaticV4(server.AccessKey, server.SecretKey, ""),
	})
	if err != nil {
		t.Fatal(err)
	}
	return &bucket{T: t, Store: s, core: core, open: map[string]bool{}}
}

func (b *bucket) check(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func (b *bucket) put(keys ...string) {
	b.Helper()
	for _, key := range keys {
		_, err := b.PutBytes(b.Context(), key, []byte(key))
		b.check(err)
	}
}

func (b *bucket) json(key string, v any) {
	b.Helper()
	_, err := b.PutJSON(b.Context(), key, v)
	b.check(err)
}

func (b *bucket) isOpen(_ context.Context, run string) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.open[run], nil
}

func (b *bucket) keys() []string {
	b.Helper()
	var keys []string
	for o, err := range b.List(b.Context(), "") {
		b.check(err)
		keys = append(keys, o.Key)
	}
	return keys
}

// A prepared dataset of hundreds of millions of pictures has hundreds of thousands of objects.
func TestLargeGroupsAreRemovedInPortions(t *testing.T) {
	was := wholeObjects
	wholeObjects = 3
	defer func() { wholeObjects = was }()
	b := newBucket(t, s3test.Start(t))
	for i := range 10 {
		b.put(fmt.Sprintf("datasets/large/%d.parquet", i))
	}
	b.put("datasets/large/manifest.json", "tokens/small/1.parquet", "tokens/small/manifest.json")
	want := map[string]int64{"datasets": 11, "tokens": 2}
	for _, dry := range []bool{true, false} {
		if removed, _ := b.sweep(0, dry); !maps.Equal(removed, want) {
			t.Errorf("dry %v: removed %v, want %v", dry, removed, want)
		}
	}
	if left := b.keys(); len(left) > 0 {
		t.Errorf("left %v", left)
	}
	b.run("r")
	counts, err := RemoveRun(b.Context(), b.Store, "r", false, b.isOpen, nil)
	b.check(err)
	for _, key := range b.keys() {
		if layout.AreaOf(key) == layout.Runs {
			t.Errorf("%s is left, %v removed", key, counts)
		}
	}
}

var manyObjects = flag.Int("objects", 3000, "stored objects of the test of many")

// A store with many shards is swept without listing what is in use, and what is not in portions: memory stays flat.
func TestManyObjectsAreSweptInFlatMemory(t *testing.T) {
	server := s3test.Start(t)
	b := newBucket(t, server)
	half := *manyObjects / 2
	for _, group := range []string{"datasets/used", "tokens/unused"} {
		server.Fill(t, b.Config().Bucket, group, ".parquet", half)
		b.json(layout.Manifest(group), tree{})
	}
	b.check(Adopt(b.Context(), b.Store, "r", nil, "runs/r", "datasets/used"))
	base := heapTaken()
	step := func(dry bool) {
		begun := time.Now()
		removed := int64(0)
		for cursor := ""; ; {
			p, err := Sweep(b.Context(), b.Store, cursor, Options{DryRun: dry, Open: b.isOpen})
			b.check(err)
			for _, c := range p.Removed {
				removed += c.Objects
			}
			if cursor = p.Next; cursor == "" {
				break
			}
		}
		t.Logf("%d objects, dry %v: %d removed in %v", 2*half+2, dry, removed, time.Since(begun).Round(time.Millisecond))
		if removed != int64(half)+1 {
			t.Errorf("%d removed", removed)
		}
	}
	step(true)
	step(false)
	grown := heapTaken() - base
	t.Logf("heap %d MB, and %d MB more", base>>20, grown>>20)
	if grown > 64<<20 {
		t.Error("it grows with the objects")
	}
	left := 0
	for _, err := range b.Entries(b.Context(), "datasets/used/") {
		b.check(err)
		left++
	}
	if left != half+1 {
		t.Errorf("%d of the used dataset's objects are left", left)
	}
}

// heapTaken is the most that the heap has taken of the system so far, garbage included.
func heapTaken() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapSys)
}

// sweep sweeps every area to its end.
func (b *bucket) sweep(grace time.Duration, dry bool) (removed map[string]int64, notes []string) {
	b.Helper()
	removed = map[string]int64{}
	for cursor := ""; ; {
		p, err := Sweep(b.Context(), b.Store, cursor, Options{DryRun: dry, Grace: grace, Open: b.isOpen})
		b.check(err)
		for _, c := range p.Removed {
			removed[c.Kind] += c.Objects
		}
		notes = append(notes, p.Notes...)
		if cursor = p.Next; cursor == "" {
			return removed, notes
		}
	}
}

type tree = map[string]any

// run writes what a run that published leaves, with two orphan blobs, and
// prepared data; nothing refers to dataset "old".
func (b *bucket) run(run string) {
	b.Helper()
	g := layout.Run(run).Group()
	b.check(Adopt(b.Context(), b.Store, run, nil, g, "sources/s", "datasets/new", "tokens/t", "weights/w"))
	b.put("sources/s/a.zip", "datasets/new/1.parquet", "tokens/t/1.parquet", "weights/w/model.safetensors")
	b.json("datasets/new/manifest.json", tree{
		"shards": []any{tree{"object": tree{"key": "datasets/new/1.parquet"}}},
	})
	b.json("tokens/t/manifest.json", tree{})
	b.put("datasets/old/1.parquet", "datasets/old/manifest.json", "sources/gone/b.zip")
	b.json(g+"/config.json", tree{})
	for step := range 4 {
		blob := fmt.Sprintf("%s/blobs/%d", g, step)
		b.put(blob)
		b.json(fmt.Sprintf("%s/checkpoints/1/%d/manifest.json", g, step),
			tree{"files": tree{"w": tree{"key": blob}}})
	}
	b.put(g+"/blobs/orphan", g+"/metrics/0001-000001.jsonl", g+"/logs/1.log", g+"/predictions/1-3-test.jsonl",
		g+"/report.html")
	at := func(step int) tree {
		return tree{"manifest": fmt.Sprintf("%s/checkpoints/1/%d/manifest.json", g, step)}
	}
	b.json(g+"/progress/0001-000001.json", tree{"branch": 1, "best": tree{"checkpoint": at(0)}, "last": at(0)})
	b.json(g+"/progress/0001-000002.json", tree{"branch": 1, "best": tree{"checkpoint": at(1)}, "last": at(3)})
	b.put(g + "/blobs/onnx")
	b.json(g+"/exports/e.json", tree{"files": tree{"onnx/m.onnx": tree{"key": g + "/blobs/onnx"}}})
	model := "models/m/" + run + "-b1"
	b.put(model+"/onnx/m.onnx", "models/m/other-b1/README.md")
	b.json(model+"/manifest.json", tree{"run": run, "branch": 1, "dataset": "datasets/new/manifest.json"})
}

func TestSweepRemovesOnlyWhatNothingRefersTo(t *testing.T) {
	onEachServer(t, func(b *bucket) {
		b.run("r")
		before := b.keys()
		if removed, _ := b.sweep(time.Hour, false); len(removed) > 0 || !slices.Equal(b.keys(), before) {
			b.Errorf("young objects are removed: %v", removed)
		}
		want := map[string]int64{
			"checkpoints": 2, "blobs": 3, "logs": 1, "datasets": 2, "sources": 1, "models": 1,
		}
		if removed, _ := b.sweep(0, true); !maps.Equal(removed, want) || !slices.Equal(b.keys(), before) {
			b.Errorf("a dry run says %v, and %d of %d objects are left", removed, len(b.keys()), len(before))
		}
		b.open["r"] = true
		if removed, _ := b.sweep(0, true); removed["blobs"]+removed["checkpoints"]+removed["logs"] > 0 {
			b.Errorf("of an open run: %v", removed)
		}
		b.open["r"] = false
		if removed, _ := b.sweep(0, false); !maps.Equal(removed, want) {
			b.Errorf("removed %v, want %v", removed, want)
		}
		gone := slices.DeleteFunc(before, func(key string) bool { return slices.Contains(b.keys(), key) })
		if want := []string{
			"datasets/old/1.parquet", "datasets/old/manifest.json", "models/m/other-b1/README.md",
			"runs/r/blobs/0", "runs/r/blobs/2",
			"runs/r/blobs/orphan", "runs/r/checkpoints/1/0/manifest.json",
			"runs/r/checkpoints/1/2/manifest.json", "runs/r/logs/1.log", "sources/gone/b.zip",
		}; !slices.Equal(gone, want) {
			b.Errorf("gone: %v", gone)
		}
		if removed, notes := b.sweep(0, false); len(removed)+len(notes) > 0 {
			b.Errorf("the second sweep removed %v, says %v", removed, notes)
		}
	})
}

func TestNothingIsLeftOfRemovedRunsAndModels(t *testing.T) {
	onEachServer(t, func(b *bucket) {
		b.run("r")
		b.run("r2")
		b.open["r"] = true
		_, err := RemoveRun(b.Context(), b.Store, "r", true, b.isOpen, nil)
		if !errors.Is(err, ErrOpen) {
			b.Errorf("an open run: %v", err)
		}
		b.open["r"] = false
		counts, err := RemoveRun(b.Context(), b.Store, "r", false, b.isOpen, nil)
		b.check(err)
		if !slices.ContainsFunc(counts, func(c Count) bool {
			return c.Kind == "blobs" && c.Objects == 6 && c.Bytes > 0
		}) {
			b.Errorf("removed %v", counts)
		}
		b.sweep(0, false)
		keys := b.keys()
		for _, want := range []string{"models/m/r-b1/onnx/m.onnx", "datasets/new/1.parquet", "runs/r2/config.json", "sources/s/a.zip"} {
			if !slices.Contains(keys, want) {
				b.Errorf("%s is gone", want)
			}
		}
		if slices.ContainsFunc(keys, func(key string) bool { return strings.HasPrefix(key, "runs/r/") }) {
			b.Errorf("left: %v", keys)
		}
		for _, run := range []string{"r", "r2"} {
			_, err := RemoveRun(b.Context(), b.Store, run, true, b.isOpen, nil)
			b.check(err)
		}
		b.sweep(0, false)
		if keys := b.keys(); len(keys) > 0 {
			b.Errorf("left: %v", keys)
		}
	})
}

func TestFlawedAndUnknownManifestsStopTheSweep(t *testing.T) {
	onEachServer(t, func(b *bucket) {
		b.run("r")
		b.put("models/m/r-b2/manifest.json", "elsewhere/x") // its content is no JSON
		removed, notes := b.sweep(0, false)
		if removed["datasets"]+removed["sources"] > 0 || removed["blobs"] == 0 {
			b.Errorf("removed %v", removed)
		}
		said := strings.Join(notes, "\n")
		if !strings.Contains(said, "models/m/r-b2/manifest.json") ||
			!strings.Contains(said, "elsewhere/ is not of distilvit") {
			b.Errorf("said %q", said)
		}
		b.check(b.Remove(b.Context(), "models/m/r-b2/manifest.json"))

		b.put("runs/r/blobs/orphan", "runs/r/progress/0001-000003.json")
		if removed, notes := b.sweep(0, false); removed["blobs"] > 0 ||
			!strings.Contains(strings.Join(notes, "\n"), "nothing of run r is removed") {
			b.Errorf("removed %v, said %v", removed, notes)
		}
		b.check(b.Remove(b.Context(), "runs/r/progress/0001-000003.json"))

		// A manifest of a version yet to come names a blob where we expect none.
		b.json("runs/r/something/new.json", tree{
			"version": 9, "deep": []any{tree{"er": "runs/r/blobs/orphan"}},
		})
		if removed, _ := b.sweep(0, false); removed["blobs"] > 0 {
			b.Error("a blob that an unknown manifest names is removed")
		}

		// A run of a version that wrote no references uses something.
		b.json("runs/ancient/config.json", tree{})
		b.put("datasets/old/1.parquet")
		if removed, notes := b.sweep(0, false); removed["datasets"] > 0 ||
			!strings.Contains(strings.Join(notes, "\n"), "distilvit rm ancient") {
			b.Errorf("removed %v, said %v", removed, notes)
		}
	})
}

func TestAdoptedBetweenTheLookAndTheRemovalIsKept(t *testing.T) {
	onEachServer(t, func(b *bucket) {
		b.put("datasets/d/1.parquet", "datasets/d/manifest.json")
		s := &sweeper{Store: b.Store, Options: Options{Open: b.isOpen}}
		m, err := mark(b.Context(), b.Store)
		b.check(err)
		if found, err := s.examine(b.Context(), m, "datasets/d"); len(found) != 2 || err != nil {
			b.Fatalf("found %v, %v", found, err)
		}
		b.check(Adopt(b.Context(), b.Store, "r", nil, "runs/r", "datasets/d"))
		b.check(s.removeGroups(b.Context(), []string{"datasets/d"}, &tally{}))
		if _, err := b.Stat(b.Context(), "datasets/d/manifest.json"); err != nil {
			b.Error(err)
		}
		if keys := b.keys(); slices.ContainsFunc(keys, func(key string) bool {
			return strings.HasPrefix(key, layout.CondemnedPrefix)
		}) {
			b.Errorf("left condemned: %v", keys)
		}
	})
}

func TestAdoptingWaitsForARemovalThatHasBegun(t *testing.T) {
	onEachServer(t, func(b *bucket) {
		b.put("datasets/d/1.parquet", "datasets/d/manifest.json")
		c, err := condemn(b.Context(), b.Store, nil, "datasets/d")
		b.check(err)
		// The sweep has looked; now a run comes.
		adopted := make(chan error, 1)
		go func() { adopted <- Adopt(b.Context(), b.Store, "r", nil, "runs/r", "datasets/d") }()
		for { // its reference is there, so it waits
			if _, err := b.Stat(b.Context(), layout.Run("r").Ref("datasets/d")); err == nil {
				break
			}
		}
		select {
		case err := <-adopted:
			b.Fatalf("it does not wait: %v", err)
		default:
		}
		var all []storage.Entry
		for e, err := range b.Entries(b.Context(), "datasets/d/") {
			b.check(err)
			all = append(all, e)
		}
		if done, err := c.remove(b.Context(), b.Store, all, func(storage.Entry) {}); !done || err != nil {
			b.Errorf("%v, %v", done, err)
		}
		b.check(c.lift(b.Context(), b.Store))
		b.check(<-adopted)
		if _, err := b.Stat(b.Context(), "datasets/d/manifest.json"); !errors.Is(err, storage.ErrNotFound) {
			b.Errorf("the run sees what is being removed: %v", err)
		}
	})
}

func TestRemovalWithoutTimeLeftIsBegunAnew(t *testing.T) {
	onEachServer(t, func(b *bucket) {
		b.put("datasets/d/1.parquet", "datasets/d/manifest.json")
		late := &sentence{group: "datasets/d", until: time.Now().Add(-time.Nanosecond)}
		done, err := late.remove(b.Context(), b.Store, []storage.Entry{{Key: "datasets/d/1.parquet"}},
			func(storage.Entry) {})
		if done || err != nil {
			b.Errorf("%v, %v", done, err)
		}
		if _, err := b.Stat(b.Context(), "datasets/d/1.parquet"); err != nil {
			b.Error(err)
		}
	})
}

// Runs adopt, make and use a dataset each while two Janitors without grace
// sweep them whenever nobody refers to them.
func TestRunsAndJanitorsRace(t *testing.T) {
	onEachServer(t, func(b *bucket) {
		const enough, most = 15, 200 // objects swept; runs one after the other
		ctx, cancel := context.WithCancel(b.Context())
		var janitors, runs sync.WaitGroup
		var swept atomic.Int64
		for range 2 {
			janitors.Go(func() {
				for ctx.Err() == nil {
					p, err := Sweep(ctx, b.Store, "datasets", Options{Open: b.isOpen})
					if err != nil && ctx.Err() == nil {
						b.Error(err)
						return
					}
					for _, c := range p.Removed {
						swept.Add(c.Objects)
					}
				}
			})
		}
		for n := range 2 {
			runs.Go(func() {
				for i := 0; i < most && swept.Load() < enough; i++ {
					run := fmt.Sprintf("r%d-%d", n, i)
					if err := use(ctx, b.Store, run, fmt.Sprintf("datasets/d%d", n)); err != nil {
						b.Error(err)
						return
					}
					if _, err := RemoveRun(ctx, b.Store, run, false, b.isOpen, nil); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		runs.Wait()
		cancel()
		janitors.Wait()
		if swept.Load() < enough {
			b.Errorf("the Janitors found only %d objects to remove", swept.Load())
		}
	})
}

// use is what a run does with a dataset: adopt it, make it where it is not
// there, rely on it.
func use(ctx context.Context, s *storage.Store, run, dataset string) error {
	if err := Adopt(ctx, s, run, nil, layout.Run(run).Group(), dataset); err != nil {
		return err
	}
	manifest := dataset + "/manifest.json"
	files := []string{dataset + "/1.parquet", dataset + "/2.parquet", manifest}
	if _, err := s.Stat(ctx, manifest); errors.Is(err, storage.ErrNotFound) {
		for _, key := range files[:len(files)-1] {
			if _, err := s.Stat(ctx, key); err == nil {
				continue // reused, as blobs are
			}
			if _, err := s.PutBytes(ctx, key, []byte(key)); err != nil {
				return err
			}
		}
		if err := s.Publish(ctx, manifest, files); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	for range 3 {
		for _, key := range files {
			if _, err := s.Stat(ctx, key); err != nil {
				return fmt.Errorf("run %s lost what it adopted: %w", run, err)
			}
		}
	}
	return nil
}

func TestWhoDiedWhileRemovingHoldsUpNobodyForEver(t *testing.T) {
	onEachServer(t, func(b *bucket) {
		defer func(was time.Duration) { staleAfter = was }(staleAfter)
		staleAfter = 0
		_, err := condemn(b.Context(), b.Store, nil, "datasets/d") // and dies
		b.check(err)
		b.check(Adopt(b.Context(), b.Store, "r", nil, "runs/r", "datasets/d"))
		if keys := b.keys(); slices.Contains(keys, layout.Condemned("datasets/d")) {
			b.Errorf("left: %v", keys)
		}
		_, err = condemn(b.Context(), b.Store, nil, "datasets/e")
		b.check(err)
		b.put(".check/x")
		if removed, _ := b.sweep(0, false); removed[Leftovers] != 2 {
			b.Errorf("removed %v", removed)
		}
	})
}

// A Janitor condemns up to fifty groups at once. Whoever comes after a dead one waits for all of them together, says so,
// and removes them then, each with its minute still to come.
func TestManyGroupsOfADeadJanitorTakeNoLongerThanOne(t *testing.T) {
	onEachServer(t, func(b *bucket) {
		defer func(c func() time.Time, p retry.Pauser) { clock, pause = c, p }(clock, pause)
		begun := time.Now()
		waited := time.Duration(0)
		clock = func() time.Time { return begun.Add(waited) }
		pause = func(_ context.Context, d time.Duration) error { waited += d; return nil }
		b.check(Adopt(b.Context(), b.Store, "r", nil, "runs/r")) // so that it is known what is in use
		groups := []string{"datasets/a", "datasets/b", "datasets/c", "datasets/d", "datasets/e"}
		for _, group := range groups {
			b.put(group + "/manifest.json")
			_, err := condemn(b.Context(), b.Store, nil, group) // and dies
			b.check(err)
		}
		var told []string
		s := &sweeper{Store: b.Store, Options: Options{Open: b.isOpen, Told: func(groups []string, until time.Time) {
			if len(groups) == 0 {
				told = append(told, "over")
				return
			}
			told = append(told, WaitText(groups, until))
			if d := until.Sub(begun); d < staleAfter || d > staleAfter+time.Second {
				b.Errorf("told of an end after %v", d)
			}
		}}}
		swept := &tally{}
		_, err := s.sweepGroups(b.Context(), layout.Datasets, "", swept)
		b.check(err)
		if len(swept.counts) != 1 || swept.counts[0].Objects != int64(len(groups)) {
			b.Errorf("removed %v", swept.counts)
		}
		if waited < staleAfter || waited > staleAfter+time.Second {
			b.Errorf("waited for %v", waited)
		}
		if len(told) != 2 || !strings.HasPrefix(told[0], "datasets/a and 4 more are being removed") || told[1] != "over" {
			b.Errorf("told %q", told)
		}
		for _, key := range b.keys() {
			if strings.HasPrefix(key, layout.CondemnedPrefix) {
				b.Errorf("left: %s", key)
			}
		}
	})
}

// Two wait for the same dead Janitor. The one that comes second to bury it leaves the mark of the first alone.
func TestTheMarkOfALivingJanitorIsNotBuried(t *testing.T) {
	onEachServer(t, func(b *bucket) {
		_, err := condemn(b.Context(), b.Store, nil, "datasets/d") // and dies
		b.check(err)
		var said map[string]string
		tag, err := b.GetTagged(b.Context(), layout.Condemned("datasets/d"), &said)
		b.check(err)
		if condemned, err := bury(b.Context(), b.Store, "datasets/d", tag); condemned || err != nil {
			b.Errorf("%v, %v", condemned, err)
		}
		_, err = condemn(b.Context(), b.Store, nil, "datasets/d")
		b.check(err)
		if condemned, err := bury(b.Context(), b.Store, "datasets/d", tag); !condemned || err != nil {
			b.Errorf("%v, %v", condemned, err)
		}
		if _, err := b.Stat(b.Context(), layout.Condemned("datasets/d")); err != nil {
			b.Error(err)
		}
	})
}

// The clock of one Janitor jumps an hour forward or back while another removes and a run works.
func TestClockThatJumpsRemovesNothingInUse(t *testing.T) {
	for _, jump := range []time.Duration{time.Hour, -time.Hour} {
		t.Run(jump.String(), func(t *testing.T) { jumps(newBucket(t, s3test.Start(t)), jump) })
	}
}

func jumps(b *bucket, jump time.Duration) {
	defer func(n func() time.Time, w retry.Pauser) { now, watch = n, w }(now, watch)
	b.check(Adopt(b.Context(), b.Store, "r", nil, "runs/r", "datasets/used"))
	b.open["r"] = true
	b.put("datasets/used/manifest.json", "datasets/young/manifest.json", "datasets/young/1.parquet")
	_, err := b.core.NewMultipartUpload(b.Context(), b.Config().Bucket, "runs/r/blobs/b", minio.PutObjectOptions{})
	b.check(err)
	live, err := condemn(b.Context(), b.Store, nil, "tokens/live")
	b.check(err)
	_, err = condemn(b.Context(), b.Store, nil, "tokens/dead")
	b.check(err)

	now = func() time.Time { return time.Now().Add(jump) }
	watched := 0
	watch = func(_ context.Context, d time.Duration) error {
		if watched++; d != staleAfter {
			b.Errorf("watched for %v", d)
		}
		b.check(live.lift(b.Context(), b.Store)) // it is done, and begins with the group once more
		_, err := condemn(b.Context(), b.Store, nil, "tokens/live")
		return err
	}
	if removed, _ := b.sweep(24*time.Hour, false); len(removed) > 0 {
		b.Errorf("with a day's grace %v were removed", removed)
	}
	want := map[string]int64{"datasets": 2}
	if jump > 0 {
		want[Leftovers] = 1 // the other Janitor's is found another one, and stays
	}
	if removed, _ := b.sweep(0, false); !maps.Equal(removed, want) {
		b.Errorf("removed %v, want %v", removed, want)
	}
	if (watched == 1) != (jump > 0) {
		b.Errorf("watched %d times", watched)
	}
	keys := b.keys()
	for _, key := range []string{"datasets/used/manifest.json", layout.Condemned("tokens/live")} {
		if !slices.Contains(keys, key) {
			b.Errorf("%s is gone", key)
		}
	}
	uploads := 0
	for _, err := range b.Uploads(b.Context()) {
		b.check(err)
		uploads++
	}
	if uploads != 1 {
		b.Errorf("%d uploads are left", uploads)
	}
}

func TestUploadsNobodyGoesOnWithAreDropped(t *testing.T) {
	onEachServer(t, func(b *bucket) {
		b.check(Adopt(b.Context(), b.Store, "r", nil, "runs/r", "sources/used"))
		b.open["r"] = true
		for _, key := range []string{"sources/used/f", "sources/unused/f", "runs/r/blobs/b", "runs/closed/blobs/b"} {
			_, err := b.core.NewMultipartUpload(b.Context(), b.Config().Bucket, key, minio.PutObjectOptions{})
			b.check(err)
		}
		if removed, _ := b.sweep(time.Hour, false); removed[Uploads] > 0 {
			b.Errorf("removed %v young ones", removed)
		}
		if removed, _ := b.sweep(0, false); removed[Uploads] != 2 {
			b.Errorf("removed %v", removed)
		}
		left := []string{}
		for u, err := range b.Uploads(b.Context()) {
			b.check(err)
			left = append(left, u.Key)
		}
		slices.Sort(left)
		if !slices.Equal(left, []string{"runs/r/blobs/b", "sources/used/f"}) {
			b.Errorf("left %v", left)
		}
		b.open["r"] = false
		_, err := RemoveRun(b.Context(), b.Store, "r", true, b.isOpen, nil)
		b.check(err)
		b.sweep(0, false)
		if n := len(b.keys()); n > 0 {
			b.Errorf("left: %v", b.keys())
		}
		for u, err := range b.Uploads(b.Context()) {
			b.check(err)
			b.Errorf("left the upload of %s", u.Key)
		}
	})
}
