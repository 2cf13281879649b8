package activities

import (
	"archive/zip"
	"encoding/json"
	"flag"
	"os"

	"distilvit/storage/layout"
)

// The bucket of this tiny run is what package artifact's test reads of each release:
//
//	go test ./activities -run TestTinyPipeline -record-bucket ../artifact/testdata/buckets/VERSION.zip
var bucketFile = flag.String("record-bucket", "", "write the bucket of a tiny run to this zip `file`")

// keptWhole bounds, in bytes, the objects that are recorded with their content; of larger
// ones, which are weights and pictures, only the length is.
const keptWhole = 16 << 10

func (b *bench) recordBucket() {
	b.Helper()
	if *bucketFile == "" {
		return
	}
	f, err := os.Create(*bucketFile)
	check(b.T, err)
	z := zip.NewWriter(f)
	put := func(name string, content []byte) {
		w, err := z.Create(name)
		check(b.T, err)
		_, err = w.Write(content)
		check(b.T, err)
	}
	lengths := map[string]int64{}
	for o, err := range b.Store.List(b.Context(), "") {
		check(b.T, err)
		if o.Size > keptWhole {
			lengths[o.Key] = o.Size
			continue
		}
		content, err := b.Store.GetBytes(b.Context(), layout.Object{Key: o.Key})
		check(b.T, err)
		put(o.Key, content)
	}
	list, err := json.MarshalIndent(lengths, "", "  ")
	check(b.T, err)
	put("lengths.json", append(list, '\n'))
	check(b.T, z.Close())
	check(b.T, f.Close())
}
