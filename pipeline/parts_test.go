package pipeline

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func TestEncoderAndDecoderStandTogetherAndAlone(t *testing.T) {
	c := mustDecode(t, minimal+"model: {encoder: hf:org/vit, decoder: hf:org/gpt2}").Resolve()
	if c.Train.LearningRate != 5e-5 || c.Model.Preset != "" || c.Model.HiddenSize != 0 {
		t.Errorf("resolved to %+v, learning rate %g", c.Model, c.Train.LearningRate)
	}
	for text, want := range map[string]string{
		"encoder: a":                         "model.decoder: is missing; model.encoder needs one",
		"decoder: a":                         "model.encoder: is missing; model.decoder needs one",
		"encoder: a, decoder: b, weights: c": "model.encoder: is in model.weights, too; leave one of them out",
		"encoder: a, decoder: b, heads: 4":   "model.heads: is given by the config.json of model.encoder and model.decoder; leave it out",
	} {
		_, err := Decode([]byte(minimal + "model: {" + text + "}"))
		if got := problems(t, err); !slices.Contains(got, want) {
			t.Errorf("%s: %q", text, got)
		}
	}
	// a run that began before there were these keys still has the same config
	if text, err := json.Marshal(mustDecode(t, minimal)); err != nil ||
		strings.Contains(string(text), "coder\":\"") {
		t.Errorf("%s, %v", text, err)
	}
}
