package inspect

import (
	"bufio"
	_ "embed"
	"fmt"
	"io"
	"slices"
	"strings"

	"distilvit/metrics"
)

// Terms are words and phrases in groups, which are counted in captions.
type Terms []termList

type termList struct {
	group string
	terms []string
}

// TermGroup is how often the terms of one group are in captions.
type TermGroup struct {
	Group    string  `json:"group"`
	Captions int     `json:"captions"` // that have at least one of its terms
	Per1000  float64 `json:"per_1000"` // of those, in 1,000 captions
	Terms    []Term  `json:"terms"`    // that occur, the most frequent first
}

// Term is a word or phrase.
type Term struct {
	Term     string  `json:"term"`
	Captions int     `json:"captions"` // that have it
	Per1000  float64 `json:"per_1000"`
}

//go:embed terms_en.txt
var englishTerms string

// EnglishTerms is terms_en.txt: words of gender, origin and age.
func EnglishTerms() Terms {
	t, err := ReadTerms(strings.NewReader(englishTerms))
	if err != nil {
		panic(err) // it is ours
	}
	return t
}

// ReadTerms reads a list: a line [NAME] begins a group, every other line is a term of it, a word or
// several in a row. Lines that begin with # and empty ones are left out.
func ReadTerms(r io.Reader) (Terms, error) {
	var out Terms
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(strings.TrimPrefix(lines.Text(), "\ufeff"))
		name, closed := strings.CutSuffix(line, "]")
		name, opened := strings.CutPrefix(name, "[")
		switch {
		case line == "" || line[0] == '#':
		case opened && closed && strings.TrimSpace(name) != "":
			out = append(out, termList{group: strings.TrimSpace(name)})
		case len(out) == 0:
			return nil, fmt.Errorf("line %d: %q stands before the first [GROUP]", n, line)
		case len(metrics.UnicodeTokenize(line)) == 0:
			return nil, fmt.Errorf("line %d: %q has neither letter nor digit", n, line)
		default:
			last := &out[len(out)-1]
			last.terms = append(last.terms, line)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	for _, g := range out {
		if len(g.terms) == 0 {
			return nil, fmt.Errorf("group [%s] has no terms", g.group)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("has no [GROUP] with terms")
	}
	return out, nil
}

// termCounts counts captions with terms.
type termCounts struct {
	groups []termGroup
	begins map[string][]phrase // phrases by their first word
}

type termGroup struct {
	name     string
	captions int
	terms    []Term
}

// phrase is a term's words, and where it is counted.
type phrase struct {
	words       []string
	group, term int
}

func newTermCounts(list Terms) termCounts {
	c := termCounts{begins: map[string][]phrase{}}
	for i, g := range list {
		group := termGroup{name: g.group}
		seen := map[string]bool{}
		for _, text := range g.terms {
			words := metrics.UnicodeTokenize(text)
			term := strings.Join(words, " ")
			if seen[term] {
				continue
			}
			seen[term] = true
			c.begins[words[0]] = append(c.begins[words[0]], phrase{words, i, len(group.terms)})
			group.terms = append(group.terms, Term{Term: strings.ToLower(text)})
		}
		c.groups = append(c.groups, group)
	}
	return c
}

// add counts the words of one caption.
func (c *termCounts) add(words []string) {
	type place struct{ group, term int }
	found := map[place]bool{}
	for i, word := range words {
		for _, p := range c.begins[word] {
			end := i + len(p.words)
			if end > len(words) || !slices.Equal(words[i:end], p.words) || found[place{p.group, p.term}] {
				continue
			}
			found[place{p.group, p.term}] = true
			c.groups[p.group].terms[p.term].Captions++
			if any := (place{p.group, -1}); !found[any] {
				found[any] = true
				c.groups[p.group].captions++
			}
		}
	}
}

func (c *termCounts) report(captions int) []TermGroup {
	out := []TermGroup{}
	for _, g := range c.groups {
		r := TermGroup{
			Group: g.name, Captions: g.captions, Per1000: 1000 * share(g.captions, captions), Terms: []Term{},
		}
		for _, t := range g.terms {
			if t.Captions > 0 {
				t.Per1000 = 1000 * share(t.Captions, captions)
				r.Terms = append(r.Terms, t)
			}
		}
		slices.SortStableFunc(r.Terms, func(a, b Term) int { return b.Captions - a.Captions })
		out = append(out, r)
	}
	return out
}
