package pipeline

import (
	"strings"
	"testing"
)

func TestABatchThatThePicturesDoNotFillIsSaid(t *testing.T) {
	d := Dataset{Rows: map[string]int{SplitTrain: 20, SplitTest: 500}}
	if n := StepsPerEpoch(d, 8); n != 3 {
		t.Errorf("%d steps", n)
	}
	if w := LargeBatch(d.TrainingPictures(), 32); !strings.Contains(w, "batch_size is 32 and there are 20") {
		t.Error(w)
	}
	if w := LargeBatch(d.TrainingPictures(), 20); w != "" {
		t.Error(w)
	}
	d.Seen = 50 // pictures of weight above 1 are shown more than once
	if w := LargeBatch(d.TrainingPictures(), 32); w != "" || StepsPerEpoch(d, 32) != 2 {
		t.Error(w)
	}
}
