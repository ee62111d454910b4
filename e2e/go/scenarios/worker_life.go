package main

// Workers that come and go, fail, change their code, share a queue, or keep a session.

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

func add(_ context.Context, a, b int) (int, error) { return a + b, nil }

// Activities and timers by turns, and a signal for each next step.
func steps(ctx workflow.Context, count int) (int, error) {
	reached, total := 0, 0
	if err := workflow.SetQueryHandler(ctx, "where", func() (int, error) { return reached, nil }); err != nil {
		return 0, err
	}
	for step := range count {
		workflow.GetSignalChannel(ctx, "next").Receive(ctx, nil)
		if err := workflow.ExecuteActivity(patient(ctx), "add", total, step).Get(ctx, &total); err != nil {
			return 0, err
		}
		if err := workflow.Sleep(ctx, 10*time.Millisecond); err != nil {
			return 0, err
		}
		reached = step + 1
	}
	return total, nil
}

var _ = scenario("worker restarts in the middle", func(e *env) {
	run := e.start("steps", 4)
	for step := range 4 {
		// Each step has a worker of its own, which has to replay what came before.
		w := e.work(named{"steps": steps}, named{"add": add})
		e.signal(run, "next", nil)
		eventually("the step is done", func() bool { return query[int](e, run, "where") == step+1 })
		if step == 3 {
			equal(result[int](e, run), 6)
		}
		w.Stop()
	}
})

var _ = scenario("sticky queue given up in the middle", func(e *env) {
	w := e.work(named{"steps": steps}, named{"add": add})
	defer w.Stop()
	run := e.start("steps", 3)
	for step := range 3 {
		e.signal(run, "next", nil)
		eventually("the step is done", func() bool { return query[int](e, run, "where") == step+1 })
		// The last step has closed it.
		if step < 2 {
			e.repeated(func() error {
				_, err := e.client.WorkflowService().ResetStickyTaskQueue(e.ctx, &workflowservice.ResetStickyTaskQueueRequest{
					Namespace: "default", Execution: &commonpb.WorkflowExecution{WorkflowId: run.GetID(), RunId: run.GetRunID()},
				})
				return err
			})
		}
	}
	equal(result[int](e, run), 3)
})

var _ = scenario("two workers share a queue", func(e *env) {
	one := e.workWith(workerOptions{Identity: "one"}, e.queue, named{"steps": steps}, named{"add": add})
	defer one.Stop()
	two := e.workOf(e.client, workerOptions{Identity: "two"}, e.queue, named{"steps": steps}, named{"add": add})
	defer two.Stop()
	runs := []client.WorkflowRun{}
	for number := range 20 {
		run := e.startWith(startOptions{ID: e.id(fmt.Sprint(number))}, "steps", 2)
		e.signal(run, "next", nil)
		e.signal(run, "next", nil)
		runs = append(runs, run)
	}
	for _, run := range runs {
		equal(result[int](e, run), 1)
		for _, started := range e.history(run).all(enumspb.EVENT_TYPE_WORKFLOW_TASK_STARTED) {
			identity := started.GetWorkflowTaskStartedEventAttributes().Identity
			check(identity == "one" || identity == "two", "who is %s?", identity)
		}
	}
})

var _ = scenario("workflow task fails until the code is repaired", func(e *env) {
	var broken atomic.Bool
	broken.Store(true)
	repairable := func(ctx workflow.Context) (sum int, err error) {
		if err := workflow.Sleep(ctx, 50*time.Millisecond); err != nil {
			return 0, err
		}
		if broken.Load() {
			panic("a bug, not a failure of the workflow")
		}
		err = workflow.ExecuteActivity(patient(ctx), "add", 1, 2).Get(ctx, &sum)
		return sum, err
	}
	w := e.work(named{"repairable": repairable}, named{"add": add})
	defer w.Stop()
	run := e.startWith(startOptions{WorkflowTaskTimeout: 5 * time.Second}, "repairable")
	events := e.until(run, enumspb.EVENT_TYPE_WORKFLOW_TASK_FAILED, 1)
	failed := events.all(enumspb.EVENT_TYPE_WORKFLOW_TASK_FAILED)[0].GetWorkflowTaskFailedEventAttributes()
	equal(failed.Cause, enumspb.WORKFLOW_TASK_FAILED_CAUSE_WORKFLOW_WORKER_UNHANDLED_FAILURE)
	check(strings.Contains(failed.Failure.Message, "a bug"), "wrong failure: %v", failed.Failure.Message)
	broken.Store(false)
	equal(result[int](e, run), 3)
})

var _ = scenario("panic fails the workflow when asked to", func(e *env) {
	panicking := func(workflow.Context) error { panic("on purpose") }
	w := e.workWith(workerOptions{WorkflowPanicPolicy: worker.FailWorkflow}, e.queue, named{"panicking": panicking}, nil)
	defer w.Stop()
	run := e.start("panicking")
	check(strings.Contains(e.failure(run).Error(), "on purpose"), "wrong failure")
	equal(e.history(run).last().EventType, enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED)
	// The replayer knows no other policy than to fail the task.
	e.todo = nil
})

var _ = scenario("changed code is found out", func(e *env) {
	waits := func(ctx workflow.Context) { workflow.GetSignalChannel(ctx, "proceed").Receive(ctx, nil) }
	before := func(ctx workflow.Context) (string, error) {
		err := workflow.ExecuteActivity(patient(ctx), "add", 1, 1).Get(ctx, nil)
		waits(ctx)
		return "old", err
	}
	// Not what the history says: a timer where there was an activity.
	after := func(ctx workflow.Context) (string, error) {
		err := workflow.Sleep(ctx, time.Second)
		waits(ctx)
		return "new", err
	}
	first := e.work(named{"shifting": before}, named{"add": add})
	run := e.startWith(startOptions{WorkflowTaskTimeout: 5 * time.Second}, "shifting")
	events := e.until(run, enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED, 2)
	first.Stop()
	replayer := worker.NewWorkflowReplayer()
	replayer.RegisterWorkflowWithOptions(after, workflow.RegisterOptions{Name: "shifting"})
	err := replayer.ReplayWorkflowHistory(quiet{}, &historypb.History{Events: events})
	check(err != nil && strings.Contains(err.Error(), "TMPRL1100"), "the replay did not notice: %v", err)
	second := e.work(named{"shifting": after}, named{"add": add})
	e.signal(run, "proceed", nil)
	failed := e.until(run, enumspb.EVENT_TYPE_WORKFLOW_TASK_FAILED, 1).all(enumspb.EVENT_TYPE_WORKFLOW_TASK_FAILED)[0]
	equal(failed.GetWorkflowTaskFailedEventAttributes().Cause, enumspb.WORKFLOW_TASK_FAILED_CAUSE_NON_DETERMINISTIC_ERROR)
	second.Stop()
	third := e.work(named{"shifting": before}, named{"add": add})
	defer third.Stop()
	equal(result[string](e, run), "old")
})

var _ = scenario("versioned code runs old and new", func(e *env) {
	waits := func(ctx workflow.Context) { workflow.GetSignalChannel(ctx, "proceed").Receive(ctx, nil) }
	before := func(ctx workflow.Context) (string, error) {
		waits(ctx)
		return "first", nil
	}
	after := func(ctx workflow.Context) (string, error) {
		told := "second"
		if workflow.GetVersion(ctx, "more work", workflow.DefaultVersion, 1) == 1 {
			var sum int
			if err := workflow.ExecuteActivity(patient(ctx), "add", 2, 2).Get(ctx, &sum); err != nil {
				return "", err
			}
			told = fmt.Sprint(told, " with ", sum)
		}
		waits(ctx)
		return told, nil
	}
	first := e.work(named{"versioned": before}, nil)
	old := e.startWith(startOptions{ID: e.id("old")}, "versioned")
	e.until(old, enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED, 1)
	first.Stop()
	second := e.work(named{"versioned": after}, named{"add": add})
	defer second.Stop()
	fresh := e.startWith(startOptions{ID: e.id("fresh")}, "versioned")
	e.signal(old, "proceed", nil)
	e.signal(fresh, "proceed", nil)
	equal(result[string](e, old), "second")
	equal(result[string](e, fresh), "second with 4")
	events := e.history(fresh)
	equal(events.one(enumspb.EVENT_TYPE_MARKER_RECORDED).GetMarkerRecordedEventAttributes().MarkerName, "Version")
	upsert := events.one(enumspb.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES).GetUpsertWorkflowSearchAttributesEventAttributes()
	equal(string(upsert.SearchAttributes.IndexedFields["TemporalChangeVersion"].Data), `["more work-1"]`)
	equal(len(e.history(old).all(enumspb.EVENT_TYPE_MARKER_RECORDED)), 0)
})

var _ = scenario("side effects happen once", func(e *env) {
	var calls atomic.Int64
	effects := func(ctx workflow.Context) (string, error) {
		var first int64
		err := workflow.SideEffect(ctx, func(workflow.Context) any { return calls.Add(1) }).Get(&first)
		if err != nil {
			return "", err
		}
		seen := []int{}
		for _, value := range []int{5, 5, 6, 6, 5} {
			var now int
			same := func(a, b any) bool { return a.(int) == b.(int) }
			err := workflow.MutableSideEffect(ctx, "changing", func(workflow.Context) any { return value }, same).Get(&now)
			if err != nil {
				return "", err
			}
			seen = append(seen, now)
			if err := workflow.Sleep(ctx, 10*time.Millisecond); err != nil {
				return "", err
			}
		}
		return fmt.Sprint(first, seen), nil
	}
	w := e.work(named{"effects": effects}, nil)
	defer w.Stop()
	run := e.start("effects")
	told := result[string](e, run)
	if e.calm {
		equal(told, "1 [5 5 6 6 5]")
	}
	names := map[string]int{}
	for _, marker := range e.history(run).all(enumspb.EVENT_TYPE_MARKER_RECORDED) {
		names[marker.GetMarkerRecordedEventAttributes().MarkerName]++
	}
	equal(names, map[string]int{"SideEffect": 1, "MutableSideEffect": 3})
})

var _ = scenario("session keeps its activities on one worker", func(e *env) {
	withSession := func(ctx workflow.Context) (string, error) {
		ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
			StartToCloseTimeout: 5 * time.Second, ScheduleToStartTimeout: 20 * time.Second, RetryPolicy: &quickRetry,
		})
		options := &workflow.SessionOptions{CreationTimeout: 20 * time.Second, ExecutionTimeout: time.Minute}
		session, err := workflow.CreateSession(ctx, options)
		if err != nil {
			return "", err
		}
		defer workflow.CompleteSession(session)
		hosts := []string{}
		for range 3 {
			var host string
			if err := workflow.ExecuteActivity(session, "host").Get(session, &host); err != nil {
				return "", err
			}
			hosts = append(hosts, host)
		}
		if hosts[0] != hosts[1] || hosts[1] != hosts[2] {
			return "", errors.New(strings.Join(hosts, " "))
		}
		return "together", nil
	}
	for _, name := range []string{"one", "two"} {
		host := func(context.Context) (string, error) { return name, nil }
		options := workerOptions{EnableSessionWorker: true, Identity: name}
		w := e.workWith(options, e.queue, named{"with session": withSession}, named{"host": host})
		defer w.Stop()
	}
	equal(result[string](e, e.start("with session")), "together")
})

var _ = scenario("workflows wait until somebody works", func(e *env) {
	runs := []client.WorkflowRun{}
	for number := range 10 {
		runs = append(runs, e.startWith(startOptions{ID: e.id(fmt.Sprint(number))}, "brief"))
	}
	w := e.work(named{"brief": brief}, nil)
	defer w.Stop()
	for _, run := range runs {
		equal(result[string](e, run), run.GetRunID())
	}
	description, err := e.client.DescribeTaskQueue(e.ctx, e.queue, enumspb.TASK_QUEUE_TYPE_WORKFLOW)
	must(err)
	check(len(description.Pollers) > 0, "no pollers are known")
})
