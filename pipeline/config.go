// Package pipeline is the contract of a run: the Config a person writes, each
// activity's input and result, and the types of errors. Of ours it imports only what
// does no work (model/preset, storage/layout), so that workflows, activities and
// commands can all depend on it. Start reading at Config, then stages.go.
package pipeline

// Config is everything that determines a run. People write it as YAML, and the
// same keys as JSON are the workflow's input. See Default for the values an absent
// key takes and Decode for how mistakes are reported. The fields' comments are what
// people read in docs/config.md and in the program's help: see Reference.
type Config struct {
	// model's name under models/ in the object store; default: the run's id
	Name string `json:"name"`
	// seed of initial weights, dropout, order of examples and augmentation
	Seed     uint64         `json:"seed"`
	Dataset  []SourceConfig `json:"dataset"`           // sources of captioned pictures; at least one
	Model    ModelConfig    `json:"model"`             // the network and its tokenizer
	Prepare  PrepareConfig  `json:"prepare"`           // pictures and captions to training rows
	Train    TrainConfig    `json:"train"`             // optimisation
	Evaluate EvaluateConfig `json:"evaluate"`          // validation after each epoch, test at the end
	Generate GenerateConfig `json:"generate,omitzero"` // what captions may say
	Export   ExportConfig   `json:"export"`            // ONNX files and their checks
	Publish  PublishConfig  `json:"publish,omitzero"`  // approval, a push to the hub, and what the model's card says
	Backend  string         `json:"backend"`           // auto, cuda, xla (CPU) or go
	Track    TrackConfig    `json:"track,omitzero"`    // curves in other programs
	Notify   NotifyConfig   `json:"notify,omitzero"`   // who hears of the run's end

	// seed: captions and loss as mozilla/distilvit's train.py has them, so that eval_loss can
	// be compared with its: captions are padded to 128 tokens with the end token, the padding counts in
	// the loss, and a longer caption has no end token. Of each picture only the first caption is taken
	// (kind coco: all), white space is kept as it is, and the defaults of train.max_length,
	// train.captions_per_picture, evaluate.max_length and dataset[].clean are that script's; see
	// docs/compat.md. Empty: padding is left out of the loss and one end token is taught
	Compat string `json:"compat,omitempty"`

	// which of several waiting runs gets a device first, from 1 (first) to 5; 0: 3, or what
	// the workflow was started with. May be another each time a run goes on
	Priority int `json:"priority,omitempty"`
}

// SourceConfig is one source of captioned pictures. Paths are read by the worker. An
// http(s) URL works wherever a path does, and so do files of a dataset repository of the
// Hugging Face hub: hf:datasets/ORG/NAME[@REVISION]/PATH, where the path is a file, a
// folder or a pattern. A run keeps the commit that it began with. A URL refers to its
// secrets as ${DISTILVIT_SECRET_NAME}, a variable of the workers' environment.
type SourceConfig struct {
	// shapes (generated pictures), coco (annotation JSON), karpathy (his split JSON of COCO or Flickr30k),
	// folder (pictures with a table, JSON lines, or their captions among them), webdataset (tar files of
	// pictures and captions) or parquet (what the datasets library writes and the Hugging Face hub stores).
	// Empty: told by the names of the files, and of a .json file by what it holds (json)
	Kind string `json:"kind"`

	// train, validation or test: of a source with splits of its own only these pictures, of
	// another all of them as this split. Empty: the source's own splits; where it has none, some pictures
	// are held out by the hash of their ids, and shapes draws all three
	Split string `json:"split"`

	Limit int `json:"limit"` // use at most this many pictures; 0: all

	// how often an epoch shows each training picture, in the mean: 2 shows each twice, 0.5
	// another half of them each epoch; 0: once
	Weight float64 `json:"weight,omitempty"`

	// coco: annotation JSON; karpathy: dataset_coco.json or dataset_flickr30k.json; folder: a table (.csv,
	// .tsv, .txt), JSON lines (.jsonl) or a JSON list (.json), of objects or of LLaVA's conversations; empty:
	// the captions are among the images, in metadata.csv or metadata.jsonl, or in a .txt or .caption file
	// beside each picture. A file in a .zip is named after a #:
	// annotations_trainval2017.zip#annotations/captions_train2017.json
	Captions string `json:"captions"`

	// coco, karpathy, folder: image folder or .zip, or a list of them. Pictures are found by
	// the end of their path. parquet: where the rows only name their pictures
	Images Paths `json:"images"`

	// expected digests, by "captions", "images" and "files", each of one file; checked while
	// downloading
	SHA256 map[string]string `json:"sha256"`

	// parquet, webdataset: a file, a folder of .parquet or .tar files, a pattern such as
	// data/train-*.parquet or shard-{000..127}.tar, or a list of them, here or on the hub:
	// hf:datasets/ORG/NAME/data/train-*.parquet
	Files Paths `json:"files,omitempty"`

	// parquet: column of the pictures' bytes, or a struct of bytes and path; folder, and parquet with
	// images: column or key of the pictures' names; empty: image, or another usual name
	ImageColumn string `json:"image_column,omitempty"`

	// parquet, folder: columns or keys of captions, each a text or a list of texts; webdataset:
	// keys of the .json; in parquet a column within others is written a.b; empty: the one with a usual name
	CaptionColumns []string `json:"caption_columns,omitempty"`

	// parquet, folder: column of each picture's split; empty: none
	SplitColumn string `json:"split_column,omitempty"`

	// parquet: column that names the picture: rows of one name are one picture with all their
	// captions; empty: each row is a picture, or with images each name
	IDColumn string `json:"id_column,omitempty"`

	// folder, webdataset, parquet: rows that are used, by column or key: those whose value is the text
	// that stands here, or one of the list; * stands for any value but none. All of several have to hold
	Where map[string]Paths `json:"where,omitempty"`

	// the caption of every picture, such as "a scanned document"; empty: those of the source
	Caption string `json:"caption,omitempty"`

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

	// all captions of a picture, or first: only the first of those that are left; empty: all;
	// with compat: seed first, for kind coco all
	Keep string `json:"keep,omitempty"`

	// keep white space as it is, as compat: seed does, instead of collapsing it
	Raw bool `json:"raw,omitempty"`
}

// ShapesConfig sizes the generated dataset of kind shapes.
type ShapesConfig struct {
	Train      int `json:"train"`      // training pictures
	Validation int `json:"validation"` // validation pictures
	Test       int `json:"test"`       // test pictures of scenes that do not occur in training

	// test pictures with a colour and shape never combined in training, reported apart as group
	// "unseen"
	TestUnseen int `json:"test_unseen"`

	MaxObjects int `json:"max_objects"` // objects a scene, 1 to 3
	ImageSize  int `json:"image_size"`  // side of the square pictures, pixels; 0: model.image_size

	// of the captions: en, zh (Chinese), ja (Japanese), ar (Arabic), th (Thai) or vi
	// (Vietnamese); empty: en
	Language string `json:"language,omitempty"`
}

// ModelConfig chooses the network: sizes, of which a preset fills those that are
// 0, or weights to start from, or an encoder and a decoder to join.
type ModelConfig struct {
	// how the decoder knows of the picture: cross_attention (a GPT-2 attends to it beside the caption) or prefix (its
	// vectors stand before the caption's tokens in a Llama, such as SmolLM2, or in a GPT-2 without cross-attention). Empty: as
	// preset or weights have it; of a decoder, prefix for a Llama and cross_attention for a GPT-2
	Kind string `json:"kind,omitempty"`

	// tiny, small or base (base: ViT-base/16-224 + DistilGPT2), or of the kind prefix modern-tiny, modern-base
	// (SigLIP-base/16-224 + SmolLM2-135M) or modern-large (+ SmolLM2-360M), drawn by seed; or a captioner
	// that exists to start from: distilvit (weights: hf:Mozilla/distilvit) or vit-gpt2
	// (weights: hf:nlpconnect/vit-gpt2-image-captioning), which few pictures need. Empty: small,
	// unless every size is given
	Preset string `json:"preset"`

	// directory in Hugging Face form to start from, hf:ORG/NAME[@REVISION] of the Hugging
	// Face hub, or run:RUN, what a run of the same store has published (run:models/NAME: the newest of that name); its
	// config.json then gives all sizes. Empty: random initial weights
	Weights string `json:"weights"`

	// ViT, DeiT, SigLIP, CLIP or DINOv2 to start from, together with decoder and without weights: directory
	// or hf:ORG/NAME[@REVISION], such as hf:google/siglip-base-patch16-224. A pooler, classifier or text
	// model is left out
	Encoder string `json:"encoder,omitempty"`

	// GPT-2 or Llama to start from, together with encoder: directory or hf:ORG/NAME[@REVISION], such as
	// hf:distilbert/distilgpt2 or hf:HuggingFaceTB/SmolLM2-135M. A GPT-2's cross-attention, or with the kind prefix the
	// projection, is drawn by seed; its begin token starts captions, its end token ends and pads them
	Decoder string `json:"decoder,omitempty"`

	// of the kind prefix, what makes the encoder's vectors the decoder's: mlp (two layers, gelu between them) or linear
	// (two layers with nothing between them, of which the second begins as the identity). Empty: mlp
	Projection string `json:"projection,omitempty"`

	// layers of weights, or of encoder and decoder, that the model is made of: every second one makes a student of half
	// the size, as DistilGPT2 was made. Needs weights, or encoder and decoder
	FromLayers LayersConfig `json:"from_layers,omitzero"`

	// of the kind prefix: with 2 or 3, the vectors of as many by as many neighbouring patches become one (pixel shuffle), which
	// one layer makes the decoder's, as SmolVLM has it; a caption then stands behind a quarter or a ninth of the vectors. It is
	// of a SigLIP, in the place of projection, and divides the patches of a side. 0: every patch has its vector
	ScaleFactor int `json:"scale_factor,omitempty"`

	// of the kind prefix: a text between the picture and each caption, such as "Describe the picture.\n". Its tokens stand
	// behind the start token, count neither in the loss nor as the caption's, and are a part of what is published. Empty:
	// none, or that of weights
	Prompt string `json:"prompt,omitempty"`

	// LoRA adapter in PEFT's form to go on training, with train.lora: directory or hf:ORG/NAME[@REVISION]. It is for
	// the weights that weights names
	Adapter string `json:"adapter,omitempty"`

	// directory with tokenizer.json, or with vocab.json and merges.txt, or
	// hf:ORG/NAME[@REVISION]; empty: that of weights or decoder, else one trained on the training captions
	Tokenizer string `json:"tokenizer"`

	ImageSize    int `json:"image_size"`    // side of the square input, pixels
	PatchSize    int `json:"patch_size"`    // side of a patch, pixels; divides image_size
	HiddenSize   int `json:"hidden_size"`   // width of encoder and decoder
	EncoderLayer int `json:"encoder_layer"` // ViT layers
	DecoderLayer int `json:"decoder_layer"` // GPT-2 layers
	Heads        int `json:"heads"`         // attention heads of both; divides hidden_size
	MLPSize      int `json:"mlp_size"`      // inner width of both MLPs; 0: 4 × hidden_size
	VocabSize    int `json:"vocab_size"`    // size of a trained tokenizer, at most; at least 257
	Positions    int `json:"positions"`     // tokens of a caption at most; of the kind prefix, with the picture's vectors

	DecoderHiddenSize int `json:"decoder_hidden_size,omitempty"` // of the kind prefix: width of the decoder
	DecoderHeads      int `json:"decoder_heads,omitempty"`       // of the kind prefix: attention heads of the decoder
	KeyValueHeads     int `json:"key_value_heads,omitempty"`     // of the kind prefix: divides decoder_heads
	DecoderMLPSize    int `json:"decoder_mlp_size,omitempty"`    // of the kind prefix: inner width of the decoder's MLPs
}

// LayersConfig are layers of another model, by their numbers from 0, ascending.
type LayersConfig struct {
	Encoder []int `json:"encoder,omitempty"` // such as [0, 2, 4, 6, 8, 10]; empty: all
	Decoder []int `json:"decoder,omitempty"` // such as [0, 2, 4]; empty: all
}

// PrepareConfig turns sources into rows of the model's picture size.
type PrepareConfig struct {
	// turn pictures as their EXIF tag says; Hugging Face's processor does not
	ExifOrientation    bool    `json:"exif_orientation"`
	ValidationFraction float64 `json:"validation_fraction"` // share held out of sources without a split
	TestFraction       float64 `json:"test_fraction"`       // share held out of sources without a split

	// a larger share of unreadable pictures or empty captions fails the stage
	MaxBadFraction float64 `json:"max_bad_fraction"`

	// a picture of more pixels is a bad one; 0: 178956970, as in Pillow. So is one that would
	// take more than 300 MiB of memory to decode
	MaxPixels int `json:"max_pixels"`

	ShardRows int `json:"shard_rows"` // pictures a shard, at most; shards also stay below 64 MiB
}

// TrainConfig is the optimisation: AdamW, a learning rate that decays after a warm-up, clip by
// global norm, early stopping.
type TrainConfig struct {
	Epochs int `json:"epochs"` // passes over the training pictures

	// steps in all, instead of epochs: the last epoch is as short as that makes it; 0: epochs
	MaxSteps int `json:"max_steps,omitempty"`

	BatchSize int `json:"batch_size"` // pictures a step

	// pictures a forward and backward pass; 0: batch_size. Divides batch_size
	MicroBatchSize int `json:"micro_batch_size"`

	// captions of each picture that a step trains, at most; where a picture has more,
	// another choice of them each epoch; 0: 5, with compat: seed 1
	CaptionsPerPicture int `json:"captions_per_picture"`

	// label tokens a caption at most, end token included; 0: as the training captions need, the first of 32,
	// 48, 64, 96 and 128 that cuts at most one in a thousand; with compat: seed 128
	MaxLength int `json:"max_length"`

	// peak learning rate; 0: 5e-4 with lora, else 5e-5 with model.weights or model.encoder, else by hidden_size
	// 1e-3 (to 128), 5e-4 (to 256) or 1e-4
	LearningRate float64 `json:"learning_rate"`

	// how the learning rate goes on after warm-up, with the names of Hugging Face's Trainer: linear or cosine (to
	// 0 at the last step), constant_with_warmup, or constant (which has no warm-up); empty: linear
	LRSchedulerType string `json:"lr_scheduler_type,omitempty"`

	WarmupFraction float64 `json:"warmup_fraction"` // share of all steps in linear warm-up

	// steps in linear warm-up, instead of warmup_fraction; 0: that
	WarmupSteps int `json:"warmup_steps,omitempty"`

	WeightDecay float64 `json:"weight_decay"`  // AdamW decay of matrices; biases and norms have none
	Beta1       float64 `json:"beta1"`         // AdamW
	Beta2       float64 `json:"beta2"`         // AdamW
	Epsilon     float64 `json:"epsilon"`       // AdamW
	MaxGradNorm float64 `json:"max_grad_norm"` // clip by global norm; 0: no clipping
	Dropout     float64 `json:"dropout"`       // decoder's embedding, attention and residual dropout

	// what is not trained: names of tensors as Hugging Face has them, or their beginning (encoder), with * for any
	// characters and 0-8 for these numbers; or encoder.embeddings, encoder.layers.0-8, encoder.norm,
	// decoder.embeddings, decoder.layers.0, decoder.cross_attention, decoder.norm, projection. It costs no gradient, no
	// moments and no place in checkpoints. Needs model.weights, or encoder and decoder
	Freeze Paths `json:"freeze,omitempty"`

	// what the learning rate of each layer is multiplied with for every layer above it in encoder or decoder, once for
	// the last layer itself and once more for embeddings, such as 0.8; 0: 1
	LayerDecay float64 `json:"layer_decay,omitempty"`

	// parts that are trained otherwise, also than freeze says; where several mean a tensor, the last one wins
	Parts []PartConfig `json:"parts,omitempty"`

	// adapters to train beside linear layers, instead of the layers: everything is frozen but they and what parts says
	// freeze: false of. Needs model.weights, or encoder and decoder
	LoRA LoRAConfig `json:"lora,omitzero"`

	// share of each label token's probability that is spread over the whole vocabulary, as Trainer's
	// LabelSmoother does. Of the training loss alone: eval_loss stays the cross-entropy
	LabelSmoothingFactor float64 `json:"label_smoothing_factor,omitempty"`

	// average of the weights over the steps: what it keeps of itself at each, such as 0.999, in the first steps
	// less (step / (step + 9), so that it forgets the initial weights). The average is evaluated and published;
	// a checkpoint is a third larger. 0: none
	EMA float64 `json:"ema,omitempty"`

	// float32; bf16: the factors of matrix products are rounded to bfloat16 (8 significant
	// bits); all else stays float32: weights, moments, sums, softmax, norms, loss, evaluation, exports. For
	// GPUs, which multiply bf16 faster; a CPU gains little. Not with backend go. Or tf32, with backend cuda
	// only: NVIDIA's 11 significant bits for factors, in training and validation; exports stay float32
	Precision string `json:"precision,omitempty"`

	// on CUDA: the same bits from every run and after every crash. Kernels whose sums have no fixed order are
	// left out, and none is chosen by how fast it was just now; slower. The CPU backends always are
	Deterministic bool `json:"deterministic,omitempty"`

	// validation every so many steps of the training, beside the one at each epoch's end; 0: at those alone. A stop
	// waits for the next one
	EvalSteps int `json:"eval_steps,omitempty"`

	// stop after this many validations (without eval_steps: epochs) that were better neither by
	// metric_for_best_model nor by eval_loss (with compat: seed by the metric alone); 0: never
	Patience int `json:"patience"`

	// what the best epoch, which is published, is chosen by:
	// eval_rougeL, eval_cider, eval_bleu4, eval_exact_match (the highest) or eval_loss (the
	// lowest); of even scores the lowest eval_loss, of even losses the earliest. While a score says nothing, since it is
	// 0 for every validation picture or one caption goes to more than half of them and is wrong for most, the epoch of
	// the lowest eval_loss is the best, with a warning; an epoch of which the score does say something is better than
	// those. With compat: seed the score is believed, and of even ones the earliest is best; empty: eval_rougeL
	MetricForBestModel string `json:"metric_for_best_model,omitempty"`

	// a checkpoint every so many steps (Trainer's save_steps), beside those at each epoch's end; 0: by
	// checkpoint_seconds only
	CheckpointSteps int `json:"checkpoint_steps"`

	CheckpointSeconds int `json:"checkpoint_seconds"` // checkpoint after so many seconds; 0: by steps only
	KeepCheckpoints   int `json:"keep_checkpoints"`   // newest checkpoints kept, beside the best

	// save memory at about a third more computation: keep only the inputs of the network's
	// layers, and compute each layer again in the backward pass
	GradientCheckpointing bool `json:"gradient_checkpointing,omitempty"`

	// go on with a worker whose backend or hardware differs from the first step's
	AllowNumericsChange bool `json:"allow_numerics_change"`

	Augment AugmentConfig `json:"augment"` // random changes of training pictures

	// float32 or bfloat16: each training picture goes through the frozen encoder once, and what comes out is stored for
	// every epoch and every run with the same pictures and encoder; an epoch then costs the decoder only. float32 trains as
	// if pictures were encoded at each step, bfloat16 takes half the space (base: 303 KB a picture) and rounds to 8
	// significant bits. Pictures of validation and test are stored, too, always as float32. Needs freeze: [encoder]. Empty or
	// off: pictures are encoded at each step
	Features string `json:"features,omitempty"`

	// views of each picture that are drawn by augment and stored, of which each epoch shows the next; 1 to 64. Needed with
	// features and augment
	FeatureViews int `json:"feature_views,omitempty"`

	// a captioner of the same vocabulary and picture size, whose distribution of the next token the student learns beside
	// its captions: directory, hf:ORG/NAME[@REVISION], or run:RUN (as model.weights). What it says is stored once for every
	// run with the same pictures and teacher. A model of random weights takes its tokenizer
	Teacher string `json:"teacher,omitempty"`

	// weight α of the teacher's part of the loss; the captions' has 1 - α. Above 0, at most 1; 0: 0.25
	TeacherWeight float64 `json:"teacher_weight,omitempty"`

	// what both models' logits are divided by before they are compared; 0: 1
	TeacherTemperature float64 `json:"teacher_temperature,omitempty"`

	// tokens that are stored of each place of a caption, the teacher's likeliest: 4 bytes each, 6 where the
	// vocabulary has more than 65,536; all others are learnt together, as one. 1 to 256; 0: 16
	TeacherTopK int `json:"teacher_top_k,omitempty"`

	// captions that the teacher says of each training picture, the best of a beam search, and that are learnt as if they
	// were the picture's; 0: none
	TeacherCaptions int `json:"teacher_captions,omitempty"`

	// views of each picture that are drawn by augment and that the teacher is asked of, of which each epoch shows the next;
	// with as many as epochs pictures are changed as ever. With feature_views as many as those. 1 to 64; 0: the teacher is
	// asked of the picture as it is, whatever augment shows the student
	TeacherViews int `json:"teacher_views,omitempty"`
}

// FeaturesOff is TrainConfig.Features that are not stored; so is "".
const FeaturesOff = "off"

// MaxFeatureViews bounds TrainConfig.FeatureViews.
const MaxFeatureViews = 64

// MaxTeacherTopK and MaxTeacherCaptions bound TrainConfig.TeacherTopK and TeacherCaptions.
const (
	MaxTeacherTopK     = 256
	MaxTeacherCaptions = 16
)

// OfHeldOut is t for the features of pictures that are evaluated: one view of each, in float32, as the published encoder
// makes it.
func (t TrainConfig) OfHeldOut() TrainConfig {
	t.Features, t.FeatureViews = featureTypes[1], 0
	return t
}

// StoresFeatures tells whether what the encoder makes of training pictures is stored.
func (t TrainConfig) StoresFeatures() bool { return t.Features != "" && t.Features != FeaturesOff }

// PartConfig is how some tensors are trained. What is left out stays as it is for them.
type PartConfig struct {
	Match string `json:"match"` // as in freeze

	// peak learning rate, in the place of train.learning_rate; layer_decay multiplies it, too
	LearningRate *float64 `json:"learning_rate,omitempty"`

	// AdamW decay of their matrices, in the place of train.weight_decay
	WeightDecay *float64 `json:"weight_decay,omitempty"`

	// true: not trained; false: trained although freeze or a part before says otherwise
	Freeze *bool `json:"freeze,omitempty"`
}

// LoRAConfig is LoRA by the names of PEFT's LoraConfig. The published weights have the adapters in them; the folder
// adapter has them apart, in PEFT's form.
type LoRAConfig struct {
	R int `json:"r,omitempty"` // rank of the adapters, such as 8; 0: no adapters

	// what adapters are multiplied with is lora_alpha / r; 0: 16
	Alpha float64 `json:"lora_alpha,omitempty"`

	Dropout float64 `json:"lora_dropout,omitempty"` // dropout of what goes into adapters, 0 to below 1
	RSLoRA  bool    `json:"use_rslora,omitempty"`   // lora_alpha / √r instead

	// linear layers that get an adapter: ends of their names, such as c_attn or mlp.c_fc, patterns as in freeze, or
	// all-linear. Empty: c_attn of GPT-2, and the encoder's queries and values
	TargetModules Paths `json:"target_modules,omitempty"`
}

// AugmentConfig bounds the random change of each training picture; all zero is none.
type AugmentConfig struct {
	Shift    float64 `json:"shift"`    // share of the side, each direction
	Scale    float64 `json:"scale"`    // 0.1: between 0.9 and 1.1
	Rotation float64 `json:"rotation"` // degrees, each direction
	// 0.1: brightness, contrast and each channel's gain between 0.9 and 1.1
	Color float64 `json:"color"`
}

// EvaluateConfig is how validation and test sets are captioned and scored.
type EvaluateConfig struct {
	BatchSize int `json:"batch_size"` // pictures captioned at once

	// tokens generated at most, start token included; 0: train.max_length + 1, with compat:
	// seed 50
	MaxLength int `json:"max_length"`

	// validation pictures used after an epoch; 0: all. The test set is always whole
	Limit   int `json:"limit"`
	Samples int `json:"samples"` // captions shown in the report

	// what captions are split into to be scored: rouge_score (a-z and 0-9, English stems; PTB
	// words for BLEU, CIDEr and METEOR), unicode (words of any language by UAX #29, characters
	// for scripts without spaces) or auto: unicode where rouge_score would throw away more than
	// 0.5 % of the references' letters, decided once a run; empty: auto, with compat: seed
	// rouge_score
	Words string `json:"words,omitempty"`
}

// GenerateConfig says what may follow while a caption is made: in validation and test, in the checks of
// exports, and, written in the published generation_config.json, in transformers and Transformers.js. Keys
// are those of Hugging Face's GenerationConfig. What the generation_config.json of model.weights says of
// them holds, too: lists are joined, and other keys are the config's where it has them.
type GenerateConfig struct {
	// words or phrases that no caption has, written as within a caption: "dog" forbids the tokens of "dog"
	// and of " dog", not those of "Dog" or of a longer word's beginning that the tokenizer splits otherwise
	BadWords []string `json:"bad_words,omitempty"`

	BadWordsIDs    [][]int `json:"bad_words_ids,omitempty"`   // the same as lists of token ids
	SuppressTokens []int   `json:"suppress_tokens,omitempty"` // token ids that never come

	// token ids that do not come first, or with forced_bos_token_id not second
	BeginSuppressTokens []int `json:"begin_suppress_tokens,omitempty"`

	ForcedBOSTokenID *int `json:"forced_bos_token_id,omitempty"` // token id that comes first; empty: any

	// token id that is the last of a caption of evaluate.max_length tokens; empty: any
	ForcedEOSTokenID *int `json:"forced_eos_token_id,omitempty"`

	// so many tokens in a row come once only; 0: off
	NoRepeatNGramSize int `json:"no_repeat_ngram_size,omitempty"`

	// scores of tokens that came are divided by it, multiplied where they are negative; 0: off
	RepetitionPenalty float64 `json:"repetition_penalty,omitempty"`
}

// ExportConfig is what is published and what its checks demand.
type ExportConfig struct {
	// fp32, fp16, q8, int8 (as q8 in 7 bits: faster on processors with VNNI), q4, q4f16 (q4 that
	// computes in float16, for WebGPU)
	Dtypes   []string `json:"dtypes"`
	Pictures int      `json:"pictures"` // validation pictures each export is checked on; 0: all
	// fp32: largest difference of a logit from the Go model's
	MaxLogitsDiff float64 `json:"max_logits_diff"`
	// all but fp32: points of rougeL they may lose; q4 and q4f16 twice as many
	MaxRougeDrop float64 `json:"max_rouge_l_drop"`

	// all but fp32: share of pictures, 0 to 1, whose captions must be the model's token by token (of
	// fp32 all must); 0: 0.9 of fp16, 0.7 of q8 and int8, 0.5 of q4 and q4f16, or nothing where
	// max_rouge_l_drop is 100
	MinEqual float64 `json:"min_equal,omitempty"`

	// validation pictures whose captions the model reads before its weights are rounded, so that what its matrices
	// multiply there comes out right, rather than each weight (GPTQ). Files of q8, int8, q4 and q4f16 have the same
	// size and form; those of 4 bits come nearer to the model. 64 will do. 0: each weight is rounded to the nearest
	Calibrate int `json:"calibrate,omitempty"`

	// validation pictures, with a caption each, that what rounding does to each layer is measured on, for each of q8,
	// int8, q4 and q4f16: one layer is rounded at a time, and the report shows how far that takes the model's
	// next-token distributions. It takes as many passes over these pictures as a dtype has layers. 0: none, or 32
	// with export.mixed
	Damage int `json:"damage,omitempty"`

	// q4 and q4f16 keep layers in 8 bits, first those whose damage is greatest for each byte that 4 bits save, as
	// many as export.max_size_mib allows; without one, until the files are a tenth larger
	Mixed bool `json:"mixed,omitempty"`

	// MiB that the two files (encoder and decoder together) of each dtype may have; one that needs more ends the run
	// with the figures: before training where the vocabulary is given and not pruned, else before export. 0: no bound
	MaxSizeMiB float64 `json:"max_size_mib,omitempty"`

	// leave tokens out of the published vocabulary: auto keeps those that the training captions are made
	// of, a number at most so many, the most frequent of them. Bytes and special tokens stay in any case, so
	// that every text can still be encoded. Validation captions may lose max_rouge_l_drop by it. Empty: the
	// whole vocabulary
	PruneVocab Vocabulary `json:"prune_vocab,omitempty"`

	// run each dtype in Transformers.js on the worker that exports, too: under Node, and in Chromium in
	// WebAssembly and on WebGPU, on a few pictures whose captions leave no doubt. What is wrong somewhere is
	// said in the card, and config.json names another dtype there. It needs Transformers.js (distilvit backend
	// install transformers.js, for Node transformers.js-node). Empty: where the latter is found
	CheckWeb *bool `json:"check_web,omitempty"`

	// devices of that check on which every dtype has to be right, or nothing is published: node, wasm,
	// webgpu
	Require []string `json:"require,omitempty"`
}

// mixedPictures are those that damage is measured on where layers are to be chosen and nothing else is said.
const mixedPictures = 32

// DamagePictures are so many as damage is measured on; 0: it is not.
func (e ExportConfig) DamagePictures() int {
	if e.Mixed && e.Damage == 0 {
		return mixedPictures
	}
	return e.Damage
}

// MaxBytes are those that a dtype's files may have; 0: no bound.
func (e ExportConfig) MaxBytes() int64 { return int64(e.MaxSizeMiB * (1 << 20)) }

// mixes says whether a dtype can keep layers in 8 bits.
func mixes(dtype string) bool { return dtype == DtypeQ4 || dtype == DtypeQ4F16 }

// PublishConfig is who approves of a model, where it goes, and what its card (README.md) says that only its author knows, under
// the names of the Hugging Face hub's metadata. The card names no path of the machine that trained.
type PublishConfig struct {
	// true: the run waits after its exports until somebody decides with distilvit approve RUN or
	// distilvit reject RUN, or with Temporal's updates or signals of these names
	Approve bool `json:"approve,omitempty"`

	// who is asked to approve, a name or an address, or a list; shown with the question. Anybody who can
	// reach the run may answer
	Approvers Paths `json:"approvers,omitempty"`

	// hf:ORG/NAME[@BRANCH] on the Hugging Face hub that the published model is pushed to, as one commit,
	// with the HF_TOKEN of the workers. The repository is made if there is none. A push that fails is
	// a warning: distilvit push RUN hf:ORG/NAME tries again. Empty: none is
	Push string `json:"push,omitempty"`

	// of push: make the repository for its owners alone, and refuse one that is public
	Private bool `json:"private,omitempty"`

	// publish only what is better than a published model on the same pictures; see below
	BetterThan BetterThanConfig `json:"better_than,omitzero"`

	// ORG/NAME that the model is to have on the hub; the card's examples load it from there. Empty: that of
	// push, or they have a place to fill in
	RepoID string `json:"repo_id,omitempty"`

	// the hub's identifier of the model's licence, such as apache-2.0, mit or cc-by-4.0; other needs
	// license_name. Empty: the card names none, and so gives nobody a right to use the model
	License string `json:"license,omitempty"`

	LicenseName string `json:"license_name,omitempty"` // of license other: its name, such as acme-research-1.0
	LicenseLink string `json:"license_link,omitempty"` // of license other: URL or file of its text

	// of the captions: ISO 639 code, such as en or vi, or a list; empty: that of drawn scenes
	// (dataset[].shapes.language) where all are drawn, else the card says none
	Language Paths `json:"language,omitempty"`

	// ORG/NAME on the hub that the model is made from, or a list; empty: the hf: names that
	// model.weights, or encoder and decoder, start from
	BaseModel Paths `json:"base_model,omitempty"`
}

// BetterThanConfig compares the run's best checkpoint, before it is exported, with a published model: both caption the
// same pictures, and the run publishes if it is better. Otherwise it ends as rejected, with both figures, and
// keeps its checkpoints. distilvit schedule sets it.
type BetterThanConfig struct {
	// models/NAME/VERSION, or models/NAME: the newest version when the run begins; where there is none yet the run
	// publishes without a comparison. Empty: nothing is compared
	Model string `json:"model,omitempty"`

	// datasets/KEY, prepared pictures of the object store (distilvit ls datasets), whose test split, or
	// validation where there is none, both caption. Empty: those that the model was compared on before it was published,
	// or else its own; so one set stays from the first version on
	Dataset string `json:"dataset,omitempty"`

	// what they are compared by, as in train.metric_for_best_model; empty: that
	Metric string `json:"metric,omitempty"`

	Margin float64 `json:"margin,omitempty"` // least difference, in the metric's own points; 0: any
}

// TrackConfig shows a run's curves where people look at others: loss, learning rate and gradient of each step, and
// the scores of each validation. None of it changes what is trained, and it may be another each time a
// run goes on. A server that fails is a warning.
type TrackConfig struct {
	// write TensorBoard's event files: into the store under the run when an epoch is finished, and step by step
	// into tensorboard/RUN below the directory of --data, for tensorboard --logdir
	TensorBoard bool `json:"tensorboard,omitempty"`

	// URL of an MLflow tracking server. The run is one run there, in the experiment that has the model's
	// name, however often it is interrupted. An account is written user:${DISTILVIT_SECRET_NAME}@ before
	// the host, with the secret in the workers' environment
	MLflow string `json:"mlflow,omitempty"`
}

// NotifyConfig names who is told that a run has published, failed, was rejected or asks for approval. As with
// track, it may be another each time a run goes on, and what fails is a warning.
type NotifyConfig struct {
	// URL that each such event is sent to as JSON, {"type", "timestamp", "data"}. What of it is secret is
	// written ${DISTILVIT_SECRET_NAME}, or all of it is
	Webhook string `json:"webhook,omitempty"`

	// ${DISTILVIT_SECRET_NAME}, a variable of the workers' environment: the events are signed with its value, in
	// the headers of the Standard Webhooks specification. Empty: they are not signed
	Secret string `json:"secret,omitempty"`
}
