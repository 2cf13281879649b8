package dataset

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/x448/float16"

	"distilvit/internal/digest"
	"distilvit/model/safetensors"
)

// TeacherFormat says what of a teacher's distribution stands beside each label token. Zero: nothing.
type TeacherFormat struct {
	TopK        int     `json:"top_k"`       // tokens, the likeliest
	Temperature float64 `json:"temperature"` // at which the other tokens have what is stored of them

	// views of each picture that the teacher was asked of, as a Loader of this seed draws them in its first epochs, and of
	// which a Loader shows the next each epoch; 0: it was asked of the picture as it is, whatever is shown
	Views int    `json:"views,omitempty"`
	Seed  uint64 `json:"seed,omitempty"`
}

// view is the one that an epoch shows, as FeaturesFormat's.
func (f TeacherFormat) view(epoch, again int) int {
	if f.Views == 0 {
		return 0
	}
	return (epoch + again) % f.Views
}

// PlaceBytes are those of a place, in all views, in a vocabulary of so many tokens.
func (f TeacherFormat) PlaceBytes(vocab int) int64 {
	view := int64(f.TopK)*safetensors.Width(idType(vocab)) + int64(f.TopK+1)*safetensors.Width("F16")
	return int64(max(1, f.Views)) * view
}

// idType is that of the tokens' ids.
func idType(vocab int) string {
	if vocab > 1<<16 {
		return "I32"
	}
	return "U16"
}

// MaxTopK bounds TeacherFormat.TopK.
const MaxTopK = 256

// Place is what a teacher says of one place of a caption: its likeliest tokens, first the likeliest, and the natural
// logarithms of their probabilities, which are those of the whole vocabulary; the last is that of the other tokens, as
// model.Captioner's TopTokens has it.
type Place struct {
	IDs      []int32   // top_k
	LogProbs []float32 // top_k + 1
}

// Tensors of a shard of places. A row is a place: those of the first picture's first caption, of its second, and so on,
// in the order of the shard of tokens; then, of all again, those of the next view.
const (
	teacherIDs      = "token_ids" // [places, top_k] uint16, or int32 of a vocabulary of more than 65,536
	teacherLogProbs = "log_probs" // [places, top_k + 1] float16
	teacherTokens   = "tokens"    // metadata: digest of the rows' ids and tokens
	teacherFormat   = "format"    // metadata: TeacherFormat
)

// WriteTeacher writes one safetensors file of the places of these rows' captions; the same places make the same bytes.
//
// Log-probabilities are of float16: with 11 significant bits it is exact to 0.004 down to a probability of e^-16 and
// finer for likelier tokens, where bfloat16's 8 bits would be off by 0.03. It has 4 bytes a token with its id, 6 in large
// vocabularies.
func WriteTeacher(w io.Writer, f TeacherFormat, vocab int, rows []TokenRow, places iter.Seq2[Place, error]) error {
	if f.TopK < 1 || f.TopK > min(MaxTopK, vocab) {
		return fmt.Errorf("write teacher: top_k is %d; must be from 1 to %d", f.TopK, min(MaxTopK, vocab))
	}
	want := 0
	for _, r := range rows {
		for _, ids := range r.IDs {
			want += len(ids)
		}
	}
	want *= max(1, f.Views)
	format, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("write teacher: %w", err)
	}
	dtype, ids, logs, n := idType(vocab), []byte(nil), make([]byte, 0, 2*want*(f.TopK+1)), 0
	for p, err := range places {
		if err != nil {
			return err
		}
		if len(p.IDs) != f.TopK || len(p.LogProbs) != f.TopK+1 {
			return fmt.Errorf("write teacher: place %d has %d tokens and %d log-probabilities, not %d and %d", n, len(p.IDs),
				len(p.LogProbs), f.TopK, f.TopK+1)
		}
		n++
		for _, id := range p.IDs {
			if dtype == "U16" {
				ids = binary.LittleEndian.AppendUint16(ids, uint16(id))
			} else {
				ids = binary.LittleEndian.AppendUint32(ids, uint32(id))
			}
		}
		for _, x := range p.LogProbs {
			logs = binary.LittleEndian.AppendUint16(logs, float16.Fromfloat32(x).Bits())
		}
	}
	if n != want {
		return fmt.Errorf("write teacher: %d places for captions of %d tokens", n, want)
	}
	return safetensors.WriteRaw(w, []safetensors.Raw{
		{Name: teacherIDs, DType: dtype, Shape: []int{n, f.TopK}, Data: ids},
		{Name: teacherLogProbs, DType: "F16", Shape: []int{n, f.TopK + 1}, Data: logs},
	}, map[string]string{teacherTokens: tokensDigest(rows), teacherFormat: string(format)})
}

// tokensDigest tells rows apart from others, and from the same with other captions.
func tokensDigest(rows []TokenRow) string {
	sum := digest.New()
	for _, r := range rows {
		fmt.Fprintf(sum, "%q %d\n", r.ID, r.IDs)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// Teacher is an open shard of what a teacher says; safe for concurrent use.
type Teacher struct {
	TeacherFormat
	file     *safetensors.File
	ids, log safetensors.Info
	places   int // of a view
}

// OpenTeacher reads the file's header. r must stay open while the shard is used.
func OpenTeacher(r io.ReaderAt, size int64) (*Teacher, error) {
	file, err := safetensors.Open(r, size)
	if err != nil {
		return nil, fmt.Errorf("open teacher: %w", err)
	}
	t := &Teacher{file: file}
	ids, there := file.Lookup(teacherIDs)
	log, both := file.Lookup(teacherLogProbs)
	if !there || !both || len(ids.Shape) != 2 || len(log.Shape) != 2 || ids.Shape[0] != log.Shape[0] ||
		ids.Shape[1]+1 != log.Shape[1] || ids.DType != "U16" && ids.DType != "I32" || log.DType != "F16" {
		return nil, errors.New("open teacher: the file has not " + teacherIDs + " and " + teacherLogProbs +
			" of two axes, a log-probability more than tokens")
	}
	if err := json.Unmarshal([]byte(file.Metadata[teacherFormat]), &t.TeacherFormat); err != nil {
		return nil, fmt.Errorf("open teacher: format: %w", err)
	}
	t.ids, t.log, t.places = ids, log, ids.Shape[0]/max(1, t.Views)
	if t.TopK != ids.Shape[1] || t.places*max(1, t.Views) != ids.Shape[0] {
		return nil, fmt.Errorf("open teacher: %v tokens are not those of %+v", ids.Shape, t.TeacherFormat)
	}
	return t, nil
}

// Of makes sure that the places are those of these rows.
func (t *Teacher) Of(rows []TokenRow) error {
	if t.file.Metadata[teacherTokens] != tokensDigest(rows) {
		return fmt.Errorf("what a teacher says of other captions than the %d rows it is to be of", len(rows))
	}
	return nil
}

// Read copies the places from first on of a view, as many as ids and logProbs have room for: places · top_k and places · (top_k + 1)
// numbers.
func (t *Teacher) Read(view, first int, ids []int32, logProbs []float32) error {
	width := int(safetensors.Width(t.ids.DType))
	first += view * t.places
	raw := make([]byte, width*len(ids)+2*len(logProbs))
	logs := raw[width*len(ids):]
	raw = raw[:width*len(ids)]
	err := t.file.ReadRows(t.ids, first, raw)
	if err == nil {
		err = t.file.ReadRows(t.log, first, logs)
	}
	if err != nil {
		return fmt.Errorf("read teacher: %w", err)
	}
	for i := range ids {
		if width == 2 {
			ids[i] = int32(binary.LittleEndian.Uint16(raw[2*i:]))
		} else {
			ids[i] = int32(binary.LittleEndian.Uint32(raw[4*i:]))
		}
	}
	for i := range logProbs {
		logProbs[i] = float16.Frombits(binary.LittleEndian.Uint16(logs[2*i:])).Float32()
	}
	return nil
}
