package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"distilvit/metrics"
)

// metricsOptions are the flags of metrics.
type metricsOptions struct {
	references  string
	predictions string
	meteorData  string
	words       string
}

func (a *app) metricsCommand() *cobra.Command {
	var o metricsOptions
	cmd := &cobra.Command{
		Use:   "metrics --references FILE --predictions FILE",
		Short: "scores of captions in COCO's files, without a model",
		Long: `Score captions that are there already. References are an annotation file in
COCO's caption form; predictions a list of {"image_id", "caption"} (COCO's results
form) or JSON lines, as evaluate --predictions writes them; those hold their
references, so that --references may be left out. Pictures without a prediction are
left out.

All scores are x 100: a CIDEr of 1.05 is 105. Captions in letters beyond a-z are scored on
Unicode's words (see --words).

  rouge1, rouge2, rougeL, rougeLsum   as the Python package rouge_score, with stemming
  bleu1 ... bleu4, cider, rougeL_coco as pycocoevalcap, on the words of its tokenizer
  meteor                              the same, version 1.5; null without --meteor-data
  exact_match                         captions equal to one of their references
  distinct                            different captions, as a share of the pictures
  commonest                           pictures that have the most frequent caption
  gen_len                             mean length: tokens, the end token counted, where
                                      every prediction has token_ids, else words
  n                                   pictures

METEOR needs data that distilvit does not carry, WordNet's synonyms and a table of
paraphrases: pip install pycocoevalcap, and give the directory meteor of that
package, in which meteor-1.5.jar and data/paraphrase-en.gz lie. No Java is needed.`,
		Example: `  distilvit metrics --references captions_val2014.json --predictions results.json
  distilvit metrics --references captions_val2014.json --predictions results.json --meteor-data site-packages/pycocoevalcap/meteor
  distilvit evaluate -m demo -d shapes --predictions p.jsonl && distilvit metrics --predictions p.jsonl -o json`,
		Args: args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.predictions == "" {
				return usagef("--predictions FILE is missing: COCO's results form or JSON lines")
			}
			if err := checkWords(&o.words, ""); err != nil {
				return err
			}
			return a.metrics(o)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.references, "references", "", "annotation file in COCO's caption form")
	flags.StringVar(&o.predictions, "predictions", "", "captions to score: COCO's results form or JSON lines")
	flags.StringVar(&o.meteorData, "meteor-data", "",
		"METEOR's data: the directory meteor of pycocoevalcap, or meteor-1.5.jar in it")
	wordsFlag(cmd, &o.words)
	return cmd
}

// metricsReport is what metrics prints.
type metricsReport struct {
	metrics.Scores
	RougeLCoco float64  `json:"rougeL_coco"`
	Meteor     *float64 `json:"meteor"` // nil: not computed
	Words      string   `json:"words"`
}

func (a *app) metrics(o metricsOptions) error {
	predictions, err := a.matchedPredictions(o)
	if err != nil {
		return err
	}
	rule := a.wordsFor(o.words, predictions)
	all, _ := metrics.Score(predictions, rule)
	r := metricsReport{Scores: all, Words: string(rule)}
	words := metrics.Tokenize(predictions, rule)
	rouge, _ := metrics.CocoRougeL(words.Candidates, words.References)
	r.RougeLCoco = 100 * rouge
	var noMeteor error
	r.Meteor, noMeteor = meteor(o.meteorData, words)
	unit := "tokens"
	if !haveTokens(predictions) {
		r.GenLen, unit = words.MeanLength(), "words"
	}
	if a.output == "json" {
		if err := printJSON(a.stdout, r); err != nil {
			return err
		}
	} else {
		r.table(unit).write(a.stdout, "")
	}
	if noMeteor != nil && o.meteorData == "" {
		fmt.Fprintln(a.stderr, noMeteor)
		return nil
	}
	return noMeteor // asked for, but not there: the other scores stand above
}

// meteor is METEOR's score × 100, or why there is none.
func meteor(data string, words metrics.Words) (*float64, error) {
	if data == "" {
		return nil, errors.New("meteor: not computed: it needs --meteor-data (see distilvit metrics --help)")
	}
	d, err := metrics.OpenMeteorData(data)
	if err != nil {
		return nil, fmt.Errorf("meteor: not computed: %w", err)
	}
	score, _, err := d.Meteor(words)
	if err != nil {
		return nil, fmt.Errorf("meteor: not computed: %w", err)
	}
	score *= 100
	return &score, nil
}

func (r *metricsReport) table(unit string) *table {
	t := &table{right: true}
	t.add("pictures", fmt.Sprint(r.N))
	type row struct {
		name  string
		value float64
	}
	rows := []row{
		{"rouge1", r.Rouge1}, {"rouge2", r.Rouge2}, {"rougeL", r.RougeL}, {"rougeLsum", r.RougeLsum},
		{"bleu1", r.Bleu1}, {"bleu2", r.Bleu2}, {"bleu3", r.Bleu3}, {"bleu4", r.Bleu4},
		{"cider", r.Cider}, {"rougeL_coco", r.RougeLCoco},
	}
	if r.Meteor != nil {
		rows = append(rows, row{"meteor", *r.Meteor})
	}
	rows = append(rows,
		row{"exact %", r.ExactMatch}, row{"distinct %", r.Distinct}, row{"length, " + unit, r.GenLen})
	for _, row := range rows {
		t.add(row.name, fmt.Sprintf("%.2f", row.value))
	}
	return t
}

// matchedPredictions reads both files and gives every prediction its references.
func (a *app) matchedPredictions(o metricsOptions) ([]metrics.Prediction, error) {
	predictions, err := readFile("predictions file", o.predictions, metrics.ReadPredictions)
	if err != nil {
		return nil, err
	}
	if o.references == "" {
		for i, p := range predictions {
			if len(p.References) == 0 {
				return nil, fmt.Errorf(
					"predictions file %s: image %s (prediction %d) has no references: give --references FILE",
					o.predictions, p.ImageID, i+1,
				)
			}
		}
		return predictions, nil
	}
	references, err := readFile("references file", o.references, metrics.ReadReferences)
	if err != nil {
		return nil, err
	}
	matched, left, err := references.Match(predictions)
	if err != nil {
		return nil, fmt.Errorf("predictions file %s: %w in %s: remove it, or give the annotations of its split",
			o.predictions, err, o.references)
	}
	if left > 0 {
		fmt.Fprintf(a.stderr, "warning: %d of %d pictures of %s have no prediction and are left out\n",
			left, left+len(matched), o.references)
	}
	return matched, nil
}

// readFile reads a file of a kind; what says in errors which kind.
func readFile[T any](what, path string, read func(io.Reader) (T, error)) (out T, err error) {
	file, err := os.Open(path)
	if err != nil {
		return out, fileError(what, path, err)
	}
	defer file.Close()
	if out, err = read(file); err != nil {
		return out, fmt.Errorf("%s %s: %w", what, path, err)
	}
	return out, nil
}

func haveTokens(predictions []metrics.Prediction) bool {
	for _, p := range predictions {
		if p.TokenIDs == nil {
			return false
		}
	}
	return true
}
