package parity

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// kind is what a row compares.
type kind struct {
	name    string
	unit    string   // of what is counted
	made    []string // Python packages that give the reference
	measure string   // what the difference is
	allowed float64  // difference; negative: any, it is only reported
}

// The kinds in the table's order. An exact one counts what is not equal.
var (
	tokenIDs   = newKind("token ids", "texts", "not equal", 0, "tokenizers")
	tokenTexts = newKind("text of token ids", "decodings", "not equal", 0, "tokenizers")

	pixelsExact = newKind("resized pixels: PNG, GIF, BMP, TIFF, WebP", "pictures", "levels, largest",
		0, "transformers", "pillow")
	pixelsJPEG = newKind("resized pixels: JPEG, mean", "pictures", "levels, mean of a picture", 1,
		"transformers", "pillow")
	pixelsWorst = newKind("resized pixels: JPEG, largest", "pictures", "levels, largest", -1,
		"transformers", "pillow")
	pixelValues = newKind("pixel_values", "pictures", "largest", 1e-6, "transformers")

	weightsRead = newKind("weights as they are read", "tensors", "not equal", 0, "torch", "safetensors")
	weightsKept = newKind("weights written and read again", "tensors", "not equal", 0, "torch", "safetensors")

	logits    = newKind("logits", "captions", "largest / largest logit", 1e-4, "torch", "transformers")
	loss      = newKind("loss", "batches", "relative", 1e-5, "torch", "transformers")
	gradients = newKind("gradients", "tensors", "largest / max(largest gradient, 1e-6 global norm)", 1e-4,
		"torch", "transformers")
	keyGradients = newKind("gradients of key biases (truly 0)", "tensors", "largest / global norm", 1e-6,
		"torch", "transformers")
	stepLoss = newKind("loss of each AdamW step", "steps", "relative", 1e-4, "torch", "transformers")
	stepNorm = newKind("gradient norm of each AdamW step", "steps", "relative", 1e-3,
		"torch", "transformers")
	stepRate = newKind("learning rate of each AdamW step", "steps", "relative", 1e-12,
		"torch", "transformers")
	stepWeights = newKind("weights after the AdamW steps", "tensors", "largest / learning rate", 0.1,
		"torch", "transformers")
	stepKeyBiases = newKind("key biases after the AdamW steps", "tensors", "largest / learning rate", 10,
		"torch", "transformers")

	greedy = newKind("captions: greedy", "captions", "ids not equal", 0, "transformers")
	beams  = newKind("captions: beam search", "captions", "ids not equal", 0, "transformers")

	rouge      = newKind("rouge1, rouge2, rougeL, rougeLsum", "scores", "largest", 1e-9, "rouge_score")
	bleu       = newKind("bleu1 to bleu4", "scores", "largest", 1e-9, "pycocoevalcap")
	cider      = newKind("cider", "scores", "largest", 1e-9, "pycocoevalcap")
	rougeLCoco = newKind("rougeL_coco", "scores", "largest", 1e-9, "pycocoevalcap")
	meteor     = newKind("meteor", "scores", "largest", 1e-9, "pycocoevalcap")
	genLen     = newKind("gen_len", "scores", "largest", 1e-9)
)

var kinds []*kind

func newKind(name, unit, measure string, allowed float64, made ...string) *kind {
	k := &kind{name: name, unit: unit, made: made, measure: measure, allowed: allowed}
	kinds = append(kinds, k)
	return k
}

// Row is what was compared of a kind, in all the directory's vectors.
type Row struct {
	What       string   `json:"what"`
	Compared   int      `json:"compared"`
	Unit       string   `json:"unit"`      // of Compared
	Reference  string   `json:"reference"` // packages and their versions
	Ours       string   `json:"ours"`      // distilvit, and on which backend
	Difference float64  `json:"difference"`
	Measure    string   `json:"measure"` // what Difference is
	Allowed    *float64 `json:"allowed"` // nil: any
	// where the largest difference is, and both values; of those that must be equal, the first
	At string `json:"at,omitempty"`
	// as At, each that differs by more than is allowed; 100 at most
	Differing []string `json:"differing"`
	// why vectors were not compared; what was compared counts all the same
	Skipped string `json:"skipped,omitempty"`
	OK      bool   `json:"ok"`

	kind  *kind
	order int
}

// Table holds the rows.
type Table struct {
	Rows     []*Row `json:"rows"`
	versions map[string]string
}

// row finds or adds a kind's row; backend may be "".
func (t *Table) row(k *kind, backend string) *Row { return t.rowOf(k, "", backend) }

// rowOf is row for one kind of models, "" that of most.
func (t *Table) rowOf(k *kind, of, backend string) *Row {
	what, ours := k.name, "distilvit"
	if of != "" {
		what += ", " + of
	}
	if backend != "" {
		ours += ", " + backend
	}
	for _, r := range t.Rows {
		if r.What == what && r.Ours == ours {
			return r
		}
	}
	r := &Row{
		What: what, Unit: k.unit, Reference: t.reference(k), Ours: ours, Measure: k.measure,
		Differing: []string{}, OK: true, kind: k, order: slices.Index(kinds, k),
	}
	if k.allowed >= 0 {
		r.Allowed = &k.allowed
	}
	t.Rows = append(t.Rows, r)
	return r
}

func (t *Table) reference(k *kind) string {
	var names []string
	for _, name := range k.made {
		if v := t.versions[name]; v != "" {
			name += " " + v
		}
		names = append(names, name)
	}
	if names == nil {
		return "definition"
	}
	return strings.Join(names, ", ")
}

// sort puts rows in the order of kinds, those of a kind in the order they came in.
func (t *Table) sort() {
	slices.SortStableFunc(t.Rows, func(a, b *Row) int { return a.order - b.order })
}

// Differing are the rows whose difference is more than allowed.
func (t *Table) Differing() []*Row {
	var list []*Row
	for _, r := range t.Rows {
		if !r.OK {
			list = append(list, r)
		}
	}
	return list
}

// same counts one thing that must be equal.
func (r *Row) same(at string, equal bool, got, want any) {
	r.Compared++
	if equal {
		return
	}
	r.Difference++
	r.differs(fmt.Sprintf("%s: %s instead of %s", at, short(got), short(want)))
	r.At = r.Differing[0]
}

// near counts one thing that may differ a little. What is not a number differs without bound.
func (r *Row) near(at string, difference float64, got, want any) {
	r.Compared++
	if !(difference <= math.MaxFloat64) {
		difference = math.MaxFloat64
	}
	at = fmt.Sprintf("%s: %s instead of %s", at, short(got), short(want))
	if difference > r.Difference {
		r.Difference, r.At = difference, at
	}
	if r.kind.allowed >= 0 && difference > r.kind.allowed {
		r.differs(at)
	}
}

// fail counts something that distilvit could not do at all.
func (r *Row) fail(at string, err error) {
	r.Compared++
	at = fmt.Sprintf("%s: %v", at, err)
	if r.Difference < math.MaxFloat64 {
		r.Difference, r.At = math.MaxFloat64, at
	}
	r.differs(at)
}

// maxDiffering bounds Row.Differing.
const maxDiffering = 100

func (r *Row) differs(at string) {
	r.OK = false
	if len(r.Differing) < maxDiffering {
		r.Differing = append(r.Differing, at)
	}
}

// short is a value in at most some 100 characters.
func short(v any) string {
	const most = 100
	text := fmt.Sprint(v)
	switch v := v.(type) {
	case string:
		text = fmt.Sprintf("%q", v)
	case float32, float64:
		text = fmt.Sprintf("%.9g", v)
	}
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}

// Header and Cells are the table for people.
var Header = []string{"what", "compared", "reference", "ours", "difference", "allowed", ""}

// Cells of a row, as in Header.
func (r *Row) Cells() []string {
	allowed, result := "any", "ok"
	if r.Allowed != nil {
		allowed = number(*r.Allowed)
	}
	switch {
	case !r.OK:
		result = "DIFFERS"
	case r.Skipped != "":
		result = r.Skipped
	}
	return []string{
		r.What, thousands(r.Compared) + " " + r.Unit, r.Reference, r.Ours, r.difference(), allowed, result,
	}
}

func (r *Row) difference() string {
	switch {
	case r.Compared == 0:
		return ""
	case r.Difference == math.MaxFloat64:
		return "unbounded"
	case r.Difference == 0:
		return "0"
	}
	return number(r.Difference) + " (" + r.Measure + ")"
}

func number(x float64) string { return fmt.Sprintf("%.2g", x) }

func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}
