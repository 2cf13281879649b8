package pipeline

import "strconv"

// Vocabulary is how much of a vocabulary is kept: PruneAuto, or a number of tokens. Empty: all of it.
type Vocabulary string

// PruneAuto keeps what the training captions are made of.
const PruneAuto Vocabulary = "auto"

// leastVocabulary are the bytes and a token that ends captions.
const leastVocabulary = 257

// Most is how many tokens are kept at most; 0: there is no bound.
func (v Vocabulary) Most() (int, error) {
	if v == "" || v == PruneAuto {
		return 0, nil
	}
	most, err := strconv.Atoi(string(v))
	if err == nil && most < leastVocabulary {
		err = strconv.ErrRange
	}
	return most, err
}
