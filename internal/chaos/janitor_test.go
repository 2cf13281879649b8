package chaos

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"distilvit/internal/testenv"
	"distilvit/storage/layout"
)

// unused is a prepared dataset that nothing refers to, of so many objects.
const (
	unused        = "datasets/unused"
	unusedObjects = 4000
)

// Everything is killed while the Janitor removes a dataset. Once all is up again it is removed to its end, and what a
// run and its model refer to is there as before. Whoever comes after a dead Janitor waits five minutes for it, so that
// this is of make chaos alone.
func TestChaosOfTheJanitor(t *testing.T) {
	if *faultCount <= shortFaults {
		t.Skip("takes six minutes: make chaos")
	}
	t.Parallel()
	r := newCluster(t, embeddedS3, 1).startRun(size{epochs: 2, stepsPerEpoch: 20}, 0)
	r.awaitEnd()
	want := r.results()
	r.storeUnused()

	m := r.machines[0]
	client := testenv.Start(t, r.command("janitor", "--grace", "0s"))
	testenv.Await(t, "a removal under way", func() bool { return r.unusedLeft() < unusedObjects })
	m.Kill()
	r.s3.Kill()
	r.temporal.Kill()
	client.Kill()
	left := r.unusedLeft()
	if left == 0 {
		t.Fatal("all was removed before the kill")
	}
	mark := filepath.Join(r.s3.files, layout.Condemned(unused))
	if _, err := os.Stat(mark); err != nil {
		t.Errorf("the removal was not announced: %v", err)
	}
	r.temporal.start()
	r.s3.start()
	m.start()

	halfway := r.results()
	maps.DeleteFunc(halfway, func(name, _ string) bool { return strings.HasPrefix(name, unused+"/") })
	same(t, want, halfway)
	t.Logf("%d of %d objects were left at the kill", left, unusedObjects)
	r.distilvit("janitor", "--grace", "0s")
	if left := r.unusedLeft(); left > 0 {
		t.Errorf("%d objects are still there", left)
	}
	same(t, want, r.results())
	r.leavesNothing()
}

// storeUnused stores the dataset.
func (r *run) storeUnused() {
	t := r.t
	t.Helper()
	store := r.open()
	var puts errgroup.Group
	puts.SetLimit(8)
	for i := range unusedObjects {
		puts.Go(func() error {
			_, err := store.PutBytes(t.Context(), fmt.Sprintf("%s/%05d.parquet", unused, i), []byte{byte(i)})
			return err
		})
	}
	check(t, puts.Wait())
}

// unusedLeft are the dataset's objects, as the S3 server has their files.
func (r *run) unusedLeft() (n int) {
	entries, _ := os.ReadDir(filepath.Join(r.s3.files, unused))
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".parquet") {
			n++
		}
	}
	return n
}
