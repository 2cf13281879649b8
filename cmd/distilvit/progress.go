package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// progress shows where a long piece of work stands: one live line at the bottom
// of a terminal, now and then a plain line anywhere else.
type progress struct {
	w        io.Writer
	terminal bool
	width    func() int
	now      func() time.Time
	interval time.Duration // between plain lines of the same heading
	shown    int           // live lines that stand on the terminal
	heading  string        // of the newest plain line,
	counted  bool          // whether it said how far the work is,
	printed  time.Time
}

// plainInterval is how often a plain line repeats itself where nobody watches.
const plainInterval = 30 * time.Second

// newProgress writes to w; only a terminal gets the live line.
func newProgress(w io.Writer) *progress {
	p := &progress{w: w, now: time.Now, interval: plainInterval, width: func() int { return 80 }}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.terminal = true
		p.width = func() int {
			if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
				return width
			}
			return 80
		}
	}
	return p
}

// line prints one line that stays.
func (p *progress) line(format string, args ...any) {
	p.clear()
	fmt.Fprintf(p.w, format+"\n", args...)
}

// show replaces the live line: heading, a bar of done/total (none when total is
// 0) and details. Elsewhere a plain line is printed when the heading changes, when
// work begins or ceases to be counted, and every interval after that.
func (p *progress) show(heading string, done, total int64, details ...string) {
	if !p.terminal {
		counted := total > 0
		if heading == p.heading && counted == p.counted && p.now().Sub(p.printed) < p.interval {
			return
		}
		p.heading, p.counted, p.printed = heading, counted, p.now()
		parts := []string{heading}
		if total > 0 {
			parts = append(parts, fmt.Sprintf("%d/%d", done, total))
		}
		fmt.Fprintln(p.w, strings.Join(append(parts, details...), "  "))
		return
	}
	text := heading
	if total > 0 {
		text += "  " + bar(done, total) + fmt.Sprintf(" %3d%%", 100*min(done, total)/total)
	}
	p.block([]string{strings.Join(append([]string{text}, details...), "  ")})
}

// block replaces the live lines of a terminal by these. The cursor stays behind the last one.
func (p *progress) block(lines []string) {
	var b strings.Builder
	b.WriteString(p.back())
	for i, line := range lines {
		if i > 0 {
			b.WriteString("\n")
		}
		b.WriteString(clip(line, p.width()-1) + "\x1b[K")
	}
	if p.shown > len(lines) {
		b.WriteString("\x1b[J")
	}
	fmt.Fprint(p.w, b.String())
	p.shown = len(lines)
}

// back moves the cursor to the beginning of the live lines.
func (p *progress) back() string {
	if p.shown > 1 {
		return fmt.Sprintf("\r\x1b[%dA", p.shown-1)
	}
	return "\r"
}

// clear takes the live lines away.
func (p *progress) clear() {
	if p.shown > 0 {
		end := "\x1b[K"
		if p.shown > 1 {
			end = "\x1b[J" // to the terminal's end
		}
		fmt.Fprint(p.w, p.back()+end)
		p.shown = 0
	}
}

const barWidth = 20

func bar(done, total int64) string {
	full := int(barWidth * min(done, total) / total)
	return strings.Repeat("█", full) + strings.Repeat("░", barWidth-full)
}

// clip cuts a line to a terminal's width.
func clip(s string, width int) string {
	if width < 1 || utf8.RuneCountInString(s) <= width {
		return s
	}
	return string([]rune(s)[:width-1]) + "…"
}

// pace estimates the time left from where the work stood over the last minute.
type pace struct {
	total  int64
	points []pacePoint
}

type pacePoint struct {
	at   time.Time
	done int64
}

const paceWindow = time.Minute

// left is the time until total at the present pace; 0: not known yet.
func (p *pace) left(now time.Time, done, total int64) time.Duration {
	if n := len(p.points); total != p.total || n > 0 && done < p.points[n-1].done {
		// other work, such as a validation between two epochs, or the same started over
		p.total, p.points = total, nil
	}
	if n := len(p.points); n == 0 || done > p.points[n-1].done {
		p.points = append(p.points, pacePoint{now, done})
	}
	for len(p.points) > 2 && now.Sub(p.points[1].at) > paceWindow {
		p.points = p.points[1:]
	}
	first, last := p.points[0], p.points[len(p.points)-1]
	if last.done == first.done || total <= done {
		return 0
	}
	perUnit := last.at.Sub(first.at) / time.Duration(last.done-first.done)
	return max(perUnit*time.Duration(total-done)-now.Sub(last.at), time.Second)
}
