// Package metrics scores captions against references: ROUGE as the Python
// package rouge_score computes it; BLEU, CIDEr and another ROUGE-L as
// pycocoevalcap does, on the words of the Penn Treebank's tokenizer; all of them on
// Unicode's words, for other languages; exact matches and generated length. Start
// reading at Score, and at WordRule for the words.
package metrics

import (
	"slices"
	"strings"
)

// Prediction is the caption generated for one picture, with the captions people
// wrote for it.
type Prediction struct {
	ImageID string `json:"image_id"`
	Caption string `json:"caption"`
	// without the start token and padding, with the end token if it was generated
	TokenIDs   []int32  `json:"token_ids"`
	References []string `json:"references"`
	Group      string   `json:"group,omitempty"` // scored apart where not empty
}

// Scores are of all predictions together: means over them, BLEU apart. All but
// GenLen and N are × 100.
type Scores struct {
	Rouge1     float64 `json:"rouge1"`
	Rouge2     float64 `json:"rouge2"`
	RougeL     float64 `json:"rougeL"`
	RougeLsum  float64 `json:"rougeLsum"`
	Bleu1      float64 `json:"bleu1"` // see Bleu
	Bleu2      float64 `json:"bleu2"`
	Bleu3      float64 `json:"bleu3"`
	Bleu4      float64 `json:"bleu4"`
	Cider      float64 `json:"cider"`       // see Cider; 100 is 1.0 there, more is possible
	GenLen     float64 `json:"gen_len"`     // tokens, the end token included
	ExactMatch float64 `json:"exact_match"` // captions equal to one of their references

	// Distinct is the number of different captions, and Commonest that of the pictures that got the
	// most frequent one, both a share of all: 100 and less than 1 of pictures that are all captioned
	// otherwise; next to 0 and 100 where a captioner says the same of every picture.
	Distinct  float64 `json:"distinct"`
	Commonest float64 `json:"commonest"`

	N int `json:"n"`
}

// Score gives the scores of all predictions, and of each group by itself, on words by
// the rule. The map is nil where no prediction has a group.
func Score(predictions []Prediction, rule WordRule) (all Scores, byGroup map[string]Scores) {
	var total sums
	groups := map[string]*sums{}
	split := Tokenize(predictions, rule)
	for i, p := range predictions {
		s := scoreOne(p, rule)
		total.add(s, p.Caption, split, i)
		if p.Group == "" {
			continue
		}
		if groups[p.Group] == nil {
			groups[p.Group] = &sums{}
		}
		groups[p.Group].add(s, p.Caption, split, i)
	}
	if len(groups) > 0 {
		byGroup = make(map[string]Scores, len(groups))
		for name, s := range groups {
			byGroup[name] = s.scores()
		}
	}
	return total.scores(), byGroup
}

// sums adds up scores of single predictions, before × 100, and keeps the words of
// those that are scored together.
type sums struct {
	Scores
	words  Words
	counts map[string]int // of captions, but for blanks around them
}

func scoreOne(p Prediction, rule WordRule) Scores {
	r := Rouge(p.Caption, p.References, rule)
	s := Scores{
		Rouge1: r.R1, Rouge2: r.R2, RougeL: r.RL, RougeLsum: r.RLsum, GenLen: float64(len(p.TokenIDs)), N: 1,
	}
	caption := strings.TrimSpace(p.Caption)
	if slices.ContainsFunc(p.References, func(ref string) bool { return strings.TrimSpace(ref) == caption }) {
		s.ExactMatch = 1
	}
	return s
}

func (s *sums) add(o Scores, caption string, split Words, i int) {
	s.Rouge1 += o.Rouge1
	s.Rouge2 += o.Rouge2
	s.RougeL += o.RougeL
	s.RougeLsum += o.RougeLsum
	s.GenLen += o.GenLen
	s.ExactMatch += o.ExactMatch
	s.N += o.N
	if s.counts == nil {
		s.counts = map[string]int{}
	}
	s.counts[strings.TrimSpace(caption)]++
	s.words.Candidates = append(s.words.Candidates, split.Candidates[i])
	s.words.References = append(s.words.References, split.References[i])
}

func (s *sums) scores() Scores {
	if s.N == 0 {
		return Scores{}
	}
	n := float64(s.N)
	commonest := 0
	for _, count := range s.counts {
		commonest = max(commonest, count)
	}
	bleu, _ := Bleu(s.words.Candidates, s.words.References)
	cider, _ := Cider(s.words.Candidates, s.words.References)
	return Scores{
		Bleu1:      100 * bleu[0],
		Bleu2:      100 * bleu[1],
		Bleu3:      100 * bleu[2],
		Bleu4:      100 * bleu[3],
		Cider:      100 * cider,
		Rouge1:     100 * s.Rouge1 / n,
		Rouge2:     100 * s.Rouge2 / n,
		RougeL:     100 * s.RougeL / n,
		RougeLsum:  100 * s.RougeLsum / n,
		GenLen:     s.GenLen / n,
		ExactMatch: 100 * s.ExactMatch / n,
		Distinct:   100 * float64(len(s.counts)) / n,
		Commonest:  100 * float64(commonest) / n,
		N:          s.N,
	}
}
