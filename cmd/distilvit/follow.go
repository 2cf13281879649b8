package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"distilvit/artifact/record"
	"distilvit/internal/retry"
	"distilvit/model/trainer"
	"distilvit/pipeline"
	"distilvit/report"
)

// pollInterval is how often a followed run is asked where it stands: as often as
// activities say something new. The server that answers may share two cores with
// the training.
const pollInterval = 2 * time.Second

// follower shows one run's progress until it ends.
type follower struct {
	client   client.Client
	id       string
	progress *progress

	pace     pace
	stage    string
	told     bool             // what is trained on
	epochs   int              // epochs shown
	warnings int              // warnings shown
	asked    bool             // that somebody is to approve is shown
	attempts map[string]int32 // newest failed attempt shown, by activity

	status *pipeline.Status // the newest answer ...
	at     string           // ... and the execution and length of its history then: nothing else changes it
}

func newFollower(c client.Client, id string, p *progress) *follower {
	return &follower{client: c, id: id, progress: p, attempts: map[string]int32{}}
}

// follow returns the run's result, or its error, or ctx's cause when that ends first.
func (f *follower) follow(ctx context.Context) (*pipeline.Result, error) {
	return followToEnd[pipeline.Result](ctx, f.client, f.id, f.progress, f.poll)
}

// followToEnd calls poll now and then until a workflow ends, and returns its result, or its error, or ctx's cause when
// that ends first.
func followToEnd[T any](
	ctx context.Context, c client.Client, id string, p *progress, poll func(context.Context),
) (*T, error) {
	type outcome struct {
		result *T
		err    error
	}
	ended := make(chan outcome, 1)
	go func() {
		result, err := awaitResult[T](ctx, c, id)
		ended <- outcome{result, err}
	}()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	defer p.clear()
	for {
		select {
		case end := <-ended:
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			if end.err == nil {
				poll(ctx) // what came last
			}
			return end.result, end.err
		case <-tick.C:
			poll(ctx)
		}
	}
}

// serverPatience is how long a followed run's server may be away, each time.
const serverPatience = 10 * time.Minute

// awaitResult is the result of a workflow that ends some day. A server that does not
// answer is asked again.
func awaitResult[T any](ctx context.Context, c client.Client, id string) (*T, error) {
	for heard := time.Now(); ; {
		result, err := resultOf[T](ctx, c, id, "")
		if !unanswered(err) || time.Since(heard) > serverPatience {
			return result, err
		}
		if _, _, err := describeRun(ctx, c, id); err == nil {
			heard = time.Now()
		}
		if retry.Pause(ctx, pollInterval) != nil {
			return nil, err
		}
	}
}

// unanswered says that an error is the connection's, not the run's.
func unanswered(err error) bool {
	var deadline *serviceerror.DeadlineExceeded
	var unavailable *serviceerror.Unavailable
	var exhausted *serviceerror.ResourceExhausted
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &deadline) ||
		errors.As(err, &unavailable) || errors.As(err, &exhausted)
}

// poll asks once and shows what is new. What cannot be had now is shown next time.
func (f *follower) poll(ctx context.Context) {
	_, described, err := describeRun(ctx, f.client, f.id)
	if err != nil {
		return
	}
	info := described.GetWorkflowExecutionInfo()
	if at := fmt.Sprint(info.GetExecution().GetRunId(), " ", info.GetHistoryLength()); f.status == nil ||
		at != f.at {
		status, err := queryStatus(ctx, f.client, f.id)
		if err != nil {
			return
		}
		f.status, f.at = status, at
	}
	activities := heartbeats(described)
	f.show(f.status, activities)
}

func (f *follower) show(status *pipeline.Status, activities []activityState) {
	for _, warning := range status.Warnings[min(f.warnings, len(status.Warnings)):] {
		f.progress.line("warning: %s", warning)
	}
	f.warnings = len(status.Warnings)
	for _, activity := range activities {
		if activity.Attempt > 1 && activity.Failure != "" && f.attempts[activity.ID] != activity.Attempt {
			f.attempts[activity.ID] = activity.Attempt
			f.progress.line("%s: attempt %d, since: %s", activity.ID, activity.Attempt, activity.Failure)
		}
	}
	if !f.told && status.Stage == pipeline.StageTrain && len(status.Pictures) > 0 {
		f.told = true
		f.progress.line("%s", trainingLine(status))
	}
	for _, record := range status.History[min(f.epochs, len(status.History)):] {
		f.progress.line("%s", epochLine(record, status))
	}
	f.epochs = len(status.History)
	if status.Asked != nil && !f.asked {
		f.progress.line("%s: distilvit approve %[2]s publishes it, distilvit reject %[2]s does not",
			status.Detail, f.id)
	}
	f.asked = status.Asked != nil
	if status.Stage != f.stage {
		f.stage = status.Stage
		f.pace = pace{}
	}
	if status.Stage == pipeline.StageDone {
		f.progress.clear()
		return
	}
	f.live(status, activities)
}

// trainingLine says what is about to be trained on, and by what.
func trainingLine(status *pipeline.Status) string {
	var counts []string
	for _, split := range []string{pipeline.SplitTrain, pipeline.SplitValidation, pipeline.SplitTest} {
		counts = append(counts, fmt.Sprintf("%d %s", status.Pictures[split], split))
	}
	steps := "1 step"
	if status.StepsPerEpoch != 1 {
		steps = fmt.Sprintf("%d steps", status.StepsPerEpoch)
	}
	line := fmt.Sprintf("pictures: %s; %s an epoch", strings.Join(counts, ", "), steps)
	if status.Backend != "" {
		line += "; backend " + backendText(status.Backend)
	}
	return line
}

// backendText names a backend for people.
func backendText(kind string) string {
	switch kind {
	case pipeline.BackendXLA:
		return "xla (CPU)"
	case pipeline.BackendGo:
		return "go (CPU, slow)"
	}
	return kind
}

// live shows the one line that moves: the workflow's own count where it fans a
// stage out, else what the open activity reports.
func (f *follower) live(status *pipeline.Status, activities []activityState) {
	now := liveLine{heading: status.Stage, done: status.Done, total: status.Total, detail: status.Detail}
	if status.Total == 0 {
		for _, activity := range activities {
			if activity.Beat != nil {
				now = lineOf(status, activity.Beat)
			}
		}
	}
	details := now.details
	if now.total > 0 {
		if left := f.pace.left(f.progress.now(), now.done, now.total); left > 0 {
			details = append(details, durationText(left)+" left")
		}
	}
	if now.detail != "" {
		details = append(details, now.detail)
	}
	f.progress.show(now.heading, now.done, now.total, details...)
}

// liveLine is what the moving line says.
type liveLine struct {
	heading     string
	done, total int64 // total 0: no bar
	details     []string
	detail      string
}

// uncounted are the phases of a trainer that say nothing of how far they are.
var uncounted = []string{trainer.PhaseOpen, trainer.PhaseLoad, trainer.PhaseCompile, trainer.PhaseCheckpoint}

func lineOf(status *pipeline.Status, beat *pipeline.Heartbeat) liveLine {
	line := liveLine{heading: status.Stage, done: beat.Done, total: beat.Total, detail: beat.Message}
	if status.Stage == pipeline.StageTrain && beat.Epoch > 0 {
		line.heading += fmt.Sprintf(" epoch %d/%d", beat.Epoch, status.Epochs)
	}
	if beat.Phase != status.Stage {
		line.heading += " " + beat.Phase
	}
	if slices.Contains(uncounted, beat.Phase) {
		line.total = 0
	}
	if beat.Phase == trainer.PhaseTrain {
		line.done, line.total = beat.Step, beat.Steps
		line.details = append(line.details, fmt.Sprintf("step %d/%d", beat.Step, beat.Steps))
		if beat.Loss != 0 {
			line.details = append(line.details, fmt.Sprintf("loss %.4f", beat.Loss))
		}
	}
	if beat.Rate > 0 && line.total > 0 {
		line.details = append(line.details, rateText(beat.Rate)+" pictures/s")
		if text := waitedText(beat.Waited); text != "" {
			line.details = append(line.details, text)
		}
	}
	return line
}

// waitedText says that a device has no batch to work on since pictures are still read, where it is
// worth saying.
func waitedText(share float64) string {
	if share < 0.01 {
		return ""
	}
	return fmt.Sprintf("waiting for pictures %.0f%%", 100*share)
}

func rateText(rate float64) string {
	if rate < 10 {
		return fmt.Sprintf("%.1f", rate)
	}
	return fmt.Sprintf("%.0f", rate)
}

// epochLine is a finished epoch in one line: its time, how many of the captions are different,
// and, from 1 % on, the share of the time in which the device waited for pictures come last, then a
// star on the best so far.
func epochLine(record record.EpochRecord, status *pipeline.Status) string {
	in := ""
	if record.EpochStep > 0 {
		in = "in "
	}
	line := in + fmt.Sprintf("epoch %d/%d  step %d  loss %.4f  eval loss %.4f  %s  exact %.1f%%  %s",
		record.Epoch, status.Epochs, record.Step, record.TrainLoss,
		record.Eval.Loss, epochScore(record.Eval, status.Best), record.Eval.ExactMatch,
		durationText(time.Duration(record.Seconds*float64(time.Second))))
	switch {
	case record.Eval.Collapsed():
		line += fmt.Sprintf("  the same caption for %.0f%% of the pictures", record.Eval.Commonest)
	case record.Eval.Distinct > 0:
		line += fmt.Sprintf("  distinct %.1f%%", record.Eval.Distinct)
	}
	if text := waitedText(record.Times.Waited()); text != "" {
		line += "  " + text
	}
	if status.Best != nil && status.Best.Is(record) {
		line += "  *"
	}
	for _, b := range record.Eval.Baselines.Rows() {
		line += fmt.Sprintf("\n  without a model: %s  rougeL %.2f  exact %.1f%%", b.Name, b.Scores.RougeL,
			b.Scores.ExactMatch)
	}
	return line
}

// epochScore is the score that chooses the best epoch; rougeL where the line has that already.
func epochScore(m record.Metrics, best *record.Best) string {
	metric := record.MetricRougeL
	if best != nil && best.Metric() != record.MetricLoss && best.Metric() != record.MetricExactMatch {
		metric = best.Metric()
	}
	return strings.TrimPrefix(m.Shown(metric), "eval_")
}

// printResult shows a finished run and how to look at it.
func (a *app) printResult(s *site, result *pipeline.Result) error {
	if a.output == "json" {
		return printJSON(a.stdout, result)
	}
	fmt.Fprintf(a.stdout, "\nrun %s is done: best epoch %d, step %d\n\n", result.Run, result.Epoch, result.Step)
	scores := newScoresTable()
	addScores(scores, "validation", result.Eval)
	addScores(scores, "test", result.Test)
	scores.write(a.stdout, "  ")
	fmt.Fprintln(a.stdout)
	writeChecks(a.stdout, result.Checks, result.Pruning, "  ")
	if result.Pushed != nil {
		what, text := pushedText(result.Run, result.Pushed)
		fmt.Fprintf(a.stdout, "\n%s: %s\n", what, text)
	}
	fmt.Fprintf(a.stdout, "\npublished %s (%s). Look at it:\n", result.Model, report.Bytes(result.Bytes))
	look := &table{}
	command := a.command()
	if ui := s.runUI(result.Run); ui != "" {
		if s.hosted != nil {
			look.add(command+" up", "then "+ui)
		} else {
			look.add(ui, "the run in Temporal's web UI")
		}
	}
	look.add(fmt.Sprintf("%s get %s", command, result.Run), "the model directory, as Transformers.js loads it")
	look.add(fmt.Sprintf("%s caption -m %s PICTURE", command, result.Run), "caption a picture of yours")
	look.write(a.stdout, "  ")
	return nil
}

// command is how a person would call this program on the same stack again.
func (a *app) command() string {
	if a.dataFlag != "" {
		return "distilvit --data " + shellWord(a.dataFlag)
	}
	return "distilvit"
}

// shellWord is a word of a command that is shown, as a shell reads it.
func shellWord(word string) string {
	plain := func(r rune) bool {
		return unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("_-./:,@%+=", r)
	}
	if word != "" && !strings.ContainsFunc(word, func(r rune) bool { return !plain(r) }) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

func newScoresTable() *table {
	t := &table{right: true}
	t.add("", "pictures", "loss", "rouge1", "rouge2", "rougeL", "bleu4", "cider", "exact %", "length")
	return t
}

func addScores(t *table, name string, m record.Metrics) {
	row := func(name, loss string, m record.Scores) {
		t.add(name, fmt.Sprint(m.Samples), loss, fmt.Sprintf("%.2f", m.Rouge1),
			fmt.Sprintf("%.2f", m.Rouge2), fmt.Sprintf("%.2f", m.RougeL),
			fmt.Sprintf("%.2f", m.Bleu4), fmt.Sprintf("%.2f", m.Cider),
			fmt.Sprintf("%.2f", m.ExactMatch), fmt.Sprintf("%.1f", m.GenLen))
	}
	row(name, fmt.Sprintf("%.4f", m.Loss), m.Scores)
	for _, group := range sortedKeys(m.Groups) {
		row(strings.Repeat(" ", 2)+group, "-", m.Groups[group]) // a group's loss is not measured
	}
	for _, b := range m.Baselines.Rows() {
		row("  "+b.Name, "-", b.Scores)
	}
}

// writeChecks shows how exports compare, and what a pruned vocabulary does.
func writeChecks(w io.Writer, checks []record.ExportCheck, p *record.Pruning, indent string) {
	t := &table{right: true}
	t.add("export", "pictures", "equal ids", "largest logits diff", "KL", "rougeL", "model's", "size")
	for _, check := range checks {
		addCheck(t, check)
	}
	t.write(w, indent)
	for _, c := range checks {
		var devices []string
		for _, d := range c.Devices {
			devices = append(devices, d.Device+" "+d.String())
		}
		if devices != nil {
			fmt.Fprintf(w, "%s%s in Transformers.js: %s\n", indent, c.Dtype, strings.Join(devices, ", "))
		}
	}
	if p != nil {
		fmt.Fprintf(w, "%svocabulary pruned to %d of %d tokens: of %d pictures the whole model captions %d in them alone, "+
			"%d are captioned alike; rougeL %.2f, with all %.2f\n", indent, p.Tokens, p.WholeTokens, p.Pictures, p.Kept,
			p.EqualIDs, p.RougeL, p.WholeRougeL)
	}
}

func addCheck(t *table, check record.ExportCheck) {
	diff := "-"
	if check.Dtype == pipeline.DtypeFP32 {
		diff = fmt.Sprintf("%.1e", check.MaxLogitsDiff)
	}
	size := report.Bytes(check.Bytes)
	if check.WholeBytes > 0 {
		size += " of " + report.Bytes(check.WholeBytes)
	}
	t.add(check.Dtype, fmt.Sprint(check.Pictures), fmt.Sprint(check.EqualIDs), diff, fmt.Sprintf("%.1e", check.Divergence),
		fmt.Sprintf("%.2f", check.RougeL), fmt.Sprintf("%.2f", check.ModelRougeL), size)
}
