package onnx

import (
	"math"
	"runtime"
	"slices"
	"sync"

	"github.com/x448/float16"

	"distilvit/model"
)

// Calibration is how matrices are rounded so that what they are multiplied with in captions, not their weights, comes
// out right: the moments of each by its tensor's name, as model.Observer sums them up. Nil: to the nearest.
//
// Weights of a column are rounded one after the other, and each makes good what those before it did to the products,
// as far as moments tell: GPTQ (Frantar et al., 2022), which is Babai's nearest plane in the lattice of the codes
// (Chen et al., 2025). With H = Σ xᵀx = RᵀR, R upper triangular, an error e of the column costs |R·e|², and from the
// last weight to the first
//
//	e_i = w_i - q_i, q_i the code's value nearest to w_i + Σ_{j>i} R_ij·e_j / R_ii.
//
// A block's scale is the candidate whose codes cost least. Sums are float64 in a fixed order, however many processors
// share the columns: same moments, same bytes.
type Calibration struct {
	Moments map[string]*model.Moments

	factored struct { // the newest, as neighbours multiply the same
		sync.Mutex
		moments *model.Moments
		damping float64
		factor  *factor
	}
}

// Damping is what is added to the diagonal of H, in means of the diagonal: it keeps errors small in directions that
// the moments have not seen. A table is also looked up row by row, where every direction counts.

const (
	damping      = 0.01
	tableDamping = 0.3
)

// factor is R of the moments with their rows in another order.
type factor struct {
	width  int
	order  []int // row i of R is of input order[i]
	blocks []int // first rows of the blocks, and width: inputs of a block lie together
	r      []float64
	weight []float64 // by input: its share of the cost, the diagonal of H
}

// row is R's row i from the diagonal on.
func (f *factor) row(i int) []float64 {
	first := i*f.width - i*(i-1)/2
	return f.r[first : first+f.width-i]
}

// knows says whether a matrix's inputs were seen.
func (c *Calibration) knows(w matrix) bool { return c != nil && c.Moments[w.name] != nil }

// factor is that of a matrix whose inputs were seen.
func (c *Calibration) factor(w matrix) *factor {
	m, damping := c.Moments[w.name], damping
	if w.table {
		damping = tableDamping
	}
	c.factored.Lock()
	defer c.factored.Unlock()
	if c.factored.moments != m || c.factored.damping != damping {
		c.factored.factor = newFactor(m, damping)
		c.factored.moments, c.factored.damping = m, damping
	}
	return c.factored.factor
}

// newFactor takes moments apart, with more damping where rounding has left them indefinite.
func newFactor(m *model.Moments, damping float64) *factor {
	f := &factor{width: m.Width, weight: make([]float64, m.Width)}
	mean := 0.0
	for i := range f.weight {
		f.weight[i] = m.Row(i)[0]
		mean += f.weight[i]
	}
	if mean /= float64(m.Width); mean == 0 {
		mean = 1 // nothing came: all inputs are alike
	}
	for i := range f.weight {
		f.weight[i] = f.weight[i]/mean + damping
	}
	f.sort()
	f.r = make([]float64, len(m.Sum))
	for more := 0.0; ; more = 10*more + damping {
		for i, a := range f.order {
			row := f.row(i)
			for k := range row {
				b := f.order[i+k]
				row[k] = m.Row(min(a, b))[max(a, b)-min(a, b)] / mean
			}
			row[0] = f.weight[a] + more
		}
		if f.cholesky() {
			return f
		}
	}
}

// sort puts blocks that cost much, and within a block the inputs, behind: what is rounded first is made good by most.
func (f *factor) sort() {
	type block struct {
		inputs []int
		cost   float64
	}
	var blocks []block
	byCost := func(a, b float64) int {
		switch {
		case a < b:
			return -1
		case a > b:
			return 1
		}
		return 0
	}
	for first := 0; first < f.width; first += nibbleBlock {
		var b block
		for i := first; i < min(first+nibbleBlock, f.width); i++ {
			b.inputs, b.cost = append(b.inputs, i), b.cost+f.weight[i]
		}
		b.cost /= float64(len(b.inputs))
		slices.SortStableFunc(b.inputs, func(i, j int) int { return byCost(f.weight[i], f.weight[j]) })
		blocks = append(blocks, b)
	}
	slices.SortStableFunc(blocks, func(a, b block) int { return byCost(a.cost, b.cost) })
	for _, b := range blocks {
		f.blocks = append(f.blocks, len(f.order))
		f.order = append(f.order, b.inputs...)
	}
	f.blocks = append(f.blocks, f.width)
}

// panel is how many rows of R are taken from the rows below at once.
const panel = 32

// cholesky turns H in r into R of RᵀR = H; false where H is not positive definite.
func (f *factor) cholesky() bool {
	n := f.width
	for first := 0; first < n; first += panel {
		last := min(first+panel, n)
		for i := first; i < last; i++ {
			row := f.row(i)
			for k := first; k < i; k++ {
				subtract(row, f.row(k)[i-k:], f.row(k)[i-k])
			}
			if !(row[0] > 1e-9) {
				return false
			}
			root := math.Sqrt(row[0])
			for j := range row {
				row[j] /= root
			}
		}
		each(n-last, func(i int) {
			i += last
			row := f.row(i)
			for k := first; k < last; k++ {
				subtract(row, f.row(k)[i-k:], f.row(k)[i-k])
			}
		})
	}
	return true
}

// subtract is row -= factor·other.
func subtract(row, other []float64, factor float64) {
	other = other[:len(row)]
	for j, v := range other {
		row[j] -= factor * v
	}
}

// each calls f with 0 to n-1, on all processors.
func each(n int, f func(i int)) {
	workers := min(n, runtime.GOMAXPROCS(0))
	var group sync.WaitGroup
	for worker := range workers {
		group.Go(func() {
			for i := worker; i < n; i += workers {
				f(i)
			}
		})
	}
	group.Wait()
}

// lanes are columns that are rounded together: a row of R is read once for all.
const lanes = 4

// coded are whole numbers for the weights of a matrix, and their scales, in a file's order.
type coded struct {
	of     []int8    // [out, in], or [in, out] where a column has one scale
	scales []float32 // [out, blocks], or [out]
}

// finder finds a matrix's codes when they are written, and keeps them no longer.
type finder struct {
	find  func() coded
	found *coded
}

func (f *finder) get() *coded {
	if f.found == nil {
		c := f.find()
		f.found = &c
	}
	return f.found
}

// take answers the codes, but for the scales once.
func (f *finder) take() []int8 {
	of := f.get().of
	if f.found.of = nil; of == nil {
		f.found = nil
		return f.take()
	}
	return of
}

func (f *finder) scales() []float32 { return f.get().scales }

// rule is what a code may be.
type rule struct {
	low, high int
	// candidates for the scale of a block of a column, whose weights it gets as they should be now
	scales func(column int, block []float64) []float32
	shared bool // by all blocks of a column
}

// round finds a matrix's codes.
func (f *factor) round(w matrix, r rule) coded {
	blocks := len(f.blocks) - 1
	c := coded{of: make([]int8, w.out*w.in), scales: make([]float32, w.out*blocks)}
	if r.shared {
		c.scales = c.scales[:w.out]
	}
	each((w.out+lanes-1)/lanes, func(i int) {
		s := search{f: f, rule: r, w: w, first: i * lanes, n: min(lanes, w.out-i*lanes)}
		s.errors = make([][lanes]float64, f.width)
		for b := blocks - 1; b >= 0; b-- {
			s.block(b, c)
		}
	})
	return c
}

// search rounds the n columns from first on.
type search struct {
	f        *factor
	rule     rule
	w        matrix
	first, n int
	errors   [][lanes]float64 // e, in the factor's order
}

// block rounds block b of the columns; all after it are done.
func (s *search) block(b int, c coded) {
	from, to := s.f.blocks[b], s.f.blocks[b+1]
	n := to - from
	var behind [nibbleBlock][lanes]float64 // Σ R_ij·e_j over the blocks behind
	for i := range n {
		row, errors := s.f.row(from + i)[n-i:], s.errors[to:]
		row = row[:len(errors)]
		var a0, a1, a2, a3 float64
		for j, v := range row {
			e := &errors[j]
			a0 += v * e[0]
			a1 += v * e[1]
			a2 += v * e[2]
			a3 += v * e[3]
		}
		behind[i] = [lanes]float64{a0, a1, a2, a3}
	}
	input := s.f.order[from]
	for _, o := range s.f.order[from:to] {
		input = min(input, o)
	}
	for lane := range s.n {
		o := s.first + lane
		var t trial
		for i := range n {
			t.weights[i], t.behind[i] = float64(s.w.at(s.f.order[from+i], o)), behind[i][lane]
		}
		candidates := s.rule.scales(o, s.wanted(from, n, &t))
		best, least := candidates[0], math.Inf(1)
		if len(candidates) > 1 {
			for _, scale := range candidates {
				if cost := s.try(from, n, &t, scale, least); cost < least {
					least, best = cost, scale
				}
			}
		}
		s.try(from, n, &t, best, math.Inf(1))
		for i := range n {
			s.errors[from+i][lane] = t.errors[i]
			c.of[s.at(o, s.f.order[from+i])] = int8(t.codes[i])
		}
		if s.rule.shared {
			c.scales[o] = best
		} else {
			c.scales[o*(len(s.f.blocks)-1)+input/nibbleBlock] = best
		}
	}
}

// at is the place of a weight's code.
func (s *search) at(out, in int) int {
	if s.rule.shared {
		return in*s.w.out + out
	}
	return out*s.w.in + in
}

// trial is a block of one column.
type trial struct {
	weights, behind, errors, wanted [nibbleBlock]float64
	codes                           [nibbleBlock]int
}

// wanted are the weights that would make good what the blocks behind have done, were there no rounding.
func (s *search) wanted(from, n int, t *trial) []float64 {
	var d [nibbleBlock]float64
	for i := n - 1; i >= 0; i-- {
		row := s.f.row(from + i)
		x := t.behind[i]
		for j := i + 1; j < n; j++ {
			x -= row[j-i] * d[j]
		}
		d[i] = x / row[0]
		t.wanted[i] = t.weights[i] + d[i]
	}
	return t.wanted[:n]
}

// try rounds a block with a scale and answers what that costs; it may stop at what is too much.
func (s *search) try(from, n int, t *trial, scale float32, most float64) float64 {
	cost := 0.0
	for i := n - 1; i >= 0; i-- {
		row := s.f.row(from + i)[:n-i]
		x := t.behind[i]
		for j := 1; j < len(row); j++ {
			x += row[j] * t.errors[i+j]
		}
		code := 0
		if scale != 0 {
			code = int(math.RoundToEven((t.weights[i] + x/row[0]) / float64(scale)))
			code = max(s.rule.low, min(s.rule.high, code))
		}
		t.codes[i], t.errors[i] = code, t.weights[i]-float64(code)*float64(scale)
		x += row[0] * t.errors[i]
		if cost += x * x; cost >= most {
			return cost
		}
	}
	return cost
}

// rule is that of four bits.
func (n nibbles) rule() rule {
	return rule{low: -8, high: 7, scales: func(_ int, block []float64) []float32 {
		extreme := 0.0
		for _, v := range block {
			if math.Abs(v) > math.Abs(extreme) {
				extreme = v
			}
		}
		var list []float32
		for d := leastDivisor; d <= mostDivisor; d += divisorStep {
			scale := float32(extreme / -d)
			if n.half {
				scale = float16.Fromfloat32(scale).Float32()
			}
			list = append(list, scale)
		}
		return list
	}}
}

// rule is that of whole numbers with a scale a column: the fraction of the one for the largest weight that costs
// least, inputs taken for themselves.
func (n integerNumbers) rule(w matrix, f *factor) rule {
	scales := n.scales(w)
	each(w.out, func(o int) {
		widest, least := scales[o], math.Inf(1)
		for _, part := range []float32{1, 0.97, 0.94, 0.91, 0.88, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6} {
			cost, scale := 0.0, widest*part
			for i, weight := range f.weight {
				v := float64(w.at(i, o))
				code := max(-n.top, min(n.top, int(math.RoundToEven(v/float64(scale)))))
				e := v - float64(code)*float64(scale)
				cost += weight * e * e
			}
			if cost < least {
				least, scales[o] = cost, scale
			}
		}
	})
	return rule{low: -n.top, high: n.top, shared: true, scales: func(o int, _ []float64) []float32 {
		return scales[o : o+1]
	}}
}
