package workflows

import (
	"reflect"
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
	if want.Run = got.Run; !reflect.DeepEqual(got, want) {
		t.Errorf("stored %+v", got)
	}
	if w.inputs["PlanPrepare"].(pipeline.PlanInput).Model.Digest != "given" ||
		w.inputs["BuildModel"].(pipeline.BuildModelInput).Pretrained.Digest != "given" {
		t.Errorf("%+v", w.inputs)
	}
}

func TestCompatReachesWhatMakesTheLabels(t *testing.T) {
	w := newWorld()
	if _, err := start(t, w, config(t, "compat=seed", "model.positions=128")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"PlanTokenize", "TokenizeShards"} {
		if in := w.inputs[name].(pipeline.TokenizeInput); in.Compat != pipeline.CompatSeed ||
			in.MaxLength != 128 {
			t.Errorf("%s: %+v", name, in)
		}
	}
	if in := w.inputs["Download"].(pipeline.DownloadInput); in.Source.Clean.Keep != pipeline.KeepFirst {
		t.Errorf("downloaded %+v", in.Source)
	}
}
