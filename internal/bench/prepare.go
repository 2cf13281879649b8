package bench

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"iter"
	"math"
	"math/rand/v2"
	"strconv"

	"distilvit/dataset"
	"distilvit/dataset/pixels"
)

// Picture is an encoded picture in memory.
type Picture struct {
	Name string
	Data []byte
}

// Prepare measures, each apart, what pictures cost on their way into a shard and out of it on one thread:
// decoding and resizing, storing with so many captions each, and restoring.
func Prepare(files []Picture, processor pixels.Processor, captions int, rounds Rounds) ([]Measurement, error) {
	rows := make([]dataset.Row, len(files))
	for i := range rows {
		rows[i].ID = strconv.Itoa(i)
		for range captions {
			rows[i].Captions = append(rows[i].Captions, "a man is riding a wave on a surfboard in the ocean")
		}
	}
	one := Measurement{
		Bench: "prepare", With: "Go", Pictures: len(files), Captions: captions, Unit: "pictures",
	}
	decode, store, restore := one, one, one
	decode.With = "JPEG by " + pixels.JPEGDecoder()
	decode.Work, store.Work, restore.Work = "decode and resize", "store", "restore"

	err := rounds.Measure(&decode, len(files), func() (err error) {
		for i, f := range files {
			if rows[i].Pixels, _, err = processor.Pixels(f.Data); err != nil {
				return fmt.Errorf("%s: %w", f.Name, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var shard bytes.Buffer
	err = rounds.Measure(&store, len(files), func() error {
		shard.Reset()
		_, err := dataset.WriteShard(&shard, processor.Width, processor.Height, each(rows))
		return err
	})
	if err != nil {
		return nil, err
	}
	store.Bytes = float64(shard.Len()) / float64(len(files))
	err = rounds.Measure(&restore, len(files), func() error { return readBack(shard.Bytes(), rows) })
	return []Measurement{decode, store, restore}, err
}

// readBack restores every picture of a shard and compares it with what was stored.
func readBack(shard []byte, rows []dataset.Row) error {
	s, err := dataset.OpenShard(bytes.NewReader(shard), int64(len(shard)))
	if err != nil {
		return err
	}
	rgb := make([]uint8, len(rows[0].Pixels))
	for i := range rows {
		if err := s.ReadPixels(i, rgb); err != nil {
			return err
		}
		if !bytes.Equal(rgb, rows[i].Pixels) {
			return fmt.Errorf("picture %d came back changed", i)
		}
	}
	return nil
}

func each(rows []dataset.Row) iter.Seq2[dataset.Row, error] {
	return func(yield func(dataset.Row, error) bool) {
		for _, row := range rows {
			if !yield(row, nil) {
				return
			}
		}
	}
}

// DrawnPictures are gradients, waves and some noise as JPEG files: 640 × 480, quality 90. They compress like
// no photograph.
func DrawnPictures(n int) []Picture {
	rng := rand.New(rand.NewPCG(5, 6))
	files := make([]Picture, n)
	for i := range files {
		m := image.NewRGBA(image.Rect(0, 0, 640, 480))
		wave, phase := 0.01+0.05*rng.Float64(), rng.Float64()
		for y := range 480 {
			for x := range 640 {
				v := 120 + 90*math.Sin(wave*float64(x)+phase*float64(y)/40) + 8*rng.NormFloat64()
				m.SetRGBA(x, y, color.RGBA{
					uint8(max(0, min(255, v))), uint8(x * 255 / 640), uint8(y * 255 / 480), 255,
				})
			}
		}
		var b bytes.Buffer
		_ = jpeg.Encode(&b, m, &jpeg.Options{Quality: 90}) // writing to memory does not fail
		files[i] = Picture{"drawn " + strconv.Itoa(i), b.Bytes()}
	}
	return files
}
