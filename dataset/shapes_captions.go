package dataset

import (
	"slices"
	"strings"
)

// templates make a scene's five captions in English. Each begins with words no other begins
// with, so that a caption once begun has one continuation. No caption has more than
// 15 words, so that with its end token it fills 16 labels. "%" stands for the
// groups, "is" agrees with the first.
var templates = []string{
	"%",
	"there is %",
	"this picture shows %",
	"a picture of %",
	"you can see %",
}

// countWords are the articles and numbers of a group.
var countWords = []string{"", "a", "two", "three"}

// group is equal objects and their number.
type group struct {
	Object
	count int
}

// captionsOf names every object's count, colour and shape in each caption. Groups
// stand in the order of the colours, then the shapes, so a scene has one wording
// per template and no wording fits two scenes.
func (l shapesLanguage) captionsOf(objects []Object) []string {
	groups := groupsOf(objects)
	phrases := make([]string, len(groups))
	for i, g := range groups {
		phrases[i] = l.group(g)
	}
	captions := make([]string, len(l.templates))
	for i, text := range l.templates {
		if groups[0].count > 1 {
			text = strings.Replace(text, "there is", "there are", 1)
		}
		captions[i] = strings.Replace(text, "%", strings.Join(phrases, l.and), 1)
	}
	return captions
}

func (g group) String() string {
	noun := g.Shape
	if g.count > 1 {
		noun = pluralOf(g.Shape)
	}
	return countWords[g.count] + " " + g.Colour + " " + noun
}

// groupsOf counts equal objects, in the order of the colours, then the shapes.
func groupsOf(objects []Object) []group {
	var groups []group
	for _, o := range objects {
		i := slices.IndexFunc(groups, func(g group) bool { return g.Object == o })
		if i < 0 {
			i = len(groups)
			groups = append(groups, group{Object: o})
		}
		groups[i].count++
	}
	slices.SortFunc(groups, func(a, b group) int { return rank(a.Object) - rank(b.Object) })
	return groups
}

// rank is an object's place in the order of groups.
func rank(o Object) int {
	c := slices.IndexFunc(colours, func(c colour) bool { return c.name == o.Colour })
	s := slices.IndexFunc(shapes, func(s shape) bool { return s.name == o.Shape })
	return c*len(shapes) + s
}
