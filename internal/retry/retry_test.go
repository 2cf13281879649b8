package retry

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// noted is a Pauser that does not wait and notes how long it should have.
func noted(list *[]time.Duration) Pauser {
	return func(ctx context.Context, d time.Duration) error {
		*list = append(*list, d)
		return context.Cause(ctx)
	}
}

func TestPersistGivesUpAfterSixTriesWithoutProgress(t *testing.T) {
	down := errors.New("down")
	var waits []time.Duration
	tries := 0
	err := noted(&waits).Persist(t.Context(), func() (bool, error) {
		tries++
		return tries == 4, &Passing{Err: down}
	})
	require.ErrorIs(t, err, down)
	require.EqualError(t, err, "down (6 tries)")
	require.Equal(t, 9, tries, "three, and six from the one with progress on")
	require.Equal(t, []time.Duration{
		FirstPause, 2 * FirstPause, 4 * FirstPause,
		FirstPause, 2 * FirstPause, 4 * FirstPause, 8 * FirstPause, 16 * FirstPause,
	}, waits)
	require.False(t, errors.As(err, new(*Passing)), "it did not pass")
}

func TestPersistWaitsAsAskedAndStopsAtWhatDoesNotPass(t *testing.T) {
	final := errors.New("no")
	answers := []error{
		&Passing{Err: final, After: 7 * time.Second}, &Passing{Err: final, After: time.Hour}, final,
	}
	var waits []time.Duration
	at := -1
	err := noted(&waits).Persist(t.Context(), func() (bool, error) { at++; return false, answers[at] })
	require.Equal(t, final, err)
	require.Equal(t, []time.Duration{7 * time.Second, 5 * time.Minute}, waits)
}

func TestPersistEndsWithItsContext(t *testing.T) {
	stop := errors.New("stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stop)
	err := Pauser(Pause).Persist(
		ctx, func() (bool, error) { return false, &Passing{Err: errors.New("down")} },
	)
	require.ErrorIs(t, err, stop)
}

func TestWhichAnswersPassAndHowLongTheyAskToWait(t *testing.T) {
	for status, passes := range map[int]bool{
		200: false, 404: false, 408: true, 425: true, 429: true, 500: true, 501: false, 503: true, 505: false,
	} {
		require.Equal(t, passes, Passes(status), status)
	}
	asked := func(value string) time.Duration {
		return After(&http.Response{Header: http.Header{"Retry-After": {value}}})
	}
	require.Equal(t, 7*time.Second, asked("7"))
	require.Zero(t, asked("-1"))
	require.Zero(t, asked("soon"))
	require.Zero(t, asked(time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat)))
	require.InDelta(t, time.Hour, asked(time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)),
		float64(time.Minute))
	require.Equal(t, 5*time.Minute, asked("99999999999"), "no overflow")
}
