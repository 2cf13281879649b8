package metrics

// Words are captions split for Bleu, Cider, CocoRougeL and Meteor: a candidate for
// each picture, and its references.
type Words struct {
	Candidates [][]string
	References [][][]string
}

// Tokenize splits the captions of predictions in their order, and all references
// in theirs: see PTBTokenize for why they are not split one by one.
func Tokenize(predictions []Prediction, rule WordRule) Words {
	tokenize := PTBTokenize
	if rule == UnicodeWords {
		tokenize = unicodeTokenizeAll
	}
	var captions, references []string
	for _, p := range predictions {
		captions = append(captions, p.Caption)
		references = append(references, p.References...)
	}
	w := Words{Candidates: tokenize(captions)}
	split := tokenize(references)
	for _, p := range predictions {
		n := len(p.References)
		w.References = append(w.References, split[:n:n])
		split = split[n:]
	}
	return w
}

func unicodeTokenizeAll(captions []string) [][]string {
	out := make([][]string, len(captions))
	for i, caption := range captions {
		out[i] = UnicodeTokenize(caption)
	}
	return out
}

// MeanLength is the mean number of words of a candidate.
func (w Words) MeanLength() float64 {
	n := 0
	for _, words := range w.Candidates {
		n += len(words)
	}
	return float64(n) / float64(max(len(w.Candidates), 1))
}
