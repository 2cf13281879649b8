// Command baseline captions each test picture of the emoji dataset with the
// caption of its nearest training picture: the least squared difference of
// 16 × 16 RGB pixels, the first of equal ones. It learns nothing, so it is what
// a captioner has to beat.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"image"
	_ "image/png"
	"os"
	"path/filepath"
	"runtime"
	"sort"

	"golang.org/x/sync/errgroup"

	"distilvit/metrics"
)

const side = 16

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
	for _, split := range []string{"validation", "test"} {
		asked, err := readSplit(data, split)
		if err != nil {
			return err
		}
		predictions, err := predict(train, asked)
		if err != nil {
			return err
		}
		all, groups := metrics.Score(predictions)
		show(split, all)
		names := make([]string, 0, len(groups))
		for name := range groups {
			names = append(names, name)
		}
		sort.Strings(names)
		for _, name := range names {
			show(split+", "+name, groups[name])
		}
	}
	return nil
}

func show(name string, s metrics.Scores) {
	fmt.Printf("%-30s %5d pictures  exact %5.2f  rouge1 %5.2f  rougeL %5.2f\n", name, s.N, s.ExactMatch, s.Rouge1, s.RougeL)
}

// example is a picture made small, and its caption.
type example struct {
	id, group, caption string
	pixels             [side * side * 3]float32 // 0 to 255
}

func predict(train, asked []example) ([]metrics.Prediction, error) {
	predictions := make([]metrics.Prediction, len(asked))
	var work errgroup.Group
	work.SetLimit(runtime.GOMAXPROCS(0))
	for i := range asked {
		work.Go(func() error {
			best := nearest(train, &asked[i])
			predictions[i] = metrics.Prediction{ImageID: asked[i].id, Group: asked[i].group, Caption: best, References: []string{asked[i].caption}}
			return nil
		})
	}
	return predictions, work.Wait()
}

// nearest is the caption of the training picture closest to e.
func nearest(train []example, e *example) string {
	caption, least := "", float32(-1)
	for i := range train {
		var sum float32
		for j, v := range e.pixels {
			d := v - train[i].pixels[j]
			sum += d * d
			if j&63 == 63 && least >= 0 && sum >= least {
				break
			}
		}
		if least < 0 || sum < least {
			caption, least = train[i].caption, sum
		}
	}
	return caption
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
	examples := make([]example, len(file.Images))
	for i, im := range file.Images {
		examples[i] = example{id: im.ID, group: im.Group, caption: captions[im.ID]}
		if err := readSmall(filepath.Join(data, split, im.FileName), &examples[i].pixels); err != nil {
			return nil, err
		}
	}
	return examples, nil
}

// readSmall reads a picture as means of 16 × 16 equal parts.
func readSmall(path string, to *[side * side * 3]float32) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	m, _, err := image.Decode(f)
	if err != nil {
		return fmt.Errorf("decode %s: %w", path, err)
	}
	small(m, to)
	return nil
}

func small(m image.Image, to *[side * side * 3]float32) {
	b := m.Bounds()
	for i := range side * side {
		x0, x1 := b.Min.X+i%side*b.Dx()/side, b.Min.X+(i%side+1)*b.Dx()/side
		y0, y1 := b.Min.Y+i/side*b.Dy()/side, b.Min.Y+(i/side+1)*b.Dy()/side
		var sum [3]float32
		for y := y0; y < y1; y++ {
			for x := x0; x < x1; x++ {
				r, g, b, _ := m.At(x, y).RGBA()
				sum[0] += float32(r) / 257
				sum[1] += float32(g) / 257
				sum[2] += float32(b) / 257
			}
		}
		for c, v := range sum {
			to[3*i+c] = v / float32(max((x1-x0)*(y1-y0), 1))
		}
	}
}
