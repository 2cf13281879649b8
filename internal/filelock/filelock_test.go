package filelock

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSharedLocksKeepExclusiveOnesAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	one, err := Try(path, Shared)
	require.NoError(t, err)
	two, err := Try(path, Shared)
	require.NoError(t, err)
	require.NotNil(t, two)
	all, err := Try(path, Exclusive)
	require.NoError(t, err)
	require.Nil(t, all)
	require.NoError(t, one.Close())
	require.NoError(t, two.Close())
	all, err = Try(path, Exclusive)
	require.NoError(t, err)
	require.NotNil(t, all)
	none, err := Try(path, Shared)
	require.NoError(t, err)
	require.Nil(t, none)
	require.NoError(t, all.Close())
}

func TestALockOfARemovedFileIsNone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	old, err := Try(path, Exclusive)
	require.NoError(t, err)
	require.NoError(t, os.Remove(path))
	require.False(t, named(old))
	fresh, err := Lock(t.Context(), path, Exclusive) // of the new file
	require.NoError(t, err)
	require.True(t, named(fresh))
	require.NoError(t, errors.Join(old.Close(), fresh.Close()))
}

func TestLockWaitsForItsHolderOrItsContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	held, err := Try(path, Exclusive)
	require.NoError(t, err)
	stop := errors.New("stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stop)
	_, err = Lock(ctx, path, Exclusive)
	require.ErrorIs(t, err, stop)

	got := make(chan error, 1)
	go func() {
		l, err := Lock(t.Context(), path, Exclusive)
		if err == nil {
			err = l.Close()
		}
		got <- err
	}()
	require.NoError(t, held.Close())
	require.NoError(t, <-got)

	_, err = Try(filepath.Join(t.TempDir(), "none", "lock"), Shared)
	require.ErrorIs(t, err, os.ErrNotExist)
}
