package activities

import (
	"slices"
	"strings"
	"testing"

	"distilvit/artifact/record"
	"distilvit/pipeline"
)

// The folders above a file say who trained where: a card is for everybody.
func TestCardNamesNoFolderOfThisMachine(t *testing.T) {
	for from, want := range map[string]string{
		"/home/me/set/captions.csv":                       "captions.csv",
		"/home/me/annotations.zip#annotations/train.json": "annotations.zip#annotations/train.json",
		"https://example.org/captions.csv":                "https://example.org/captions.csv",
		"hf:datasets/org/name/data":                       "hf:datasets/org/name/data",
		"/home/me/captioner/":                             "captioner",
	} {
		if got := publicName(from); got != want {
			t.Errorf("%s is called %s, want %s", from, got, want)
		}
	}
	var r readable
	r.in.Sources = []pipeline.DownloadResult{
		{Digest: "d", Source: pipeline.SourceConfig{
			Kind: pipeline.KindFolder, Captions: "/home/me/c.csv", Images: pipeline.Paths{"/home/me/img"},
		}},
		{Source: pipeline.SourceConfig{Kind: pipeline.KindFolder, Images: pipeline.Paths{"/home/me/emoji"}}},
	}
	var names []string
	for _, d := range r.datasets() {
		names = append(names, d.Name)
	}
	if want := []string{"folder c.csv", "folder emoji"}; !slices.Equal(names, want) {
		t.Errorf("sources are called %q, want %q", names, want)
	}
	c := pipeline.Config{Model: pipeline.ModelConfig{Weights: "/home/me/captioner/"}}
	for text, want := range map[string]string{
		"open /home/me/captioner/model.safetensors: no such file": "open captioner/model.safetensors: no such file",
		"open /srv/x/part-1.parquet: unexpected EOF":              "open part-1.parquet: unexpected EOF",
		`"/srv/x/a.jpg", (/srv/x/b.jpg), /srv/x/`:                 `"a.jpg", (b.jpg), x`,
		"GET https://example.org/a/b.zip: 404":                    "GET https://example.org/a/b.zip: 404",
		"a dog and/or a cat / 3 of 7, 12/24/2026":                 "a dog and/or a cat / 3 of 7, 12/24/2026",
	} {
		if got := publicText(c, text); got != want {
			t.Errorf("%q is told as %q, want %q", text, got, want)
		}
	}
	models := startedFrom(pipeline.ModelConfig{Weights: "/home/me/captioner"})
	if !slices.Equal(models, []string{"captioner"}) {
		t.Errorf("base models are called %q", models)
	}
}

// publishesNoFolder publishes again what names folders of this machine wherever a run can name one, and
// looks for them in every published file.
func (b *bench) publishesNoFolder(in pipeline.PublishInput) {
	b.Helper()
	const planted = "planted-folder"
	folder := "/home/" + planted + "/deep in it"
	in.Name = "planted"
	in.Config.Dataset = []pipeline.SourceConfig{{
		Kind: pipeline.KindFolder, Captions: folder + "/c.csv", Images: pipeline.Paths{folder, folder + "/more"},
	}}
	in.Config.Model = pipeline.ModelConfig{
		Weights: folder + "/captioner", Encoder: folder + "/e", Decoder: folder + "/d", Tokenizer: folder + "/t",
	}
	in.Config.Publish = pipeline.PublishConfig{RepoID: "me/planted", License: "mit", Language: pipeline.Paths{"vi"}}
	in.Sources = []pipeline.DownloadResult{{Source: in.Config.Dataset[0], Digest: "d"}}
	in.Warnings = []string{"open " + folder + "/captioner/x: no", "a.jpg: open /srv/" + planted + "/a.jpg: gone"}
	in.Test.Samples = []record.Sample{{ImageID: folder + "/1.jpg", Caption: "c", References: []string{"r"}}}
	result := do[pipeline.Result](b, b.Publish, in)
	for _, name := range b.keys(result.Model + "/") {
		if strings.Contains(b.text(result.Model+"/"+name), planted+"/") {
			b.Errorf("%s names a folder of the machine that trained", name)
		}
	}
	card, page := b.text(result.Model+"/README.md"), b.text(result.Model+"/report.html")
	for _, says := range []string{
		"license: mit", "- vi", `path = "me/planted"`, "| Decoding | greedy: ", "captioner and e and d", "| deep in it/1.jpg |",
	} {
		if !strings.Contains(card, says) {
			b.Errorf("the card does not say %q:\n%s", says, card)
		}
	}
	for _, says := range []string{"captions: c.csv", "weights: captioner", "open a.jpg: gone", "greedy: "} {
		if !strings.Contains(page, says) {
			b.Errorf("the report does not say %q", says)
		}
	}
}
