// Package report writes what people read about a run: the published model's
// card (README.md with the front matter model hubs read) and a report in one
// HTML file that needs nothing else. It reads no clock and no file: equal
// input gives equal bytes. Start reading at ModelCard and HTML.
package report

import (
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
	"time"

	"distilvit/artifact/record"
)

// StepLoss is what is known of a training step, for finer curves than epochs give.
type StepLoss struct {
	Step int64
	Loss float64
	Rate float64 // learning rate; 0: not known
	Norm float64 // of the gradient, before it is clipped; 0: not known
}

// Choice is why a sample is shown.
type Choice string

// Choices of samples.
const (
	Chance Choice = "chance" // evenly out of all
	Best   Choice = "best"   // of all by ROUGE-L
	Worst  Choice = "worst"  // of all by ROUGE-L

	Differs Choice = "differs" // of the validation set; captions of exports differ most
)

// ExportCaption is what an export says of a picture.
type ExportCaption struct{ Dtype, Caption string }

// Sample is a captioned picture.
type Sample struct {
	Choice Choice  // empty: chance
	RougeL float64 // × 100, as the run scores it

	ImageID    string
	Group      string
	Caption    string
	References []string
	Picture    []byte // PNG or JPEG; empty for none

	Exports []ExportCaption // that say something else than the model
}

// Dataset is one source of captioned pictures.
type Dataset struct {
	Name   string // as people know it, or the kind and where it came from
	HubID  string // of a dataset of the hub, ORG/NAME; empty: it is none
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

// device is one of Transformers.js' with the name that people call it by.
type device struct{ Device, Name string }

// deviceNames are what people call the devices of Transformers.js, in order.
var deviceNames = []device{
	{record.DeviceNode, "Node"}, {record.DeviceWasm, "WebAssembly"}, {record.DeviceWebGPU, "WebGPU"},
}

// devices are those that exports were checked on.
func devices(checks []record.ExportCheck) (checked []device) {
	for _, d := range deviceNames {
		if slices.ContainsFunc(checks, func(c record.ExportCheck) bool {
			return slices.ContainsFunc(c.Devices, func(x record.DeviceCheck) bool { return x.Device == d.Device })
		}) {
			checked = append(checked, d)
		}
	}
	return checked
}

// transformersJS is the version that they were checked in.
func transformersJS(checks []record.ExportCheck) string {
	for _, c := range checks {
		for _, d := range c.Devices {
			return d.Version
		}
	}
	return ""
}

// onDevice is what came of an export on a device.
func onDevice(check record.ExportCheck, device string) string {
	for _, c := range check.Devices {
		if c.Device == device {
			return c.String()
		}
	}
	return "not checked"
}

// groupNames are the names of metrics' groups in order.
func groupNames(m record.Metrics) []string {
	names := make([]string, 0, len(m.Groups))
	for name := range m.Groups {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// group is a group's scores; its loss is not measured.
func group(m record.Metrics, name string) record.Metrics {
	return record.Metrics{Loss: math.NaN(), Scores: m.Groups[name]}
}

// baseline is the scores of what needs no model and so has no loss and no tokens.
func baseline(b record.BaselineRow) record.Metrics {
	m := record.Metrics{Loss: math.NaN(), Scores: b.Scores}
	m.GenLen = math.NaN()
	return m
}

func without(b record.BaselineRow) string { return "without a model: " + b.Name }

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

// Bytes is a size for people: 512 B, 12.3 MiB.
func Bytes(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, exponent := float64(n)/unit, 0
	for value >= unit && exponent < 4 {
		value /= unit
		exponent++
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGTP"[exponent])
}

// Duration writes a time as people say it: 42 s, 3 min 5 s, 2 h 10 min.
func Duration(d time.Duration) string {
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
