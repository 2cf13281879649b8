package workflows

import (
	"testing"

	"distilvit/pipeline"
)

func TestEncoderAndDecoderAreStoredWithTheSeedAndDecideThePixels(t *testing.T) {
	w := newWorld()
	if _, err := start(t, w, config(t, `model={"encoder": "a", "decoder": "b"}`, "seed=7")); err != nil {
		t.Fatal(err)
	}
	want := pipeline.PretrainedInput{Encoder: "a", Decoder: "b", Seed: 7}
	got := w.inputs["StorePretrained"].(pipeline.PretrainedInput)
	if want.Run = got.Run; got != want {
		t.Errorf("stored %+v", got)
	}
	if w.inputs["PlanPrepare"].(pipeline.PlanInput).Model.Digest != "given" || w.inputs["BuildModel"].(pipeline.BuildModelInput).Pretrained.Digest != "given" {
		t.Errorf("%+v", w.inputs)
	}
}
