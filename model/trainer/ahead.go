package trainer

import (
	"context"
	"iter"
	"sync"
)

// ahead yields what stage makes of each batch, or of the error in its place, which is the last. The next is read and staged
// while the loop's body works on the one before. What the body does not get is freed, and nothing runs on after the loop.
func ahead[B, S any](
	parent context.Context, batches func(context.Context) iter.Seq2[B, error], free func(S),
	stage func(B, error) (S, error),
) iter.Seq2[S, error] {
	type made struct {
		s   S
		err error
	}
	return func(yield func(S, error) bool) {
		var owned sync.WaitGroup
		defer owned.Wait()
		ctx, cancel := context.WithCancel(parent)
		defer cancel()
		next := make(chan made)
		owned.Go(func() {
			defer close(next)
			for b, err := range batches(ctx) {
				s, err := stage(b, err)
				select {
				case next <- made{s, err}:
				case <-ctx.Done():
					free(s)
					return
				}
				if err != nil {
					return
				}
			}
		})
		for m := range next {
			if !yield(m.s, m.err) {
				return
			}
		}
	}
}
