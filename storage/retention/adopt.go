package retention

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"distilvit/internal/retry"
	"distilvit/storage"
	"distilvit/storage/layout"
)

// Adopt makes groups the run's: from its return on, until the run is removed,
// nobody removes them. It is called before a group is looked for, let alone
// written. First the references are written, then removals that did not see them
// are waited for; whoever removes does the same in the other order.
func Adopt(ctx context.Context, s *storage.Store, run string, told Told, groups ...string) error {
	for _, group := range groups {
		_, err := s.Stat(ctx, layout.Run(run).Ref(group))
		if errors.Is(err, storage.ErrNotFound) {
			_, err = s.PutJSON(ctx, layout.Run(run).Ref(group), reference{Version: 1, Run: run, Refers: group})
		}
		if err != nil {
			return err
		}
	}
	return Await(ctx, s, told, groups...)
}

// reference is runs/<run>/refs/<group>.json. Its key says it all; its content is
// for people.
type reference struct {
	Version int    `json:"version"`
	Run     string `json:"run"`
	Refers  string `json:"refers"`
}

var (
	// removalLimit is how long after condemning a group removals are begun, and
	// requestLimit how long the last of them may take.
	removalLimit, requestLimit = time.Minute, 3 * time.Minute
	// staleAfter is how long a condemned group stays so before whoever waits
	// concludes that the one who removes is dead.
	staleAfter = removalLimit + requestLimit + time.Minute
	waitPause  = 200 * time.Millisecond
)

// Told hears that groups are being removed by somebody who has not been heard of for a while, and until when he is
// waited for if that stays so. It is called again when there are more or fewer of them, with none when the wait is over.
type Told func(groups []string, until time.Time)

// WaitText says in a line what Told hears.
func WaitText(groups []string, until time.Time) string {
	what := groups[0] + " is"
	if n := len(groups) - 1; n > 0 {
		what = fmt.Sprintf("%s and %d more are", groups[0], n)
	}
	return fmt.Sprintf("%s being removed by a Janitor or rm that has not ended; unless it is heard of, it counts as dead at %s",
		what, until.Format("15:04:05 MST"))
}

// The waiting's clock, whose monotonic part alone is used, its pauses, and after how much of it Told is called. A live
// removal takes a second, seldom more.
var (
	clock     = time.Now
	pause     = retry.Pause
	tellAfter = 5 * time.Second
)

// Await returns when nobody removes objects of the groups. They are watched together, so that many that one dead
// Janitor has left take no longer than one. told may be nil.
func Await(ctx context.Context, s *storage.Store, told Told, groups ...string) error {
	w := watched{seen: map[string]sight{}, told: told}
	waiting := slices.Clone(groups)
	for {
		var still []string
		for _, group := range waiting {
			condemned, err := w.look(ctx, s, group)
			if err != nil {
				return err
			}
			if condemned {
				still = append(still, group)
			}
		}
		waiting = still
		if w.tell(waiting); len(waiting) == 0 {
			return nil
		}
		if err := pause(ctx, waitPause); err != nil {
			return err
		}
	}
}

// watched are condemned groups that somebody waits for.
type watched struct {
	seen map[string]sight
	told Told
	said int // groups that were told of
}

// sight is what was seen of a condemned group: the tag of its mark, in which a token is drawn anew each time, and since
// when.
type sight struct {
	tag   string
	since time.Time
}

// look says whether the group is still condemned. One who condemned it and has long been silent is dead: his mark is
// removed.
func (w *watched) look(ctx context.Context, s *storage.Store, group string) (condemned bool, err error) {
	key := layout.Condemned(group)
	var said map[string]string
	tag, err := s.GetTagged(ctx, key, &said)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return false, nil
	case errors.Is(err, storage.ErrCorrupt):
		tag = "" // whatever it said
	case err != nil:
		return false, err
	}
	if seen, known := w.seen[group]; !known || seen.tag != tag {
		w.seen[group] = sight{tag, clock()}
		return true, nil
	} else if clock().Sub(seen.since) < staleAfter {
		return true, nil
	}
	return bury(ctx, s, group, tag)
}

// bury removes the mark of one who is dead. Several may come to that at once, and the first of them condemn the group
// anew: so the mark is made this process's own by a conditional PUT before it is removed.
func bury(ctx context.Context, s *storage.Store, group, tag string) (condemned bool, err error) {
	key := layout.Condemned(group)
	if tag != "" {
		err = s.Swap(ctx, key, tag, map[string]string{"group": group, "token": rand.Text()})
		if errors.Is(err, storage.ErrConflict) {
			return true, nil
		}
	}
	if err != nil {
		return true, err
	}
	return false, s.Remove(ctx, key)
}

// tell calls told where there is something new.
func (w *watched) tell(waiting []string) {
	if w.told == nil {
		return
	}
	var silent []string
	var until time.Time
	for _, group := range waiting {
		since := w.seen[group].since
		if clock().Sub(since) < tellAfter {
			continue
		}
		silent = append(silent, group)
		if end := since.Add(staleAfter); end.After(until) {
			until = end
		}
	}
	if len(silent) != w.said {
		w.told(silent, until)
	}
	w.said = len(silent)
}

// sentence is a group condemned by this process.
type sentence struct {
	group string
	until time.Time // nothing is removed later
}

// condemn announces that objects of the group are about to be removed. One
// process at a time may; others are waited for.
func condemn(ctx context.Context, s *storage.Store, told Told, group string) (*sentence, error) {
	token := rand.Text()
	for {
		until := time.Now().Add(removalLimit)
		err := s.Publish(ctx, layout.Condemned(group), map[string]string{"group": group, "token": token})
		if err == nil {
			return &sentence{group, until}, nil
		}
		if !errors.Is(err, storage.ErrConflict) {
			return nil, err
		}
		if err := Await(ctx, s, told, group); err != nil {
			return nil, err
		}
	}
}

// lift ends what condemn began, whatever became of ctx. One who comes so late
// that others take him for dead leaves it to them.
func (c *sentence) lift(ctx context.Context, s *storage.Store) error {
	if time.Now().After(c.until.Add(requestLimit)) {
		return nil
	}
	return s.Remove(context.WithoutCancel(ctx), layout.Condemned(c.group))
}

const removeAtOnce = 500 // keys of one request

// remove removes keys in this order; done tells whether there was time for all.
func (c *sentence) remove(
	ctx context.Context, s *storage.Store, entries []storage.Entry, removed func(storage.Entry),
) (done bool, err error) {
	ctx, cancel := context.WithDeadline(ctx, c.until.Add(requestLimit))
	defer cancel()
	for len(entries) > 0 {
		if time.Now().After(c.until) {
			return false, nil
		}
		part := entries[:min(removeAtOnce, len(entries))]
		keys := make([]string, len(part))
		for i, e := range part {
			keys[i] = e.Key
		}
		if err := s.Remove(ctx, keys...); err != nil {
			return false, err
		}
		for _, e := range part {
			removed(e)
		}
		entries = entries[len(part):]
	}
	return true, nil
}
