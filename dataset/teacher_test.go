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

// taughtPairs store at each place the token that stands there and the next id, with log-probabilities by which it is known.
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
			for _, r := range rows {
				for _, id := range slices.Concat(r.IDs...) {
					if !yield(Place{IDs: []int32{id, id + 1}, LogProbs: []float32{-0.5, -float32(id), -8}}, nil) {
						return
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
