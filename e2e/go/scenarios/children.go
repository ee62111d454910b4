package main

// Workflows and other workflows: children with all their ends, parent close policies, signals and cancels across.

import (
	"errors"
	"fmt"
	"strings"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// Does as it is told: by its argument, or by a signal.
func child(ctx workflow.Context, order string) (string, error) {
	switch order {
	case "continue":
		return "", workflow.NewContinueAsNewError(ctx, "child", "return")
	case "wait":
		selector := workflow.NewSelector(ctx)
		selector.AddReceive(workflow.GetSignalChannel(ctx, "tell"), func(channel workflow.ReceiveChannel, _ bool) {
			channel.Receive(ctx, &order)
		})
		selector.AddReceive(ctx.Done(), func(workflow.ReceiveChannel, bool) {})
		selector.Select(ctx)
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
	case "fail":
		return "", temporal.NewApplicationError("the child fails", "ChildFailure", "detail")
	case "retried":
		if workflow.GetInfo(ctx).Attempt < 3 {
			return "", errors.New("not yet")
		}
	}
	return "did " + order, nil
}

func childContext(ctx workflow.Context, name string) workflow.Context {
	return workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID:          workflow.GetInfo(ctx).WorkflowExecution.ID + "-" + name,
		WaitForCancellation: true,
	})
}

// What stands behind a child's end.
func told(answer string, err error) string {
	var failed *temporal.ApplicationError
	var timedOut *temporal.TimeoutError
	var terminated *temporal.TerminatedError
	switch {
	case err == nil:
		return answer
	case errors.As(err, &failed):
		return failed.Type() + ": " + failed.Message()
	case errors.As(err, &timedOut):
		return "timed out"
	case errors.As(err, &terminated):
		return "terminated"
	case temporal.IsCanceledError(err):
		return "cancelled"
	default:
		return err.Error()
	}
}

var _ = scenario("children with all their ends", func(e *env) {
	parent := func(ctx workflow.Context, orders []string) ([]string, error) {
		futures := []workflow.ChildWorkflowFuture{}
		for _, order := range orders {
			options := workflow.ChildWorkflowOptions{WorkflowID: workflow.GetInfo(ctx).WorkflowExecution.ID + "-" + order}
			if order == "retried" {
				options.RetryPolicy = &temporal.RetryPolicy{InitialInterval: 50 * time.Millisecond}
			}
			if order == "wait" {
				options.WorkflowRunTimeout = time.Second
			}
			futures = append(futures, workflow.ExecuteChildWorkflow(workflow.WithChildOptions(ctx, options), "child", order))
		}
		answers := []string{}
		for _, future := range futures {
			var answer string
			err := future.Get(ctx, &answer)
			answers = append(answers, told(answer, err))
		}
		return answers, nil
	}
	w := e.work(named{"parent": parent, "child": child}, nil)
	defer w.Stop()
	run := e.start("parent", []string{"work", "fail", "retried", "continue", "wait"})
	equal(result[[]string](e, run), []string{"did work", "ChildFailure: the child fails", "did retried", "did return", "timed out"})
	events := e.history(run)
	equal(len(events.all(enumspb.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED)), 5)
	equal(len(events.all(enumspb.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_COMPLETED)), 3)
	events.one(enumspb.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_FAILED)
	events.one(enumspb.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_TIMED_OUT)
	started := e.historyOf(run.GetID()+"-work", "")[0].GetWorkflowExecutionStartedEventAttributes()
	equal(started.ParentWorkflowExecution.RunId, run.GetRunID())
	equal(started.RootWorkflowExecution.WorkflowId, run.GetID())
})

// Starts a child that waits, and ends it in one of several ways.
func family(ctx workflow.Context, how string) (string, error) {
	childCtx, cancel := workflow.WithCancel(childContext(ctx, "child"))
	future := workflow.ExecuteChildWorkflow(childCtx, "child", "wait")
	var execution workflow.Execution
	if err := future.GetChildWorkflowExecution().Get(ctx, &execution); err != nil {
		return "", err
	}
	var err error
	switch how {
	case "signal":
		err = future.SignalChildWorkflow(ctx, "tell", "as signalled").Get(ctx, nil)
	case "signal outside":
		err = workflow.SignalExternalWorkflow(ctx, execution.ID, "", "tell", "as signalled").Get(ctx, nil)
	case "cancel":
		cancel()
	case "cancel outside":
		err = workflow.RequestCancelExternalWorkflow(ctx, execution.ID, execution.RunID).Get(ctx, nil)
	}
	if err != nil {
		return "", err
	}
	var answer string
	err = future.Get(ctx, &answer)
	return told(answer, err), nil
}

var _ = scenario("child is signalled", func(e *env) {
	w := e.work(named{"family": family, "child": child}, nil)
	defer w.Stop()
	for _, how := range []string{"signal", "signal outside"} {
		run := e.startWith(startOptions{ID: e.id(how)}, "family", how)
		equal(result[string](e, run), "did as signalled")
		events := e.history(run)
		initiated := events.one(enumspb.EVENT_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED)
		equal(initiated.GetSignalExternalWorkflowExecutionInitiatedEventAttributes().ChildWorkflowOnly, how == "signal")
		events.one(enumspb.EVENT_TYPE_EXTERNAL_WORKFLOW_EXECUTION_SIGNALED)
		signaled := e.historyOf(run.GetID()+"-child", "").one(enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED)
		equal(signaled.GetWorkflowExecutionSignaledEventAttributes().ExternalWorkflowExecution.WorkflowId, run.GetID())
	}
})

var _ = scenario("child is cancelled", func(e *env) {
	w := e.work(named{"family": family, "child": child}, nil)
	defer w.Stop()
	for _, how := range []string{"cancel", "cancel outside"} {
		run := e.startWith(startOptions{ID: e.id(how)}, "family", how)
		equal(result[string](e, run), "cancelled")
		events := e.history(run)
		events.one(enumspb.EVENT_TYPE_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED)
		events.one(enumspb.EVENT_TYPE_EXTERNAL_WORKFLOW_EXECUTION_CANCEL_REQUESTED)
		events.one(enumspb.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_CANCELED)
		e.historyOf(run.GetID()+"-child", "").one(enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED)
	}
})

var _ = scenario("child is terminated by a client", func(e *env) {
	w := e.work(named{"family": family, "child": child}, nil)
	defer w.Stop()
	run := e.start("family", "do nothing")
	e.until(run, enumspb.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED, 1)
	pending := e.describe(run).PendingChildren
	equal(len(pending), 1)
	equal(pending[0].WorkflowId, run.GetID()+"-child")
	e.terminate(e.client.GetWorkflow(e.ctx, run.GetID()+"-child", ""), "by hand")
	equal(result[string](e, run), "terminated")
	e.history(run).one(enumspb.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_TERMINATED)
})

var _ = scenario("child whose id is taken", func(e *env) {
	parent := func(ctx workflow.Context) (string, error) {
		err := workflow.ExecuteChildWorkflow(childContext(ctx, "child"), "child", "again").Get(ctx, nil)
		if !temporal.IsWorkflowExecutionAlreadyStartedError(err) {
			return "", fmt.Errorf("it started twice: %w", err)
		}
		return "taken", nil
	}
	w := e.work(named{"parent": parent, "child": child}, nil)
	defer w.Stop()
	first := e.startWith(startOptions{ID: e.id("child")}, "child", "wait")
	run := e.start("parent")
	equal(result[string](e, run), "taken")
	e.signal(first, "tell", "the first")
	equal(result[string](e, first), "did the first")
	failed := e.history(run).one(enumspb.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_FAILED)
	cause := failed.GetStartChildWorkflowExecutionFailedEventAttributes().Cause
	equal(cause, enumspb.START_CHILD_WORKFLOW_EXECUTION_FAILED_CAUSE_WORKFLOW_ALREADY_EXISTS)
})

// Leaves children behind, one for each policy.
func leaving(ctx workflow.Context) error {
	policies := []enumspb.ParentClosePolicy{
		enumspb.PARENT_CLOSE_POLICY_TERMINATE, enumspb.PARENT_CLOSE_POLICY_REQUEST_CANCEL, enumspb.PARENT_CLOSE_POLICY_ABANDON,
	}
	for _, policy := range policies {
		childCtx := workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
			WorkflowID:        workflow.GetInfo(ctx).WorkflowExecution.ID + "-" + policy.String(),
			ParentClosePolicy: policy,
		})
		future := workflow.ExecuteChildWorkflow(childCtx, "child", "wait")
		if err := future.GetChildWorkflowExecution().Get(ctx, nil); err != nil {
			return err
		}
	}
	workflow.GetSignalChannel(ctx, "leave").Receive(ctx, nil)
	return nil
}

func parentCloses(e *env, how func(client.WorkflowRun)) {
	w := e.work(named{"leaving": leaving, "child": child}, nil)
	defer w.Stop()
	run := e.start("leaving")
	e.until(run, enumspb.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED, 3)
	how(run)
	of := func(policy enumspb.ParentClosePolicy) client.WorkflowRun {
		return e.client.GetWorkflow(e.ctx, run.GetID()+"-"+policy.String(), "")
	}
	as[*temporal.TerminatedError](e.failure(of(enumspb.PARENT_CLOSE_POLICY_TERMINATE)))
	as[*temporal.CanceledError](e.failure(of(enumspb.PARENT_CLOSE_POLICY_REQUEST_CANCEL)))
	abandoned := of(enumspb.PARENT_CLOSE_POLICY_ABANDON)
	e.signal(abandoned, "tell", "its own thing")
	equal(result[string](e, abandoned), "did its own thing")
	terminated := e.historyOf(of(enumspb.PARENT_CLOSE_POLICY_TERMINATE).GetID(), "").last()
	equal(terminated.GetWorkflowExecutionTerminatedEventAttributes().Reason, "by parent close policy")
}

var _ = scenario("parent close policies", func(e *env) {
	parentCloses(e, func(run client.WorkflowRun) { e.signal(run, "leave", nil) })
})

var _ = scenario("termination of the parent reaches the children", func(e *env) {
	parentCloses(e, func(run client.WorkflowRun) { e.terminate(run, "the parent goes") })
})

var _ = scenario("cancelled parent waits for its child", func(e *env) {
	parent := func(ctx workflow.Context) (string, error) {
		var answer string
		err := workflow.ExecuteChildWorkflow(childContext(ctx, "child"), "child", "wait").Get(ctx, &answer)
		return told(answer, err), nil
	}
	w := e.work(named{"parent": parent, "child": child}, nil)
	defer w.Stop()
	run := e.start("parent")
	e.until(run, enumspb.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED, 1)
	must(e.client.CancelWorkflow(e.ctx, run.GetID(), ""))
	equal(result[string](e, run), "cancelled")
	e.history(run).one(enumspb.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_CANCELED)
})

var _ = scenario("workflows reach each other", func(e *env) {
	reaching := func(ctx workflow.Context, target string) (string, error) {
		if err := workflow.SignalExternalWorkflow(ctx, target, "", "tell", "what a stranger says").Get(ctx, nil); err != nil {
			return "", err
		}
		signal := workflow.SignalExternalWorkflow(ctx, target+"-nobody", "", "tell", "hello?").Get(ctx, nil)
		cancel := workflow.RequestCancelExternalWorkflow(ctx, target+"-nobody", "").Get(ctx, nil)
		var unknown *temporal.UnknownExternalWorkflowExecutionError
		return fmt.Sprint(errors.As(signal, &unknown), errors.As(cancel, &unknown)), nil
	}
	w := e.work(named{"reaching": reaching, "child": child}, nil)
	defer w.Stop()
	target := e.startWith(startOptions{ID: e.id("target")}, "child", "wait")
	run := e.startWith(startOptions{ID: e.id("reaching")}, "reaching", target.GetID())
	equal(result[string](e, run), "true true")
	equal(result[string](e, target), "did what a stranger says")
	events := e.history(run)
	events.one(enumspb.EVENT_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED)
	events.one(enumspb.EVENT_TYPE_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_FAILED)
})

var _ = scenario("generations of children", func(e *env) {
	var generations func(ctx workflow.Context, depth int) (int, error)
	generations = func(ctx workflow.Context, depth int) (int, error) {
		futures := []workflow.ChildWorkflowFuture{}
		for number := 0; depth > 0 && number < 3; number++ {
			childCtx := childContext(ctx, fmt.Sprint(number))
			futures = append(futures, workflow.ExecuteChildWorkflow(childCtx, "generations", depth-1))
		}
		sum := 1
		for _, future := range futures {
			var one int
			if err := future.Get(ctx, &one); err != nil {
				return 0, err
			}
			sum += one
		}
		return sum, nil
	}
	w := e.work(named{"generations": generations}, nil)
	defer w.Stop()
	run := e.start("generations", 2)
	equal(result[int](e, run), 13)
	started := e.historyOf(run.GetID()+"-1-2", "")[0].GetWorkflowExecutionStartedEventAttributes()
	equal(started.RootWorkflowExecution.WorkflowId, run.GetID())
	equal(started.ParentWorkflowExecution.WorkflowId, run.GetID()+"-1")
	check(strings.HasPrefix(started.ParentWorkflowExecution.WorkflowId, e.unique), "a stranger's child")
	_, err := e.client.DescribeWorkflowExecution(e.ctx, run.GetID()+"-9", "")
	as[*serviceerror.NotFound](err)
})
