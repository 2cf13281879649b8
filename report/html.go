package report

import (
	"bytes"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"time"
)

// Run is what the report of a run tells.
type Run struct {
	Run     string // id
	Model   string // where it was published; empty: not yet
	Started time.Time
	Ended   time.Time

	Summary  []Pair // device, backend, sizes: whatever a reader wants first
	Rows     map[string]int
	History  []Epoch
	Steps    []StepLoss // optional
	Best     int        // epoch of the best checkpoint, 1-based; 0: none yet
	TestedOn string
	Test     *Metrics
	Samples  []Sample
	Checks   []Check
	Bad      []Bad // some of the examples left out
	BadTotal int   // all of them
	Warnings []string
	Config   string // as YAML
	Lineage  []Pair
}

//go:embed report.html.tmpl
var htmlText string

//go:embed style.css
var styleText string

var htmlTemplate = template.Must(template.New("report").Funcs(functions).Parse(htmlText))

// functions are what the pages' templates may call.
var functions = template.FuncMap{
	"style": func() template.CSS { return template.CSS(styleText) },
	"count": count, "rows": rows, "bytes": bytesText, "duration": duration, "groups": groupNames, "share": share,
	"picture": pictureURI,
	"of":      func(part, whole time.Duration) string { return share(int(part), int(whole)) },
	"f1":      func(v float64) string { return fixed(1, v) },
	"f2":      func(v float64) string { return fixed(2, v) },
	"f3":      func(v float64) string { return fixed(3, v) },
	"ms":      func(d time.Duration) string { return fixed(1, 1000*d.Seconds()) },
	"sci":     func(v float64) string { return fmt.Sprintf("%.1e", v) },
	"i64":     func(n int) int64 { return int64(n) },
	"when":    func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") },
	"row":     func(name string, m Metrics) metricsRow { return metricsRow{name, m} },
}

type metricsRow struct {
	Name string
	M    Metrics
}

// HTML is the report of a run: one file without scripts or links to anything
// outside it.
func HTML(r Run) []byte {
	if r.TestedOn == "" {
		r.TestedOn = "test"
	}
	r.BadTotal = max(r.BadTotal, len(r.Bad))
	var out bytes.Buffer
	err := htmlTemplate.Execute(&out, struct {
		Run
		Title  string
		Losses template.HTML
		Rouge  template.HTML
	}{r, r.Run, lossChart(r), rougeChart(r.History)})
	if err != nil {
		panic(err) // the template and its data are both ours
	}
	return out.Bytes()
}

func lossChart(r Run) template.HTML {
	train := series{Name: "training", Class: "s1"}
	eval := series{Name: "validation", Class: "s2", Dots: true}
	for _, s := range r.Steps {
		train.add(float64(s.Step), s.Loss, fmt.Sprintf("step %d: training loss %.3f", s.Step, s.Loss))
	}
	for _, e := range r.History {
		if len(r.Steps) == 0 {
			train.Dots = true
			train.add(float64(e.Step), e.TrainLoss, fmt.Sprintf("epoch %d, step %d: training loss %.3f", e.Epoch, e.Step, e.TrainLoss))
		}
		eval.add(float64(e.Step), e.Eval.Loss, fmt.Sprintf("epoch %d, step %d: validation loss %.3f", e.Epoch, e.Step, e.Eval.Loss))
	}
	return chart{Title: "Loss", XLabel: "step", Series: []series{train, eval}, FromZero: true}.svg()
}

func rougeChart(history []Epoch) template.HTML {
	rouge := series{Name: "ROUGE-L", Class: "s1", Dots: true}
	for _, e := range history {
		rouge.add(float64(e.Epoch), e.Eval.RougeL, fmt.Sprintf("epoch %d: ROUGE-L %.2f", e.Epoch, e.Eval.RougeL))
	}
	return chart{Title: "ROUGE-L on validation", XLabel: "epoch", Series: []series{rouge}, WholeX: true}.svg()
}

// pictureURI puts a picture into the page. Bytes that are neither PNG nor JPEG
// are left out.
func pictureURI(data []byte) template.URL {
	kind := http.DetectContentType(data)
	if kind != "image/png" && kind != "image/jpeg" {
		return ""
	}
	return template.URL("data:" + kind + ";base64," + base64.StdEncoding.EncodeToString(data))
}
