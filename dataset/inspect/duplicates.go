package inspect

import (
	"bytes"
	"cmp"
	"math/bits"
	"slices"

	"distilvit/dataset"
)

// Duplicates are the pictures that occur more than once.
type Duplicates struct {
	NearBits int `json:"near_bits"` // bits of 64 by which near duplicates differ at most

	Exact  int      `json:"exact_pictures"` // whose file is equal to another picture's
	Near   int      `json:"near_pictures"`  // that look like another picture whose file is not equal
	Across []Across `json:"across_splits"`  // what splits share
	Groups int      `json:"group_count"`
	List   []Group  `json:"groups"` // some of them: those across splits first, then the largest
}

// Across is what a held-out split shares with another: a model is judged by pictures that it has seen.
type Across struct {
	Split string  `json:"split"` // validation or test
	In    string  `json:"in"`    // the other: train, or validation
	Exact int     `json:"exact"` // its pictures whose file is there, too
	Near  int     `json:"near"`  // its pictures that are not, but look like one that is there
	Share float64 `json:"share"` // of both among its pictures, 0 to 1
}

// Group are pictures that are near duplicates of each other, or are joined by such.
type Group struct {
	Kind     string         `json:"kind"`   // GroupExact: all files are equal, or GroupNear
	Splits   []string       `json:"splits"` // that they are in
	Count    int            `json:"count"`
	Pictures []GroupPicture `json:"pictures"` // some of them, the first of every split among them
}

// Kinds of groups.
const (
	GroupExact = "exact" // one file, several times
	GroupNear  = "near"  // at least two files
)

// GroupPicture is a picture of a group.
type GroupPicture struct {
	ID       string `json:"id"`
	Split    string `json:"split"`
	Distance int    `json:"distance"` // bits in which it differs from the group's first
	Caption  string `json:"caption"`  // the first of it
	Number   int    `json:"-"`        // in the catalogue
}

// MaxNear is the most bits that Options.Near may be: beyond it pictures that have nothing in common
// are near, and finding them takes as long as comparing all with all.
const MaxNear = 16

const maxShown = 6 // pictures of a group

// splitSet has a bit for each split.
type splitSet uint8

func setOf(split int8) splitSet { return 1 << split }

// twins are pictures that look exactly alike: what is compared with others.
type twins struct {
	look  look
	first int      // of its pictures in the list of them all, sorted by look
	end   int      // behind the last
	has   splitSet // splits of its pictures
	near  splitSet // splits of the pictures that it looks like, its own too
	above int      // another of its group; itself: none (a union-find's parent)
}

// duplicates finds the pictures that occur more than once. It sorts pictures.
func duplicates(pictures []picture, c *dataset.Catalogue, o Options) (Duplicates, error) {
	slices.SortFunc(pictures, func(a, b picture) int {
		return cmp.Or(
			a.look.compare(b.look), bytes.Compare(a.digest[:], b.digest[:]), cmp.Compare(a.number, b.number),
		)
	})
	all := twinsOf(pictures)
	joinNear(all, o.Near)
	d := Duplicates{NearBits: o.Near, Across: []Across{}, List: []Group{}}
	groups := groupsOf(all)
	d.Groups = len(groups)
	exact := d.count(pictures, all, groups)
	d.across(pictures, all, exact)
	return d, d.list(pictures, all, groups, c, o.Top)
}

func (l look) compare(other look) int {
	return cmp.Or(cmp.Compare(l.hash, other.hash), bytes.Compare(l.colour[:], other.colour[:]))
}

// twinsOf gathers pictures that are sorted by look.
func twinsOf(pictures []picture) []twins {
	var all []twins
	for i, p := range pictures {
		if n := len(all); n == 0 || all[n-1].look != p.look {
			all = append(all, twins{look: p.look, first: i, above: n})
		}
		t := &all[len(all)-1]
		t.end = i + 1
		t.has |= setOf(p.split)
		t.near = t.has
	}
	return all
}

// hashed is one of a list of twins, by its number, with its hash.
type hashed struct {
	hash uint64
	twin int32
}

// joinNear joins all that are near each other. Hashes that differ in at most so many bits are
// equal in one of so many bands and one more, so that only those that share a band are compared.
func joinNear(all []twins, most int) {
	bands := most + 1
	order := make([]hashed, len(all))
	for i, t := range all {
		order[i] = hashed{t.look.hash, int32(i)}
	}
	for band := range bands {
		low, high := 64*band/bands, 64*(band+1)/bands
		mask := uint64(1)<<(high-low) - 1 // all bits where there is one band of 64
		key := func(h hashed) uint64 { return h.hash >> low & mask }
		slices.SortFunc(order, func(a, b hashed) int {
			return cmp.Or(cmp.Compare(key(a), key(b)), cmp.Compare(a.twin, b.twin))
		})
		for begin := 0; begin < len(order); {
			end := begin + 1
			for end < len(order) && key(order[end]) == key(order[begin]) {
				end++
			}
			joinPairs(all, order[begin:end], most)
			begin = end
		}
	}
}

func joinPairs(all []twins, band []hashed, most int) {
	for i, a := range band {
		for _, b := range band[i+1:] {
			if bits.OnesCount64(a.hash^b.hash) > most {
				continue
			}
			if x, y := &all[a.twin], &all[b.twin]; x.look.near(y.look, most) {
				x.near |= y.has
				y.near |= x.has
				join(all, int(a.twin), int(b.twin))
			}
		}
	}
}

func root(all []twins, i int) int {
	for all[i].above != i {
		all[i].above = all[all[i].above].above
		i = all[i].above
	}
	return i
}

func join(all []twins, a, b int) {
	a, b = root(all, a), root(all, b)
	all[max(a, b)].above = min(a, b)
}

// groupsOf are the groups of more than one picture, each a list of twins.
func groupsOf(all []twins) [][]int {
	members := map[int][]int{}
	for i := range all {
		r := root(all, i)
		members[r] = append(members[r], i)
	}
	var groups [][]int
	for i := range all {
		m := members[i]
		if len(m) > 1 || len(m) == 1 && all[i].end-all[i].first > 1 {
			groups = append(groups, m)
		}
	}
	return groups
}

// count counts the pictures of groups, and answers for each digest that occurs more than once its splits.
func (d *Duplicates) count(pictures []picture, all []twins, groups [][]int) map[[16]byte]splitSet {
	exact := map[[16]byte]splitSet{}
	for _, group := range groups {
		files := map[[16]byte]int{}
		for _, p := range picturesOf(pictures, all, group) {
			files[p.digest]++
			exact[p.digest] |= setOf(p.split)
		}
		for digest, n := range files {
			if n > 1 {
				d.Exact += n
			} else {
				delete(exact, digest)
			}
			if len(files) > 1 {
				d.Near += n
			}
		}
	}
	return exact
}

func picturesOf(pictures []picture, all []twins, group []int) []picture {
	var out []picture
	for _, i := range group {
		out = append(out, pictures[all[i].first:all[i].end]...)
	}
	return out
}

// across counts what held-out splits share with those before them.
func (d *Duplicates) across(pictures []picture, all []twins, exact map[[16]byte]splitSet) {
	for split := int8(1); int(split) < len(splits); split++ {
		for in := range split {
			a, of := Across{Split: splits[split], In: splits[in]}, 0
			for _, t := range all {
				for _, p := range pictures[t.first:t.end] {
					switch {
					case p.split != split:
						continue
					case exact[p.digest]&setOf(in) != 0:
						a.Exact++
					case t.near&setOf(in) != 0:
						a.Near++
					}
					of++
				}
			}
			if a.Exact+a.Near > 0 {
				a.Share = share(a.Exact+a.Near, of)
				d.Across = append(d.Across, a)
			}
		}
	}
}

// list takes the groups that are told: those across splits first, then the largest.
func (d *Duplicates) list(
	pictures []picture, all []twins, groups [][]int, c *dataset.Catalogue, top int,
) error {
	type ranked struct {
		pictures []picture
		splits   splitSet
	}
	list := make([]ranked, len(groups))
	for i, group := range groups {
		list[i].pictures = picturesOf(pictures, all, group)
		slices.SortFunc(list[i].pictures, func(a, b picture) int { return cmp.Compare(a.number, b.number) })
		for _, p := range list[i].pictures {
			list[i].splits |= setOf(p.split)
		}
	}
	slices.SortFunc(list, func(a, b ranked) int {
		return cmp.Or(
			cmp.Compare(len(b.splits.names()), len(a.splits.names())),
			cmp.Compare(len(b.pictures), len(a.pictures)),
			cmp.Compare(a.pictures[0].number, b.pictures[0].number),
		)
	})
	for _, r := range list[:min(top, len(list))] {
		g := Group{Kind: GroupExact, Splits: r.splits.names(), Count: len(r.pictures)}
		for _, p := range r.pictures {
			if p.digest != r.pictures[0].digest {
				g.Kind = GroupNear
			}
		}
		for _, p := range shown(r.pictures) {
			e, err := c.Example(int(p.number))
			if err != nil {
				return err
			}
			g.Pictures = append(g.Pictures, GroupPicture{
				ID: e.ID, Split: e.Split, Distance: p.look.distance(r.pictures[0].look),
				Caption: e.Captions[0], Number: int(p.number),
			})
		}
		d.List = append(d.List, g)
	}
	return nil
}

// shown are the pictures of a group that are told: of each split the first, then the others in order.
func shown(group []picture) []picture {
	var firsts, others []picture
	seen := splitSet(0)
	for _, p := range group {
		if seen&setOf(p.split) == 0 {
			firsts = append(firsts, p)
		} else {
			others = append(others, p)
		}
		seen |= setOf(p.split)
	}
	out := slices.Concat(firsts, others)
	return out[:min(maxShown, len(out))]
}

func (s splitSet) names() []string {
	var out []string
	for i, name := range splits {
		if s&setOf(int8(i)) != 0 {
			out = append(out, name)
		}
	}
	return out
}
