package activities

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"go.temporal.io/sdk/activity"

	"distilvit/model/trainer"
	"distilvit/storage/layout"
)

// logTime ends the names of trainers' logs.
var logTime = regexp.MustCompile(`\d{8}T\d{6}\.\d+\.log$`)

// logName sorts by time; the process id tells two workers of the same moment apart.
func logName(path string) string {
	return fmt.Sprintf("%s-%d.log",
		strings.TrimSuffix(logTime.FindString(filepath.Base(path)), ".log"), os.Getpid())
}

// logPatience is how long an error may wait for its log to be stored.
const logPatience = 20 * time.Second

// keepLog stores the whole log of a trainer that failed and names it in the
// error. That it cannot be stored is no failure of its own: the log stays in
// this worker's directory.
func (a *Activities) keepLog(ctx context.Context, run string, failure error) error {
	var e *trainer.Error
	if !errors.As(failure, &e) || e.Log == "" {
		return failure
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), logPatience)
	defer cancel()
	key := layout.Run(run).Log(logName(e.Log))
	if _, err := a.Store.PutFile(ctx, key, e.Log); err != nil {
		activity.GetLogger(ctx).Warn("the trainer's log is not stored", "log", e.Log, "error", err)
		return fmt.Errorf("%w; its whole log is %s on the worker", failure, e.Log)
	}
	os.Remove(e.Log)
	return fmt.Errorf("%w; its whole log: distilvit logs %s", failure, run)
}
