package dataset

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// ShapesSpec sizes the generated source.
type ShapesSpec struct {
	Train      int `json:"train"`      // pictures
	Validation int `json:"validation"` // pictures
	Test       int `json:"test"`       // pictures of scenes that do not occur in training or validation

	// TestUnseen is test pictures that show a colour and a shape which no other picture
	// combines. They are group Unseen.
	TestUnseen int `json:"test_unseen"`

	MaxObjects int `json:"max_objects"` // objects a scene: 1 to 3; 0: 3
	ImageSize  int `json:"image_size"`  // side of the pictures, pixels; 0: 64

	Language string `json:"language,omitempty"` // of the captions: en, zh, ja, ar, th or vi; empty: en
}

// Groups of kind shapes' test pictures.
const (
	Seen   = "seen"   // its combinations of colour and shape occur in training
	Unseen = "unseen" // one of them does not
)

// Object is one coloured shape of a scene.
type Object struct {
	Colour string `json:"colour"` // English, whatever the captions' language: red
	Shape  string `json:"shape"`  // English: circle
}

// Scene is a generated picture: its objects and the seed of everything that
// captions do not name (sizes, places, shades, background).
type Scene struct {
	Side    int      `json:"side"`    // pixels
	Seed    uint64   `json:"seed"`    // of all that captions do not name
	Objects []Object `json:"objects"` // sorted
}

const (
	minSide = 32 // below that, objects of three are a few pixels wide
	maxSide = 4096

	testShare       = 0.20 // of all scenes of combinations that training may show
	validationShare = 0.08
)

// kinds of scenes: so many objects in so many groups of equal ones, and what share
// of the pictures shows one. Drawn evenly, few would show two equal objects.
var kinds = [...]struct {
	objects, groups int
	share           float64
}{{1, 1, 0.08}, {2, 1, 0.07}, {2, 2, 0.22}, {3, 1, 0.06}, {3, 2, 0.22}, {3, 3, 0.35}}

// pool is the scenes of a split, by kind.
type pool [len(kinds)][][]Object

// heldOut are the combinations that only the unseen test pictures show. No colour
// and no shape is in two of them, so training shows each in many others.
var heldOut = []Object{{"cyan", "star"}, {"pink", "triangle"}, {"black", "cross"}, {"yellow", "square"}}

// listShapes draws the scenes of all splits. Which scenes belong to which split is
// a function of the seed; no multiset of objects is in two splits.
func listShapes(spec Spec, seed uint64, g *gathering) error {
	s := spec.Shapes
	if s.MaxObjects == 0 {
		s.MaxObjects = 3
	}
	if s.ImageSize == 0 {
		s.ImageSize = 64
	}
	switch {
	case s.MaxObjects < 1 || s.MaxObjects > 3:
		return fmt.Errorf("shapes: max_objects is %d; must be 1 to 3", s.MaxObjects)
	case s.ImageSize < minSide || s.ImageSize > maxSide:
		return fmt.Errorf("shapes: image_size is %d; must be %d to %d", s.ImageSize, minSide, maxSide)
	case s.Train < 0 || s.Validation < 0 || s.Test < 0 || s.TestUnseen < 0:
		return fmt.Errorf("shapes: train, validation, test and test_unseen cannot be negative")
	}
	language, err := shapesLanguageOf(s.Language)
	if err != nil {
		return err
	}
	pools := scenePools(s.MaxObjects, seed)
	trained := map[Object]bool{}
	for _, scenes := range pools[Train] {
		for _, scene := range scenes {
			for _, o := range scene {
				trained[o] = true
			}
		}
	}
	for _, part := range []struct {
		pool, split string
		n           int
	}{
		{Train, Train, s.Train}, {Validation, Validation, s.Validation}, {Test, Test, s.Test},
		{Unseen, Test, s.TestUnseen},
	} {
		if spec.Split != "" && spec.Split != part.split {
			continue
		}
		rng := rand.New(rand.NewPCG(seed, hash("shapes "+part.pool)))
		scenes := pools[part.pool].draw(part.n, part.pool == Train, rng)
		if total := pools[part.pool].size(); part.pool != Train && part.n > total {
			g.noted = append(g.noted, fmt.Sprintf("shapes: %d %s pictures show %d scenes, some several times",
				part.n, part.pool, total))
		}
		for i, objects := range scenes {
			e := Example{
				ID:       fmt.Sprintf("%s-%06d", part.pool, i),
				Captions: language.captionsOf(objects),
				Split:    part.split,
				Image: ImageRef{File: -1, Scene: &Scene{
					Side: s.ImageSize, Objects: objects,
					Seed: mix(seed ^ hash(fmt.Sprintf("scene %s %d", part.pool, i))),
				}},
			}
			if part.split == Test {
				e.Group = Seen
				if slices.ContainsFunc(objects, func(o Object) bool { return !trained[o] }) {
					e.Group = Unseen
				}
			}
			if err := g.take(e); err != nil {
				return err
			}
		}
	}
	if len(g.at) == 0 {
		return fmt.Errorf(
			"shapes: no pictures asked for; set shapes.train, shapes.validation and shapes.test",
		)
	}
	return nil
}

// scenePools deals every scene of up to maxObjects to train, validation, test or
// unseen.
func scenePools(maxObjects int, seed uint64) map[string]*pool {
	var all []Object
	for _, c := range colours {
		for _, s := range shapes {
			all = append(all, Object{c.name, s.name})
		}
	}
	pools := map[string]*pool{Train: {}, Validation: {}, Test: {}, Unseen: {}}
	var grow func(scene []Object, from int)
	grow = func(scene []Object, from int) {
		if len(scene) > 0 {
			p := pools[poolOf(scene, seed)]
			k := kindOf(scene)
			p[k] = append(p[k], slices.Clone(scene))
		}
		if len(scene) == maxObjects {
			return
		}
		for i := from; i < len(all); i++ {
			grow(append(scene, all[i]), i)
		}
	}
	grow(nil, 0)
	return pools
}

func poolOf(scene []Object, seed uint64) string {
	var key strings.Builder
	for _, o := range scene {
		if slices.Contains(heldOut, o) {
			return Unseen
		}
		key.WriteString(" " + o.Colour + " " + o.Shape)
	}
	switch u := float64(mix(seed^hash(key.String()))>>11) / (1 << 53); {
	case u < testShare:
		return Test
	case u < testShare+validationShare:
		return Validation
	}
	return Train
}

func kindOf(scene []Object) int {
	groups := len(groupsOf(scene))
	for k, kind := range kinds {
		if kind.objects == len(scene) && kind.groups == groups {
			return k
		}
	}
	panic(fmt.Sprintf("no kind for a scene of %d objects in %d groups", len(scene), groups))
}

func (p *pool) size() int {
	n := 0
	for _, scenes := range p {
		n += len(scenes)
	}
	return n
}

// draw answers n scenes, by kind as the shares say. With repeat, each kind is gone
// through as often as its share asks; without, no scene is drawn twice before
// every other one was drawn.
func (p *pool) draw(n int, repeat bool, rng *rand.Rand) [][]Object {
	total := 0.0
	for k, scenes := range p {
		rng.Shuffle(len(scenes), func(i, j int) { scenes[i], scenes[j] = scenes[j], scenes[i] })
		if len(scenes) > 0 {
			total += kinds[k].share
		}
	}
	if total == 0 || n == 0 {
		return nil
	}
	var scenes [][]Object
	var drawn [len(kinds)]int
	take := func(k, count int) {
		if !repeat {
			count = min(count, len(p[k])-drawn[k])
		}
		for range min(count, n-len(scenes)) {
			scenes = append(scenes, p[k][drawn[k]%len(p[k])])
			drawn[k]++
		}
	}
	for k := range p {
		if len(p[k]) > 0 {
			take(k, int(kinds[k].share/total*float64(n)))
		}
	}
	for k := len(p) - 1; k >= 0; k-- { // what is left over, from the largest kind on
		if len(p[k]) > 0 {
			take(k, n)
		}
	}
	for i := 0; len(scenes) < n; i++ { // every scene is drawn: begin again
		scenes = append(scenes, scenes[i])
	}
	rng.Shuffle(len(scenes), func(i, j int) { scenes[i], scenes[j] = scenes[j], scenes[i] })
	return scenes
}
