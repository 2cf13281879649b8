package pipeline

import "fmt"

// TrainingPictures are those that an epoch shows.
func (d Dataset) TrainingPictures() int {
	if d.Seen > 0 {
		return d.Seen
	}
	return d.Rows[SplitTrain]
}

// StepsPerEpoch of a dataset's training pictures in batches of so many; the last batch is padded.
func StepsPerEpoch(d Dataset, batch int) int64 {
	rows, size := int64(d.TrainingPictures()), int64(max(batch, 1))
	return (rows + size - 1) / size
}

// LargeBatch is the warning of a batch that so many training pictures do not fill; empty: they do.
func LargeBatch(pictures, batch int) string {
	if pictures >= batch || pictures == 0 {
		return ""
	}
	return fmt.Sprintf("train.batch_size is %d and there are %d training pictures: an epoch is one step; "+
		"a smaller batch learns more of them", batch, pictures)
}

// FewPictures is the number of training pictures below which random weights rarely make a captioner; 305 gave one
// that says the same of every picture.
const FewPictures = 5000
