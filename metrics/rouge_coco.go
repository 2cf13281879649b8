package metrics

// CocoRougeL is ROUGE-L (Lin, "ROUGE: A Package for Automatic Evaluation of
// Summaries", 2004) as pycocoevalcap/rouge/rouge.py computes it, between 0 and 1:
// the F-measure with beta 1.2 of the best precision and the best recall among the
// references, which may be of different ones, without stemming. The score of a
// corpus is the mean of each. Words are those of PTBTokenize. Rouge is the measure
// that this program reports as rougeL elsewhere.
func CocoRougeL(candidates [][]string, references [][][]string) (corpus float64, each []float64) {
	if len(candidates) == 0 {
		return 0, nil
	}
	each = make([]float64, len(candidates))
	for i, candidate := range candidates {
		each[i] = cocoRougeL(atLeastOneWord(candidate), references[i])
		corpus += each[i]
	}
	return corpus / float64(len(candidates)), each
}

func cocoRougeL(candidate []string, references [][]string) float64 {
	const beta = 1.2
	var precision, recall float64
	for _, reference := range references {
		reference = atLeastOneWord(reference)
		common := float64(lcsTable(reference, candidate)[len(reference)][len(candidate)])
		precision = max(precision, common/float64(len(candidate)))
		recall = max(recall, common/float64(len(reference)))
	}
	if precision == 0 || recall == 0 {
		return 0
	}
	return (1 + beta*beta) * precision * recall / (recall + beta*beta*precision)
}

// atLeastOneWord makes one empty word of an empty caption, as Python's
// split(" ") does: two empty captions are alike.
func atLeastOneWord(words []string) []string {
	if len(words) == 0 {
		return []string{""}
	}
	return words
}
