package trainer

import (
	"errors"
	"strings"
	"testing"

	"distilvit/internal/backend"
	"distilvit/model/train"
)

func TestBF16IsRefusedOnThePureGoBackend(t *testing.T) {
	for _, kind := range []string{backend.XLA, backend.CUDA} {
		check(t, CheckPrecision(train.BF16, kind))
	}
	check(t, CheckPrecision(train.Float32, backend.Go))
	check(t, CheckPrecision("", backend.Go))
	l := newLab(t, backend.Choice{Kind: backend.Go})
	l.open.Train.Precision = train.BF16
	_, err := l.pool.Open(t.Context(), "mixed", l.open, nothing)
	var e *Error
	if !errors.As(err, &e) || e.Kind != InvalidInput ||
		!strings.Contains(e.Message, "train.precision is bf16") {
		t.Errorf("got %v", err)
	}
}
