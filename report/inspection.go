package report

import (
	"bytes"
	_ "embed"
	"html/template"

	"distilvit/dataset/inspect"
)

// Inspection is what the page about a dataset tells.
type Inspection struct {
	Dataset  string // as it was asked for
	Report   *inspect.Report
	Pictures map[int][]byte // of Report.Shown, PNG or JPEG
}

//go:embed inspection.html.tmpl
var inspectionText string

var inspectionTemplate = template.Must(template.New("inspection").Funcs(functions).Parse(inspectionText))

// InspectionHTML is a page that needs nothing outside it.
func InspectionHTML(i Inspection) []byte {
	var out bytes.Buffer
	if err := inspectionTemplate.Execute(&out, i); err != nil {
		panic(err) // the template and its data are both ours
	}
	return out.Bytes()
}

// histogram is one to be drawn.
type histogram struct {
	Title string
	inspect.Lengths
	Bars []histogramBar
}

// histogramBar is a bar of a histogram, as wide as its share of the highest.
type histogramBar struct {
	Value, Count int
	Width        string // %
}

// histogramBars joins neighbouring values where there are many, so that at most 24 bars are left.
func histogramBars(bins []inspect.Bin) []histogramBar {
	if len(bins) == 0 {
		return nil
	}
	const most = 24
	first, last := bins[0].Value, bins[len(bins)-1].Value
	step := (last-first)/most + 1
	bars := make([]histogramBar, (last-first)/step+1)
	highest := 0
	for i := range bars {
		bars[i].Value = first + i*step
	}
	for _, b := range bins {
		bar := &bars[(b.Value-first)/step]
		bar.Count += b.Count
		highest = max(highest, bar.Count)
	}
	for i := range bars {
		bars[i].Width = fixed(1, 100*float64(bars[i].Count)/float64(highest))
	}
	return bars
}
