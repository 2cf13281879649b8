// Package report writes what people read about a run: the published model's
// card (README.md with the front matter model hubs read) and a report in one
// HTML file that needs nothing else. It reads no clock and no file: equal
// input gives equal bytes. Start reading at ModelCard and HTML.
package report

import (
	"fmt"
	"math"
	"sort"
	"strings"
	"time"
)

// Metrics of an evaluation. All but Loss, GenLen and Samples are × 100.
type Metrics struct {
	Loss       float64 // mean over label tokens
	Rouge1     float64
	Rouge2     float64
	RougeL     float64
	RougeLsum  float64
	Bleu4      float64
	Cider      float64
	GenLen     float64 // tokens
	ExactMatch float64
	Samples    int
	Groups     map[string]Metrics // parts of the data reported apart
}

// Epoch is one finished epoch and its evaluation on the validation set.
type Epoch struct {
	Epoch     int // 1-based
	Step      int64
	TrainLoss float64 // mean over the epoch's label tokens
	Duration  time.Duration
	Loop      Loop
	Eval      Metrics
}

// Loop is the time of an epoch's steps, all zero where it is not known.
type Loop struct {
	All        time.Duration
	Input      time.Duration // of All: the device waited for a batch
	Checkpoint time.Duration // of All: the steps stood still for checkpoints
}

// StepLoss is the training loss at a step, for a finer curve than epochs give.
type StepLoss struct {
	Step int64
	Loss float64
}

// Sample is a captioned picture.
type Sample struct {
	ImageID    string
	Group      string
	Caption    string
	References []string
	Picture    []byte // PNG or JPEG; empty for none
}

// Check is one export, run in ONNX Runtime beside the model it came from.
type Check struct {
	Dtype         string
	Pictures      int
	MaxLogitsDiff float64 // 0 where logits are not compared
	EqualIDs      int     // pictures whose greedy token ids all equal the model's
	RougeL        float64
	ModelRougeL   float64
	Bytes         int64
}

// Dataset is one source of captioned pictures.
type Dataset struct {
	Name   string // as people know it, or the kind and where it came from
	Digest string // of its files, or of what generated it
	Note   string
}

// Bad is an example that was left out, and why.
type Bad struct {
	ID     string
	Reason string
}

// Pair is a named value of a list: a setting, or a link of the lineage.
type Pair struct{ Name, Value string }

// splitNames in the order people expect; others follow by name.
var splitOrder = map[string]int{"train": -3, "validation": -2, "test": -1}

// rows lists the numbers of examples by split: "900 train, 100 test".
func rows(bySplit map[string]int) string {
	names := make([]string, 0, len(bySplit))
	for name := range bySplit {
		names = append(names, name)
	}
	sort.Slice(names, func(i, j int) bool {
		a, b := splitOrder[names[i]], splitOrder[names[j]]
		return a < b || a == b && names[i] < names[j]
	})
	for i, name := range names {
		names[i] = fmt.Sprintf("%s %s", count(int64(bySplit[name])), name)
	}
	return strings.Join(names, ", ")
}

// groupNames are the names of metrics' groups in order.
func groupNames(m Metrics) []string {
	names := make([]string, 0, len(m.Groups))
	for name := range m.Groups {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// fixed writes a number with so many digits behind the point.
func fixed(digits int, v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "–"
	}
	s := fmt.Sprintf("%.*f", digits, v)
	if strings.Trim(s, "-0.") == "" {
		return strings.TrimPrefix(s, "-") // no "-0.00"
	}
	return s
}

// count writes a whole number with thousands apart.
func count(n int64) string {
	s := fmt.Sprint(n)
	sign := ""
	if n < 0 {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// bytesText writes a size in the unit that fits.
func bytesText(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d bytes", n)
}

// duration writes a time as people say it: 42 s, 3 min 5 s, 2 h 10 min.
func duration(d time.Duration) string {
	s := int64(d.Round(time.Second) / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s < 3600:
		return fmt.Sprintf("%d min %d s", s/60, s%60)
	}
	return fmt.Sprintf("%d h %d min", s/3600, s%3600/60)
}

// share writes part of whole in percent.
func share(part, whole int) string {
	if whole == 0 {
		return "–"
	}
	return fixed(1, 100*float64(part)/float64(whole)) + " %"
}
