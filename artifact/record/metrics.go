package record

// Metrics of an evaluation, under the names that Hugging Face's Trainer gives them.
type Metrics struct {
	// Loss is the mean over the label tokens of all captions, end token included;
	// with compat: seed over 128 tokens a caption, padding included.
	Loss float64 `json:"eval_loss"`
	Scores
	// evaluate.words as taken; empty, of older programs: rouge_score
	Words            string  `json:"eval_words,omitempty"`
	Runtime          float64 `json:"eval_runtime"`            // seconds
	SamplesPerSecond float64 `json:"eval_samples_per_second"` // pictures

	// Groups has the scores of each group of pictures, by Example.Group; nil where a
	// dataset has no groups. A group's loss and time are not measured.
	Groups map[string]Scores `json:"groups,omitempty"`

	// Baselines are what needs no model, on the same pictures or 1,000 of them; nil: not measured.
	Baselines *Baselines `json:"baselines,omitempty"`
}

// Baselines are scores that a captioner has to beat, since no model is needed for them. Their eval_gen_len is 0.
type Baselines struct {
	Trained   int    `json:"trained"`   // training pictures that were looked at, 10,000 at most
	Caption   string `json:"caption"`   // the most frequent of their captions
	Commonest Scores `json:"commonest"` // of that one, given to every picture

	// of the caption of the training picture that looks most alike at 16 × 16 pixels
	Nearest Scores `json:"nearest"`
}

// Scores of generated captions. Rouge, Bleu and Cider values are × 100. Where a
// picture has several references, Rouge takes the best one of each picture and then
// the mean over pictures; for Bleu and Cider see package metrics.
type Scores struct {
	Rouge1    float64 `json:"eval_rouge1"`
	Rouge2    float64 `json:"eval_rouge2"`
	RougeL    float64 `json:"eval_rougeL"`
	RougeLsum float64 `json:"eval_rougeLsum"`
	Bleu1     float64 `json:"eval_bleu1"`
	Bleu2     float64 `json:"eval_bleu2"`
	Bleu3     float64 `json:"eval_bleu3"`
	Bleu4     float64 `json:"eval_bleu4"`
	Cider     float64 `json:"eval_cider"`

	// GenLen is the mean number of tokens of generated captions: with the end
	// token, without the start token and padding.
	GenLen     float64 `json:"eval_gen_len"`
	ExactMatch float64 `json:"eval_exact_match"` // captions equal to one of their references, × 100
	Samples    int     `json:"eval_samples"`     // pictures

	// Distinct is the number of different captions as a share of the pictures, × 100, and
	// Commonest the share that got the most frequent caption, × 100. Both 0, of older
	// programs: not known.
	Distinct  float64 `json:"eval_distinct,omitempty"`
	Commonest float64 `json:"eval_commonest,omitempty"`
}

// Sample is one captioned picture of a report.
type Sample struct {
	ImageID    string   `json:"image_id"`
	Caption    string   `json:"caption"` // the model's
	References []string `json:"references"`
}
