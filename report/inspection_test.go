package report

import (
	"strings"
	"testing"

	"distilvit/dataset"
	"distilvit/dataset/inspect"
	"distilvit/dataset/pixels"
)

func TestInspectionShowsDuplicatesSideBySide(t *testing.T) {
	picture, err := pixels.EncodePNG(make([]uint8, 3*4*4), 4, 4)
	if err != nil {
		t.Fatal(err)
	}
	r := &inspect.Report{
		Findings: []string{"One <finding>."}, Pictures: 3, Captions: 6,
		Words: inspect.Lengths{Min: 2, Max: 101, Histogram: []inspect.Bin{
			{Value: 2, Count: 4}, {Value: 3, Count: 4}, {Value: 101, Count: 2},
		}},
		Duplicates: inspect.Duplicates{Groups: 1, List: []inspect.Group{{
			Kind: inspect.GroupNear, Splits: []string{"train", "test"}, Count: 2,
			Pictures: []inspect.GroupPicture{
				{ID: "a.jpg", Split: "train", Caption: "<a> dog", Number: 4},
				{ID: "b.jpg", Split: "test", Caption: "two dogs", Distance: 3, Number: 9},
			},
		}}},
		Tokens: &inspect.Tokens{Cut: 1, MaxLength: 32, Longest: []inspect.Long{
			{ID: "c.jpg", Tokens: 40, Number: 4},
		}},
		Bad: inspect.Bad{Count: 1, List: []dataset.Bad{{ID: "d.jpg", Split: "train", Reason: "is broken"}}},
	}
	page := string(InspectionHTML(Inspection{
		Dataset: "folder:x", Report: r, Pictures: map[int][]byte{4: picture, 9: picture},
	}))
	for text, times := range map[string]int{
		"<figure>": 2, `<img src="data:image/png;base64,`: 3, "b.jpg, 3 bits": 1, "&lt;a&gt; dog": 1,
		"One &lt;finding&gt;.": 1, "is broken": 1, "ZgotmplZ": 0, `style="width: 100.0%"`: 1,
		`style="width: 25.0%"`:       1,
		"prefers-color-scheme: dark": 1, "http": 0,
	} {
		if got := strings.Count(page, text); got != times {
			t.Errorf("%q is there %d times, want %d:\n%s", text, got, times, page[strings.Index(page, "<main>"):])
		}
	}
}

func TestHistogramsHaveFewBars(t *testing.T) {
	var bins []inspect.Bin
	for i := range 100 {
		bins = append(bins, inspect.Bin{Value: 7 + 3*i, Count: 1})
	}
	bars := histogramBars(bins)
	sum := 0
	for _, b := range bars {
		sum += b.Count
	}
	if len(bars) > 24 || sum != 100 || bars[0].Value != 7 || histogramBars(nil) != nil {
		t.Errorf("%d bars of %d: %v", len(bars), sum, bars)
	}
}
