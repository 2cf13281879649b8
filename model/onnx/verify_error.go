package onnx

import (
	"fmt"
	"slices"
	"strings"

	"distilvit/artifact/record"
)

// Difference is a picture that the export captions differently, or with other logits.
type Difference struct {
	ID            string
	Model, Export string // captions
	SameIDs       bool
	Logits        float64 // largest difference, fp32 only
}

// VerifyError is an export that captions worse than the model it came from. Its message is a summary line, a
// table, and what to do.
type VerifyError struct {
	Check       record.ExportCheck
	Options     VerifyOptions
	Differences []Difference // in the pictures' order
}

func (e *VerifyError) Error() string { return e.Summary() + "\n" + e.Table() + e.advice() }

// advice is a line on what to do; empty for fp32, which never differs by itself.
func (e *VerifyError) advice() string {
	if e.Check.Dtype == "fp32" {
		return ""
	}
	return "  A model that has learnt little chooses words by tiny differences, which any rounding turns over: train\n" +
		"  longer, leave " + e.Check.Dtype + " out (export.dtypes), or allow more (export.min_equal, export.max_rouge_l_drop).\n"
}

// Summary is one line: what was found and what was allowed.
func (e *VerifyError) Summary() string {
	c := e.Check
	if c.Dtype == "fp32" {
		return fmt.Sprintf("the fp32 export differs from the model: token ids equal on %d of %d pictures "+
			"(all must be), logits differ by up to %.2g (at most %.2g)",
			c.EqualIDs, c.Pictures, c.MaxLogitsDiff, e.Options.MaxLogitsDiff)
	}
	if c.RougeL >= c.ModelRougeL-e.Options.MaxRougeDrop {
		return fmt.Sprintf("the %s export captions otherwise than the model: token ids equal on %d of %d pictures "+
			"(at least %.0f %% must be); rougeL %.2f, the model's is %.2f",
			c.Dtype, c.EqualIDs, c.Pictures, 100*e.Options.MinEqual, c.RougeL, c.ModelRougeL)
	}
	return fmt.Sprintf("the %s export captions worse than the model: rougeL %.2f, the model's is %.2f "+
		"(at most %.2f less) on %d pictures",
		c.Dtype, c.RougeL, c.ModelRougeL, e.Options.MaxRougeDrop, c.Pictures)
}

// tableRows is how many of the differences Table shows.
const tableRows = 12

// Table shows the worst differences, aligned in columns.
func (e *VerifyError) Table() string {
	rows := slices.Clone(e.Differences)
	slices.SortStableFunc(rows, func(a, b Difference) int {
		switch {
		case a.SameIDs != b.SameIDs && b.SameIDs:
			return -1
		case a.SameIDs != b.SameIDs:
			return 1
		case a.Logits > b.Logits:
			return -1
		case a.Logits < b.Logits:
			return 1
		}
		return 0
	})
	more := len(rows) - tableRows
	rows = rows[:min(len(rows), tableRows)]
	cells := [][]string{{"picture", "logits differ", "model", "export"}}
	for _, d := range rows {
		logits := "-"
		if e.Check.Dtype == "fp32" {
			logits = fmt.Sprintf("%.2g", d.Logits)
		}
		cells = append(cells, []string{d.ID, logits, shorten(d.Model), shorten(d.Export)})
	}
	var widths [4]int
	for _, row := range cells {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	var b strings.Builder
	for _, row := range cells {
		line := ""
		for i, cell := range row {
			line += "  " + cell + strings.Repeat(" ", widths[i]-len([]rune(cell)))
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	if more > 0 {
		fmt.Fprintf(&b, "  … and %d more\n", more)
	}
	return b.String()
}

// shorten keeps a caption on the table's line.
func shorten(caption string) string {
	if r := []rune(caption); len(r) > 60 {
		return string(r[:59]) + "…"
	}
	return caption
}
