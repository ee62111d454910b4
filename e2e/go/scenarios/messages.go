package main

// Signals, queries and cancellation: their order, and when they come early, late or to nobody.

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	querypb "go.temporal.io/api/query/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// Collects letters until it is closed.
func mailbox(ctx workflow.Context) ([]string, error) {
	letters := []string{}
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	must(workflow.SetQueryHandler(ctx, "count", func() (int, error) { return len(letters), nil }))
	must(workflow.SetQueryHandler(ctx, "with text", func(text string) ([]string, error) {
		found := []string{}
		for _, letter := range letters {
			if strings.Contains(letter, text) {
				found = append(found, letter)
			}
		}
		return found, nil
	}))
	must(workflow.SetQueryHandler(ctx, "failing", func() (int, error) {
		return 0, temporal.NewApplicationError("this query fails on purpose", "Unasked")
	}))
	closed := false
	selector := workflow.NewSelector(ctx)
	selector.AddReceive(workflow.GetSignalChannel(ctx, "letter"), func(channel workflow.ReceiveChannel, _ bool) {
		var letter string
		channel.Receive(ctx, &letter)
		letters = append(letters, letter)
	})
	selector.AddReceive(workflow.GetSignalChannel(ctx, "close"), func(channel workflow.ReceiveChannel, _ bool) {
		channel.Receive(ctx, nil)
		closed = true
	})
	for !closed || selector.HasPending() {
		selector.Select(ctx)
	}
	return letters, nil
}

var _ = scenario("signals in order", func(e *env) {
	w := e.work(named{"mailbox": mailbox}, nil)
	defer w.Stop()
	run := e.start("mailbox")
	want := []string{}
	for number := range 20 {
		want = append(want, fmt.Sprint(number))
		e.signal(run, "letter", fmt.Sprint(number))
	}
	e.signal(run, "close", nil)
	equal(result[[]string](e, run), want)
	signals := e.history(run).all(enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED)
	equal(len(signals), 21)
	for index, signal := range signals[:20] {
		equal(payloadText(signal.GetWorkflowExecutionSignaledEventAttributes().Input), fmt.Sprintf("%q", fmt.Sprint(index)))
	}
})

var _ = scenario("many signals at once", func(e *env) {
	w := e.work(named{"mailbox": mailbox}, nil)
	defer w.Stop()
	run := e.start("mailbox")
	var all sync.WaitGroup
	errs := make(chan error, 60)
	for number := range 60 {
		all.Add(1)
		go func() {
			defer all.Done()
			errs <- e.client.SignalWorkflow(e.ctx, run.GetID(), "", "letter", fmt.Sprint(number))
		}()
	}
	all.Wait()
	for range 60 {
		must(<-errs)
	}
	e.signal(run, "close", nil)
	seen := map[string]bool{}
	for _, letter := range result[[]string](e, run) {
		check(!seen[letter], "%s came twice", letter)
		seen[letter] = true
	}
	equal(len(seen), 60)
})

var _ = scenario("signals during a workflow task are buffered", func(e *env) {
	var sent sync.WaitGroup
	sent.Add(1)
	think := func(context.Context) error {
		sent.Wait()
		return nil
	}
	busy := func(ctx workflow.Context) ([]string, error) {
		local := workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{StartToCloseTimeout: time.Minute})
		if err := workflow.ExecuteLocalActivity(local, think).Get(local, nil); err != nil {
			return nil, err
		}
		return mailbox(ctx)
	}
	w := e.work(named{"busy": busy}, nil)
	defer w.Stop()
	run := e.startWith(startOptions{WorkflowTaskTimeout: time.Minute}, "busy")
	eventually("its task has started", func() bool {
		return e.describe(run).GetPendingWorkflowTask().GetState() == enumspb.PENDING_WORKFLOW_TASK_STATE_STARTED
	})
	for number := range 5 {
		e.signal(run, "letter", fmt.Sprint(number))
	}
	e.signal(run, "close", nil)
	sent.Done()
	equal(result[[]string](e, run), []string{"0", "1", "2", "3", "4"})
	events := e.history(run)
	if e.calm {
		signals := events.all(enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED)
		completed := events.all(enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED)[0].EventId
		check(completed < signals[0].EventId, "not buffered: %s", events.kinds())
		equal(signals[5].EventId-signals[0].EventId, int64(5))
	}
})

var _ = scenario("signal with start starts once", func(e *env) {
	options := client.StartWorkflowOptions{ID: e.unique, TaskQueue: e.queue}
	signalWithStart := func(letter string) client.WorkflowRun {
		run, err := e.client.SignalWithStartWorkflow(e.ctx, e.unique, "letter", letter, options, "mailbox")
		must(err)
		e.track(run)
		return run
	}
	// Nobody works yet: the signals must wait.
	first := signalWithStart("one")
	equal(signalWithStart("two").GetRunID(), first.GetRunID())
	e.signal(first, "close", nil)
	w := e.work(named{"mailbox": mailbox}, nil)
	defer w.Stop()
	equal(result[[]string](e, first), []string{"one", "two"})
	third := signalWithStart("three")
	check(third.GetRunID() != first.GetRunID(), "the closed run was signalled")
	e.signal(third, "close", nil)
	equal(result[[]string](e, third), []string{"three"})
	check(strings.HasPrefix(e.history(first).kinds(), "WorkflowExecutionStarted WorkflowExecutionSignaled WorkflowTaskScheduled"),
		"wrong order: %s", e.history(first).kinds())
})

var _ = scenario("signal to nobody", func(e *env) {
	w := e.work(named{"mailbox": mailbox}, nil)
	defer w.Stop()
	run := e.start("mailbox")
	e.signal(run, "close", nil)
	result[[]string](e, run)
	for _, id := range []string{run.GetID(), e.id("never-was")} {
		as[*serviceerror.NotFound](e.client.SignalWorkflow(e.ctx, id, "", "letter", "late"))
	}
})

var _ = scenario("queries of running and closed workflows", func(e *env) {
	w := e.work(named{"mailbox": mailbox}, nil)
	defer w.Stop()
	run := e.start("mailbox")
	equal(query[int](e, run, "count"), 0)
	e.signal(run, "letter", "an apple")
	e.signal(run, "letter", "a pear")
	// A query sees every signal that was acknowledged before it was sent.
	equal(query[int](e, run, "count"), 2)
	equal(query[[]string](e, run, "with text", "pear"), []string{"a pear"})
	e.signal(run, "close", nil)
	result[[]string](e, run)
	equal(query[int](e, run, "count"), 2)
})

var _ = scenario("queries that fail", func(e *env) {
	w := e.work(named{"mailbox": mailbox}, nil)
	defer w.Stop()
	run := e.start("mailbox")
	for name, want := range map[string]string{"failing": "this query fails on purpose", "unheard of": "unknown queryType unheard of"} {
		_, err := e.client.QueryWorkflow(e.ctx, run.GetID(), "", name)
		check(strings.Contains(as[*serviceerror.QueryFailed](err).Error(), want), "wrong failure: %v", err)
	}
	_, err := e.client.QueryWorkflow(e.ctx, e.id("never-was"), "", "count")
	as[*serviceerror.NotFound](err)
	e.signal(run, "close", nil)
	result[[]string](e, run)
})

var _ = scenario("queries rejected by status", func(e *env) {
	w := e.work(named{"mailbox": mailbox}, nil)
	defer w.Stop()
	clean := e.startWith(startOptions{ID: e.id("clean")}, "mailbox")
	e.signal(clean, "close", nil)
	result[[]string](e, clean)
	killed := e.startWith(startOptions{ID: e.id("killed")}, "mailbox")
	equal(query[int](e, killed, "count"), 0)
	e.terminate(killed, "")
	rejected := func(run client.WorkflowRun, condition enumspb.QueryRejectCondition) *querypb.QueryRejected {
		response, err := e.client.QueryWorkflowWithOptions(e.ctx, &client.QueryWorkflowWithOptionsRequest{
			WorkflowID: run.GetID(), QueryType: "count", QueryRejectCondition: condition,
		})
		must(err)
		return response.QueryRejected
	}
	uncleanly := enumspb.QUERY_REJECT_CONDITION_NOT_COMPLETED_CLEANLY
	check(rejected(clean, uncleanly) == nil, "a clean completion was rejected")
	equal(rejected(clean, enumspb.QUERY_REJECT_CONDITION_NOT_OPEN).Status, enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED)
	equal(rejected(killed, uncleanly).Status, enumspb.WORKFLOW_EXECUTION_STATUS_TERMINATED)
})

var _ = scenario("cancelled workflow cleans up", func(e *env) {
	cleaned := make(chan string, 10)
	cleanUp := func(_ context.Context, what string) error {
		cleaned <- what
		return nil
	}
	cleaning := func(ctx workflow.Context, what string) error {
		err := workflow.Sleep(ctx, time.Hour)
		if !temporal.IsCanceledError(err) {
			return err
		}
		detached, _ := workflow.NewDisconnectedContext(ctx)
		if failed := workflow.ExecuteActivity(patient(detached), "clean up", what).Get(detached, nil); failed != nil {
			return failed
		}
		return temporal.NewCanceledError("cleaned")
	}
	w := e.work(named{"cleaning": cleaning}, named{"clean up": cleanUp})
	defer w.Stop()
	run := e.start("cleaning", "the desk")
	e.until(run, enumspb.EVENT_TYPE_TIMER_STARTED, 1)
	must(e.client.CancelWorkflow(e.ctx, run.GetID(), ""))
	// A second request changes nothing.
	must(e.client.CancelWorkflow(e.ctx, run.GetID(), ""))
	var details string
	must(as[*temporal.CanceledError](e.failure(run)).Details(&details))
	equal(details, "cleaned")
	equal(<-cleaned, "the desk")
	// Nor does a request to a workflow that is closed.
	must(e.client.CancelWorkflow(e.ctx, run.GetID(), ""))
	events := e.history(run)
	equal(events.last().EventType, enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED)
	events.one(enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED)
	events.one(enumspb.EVENT_TYPE_TIMER_CANCELED)
	equal(e.describe(run).WorkflowExecutionInfo.Status, enumspb.WORKFLOW_EXECUTION_STATUS_CANCELED)
})

var _ = scenario("workflow completes in spite of its cancellation", func(e *env) {
	stubborn := func(ctx workflow.Context) (string, error) {
		ctx.Done().Receive(ctx, nil)
		return "done all the same", nil
	}
	// It is cancelled before its first task.
	run := e.start("stubborn")
	must(e.client.CancelWorkflow(e.ctx, run.GetID(), ""))
	w := e.work(named{"stubborn": stubborn}, nil)
	defer w.Stop()
	equal(result[string](e, run), "done all the same")
})

var _ = scenario("timers never fire early", func(e *env) {
	napping := func(ctx workflow.Context) (string, error) {
		order := []string{}
		group := workflow.NewWaitGroup(ctx)
		for _, nap := range []struct {
			name   string
			tenths int
		}{{"last", 6}, {"first", 2}, {"middle", 4}} {
			group.Add(1)
			workflow.Go(ctx, func(ctx workflow.Context) {
				defer group.Done()
				if err := workflow.Sleep(ctx, time.Duration(nap.tenths)*100*time.Millisecond); err == nil {
					order = append(order, nap.name)
				}
			})
		}
		group.Wait(ctx)
		cancellable, cancel := workflow.WithCancel(ctx)
		long := workflow.NewTimerWithOptions(cancellable, time.Hour, workflow.TimerOptions{Summary: "too long"})
		waited, err := workflow.AwaitWithTimeout(ctx, 100*time.Millisecond, func() bool { return false })
		cancel()
		// Timers that are close to each other may fire in any order.
		slices.Sort(order)
		return fmt.Sprint(order, waited, err, temporal.IsCanceledError(long.Get(ctx, nil))), nil
	}
	w := e.work(named{"napping": napping}, nil)
	defer w.Stop()
	run := e.start("napping")
	equal(result[string](e, run), "[first last middle] false <nil> true")
	events := e.history(run)
	for _, fired := range events.all(enumspb.EVENT_TYPE_TIMER_FIRED) {
		started := events[fired.GetTimerFiredEventAttributes().StartedEventId-1]
		asked := started.GetTimerStartedEventAttributes().StartToFireTimeout.AsDuration()
		check(fired.EventTime.AsTime().Sub(started.EventTime.AsTime()) >= asked, "a timer fired early")
	}
	events.one(enumspb.EVENT_TYPE_TIMER_CANCELED)
})

var _ = scenario("activity cancelled before it starts", func(e *env) {
	unstarted := func(ctx workflow.Context, nobody string) (bool, error) {
		cancellable, cancel := workflow.WithCancel(ctx)
		cancellable = workflow.WithWaitForCancellation(workflow.WithTaskQueue(patient(cancellable), nobody), true)
		future := workflow.ExecuteActivity(cancellable, "square", 2)
		if err := workflow.Sleep(ctx, 100*time.Millisecond); err != nil {
			return false, err
		}
		cancel()
		return temporal.IsCanceledError(future.Get(ctx, nil)), nil
	}
	w := e.work(named{"unstarted": unstarted}, nil)
	defer w.Stop()
	run := e.start("unstarted", e.id("nobody"))
	equal(result[bool](e, run), true)
	canceled := e.history(run).one(enumspb.EVENT_TYPE_ACTIVITY_TASK_CANCELED).GetActivityTaskCanceledEventAttributes()
	equal(canceled.StartedEventId, int64(0))
})
