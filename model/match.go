package model

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"distilvit/internal/spelling"
)

// Match lists the tensors that a pattern means, sorted. A pattern is the name of a tensor as Hugging Face has it, or
// its beginning up to a dot: encoder, decoder.transformer.wte, encoder.encoder.layer.0.attention. In it * stands for
// any characters, and 0-8 between dots for each number from 0 to 8. It may begin with one of the names that all
// kinds of encoders share instead (see aliases): encoder.layers.0-8, decoder.embeddings. A pattern that no tensor
// has, or one number of its range, is an error that names what is spelt like it.
func (c *Config) Match(pattern string) ([]string, error) { return c.MatchOf(pattern, c.Names()) }

// MatchOf is Match of these names instead of the network's.
func (c *Config) MatchOf(pattern string, names []string) ([]string, error) {
	var found []string
	for _, one := range eachNumber(pattern) {
		matched := c.matchOne(one, names)
		if matched == nil {
			return nil, c.noMatch(one, pattern, names)
		}
		found = append(found, matched...)
	}
	slices.Sort(found)
	return slices.Compact(found), nil
}

// aliases are names of parts that captioners have in common, and what they are called here.
func (c *Config) aliases() map[string][]string {
	e := c.Encoder.Names()
	layer := strings.TrimSuffix(e.Layer, ".%d.")
	embeddings := slices.DeleteFunc(
		[]string{e.ClassToken, e.DistillationToken, e.Positions, e.Patches, e.PreNorm},
		func(name string) bool { return name == "" })
	all := map[string][]string{"encoder.embeddings": embeddings, "encoder.layers": {layer}}
	if e.Norm != "" && c.Encoder.UnusedLayers == 0 {
		all["encoder.norm"] = []string{e.Norm}
	}
	if c.Kind == Prefix {
		trim := func(prefix string) []string { return []string{strings.TrimSuffix(prefix, ".")} }
		all["encoder"], all["projection"], all["decoder"] = trim(visionTower), trim(projectorRoot), trim(languageModel)
		all["decoder.embeddings"], all["decoder.norm"] = []string{llamaTokens}, []string{llamaNorm}
		all["decoder.layers"] = []string{llamaLayers}
		if c.GPT2 {
			all["decoder.embeddings"], all["decoder.norm"] = []string{gpt2Tokens, gpt2Positions}, []string{gpt2Norm}
			all["decoder.layers"] = []string{gpt2Layers}
		}
		return all
	}
	all["decoder.embeddings"] = []string{"decoder.transformer.wte", "decoder.transformer.wpe"}
	all["decoder.layers"], all["decoder.norm"] = []string{decoderLayers}, []string{"decoder.transformer.ln_f"}
	all["decoder.cross_attention"] = []string{decoderLayers + ".*.crossattention", decoderLayers + ".*.ln_cross_attn"}
	if c.Encoder.HiddenSize != c.Decoder.NEmbd {
		all["projection"] = []string{crossProjector}
	}
	return all
}

const decoderLayers = "decoder.transformer.h"

var numbers = regexp.MustCompile(`(^|\.)(\d{1,3})-(\d{1,3})(\.|$)`)

// eachNumber is a pattern for each number of its first range.
func eachNumber(pattern string) []string {
	at := numbers.FindStringSubmatchIndex(pattern)
	if at == nil {
		return []string{pattern}
	}
	first, _ := strconv.Atoi(pattern[at[4]:at[5]])
	last, _ := strconv.Atoi(pattern[at[6]:at[7]])
	if first > last {
		return []string{pattern} // which no tensor has
	}
	var all []string
	for n := first; n <= last; n++ {
		all = append(all, eachNumber(pattern[:at[4]]+strconv.Itoa(n)+pattern[at[7]:])...)
	}
	return all
}

func (c *Config) matchOne(pattern string, names []string) []string {
	forms := []string{pattern}
	for alias, real := range c.aliases() {
		if rest, ok := strings.CutPrefix(pattern+".", alias+"."); ok {
			for _, r := range real {
				forms = append(forms, strings.TrimSuffix(r+"."+rest, "."))
			}
		}
	}
	var found []string
	for _, form := range forms {
		re := regexp.MustCompile(`^` + strings.ReplaceAll(regexp.QuoteMeta(form), `\*`, `.*`) + `(\..*)?$`)
		for _, name := range names {
			if re.MatchString(name) {
				found = append(found, name)
			}
		}
	}
	return found
}

// noMatch says of a pattern, or one of the numbers it stands for, that no tensor has it, and what has.
func (c *Config) noMatch(one, pattern string, names []string) error {
	text := fmt.Sprintf("no tensor has the name %q", one)
	if one != pattern {
		text += fmt.Sprintf(" of %q", pattern)
	}
	var known []string
	for alias := range c.aliases() {
		known = append(known, alias)
	}
	for i := range c.Encoder.NumHiddenLayers - c.Encoder.UnusedLayers {
		known = append(known, fmt.Sprintf("encoder.layers.%d", i))
	}
	for i := range c.DecoderLayers() {
		known = append(known, fmt.Sprintf("decoder.layers.%d", i))
	}
	for _, name := range names {
		for i, r := range name {
			if r == '.' {
				known = append(known, name[:i])
			}
		}
		known = append(known, name)
	}
	slices.Sort(known)
	if near := spelling.Near(one, slices.Compact(known), 3); near != nil {
		return fmt.Errorf("%s; near ones are %s", text, strings.Join(near, ", "))
	}
	return fmt.Errorf("%s; they begin with encoder or decoder, such as %s", text, names[0])
}

// Depth is how far below the top of its tower a tensor lies: 0 of what comes after the layers (norms, projection,
// head), 1 of the last layer, and so on; of the embeddings one more than the layers are.
func (c *Config) Depth(name string) int {
	e := c.Encoder.Names()
	towers := []struct {
		layer      string
		layers     int
		embeddings []string
	}{
		{strings.TrimSuffix(e.Layer, "%d."), c.Encoder.NumHiddenLayers - c.Encoder.UnusedLayers, c.aliases()["encoder.embeddings"]},
		{c.aliases()["decoder.layers"][0] + ".", c.DecoderLayers(), c.aliases()["decoder.embeddings"]},
	}
	for _, t := range towers {
		if rest, ok := strings.CutPrefix(name, t.layer); ok {
			number, _, _ := strings.Cut(rest, ".")
			if n, err := strconv.Atoi(number); err == nil {
				return t.layers - n
			}
		}
		for _, prefix := range t.embeddings {
			if strings.HasPrefix(name+".", prefix+".") {
				return t.layers + 1
			}
		}
	}
	return 0
}
