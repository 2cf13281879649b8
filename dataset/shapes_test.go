package dataset

import (
	"bytes"
	"context"
	"fmt"
	"image/png"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func listTestShapes(t testing.TB, s ShapesSpec, seed uint64) []Example {
	t.Helper()
	examples, _, err := List(context.Background(), Spec{Kind: "shapes", Shapes: s}, nil, seed)
	if err != nil {
		t.Fatal(err)
	}
	return examples
}

var usualShapes = ShapesSpec{Train: 4000, Validation: 300, Test: 1200, TestUnseen: 300}

// sceneKey is a scene's multiset of objects.
func sceneKey(objects []Object) string {
	words := make([]string, len(objects))
	for i, o := range objects {
		words[i] = o.Colour + " " + o.Shape
	}
	slices.Sort(words)
	return strings.Join(words, ", ")
}

// parseCaption reads a caption back, knowing the templates' words only.
func parseCaption(t *testing.T, caption string) []Object {
	t.Helper()
	text := caption
	for _, lead := range []string{
		"this picture shows ", "there is ", "there are ", "a picture of ", "you can see ",
	} {
		text = strings.TrimPrefix(text, lead)
	}
	var objects []Object
	for _, phrase := range strings.Split(text, " and ") {
		words := strings.Fields(phrase)
		if len(words) != 3 {
			t.Fatalf("%q: %q is not count, colour and shape", caption, phrase)
		}
		count := slices.Index(countWords, words[0])
		if count < 1 {
			t.Fatalf("%q: %q is no count", caption, words[0])
		}
		shape := ""
		for _, s := range shapes {
			if count == 1 && words[2] == s.name || count > 1 && words[2] == s.plural {
				shape = s.name
			}
		}
		for range count {
			objects = append(objects, Object{words[1], shape})
		}
	}
	return objects
}

func TestShapesCaptionsNameEveryObjectAndFitNoOtherScene(t *testing.T) {
	for _, e := range listTestShapes(t, usualShapes, 1) {
		if len(e.Captions) != 5 {
			t.Fatalf("%s has %d captions", e.ID, len(e.Captions))
		}
		for i, c := range e.Captions {
			if got, want := sceneKey(parseCaption(t, c)), sceneKey(e.Image.Scene.Objects); got != want {
				t.Fatalf("%s: %q reads as %s, shows %s", e.ID, c, got, want)
			}
			if slices.Contains(e.Captions[:i], c) {
				t.Fatalf("%s has %q twice", e.ID, c)
			}
			if n := len(strings.Fields(c)); n > 15 {
				t.Fatalf("%q has %d words", c, n)
			}
			if strings.ToLower(c) != c {
				t.Fatalf("%q is not lower case", c)
			}
		}
	}
}

func TestShapesSplitsShareNoScene(t *testing.T) {
	for _, s := range []ShapesSpec{usualShapes, {Train: 3000, Validation: 200, Test: 200, MaxObjects: 2},
		{Train: 500, Validation: 20, Test: 50, MaxObjects: 1}} {
		splits := map[string]string{}
		for _, e := range listTestShapes(t, s, 7) {
			key := sceneKey(e.Image.Scene.Objects)
			if was, ok := splits[key]; ok && was != e.Split {
				t.Fatalf("scene %s is in %s and %s", key, was, e.Split)
			}
			splits[key] = e.Split
		}
	}
}

func TestShapesTestSetHasAThousandScenesAndTrainingEveryOtherPair(t *testing.T) {
	scenes := map[string]bool{}
	pairs := map[string]map[Object]bool{Train: {}, Validation: {}, Test: {}}
	counts := map[string]int{}
	examples := listTestShapes(t, usualShapes, 3)
	for _, e := range examples {
		counts[e.Split+e.Group]++
		if e.Group == Seen {
			scenes[sceneKey(e.Image.Scene.Objects)] = true
		}
		for _, o := range e.Image.Scene.Objects {
			pairs[e.Split][o] = true
		}
	}
	if len(scenes) != 1200 {
		t.Errorf("1200 seen test pictures show %d scenes", len(scenes))
	}
	if want := map[string]int{
		"train": 4000, "validation": 300, "testseen": 1200, "testunseen": 300,
	}; !reflect.DeepEqual(counts, want) {
		t.Errorf("pictures: %v", counts)
	}
	if n := len(colours)*len(shapes) - len(heldOut); len(pairs[Train]) != n {
		t.Errorf("training shows %d combinations, not %d", len(pairs[Train]), n)
	}
	for _, o := range heldOut {
		if pairs[Train][o] || pairs[Validation][o] {
			t.Errorf("%v is held out, and shown", o)
		}
		if !pairs[Test][o] {
			t.Errorf("%v is not tested", o)
		}
	}
	for _, e := range examples {
		if e.Split != Test {
			continue
		}
		unseen := slices.ContainsFunc(e.Image.Scene.Objects, func(o Object) bool { return !pairs[Train][o] })
		if unseen != (e.Group == Unseen) {
			t.Fatalf("%s is in group %q", e.ID, e.Group)
		}
	}
}

func TestShapesTemplatesStayUnambiguousOnceBegun(t *testing.T) {
	// Two templates that begin alike would leave open, once begun, how they go on.
	for i, a := range templates {
		for _, b := range templates[i+1:] {
			if strings.TrimSuffix(a, "%") == strings.TrimSuffix(b, "%") {
				t.Errorf("%q and %q begin alike", a, b)
			}
		}
		if !strings.HasSuffix(a, "%") {
			t.Errorf("%q goes on after the objects", a)
		}
	}
}

func TestShapesAreAFunctionOfTheSeed(t *testing.T) {
	s := ShapesSpec{Train: 40, Validation: 10, Test: 10, TestUnseen: 10, ImageSize: 48}
	a, b := listTestShapes(t, s, 5), listTestShapes(t, s, 5)
	if !reflect.DeepEqual(a, b) {
		t.Fatal("the same seed lists other examples")
	}
	if reflect.DeepEqual(a, listTestShapes(t, s, 6)) {
		t.Fatal("another seed lists the same examples")
	}
	seen := map[string]bool{}
	for _, e := range a {
		x, err := e.Image.Scene.PNG()
		if err != nil {
			t.Fatal(err)
		}
		y, _ := e.Image.Scene.PNG()
		if !bytes.Equal(x, y) {
			t.Fatal("a scene is drawn in two ways")
		}
		im, err := png.DecodeConfig(bytes.NewReader(x))
		if err != nil || im.Width != 48 || im.Height != 48 {
			t.Fatalf("%v, %v", im, err)
		}
		seen[string(x)] = true
	}
	if len(seen) != len(a) {
		t.Errorf("%d examples, %d pictures", len(a), len(seen))
	}
}

func TestShapesObjectsDoNotTouch(t *testing.T) {
	for _, e := range listTestShapes(t, ShapesSpec{Train: 300}, 2) {
		s := e.Image.Scene
		objects, err := s.place(stream(s.Seed, "test", 0, 0))
		if err != nil {
			t.Fatal(err)
		}
		for i, o := range objects {
			for _, other := range objects[:i] {
				if math.Hypot(o.x-other.x, o.y-other.y) < o.radius+other.radius {
					t.Fatalf("%s: objects touch", e.ID)
				}
			}
			if o.radius < 0.1 {
				t.Errorf("%s: an object of radius %.3f", e.ID, o.radius)
			}
			if o.x-o.radius < 0 || o.y-o.radius < 0 || o.x+o.radius > 1 || o.y+o.radius > 1 {
				t.Errorf("%s: an object leaves the picture", e.ID)
			}
		}
	}
}

func TestShapesRefusesImpossibleSizes(t *testing.T) {
	for want, s := range map[string]ShapesSpec{
		"max_objects": {Train: 1, MaxObjects: 4},
		"image_size":  {Train: 1, ImageSize: 8},
		"negative":    {Train: -1},
		"no pictures": {},
	} {
		_, _, err := List(context.Background(), Spec{Kind: "shapes", Shapes: s}, nil, 1)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", s, err)
		}
	}
}

func BenchmarkScenePNG(b *testing.B) {
	scenes := listTestShapes(b, ShapesSpec{Train: 64}, 1)
	for i := 0; b.Loop(); i++ {
		if _, err := scenes[i%len(scenes)].Image.Scene.PNG(); err != nil {
			b.Fatal(err)
		}
	}
}

func ExampleList() {
	examples, _, _ := List(context.Background(), Spec{Kind: "shapes", Shapes: ShapesSpec{Train: 5}}, nil, 2)
	for _, c := range examples[0].Captions {
		fmt.Println(c)
	}
	// Output:
	// a cyan square and a pink square and a black circle
	// there is a cyan square and a pink square and a black circle
	// this picture shows a cyan square and a pink square and a black circle
	// a picture of a cyan square and a pink square and a black circle
	// you can see a cyan square and a pink square and a black circle
}
