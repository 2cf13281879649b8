package report

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"strconv"
	"strings"
)

// chart is a small line chart, drawn as SVG whose colours are the page's.
type chart struct {
	Title  string
	XLabel string
	Series []series
	LogY   bool // the y axis has equal steps for equal ratios, where the values span a factor of 10
	WholeX bool // x are whole numbers
}

type series struct {
	Name  string
	Class string // colour, by the page's style sheet
	Dots  bool
	pts   []point
}

type point struct {
	x, y float64
	tip  string
}

// add leaves out what is not finite: a diverged step has no place on an axis.
func (s *series) add(x, y float64, tip string) {
	if !math.IsNaN(y) && !math.IsInf(y, 0) {
		s.pts = append(s.pts, point{x, y, tip})
	}
}

// Sizes in the SVG's own units; the page scales it.
const (
	chartWidth, chartHeight                = 460.0, 260.0
	plotLeft, plotRight, plotTop, plotFoot = 44.0, 20.0, 14.0, 40.0
)

// svg draws the chart; nothing where there are no points.
func (c chart) svg() template.HTML {
	x, y, ok := c.ranges()
	if !ok {
		return ""
	}
	px := func(v float64) float64 {
		return plotLeft + (v-x.low)/(x.high-x.low)*(chartWidth-plotLeft-plotRight)
	}
	py := func(v float64) float64 {
		part := (v - y.low) / (y.high - y.low)
		if y.log {
			part = math.Log(v/y.low) / math.Log(y.high/y.low)
		}
		return chartHeight - plotFoot - part*(chartHeight-plotTop-plotFoot)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %g %g" role="img" aria-label="%s">`, chartWidth, chartHeight,
		html.EscapeString(c.Title))
	for _, tick := range y.ticks {
		fmt.Fprintf(&b, `<line class="grid" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>`, plotLeft,
			chartWidth-plotRight, py(tick), py(tick))
		fmt.Fprintf(&b, `<text class="tick" x="%.1f" y="%.1f" text-anchor="end">%s</text>`, plotLeft-7,
			py(tick)+4, tickText(tick))
	}
	for _, tick := range x.ticks {
		fmt.Fprintf(&b, `<text class="tick" x="%.1f" y="%.1f" text-anchor="middle">%s</text>`, px(tick),
			chartHeight-plotFoot+17, tickText(tick))
	}
	fmt.Fprintf(&b, `<line class="axis" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>`, plotLeft,
		chartWidth-plotRight, py(y.low), py(y.low))
	fmt.Fprintf(&b, `<text class="tick" x="%.1f" y="%.1f" text-anchor="middle">%s</text>`,
		(plotLeft+chartWidth-plotRight)/2, chartHeight-6, html.EscapeString(c.XLabel))
	for _, s := range c.Series {
		var path strings.Builder
		for _, p := range thin(s.pts) {
			fmt.Fprintf(&path, "%.1f,%.1f ", px(p.x), py(p.y))
		}
		fmt.Fprintf(&b, `<polyline class="%s" points="%s"/>`, s.Class, strings.TrimSpace(path.String()))
		if !s.Dots {
			continue
		}
		for _, p := range s.pts {
			fmt.Fprintf(&b, `<circle class="%s" cx="%.1f" cy="%.1f" r="3.5"><title>%s</title></circle>`,
				s.Class, px(p.x), py(p.y), html.EscapeString(p.tip))
		}
	}
	b.WriteString("</svg>")
	return template.HTML(c.legend() + b.String()) // numbers, and text escaped above
}

// legend names the lines where there are several.
func (c chart) legend() string {
	if len(c.Series) < 2 {
		return ""
	}
	var b strings.Builder
	b.WriteString(`<p class="legend">`)
	for _, s := range c.Series {
		if len(s.pts) > 0 {
			fmt.Fprintf(&b, `<span><i class="%s"></i>%s</span> `, s.Class, html.EscapeString(s.Name))
		}
	}
	return b.String() + "</p>"
}

// axis is the range drawn and where the numbers stand.
type axis struct {
	low, high float64
	ticks     []float64
	log       bool
}

func (c chart) ranges() (x, y axis, ok bool) {
	x.low, y.low = math.Inf(1), math.Inf(1)
	x.high, y.high = math.Inf(-1), math.Inf(-1)
	for _, s := range c.Series {
		for _, p := range s.pts {
			x.low, x.high = min(x.low, p.x), max(x.high, p.x)
			y.low, y.high = min(y.low, p.y), max(y.high, p.y)
			ok = true
		}
	}
	if !ok {
		return x, y, false
	}
	switch {
	case c.LogY && y.low > 1e-9 && y.high > 10*y.low:
		y = logAxis(y.low, y.high)
	case c.LogY && y.low > 0:
		y = niceAxis(0, y.high, 5, false)
	default:
		y = niceAxis(y.low, y.high, 5, false)
	}
	y.low, y.high = min(y.low, y.ticks[0]), max(y.high, y.ticks[len(y.ticks)-1])
	x = niceAxis(x.low, x.high, 7, c.WholeX)
	return x, y, true
}

// niceAxis puts about n round numbers on a range. The y axis is widened to
// them; the x axis keeps its ends.
func niceAxis(low, high float64, n int, whole bool) axis {
	a := axis{low: low, high: high}
	if !(high > low) {
		pad := max(math.Abs(high)*0.1, 1)
		a.low, a.high = low-pad, high+pad
	}
	raw := (a.high - a.low) / float64(n)
	step := math.Pow(10, math.Floor(math.Log10(raw)))
	for _, factor := range []float64{1, 2, 5, 10} {
		if step*factor >= raw*0.999 {
			step *= factor
			break
		}
	}
	if whole {
		step = max(1, math.Round(step))
	}
	if !(high > low) { // one value only: it alone
		a.ticks = []float64{low}
		return a
	}
	first, last := math.Floor(a.low/step), math.Ceil(a.high/step)
	if n > 5 { // an x axis
		first, last = math.Ceil(a.low/step-1e-9), math.Floor(a.high/step+1e-9)
	}
	for i := first; i <= last && len(a.ticks) < 4*n; i++ {
		a.ticks = append(a.ticks, i*step)
	}
	return a
}

// logAxis has the numbers 1, 2 and 5 of every power of ten that the range needs; only 1 where they are many.
func logAxis(low, high float64) axis {
	a := axis{low: low, high: high, log: true}
	factors := []float64{1, 2, 5}
	if high > 1000*low {
		factors = factors[:1]
	}
	for power := math.Pow(10, math.Floor(math.Log10(low))); ; power *= 10 {
		for _, factor := range factors {
			tick := power * factor
			if len(a.ticks) > 0 && tick <= low*1.0001 {
				a.ticks = a.ticks[:0] // a later one is still below the range
			}
			a.ticks = append(a.ticks, tick)
			if tick >= high*0.9999 {
				return a
			}
		}
	}
}

func tickText(v float64) string {
	if math.Abs(v) >= 10000 {
		return strconv.FormatFloat(v/1000, 'g', 4, 64) + "k"
	}
	return strconv.FormatFloat(math.Round(v*1e6)/1e6, 'g', 6, 64)
}

// thin takes means of neighbours where a line has more points than pixels.
func thin(pts []point) []point {
	const most = 400
	if len(pts) <= most {
		return pts
	}
	out := make([]point, 0, most)
	for i := range most {
		part := pts[i*len(pts)/most : (i+1)*len(pts)/most]
		var mean point
		for _, p := range part {
			mean.x += p.x / float64(len(part))
			mean.y += p.y / float64(len(part))
		}
		out = append(out, mean)
	}
	return out
}
