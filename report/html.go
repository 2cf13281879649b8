package report

import (
	"bytes"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"time"

	"distilvit/artifact/record"
	"distilvit/dataset/inspect"
)

// Run is what the report of a run tells.
type Run struct {
	Run     string // id
	Model   string // where it was published; empty: not yet
	Started time.Time
	Ended   time.Time

	Summary  []Pair // device, backend, sizes: whatever a reader wants first
	Rows     map[string]int
	History  []record.EpochRecord // with their evaluation on the validation set
	Steps    []StepLoss           // optional
	Best     int                  // epoch of the best checkpoint, 1-based; 0: none yet
	BestStep int64                // of that epoch, where it was not finished
	Metric   string               // that chose it, such as eval_cider; empty: eval_rougeL
	TestedOn string
	Test     *record.Metrics
	Samples  []Sample
	Checks   []record.ExportCheck
	Pruning  *record.Pruning // nil: the vocabulary is whole

	Calibration *record.Calibration // nil: weights are rounded to the nearest
	Damage      []record.Damage     // of rounding, by dtype; none: not measured

	Bad      []Bad // some of the examples left out
	BadTotal int   // all of them
	Warnings []string
	Faults   []record.Fault // that the run survived
	Config   string         // as YAML
	Lineage  []Pair
}

// Epochs is the number of the last one.
func (r Run) Epochs() int {
	if len(r.History) == 0 {
		return 0
	}
	return r.History[len(r.History)-1].Epoch
}

//go:embed report.html.tmpl
var htmlText string

//go:embed style.css
var styleText string

var htmlTemplate = template.Must(template.New("report").Funcs(functions).Parse(htmlText))

// functions are what the pages' templates may call.
var functions = template.FuncMap{
	"style": func() template.CSS { return template.CSS(styleText) },
	"count": count, "rows": rows, "bytes": Bytes, "duration": Duration,
	"groups": groupNames, "group": group, "baseline": baseline, "without": without, "share": share,
	"picture": pictureURI,
	"devices": devices, "onDevice": onDevice, "transformersJS": transformersJS,
	"of":      func(part, whole float64) string { return share(int(1e9*part), int(1e9*whole)) },
	"seconds": seconds,
	"f1":      func(v float64) string { return fixed(1, v) },
	"f2":      func(v float64) string { return fixed(2, v) },
	"f3":      func(v float64) string { return fixed(3, v) },
	"ms":      func(d time.Duration) string { return fixed(1, 1000*d.Seconds()) },
	"sci":     func(v float64) string { return fmt.Sprintf("%.1e", v) },
	"i64":     func(n int) int64 { return int64(n) },
	"when":    func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") },
	"percent": func(share float64) float64 { return 100 * share },
	"histogram": func(title string, l inspect.Lengths) histogram {
		return histogram{title, l, histogramBars(l.Histogram)}
	},
	"differ": func(all []caption) bool {
		return slices.ContainsFunc(all, func(c caption) bool { return len(c.Exports) > 0 })
	},
	"value": func(m *record.Metrics, metric string) float64 { return m.Value(metric) },
	"row":   func(name string, m record.Metrics) metricsRow { return metricsRow{name, m} },
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

type metricsRow struct {
	Name string
	M    record.Metrics
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
		Scores template.HTML
		Rates  template.HTML // empty where no step tells its learning rate
		Norms  template.HTML
		Speeds template.HTML // empty where no epoch tells its pictures
		Memory template.HTML // empty where no epoch tells its peak
		// samples in the order of the page, and where each stands by its score, the lowest first
		Captions []caption
		// metric of the second chart and the first tile, and what people call it
		ScoreKey, Score string
	}{r, r.Run, lossChart(r), scoreChart(r),
		stepChart(r, "Learning rate", func(s StepLoss) float64 { return s.Rate }),
		stepChart(r, "Gradient norm", func(s StepLoss) float64 { return s.Norm }),
		epochChart(r, "Pictures a second", record.Times.Rate),
		epochChart(r, "Memory, MiB", func(t record.Times) float64 { return float64(t.PeakBytes) / (1 << 20) }),
		captions(r.Samples), r.score(), scoreNames[r.score()]})
	if err != nil {
		panic(err) // the template and its data are both ours
	}
	return out.Bytes()
}

// caption is a sample and its place in the orders that a reader may choose.
type caption struct {
	Sample
	Rank, Back int  // by score, from the worst and from the best
	Right      bool // one of the references
}

func captions(samples []Sample) []caption {
	out := make([]caption, len(samples))
	for i, s := range samples {
		if s.Choice == "" {
			s.Choice = Chance
		}
		out[i] = caption{Sample: s, Right: slices.Contains(s.References, s.Caption)}
		for j, other := range samples {
			if other.RougeL < s.RougeL || other.RougeL == s.RougeL && j < i {
				out[i].Rank++
			}
		}
		out[i].Back = -out[i].Rank
	}
	return out
}

// stepChart draws one value of the steps; nothing where no step has it.
func stepChart(r Run, title string, value func(StepLoss) float64) template.HTML {
	line, known := series{Name: title, Class: "s1"}, false
	for _, s := range r.Steps {
		v := value(s)
		known = known || v != 0
		line.add(float64(s.Step), v, "")
	}
	if !known {
		return ""
	}
	return chart{Title: title, XLabel: "step", Series: []series{line}}.svg()
}

// epochChart draws what the epochs' times tell; nothing where none does.
func epochChart(r Run, title string, value func(record.Times) float64) template.HTML {
	line := series{Name: title, Class: "s1", Dots: true}
	for _, e := range r.History {
		if v := value(e.Times); v > 0 {
			line.add(float64(e.Step), v, fmt.Sprintf("%s: %.0f", e.Name(), v))
		}
	}
	if len(line.pts) == 0 {
		return ""
	}
	return chart{Title: title, XLabel: "step", Series: []series{line}, LogY: true}.svg()
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
			train.add(float64(e.Step), e.TrainLoss, fmt.Sprintf("epoch %d, step %d: training loss %.3f",
				e.Epoch, e.Step, e.TrainLoss))
		}
		eval.add(float64(e.Step), e.Eval.Loss, fmt.Sprintf("epoch %d, step %d: validation loss %.3f", e.Epoch,
			e.Step, e.Eval.Loss))
	}
	return chart{Title: "Loss", XLabel: "step", Series: []series{train, eval}, LogY: true}.svg()
}

// scoreNames are what people call the metrics that choose the best epoch.
var scoreNames = map[string]string{
	record.MetricRougeL: "ROUGE-L", record.MetricCider: "CIDEr", record.MetricBleu4: "BLEU-4",
	record.MetricExactMatch: "Exact captions, %",
}

// score is the metric that chose the best epoch; where the loss did, which has a chart of its own,
// ROUGE-L.
func (r Run) score() string {
	if scoreNames[r.Metric] == "" {
		return record.MetricRougeL
	}
	return r.Metric
}

func scoreChart(r Run) template.HTML {
	name := scoreNames[r.score()]
	scores := series{Name: name, Class: "s1", Dots: true}
	within := slices.ContainsFunc(r.History, func(e record.EpochRecord) bool { return e.EpochStep > 0 })
	for _, e := range r.History {
		v := e.Eval.Value(r.score())
		x := float64(e.Epoch)
		if within {
			x = float64(e.Step)
		}
		scores.add(x, v, fmt.Sprintf("%s: %s %.2f", e.Name(), name, v))
	}
	label := "epoch"
	if within {
		label = "step"
	}
	return chart{
		Title: name + " on validation", XLabel: label, Series: []series{scores}, WholeX: true,
	}.svg()
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
