// Package pipeline is the contract of a run: the Config a person writes, each
// stage's input and output, and the types of errors. It imports nothing of
// ours, so workflows, activities and commands can all depend on it. Start
// reading at Config.
package pipeline

// Config is everything that determines a run. People write it as YAML, and the
// same keys as JSON are the workflow's input. See Default for the values an
// absent key takes and Decode for how mistakes are reported. The comments beside
// the fields are the reference people read: see Reference.
type Config struct {
	Name     string         `json:"name"`     // model's name under models/ in the object store; default: the run's id
	Seed     uint64         `json:"seed"`     // seed of initial weights, dropout, order of examples and augmentation
	Dataset  []SourceConfig `json:"dataset"`  // sources of captioned pictures; at least one
	Model    ModelConfig    `json:"model"`    // the network and its tokenizer
	Prepare  PrepareConfig  `json:"prepare"`  // pictures and captions to training rows
	Train    TrainConfig    `json:"train"`    // optimisation
	Evaluate EvaluateConfig `json:"evaluate"` // validation after each epoch, test at the end
	Export   ExportConfig   `json:"export"`   // ONNX files and their checks
	Backend  string         `json:"backend"`  // auto, cuda, xla (CPU) or go

	Compat string `json:"compat,omitempty"` // seed: labels and loss as mozilla/distilvit's train.py has them, to compare eval_loss: captions padded to 128 tokens with the end token, the padding counted, no end token after a longer one; of each picture the first caption (kind coco: all), white space as it is. Sets the defaults of train.max_length, train.captions_per_picture, evaluate.max_length and dataset[].clean; see docs/compat.md. Empty: padding is masked and one end token taught

	Priority int `json:"priority,omitempty"` // who of several runs that wait gets a device first: 1 before 5; 0: 3, or what the workflow was started with. May be another each time a run goes on
}

// SourceConfig is one source of captioned pictures. Paths are read by the
// worker; an http(s) URL works wherever a path does, and so do files of a dataset
// repository of the Hugging Face hub: hf:datasets/ORG/NAME[@REVISION]/PATH, where the path is a
// file, a folder or a pattern. A run keeps the commit that it began with.
type SourceConfig struct {
	Kind  string `json:"kind"`  // shapes (generated pictures), coco (annotation JSON), karpathy (his split JSON of COCO or Flickr30k), folder (CSV or JSON lines) or parquet (what the datasets library writes and the Hugging Face hub stores)
	Split string `json:"split"` // train, validation or test; empty: the source's own splits, else held out by the hash of the picture's id (shapes draws all three). Of a source with splits of its own only these pictures
	Limit int    `json:"limit"` // use at most this many pictures; 0: all

	Weight float64 `json:"weight,omitempty"` // how often an epoch shows each training picture, in the mean: 2 each twice, 0.5 another half of them each epoch; 0: once

	Captions string            `json:"captions"` // coco: annotation JSON; karpathy: dataset_coco.json or dataset_flickr30k.json; folder: .csv or .txt (image,caption, or a form of Flickr8k or Flickr30k, known by its first line) or .jsonl ({"image","caption"|"captions"}). In a .zip its entry stands after a #: annotations_trainval2017.zip#annotations/captions_train2017.json
	Images   Paths             `json:"images"`   // coco, karpathy, folder: image folder or .zip, or a list of them. Pictures are found by the end of their path
	SHA256   map[string]string `json:"sha256"`   // expected digests, by "captions", "images" and "files", each of one file; checked while downloading

	Files          Paths    `json:"files,omitempty"`           // parquet: a file, a folder of .parquet files, a pattern such as data/train-*.parquet, or a list of them, here or on the hub: hf:datasets/ORG/NAME/data/train-*.parquet
	ImageColumn    string   `json:"image_column,omitempty"`    // parquet: column of the pictures' bytes, or a struct of bytes and path; empty: image, or another usual name
	CaptionColumns []string `json:"caption_columns,omitempty"` // parquet: columns of captions, each a text or a list of texts; a column within others is a.b; empty: the one with a usual name
	SplitColumn    string   `json:"split_column,omitempty"`    // parquet: column of each picture's split; empty: none
	IDColumn       string   `json:"id_column,omitempty"`       // parquet: column that names the picture: rows of one name are one picture with all their captions; empty: each row is one

	Clean CleanConfig `json:"clean,omitzero"` // what is done to captions

	Shapes ShapesConfig `json:"shapes"` // kind shapes only
}

// CleanConfig changes a source's captions, or leaves some out, before anything
// is made of them. What falls out by its length is counted in a warning.
type CleanConfig struct {
	Lower       bool `json:"lower"`        // to lower case
	StripPeriod bool `json:"strip_period"` // remove periods at the end
	MinWords    int  `json:"min_words"`    // leave out captions of fewer words; 0: none
	MaxWords    int  `json:"max_words"`    // leave out captions of more words; 0: none

	Keep string `json:"keep,omitempty"` // all captions of a picture, or of those left only the first; empty: all, with compat: seed first but for kind coco
	Raw  bool   `json:"raw,omitempty"`  // keep white space as it is, as compat: seed does, instead of collapsing it
}

// ShapesConfig sizes the generated dataset of kind shapes.
type ShapesConfig struct {
	Train      int `json:"train"`       // training pictures
	Validation int `json:"validation"`  // validation pictures
	Test       int `json:"test"`        // test pictures of scenes that do not occur in training
	TestUnseen int `json:"test_unseen"` // test pictures with a colour and shape never combined in training, reported apart as group "unseen"
	MaxObjects int `json:"max_objects"` // objects a scene, 1 to 3
	ImageSize  int `json:"image_size"`  // side of the square pictures, pixels; 0: model.image_size
}

// ModelConfig chooses the network: sizes, of which a preset fills those that are
// 0, or weights to start from, or an encoder and a decoder to join.
type ModelConfig struct {
	Preset    string `json:"preset"`            // tiny, small or base (base: ViT-base/16-224 + DistilGPT2); empty: small, unless every size is given
	Weights   string `json:"weights"`           // directory in Hugging Face form to start from, or hf:ORG/NAME[@REVISION] of the Hugging Face hub; empty: random init. Its config.json then gives all sizes
	Encoder   string `json:"encoder,omitempty"` // ViT or DeiT to start from, together with decoder and without weights: directory or hf:ORG/NAME[@REVISION], such as hf:google/vit-base-patch16-224-in21k. A pooler or classifier is left out
	Decoder   string `json:"decoder,omitempty"` // GPT-2 to start from, with encoder: directory or hf:ORG/NAME[@REVISION], such as hf:distilbert/distilgpt2. Its cross-attention is drawn by seed; its begin token starts captions, its end token ends and pads them
	Tokenizer string `json:"tokenizer"`         // directory with tokenizer.json, or vocab.json and merges.txt, or hf:ORG/NAME[@REVISION]; empty: that of weights or decoder, else one trained on the training captions

	ImageSize    int `json:"image_size"`    // side of the square input, pixels
	PatchSize    int `json:"patch_size"`    // side of a patch, pixels; divides image_size
	HiddenSize   int `json:"hidden_size"`   // width of encoder and decoder
	EncoderLayer int `json:"encoder_layer"` // ViT layers
	DecoderLayer int `json:"decoder_layer"` // GPT-2 layers
	Heads        int `json:"heads"`         // attention heads of both; divides hidden_size
	MLPSize      int `json:"mlp_size"`      // inner width of both MLPs; 0: 4 × hidden_size
	VocabSize    int `json:"vocab_size"`    // size of a trained tokenizer, at most; at least 257
	Positions    int `json:"positions"`     // GPT-2 n_positions
}

// PrepareConfig turns sources into rows of the model's picture size.
type PrepareConfig struct {
	ExifOrientation    bool    `json:"exif_orientation"`    // turn pictures as their EXIF tag says; Hugging Face's processor does not
	ValidationFraction float64 `json:"validation_fraction"` // share held out of sources without a split
	TestFraction       float64 `json:"test_fraction"`       // share held out of sources without a split
	MaxBadFraction     float64 `json:"max_bad_fraction"`    // more unreadable pictures or empty captions than this fail the stage
	ShardRows          int     `json:"shard_rows"`          // pictures a shard, at most; shards also stay below 64 MiB
}

// TrainConfig is the optimisation: AdamW, linear decay with warm-up, clip by
// global norm, early stopping on eval_rougeL.
type TrainConfig struct {
	Epochs             int     `json:"epochs"`               // passes over the training pictures
	BatchSize          int     `json:"batch_size"`           // pictures a step
	MicroBatchSize     int     `json:"micro_batch_size"`     // pictures a forward and backward pass; 0: batch_size. Divides batch_size
	CaptionsPerPicture int     `json:"captions_per_picture"` // captions trained a picture and step; surplus captions rotate by epoch; 0: 5, with compat: seed 1
	MaxLength          int     `json:"max_length"`           // label tokens a caption at most, end token included; 0: 32, with compat: seed 128
	LearningRate       float64 `json:"learning_rate"`        // peak learning rate; 0: 5e-5 with model.weights or model.encoder, else by hidden_size 1e-3 (to 128), 5e-4 (to 256) or 1e-4
	WarmupFraction     float64 `json:"warmup_fraction"`      // share of all steps in linear warm-up
	WeightDecay        float64 `json:"weight_decay"`         // AdamW decay of matrices; biases and norms have none
	Beta1              float64 `json:"beta1"`                // AdamW
	Beta2              float64 `json:"beta2"`                // AdamW
	Epsilon            float64 `json:"epsilon"`              // AdamW
	MaxGradNorm        float64 `json:"max_grad_norm"`        // clip by global norm; 0: no clipping
	Dropout            float64 `json:"dropout"`              // decoder's embedding, attention and residual dropout
	Precision          string  `json:"precision,omitempty"`  // float32, or bf16: the factors of matrix products are rounded to bfloat16, of 8 significant bits, and all else (weights, moments, sums, softmax, norms, loss, evaluation, exports) stays float32. For GPUs, which multiply it faster; a CPU gains little. Not with backend go
	Patience           int     `json:"patience"`             // stop after this many epochs without a better eval_rougeL; 0: never
	CheckpointSteps    int     `json:"checkpoint_steps"`     // checkpoint every so many steps, beside each epoch's end; 0: by checkpoint_seconds only
	CheckpointSeconds  int     `json:"checkpoint_seconds"`   // checkpoint after so many seconds; 0: by steps only
	KeepCheckpoints    int     `json:"keep_checkpoints"`     // newest checkpoints kept, beside the best

	GradientCheckpointing bool `json:"gradient_checkpointing,omitempty"` // save memory, at about a third more computation: keep the inputs of the network's layers only, and compute each layer again in the backward pass

	AllowNumericsChange bool `json:"allow_numerics_change"` // go on with a worker whose backend or hardware differs from the first step's

	Augment AugmentConfig `json:"augment"` // random changes of training pictures
}

// AugmentConfig bounds the random change of each training picture; all zero is none.
type AugmentConfig struct {
	Shift    float64 `json:"shift"`    // share of the side, each direction
	Scale    float64 `json:"scale"`    // 0.1: between 0.9 and 1.1
	Rotation float64 `json:"rotation"` // degrees, each direction
	Color    float64 `json:"color"`    // 0.1: brightness, contrast and each channel's gain between 0.9 and 1.1
}

// EvaluateConfig is how validation and test sets are captioned and scored.
type EvaluateConfig struct {
	BatchSize int `json:"batch_size"` // pictures captioned at once
	MaxLength int `json:"max_length"` // tokens generated at most, start token included; 0: train.max_length + 1, with compat: seed 50
	Limit     int `json:"limit"`      // validation pictures used after an epoch; 0: all. The test set is always whole
	Samples   int `json:"samples"`    // captions shown in the report
}

// ExportConfig is what is published and what its checks demand.
type ExportConfig struct {
	Dtypes        []string `json:"dtypes"`           // fp32, q8, int8 (as q8 in 7 bits: faster on processors with VNNI)
	Pictures      int      `json:"pictures"`         // validation pictures each export is checked on; 0: all
	MaxLogitsDiff float64  `json:"max_logits_diff"`  // fp32: largest difference of a logit from the Go model's
	MaxRougeDrop  float64  `json:"max_rouge_l_drop"` // q8, int8: points of rougeL they may lose
}
