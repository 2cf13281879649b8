package pixels

import (
	"os"
	"path/filepath"
	"testing"

	"distilvit/internal/rusage"
)

// BenchmarkPrepare prepares JPEG files for 224 × 224 pixels, those that the pattern
// DISTILVIT_JPEGS names or one drawn here, and reports CPU time, which other work on
// the machine changes less than it does wall time.
func BenchmarkPrepare(b *testing.B) {
	names, err := filepath.Glob(os.Getenv("DISTILVIT_JPEGS"))
	if err != nil {
		b.Fatal(err)
	}
	var files [][]byte
	for _, name := range names {
		raw, err := os.ReadFile(name)
		if err != nil {
			b.Fatal(err)
		}
		files = append(files, raw)
	}
	if len(files) == 0 {
		files = append(files, photoJPEG(b))
	}
	p := NewProcessor(224)
	for _, decoder := range []string{JPEGStandard, JPEGTurbo} {
		p.JPEG = decoder
		work := map[string]func(raw []byte) error{
			"decode": func(raw []byte) error {
				im, _, err := decode(raw, false, decoder == JPEGTurbo)
				if err == nil {
					im.giveBack()
				}
				return err
			},
			"pixels": func(raw []byte) error {
				_, _, err := p.Pixels(raw)
				return err
			},
		}
		for _, name := range []string{"decode", "pixels"} {
			b.Run(name+"/"+decoder, func(b *testing.B) {
				if decoder == JPEGTurbo {
					needTurbo(b)
				}
				start := rusage.CPUTime()
				for i := 0; b.Loop(); i++ {
					if err := work[name](files[i%len(files)]); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(rusage.CPUTime()-start)/1e6/float64(b.N), "cpu-ms/op")
			})
		}
	}
}
