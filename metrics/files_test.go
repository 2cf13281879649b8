package metrics

import (
	"bytes"
	"runtime"
	"testing"
)

// FuzzFiles gives both files any bytes: what is read can be scored.
func FuzzFiles(f *testing.F) {
	f.Add([]byte(`{"images":[{"id":1}],"annotations":[{"image_id":1,"caption":"a dog"}]}`),
		[]byte(`[{"image_id":1,"caption":"a dog"}]`))
	f.Add([]byte(`{"annotations":[{"image_id":"x","caption":""},{"image_id":1e99,"caption":"b"}]}`),
		[]byte("{\"image_id\":\"x\",\"caption\":\"a\",\"token_ids\":[1]}\n\n{}"))
	f.Add([]byte(`{"images":null,"annotations":[null]}`), []byte(`[null]`))
	f.Fuzz(func(t *testing.T, references, predictions []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r, err := ReadReferences(bytes.NewReader(references))
		p, failed := ReadPredictions(bytes.NewReader(predictions))
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > uint64(512*(len(references)+
			len(predictions)))+1<<23 {
			t.Errorf("%d and %d bytes took %d of memory", len(references), len(predictions), used)
		}
		if err != nil || failed != nil {
			return
		}
		matched, _, err := r.Match(p)
		if err != nil {
			return
		}
		if all, _ := Score(matched, RougeScoreWords); all.N != len(matched) {
			t.Errorf("%d of %d are scored", all.N, len(matched))
		}
	})
}
