// Package backendtest gives tests the backends they must hold on.
package backendtest

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/gomlx/compute"

	"distilvit/internal/backend"
	"distilvit/internal/testenv"
)

// Each runs a test on the pure-Go backend, and on XLA where its CPU plugin is
// installed. In CI a missing plugin is a failure.
func Each(t *testing.T, test func(t *testing.T, be compute.Backend)) {
	for _, kind := range []string{backend.Go, backend.XLA} {
		t.Run(kind, func(t *testing.T) { test(t, Open(t, kind)) })
	}
}

// Open opens a kind of backend, once a process, or skips the test.
func Open(t testing.TB, kind string) compute.Backend {
	t.Helper()
	choice, err := Choose(kind)
	if err != nil {
		testenv.Without(t, err)
	}
	mu.Lock()
	defer mu.Unlock()
	if open[kind] == nil {
		be, err := backend.Open(choice)
		if err != nil {
			t.Fatal(err)
		}
		open[kind] = be
	}
	return open[kind]
}

// Choose finds a kind of backend in the user's cache directory, with as many
// devices as are listed; none: one.
func Choose(kind string, devices ...int) (backend.Choice, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return backend.Choice{}, err
	}
	return backend.Choose(
		backend.Options{Kind: kind, CacheDir: filepath.Join(cache, "distilvit", "backend"), Devices: devices},
	)
}

var (
	mu   sync.Mutex
	open = map[string]compute.Backend{}
)
