package model

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

const llavaDir = "testdata/llava/"

func TestLlavaConfigSurvivesWritingAndReading(t *testing.T) {
	for _, name := range []string{"siglip", "clip"} {
		c, err := ReadConfig(llavaDir + name)
		if err != nil {
			t.Fatal(err)
		}
		if c.Kind != Prefix || c.PrefixLength() != 4 || c.Positions() != 60 || c.Llama.NumKeyValueHeads == c.Llama.NumAttentionHeads ||
			c.ImageTokenID != 0 || c.EOSTokenID != 39 || c.PadTokenID != 39 || c.DecoderStartTokenID != 39 {
			t.Errorf("%s: got %+v", name, c)
		}
		dir := t.TempDir()
		if err := c.WriteFile(dir); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadConfig(dir); err != nil || !reflect.DeepEqual(got, c) {
			t.Errorf("%s: got %+v, %v instead of %+v", name, got, err, c)
		}
	}
	for _, name := range []string{"gpt2", "gpt2-shuffle"} {
		c, err := ReadConfig(llavaDir + name)
		if err != nil {
			t.Fatal(err)
		}
		if c.Kind != Prefix || !c.GPT2 || c.HasLlama() || c.PrefixLength() != 4 || c.Positions() != 60-len(c.PromptIDs) ||
			c.EOSTokenID != 39 || c.TieWordEmbeddings != (name == "gpt2") || c.Decoder.ScaleByLayer == (name == "gpt2") {
			t.Errorf("%s: got %+v", name, c)
		}
		dir := t.TempDir()
		if err := c.WriteFile(dir); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadConfig(dir); err != nil || !reflect.DeepEqual(got, c) {
			t.Errorf("%s: got %+v, %v instead of %+v", name, got, err, c)
		}
	}
	made, _ := Preset("modern-base")
	made.SetSpecialToken(0)
	dir := t.TempDir()
	if err := made.WriteFile(dir); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadConfig(dir); err != nil || !reflect.DeepEqual(*got, made) {
		t.Errorf("got %+v, %v instead of %+v", got, err, made)
	}
	if made.ImageTokenID != 1 || made.Positions() != 8192-196 {
		t.Errorf("the picture's token is %d, captions have %d at most", made.ImageTokenID, made.Positions())
	}
}

// The names in memory of transformers 4.57, which some files have, are those of save_pretrained without them.
func TestLlavaOfNewerNamesIsRead(t *testing.T) {
	for _, name := range []string{"siglip", "clip", "gpt2"} {
		c, err := ReadConfig(llavaDir + name)
		if err != nil {
			t.Fatal(err)
		}
		want, err := ReadWeights(llavaDir+name, c)
		if err != nil {
			t.Fatal(err)
		}
		newer := Weights{"model.language_model.layers.0.self_attn.rotary_emb.inv_freq": {Shape: []int{1}, Data: []float32{1}}}
		for name, x := range want {
			newer[c.inMemory(name)] = x
		}
		if newer["model.language_model.embed_tokens.weight"] == nil && newer["model.language_model.wte.weight"] == nil ||
			newer["model.multi_modal_projector.linear_1.bias"] == nil {
			t.Fatalf("no names of memory: %v", newer)
		}
		dir := t.TempDir()
		if err := WriteWeights(filepath.Join(dir, weightsName), newer, nil); err != nil {
			t.Fatal(err)
		}
		got, err := ReadWeights(dir, c)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: other weights", name)
		}
	}
}

func TestLlavasThatAreNotSupportedAreRefused(t *testing.T) {
	raw, err := os.ReadFile(llavaDir + "siglip/config.json")
	if err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(top, vision, text map[string]any){
		"set vision_config.tie_last_hidden_states to true": func(_, v, _ map[string]any) { delete(v, "tie_last_hidden_states") },
		"a SigLIP has none": func(top, _, _ map[string]any) { top["vision_feature_select_strategy"] = "default" },
		"vision_feature_layer is [-2,-5]; only one": func(top, _, _ map[string]any) {
			top["vision_feature_layer"] = []int{-2, -5}
		},
		"vision_feature_layer is -3; must be from -2 to -1":          func(top, _, _ map[string]any) { top["vision_feature_layer"] = -3 },
		`text_config.model_type is "mistral"; must be llama or gpt2`: func(_, _, x map[string]any) { x["model_type"] = "mistral" },
		"text_config.add_cross_attention is true; must be false": func(_, _, x map[string]any) {
			x["model_type"], x["add_cross_attention"] = "gpt2", true
		},
		"text_config.n_positions is 5, and a picture's vectors take 4": func(_, _, x map[string]any) {
			x["model_type"], x["n_positions"] = "gpt2", 5
		},
		"text_config.n_head is 7; must divide n_embd 768": func(_, _, x map[string]any) {
			x["model_type"], x["n_head"] = "gpt2", 7
		},
		`rope_type is "yarn"; must be default, linear, dynamic or llama3`: func(_, _, x map[string]any) {
			x["rope_scaling"] = map[string]any{"type": "yarn", "factor": 2}
		},
		"factor is 0; must be at least 1": func(_, _, x map[string]any) {
			x["rope_scaling"] = map[string]any{"rope_type": "linear"}
		},
		"num_key_value_heads is 3; must divide": func(_, _, x map[string]any) { x["num_key_value_heads"] = 3 },
		"head_dim is 3; must be even":           func(_, _, x map[string]any) { x["head_dim"] = 3 },
		`hidden_act is "relu"; must be silu`:    func(_, _, x map[string]any) { x["hidden_act"] = "relu" },
		"max_position_embeddings is 5, and a picture's vectors take 4": func(_, _, x map[string]any) {
			x["max_position_embeddings"] = 5
		},
		`projector_hidden_act is "tanh"; must be linear or one of`: func(top, _, _ map[string]any) {
			top["projector_hidden_act"] = "tanh"
		},
		"image_token_index is 40; must be from 0 to below vocab_size 40": func(top, _, _ map[string]any) {
			top["image_token_index"] = 40
		},
	} {
		var top map[string]any
		if err := json.Unmarshal(raw, &top); err != nil {
			t.Fatal(err)
		}
		change(top, top["vision_config"].(map[string]any), top["text_config"].(map[string]any))
		changed, err := json.Marshal(top)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, configName), changed, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadConfig(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

// A SigLIP and a Llama, or a GPT-2, apart make a captioner of their weights and a drawn projection.
func TestEncoderAndDecoderAreJoined(t *testing.T) {
	for _, name := range []string{"siglip", "gpt2"} {
		t.Run(name, func(t *testing.T) { joinedParts(t, llavaDir+name) })
	}
	for _, p := range []Parts{{Projection: ProjectionMLP}, {ScaleFactor: 2}} {
		p.Encoder, p.Decoder = partsDir+"/encoder", partsDir+"/decoder"
		_, err := p.ReadConfig()
		if err == nil || !strings.Contains(err.Error(), "only") || !strings.Contains(err.Error(), "the kind prefix") {
			t.Errorf("a GPT-2 with cross-attention and %+v: %v", p, err)
		}
	}
}

// joinedParts takes dir's captioner apart and joins it again.
func joinedParts(t *testing.T, from string) {
	c, err := ReadConfig(from)
	if err != nil {
		t.Fatal(err)
	}
	w, err := ReadWeights(from, c)
	if err != nil {
		t.Fatal(err)
	}
	var whole struct {
		Text   map[string]any `json:"text_config"`
		Vision map[string]any `json:"vision_config"`
	}
	if err := readConfigFile(from, &whole); err != nil {
		t.Fatal(err)
	}
	encoder, decoder := t.TempDir(), t.TempDir()
	for dir, part := range map[string]struct {
		config map[string]any
		prefix string
	}{encoder: {whole.Vision, visionTower}, decoder: {whole.Text, languageModel}} {
		own := Weights{}
		for name, x := range w {
			if rest, ok := strings.CutPrefix(name, part.prefix); ok {
				own[rest] = x
			}
		}
		config, err := json.Marshal(part.config)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, configName), config, 0o644)
		}
		if err == nil {
			err = WriteWeights(filepath.Join(dir, weightsName), own, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, projection := range append(Projections(), "") {
		joined, got, err := Parts{Encoder: encoder, Decoder: decoder, Prefix: c.GPT2, Projection: projection}.Read(3)
		if err != nil {
			t.Fatal(err)
		}
		if err := got.Check(joined); err != nil {
			t.Error(err)
		}
		want := *c
		if want.setImageToken(); projection == ProjectionLinear {
			want.Projector.HiddenAct = linearAct
		}
		if !reflect.DeepEqual(*joined, want) {
			t.Errorf("%q: got %+v instead of %+v", projection, *joined, want)
		}
		for name, x := range got {
			if !strings.HasPrefix(name, projectorRoot) && !slices.Equal(x.Data, w[name].Data) {
				t.Errorf("%q: %s is another one", projection, name)
			}
		}
		second := got[projectorOut+".weight"].Data
		if identity := second[0] == 1 && second[1] == 0 && second[17] == 1; identity != (projection == ProjectionLinear) {
			t.Errorf("%q: the second layer begins with %v", projection, second[:3])
		}
	}
}

// Parts of a prefix captioner have the names that all captioners share.
func TestPartsOfAPrefixAreNamed(t *testing.T) {
	c, err := ReadConfig(llavaDir + "clip")
	if err != nil {
		t.Fatal(err)
	}
	for pattern, want := range map[string]int{
		"encoder": 2*16 + 5, "projection": 4, "decoder": 1 + 2*16 + 2, "decoder.layers.0-1": 2 * 16, "decoder.embeddings": 1,
		"decoder.norm": 1, "encoder.layers.1": 16,
	} {
		if got, err := c.Match(pattern); err != nil || len(got) != want {
			t.Errorf("%s: %d tensors instead of %d: %v, %v", pattern, len(got), want, got, err)
		}
	}
	gpt2, err := ReadConfig(llavaDir + "gpt2")
	if err != nil {
		t.Fatal(err)
	}
	for pattern, want := range map[string]int{
		"decoder": 2 + 2*12 + 2, "decoder.layers.0-1": 2 * 12, "decoder.embeddings": 2, "decoder.norm": 2,
	} {
		if got, err := gpt2.Match(pattern); err != nil || len(got) != want {
			t.Errorf("of a GPT-2 %s: %d tensors instead of %d: %v, %v", pattern, len(got), want, got, err)
		}
	}
	var l LoRA
	beside, err := l.Modules(gpt2)
	if want := []string{"language_model.model.h.0.attn.c_attn", "language_model.model.h.1.attn.c_attn"}; err != nil ||
		!slices.Equal(beside, want) {
		t.Errorf("adapters beside %v, %v", beside, err)
	}
	modules, err := l.Modules(c)
	if err != nil || len(modules) != 4 || modules[0] != "language_model.model.layers.0.self_attn.q_proj" {
		t.Errorf("adapters beside %v, %v", modules, err)
	}
	if got := c.Depth("language_model.model.layers.0.mlp.up_proj.weight"); got != 2 {
		t.Errorf("the first of two layers is %d deep", got)
	}
}

// A matrix of the decoder multiplies the picture's vectors and the captions' tokens: its moments are of both.
func TestMomentsAreOfPicturesAndCaptions(t *testing.T) {
	g := readGolden(t, "llava/siglip")
	ids, real := make([]int32, len(g.Labels)), make([]float32, len(g.Labels))
	for i, id := range g.Labels {
		if ids[i] = max(id, 0); id >= 0 {
			real[i] = 1
		}
	}
	at := func(name string, real []float32) float64 {
		b := Observed{g.pixels, ids, real}
		return observedMoments(t, g.config, g.weights, g.Captions, b)[name].Sum[0]
	}
	none := make([]float32, len(real))
	for name, both := range map[string]bool{
		"language_model.model.layers.0.mlp.up_proj.weight": true, "language_model.model.layers.1.mlp.up_proj.weight": false,
		"language_model.model.layers.1.self_attn.k_proj.weight": true,
		"multi_modal_projector.linear_1.weight":                 true,
	} {
		pictures, all := at(name, none), at(name, real)
		captions := all > pictures || strings.HasPrefix(name, projectorRoot) && all == pictures
		if (pictures > 0) != both || !captions {
			t.Errorf("%s: %v of pictures, %v in all", name, pictures, all)
		}
	}
}
