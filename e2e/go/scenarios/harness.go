package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

// What a scenario has to itself. It is calm unless nodes are being killed: then attempts may be lost and repeated.
type env struct {
	name, unique, queue string
	client              client.Client
	workerClient        client.Client
	calm                bool
	ctx                 context.Context
	workflows           map[string]any
	replayOptions       worker.WorkflowReplayerOptions
	todo                []workflow.Execution
	replayed            int
}

// Functions by the name under which workers know them.
type named map[string]any

// What an activity gets that is not about its options. A node that dies may take with it the answer to a worker's
// poll; the timeout brings such an attempt back.
var quickRetry = temporal.RetryPolicy{InitialInterval: 50 * time.Millisecond, MaximumInterval: time.Second}

func patient(ctx workflow.Context) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: 5 * time.Second,
		RetryPolicy:         &quickRetry,
	})
}

var registry = map[string]func(*env){}

func scenario(name string, run func(*env)) bool {
	if registry[name] != nil {
		panic("two scenarios are called " + name)
	}
	registry[name] = run
	return true
}

// Assertions end the scenario: the runner reports what they panic with.

func must(err error) {
	if err != nil {
		panic(fmt.Sprintf("unexpected error: %v (%T)", err, err))
	}
}

func check(fact bool, format string, args ...any) {
	if !fact {
		panic(fmt.Sprintf(format, args...))
	}
}

func equal(got, want any) {
	if !reflect.DeepEqual(got, want) {
		panic(fmt.Sprintf("got %#v, want %#v", got, want))
	}
}

// The error of a kind inside a chain of causes.
func as[T error](err error) T {
	var found T
	if !errors.As(err, &found) {
		panic(fmt.Sprintf("no %T in %v (%T)", found, err, err))
	}
	return found
}

func eventually(what string, condition func() bool) {
	for deadline := time.Now().Add(time.Minute); !condition(); time.Sleep(50 * time.Millisecond) {
		check(time.Now().Before(deadline), "waited in vain until %s", what)
	}
}

func (e *env) id(suffix string) string {
	if suffix == "" {
		return e.unique
	}
	return e.unique + "-" + suffix
}

// A running worker on the scenario's queue; its workflows are those of the replay too.
func (e *env) work(workflows, activities named) worker.Worker {
	return e.workWith(worker.Options{}, e.queue, workflows, activities)
}

func (e *env) workWith(options worker.Options, queue string, workflows, activities named) worker.Worker {
	return e.workOf(e.workerClient, options, queue, workflows, activities)
}

func (e *env) workOf(c client.Client, options worker.Options, queue string, workflows, activities named) worker.Worker {
	// Many workers share few cores here: a slow workflow task is no deadlock.
	options.DeadlockDetectionTimeout = time.Minute
	w := worker.New(c, queue, options)
	for name, function := range workflows {
		w.RegisterWorkflowWithOptions(function, workflow.RegisterOptions{Name: name})
		e.workflows[name] = function
	}
	for name, function := range activities {
		w.RegisterActivityWithOptions(function, activity.RegisterOptions{Name: name})
	}
	must(w.Start())
	return w
}

func (e *env) start(name string, args ...any) client.WorkflowRun {
	return e.startWith(client.StartWorkflowOptions{}, name, args...)
}

func (e *env) startWith(options client.StartWorkflowOptions, name string, args ...any) client.WorkflowRun {
	run, err := e.tryStart(options, name, args...)
	must(err)
	return run
}

func (e *env) tryStart(options client.StartWorkflowOptions, name string, args ...any) (client.WorkflowRun, error) {
	if options.ID == "" {
		options.ID = e.unique
	}
	if options.TaskQueue == "" {
		options.TaskQueue = e.queue
	}
	run, err := e.client.ExecuteWorkflow(e.ctx, options, name, args...)
	if err == nil {
		e.track(run)
	}
	return run, err
}

func (e *env) track(run client.WorkflowRun) {
	e.todo = append(e.todo, workflow.Execution{ID: run.GetID(), RunID: run.GetRunID()})
}

// The first run of the chain. A start whose answer was lost with a node is repeated by the SDK, and may then find a
// chain that has gone on to its next run.
func (e *env) firstRun(run client.WorkflowRun) string {
	return e.historyOf(run.GetID(), run.GetRunID())[0].GetWorkflowExecutionStartedEventAttributes().FirstExecutionRunId
}

func (e *env) signal(run client.WorkflowRun, name string, arg any) {
	must(e.client.SignalWorkflow(e.ctx, run.GetID(), "", name, arg))
}

func query[T any](e *env, run client.WorkflowRun, name string, args ...any) T {
	value, err := e.client.QueryWorkflow(e.ctx, run.GetID(), run.GetRunID(), name, args...)
	must(err)
	var answer T
	must(value.Get(&answer))
	return answer
}

func result[T any](e *env, run client.WorkflowRun) T {
	var value T
	must(run.Get(e.ctx, &value))
	return value
}

// The error with which a workflow closed.
func (e *env) failure(run client.WorkflowRun) error {
	err := run.Get(e.ctx, nil)
	check(err != nil, "the workflow did not fail")
	return err
}

// While nodes are killed the SDK's own repetition may find that the first call, unanswered, has worked.
func (e *env) terminate(run client.WorkflowRun, reason string, details ...any) {
	err := e.client.TerminateWorkflow(e.ctx, run.GetID(), "", reason, details...)
	var missing *serviceerror.NotFound
	if !e.calm && errors.As(err, &missing) {
		return
	}
	must(err)
}

func (e *env) describe(run client.WorkflowRun) *workflowservice.DescribeWorkflowExecutionResponse {
	description, err := e.client.DescribeWorkflowExecution(e.ctx, run.GetID(), run.GetRunID())
	must(err)
	return description
}

// The SDK repeats the calls of its client. What goes by the bare service it leaves to the caller to repeat.
func (e *env) repeated(call func() error) {
	var unavailable *serviceerror.Unavailable
	err := call()
	for deadline := time.Now().Add(time.Minute); errors.As(err, &unavailable) && time.Now().Before(deadline); err = call() {
		time.Sleep(100 * time.Millisecond)
	}
	must(err)
}

type history []*historypb.HistoryEvent

func (e *env) history(run client.WorkflowRun) history {
	return e.historyOf(run.GetID(), run.GetRunID())
}

func (e *env) historyOf(id, run string) history {
	events := history{}
	pages := e.client.GetWorkflowHistory(e.ctx, id, run, false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for pages.HasNext() {
		event, err := pages.Next()
		must(err)
		events = append(events, event)
	}
	return events
}

// The history once it has so many events of a kind.
func (e *env) until(run client.WorkflowRun, kind enumspb.EventType, count int) history {
	var events history
	eventually(fmt.Sprintf("%d %v", count, kind), func() bool {
		events = e.history(run)
		return len(events.all(kind)) >= count
	})
	return events
}

func (h history) all(kind enumspb.EventType) history {
	found := history{}
	for _, event := range h {
		if event.EventType == kind {
			found = append(found, event)
		}
	}
	return found
}

func (h history) one(kind enumspb.EventType) *historypb.HistoryEvent {
	found := h.all(kind)
	check(len(found) == 1, "%d events %v in %v", len(found), kind, h.kinds())
	return found[0]
}

func (h history) last() *historypb.HistoryEvent {
	return h[len(h)-1]
}

func (h history) kinds() string {
	names := []string{}
	for _, event := range h {
		names = append(names, event.EventType.String())
	}
	return strings.Join(names, " ")
}

// The kinds of events but those of workflow tasks, whose number depends on timing.
func (h history) withoutTasks() string {
	kept := history{}
	for _, event := range h {
		if !strings.HasPrefix(event.EventType.String(), "WorkflowTask") {
			kept = append(kept, event)
		}
	}
	return kept.kinds()
}

// Checks and replays every run of the scenario, the runs that followed and the children.
func (e *env) checkRuns() {
	if len(e.workflows) == 0 {
		return
	}
	replayer, err := worker.NewWorkflowReplayerWithOptions(e.replayOptions)
	must(err)
	for name, function := range e.workflows {
		replayer.RegisterWorkflowWithOptions(function, workflow.RegisterOptions{Name: name})
	}
	seen := map[workflow.Execution]bool{}
	for len(e.todo) > 0 {
		run := e.todo[0]
		e.todo = e.todo[1:]
		if seen[run] {
			continue
		}
		seen[run] = true
		events := e.historyOf(run.ID, run.RunID)
		checkHistory(run.ID, events)
		e.todo = append(e.todo, following(run, events)...)
		// A run that no worker ever took up has nothing to replay.
		if len(events.all(enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED)) == 0 {
			continue
		}
		options := worker.ReplayWorkflowHistoryOptions{OriginalExecution: run}
		if err := replayer.ReplayWorkflowHistoryWithOptions(quiet{}, &historypb.History{Events: events}, options); err != nil {
			panic(fmt.Sprintf("replay of %s: %v: %s", run.ID, err, events.kinds()))
		}
		e.replayed++
	}
}

func following(run workflow.Execution, events history) []workflow.Execution {
	next := []workflow.Execution{}
	last := events.last()
	for _, id := range []string{
		last.GetWorkflowExecutionCompletedEventAttributes().GetNewExecutionRunId(),
		last.GetWorkflowExecutionFailedEventAttributes().GetNewExecutionRunId(),
		last.GetWorkflowExecutionTimedOutEventAttributes().GetNewExecutionRunId(),
		last.GetWorkflowExecutionContinuedAsNewEventAttributes().GetNewExecutionRunId(),
	} {
		if id != "" {
			next = append(next, workflow.Execution{ID: run.ID, RunID: id})
		}
	}
	for _, event := range events.all(enumspb.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED) {
		child := event.GetChildWorkflowExecutionStartedEventAttributes().GetWorkflowExecution()
		next = append(next, workflow.Execution{ID: child.WorkflowId, RunID: child.RunId})
	}
	return next
}

// Facts that hold for every history.
func checkHistory(id string, events history) {
	check(len(events) > 0, "%s has no events", id)
	closed := map[string]bool{}
	once := func(what string, kind enumspb.EventType, starts ...int64) {
		// Of an event of another type the getters say 0.
		start := slices.Max(starts)
		if start == 0 {
			return
		}
		key := fmt.Sprint(what, start)
		check(!closed[key], "%s: the %s of event %d was closed twice: %s", id, what, start, events.kinds())
		check(events[start-1].EventType == kind, "%s: event %d is no %v", id, start, kind)
		closed[key] = true
	}
	for index, event := range events {
		check(event.EventId == int64(index+1), "%s: gap before event %d", id, event.EventId)
		check(event.EventTime.AsTime().Unix() > 0, "%s: event %d has no time", id, event.EventId)
		isStart := event.EventType == enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED
		check(isStart == (index == 0), "%s: a start in the wrong place: %s", id, events.kinds())
		isLast := index == len(events)-1
		switch event.EventType {
		case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED, enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED,
			enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT, enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED,
			enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED, enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW:
			check(isLast, "%s: something after the end: %s", id, events.kinds())
		}
		once("task", enumspb.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED,
			event.GetWorkflowTaskCompletedEventAttributes().GetScheduledEventId(),
			event.GetWorkflowTaskFailedEventAttributes().GetScheduledEventId(),
			event.GetWorkflowTaskTimedOutEventAttributes().GetScheduledEventId())
		once("activity", enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED,
			event.GetActivityTaskCompletedEventAttributes().GetScheduledEventId(),
			event.GetActivityTaskFailedEventAttributes().GetScheduledEventId(),
			event.GetActivityTaskTimedOutEventAttributes().GetScheduledEventId(),
			event.GetActivityTaskCanceledEventAttributes().GetScheduledEventId())
		once("timer", enumspb.EVENT_TYPE_TIMER_STARTED,
			event.GetTimerFiredEventAttributes().GetStartedEventId(),
			event.GetTimerCanceledEventAttributes().GetStartedEventId())
	}
}

func payloadText(payloads *commonpb.Payloads) string {
	if len(payloads.GetPayloads()) == 0 {
		return ""
	}
	return string(payloads.Payloads[0].Data)
}

type (
	startOptions  = client.StartWorkflowOptions
	workerOptions = worker.Options
)
