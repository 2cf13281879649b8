package retention

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"distilvit/internal/retry"
	"distilvit/storage"
	"distilvit/storage/layout"
)

// Count is how much of one kind was removed.
type Count struct {
	Kind    string `json:"kind"`
	Objects int64  `json:"objects"`
	Bytes   int64  `json:"bytes"`
}

// Page is what became of a part of the bucket.
type Page struct {
	Removed []Count  // by kind; with DryRun what would be removed
	Notes   []string // what was left alone for a reason that a person should know
	Next    string   // cursor of the next page; "": this was the last
}

// A page ends after so many groups or objects to remove.
const (
	pageGroups  = 50
	pageObjects = 20_000
)

// AbandonedAfter is longer than any upload goes on whose run is there: a
// download of a source may take a week.
const AbandonedAfter = 14 * 24 * time.Hour

// Sweep frees space: it looks through one page of the bucket and removes what nothing needs any more. The
// bucket is swept page by page: "" is the cursor of the first, Page.Next that of the one after. It is safe to
// sweep a page twice, or from several processes at once.
func Sweep(ctx context.Context, store *storage.Store, cursor string, o Options) (Page, error) {
	// AREA, or AREA:GROUP to go on after that group
	area, after, _ := strings.Cut(cmp.Or(cursor, Areas[0]), ":")
	at := slices.Index(Areas, area)
	if at < 0 {
		return Page{}, fmt.Errorf("sweep: no such place: %q", cursor)
	}
	s := &sweeper{Store: store, Options: o}
	t := &tally{}
	var next string
	var err error
	switch area {
	case Uploads:
		err = s.sweepUploads(ctx, t)
	case Leftovers:
		err = s.sweepLeftovers(ctx, t)
	default:
		next, err = s.sweepGroups(ctx, area, after, t)
	}
	if next != "" {
		next = area + ":" + next
	} else if at+1 < len(Areas) {
		next = Areas[at+1]
	}
	return Page{Removed: t.counts, Notes: s.notes, Next: next}, err
}

// sweepGroups looks at the groups of an area, condemns those that have
// something to remove, and looks again before it removes.
func (s *sweeper) sweepGroups(ctx context.Context, area, after string, t *tally) (next string, err error) {
	m, err := mark(ctx, s.Store)
	if err != nil {
		return "", err
	}
	found, objects := []string{}, 0
	for group, err := range s.groups(ctx, area, after) {
		if err != nil {
			return "", err
		}
		entries, err := s.examine(ctx, m, group)
		if err != nil {
			return "", err
		}
		if len(entries) == 0 {
			continue
		}
		if found = append(found, group); s.DryRun {
			if err := s.count(ctx, group, entries, t); err != nil {
				return "", err
			}
		}
		if objects += len(entries); len(found) == pageGroups || objects >= pageObjects {
			next = group
			break
		}
	}
	if s.DryRun || len(found) == 0 {
		return next, nil
	}
	return next, s.removeGroups(ctx, found, t)
}

// groups yields those of an area behind the group `after`.
func (s *sweeper) groups(ctx context.Context, area, after string) func(func(string, error) bool) {
	return func(yield func(string, error) bool) {
		if area != layout.Models {
			s.folders(ctx, area+"/", after, yield)
			return
		}
		for name, err := range s.Folders(ctx, area+"/", "") {
			if err != nil {
				yield("", err)
				return
			}
			if !s.folders(ctx, name.Key, after, yield) {
				return
			}
		}
	}
}

func (s *sweeper) folders(ctx context.Context, prefix, after string, yield func(string, error) bool) bool {
	for e, err := range s.Folders(ctx, prefix, "") {
		group := strings.TrimSuffix(e.Key, "/")
		if err == nil && group <= after {
			continue
		}
		if !yield(group, err) || err != nil {
			return false
		}
	}
	return true
}

// removeGroups condemns groups and then asks once more what refers to them: a
// run that began to use one before is seen, one that begins later waits.
func (s *sweeper) removeGroups(ctx context.Context, groups []string, t *tally) (err error) {
	for len(groups) > 0 {
		var condemned []*sentence
		lift := func() {
			for _, c := range condemned {
				err = errors.Join(err, c.lift(ctx, s.Store))
			}
		}
		// of others first, all together: what is condemned here has a minute
		if err := Await(ctx, s.Store, s.Told, groups...); err != nil {
			return err
		}
		for _, group := range groups {
			c, err := condemn(ctx, s.Store, s.Told, group)
			if err != nil {
				lift()
				return err
			}
			condemned = append(condemned, c)
		}
		late, removeErr := s.removeCondemned(ctx, condemned, t)
		lift()
		if err = errors.Join(removeErr, err); err != nil {
			return err
		}
		groups = late
	}
	return nil
}

// removeCondemned answers the groups for which the time did not suffice.
func (s *sweeper) removeCondemned(
	ctx context.Context, condemned []*sentence, t *tally,
) (late []string, err error) {
	m, err := mark(ctx, s.Store)
	if err != nil {
		return nil, err
	}
	for _, c := range condemned {
		done := true
		for more := true; done && more; {
			entries, err := s.examine(ctx, m, c.group)
			if err != nil {
				return nil, err
			}
			more = len(entries) >= wholeObjects
			if done, err = c.remove(ctx, s.Store, entries, t.add); err != nil {
				return nil, err
			}
		}
		if !done {
			late = append(late, c.group)
		}
	}
	return late, nil
}

// count counts what would be removed of a group, of which entries are all, or the first.
func (s *sweeper) count(ctx context.Context, group string, entries []storage.Entry, t *tally) error {
	if _, isRun := layout.RunOf(group); isRun || len(entries) < wholeObjects {
		t.all(entries)
		return nil
	}
	for e, err := range s.Entries(ctx, group+"/") {
		if err != nil {
			return err
		}
		t.add(e)
	}
	return nil
}

// sweepUploads drops uploads that nobody goes on with. Whoever does has written
// his reference or opened his run before he began, so that the uploads are
// listed first.
func (s *sweeper) sweepUploads(ctx context.Context, t *tally) error {
	var all []storage.Upload
	for u, err := range s.Uploads(ctx) {
		if err != nil {
			return err
		}
		all = append(all, u)
	}
	if len(all) == 0 {
		return nil
	}
	m, err := mark(ctx, s.Store)
	if err != nil {
		return err
	}
	for _, u := range all {
		wait := s.Grace
		if used, err := s.used(ctx, m, u.Key); err != nil {
			return err
		} else if used {
			wait = max(wait, AbandonedAfter)
		}
		if age(u.Begun) < wait {
			continue
		}
		if !s.DryRun {
			if err := s.DropUpload(ctx, u); err != nil {
				return err
			}
		}
		t.one(Uploads, 0) // how much came is not told
	}
	return nil
}

// used tells whether somebody may be writing to the group of a key.
func (s *sweeper) used(ctx context.Context, m *marks, key string) (bool, error) {
	group, ok := layout.GroupOf(key)
	if !ok {
		return true, nil // not ours
	}
	if run, ok := layout.RunOf(group); ok {
		return s.Open(ctx, string(run))
	}
	if layout.AreaOf(group) == layout.Models {
		if m, ok := layout.ParseModel(group); ok {
			return s.Open(ctx, m.Run)
		}
		return false, nil
	}
	return m.groups[group] || len(m.doubts) > 0, nil
}

// sweepLeftovers removes what killed processes left of checks and of sweeps, and
// names what stands in the bucket that is not ours.
func (s *sweeper) sweepLeftovers(ctx context.Context, t *tally) error {
	for e, err := range s.Folders(ctx, "", "") {
		if err != nil {
			return err
		}
		if name := strings.TrimSuffix(e.Key, "/"); e.Key != layout.CondemnedPrefix &&
			e.Key != layout.CheckPrefix && name != layout.Sweeps && !slices.Contains(Areas, name) {
			s.note("%s is not of distilvit: left alone", e.Key)
		}
	}
	var leftovers, marks []storage.Entry
	for prefix, list := range map[string]*[]storage.Entry{
		layout.CheckPrefix: &leftovers, layout.CondemnedPrefix: &marks,
	} {
		for e, err := range s.Entries(ctx, prefix) {
			if err != nil {
				return err
			}
			if age(e.Modified) >= max(s.Grace, staleAfter) {
				*list = append(*list, e)
			}
		}
	}
	if !s.DryRun {
		var err error
		if marks, err = s.dead(ctx, marks); err != nil {
			return err
		}
	}
	for _, e := range append(leftovers, marks...) {
		if !s.DryRun {
			if err := s.Remove(ctx, e.Key); err != nil {
				return err
			}
		}
		t.one(Leftovers, e.Size)
	}
	return nil
}

// watch waits, by the monotonic clock.
var watch = retry.Pause

// dead are those of the marks of condemned groups that nobody renews or lifts for staleAfter. Their age by the clock
// does not say so: where the clock has jumped forward, a mark of this moment is an hour old, and a run that comes to its
// group would not wait for who removes it.
func (s *sweeper) dead(ctx context.Context, marks []storage.Entry) (dead []storage.Entry, err error) {
	if len(marks) == 0 {
		return nil, nil
	}
	tokens := make([]string, len(marks)) // "": lifted
	look := func(i int) (string, error) {
		o, err := s.Stat(ctx, marks[i].Key)
		if errors.Is(err, storage.ErrNotFound) {
			return "", nil
		}
		return o.SHA256, err
	}
	var groups []string
	for i, e := range marks {
		if tokens[i], err = look(i); err != nil {
			return nil, err
		}
		groups = append(groups, strings.TrimSuffix(strings.TrimPrefix(e.Key, layout.CondemnedPrefix), ".json"))
	}
	if s.Told != nil {
		s.Told(groups, clock().Add(staleAfter))
		defer s.Told(nil, time.Time{})
	}
	if err := watch(ctx, staleAfter); err != nil {
		return nil, err
	}
	for i, e := range marks {
		token, err := look(i)
		if err != nil {
			return nil, err
		}
		if token != "" && token == tokens[i] {
			dead = append(dead, e)
		}
	}
	return dead, nil
}

// tally counts what is removed.
type tally struct{ counts []Count }

func (t *tally) add(e storage.Entry) { t.one(kindOf(e.Key), e.Size) }

func (t *tally) all(entries []storage.Entry) {
	for _, e := range entries {
		t.add(e)
	}
}

func (t *tally) one(kind string, bytes int64) {
	i := slices.IndexFunc(t.counts, func(c Count) bool { return c.Kind == kind })
	if i < 0 {
		i, t.counts = len(t.counts), append(t.counts, Count{Kind: kind})
	}
	t.counts[i].Objects++
	t.counts[i].Bytes += bytes
}

// kindOf is what people are told was removed: an area's name, or of a run's
// objects those that are removed apart from it.
func kindOf(key string) string {
	_, kind, _, _ := layout.InRun(key)
	switch kind {
	case layout.Checkpoints, layout.Blobs, layout.Logs:
		return string(kind)
	}
	return layout.AreaOf(key)
}

// ErrOpen is the answer when a run is to be removed that is open.
var ErrOpen = errors.New("is open")

// RemoveRun removes all of a run, and with model what it published. It is
// ErrOpen while the run is; what only it used is left to the next sweep.
func RemoveRun(
	ctx context.Context, store *storage.Store, run string, model bool,
	open func(context.Context, string) (bool, error), told Told,
) ([]Count, error) {
	t := &tally{}
	groups := []string{layout.Run(run).Group()}
	if model {
		models, err := Published(ctx, store, run)
		if err != nil {
			return nil, err
		}
		groups = append(models, groups...)
	}
	if err := Await(ctx, store, told, groups...); err != nil {
		return nil, err
	}
	for _, group := range groups {
		for done := false; !done; {
			c, err := condemn(ctx, store, told, group)
			if err != nil {
				return t.counts, err
			}
			done, err = removeAll(ctx, store, c, run, open, t)
			if err = errors.Join(err, c.lift(ctx, store)); err != nil {
				return t.counts, err
			}
		}
	}
	return t.counts, dropUploads(ctx, store, groups)
}

func removeAll(
	ctx context.Context, store *storage.Store, c *sentence, run string,
	open func(context.Context, string) (bool, error), t *tally,
) (done bool, err error) {
	if is, err := open(ctx, run); err != nil {
		return false, err
	} else if is {
		return false, fmt.Errorf("run %s %w", run, ErrOpen)
	}
	s := &sweeper{Store: store}
	entries, err := s.whole(ctx, c.group)
	if err != nil {
		return false, err
	}
	done, err = c.remove(ctx, store, entries, t.add)
	return done && len(entries) < wholeObjects, err
}

// Published are the groups of the models that a run published, whatever their branch.
func Published(ctx context.Context, store *storage.Store, run string) ([]string, error) {
	var out []string
	s := &sweeper{Store: store}
	for group, err := range s.groups(ctx, layout.Models, "") {
		if err != nil {
			return nil, err
		}
		if m, ok := layout.ParseModel(group); ok && m.Run == run {
			out = append(out, group)
		}
	}
	return out, nil
}

func dropUploads(ctx context.Context, store *storage.Store, groups []string) error {
	for u, err := range store.Uploads(ctx) {
		if err != nil {
			return err
		}
		if group, ok := layout.GroupOf(u.Key); ok && slices.Contains(groups, group) {
			if err := store.DropUpload(ctx, u); err != nil {
				return err
			}
		}
	}
	return nil
}
