package record

import (
	"cmp"
	"fmt"
	"slices"

	"distilvit/storage/layout"
)

// Export is runs/<run>/exports/<key>.json: the stored files of a model's directory and how they compare.
type Export struct {
	// Files by path in the directory: onnx/…, model.safetensors, config.json, ….
	Files  map[string]layout.Object `json:"files"`
	Checks []ExportCheck            `json:"checks"` // by dtype, in the config's order

	Pruning *Pruning `json:"pruning,omitempty"` // nil: the vocabulary is whole

	Calibration *Calibration `json:"calibration,omitempty"` // nil: every weight is rounded to the nearest

	Damage []Damage `json:"damage,omitempty"` // by dtype; none: not measured
}

// Damage is what rounding does to a network, layer by layer: each is rounded as a dtype rounds it while all else, also
// what is multiplied, stays float32. What that does to the model's next-token distributions is a Kullback-Leibler
// divergence, along captions of validation pictures.
type Damage struct {
	Dtype    string `json:"dtype"`
	Pictures int    `json:"pictures"` // with a caption each
	Tokens   int    `json:"tokens"`   // of these captions

	Layers []LayerDamage `json:"layers"` // that the dtype rounds, in the order of the network

	// PlainBytes are those of the dtype's two files were no layer kept in 8 bits; MaxBytes what they may have with those
	// that are. 0: none was to be.
	PlainBytes int64 `json:"plain_bytes,omitempty"`
	MaxBytes   int64 `json:"max_bytes,omitempty"`
}

// LayerDamage is what rounding a layer does.
type LayerDamage struct {
	Layer     string  `json:"layer"`                // as its tensors' names begin
	Bytes     int64   `json:"bytes"`                // of its matrices as the dtype has them, scales included
	KL        float64 `json:"kl"`                   // nats a token
	MaxKL     float64 `json:"max_kl"`               // of the token that is hurt most, nats
	EightBits bool    `json:"eight_bits,omitempty"` // kept in 8 bits, as its damage is great for its bytes
}

// Worst are the layers, most damaged first.
func (d Damage) Worst() []LayerDamage {
	worst := slices.Clone(d.Layers)
	slices.SortStableFunc(worst, func(a, b LayerDamage) int { return cmp.Compare(b.KL, a.KL) })
	return worst
}

// Kept are the layers that have 8 bits.
func (d Damage) Kept() []LayerDamage {
	return slices.DeleteFunc(slices.Clone(d.Layers), func(l LayerDamage) bool { return !l.EightBits })
}

// Share is a layer's damage beside the greatest, 0 to 1.
func (d Damage) Share(l LayerDamage) float64 {
	if most := d.Worst()[0].KL; most > 0 {
		return l.KL / most
	}
	return 0
}

// Calibration is what the rounding of an export goes by.
type Calibration struct {
	Pictures int    `json:"pictures"` // that the model read the captions of
	Captions int    `json:"captions"` // of these pictures
	Moments  string `json:"moments"`  // SHA-256 of the moments of what its matrices multiplied
}

// Devices of Transformers.js.
const (
	DeviceNode   = "node"   // ONNX Runtime's native library under Node
	DeviceWasm   = "wasm"   // WebAssembly in a page
	DeviceWebGPU = "webgpu" // in a page
)

// DeviceCheck is a dtype in Transformers.js on a device, beside ONNX Runtime in Go, on pictures that leave that no
// doubt what comes next.
type DeviceCheck struct {
	Device   string `json:"device"`          // node, wasm or webgpu
	Version  string `json:"version"`         // of Transformers.js
	Pictures int    `json:"pictures"`        // that it captioned
	EqualIDs int    `json:"equal_ids"`       // pictures whose token ids are all the same
	Error    string `json:"error,omitempty"` // why it did not caption all
}

// Right says that the device gives the export's captions: of all pictures, but for a few that the last digits
// decide.
func (c DeviceCheck) Right() bool {
	return c.Error == "" && c.Pictures > 0 && 4*c.EqualIDs >= 3*c.Pictures
}

func (c DeviceCheck) String() string {
	switch {
	case c.Error != "":
		return "does not run: " + c.Error
	case c.Right():
		return fmt.Sprintf("ok (%d of %d)", c.EqualIDs, c.Pictures)
	}
	return fmt.Sprintf("wrong (%d of %d captions)", c.EqualIDs, c.Pictures)
}

// Wrong says that it gives others, and no error.
func (c DeviceCheck) Wrong() bool { return c.Error == "" && !c.Right() }

// Pruning is what a smaller vocabulary is and does: the model with it beside the model with the whole one, both
// float32, captioning the same pictures greedily.
type Pruning struct {
	Tokens      int     `json:"tokens"`         // kept
	WholeTokens int     `json:"whole_tokens"`   // of the whole vocabulary, rows of its table
	Pictures    int     `json:"pictures"`       // that both captioned
	Kept        int     `json:"kept_captions"`  // pictures that the whole model captions in kept tokens alone ...
	EqualIDs    int     `json:"equal_captions"` // ... and those that have the same caption, token by token
	RougeL      float64 `json:"rougeL"`         // × 100
	WholeRougeL float64 `json:"whole_rougeL"`   // of the whole model's captions, × 100
}

// ExportCheck is one dtype's files run in ONNX Runtime beside the Go model.
type ExportCheck struct {
	Dtype         string  `json:"dtype"`           // fp32, fp16, q8, int8, q4 or q4f16
	Pictures      int     `json:"pictures"`        // that both captioned
	MaxLogitsDiff float64 `json:"max_logits_diff"` // fp32 only: teacher-forced on the model's own greedy ids
	Divergence    float64 `json:"kl_divergence"`   // nats a token from the model's, teacher-forced; first 100 pictures
	EqualIDs      int     `json:"equal_ids"`       // pictures whose greedy ids all equal the model's
	RougeL        float64 `json:"rougeL"`          // of the files' captions, × 100
	ModelRougeL   float64 `json:"model_rougeL"`    // of the model's on the same pictures, × 100
	Bytes         int64   `json:"bytes"`           // of the dtype's files

	WholeBytes int64 `json:"whole_bytes,omitempty"` // of a pruned dtype's files, had it the whole vocabulary

	Devices []DeviceCheck `json:"devices,omitempty"` // by Transformers.js; none: not checked

	// Differences are the pictures whose captions differ most from the model's, at most MostDifferences, the most
	// different first. None: there is none, or the export is of an older program. A published manifest leaves them out.
	Differences []CaptionDifference `json:"differences,omitempty"`
}

// MostDifferences bounds ExportCheck.Differences.
const MostDifferences = 8

// CaptionDifference is a picture that an export captions otherwise than the model.
type CaptionDifference struct {
	ImageID string  `json:"image_id"`
	Model   string  `json:"model"`  // caption of the model
	Export  string  `json:"export"` // caption of the export
	RougeL  float64 `json:"rougeL"` // of one beside the other, × 100
}

// WithoutDifferences are checks for those who do not look at single pictures.
func WithoutDifferences(checks []ExportCheck) []ExportCheck {
	out := slices.Clone(checks)
	for i := range out {
		out[i].Differences = nil
	}
	return out
}
