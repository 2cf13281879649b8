package backend

import (
	"context"
	"errors"

	"github.com/gomlx/compute"
)

var errSoon = errors.New("not yet")

func Choose(o Options) (Choice, error)            { return Choice{}, errSoon }
func Open(c Choice) (compute.Backend, error)      { return nil, errSoon }
func Env(c Choice) []string                       { return nil }
func Fingerprint(c Choice) map[string]string      { return nil }
func ONNXRuntime(cacheDir string) (string, error) { return "", errSoon }
func Install(ctx context.Context, what, cacheDir string, log func(string)) (string, error) {
	return "", errSoon
}
