package workflows

import (
	"errors"
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"distilvit/artifact/record"
	"distilvit/pipeline"
)

// Shards works on a share of a long list of shards, as a child of the run: it prepares them, or makes token ids of
// their captions. Lists and results lie in the store; the answer is a page of results for each part. After each part,
// and within one whose history grows long, it goes on as a new execution.
func Shards(ctx workflow.Context, in pipeline.ShardsInput) ([]record.Page, error) {
	s := &shards{run: &run{id: in.Run, spent: spentIDs{}}, in: in, telling: workflow.NewWaitGroup(ctx)}
	s.Paused = in.Paused
	pauses := workflow.GetSignalChannel(ctx, pipeline.PausedSignal)
	workflow.GoNamed(ctx, pipeline.PausedSignal, func(ctx workflow.Context) {
		for pauses.Receive(ctx, &s.Paused) {
		}
	})
	s.tellWaits(ctx)
	if err := s.part(ctx); err != nil {
		return nil, err
	}
	more := len(s.in.Parts) > 0
	if !more {
		s.tell(ctx, pipeline.ShardsTold{Done: s.in.Untold})
	}
	s.telling.Wait(ctx)
	if !more {
		return s.in.Made, nil
	}
	for pauses.ReceiveAsync(&s.Paused) {
	}
	s.in.Paused = s.Paused
	return nil, workflow.NewContinueAsNewError(ctx, pipeline.ShardsType, s.in)
}

// shards is one execution of the workflow. Of its run it has what call needs.
type shards struct {
	*run
	in      pipeline.ShardsInput
	telling workflow.WaitGroup // of signals to the run that are under way
}

// part works on the first of the parts that are left, and stores its results once all are there.
func (s *shards) part(ctx workflow.Context) error {
	work := s.preparePart
	if s.in.Prepare == nil {
		work = s.tokenizePart
	}
	whole, err := work(ctx)
	if err != nil || !whole {
		return err
	}
	page, err := call[record.Page](ctx, s.run, storePage, "store", "list of results", pipeline.StorePageInput{
		Group: s.in.Group, Prepared: s.in.Prepared, Tokenized: s.in.Tokenized,
	})
	s.in.Made, s.in.Parts = append(s.in.Made, page), s.in.Parts[1:]
	s.in.Prepared, s.in.Tokenized = nil, nil
	return err
}

func (s *shards) preparePart(ctx workflow.Context) (whole bool, err error) {
	part := s.in.Parts[0]
	list, err := call[pipeline.ShardTasks](ctx, s.run, readTasks, "tasks",
		fmt.Sprintf("list of shards %d to %d", part.First+1, part.Last), pipeline.ReadTasksInput{Tasks: *part.Tasks})
	if err != nil {
		return false, err
	}
	s.in.Prepared, whole, err = goOn(ctx, s, s.in.Prepared, len(list.Shards),
		func(ctx workflow.Context, i int) (pipeline.PrepareShardResult, error) {
			input := *s.in.Prepare
			input.Task = list.Shards[i]
			result, err := call[pipeline.PrepareShardResult](ctx, s.run, prepareShard, fmt.Sprintf("prepare-%d", part.First+i),
				shardSummary(i, len(list.Shards), input.Task), input)
			return result, s.done(ctx, 1, err)
		})
	return whole, err
}

func (s *shards) tokenizePart(ctx workflow.Context) (whole bool, err error) {
	part := s.in.Parts[0]
	calls := (part.Last - part.First + shardsPerTokenize - 1) / shardsPerTokenize
	s.in.Tokenized, whole, err = goOn(ctx, s, s.in.Tokenized, calls,
		func(ctx workflow.Context, i int) (pipeline.TokenizeResult, error) {
			input := *s.in.Tokenize
			input.First = part.First + i*shardsPerTokenize
			input.Last = min(input.First+shardsPerTokenize, part.Last)
			result, err := call[pipeline.TokenizeResult](ctx, s.run, tokenizeShards, fmt.Sprintf("tokenize-%d", i),
				fmt.Sprintf("shards %d to %d", input.First+1, input.Last), input)
			return result, s.done(ctx, input.Last-input.First, err)
		})
	return whole, err
}

// goOn does what is left of n things behind those that are made already, as far as the history bears it, and says
// whether that was all.
func goOn[T any](
	ctx workflow.Context, s *shards, made []T, n int, do func(ctx workflow.Context, i int) (T, error),
) ([]T, bool, error) {
	begun := len(made)
	enough := func() bool { return workflow.GetInfo(ctx).GetContinueAsNewSuggested() }
	more, err := fanOutUntil(ctx, n-begun, s.in.Open, enough, func(ctx workflow.Context, i int) (T, error) {
		return do(ctx, begun+i)
	})
	made = append(made, more...)
	return made, len(made) == n, err
}

// done counts shards that are made without an error, and tells the run from time to time.
func (s *shards) done(ctx workflow.Context, n int, err error) error {
	if err != nil {
		return err
	}
	if s.in.Untold += n; s.in.Untold >= s.in.TellEvery {
		s.tell(ctx, pipeline.ShardsTold{Done: s.in.Untold})
		s.in.Untold = 0
	}
	return nil
}

// tell sends the run a signal, and does not wait for it.
func (s *shards) tell(ctx workflow.Context, told pipeline.ShardsTold) {
	parent := workflow.GetInfo(ctx).ParentWorkflowExecution
	if parent == nil {
		return
	}
	s.telling.Add(1)
	workflow.Go(ctx, func(ctx workflow.Context) {
		defer s.telling.Done()
		if err := workflow.SignalExternalWorkflow(ctx, parent.ID, "", pipeline.ShardsSignal, told).Get(ctx, nil); err != nil {
			workflow.GetLogger(ctx).Warn("the run was not told", "error", err)
		}
	})
}

// tellWaits tells the run what is waited for, such as a worker that has a decoder.
func (s *shards) tellWaits(ctx workflow.Context) {
	workflow.Go(ctx, func(ctx workflow.Context) {
		for known := ""; ; known = s.status.Detail {
			if workflow.Await(ctx, func() bool { return s.status.Detail != known }) != nil {
				return
			}
			s.tell(ctx, pipeline.ShardsTold{Waits: s.status.Detail})
		}
	})
}

// hearShards counts what the run's children tell.
func (r *run) hearShards(ctx workflow.Context) {
	signals := workflow.GetSignalChannel(ctx, pipeline.ShardsSignal)
	workflow.GoNamed(ctx, pipeline.ShardsSignal, func(ctx workflow.Context) {
		for {
			var told pipeline.ShardsTold
			if !signals.Receive(ctx, &told) {
				return
			}
			if r.status.Done += int64(told.Done); told.Waits != "" {
				r.status.Detail = told.Waits
			}
			r.refresh(ctx)
		}
	})
}

// inChildren shares a stage's parts among children, and answers a page of results for each, in order.
func (r *run) inChildren(
	ctx workflow.Context, stage string, parts []pipeline.ShardsPart, in pipeline.ShardsInput,
) ([]record.Page, error) {
	n := min(maxShardChildren, len(parts))
	in.Run, in.Open = r.id, maxOpenActivities/n
	in.TellEvery = parts[len(parts)-1].Last/maxTellsOfShards + 1
	made, err := fanOut(ctx, n, func(ctx workflow.Context, child int) ([]record.Page, error) {
		share := in
		for i := child; i < len(parts); i += n {
			share.Parts = append(share.Parts, parts[i])
		}
		return r.child(ctx, fmt.Sprintf("%s/%s-%d", r.id, stage, child+1), share)
	})
	if err != nil {
		return nil, err
	}
	pages := make([]record.Page, len(parts))
	for child, share := range made {
		for i, page := range share {
			pages[child+i*n] = page
		}
	}
	return pages, nil
}

// child runs a workflow of type Shards, which pauses and resumes with the run.
func (r *run) child(ctx workflow.Context, id string, in pipeline.ShardsInput) ([]record.Page, error) {
	if err := r.waitWhilePaused(ctx); err != nil {
		return nil, err
	}
	ctx = workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID: r.sinceMend(id), TaskQueue: pipeline.TaskQueue, WaitForCancellation: true,
	})
	child, err := beginChild(ctx, pipeline.ShardsType, in)
	if err != nil {
		return nil, err
	}
	closed := false
	workflow.Go(ctx, func(ctx workflow.Context) {
		for told := false; ; told = !told {
			err := workflow.Await(ctx, func() bool { return closed || r.Paused != told })
			if err != nil || closed {
				return
			}
			child.SignalChildWorkflow(ctx, pipeline.PausedSignal, r.Paused)
		}
	})
	var made []record.Page
	err = child.Get(ctx, &made)
	closed = true
	return made, err
}

// Attempts to begin a child whose id is of an open execution: one of before may just have been cancelled.
const (
	startTries = 10
	startPause = 5 * time.Second
)

// beginChild begins a child workflow with an id of its own.
func beginChild(ctx workflow.Context, kind string, argument any) (workflow.ChildWorkflowFuture, error) {
	for try := 1; ; try++ {
		child := workflow.ExecuteChildWorkflow(ctx, kind, argument)
		err := child.GetChildWorkflowExecution().Get(ctx, nil)
		var open *temporal.ChildWorkflowExecutionAlreadyStartedError
		if !errors.As(err, &open) || try == startTries {
			return child, err
		}
		if err := workflow.Sleep(ctx, time.Duration(try)*startPause); err != nil {
			return child, err
		}
	}
}
