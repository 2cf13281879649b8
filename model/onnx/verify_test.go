package onnx

import (
	"context"
	"distilvit/artifact/record"
	"distilvit/metrics"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"distilvit/model"
)

// words writes ids as a caption that ROUGE can score.
func words(ids []int32) string {
	var w []string
	for _, id := range ids {
		w = append(w, fmt.Sprintf("w%d", id))
	}
	return strings.Join(w, " ")
}

// examples are n pictures whose reference is the model's own caption, so that the model scores 100.
func examples(t *testing.T, ref *model.Captioner, n int) iter.Seq2[Example, error] {
	t.Helper()
	var all []Example
	for i := range n {
		pixels := picture(i, 32)
		ids, err := ref.Generate(pixels, 1, model.GenerateOptions{MaxLength: testMaxLength, NumBeams: 1})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, Example{
			ID: fmt.Sprintf("picture-%d", i), Pixels: pixels, References: []string{words(ids[0])},
		})
	}
	return func(yield func(Example, error) bool) {
		reused := make([]uint8, 32*32*3)
		for _, e := range all {
			copy(reused, e.Pixels)
			if !yield(Example{e.ID, reused, e.References}, nil) {
				return
			}
		}
	}
}

func TestVerifyPassesAFaithfulExport(t *testing.T) {
	c := testConfig(32, 32)
	w := lively(c, 7)
	ref, dir := captioner(t, c, w), export(t, c, w, "fp32")
	n := verifyBatch + 3
	check, err := Verify(t.Context(), runtimeLibrary(t), dir, "fp32", ref, examples(t, ref, n), words,
		VerifyOptions{Generate: greedy})
	if err != nil {
		t.Fatal(err)
	}
	if check.Pictures != n || check.EqualIDs != n || check.RougeL != 100 || check.ModelRougeL != 100 ||
		check.MaxLogitsDiff > 1e-4 || check.MaxLogitsDiff == 0 {
		t.Errorf("check %+v", check)
	}
	if check.Bytes < 100_000 {
		t.Errorf("%d bytes", check.Bytes)
	}
}

// One damaged weight is found, and the error shows where captions differ.
func TestVerifyFailsOnADamagedWeight(t *testing.T) {
	c := testConfig(32, 32)
	w := lively(c, 7)
	ref := captioner(t, c, w)
	all := examples(t, ref, 4)
	damaged := lively(c, 7)
	for i := range 32 {
		damaged["decoder.transformer.h.0.crossattention.c_proj.weight"].Data[i] *= -3
	}
	for dtype, want := range map[string]string{
		"fp32": "the fp32 export differs from the model: token ids equal on ",
		"q8":   "the q8 export captions worse than the model: rougeL ",
		"fp16": "the fp16 export captions worse than the model: rougeL ",
		"q4":   "the q4 export captions worse than the model: rougeL ",
	} {
		dir := export(t, c, damaged, dtype)
		check, err := Verify(t.Context(), runtimeLibrary(t), dir, dtype, ref, all, words,
			VerifyOptions{Generate: greedy})
		var worse *VerifyError
		if !errors.As(err, &worse) {
			t.Fatalf("%s: error %v, want a *VerifyError", dtype, err)
		}
		if !reflect.DeepEqual(check, worse.Check) || check.Pictures != 4 {
			t.Errorf("%s: check %+v, the error's %+v", dtype, check, worse.Check)
		}
		message := err.Error()
		if !strings.HasPrefix(message, want) || !strings.Contains(message, "picture-") ||
			!strings.Contains(message, "logits differ") ||
			strings.Contains(message, "leave "+dtype+" out (export.dtypes)") != (dtype != "fp32") {
			t.Errorf("%s: message\n%s", dtype, message)
		}
	}
}

// A small change that leaves the captions alone still shows in fp32's logits.
func TestVerifyFailsOnLogitsAlone(t *testing.T) {
	c := testConfig(32, 32)
	w := lively(c, 7)
	ref := captioner(t, c, w)
	all := examples(t, ref, 2)
	damaged := lively(c, 7)
	for i := range damaged["decoder.transformer.ln_f.weight"].Data {
		damaged["decoder.transformer.ln_f.weight"].Data[i] *= 1.01
	}
	_, err := Verify(t.Context(), runtimeLibrary(t), export(t, c, damaged, "fp32"), "fp32", ref, all, words,
		VerifyOptions{Generate: greedy})
	var worse *VerifyError
	if !errors.As(err, &worse) || worse.Check.MaxLogitsDiff < 1e-3 {
		t.Errorf("error %v", err)
	}
}

func TestVerifyFailsOnADamagedFile(t *testing.T) {
	c := testConfig(32, 32)
	w := lively(c, 7)
	ref, dir := captioner(t, c, w), export(t, c, w, "fp32")
	path := filepath.Join(dir, DecoderFile("fp32"))
	if err := os.Truncate(path, 20_000); err != nil {
		t.Fatal(err)
	}
	_, err := Verify(t.Context(), runtimeLibrary(t), dir, "fp32", ref, examples(t, ref, 1), words,
		VerifyOptions{Generate: greedy})
	if err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v, want one that names %s", err, path)
	}
}

func TestVerifyNeedsPicturesAndStopsWhenAsked(t *testing.T) {
	c := testConfig(32, 32)
	w := lively(c, 7)
	ref, dir := captioner(t, c, w), export(t, c, w, "q8")
	none := func(func(Example, error) bool) {}
	if _, err := Verify(t.Context(), runtimeLibrary(t), dir, "q8", ref, none, words,
		VerifyOptions{Generate: greedy}); err == nil {
		t.Error("no pictures was no error")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Verify(ctx, runtimeLibrary(t), dir, "q8", ref, examples(t, ref, 2), words,
		VerifyOptions{Generate: greedy}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v after cancel", err)
	}
}

// Pixel values are those of Hugging Face's processor: x·(1/255) in float64, the rest in float32.
func TestPixelValuesAreHuggingFaces(t *testing.T) {
	got := PixelValues([]uint8{0, 128, 255, 7, 8, 9}, model.Normalization{
		Mean: [3]float32{0.48145466, 0.4578275, 0.40821073},
		Std:  [3]float32{0.26862954, 0.26130258, 0.27577711},
	})
	// transformers 4.57.1, ViTImageProcessor(do_resize=False, image_mean=…, image_std=…), dtype float32
	want := []float32{-1.7922626, -1.6900735, 0.16889732, -1.6320349, 2.145897, -1.3522393}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("value %d is %.9g, want %.9g", i, got[i], want[i])
		}
	}
}

func TestVerifyBoundsTheShareOfOtherCaptionsWhateverTheirLanguage(t *testing.T) {
	judge := func(dtype string, equal int, o VerifyOptions, reference, export string) error {
		v := &verification{options: o.withDefaults(dtype), check: record.ExportCheck{Dtype: dtype}}
		for i := range 10 {
			v.check.Pictures++
			caption := reference
			if i < equal {
				v.check.EqualIDs++
			} else {
				caption = export
			}
			v.captions = append(v.captions, metrics.Prediction{
				Caption: caption, References: []string{reference},
			})
			v.modelCaptions = append(v.modelCaptions, metrics.Prediction{
				Caption: reference, References: []string{reference},
			})
		}
		_, err := v.finish()
		return err
	}
	all := VerifyOptions{MaxRougeDrop: 99}
	for _, c := range []struct {
		dtype   string
		equal   int
		options VerifyOptions
		want    string // of the error; none: it passes
	}{
		{"q8", 10, all, ""},
		{"q8", 7, all, ""},
		{"q8", 6, all, "token ids equal on 6 of 10 pictures (at least 70 % must be)"},
		{"q8", 6, VerifyOptions{MaxRougeDrop: 99, MinEqual: 0.5}, ""},
		{"q8", 0, VerifyOptions{MaxRougeDrop: 100}, ""},
		{"q8", 9, VerifyOptions{MaxRougeDrop: 100, MinEqual: 0.95}, "at least 95 % must be"},
		{"q8", 9, VerifyOptions{}, "rougeL 90.00, the model's is 100.00 (at most 0.50 less)"},
		{"fp16", 8, all, "at least 90 % must be"},
		{"q4", 5, all, ""},
		{"q4f16", 4, all, "at least 50 % must be"},
		{"q4", 9, VerifyOptions{MaxRougeDrop: 5}, ""},
		{"q4", 9, VerifyOptions{}, "rougeL 90.00, the model's is 100.00 (at most 1.00 less)"},
	} {
		err := judge(c.dtype, c.equal, c.options, "一个红色的圆形", "两只小狗")
		if c.want == "" && err != nil ||
			c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s, %d equal, %+v: %v, want %q", c.dtype, c.equal, c.options, err, c.want)
		}
	}
}

// Of the captions that differ those least alike are kept, and none that reads the same.
func TestVerifyKeepsTheMostDifferentCaptions(t *testing.T) {
	v := &verification{check: record.ExportCheck{Dtype: "q8"}}
	for i := range record.MostDifferences + 3 {
		d := Difference{ID: fmt.Sprint(i), Model: "a red star", Export: "a red circle"}
		switch i {
		case 4:
			d.Export = "two blue rings"
		case 5:
			d.Export = d.Model // other tokens for the same text
		}
		v.captions = append(v.captions, metrics.Prediction{Caption: d.Export, References: []string{d.Model}})
		v.differences = append(v.differences, d)
	}
	got := v.mostDifferent()
	if len(got) != record.MostDifferences || got[0].ImageID != "4" || got[0].RougeL != 0 || got[0].Export != "two blue rings" {
		t.Fatalf("%+v", got)
	}
	for _, d := range got[1:] {
		if d.Export != "a red circle" || d.RougeL < 66 || d.RougeL > 67 {
			t.Errorf("%+v", d)
		}
	}
}
