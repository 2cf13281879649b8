package spelling

import (
	"slices"
	"testing"
)

func TestNearNamesComeNearestFirst(t *testing.T) {
	known := []string{"batch_size", "micro_batch_size", "epochs", "beta1", "beta2"}
	for word, want := range map[string][]string{
		"batchsize": {"batch_size"}, "beta": {"beta1", "beta2"}, "Epoch": {"epochs"}, "colour": nil, "bathc-size": {"batch_size"},
	} {
		if got := Near(word, known, 2); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", word, got, want)
		}
	}
	if got := Near("beta", known, 1); !slices.Equal(got, []string{"beta1"}) {
		t.Errorf("%q", got)
	}
}
