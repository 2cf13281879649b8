package dataset

import (
	"bytes"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// taughtPairs store at each place the token that stands there and the next id, with log-probabilities by which it is known,
// and the view as the others'.
func taughtPairs(t *testing.T, pairs []ShardPair, f TeacherFormat, vocab int) []ShardPair {
	t.Helper()
	out := slices.Clone(pairs)
	for i, pair := range pairs {
		raw, err := os.ReadFile(pair.Tokens)
		if err != nil {
			t.Fatal(err)
		}
		tokens, err := OpenTokens(bytes.NewReader(raw), int64(len(raw)))
		if err != nil {
			t.Fatal(err)
		}
		var rows []TokenRow
		for r, err := range tokens.Rows() {
			if err != nil {
				t.Fatal(err)
			}
			rows = append(rows, r)
		}
		var b bytes.Buffer
		err = WriteTeacher(&b, f, vocab, rows, iter.Seq2[Place, error](func(yield func(Place, error) bool) {
			for view := range max(1, f.Views) {
				for _, r := range rows {
					for _, id := range slices.Concat(r.IDs...) {
						logs := []float32{-0.5, -float32(id), -8 - float32(view)}
						if !yield(Place{IDs: []int32{id, id + 1}, LogProbs: logs}, nil) {
							return
						}
					}
				}
			}
		}))
		if err != nil {
			t.Fatal(err)
		}
		out[i].Teacher = filepath.Join(t.TempDir(), fmt.Sprint(i))
		if err := os.WriteFile(out[i].Teacher, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// Whichever captions an epoch shows, and however often a picture, each label has beside it what was stored for its place.
func TestABatchHasBesideEachLabelWhatTheTeacherSaysOfIt(t *testing.T) {
	for _, vocab := range []int{1 << 16, 1<<16 + 1} { // ids of two and of four bytes
		pairs := writeTestShards(t, testSide, 9, 5)
		pairs[1].Weight = 2.5
		c := testConfig()
		c.CaptionsPerPicture = 1
		plain := openLoader(t, pairs, c)
		c.Teacher = TeacherFormat{TopK: 2, Temperature: 1.5}
		paths := taughtPairs(t, pairs, c.Teacher, vocab)
		read := openLoader(t, paths, c)
		for epoch := range 3 {
			want := epochOf(t, plain, epoch, 0)
			for i, b := range epochOf(t, read, epoch, 0) {
				if !slices.Equal(b.Labels, want[i].Labels) || b.TopK != 2 || b.Temperature != 1.5 || len(b.Taught) != 2*len(b.Labels) {
					t.Fatalf("epoch %d, batch %d has labels %v, %d of a teacher", epoch, i, b.Labels, len(b.Taught))
				}
				for j, id := range b.Labels {
					said, logs := [2]int32(b.Taught[2*j:]), [3]float32(b.LogProbs[3*j:])
					if id == Masked && (said != [2]int32{} || logs != [3]float32{}) ||
						id != Masked && (said != [2]int32{id, id + 1} || logs != [3]float32{-0.5, -float32(id), -8}) {
						t.Fatalf("epoch %d, batch %d: beside label %d stands %v, %v", epoch, i, id, said, logs)
					}
				}
			}
		}
		c.Teacher.Temperature = 2
		refusal := func(paths []ShardPair) (err error) {
			for _, err = range openLoader(t, paths, c).Epoch(t.Context(), 0, 0) {
			}
			return err
		}
		if err := refusal(paths); err == nil || !strings.Contains(err.Error(), "Temperature:1.5") {
			t.Errorf("a teacher at another temperature: %v", err)
		}
		c.Teacher.Temperature = 1.5
		swapped := slices.Clone(paths)
		swapped[0].Teacher = paths[1].Teacher
		if err := refusal(swapped); err == nil || !strings.Contains(err.Error(), "other captions") {
			t.Errorf("a teacher of other captions: %v", err)
		}
	}
}

// Where a teacher was asked of views, each epoch shows the next of them, whatever the loader's own seed, and beside its labels
// stands what was said of that view.
func TestAnEpochShowsTheViewsThatTheTeacherWasAskedOf(t *testing.T) {
	pairs := writeTestShards(t, testSide, 9, 5)
	pairs[1].Weight = 2.5
	c := testConfig()
	c.Augment = Augment{}
	plain := openLoader(t, pairs, c)
	c.Augment, c.Teacher = Augment{Shift: 0.2, Color: 0.3}, TeacherFormat{TopK: 2, Temperature: 1, Views: 2, Seed: c.Seed + 1}
	views := LoaderConfig{Seed: c.Teacher.Seed, Augment: c.Augment, Width: c.Width, Height: c.Height}
	read := openLoader(t, taughtPairs(t, pairs, c.Teacher, 1<<16), c)
	const rows, size = 9 + 5, 3 * testSide * testSide
	for epoch := range 3 {
		as := epochOf(t, plain, epoch, 0)
		for i, b := range epochOf(t, read, epoch, 0) {
			for j := range b.N {
				view, want := (epoch+int(b.Rows[j]/rows))%2, as[i].Pixels[j*size:(j+1)*size]
				views.View(want, view, b.Rows[j]%rows)
				if b.IDs[j] != as[i].IDs[j] || !slices.Equal(b.Pixels[j*size:(j+1)*size], want) {
					t.Fatalf("epoch %d: %s is not shown in view %d", epoch, b.IDs[j], view)
				}
				if others := b.LogProbs[j*b.K*b.T*3+2]; others != -8-float32(view) {
					t.Fatalf("epoch %d: beside view %d of %s stands %v", epoch, view, b.IDs[j], others)
				}
			}
		}
	}
}
