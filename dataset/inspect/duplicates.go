package inspect

import (
	"cmp"
	"context"
	"iter"
	"math"
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

// alike are the pictures of a dataset, those that look exactly alike together: such twins are compared with others.
type alike struct {
	pictures *sortedList // by look, digest and number
	first    []int32     // by twins: the first of their pictures in the list; at the end, behind all: how many there are
	has      []splitSet  // by twins: splits of their pictures
	near     []splitSet  // by twins: splits of the pictures that they look like, their own too
	above    []int32     // by twins: others of their group; themselves: none (a union-find's parents)
	order    []hashed    // all twins
}

// hashed are twins, by their number, with their hash.
type hashed struct {
	hash uint64
	twin int32
}

// duplicates finds the pictures that occur more than once.
func duplicates(ctx context.Context, pictures *sortedList, c *dataset.Catalogue, o Options) (Duplicates, error) {
	d := Duplicates{NearBits: o.Near, Across: []Across{}, List: []Group{}}
	all, err := twinsOf(pictures)
	if err != nil {
		return d, err
	}
	if err := all.joinNear(ctx, o.Near, blocksFor(len(all.has), o.Near), o.Compared); err != nil {
		return d, err
	}
	all.order = nil
	groups := all.groups()
	d.Groups = len(groups)
	exact, ranked, err := d.count(all, groups)
	if err != nil {
		return d, err
	}
	if err := d.across(all, exact); err != nil {
		return d, err
	}
	return d, d.list(all, ranked, c, o.Top)
}

// twinsOf gathers pictures that are sorted by look.
func twinsOf(pictures *sortedList) (*alike, error) {
	n := pictures.n
	all := &alike{
		pictures: pictures, first: make([]int32, 0, n+1), above: make([]int32, 0, n), has: make([]splitSet, 0, n),
		order: make([]hashed, 0, n),
	}
	var last look
	i := int32(0)
	for record, err := range pictures.all() {
		if err != nil {
			return nil, err
		}
		p := pictureOf(record)
		if n := len(all.has); n == 0 || last != p.look {
			last = p.look
			all.order = append(all.order, hashed{p.look.hash, int32(n)})
			all.first, all.above = append(all.first, i), append(all.above, int32(n))
			all.has = append(all.has, 0)
		}
		all.has[len(all.has)-1] |= setOf(p.split)
		i++
	}
	all.first, all.near = append(all.first, i), slices.Clone(all.has)
	return all, nil
}

// look reads how twins look.
func (a *alike) look(twin int32) (look, error) {
	var record [pictureBytes]byte
	err := a.pictures.read(int(a.first[twin]), record[:])
	return pictureOf(record[:]).look, err
}

// blocksFor is into how many blocks a hash is cut to find those of n that differ in at most so many bits. Of one block
// more than there are bits, one is equal in both; of k more, k are. Each choice of k blocks takes a sort of all, and
// compares those with each other that are equal in them: more choices, but more bits.
func blocksFor(n, most int) int {
	const sorts, compares = 150.0, 1.0 // ns each
	best, least := most+1, math.Inf(1)
	choices := 1.0
	for k := 1; k <= 4 && most+k <= 64; k++ {
		choices = choices * float64(most+k) / float64(k)
		shared := float64(n) / math.Exp2(float64(64*k/(most+k))) // equal by chance
		if cost := choices * float64(n) * (sorts + shared/2*compares); cost < least {
			best, least = most+k, cost
		}
	}
	return best
}

// joinNear joins all that are near each other, by blocks: see blocksFor. said may be nil.
func (a *alike) joinNear(ctx context.Context, most, blocks int, said func(done, total int)) error {
	choices := slices.Collect(masks(blocks, blocks-most))
	for i, mask := range choices {
		if said != nil {
			said(i, len(choices))
		}
		slices.SortFunc(a.order, func(x, y hashed) int { return cmp.Compare(x.hash&mask, y.hash&mask) })
		for begin := 0; begin < len(a.order); {
			end := begin + 1
			for end < len(a.order) && a.order[end].hash&mask == a.order[begin].hash&mask {
				end++
			}
			if err := context.Cause(ctx); err != nil {
				return err
			}
			if err := a.joinPairs(a.order[begin:end], most); err != nil {
				return err
			}
			begin = end
		}
	}
	return nil
}

// masks yields the bits of every choice of k of so many blocks, which a hash's 64 bits are cut into.
func masks(blocks, k int) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		var choose func(from, k int, mask uint64) bool
		choose = func(from, k int, mask uint64) bool {
			if k == 0 {
				return yield(mask)
			}
			for b := from; b <= blocks-k; b++ {
				low, high := 64*b/blocks, 64*(b+1)/blocks
				if !choose(b+1, k-1, mask|(uint64(1)<<(high-low)-1)<<low) {
					return false
				}
			}
			return true
		}
		choose(0, k, 0)
	}
}

func (a *alike) joinPairs(some []hashed, most int) error {
	for i, x := range some {
		var looks look
		for _, y := range some[i+1:] {
			if bits.OnesCount64(x.hash^y.hash) > most {
				continue
			}
			other, err := a.look(y.twin)
			if err == nil && looks == (look{}) {
				looks, err = a.look(x.twin)
			}
			if err != nil {
				return err
			}
			if looks.near(other, most) {
				a.near[x.twin] |= a.has[y.twin]
				a.near[y.twin] |= a.has[x.twin]
				a.join(x.twin, y.twin)
			}
		}
	}
	return nil
}

func (a *alike) root(i int32) int32 {
	for a.above[i] != i {
		a.above[i] = a.above[a.above[i]]
		i = a.above[i]
	}
	return i
}

func (a *alike) join(i, j int32) {
	i, j = a.root(i), a.root(j)
	a.above[max(i, j)] = min(i, j)
}

// groups are those of more than one picture, each a list of twins.
func (a *alike) groups() [][]int32 {
	others := map[int32][]int32{} // by the first of a group, which is its root
	for i := range int32(len(a.has)) {
		if r := a.root(i); r != i {
			others[r] = append(others[r], i)
		}
	}
	var groups [][]int32
	for i := range int32(len(a.has)) {
		if more := others[i]; len(more) > 0 || a.above[i] == i && a.first[i+1]-a.first[i] > 1 {
			groups = append(groups, append([]int32{i}, more...))
		}
	}
	return groups
}

// picturesOf reads the pictures of a group.
func (a *alike) picturesOf(group []int32) ([]picture, error) {
	var out []picture
	for _, twin := range group {
		raw := make([]byte, int(a.first[twin+1]-a.first[twin])*pictureBytes)
		if err := a.pictures.read(int(a.first[twin]), raw); err != nil {
			return nil, err
		}
		for record := range slices.Chunk(raw, pictureBytes) {
			out = append(out, pictureOf(record))
		}
	}
	return out, nil
}

// ranked is a group by what decides whether it is told.
type ranked struct {
	twins    []int32
	pictures int
	splits   splitSet
	least    int32 // number of a picture
}

// count counts the pictures of groups, and answers for each digest that occurs more than once its splits.
func (d *Duplicates) count(all *alike, groups [][]int32) (map[[16]byte]splitSet, []ranked, error) {
	exact := map[[16]byte]splitSet{}
	list := make([]ranked, len(groups))
	for i, group := range groups {
		pictures, err := all.picturesOf(group)
		if err != nil {
			return nil, nil, err
		}
		list[i] = ranked{group, len(pictures), 0, pictures[0].number}
		files := map[[16]byte]int{}
		for _, p := range pictures {
			files[p.digest]++
			exact[p.digest] |= setOf(p.split)
			list[i].splits |= setOf(p.split)
			list[i].least = min(list[i].least, p.number)
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
	return exact, list, nil
}

// across counts what held-out splits share with those before them.
func (d *Duplicates) across(all *alike, exact map[[16]byte]splitSet) error {
	var of [3]int
	var shared [3][3]struct{ exact, near int }
	twin, i := 0, int32(0)
	for record, err := range all.pictures.all() {
		if err != nil {
			return err
		}
		p := pictureOf(record)
		if i++; i > all.first[twin+1] {
			twin++
		}
		of[p.split]++
		for in := range p.split {
			switch {
			case exact[p.digest]&setOf(in) != 0:
				shared[p.split][in].exact++
			case all.near[twin]&setOf(in) != 0:
				shared[p.split][in].near++
			}
		}
	}
	for split := range shared {
		for in, n := range shared[split][:split] {
			if n.exact+n.near > 0 {
				d.Across = append(d.Across, Across{
					splits[split], splits[in], n.exact, n.near, share(n.exact+n.near, of[split]),
				})
			}
		}
	}
	return nil
}

// list takes the groups that are told: those across splits first, then the largest.
func (d *Duplicates) list(all *alike, list []ranked, c *dataset.Catalogue, top int) error {
	slices.SortFunc(list, func(a, b ranked) int {
		return cmp.Or(
			cmp.Compare(len(b.splits.names()), len(a.splits.names())),
			cmp.Compare(b.pictures, a.pictures),
			cmp.Compare(a.least, b.least),
		)
	})
	for _, r := range list[:min(top, len(list))] {
		pictures, err := all.picturesOf(r.twins)
		if err != nil {
			return err
		}
		slices.SortFunc(pictures, func(a, b picture) int { return cmp.Compare(a.number, b.number) })
		g := Group{Kind: GroupExact, Splits: r.splits.names(), Count: r.pictures}
		for _, p := range pictures {
			if p.digest != pictures[0].digest {
				g.Kind = GroupNear
			}
		}
		for _, p := range shown(pictures) {
			e, err := c.Example(int(p.number))
			if err != nil {
				return err
			}
			g.Pictures = append(g.Pictures, GroupPicture{
				ID: e.ID, Split: e.Split, Distance: p.look.distance(pictures[0].look),
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
