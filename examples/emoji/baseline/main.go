// Command baseline captions each test picture of the emoji dataset with the
// caption of its nearest training picture, pixels compared at 16 × 16, in each
// of three ways: squared differences, absolute differences, and the cosine after
// the mean training picture is taken off. It learns nothing, so it is what a
// captioner has to beat.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"sort"

	"golang.org/x/sync/errgroup"

	"distilvit/dataset/pixels"
	"distilvit/metrics"
)

const (
	side   = 16
	values = side * side * 3
)

func main() {
	data := flag.String("data", "data", "folder that prepare wrote")
	flag.Parse()
	if err := run(*data); err != nil {
		fmt.Fprintln(os.Stderr, "baseline:", err)
		os.Exit(1)
	}
}

func run(data string) error {
	train, err := readSplit(data, "train")
	if err != nil {
		return err
	}
	mean := meanOf(train)
	centre(train, &mean)
	for _, split := range []string{"validation", "test"} {
		asked, err := readSplit(data, split)
		if err != nil {
			return err
		}
		centre(asked, &mean)
		for _, by := range distances {
			show(split+", "+by.name, predict(train, asked, by.distance))
		}
	}
	return nil
}

func show(name string, predictions []metrics.Prediction) {
	line := func(name string, s metrics.Scores) {
		fmt.Printf("%-42s %5d pictures  exact %5.2f  rouge1 %5.2f  rougeL %5.2f\n", name, s.N, s.ExactMatch,
			s.Rouge1, s.RougeL)
	}
	all, groups := metrics.Score(predictions, metrics.RougeScoreWords)
	line(name, all)
	names := make([]string, 0, len(groups))
	for name := range groups {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		line("  "+name, groups[name])
	}
}

// example is a picture made small, and its caption.
type example struct {
	id, group, caption string
	pixels             [values]float32 // less the mean training picture
	norm               float32
}

var distances = []struct {
	name     string
	distance func(a, b *example) float32
}{
	{"squared", func(a, b *example) (sum float32) {
		for i, v := range a.pixels {
			sum += (v - b.pixels[i]) * (v - b.pixels[i])
		}
		return sum
	}},
	{"absolute", func(a, b *example) (sum float32) {
		for i, v := range a.pixels {
			sum += max(v-b.pixels[i], b.pixels[i]-v)
		}
		return sum
	}},
	{"cosine", func(a, b *example) (sum float32) {
		for i, v := range a.pixels {
			sum -= v * b.pixels[i]
		}
		return sum / max(a.norm*b.norm, 1e-6)
	}},
}

func predict(train, asked []example, distance func(a, b *example) float32) []metrics.Prediction {
	predictions := make([]metrics.Prediction, len(asked))
	var work errgroup.Group
	work.SetLimit(runtime.GOMAXPROCS(0))
	for i := range asked {
		work.Go(func() error {
			e := &asked[i]
			best := nearest(train, e, distance)
			predictions[i] = metrics.Prediction{
				ImageID: e.id, Group: e.group, Caption: best, References: []string{e.caption},
			}
			return nil
		})
	}
	_ = work.Wait() // none of them fails
	return predictions
}

// nearest is the caption of the training picture closest to e, the first of equal ones.
func nearest(train []example, e *example, distance func(a, b *example) float32) string {
	caption, least := "", float32(math.Inf(1))
	for i := range train {
		if d := distance(&train[i], e); d < least {
			caption, least = train[i].caption, d
		}
	}
	return caption
}

func meanOf(examples []example) (mean [values]float32) {
	var sum [values]float64
	for i := range examples {
		for j, v := range examples[i].pixels {
			sum[j] += float64(v)
		}
	}
	for j := range sum {
		mean[j] = float32(sum[j] / float64(max(len(examples), 1)))
	}
	return mean
}

func centre(examples []example, mean *[values]float32) {
	for i := range examples {
		e := &examples[i]
		var square float64
		for j := range e.pixels {
			e.pixels[j] -= mean[j]
			square += float64(e.pixels[j]) * float64(e.pixels[j])
		}
		e.norm = float32(math.Sqrt(square))
	}
}

func readSplit(data, split string) ([]example, error) {
	path := filepath.Join(data, split+".json")
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var file struct {
		Images []struct {
			ID       string `json:"id"`
			FileName string `json:"file_name"`
			Group    string `json:"group"`
		} `json:"images"`
		Annotations []struct {
			ImageID string `json:"image_id"`
			Caption string `json:"caption"`
		} `json:"annotations"`
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	captions := map[string]string{}
	for _, a := range file.Annotations {
		captions[a.ImageID] = a.Caption
	}
	small := pixels.NewProcessor(side)
	examples := make([]example, len(file.Images))
	for i, im := range file.Images {
		raw, err := os.ReadFile(filepath.Join(data, split, im.FileName))
		if err != nil {
			return nil, err
		}
		pixels, _, err := small.Pixels(raw)
		if err != nil {
			return nil, fmt.Errorf("%s/%s: %w", split, im.FileName, err)
		}
		e := &examples[i]
		e.id, e.group, e.caption = im.ID, im.Group, captions[im.ID]
		for j, v := range pixels {
			e.pixels[j] = float32(v)
		}
	}
	return examples, nil
}
