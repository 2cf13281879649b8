package metrics

// words are captions split for BLEU, CIDEr, METEOR and CocoRougeL.
type words struct {
	candidates [][]string
	references [][][]string
}

// tokenize splits the captions of predictions in their order, and all references
// in theirs: see PTBTokenize for why they are not split one by one.
func tokenize(predictions []Prediction) words {
	var captions, references []string
	for _, p := range predictions {
		captions = append(captions, p.Caption)
		references = append(references, p.References...)
	}
	w := words{candidates: PTBTokenize(captions)}
	split := PTBTokenize(references)
	for _, p := range predictions {
		n := len(p.References)
		w.references = append(w.references, split[:n:n])
		split = split[n:]
	}
	return w
}
