package inspect

import (
	"cmp"
	"slices"
	"unicode"
)

// Script is a writing system with its share of the captions.
type Script struct {
	Script   string  `json:"script"`   // Unicode's name: Latin, Han
	Letters  int     `json:"letters"`  // in all captions
	Share    float64 `json:"share"`    // of all letters, 0 to 1
	Captions int     `json:"captions"` // most of whose letters are of it

	// ASCII is the share of a-z among Latin letters: 1 in English, 0.97 in French, 0.75 in Vietnamese.
	ASCII float64 `json:"ascii_share"`
}

// scripts counts the letters of captions.
type scripts struct {
	names    []string
	letters  map[string]int
	ascii    int
	captions map[string]int
	without  int
	found    map[rune]string
}

func newScripts() scripts {
	s := scripts{letters: map[string]int{}, captions: map[string]int{}, found: map[rune]string{}}
	for name := range unicode.Scripts {
		s.names = append(s.names, name)
	}
	slices.Sort(s.names)
	return s
}

func (s *scripts) add(text string) {
	counts := map[string]int{}
	for _, r := range text {
		if !unicode.IsLetter(r) {
			continue
		}
		counts[s.of(r)]++
		if r < 0x80 {
			s.ascii++
		}
	}
	mainly, most := "", 0
	for name, n := range counts {
		s.letters[name] += n
		if n > most || n == most && name < mainly {
			mainly, most = name, n
		}
	}
	if most == 0 {
		s.without++
		return
	}
	s.captions[mainly]++
}

// of is a letter's script. Letters of several, such as the mark of length of both kana, are Common.
func (s *scripts) of(r rune) string {
	if r < 0x80 {
		return "Latin"
	}
	name, known := s.found[r]
	if !known {
		i := slices.IndexFunc(s.names, func(name string) bool { return unicode.Is(unicode.Scripts[name], r) })
		name = "Unknown"
		if i >= 0 {
			name = s.names[i]
		}
		s.found[r] = name
	}
	return name
}

func (s *scripts) report() (list []Script, without int) {
	total := 0
	for _, n := range s.letters {
		total += n
	}
	list = []Script{}
	for name, n := range s.letters {
		script := Script{Script: name, Letters: n, Share: share(n, total), Captions: s.captions[name]}
		if name == "Latin" {
			script.ASCII = share(s.ascii, n)
		}
		list = append(list, script)
	}
	slices.SortFunc(list, func(a, b Script) int {
		return cmp.Or(cmp.Compare(b.Letters, a.Letters), cmp.Compare(a.Script, b.Script))
	})
	return list, s.without
}
