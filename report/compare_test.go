package report

import (
	"strings"
	"testing"
	"time"
)

func TestComparisonMarksWhatDiffersAndWhatIsWrong(t *testing.T) {
	page := string(CompareHTML(Comparison{
		Dataset: "shapes", Total: 2,
		Models: []Compared{
			{Name: "a weights", Bytes: 1 << 20, FirstToken: 1530 * time.Microsecond, FurtherToken: 250 * time.Microsecond},
			{Name: "b <q8>"},
		},
		Pictures: []ComparedPicture{
			{Sample: Sample{
				ImageID: "1", References: []string{"a cat", "cat"},
			}, Captions: []string{"cat", "a dog"}},
			{Sample: Sample{
				ImageID: "2", References: []string{"a cow"},
			}, Captions: []string{"a cow", "a cow"}},
		},
	}))
	for text, times := range map[string]int{
		`<tr class="best">`: 1, `<td class="miss">`: 1, `<td class="miss">a dog</td>`: 1, "b &lt;q8&gt;": 2,
		"1.0 MiB": 1, "a cow": 3, `<td class="n">1.5</td><td class="n">0.2</td>`: 1,
	} {
		if got := strings.Count(page, text); got != times {
			t.Errorf(
				"%q is there %d times, want %d:\n%s", text, got, times, page[strings.Index(page, "<main>"):],
			)
		}
	}
}
