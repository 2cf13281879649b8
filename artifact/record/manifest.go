// Package record has the types of the documents that a run leaves: manifests in
// the bucket, records of progress, scores. They are data only, with no I/O and
// nothing of ours but storage/layout, so that the contract (pipeline), workflows,
// the network's packages and the report use the same ones. Package artifact reads,
// writes and verifies what they describe. Start reading at CheckpointManifest.
package record

import (
	"slices"

	"distilvit/storage/layout"
)

// State is where training stands, beside weights and moments: a checkpoint's
// state.json, and a part of its manifest.
type State struct {
	Step        int64             `json:"step"`        // updates done, of the whole training
	Epoch       int               `json:"epoch"`       // epochs finished; 0-based, the one under way
	EpochStep   int64             `json:"epoch_step"`  // cursor: steps done in Epoch
	LossSum     float64           `json:"loss_sum"`    // of the epoch so far, or the one just finished
	Tokens      int64             `json:"tokens"`      // label tokens that LossSum is of
	Fingerprint map[string]string `json:"fingerprint"` // of the numerics

	// digest of the tensors that are not trained, which model.safetensors then lacks: they are those that training
	// began with. Empty: there are none
	Frozen string `json:"frozen,omitempty"`
}

// CheckpointManifest is runs/<run>/checkpoints/<branch>/<step>/manifest.json: what
// makes a checkpoint complete. Everything in it follows from the training and the
// step, so that whoever makes it again makes the same bytes.
type CheckpointManifest struct {
	Version int    `json:"version"`
	Run     string `json:"run"`
	Branch  int    `json:"branch"`
	State
	Training string                   `json:"training"` // digest of what is trained on what
	Files    map[string]layout.Object `json:"files"`    // by name; blobs of the run
}

// Ref names the checkpoint.
func (m CheckpointManifest) Ref() CheckpointRef {
	key := layout.Run(m.Run).Checkpoint(m.Branch, m.Step)
	return CheckpointRef{Manifest: key, Branch: m.Branch, Epoch: m.Epoch, Step: m.Step, EpochStep: m.EpochStep}
}

// Loss is the mean over the label tokens of the epoch so far, or of the one just
// finished; 0 where there were none.
func (m CheckpointManifest) Loss() float64 {
	if m.Tokens == 0 {
		return 0
	}
	return m.LossSum / float64(m.Tokens)
}

// DatasetManifest is datasets/<key>/manifest.json: what makes a prepared dataset
// complete.
type DatasetManifest struct {
	Version  int             `json:"version"`
	Pixels   Pixels          `json:"pixels"`
	Shards   []Shard         `json:"shards"`    // by split, in order
	Rows     map[string]int  `json:"rows"`      // pictures by split
	Bytes    int64           `json:"bytes"`     // of all shards
	Bad      int             `json:"bad"`       // examples left out
	BadLists []layout.Object `json:"bad_lists"` // JSON arrays of dataset.Bad
	Turned   int             `json:"turned"`    // pictures with an EXIF orientation
	JPEGs    int             `json:"jpegs"`     // pictures that were JPEG files
	Warnings []string        `json:"warnings"`

	// Of a long list, pages of Shards and of BadLists, which the stored document then lacks; whoever reads it with
	// package artifact has them in their places.
	ShardPages []Page `json:"shard_pages,omitempty"`
	BadPages   []Page `json:"bad_pages,omitempty"`
}

// Objects are the stored objects that the manifest names.
func (m DatasetManifest) Objects() []layout.Object {
	return slices.Concat(m.BadLists, shardObjects(m.Shards), pageObjects(m.ShardPages, m.BadPages))
}

// Pixels is what is done to the stored pictures: all of an image processor but
// normalising, which is the model's.
type Pixels struct {
	Width           int    `json:"width"`
	Height          int    `json:"height"`
	Resample        int    `json:"resample"` // Pillow's number of the filter
	ExifOrientation bool   `json:"exif_orientation"`
	JPEG            string `json:"jpeg,omitempty"` // decoder of JPEG files; image/jpeg is "": keys are older

	// larger pictures are bad ones; 0: pixels.DefaultMaxPixels
	MaxPixels int `json:"max_pixels,omitempty"`

	// what pictures are resized to before their middle is cut out, pixels; 0 if they are not cut
	ShortestEdge  int `json:"shortest_edge,omitempty"`
	ResizedWidth  int `json:"resized_width,omitempty"`
	ResizedHeight int `json:"resized_height,omitempty"`
}

// PreparePlan is datasets/<key>/plan.json: what is known of a dataset before its
// shards are made.
type PreparePlan struct {
	Pixels   Pixels   `json:"pixels"`
	Examples int      `json:"examples"`
	Warnings []string `json:"warnings"`
}

// TokensManifest is tokens/<key>/manifest.json: token shards row-aligned with the
// shards of the dataset.
type TokensManifest struct {
	Version int     `json:"version"`
	Shards  []Shard `json:"shards"` // by index, as the dataset's

	// Cut counts captions that were longer than train.max_length; absent where none was, and of
	// programs that did not count.
	Cut int `json:"cut,omitempty"`

	ShardPages []Page `json:"shard_pages,omitempty"` // as DatasetManifest's
}

// FeaturesManifest is features/<key>/manifest.json: a frozen encoder's vectors of the training pictures, or of those that
// are evaluated, in shards row-aligned with the dataset's.
type FeaturesManifest struct {
	Version  int               `json:"version"`
	Of       string            `json:"of"`       // digest of all they depend on, but for Numerics
	Numerics map[string]string `json:"numerics"` // of the machines that computed them
	DType    string            `json:"dtype"`    // float32 or bfloat16
	Views    int               `json:"views"`    // drawn views of each picture; 1 where pictures are not changed
	Tokens   int               `json:"tokens"`   // vectors a view
	Width    int               `json:"width"`    // numbers a vector
	Shards   []Shard           `json:"shards"`   // by index, as the dataset's, of which they are those of training, or of what is evaluated
}

// TeacherManifest is teacher/<key>/manifest.json: what a teacher says of the captions of the training pictures, in shards
// row-aligned with the dataset's.
type TeacherManifest struct {
	Version  int               `json:"version"`
	Of       string            `json:"of"`       // digest of all it depends on, but for Numerics
	Numerics map[string]string `json:"numerics"` // of the machines that computed it
	Model    string            `json:"model"`    // digest of the teacher's directory
	TopK     int               `json:"top_k"`    // tokens that are stored of each place

	Temperature float64       `json:"temperature"`        // at which the other tokens have what is stored of them
	Views       int           `json:"views,omitempty"`    // of each picture; 0: as it is
	Seed        uint64        `json:"seed,omitempty"`     // of the views
	Captions    int           `json:"captions,omitempty"` // the last so many of each picture are the teacher's own
	Places      int64         `json:"places"`             // label tokens, of all captions and views
	Mass        float64       `json:"mass"`               // what the stored tokens have at Temperature, mean over the places
	Bytes       int64         `json:"bytes"`              // of all shards
	Shards      []TaughtShard `json:"shards"`             // by index, as the dataset's, of which they are those of training
}

// TaughtShard is a shard of what a teacher says.
type TaughtShard struct {
	Shard
	Tokens layout.Object `json:"tokens,omitzero"` // of the captions, with the teacher's own; zero: those of the run's tokens
	Places int64         `json:"places"`          // label tokens
	Mass   float64       `json:"mass"`            // sum over them of what the stored tokens have at the manifest's Temperature
}

// Objects are the stored objects that the manifest names.
func (m TeacherManifest) Objects() []layout.Object {
	var all []layout.Object
	for _, s := range m.Shards {
		all = append(all, s.Objects()...)
	}
	return all
}

// Objects are the stored objects of the shard.
func (s TaughtShard) Objects() []layout.Object {
	if s.Tokens.Key == "" {
		return []layout.Object{s.Object}
	}
	return []layout.Object{s.Object, s.Tokens}
}

// Objects are the stored objects that the manifest names.
func (m FeaturesManifest) Objects() []layout.Object { return shardObjects(m.Shards) }

// Objects are the stored objects that the manifest names.
func (m TokensManifest) Objects() []layout.Object {
	return append(shardObjects(m.Shards), pageObjects(m.ShardPages)...)
}

func shardObjects(shards []Shard) []layout.Object {
	objects := make([]layout.Object, len(shards))
	for i, s := range shards {
		objects[i] = s.Object
	}
	return objects
}

// ModelManifest is models/<name>/<version>/manifest.json: what makes a published
// model complete, with its files' digests and where it comes from.
type ModelManifest struct {
	Version    int           `json:"version"`
	Model      string        `json:"model"` // models/<name>/<version>
	Run        string        `json:"run"`
	Branch     int           `json:"branch"`
	Checkpoint CheckpointRef `json:"checkpoint"`
	Program    string        `json:"program"` // version of this program
	Config     string        `json:"config"`  // key of the run's resolved config
	Dataset    string        `json:"dataset"` // key of the prepared dataset's manifest
	Sources    []Source      `json:"sources"`
	Eval       Metrics       `json:"eval"` // validation
	Test       Metrics       `json:"test"`
	TestedOn   string        `json:"tested_on"` // test, or validation where there is no test set
	Checks     []ExportCheck `json:"checks"`
	Pruning    *Pruning      `json:"pruning,omitempty"` // nil: the vocabulary is whole

	Calibration *Calibration `json:"calibration,omitempty"` // nil: weights are rounded to the nearest
	Damage      []Damage     `json:"damage,omitempty"`      // of rounding, by dtype; none: not measured

	Files map[string]layout.Object `json:"files"` // by path below the model, without keys

	Approval *Decision `json:"approval,omitempty"` // nil: nobody was asked (publish.approve)

	Comparison *Comparison `json:"comparison,omitempty"` // nil: it was compared with none (publish.better_than)
}

// Latest is models/<name>/latest: which version of a model is the newest, for who fetches it with any S3 client.
type Latest struct {
	Version  int           `json:"version"`
	Model    string        `json:"model"` // models/<name>/<version>
	Run      string        `json:"run"`
	Branch   int           `json:"branch"`
	Manifest layout.Object `json:"manifest"` // the version's, which names its files
}

// Decision is what somebody says who approves of a model, or does not.
type Decision struct {
	By   string `json:"by,omitempty"`   // who decided, as they call themselves
	Note string `json:"note,omitempty"` // why
}

// After is the decision's author and note, to be read after a word such as Approved.
func (d Decision) After() string {
	text := ""
	if d.By != "" {
		text = " by " + d.By
	}
	if d.Note != "" {
		text += ": " + d.Note
	}
	return text
}

// Bytes is the size of all files of the model.
func (m ModelManifest) Bytes() int64 {
	var n int64
	for _, f := range m.Files {
		n += f.Size
	}
	return n
}

// Source is a source of the pictures that a model was trained on.
type Source struct {
	Kind   string `json:"kind"`
	Digest string `json:"digest"` // of its files, or of what drew them
}
