package retention

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"distilvit/storage"
	"distilvit/storage/layout"
)

// Adopt makes groups the run's: from its return on, until the run is removed,
// nobody removes them. It is called before a group is looked for, let alone
// written. First the reference is written, then a removal that did not see it
// is waited for; whoever removes does the same in the other order.
func Adopt(ctx context.Context, s *storage.Store, run string, groups ...string) error {
	for _, group := range groups {
		_, err := s.Stat(ctx, layout.Run(run).Ref(group))
		if errors.Is(err, storage.ErrNotFound) {
			_, err = s.PutJSON(ctx, layout.Run(run).Ref(group), reference{Version: 1, Run: run, Refers: group})
		}
		if err != nil {
			return err
		}
		if err := Await(ctx, s, group); err != nil {
			return err
		}
	}
	return nil
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

// Await returns when nobody removes objects of the group.
func Await(ctx context.Context, s *storage.Store, group string) error {
	key := layout.Condemned(group)
	seen, since := "", time.Now()
	for {
		o, err := s.Stat(ctx, key)
		switch {
		case errors.Is(err, storage.ErrNotFound):
			return nil
		case err != nil:
			return err
		case o.SHA256 != seen: // its content is drawn anew each time
			seen, since = o.SHA256, time.Now()
		case time.Since(since) >= staleAfter:
			return s.Remove(ctx, key)
		}
		timer := time.NewTimer(waitPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
	}
}

// sentence is a group condemned by this process.
type sentence struct {
	group string
	until time.Time // nothing is removed later
}

// condemn announces that objects of the group are about to be removed. One
// process at a time may; others are waited for.
func condemn(ctx context.Context, s *storage.Store, group string) (*sentence, error) {
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
		if err := Await(ctx, s, group); err != nil {
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
