package report

import (
	"bytes"
	"encoding/xml"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"distilvit/artifact/record"
)

var update = flag.Bool("update", false, "write the golden files")

func compare(t *testing.T, name string, got []byte) {
	t.Helper()
	path := "testdata/" + name
	if *update {
		if err := os.WriteFile(path, got, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; look at it and run with -update", path)
	}
}

func checks() []record.ExportCheck {
	return []record.ExportCheck{
		{Dtype: "fp32", Pictures: 200, MaxLogitsDiff: 2.4e-5, EqualIDs: 200, RougeL: 91.37,
			ModelRougeL: 91.37, Bytes: 7 << 20},
		{Dtype: "q8", Pictures: 200, Divergence: 1.57e-5, EqualIDs: 196, RougeL: 91.12, ModelRougeL: 91.37, Bytes: 2<<20 - 1000},
	}
}

func testMetrics() record.Metrics {
	return record.Metrics{
		Loss: 0.2134,
		Scores: record.Scores{
			Rouge1: 93.2, Rouge2: 88.1, RougeL: 91.37, RougeLsum: 91.37, Bleu4: 71.5,
			Cider: 612.25, GenLen: 11.42, ExactMatch: 90.6, Samples: 1200,
		},
		Groups: map[string]record.Scores{
			"unseen": {
				Rouge1: 80, Rouge2: 70, RougeL: 77.7, RougeLsum: 77.7, Bleu4: 50,
				Cider: 400, GenLen: 11, ExactMatch: 61.5, Samples: 200,
			},
			"seen": {
				Rouge1: 95, Rouge2: 91, RougeL: 94.1, RougeLsum: 94.1, Bleu4: 75,
				Cider: 650, GenLen: 11.5, ExactMatch: 96.4, Samples: 1000,
			},
		},
		Baselines: &record.Baselines{
			Trained: 10000, Caption: "a red star | a cross",
			Commonest: record.Scores{RougeL: 40.5, ExactMatch: 0.1, Samples: 1000},
			Nearest:   record.Scores{RougeL: 60.25, ExactMatch: 3, Samples: 1000},
		},
	}
}

func fullCard() Card {
	return Card{
		Name: "shapes", Version: "demo-b0", RepoID: "me/shapes", License: "other", LicenseName: "acme-1.0",
		LicenseLink: "LICENSE", Languages: []string{"en", "no"}, BaseModels: []string{"Mozilla/distilvit"},
		StartedFrom: []string{"Mozilla/distilvit"},
		Decoding:    []Pair{{"Decoding", "greedy"}, {"Never said", `"dog", "cat | *"`}},
		ImageSize:   64, Encoder: "ViT, 3 layers of width 128", Decoder: "GPT-2, 3 layers of width 128",
		Parameters: 1702144, VocabSize: 412, MaxLength: 32,
		Datasets: []Dataset{
			{Name: "shapes", Digest: strings.Repeat("ab", 32), Note: "drawn by the program"},
			{Name: "coco: train 2017 | part", Digest: strings.Repeat("cd", 32)},
			{Name: "org/photos", HubID: "org/photos", Digest: strings.Repeat("ef", 32)},
		},
		Rows:  map[string]int{"train": 12000, "test": 1200, "validation": 500, "extra": 7},
		Epoch: 9, Step: 3375,
		Test: testMetrics(), Eval: record.Metrics{Loss: 0.2, Scores: record.Scores{RougeL: 91.5, Samples: 500}},
		Settings: []Pair{{"epochs", "12"}, {"learning_rate", "0.001"}}, Checks: checks(),
		Samples: []Sample{{ImageID: "test-17", Caption: "a red circle above two *small* squares",
			References: []string{"a red circle | above", "x"}}, {ImageID: "a_b", Caption: "<b>#1</b>"}},
		Lineage: []Pair{{"run", "demo"}, {"config", strings.Repeat("01", 32)}},
	}
}

func TestModelCard(t *testing.T) {
	compare(t, "card.md", ModelCard(fullCard()))
	compare(t, "card_small.md", ModelCard(Card{Name: "tiny"}))
}

func TestModelCardFrontMatterSurvivesAnyName(t *testing.T) {
	for _, name := range []string{
		"plain", "a: b", "- x", "\"quoted\" 'twice'", "yes", "12", "#no",
		"line\nbreak\n---\n", "é 犬", "{}",
	} {
		c := fullCard()
		c.Name, c.LicenseName = name, name
		c.Test.RougeL = math.NaN()
		parts := strings.SplitN(string(ModelCard(c)), "\n---\n", 2)
		var matter struct {
			PipelineTag string `yaml:"pipeline_tag"`
			LibraryName string `yaml:"library_name"`
			Datasets    []string
			LicenseName string                  `yaml:"license_name"`
			ModelIndex  []struct{ Name string } `yaml:"model-index"`
		}
		if err := yaml.Unmarshal([]byte(strings.TrimPrefix(parts[0], "---\n")), &matter); err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		if matter.PipelineTag != "image-to-text" || matter.LibraryName != "transformers.js" ||
			matter.Datasets[0] != "org/photos" || matter.LicenseName != name || matter.ModelIndex[0].Name != name {
			t.Errorf("%q: %+v", name, matter)
		}
	}
}

func picture(t testing.TB, c color.Color) []byte {
	t.Helper()
	m := image.NewRGBA(image.Rect(0, 0, 64, 64))
	for i := range 64 * 64 {
		if x, y := i%64-32, i/64-32; x*x+y*y < 500 {
			m.Set(i%64, i/64, c)
		} else {
			m.Set(i%64, i/64, color.White)
		}
	}
	var out bytes.Buffer
	if err := png.Encode(&out, m); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func fullRun(t testing.TB) Run {
	test := testMetrics()
	r := Run{
		Run: "shapes-demo", Model: "models/shapes/shapes-demo-b0", Best: 9, Test: &test,
		Checks: checks(), BadTotal: 12,
		Started:  time.Date(2026, 11, 23, 13, 30, 0, 0, time.UTC),
		Ended:    time.Date(2026, 11, 23, 13, 35, 12, 0, time.UTC),
		Summary:  []Pair{{"model", "ViT + GPT-2, 1,702,144 parameters"}, {"backend", "xla, 2 threads"}},
		Rows:     map[string]int{"train": 12000, "test": 1200, "validation": 500},
		Bad:      []Bad{{"train/17.jpg", "unexpected EOF"}, {"<script>alert(1)</script>", "no caption"}},
		Warnings: []string{"3 pictures carry an EXIF orientation, which is not applied"},
		Config:   "name: shapes\ntrain:\n  epochs: 12\n",
		Lineage:  []Pair{{"config", strings.Repeat("01", 32)}},
	}
	for i := 1; i <= 12; i++ {
		x := float64(i)
		r.History = append(r.History, record.EpochRecord{Epoch: i, Step: int64(i) * 375,
			TrainLoss: 0.12 + 2.6*math.Exp(-x/2.2), Seconds: 24,
			Times: record.Times{
				Loop: 20 + x/4, Input: 0.01 * x, Checkpoint: 0.3, Pictures: 12000, PeakBytes: int64(900+10*i) << 20,
			},
			Eval: record.Metrics{Loss: 0.19 + 2.2*math.Exp(-x/2.1) + 0.004*x, Scores: record.Scores{
				Rouge1: 60 + 33*(1-math.Exp(-x/3)), Rouge2: 50,
				RougeL: 58 + 33.4*(1-math.Exp(-x/3)) - 0.2*math.Max(0, x-9), RougeLsum: 58, GenLen: 11.4,
				ExactMatch: 8 * x, Samples: 500,
			}}})
	}
	colours := []color.Color{color.RGBA{200, 40, 40, 255}, color.RGBA{40, 90, 200, 255}}
	for i, c := range colours {
		r.Samples = append(r.Samples, Sample{ImageID: fmt.Sprintf("test-%d", i),
			Group: []string{"seen", "unseen"}[i], Caption: "a round thing & nothing else",
			References: []string{"a circle", "there is one circle in the middle"}, Picture: picture(t, c),
			Choice: []Choice{"", Worst}[i], RougeL: []float64{61.25, 20}[i]})
	}
	r.Faults = []record.Fault{
		{Type: "DeviceLost", Done: "a fresh process from the newest checkpoint", Times: 3},
		{Done: "a new session, on any worker", Times: 1},
	}
	r.Samples = append(r.Samples, Sample{
		ImageID: "validation-7", Caption: "a blue circle", References: []string{"a blue circle"}, Choice: Differs, RougeL: 100,
		Picture: picture(t, colours[1]), Exports: []ExportCaption{{"q8", "a blue ring"}, {"q4", "two <rings>"}},
	}, Sample{
		ImageID: "text", Caption: "not a picture", Picture: []byte("<svg onload=alert(1)>"),
	})
	return r
}

func TestHTML(t *testing.T) {
	compare(t, "report.html", HTML(fullRun(t)))
	compare(t, "report_small.html", HTML(Run{Run: "started"}))
}

func TestHTMLShowsTheMetricThatChoseTheBestEpoch(t *testing.T) {
	r := fullRun(t)
	r.Test.Cider, r.Test.Distinct = 777.25, 41.5
	for i := range r.History {
		r.History[i].Eval.Cider, r.History[i].Eval.ExactMatch = 700+float64(i), 60+float64(i)
	}
	for metric, want := range map[string][]string{
		record.MetricCider: {"CIDEr on validation", "epoch 12: CIDEr 711.00", "<b>777.25</b><span>CIDEr, test</span>",
			"best epoch, by eval_cider", ">41.5 %<"},
		record.MetricExactMatch: {"Exact captions, % on validation", "epoch 12: Exact captions, % 71.00"},
		record.MetricLoss: {"ROUGE-L on validation", "<b>91.37</b><span>ROUGE-L, test</span>",
			"best epoch, by eval_loss"},
	} {
		r.Metric = metric
		page := string(HTML(r))
		for _, w := range want {
			if !strings.Contains(page, w) {
				t.Errorf("chosen by %s, the page does not say %q", metric, w)
			}
		}
		if n := strings.Count(page, "exact captions, test"); n != 1 {
			t.Errorf("chosen by %s, %d tiles of exact captions", metric, n)
		}
	}
}

func TestHTMLIsWellFormedAndNeedsNothingElse(t *testing.T) {
	r := fullRun(t)
	for i := range 5000 {
		r.Steps = append(r.Steps, StepLoss{int64(i), 3 * math.Exp(-float64(i)/900), 1e-4 * (1 - float64(i)/5000), 0})
	}
	r.Steps[7].Loss = math.Inf(1)
	r.History[3].Eval.RougeL = math.NaN()
	one := r
	one.History, one.Steps = r.History[:1], nil
	for _, run := range []Run{r, one, {}} {
		page := string(HTML(run))
		for _, bad := range []string{
			"<script", "http:", "https:", "onload=alert(1)>", "ZgotmplZ", "NaN", "Inf", "<no value>",
		} {
			if strings.Contains(page, bad) {
				t.Errorf("page contains %q", bad)
			}
		}
		for rest := page; ; { // the charts alone are XML
			start := strings.Index(rest, "<svg")
			if start < 0 {
				break
			}
			end := strings.Index(rest, "</svg>") + len("</svg>")
			dec := xml.NewDecoder(strings.NewReader(rest[start:end]))
			for {
				if _, err := dec.Token(); err == io.EOF {
					break
				} else if err != nil {
					t.Fatal(err)
				}
			}
			rest = rest[end:]
		}
	}
}

// The first steps' losses do not flatten all that follows.
func TestLossAxisSpansItsRangeInEqualRatios(t *testing.T) {
	for _, c := range []struct {
		low, high float64
		want      string
	}{
		{0.157, 5.7, "[0.1 0.2 0.5 1 2 5 10]"}, {0.2, 2.5, "[0.2 0.5 1 2 5]"}, {1e-5, 3, "[1e-05 0.0001 0.001 0.01 0.1 1 10]"},
	} {
		for i, tick := range logAxis(c.low, c.high).ticks {
			if got := tickText(tick); got != strings.Fields(strings.Trim(c.want, "[]"))[i] {
				t.Errorf("%v to %v: number %d is %s, want of %s", c.low, c.high, i, got, c.want)
			}
		}
		if n := len(logAxis(c.low, c.high).ticks); n != len(strings.Fields(c.want)) {
			t.Errorf("%v to %v: %d numbers, want %s", c.low, c.high, n, c.want)
		}
	}
	for _, low := range []float64{0, 1e-320, 0.01} { // no logarithm, or one that never ends
		x, y, ok := chart{LogY: true, Series: []series{{pts: []point{{0, low, ""}, {1, 5, ""}}}}}.ranges()
		if !ok || y.low > low || y.high < 5 || x.high != 1 || y.log != (low == 0.01) {
			t.Errorf("from %v: %+v", low, y)
		}
	}
}

func TestNumbersReadAsPeopleWriteThem(t *testing.T) {
	for got, want := range map[string]string{
		count(0): "0", count(999): "999", count(1000): "1,000", count(-1234567): "-1,234,567",
		fixed(2, -0.001): "0.00", fixed(1, math.Inf(1)): "–", fixed(1, 2.25): "2.2",
		Bytes(512): "512 B", Bytes(1536): "1.5 KiB", Bytes(12 << 20): "12.0 MiB", Bytes(3 << 30): "3.0 GiB",
		Duration(42 * time.Second): "42 s", Duration(185 * time.Second): "3 min 5 s",
		Duration(130 * time.Minute): "2 h 10 min",
		share(1, 3):                 "33.3 %", share(0, 0): "–",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestCaptionsStandInTheirOrders(t *testing.T) {
	all := captions([]Sample{
		{Caption: "a", References: []string{"b", "a"}, RougeL: 50}, {Caption: "c", RougeL: 10, Choice: Worst},
		{Caption: "d", RougeL: 50, Choice: Best},
	})
	for i, want := range []caption{{Rank: 1, Right: true}, {Rank: 0}, {Rank: 2}} {
		if got := all[i]; got.Rank != want.Rank || got.Back != -want.Rank || got.Right != want.Right {
			t.Errorf("%d: rank %d, back %d, right %v", i, got.Rank, got.Back, got.Right)
		}
	}
	if all[0].Choice != Chance || all[1].Choice != Worst {
		t.Errorf("choices %s, %s", all[0].Choice, all[1].Choice)
	}
}

// Card and report say what the exports are rounded by, and nothing where each weight is to the nearest.
func TestCalibrationIsSaid(t *testing.T) {
	r := fullRun(t)
	card := fullCard()
	for _, told := range []bool{false, true} {
		if told {
			r.Calibration = &record.Calibration{Pictures: 61, Captions: 305}
			card.Calibration = r.Calibration
		}
		for what, text := range map[string]string{"report": string(HTML(r)), "card": string(ModelCard(card))} {
			if got := strings.Contains(text, "61 validation pictures"); got != told {
				t.Errorf("%s: calibration is said: %v, want %v", what, got, told)
			}
		}
	}
}

// Card and report say which layers keep 8 bits and why; the report shows the most damaged layer first, and neither says
// a word where nothing was measured.
func TestDamageIsSaid(t *testing.T) {
	r, card := fullRun(t), fullCard()
	if strings.Contains(string(HTML(r)), "Damage of rounding") || strings.Contains(string(ModelCard(card)), "8 bits a weight") {
		t.Error("damage is said, and was not measured")
	}
	r.Damage = []record.Damage{{
		Dtype: "q4", Pictures: 31, Tokens: 400, PlainBytes: 10 << 20, MaxBytes: 11 << 20, Layers: []record.LayerDamage{
			{Layer: "first", Bytes: 1000, KL: 2e-4, MaxKL: 3e-3},
			{Layer: "second", Bytes: 500, KL: 4e-4, MaxKL: 5e-3, EightBits: true},
		},
	}, {Dtype: "q8", Pictures: 31, Tokens: 400, Layers: []record.LayerDamage{{Layer: "first"}}}}
	card.Damage = r.Damage
	html, text := string(HTML(r)), string(ModelCard(card))
	first, second := strings.Index(html, "<td>first</td>"), strings.Index(html, "<td>second</td>")
	if second < 0 || first < second || !strings.Contains(html, "width: 50.0%") || !strings.Contains(html, "1 of 2 layers keep 8 bits") {
		t.Errorf("the report shows the first layer at %d, the second, more damaged one at %d", first, second)
	}
	if !strings.Contains(text, "`second` (4.0e-04).") || strings.Contains(text, "`first`") ||
		!strings.Contains(text, "captions of 31 validation pictures") || strings.Contains(text, "In q8") {
		t.Errorf("the card says\n%s", text)
	}
	card.Damage[0].Layers[1].EightBits = false
	if text := string(ModelCard(card)); !strings.Contains(text, "none fits into 11.0 MiB") {
		t.Errorf("the card does not say that no layer fits:\n%s", text)
	}
}
