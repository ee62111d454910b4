package main

// How workflows begin and end: starts with their policies, runs that follow runs, timeouts, termination.

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

func memoText(ctx workflow.Context, key string) string {
	return string(workflow.GetInfo(ctx).Memo.GetFields()[key].GetData())
}

var _ = scenario("continue as new carries the memo", func(e *env) {
	counter := func(ctx workflow.Context, reached, goal int) (string, error) {
		if reached < goal {
			return "", workflow.NewContinueAsNewError(ctx, "counter", reached+1, goal)
		}
		info := workflow.GetInfo(ctx)
		return fmt.Sprint(reached, memoText(ctx, "colour"), info.ContinuedExecutionRunID != "", info.FirstRunID), nil
	}
	w := e.work(named{"counter": counter}, nil)
	defer w.Stop()
	run := e.startWith(startOptions{Memo: map[string]any{"colour": "red"}}, "counter", 0, 3)
	first := e.firstRun(run)
	equal(result[string](e, e.client.GetWorkflow(e.ctx, run.GetID(), "")), fmt.Sprint(3, `"red"`, true, first))
	continued := e.historyOf(run.GetID(), first).one(enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW)
	second := e.historyOf(run.GetID(), continued.GetWorkflowExecutionContinuedAsNewEventAttributes().NewExecutionRunId)
	started := second[0].GetWorkflowExecutionStartedEventAttributes()
	equal(started.ContinuedExecutionRunId, first)
	equal(started.FirstExecutionRunId, first)
	equal(started.Initiator, enumspb.CONTINUE_AS_NEW_INITIATOR_WORKFLOW)
})

var _ = scenario("continue as new with changes", func(e *env) {
	changed := func(ctx workflow.Context, stage int) (string, error) {
		if stage == 0 {
			ctx = workflow.WithWorkflowTaskTimeout(workflow.WithWorkflowRunTimeout(ctx, 77*time.Second), 7*time.Second)
			options := workflow.ContinueAsNewErrorOptions{RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 2}}
			return "", workflow.NewContinueAsNewErrorWithOptions(ctx, options, "changed", 1)
		}
		info := workflow.GetInfo(ctx)
		return fmt.Sprint(info.WorkflowRunTimeout, info.WorkflowTaskTimeout, info.RetryPolicy.MaximumAttempts), nil
	}
	w := e.work(named{"changed": changed}, nil)
	defer w.Stop()
	equal(result[string](e, e.start("changed", 0)), "1m17s 7s 2")
})

func persistent(ctx workflow.Context, succeedAt int32) (int32, error) {
	attempt := workflow.GetInfo(ctx).Attempt
	if attempt < succeedAt {
		return 0, temporal.NewApplicationError(fmt.Sprintf("run %d fails", attempt), "NotYet")
	}
	return attempt, nil
}

var _ = scenario("workflow retries", func(e *env) {
	w := e.work(named{"persistent": persistent}, nil)
	defer w.Stop()
	policy := temporal.RetryPolicy{InitialInterval: 100 * time.Millisecond, MaximumAttempts: 5}
	run := e.startWith(startOptions{RetryPolicy: &policy}, "persistent", 3)
	first := e.firstRun(run)
	equal(result[int32](e, run), int32(3))
	failed := e.historyOf(run.GetID(), first).one(enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED).GetWorkflowExecutionFailedEventAttributes()
	equal(failed.RetryState, enumspb.RETRY_STATE_IN_PROGRESS)
	started := e.historyOf(run.GetID(), failed.NewExecutionRunId)[0].GetWorkflowExecutionStartedEventAttributes()
	equal(started.Attempt, int32(2))
	equal(started.Initiator, enumspb.CONTINUE_AS_NEW_INITIATOR_RETRY)
	equal(started.ContinuedFailure.Message, "run 1 fails")
})

var _ = scenario("workflow runs out of retries", func(e *env) {
	w := e.work(named{"persistent": persistent}, nil)
	defer w.Stop()
	policy := temporal.RetryPolicy{InitialInterval: 100 * time.Millisecond, MaximumAttempts: 2}
	run := e.startWith(startOptions{RetryPolicy: &policy}, "persistent", 9)
	equal(as[*temporal.ApplicationError](e.failure(run)).Message(), "run 2 fails")
	closed := e.historyOf(run.GetID(), "").last().GetWorkflowExecutionFailedEventAttributes()
	equal(closed.RetryState, enumspb.RETRY_STATE_MAXIMUM_ATTEMPTS_REACHED)
})

var _ = scenario("cron carries the last result", func(e *env) {
	ticking := func(ctx workflow.Context) (int, error) {
		before := 0
		if workflow.HasLastCompletionResult(ctx) {
			if err := workflow.GetLastCompletionResult(ctx, &before); err != nil {
				return 0, err
			}
		}
		if before == 1 && workflow.GetLastError(ctx) == nil {
			return 0, errors.New("the second run fails")
		}
		return before + 1, nil
	}
	w := e.work(named{"ticking": ticking}, nil)
	defer w.Stop()
	run := e.startWith(startOptions{CronSchedule: "@every 1s"}, "ticking")
	first := e.firstRun(run)
	eventually("two runs have succeeded around one that failed", func() bool {
		started := e.historyOf(run.GetID(), "")[0].GetWorkflowExecutionStartedEventAttributes()
		if payloadText(started.LastCompletionResult) != "2" {
			return false
		}
		check(started.ContinuedFailure == nil, "a failure follows a success")
		equal(started.Initiator, enumspb.CONTINUE_AS_NEW_INITIATOR_CRON_SCHEDULE)
		return true
	})
	e.terminate(run, "enough ticks")
	completed := e.historyOf(run.GetID(), first).last().GetWorkflowExecutionCompletedEventAttributes()
	failed := e.historyOf(run.GetID(), completed.NewExecutionRunId).last().GetWorkflowExecutionFailedEventAttributes()
	equal(failed.Failure.Message, "the second run fails")
})

func brief(ctx workflow.Context) (string, error) {
	return workflow.GetInfo(ctx).WorkflowExecution.RunID, nil
}

var _ = scenario("start delay", func(e *env) {
	w := e.work(named{"brief": brief}, nil)
	defer w.Stop()
	run := e.startWith(startOptions{StartDelay: time.Second}, "brief")
	equal(result[string](e, run), run.GetRunID())
	events := e.history(run)
	equal(events[0].GetWorkflowExecutionStartedEventAttributes().FirstWorkflowTaskBackoff.AsDuration(), time.Second)
	check(events[1].EventTime.AsTime().Sub(events[0].EventTime.AsTime()) >= time.Second, "it started early")
})

var _ = scenario("eager start", func(e *env) {
	w := e.workOf(e.client, workerOptions{}, e.queue, named{"brief": brief}, nil)
	defer w.Stop()
	run := e.startWith(startOptions{EnableEagerStart: true}, "brief")
	equal(result[string](e, run), run.GetRunID())
	if e.calm {
		check(e.history(run)[0].GetWorkflowExecutionStartedEventAttributes().EagerExecutionAccepted, "it was not eager")
	}
})

// Open until it is told how to end.
func open(ctx workflow.Context) (string, error) {
	var answer string
	workflow.GetSignalChannel(ctx, "finish").Receive(ctx, &answer)
	if answer == "fail" {
		return "", errors.New("as told")
	}
	return answer, nil
}

var _ = scenario("id while it is running", func(e *env) {
	w := e.work(named{"open": open}, nil)
	defer w.Stop()
	first := e.start("open")
	_, err := e.tryStart(startOptions{WorkflowExecutionErrorWhenAlreadyStarted: true}, "open")
	equal(as[*serviceerror.WorkflowExecutionAlreadyStarted](err).RunId, first.GetRunID())
	same := e.startWith(startOptions{WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING}, "open")
	equal(same.GetRunID(), first.GetRunID())
	other := e.startWith(startOptions{WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING}, "open")
	check(other.GetRunID() != first.GetRunID(), "no new run")
	e.signal(other, "finish", "over")
	equal(result[string](e, other), "over")
	terminated := e.history(first).last().GetWorkflowExecutionTerminatedEventAttributes()
	equal(terminated.Reason, "TerminateIfRunning WorkflowIdReusePolicy")
})

var _ = scenario("id after it has closed", func(e *env) {
	w := e.work(named{"open": open}, nil)
	defer w.Stop()
	first := e.start("open")
	e.signal(first, "finish", "fail")
	e.failure(first)
	again := func(policy enumspb.WorkflowIdReusePolicy) (client.WorkflowRun, error) {
		return e.tryStart(startOptions{WorkflowIDReusePolicy: policy, WorkflowExecutionErrorWhenAlreadyStarted: true}, "open")
	}
	_, err := again(enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE)
	as[*serviceerror.WorkflowExecutionAlreadyStarted](err)
	second, err := again(enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY)
	must(err)
	e.signal(second, "finish", "well")
	equal(result[string](e, second), "well")
	_, err = again(enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY)
	as[*serviceerror.WorkflowExecutionAlreadyStarted](err)
	third, err := again(enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE)
	must(err)
	e.signal(third, "finish", "again")
	equal(result[string](e, third), "again")
})

var _ = scenario("termination with details", func(e *env) {
	w := e.work(named{"open": open}, nil)
	defer w.Stop()
	run := e.start("open")
	e.until(run, enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED, 1)
	e.terminate(run, "no longer needed", "a detail")
	as[*temporal.TerminatedError](e.failure(run))
	as[*serviceerror.NotFound](e.client.TerminateWorkflow(e.ctx, run.GetID(), "", "twice"))
	closed := e.history(run).last().GetWorkflowExecutionTerminatedEventAttributes()
	equal(closed.Reason, "no longer needed")
	equal(payloadText(closed.Details), `"a detail"`)
	equal(e.describe(run).WorkflowExecutionInfo.Status, enumspb.WORKFLOW_EXECUTION_STATUS_TERMINATED)
})

func runsOutOfTime(e *env, options client.StartWorkflowOptions) history {
	w := e.work(named{"open": open}, nil)
	defer w.Stop()
	run := e.startWith(options, "open")
	equal(as[*temporal.TimeoutError](e.failure(run)).TimeoutType(), enumspb.TIMEOUT_TYPE_START_TO_CLOSE)
	return e.historyOf(run.GetID(), "")
}

var _ = scenario("run timeout", func(e *env) {
	closed := runsOutOfTime(e, startOptions{WorkflowRunTimeout: time.Second}).last().GetWorkflowExecutionTimedOutEventAttributes()
	equal(closed.RetryState, enumspb.RETRY_STATE_RETRY_POLICY_NOT_SET)
})

var _ = scenario("execution timeout ends all retries", func(e *env) {
	events := runsOutOfTime(e, startOptions{
		WorkflowRunTimeout:       time.Second,
		WorkflowExecutionTimeout: 2500 * time.Millisecond,
		RetryPolicy:              &temporal.RetryPolicy{InitialInterval: 100 * time.Millisecond},
	})
	check(events[0].GetWorkflowExecutionStartedEventAttributes().Attempt >= 2, "it was not retried: %s", events.kinds())
})

var _ = scenario("workflow failure with cause and details", func(e *env) {
	failing := func(workflow.Context) error {
		inner := temporal.NewApplicationError("inside", "Inner", "inner detail")
		return temporal.NewNonRetryableApplicationError("outside", "Outer", inner, 1, "two")
	}
	w := e.work(named{"failing": failing}, nil)
	defer w.Stop()
	// The failure must not be retried whatever the policy says.
	run := e.startWith(startOptions{RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 4}}, "failing")
	outer := as[*temporal.ApplicationError](e.failure(run))
	var number int
	var text string
	must(outer.Details(&number, &text))
	inner := as[*temporal.ApplicationError](outer.Unwrap())
	equal(fmt.Sprint(outer.Message(), outer.Type(), number, text, inner.Message(), inner.Type()), "outsideOuter1twoinsideInner")
	equal(e.history(run).last().GetWorkflowExecutionFailedEventAttributes().RetryState, enumspb.RETRY_STATE_NON_RETRYABLE_FAILURE)
})

var _ = scenario("workflow knows itself", func(e *env) {
	describes := func(ctx workflow.Context) ([]string, error) {
		info := workflow.GetInfo(ctx)
		return []string{
			info.WorkflowType.Name, info.WorkflowExecution.ID, info.TaskQueueName, info.Namespace,
			fmt.Sprint(info.Attempt, info.WorkflowExecutionTimeout, info.GetCurrentHistoryLength() > 2),
		}, nil
	}
	w := e.work(named{"describes": describes}, nil)
	defer w.Stop()
	run := e.startWith(startOptions{WorkflowExecutionTimeout: time.Minute}, "describes")
	equal(strings.Join(result[[]string](e, run), ","), strings.Join([]string{"describes", e.unique, e.queue, "default", "1 1m0s true"}, ","))
	info := e.describe(run).WorkflowExecutionInfo
	equal(info.HistoryLength, int64(len(e.history(run))))
	equal(info.Type.Name, "describes")
})
