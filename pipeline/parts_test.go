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

func TestATeacherAndLayersOfAModelAreCheckedAndLeftOutWhereThereAreNone(t *testing.T) {
	c := mustDecode(t, minimal+"train: {teacher: 'run:t'}").Resolve()
	if n := c.Train; n.TeacherWeight != 0.25 || n.TeacherTemperature != 1 || n.TeacherTopK != 16 || n.TeacherCaptions != 0 {
		t.Errorf("resolved to %+v", n)
	}
	for text, want := range map[string]string{
		"train: {teacher_captions: 2}":             "train.teacher_captions: is for train.teacher, which is missing",
		"train: {teacher: t, teacher_weight: 1.5}": "train.teacher_weight: is 1.5; must be above 0 and at most 1",
		"train: {teacher: t, teacher_top_k: 257}":  "train.teacher_top_k: is 257; must be from 1 to 256",
		"train: {teacher: t, teacher_views: 2}": "train.teacher_views: is 2; without train.augment all views are the " +
			"same: leave it out",
		"train: {teacher: t, teacher_views: 2, augment: {shift: 0.1}, parts: [{match: decoder}], features: float32, " +
			"feature_views: 3}": "train.teacher_views: is 2, train.feature_views 3; the student sees these views, so they must be the same",
		"model: {from_layers: {decoder: [0, 2]}}": "model.from_layers.decoder: takes layers of given weights; it needs " +
			"model.weights, or model.encoder and model.decoder",
		"model: {weights: w, from_layers: {encoder: [2, 0]}}": "model.from_layers.encoder[1]: is 0; layers are numbered " +
			"from 0 and must ascend",
		"model: {weights: w, adapter: a, from_layers: {decoder: [0]}}\ntrain: {lora: {r: 2}}": "model.from_layers.decoder: " +
			"cannot be with model.adapter, which is for all layers of model.weights",
	} {
		_, err := Decode([]byte(minimal + text))
		if got := problems(t, err); !slices.Contains(got, want) {
			t.Errorf("%s: %q", text, got)
		}
	}
	if text, err := json.Marshal(mustDecode(t, minimal).Resolve()); err != nil || strings.Contains(string(text), "teacher") ||
		strings.Contains(string(text), "from_layers") {
		t.Errorf("%s, %v", text, err)
	}
}
