package dataset

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// ShapesSpec sizes the generated source.
type ShapesSpec struct {
	Train      int `json:"train"`       // pictures
	Validation int `json:"validation"`  // pictures
	Test       int `json:"test"`        // pictures of scenes that do not occur in training or validation
	TestUnseen int `json:"test_unseen"` // test pictures with a colour and shape never combined elsewhere: group "unseen"
	MaxObjects int `json:"max_objects"` // objects a scene: 1 to 3; 0: 3
	ImageSize  int `json:"image_size"`  // side of the pictures, pixels; 0: 64
}

// Groups of kind shapes' test pictures.
const (
	Seen   = "seen"
	Unseen = "unseen"
)

// Object is one coloured shape of a scene.
type Object struct {
	Colour string `json:"colour"`
	Shape  string `json:"shape"`
}

// Scene is a generated picture: its objects and the seed of everything that
// captions do not name (sizes, places, shades, background).
type Scene struct {
	Side    int      `json:"side"` // pixels
	Seed    uint64   `json:"seed"`
	Objects []Object `json:"objects"` // sorted
}

const (
	minSide = 32 // below that, objects of three are a few pixels wide
	maxSide = 4096

	testShare       = 0.20 // of all scenes of combinations that training may show
	validationShare = 0.08
)

// countShare is the share of scenes with one, two and three objects.
var countShare = [3]float64{0.1, 0.3, 0.6}

// heldOut are the combinations that only the unseen test pictures show. No colour
// and no shape is in two of them, so training shows each in many others.
var heldOut = []Object{{"cyan", "star"}, {"pink", "triangle"}, {"black", "cross"}, {"yellow", "square"}}

// listShapes draws the scenes of all splits. Which scenes belong to which split is
// a function of the seed; no multiset of objects is in two splits.
func listShapes(spec Spec, seed uint64) ([]Example, []string, error) {
	s := spec.Shapes
	if s.MaxObjects == 0 {
		s.MaxObjects = 3
	}
	if s.ImageSize == 0 {
		s.ImageSize = 64
	}
	switch {
	case s.MaxObjects < 1 || s.MaxObjects > 3:
		return nil, nil, fmt.Errorf("shapes: max_objects is %d; must be 1 to 3", s.MaxObjects)
	case s.ImageSize < minSide || s.ImageSize > maxSide:
		return nil, nil, fmt.Errorf("shapes: image_size is %d; must be %d to %d", s.ImageSize, minSide, maxSide)
	case s.Train < 0 || s.Validation < 0 || s.Test < 0 || s.TestUnseen < 0:
		return nil, nil, fmt.Errorf("shapes: train, validation, test and test_unseen cannot be negative")
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
	var examples []Example
	var warnings []string
	for _, part := range []struct {
		pool, split string
		n           int
	}{{Train, Train, s.Train}, {Validation, Validation, s.Validation}, {Test, Test, s.Test}, {Unseen, Test, s.TestUnseen}} {
		if spec.Split != "" && spec.Split != part.split {
			continue
		}
		rng := rand.New(rand.NewPCG(seed, hash("shapes "+part.pool)))
		scenes := drawScenes(pools[part.pool], part.n, part.pool == Train, rng)
		if total := poolSize(pools[part.pool]); part.pool != Train && part.n > total {
			warnings = append(warnings, fmt.Sprintf("shapes: %d %s pictures show %d scenes, some several times", part.n, part.pool, total))
		}
		for i, objects := range scenes {
			e := Example{
				ID:       fmt.Sprintf("%s-%06d", part.pool, i),
				Captions: captionsOf(objects),
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
			examples = append(examples, e)
		}
	}
	if len(examples) == 0 {
		return nil, nil, fmt.Errorf("shapes: no pictures asked for; set shapes.train, shapes.validation and shapes.test")
	}
	return examples, warnings, nil
}

// scenePools deals every scene of up to maxObjects to train, validation, test or
// unseen; each pool by the number of objects.
func scenePools(maxObjects int, seed uint64) map[string][3][][]Object {
	var all []Object
	for _, c := range colours {
		for _, s := range shapes {
			all = append(all, Object{c.name, s.name})
		}
	}
	pools := map[string][3][][]Object{}
	var grow func(scene []Object, from int)
	grow = func(scene []Object, from int) {
		if len(scene) > 0 {
			p := poolOf(scene, seed)
			pool := pools[p]
			pool[len(scene)-1] = append(pool[len(scene)-1], slices.Clone(scene))
			pools[p] = pool
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

func poolSize(pool [3][][]Object) int { return len(pool[0]) + len(pool[1]) + len(pool[2]) }

// drawScenes answers n scenes, shares by number of objects as countShare says.
// With repeat, each class is gone through as often as its share asks; without, no
// scene is drawn twice before every other one was drawn.
func drawScenes(pool [3][][]Object, n int, repeat bool, rng *rand.Rand) [][]Object {
	total := 0.0
	for k := range pool {
		pool[k] = slices.Clone(pool[k])
		rng.Shuffle(len(pool[k]), func(i, j int) { pool[k][i], pool[k][j] = pool[k][j], pool[k][i] })
		if len(pool[k]) > 0 {
			total += countShare[k]
		}
	}
	if total == 0 || n == 0 {
		return nil
	}
	var scenes [][]Object
	var drawn [3]int
	take := func(k, count int) {
		for range count {
			scenes = append(scenes, pool[k][drawn[k]%len(pool[k])])
			drawn[k]++
		}
	}
	for k := range pool {
		if len(pool[k]) == 0 {
			continue
		}
		count := min(int(countShare[k]/total*float64(n)), n-len(scenes))
		if !repeat {
			count = min(count, len(pool[k]))
		}
		take(k, count)
	}
	for k := len(pool) - 1; k >= 0; k-- { // what is left over, from the largest class on
		if rest := n - len(scenes); len(pool[k]) > 0 {
			if repeat {
				take(k, rest)
			} else {
				take(k, min(rest, len(pool[k])-drawn[k]))
			}
		}
	}
	for i := 0; len(scenes) < n; i++ { // every scene is drawn: begin again
		scenes = append(scenes, scenes[i])
	}
	rng.Shuffle(len(scenes), func(i, j int) { scenes[i], scenes[j] = scenes[j], scenes[i] })
	return scenes
}
