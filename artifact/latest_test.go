package artifact

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"distilvit/artifact/record"
	"distilvit/internal/devstack/s3d/s3test"
	"distilvit/storage"
	"distilvit/storage/layout"
)

// publishers is a store in which models are published and removed.
type publishers struct {
	*storage.Store
	t *testing.T
}

func onEachServer(t *testing.T, test func(p publishers)) {
	for name, start := range map[string]func(testing.TB) *s3test.Server{"embedded": s3test.Start, "minio": s3test.MinIO} {
		t.Run(name, func(t *testing.T) {
			server := start(t)
			s, err := storage.Open(t.Context(), storage.Config{
				Endpoint: server.Endpoint, AccessKey: server.AccessKey, SecretKey: server.SecretKey, Bucket: "latest",
			})
			check(t, err)
			test(publishers{s, t})
		})
	}
}

// manifest publishes a version as far as its manifest.
func (p publishers) manifest(run string, branch int) layout.Model {
	m := layout.Model{Name: "m", Run: run, Branch: branch}
	manifest := record.ModelManifest{Version: 1, Model: m.Group(), Run: run, Branch: branch}
	if err := p.Publish(p.t.Context(), layout.Manifest(m.Group()), manifest); err != nil {
		p.t.Error(err)
	}
	return m
}

func (p publishers) publish(run string, branch int) {
	p.manifest(run, branch)
	p.update()
}

func (p publishers) update() {
	if _, err := UpdateLatest(p.t.Context(), p.Store, "m"); err != nil {
		p.t.Error(err)
	}
}

func (p publishers) remove(run string, branch int) {
	check(p.t, p.Remove(p.t.Context(), layout.Manifest(layout.Model{Name: "m", Run: run, Branch: branch}.Group())))
}

// want is what latest has to name; "" is nothing.
func (p publishers) want(model string) {
	p.t.Helper()
	var l record.Latest
	err := p.GetJSON(p.t.Context(), layout.Latest("m"), &l)
	if model == "" {
		if !NotFound(err) {
			p.t.Errorf("names %s, %v; nothing is published", l.Model, err)
		}
		return
	}
	check(p.t, err)
	manifest, err := p.Stat(p.t.Context(), layout.Manifest(model))
	check(p.t, err)
	if l.Model != model || l.Manifest != manifest || manifest.SHA256 == "" {
		p.t.Errorf("names %+v, want %s with manifest %+v", l, model, manifest)
	}
	if group, err := NewestModel(p.t.Context(), p.Store, "m"); group != model || err != nil {
		p.t.Errorf("the newest model is %s, %v, want %s", group, err, model)
	}
}

func TestLatestNamesTheNewestVersion(t *testing.T) {
	onEachServer(t, func(p publishers) {
		p.want("")
		p.update()
		p.want("")
		p.publish("m", 2)
		p.want("models/m/m-b2")
		p.publish("m", 1) // of an attempt that comes late
		p.want("models/m/m-b2")
		if changed, err := UpdateLatest(t.Context(), p.Store, "m"); changed || err != nil {
			p.t.Errorf("written again: %v, %v", changed, err)
		}
		p.publish("m", 10)
		p.want("models/m/m-b10")
		p.remove("m", 10)
		if group, err := NewestModel(p.t.Context(), p.Store, "m"); group != "models/m/m-b2" || err != nil {
			p.t.Errorf("where latest names what is gone: %s, %v", group, err)
		}
		p.update()
		p.want("models/m/m-b2")

		_, err := p.PutBytes(p.t.Context(), layout.Latest("m"), []byte("{"))
		check(p.t, err)
		for _, name := range []string{"m", "models/m", "models/m/latest"} {
			if group, err := FindModel(p.t.Context(), p.Store, name); group != "models/m/m-b2" || err != nil {
				p.t.Errorf("%s, where latest is broken: %s, %v", name, group, err)
			}
		}
		if changed, err := UpdateEveryLatest(p.t.Context(), p.Store); len(changed) != 1 || err != nil {
			p.t.Errorf("put right: %v, %v", changed, err)
		}
		p.want("models/m/m-b2")

		// A program that knows nothing of it has published since.
		p.manifest("m", 3)
		if group, err := FindModel(p.t.Context(), p.Store, "m"); group != "models/m/m-b3" || err != nil {
			p.t.Errorf("of run m: %s, %v", group, err)
		}
		for _, branch := range []int{1, 2, 3} {
			p.remove("m", branch)
		}
		p.update()
		p.want("")
		if _, err := NewestModel(p.t.Context(), p.Store, "m"); !errors.Is(err, ErrNotPublished) {
			p.t.Error(err)
		}
	})
}

// However publications and removals meet, what is there in the end is named.
func TestNoPublicationIsLostToAnotherOne(t *testing.T) {
	onEachServer(t, func(p publishers) {
		const runs, branches = 3, 4
		var group sync.WaitGroup
		for run := range runs {
			group.Go(func() {
				for branch := range branches {
					p.publish(fmt.Sprintf("r%d", run), branch+1)
				}
			})
		}
		group.Wait()
		newest, err := newestModel(t.Context(), p.Store, "m")
		check(p.t, err)
		if newest.Branch != branches {
			p.t.Errorf("the newest is %s", newest.Model)
		}
		p.want(newest.Model)

		for run := range runs { // all but one go, while that one is published
			group.Go(func() {
				if run == 0 {
					p.publish("z", 1)
					return
				}
				for branch := range branches {
					p.remove(fmt.Sprintf("r%d", run), branch+1)
					p.update()
				}
			})
		}
		group.Wait()
		p.want("models/m/z-b1")
		p.remove("z", 1)
		for branch := range branches {
			p.remove("r0", branch+1)
		}
		p.update()
		p.want("")
	})
}
