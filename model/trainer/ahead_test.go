package trainer

import (
	"context"
	"errors"
	"iter"
	"slices"
	"testing"
)

// numbers yields 0, 1, … until the context ends, and says on ended that it did.
func numbers(ended chan<- error) func(context.Context) iter.Seq2[int, error] {
	return func(ctx context.Context) iter.Seq2[int, error] {
		return func(yield func(int, error) bool) {
			defer func() { ended <- ctx.Err() }()
			for i := 0; ctx.Err() == nil && yield(i, nil); i++ {
			}
		}
	}
}

func TestTheNextBatchIsStagedWhileTheLastIsTrainedOn(t *testing.T) {
	begun, ended := make(chan int, 100), make(chan error, 1)
	var freed, got []int
	stage := func(b int, err error) (int, error) {
		begun <- b
		return b, err
	}
	for s, err := range ahead(t.Context(), numbers(ended), func(s int) { freed = append(freed, s) }, stage) {
		check(t, err)
		got = append(got, s)
		if s == 0 {
			<-begun
		}
		if next := <-begun; next != s+1 { // would wait for ever, were it staged after the body
			t.Fatalf("beside batch %d batch %d is staged", s, next)
		}
		if s == 3 {
			break
		}
	}
	if !slices.Equal(got, []int{0, 1, 2, 3}) || !slices.Equal(freed, []int{4}) {
		t.Errorf("trained on %v, freed %v", got, freed)
	}
	if err := <-ended; err == nil {
		t.Error("the reading of batches went on")
	}
}

func TestABatchThatCannotBeStagedIsTheLast(t *testing.T) {
	broken := errors.New("broken")
	var got []int
	var last error
	for s, err := range ahead(t.Context(), numbers(make(chan error, 1)), func(int) {}, func(b int, _ error) (int, error) {
		if b == 2 {
			return b, broken
		}
		return b, nil
	}) {
		if last = err; err == nil {
			got = append(got, s)
		}
	}
	if !slices.Equal(got, []int{0, 1}) || !errors.Is(last, broken) {
		t.Errorf("trained on %v, then %v", got, last)
	}
}
