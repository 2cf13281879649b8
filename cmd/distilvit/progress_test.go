package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"distilvit/model/trainer"
)

func TestPlainProgressPrintsALineForEachHeadingAndInterval(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out)
	now := time.Unix(0, 0)
	p.now = func() time.Time { return now }
	p.show("download", 1, 4)
	p.show("download", 2, 4)
	now = now.Add(plainInterval)
	p.show("download", 3, 4, "5s left")
	p.show("train epoch 1/2", 0, 0)
	p.line("epoch %d", 1)
	require.Equal(t, "download  1/4\ndownload  3/4  5s left\ntrain epoch 1/2\nepoch 1\n", out.String())
}

// So evaluate in a pipe says what it compiles, and then how far it is.
func TestPlainProgressSaysWhenWorkBeginsToBeCounted(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out)
	now := time.Unix(0, 0)
	p.now = func() time.Time { return now }
	show := showEvents(p, "evaluate")
	show(trainer.Event{Event: trainer.EventPhase, Phase: trainer.PhaseOpen, Message: "opening backend go"})
	show(trainer.Event{Event: trainer.EventPhase, Phase: trainer.PhaseLoad, Message: "reading weights"})
	for done := range int64(4) {
		now = now.Add(plainInterval / 2)
		show(trainer.Event{Event: trainer.EventProgress, Phase: trainer.PhaseEvaluate, Done: 32 * (done + 1), Total: 128})
	}
	require.Equal(t, "evaluate  opening backend go\nevaluate  32/128\nevaluate  96/128  15s left\n", out.String())
}

func TestLiveLineIsReplacedAndClippedToTheTerminal(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out)
	p.terminal, p.width = true, func() int { return 50 }
	p.show("train", 5, 10, "loss 1.2345", strings.Repeat("x", 100))
	require.Equal(t, "\rtrain  ██████████░░░░░░░░░░  50%  loss 1.2345  x…\x1b[K", out.String())
	out.Reset()
	p.line("done")
	require.Equal(t, "\r\x1b[Kdone\n", out.String())
	out.Reset()
	p.clear()
	require.Empty(t, out.String(), "nothing stands on the terminal any more")
}

func TestLiveTableIsReplacedWhereItStands(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out)
	p.terminal, p.width = true, func() int { return 50 }
	p.block([]string{"one", "two", "three"})
	require.Equal(t, "\rone\x1b[K\ntwo\x1b[K\nthree\x1b[K", out.String())
	out.Reset()
	p.block([]string{"four", "five"})
	require.Equal(t, "\r\x1b[2Afour\x1b[K\nfive\x1b[K\x1b[J", out.String())
	out.Reset()
	p.line("done")
	require.Equal(t, "\r\x1b[1A\x1b[Jdone\n", out.String())
}

func TestBarNeverOverflows(t *testing.T) {
	require.Equal(t, strings.Repeat("█", barWidth), bar(12, 10))
	require.Equal(t, strings.Repeat("░", barWidth), bar(0, 10))
}

func TestPaceFollowsTheLastMinute(t *testing.T) {
	var p pace
	start := time.Unix(1000, 0)
	require.Zero(t, p.left(start, 500, 1000), "nothing is known after one look, also when going on from step 500")
	require.Equal(t, 490*time.Second, p.left(start.Add(10*time.Second), 510, 1000))
	require.Zero(t, p.left(start.Add(11*time.Second), 600, 2000), "other work forgets, too")
	p = pace{}
	p.left(start, 500, 2000)
	p.left(start.Add(10*time.Second), 510, 2000)
	for i := range 30 { // ten times as fast from now on
		p.left(start.Add(time.Duration(12+2*i)*time.Second), int64(530+20*i), 2000)
	}
	left := p.left(start.Add(80*time.Second), 1210, 2000)
	require.InDelta(t, 79, left.Seconds(), 15)
	require.Zero(t, p.left(start.Add(90*time.Second), 3, 2000), "an epoch that starts over forgets")
}

func TestSizesAndTimesReadWell(t *testing.T) {
	require.Equal(t, "41s", durationText(41*time.Second))
	require.Equal(t, "2m05s", durationText(125*time.Second))
	require.Equal(t, "45h00m", durationText(45*time.Hour))
}

func TestTableAlignsNumbersRight(t *testing.T) {
	var out bytes.Buffer
	table := &table{right: true}
	table.add("", "loss", "rougeL")
	table.add("validation", "0.1234", "97.10")
	table.add("test", "10.1", "9.10")
	table.write(&out, "  ")
	require.Equal(
		t, "                loss  rougeL\n  validation  0.1234   97.10\n  test          10.1    9.10\n",
		out.String(),
	)
}
