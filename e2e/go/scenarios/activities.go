package main

// Activities: their ways to succeed, to fail, to be tried again and to run out of time.

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

type order struct {
	Item  string
	Count int
	Tags  []string
}

func price(_ context.Context, o order) (int, error) { return o.Count * len(o.Item), nil }

func pack(_ context.Context, o order, gift bool) (order, error) {
	o.Tags = append(o.Tags, "packed")
	if gift {
		o.Tags = append(o.Tags, "gift")
	}
	return o, nil
}

var _ = scenario("activities in a row", func(e *env) {
	shop := func(ctx workflow.Context, o order) (string, error) {
		ctx = patient(ctx)
		var cost int
		if err := workflow.ExecuteActivity(ctx, "price", o).Get(ctx, &cost); err != nil {
			return "", err
		}
		if err := workflow.ExecuteActivity(ctx, "pack", o, true).Get(ctx, &o); err != nil {
			return "", err
		}
		return fmt.Sprint(cost, o.Tags), nil
	}
	w := e.work(named{"shop": shop}, named{"price": price, "pack": pack})
	defer w.Stop()
	run := e.start("shop", order{"lamp", 3, []string{"new"}})
	equal(result[string](e, run), "12 [new packed gift]")
	events := e.history(run)
	equal(events.withoutTasks(), "WorkflowExecutionStarted ActivityTaskScheduled ActivityTaskStarted ActivityTaskCompleted "+
		"ActivityTaskScheduled ActivityTaskStarted ActivityTaskCompleted WorkflowExecutionCompleted")
	scheduled := events.all(enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED)[0].GetActivityTaskScheduledEventAttributes()
	equal(scheduled.ActivityType.Name, "price")
	equal(scheduled.StartToCloseTimeout.AsDuration(), 5*time.Second)
	equal(scheduled.RetryPolicy.BackoffCoefficient, 2.0)
	equal(scheduled.WorkflowTaskCompletedEventId, int64(4))
})

func flaky(ctx context.Context, failures int32) (int32, error) {
	attempt := activity.GetInfo(ctx).Attempt
	if attempt <= failures {
		return 0, temporal.NewApplicationError(fmt.Sprintf("attempt %d", attempt), "Flaky", attempt)
	}
	return attempt, nil
}

func retrying(ctx workflow.Context, failures int32, policy temporal.RetryPolicy) (int32, error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: 5 * time.Second, RetryPolicy: &policy})
	var attempt int32
	err := workflow.ExecuteActivity(ctx, "flaky", failures).Get(ctx, &attempt)
	return attempt, err
}

var _ = scenario("activity retries until it succeeds", func(e *env) {
	w := e.work(named{"retrying": retrying}, named{"flaky": flaky})
	defer w.Stop()
	run := e.start("retrying", 3, quickRetry)
	check(result[int32](e, run) >= 4, "too few attempts")
	started := e.history(run).one(enumspb.EVENT_TYPE_ACTIVITY_TASK_STARTED).GetActivityTaskStartedEventAttributes()
	if e.calm {
		equal(started.Attempt, int32(4))
		equal(started.LastFailure.Message, "attempt 3")
		equal(started.LastFailure.GetApplicationFailureInfo().Type, "Flaky")
	}
})

var _ = scenario("activity runs out of attempts", func(e *env) {
	w := e.work(named{"retrying": retrying}, named{"flaky": flaky})
	defer w.Stop()
	run := e.start("retrying", 99, temporal.RetryPolicy{InitialInterval: 20 * time.Millisecond, MaximumAttempts: 3})
	activityError := as[*temporal.ActivityError](e.failure(run))
	equal(activityError.RetryState(), enumspb.RETRY_STATE_MAXIMUM_ATTEMPTS_REACHED)
	if e.calm {
		cause := as[*temporal.ApplicationError](activityError)
		equal(cause.Message(), "attempt 3")
		var attempt int
		must(cause.Details(&attempt))
		equal(attempt, 3)
	}
})

var _ = scenario("activity failure of a type not to retry", func(e *env) {
	w := e.work(named{"retrying": retrying}, named{"flaky": flaky})
	defer w.Stop()
	policy := quickRetry
	policy.NonRetryableErrorTypes = []string{"Flaky"}
	run := e.start("retrying", 99, policy)
	equal(as[*temporal.ActivityError](e.failure(run)).RetryState(), enumspb.RETRY_STATE_NON_RETRYABLE_FAILURE)
	failed := e.history(run).one(enumspb.EVENT_TYPE_ACTIVITY_TASK_FAILED).GetActivityTaskFailedEventAttributes()
	equal(failed.Failure.GetApplicationFailureInfo().Type, "Flaky")
})

var _ = scenario("activity failure with causes and details", func(e *env) {
	hopeless := func(context.Context) error {
		root := errors.New("the root")
		middle := temporal.NewApplicationErrorWithCause("the middle", "Middle", root)
		return temporal.NewNonRetryableApplicationError("the end", "End", middle, "first detail", 2)
	}
	examine := func(ctx workflow.Context) (string, error) {
		err := workflow.ExecuteActivity(patient(ctx), "hopeless").Get(ctx, nil)
		end := as[*temporal.ApplicationError](err)
		var first string
		var second int
		if err := end.Details(&first, &second); err != nil {
			return "", err
		}
		middle := as[*temporal.ApplicationError](end.Unwrap())
		root := as[*temporal.ApplicationError](middle.Unwrap())
		told := []string{end.Message(), end.Type(), first, fmt.Sprint(end.NonRetryable(), second), middle.Message(), middle.Type(), root.Message()}
		return strings.Join(told, ", "), nil
	}
	w := e.work(named{"examine": examine}, named{"hopeless": hopeless})
	defer w.Stop()
	equal(result[string](e, e.start("examine")), "the end, End, first detail, true 2, the middle, Middle, the root")
})

var _ = scenario("activity says when to retry", func(e *env) {
	soon := func(ctx context.Context) (int32, error) {
		if activity.GetInfo(ctx).Attempt == 1 {
			options := temporal.ApplicationErrorOptions{NextRetryDelay: 300 * time.Millisecond}
			return 0, temporal.NewApplicationErrorWithOptions("soon again", "Soon", options)
		}
		return activity.GetInfo(ctx).Attempt, nil
	}
	delayed := func(ctx workflow.Context, interval time.Duration) (attempt int32, err error) {
		ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
			StartToCloseTimeout: 5 * time.Second, RetryPolicy: &temporal.RetryPolicy{InitialInterval: interval},
		})
		err = workflow.ExecuteActivity(ctx, "soon").Get(ctx, &attempt)
		return attempt, err
	}
	w := e.work(named{"delayed": delayed}, named{"soon": soon})
	defer w.Stop()
	// By the policy the second attempt would wait for two minutes; not so long when the first may be lost.
	interval := 2 * time.Minute
	if !e.calm {
		interval = 5 * time.Second
	}
	check(result[int32](e, e.start("delayed", interval)) >= 2, "it did not retry")
})

var _ = scenario("activity resumes from its heartbeat", func(e *env) {
	counting := func(ctx context.Context) (string, error) {
		resumed, attempt := 0, activity.GetInfo(ctx).Attempt
		if activity.HasHeartbeatDetails(ctx) {
			must(activity.GetHeartbeatDetails(ctx, &resumed))
		}
		for reached := resumed + 1; reached <= 6; reached++ {
			activity.RecordHeartbeat(ctx, reached)
			if reached == 3 && attempt == 1 {
				return "", errors.New("three is enough for now")
			}
		}
		return fmt.Sprint(attempt, resumed), nil
	}
	count := func(ctx workflow.Context) (told string, err error) {
		ctx = workflow.WithHeartbeatTimeout(patient(ctx), 3*time.Second)
		err = workflow.ExecuteActivity(ctx, "counting").Get(ctx, &told)
		return told, err
	}
	w := e.work(named{"count": count}, named{"counting": counting})
	defer w.Stop()
	told := result[string](e, e.start("count"))
	if e.calm {
		equal(told, "2 3")
	}
})

// An activity that outlives each of its timeouts, until its worker stops.
func stuck(ctx context.Context) error {
	select {
	case <-ctx.Done():
	case <-activity.GetWorkerStopChannel(ctx):
	}
	return ctx.Err()
}

func timesOut(e *env, options workflow.ActivityOptions, attempts int32, kind enumspb.TimeoutType, state enumspb.RetryState) {
	timeouts := func(ctx workflow.Context) error {
		options.RetryPolicy = &temporal.RetryPolicy{InitialInterval: 100 * time.Millisecond, MaximumAttempts: attempts}
		return workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, options), "stuck").Get(ctx, nil)
	}
	w := e.work(named{"timeouts": timeouts}, named{"stuck": stuck})
	defer w.Stop()
	run := e.start("timeouts")
	err := e.failure(run)
	equal(as[*temporal.ActivityError](err).RetryState(), state)
	equal(as[*temporal.TimeoutError](err).TimeoutType(), kind)
	timedOut := e.history(run).one(enumspb.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT).GetActivityTaskTimedOutEventAttributes()
	equal(timedOut.Failure.GetTimeoutFailureInfo().TimeoutType, kind)
	equal(timedOut.RetryState, state)
}

var _ = scenario("activity start-to-close timeout", func(e *env) {
	timesOut(e, workflow.ActivityOptions{StartToCloseTimeout: time.Second}, 1,
		enumspb.TIMEOUT_TYPE_START_TO_CLOSE, enumspb.RETRY_STATE_MAXIMUM_ATTEMPTS_REACHED)
})

var _ = scenario("activity heartbeat timeout", func(e *env) {
	timesOut(e, workflow.ActivityOptions{StartToCloseTimeout: time.Minute, HeartbeatTimeout: time.Second}, 1,
		enumspb.TIMEOUT_TYPE_HEARTBEAT, enumspb.RETRY_STATE_MAXIMUM_ATTEMPTS_REACHED)
})

var _ = scenario("activity schedule-to-start timeout", func(e *env) {
	nobody := workflow.ActivityOptions{
		TaskQueue: e.id("nobody"), StartToCloseTimeout: time.Minute, ScheduleToStartTimeout: time.Second,
	}
	timesOut(e, nobody, 1, enumspb.TIMEOUT_TYPE_SCHEDULE_TO_START, enumspb.RETRY_STATE_TIMEOUT)
})

var _ = scenario("activity schedule-to-close timeout", func(e *env) {
	// The second attempt is running when the time for all of them is over.
	options := workflow.ActivityOptions{StartToCloseTimeout: 1200 * time.Millisecond, ScheduleToCloseTimeout: 2 * time.Second}
	timesOut(e, options, 0, enumspb.TIMEOUT_TYPE_SCHEDULE_TO_CLOSE, enumspb.RETRY_STATE_TIMEOUT)
})

func square(_ context.Context, number int) (int, error) { return number * number, nil }

var _ = scenario("two hundred activities at once", func(e *env) {
	many := func(ctx workflow.Context, count int) (int, error) {
		ctx = patient(ctx)
		futures := []workflow.Future{}
		for number := range count {
			futures = append(futures, workflow.ExecuteActivity(ctx, "square", number))
		}
		sum := 0
		for _, future := range futures {
			var one int
			if err := future.Get(ctx, &one); err != nil {
				return 0, err
			}
			sum += one
		}
		return sum, nil
	}
	w := e.work(named{"many": many}, named{"square": square})
	defer w.Stop()
	run := e.start("many", 200)
	equal(result[int](e, run), 199*200*399/6)
	equal(len(e.history(run).all(enumspb.EVENT_TYPE_ACTIVITY_TASK_COMPLETED)), 200)
})

var _ = scenario("local activities leave markers", func(e *env) {
	local := func(ctx workflow.Context) (string, error) {
		ctx = workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{
			StartToCloseTimeout: 5 * time.Second, RetryPolicy: &quickRetry, Summary: "here and now",
		})
		var squared int
		if err := workflow.ExecuteLocalActivity(ctx, square, 7).Get(ctx, &squared); err != nil {
			return "", err
		}
		var attempt int32
		if err := workflow.ExecuteLocalActivity(ctx, flaky, int32(2)).Get(ctx, &attempt); err != nil {
			return "", err
		}
		hopeless := func(context.Context) error { return temporal.NewNonRetryableApplicationError("no", "Never", nil) }
		err := workflow.ExecuteLocalActivity(ctx, hopeless).Get(ctx, nil)
		return fmt.Sprint(squared, attempt, as[*temporal.ApplicationError](err).Type()), nil
	}
	w := e.work(named{"local": local}, named{})
	defer w.Stop()
	run := e.start("local")
	equal(result[string](e, run), "49 3Never")
	events := e.history(run)
	markers := events.all(enumspb.EVENT_TYPE_MARKER_RECORDED)
	equal(len(markers), 3)
	for _, marker := range markers {
		equal(marker.GetMarkerRecordedEventAttributes().MarkerName, "LocalActivity")
	}
	check(!strings.Contains(events.kinds(), "ActivityTask"), "a local activity went to the server: %s", events.kinds())
})

var _ = scenario("long local activity keeps its workflow task alive", func(e *env) {
	slow := func(context.Context) (string, error) {
		time.Sleep(10 * time.Second)
		return "slow", nil
	}
	local := func(ctx workflow.Context) (told string, err error) {
		ctx = workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{StartToCloseTimeout: 20 * time.Second})
		err = workflow.ExecuteLocalActivity(ctx, slow).Get(ctx, &told)
		return told, err
	}
	w := e.work(named{"local": local}, named{})
	defer w.Stop()
	// With a task timeout of 10 s the worker has to ask for new tasks until the activity is over.
	run := e.startWith(startOptions{WorkflowTaskTimeout: 10 * time.Second}, "local")
	equal(result[string](e, run), "slow")
	events := e.history(run)
	check(len(events.all(enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED)) >= 2, "no heartbeat: %s", events.kinds())
	if e.calm {
		equal(len(events.all(enumspb.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT)), 0)
	}
})

var _ = scenario("activities completed from outside", func(e *env) {
	var tokens sync.Map
	pending := func(ctx context.Context) (string, error) {
		tokens.Store(activity.GetInfo(ctx).ActivityID, activity.GetInfo(ctx).TaskToken)
		return "", activity.ErrResultPending
	}
	asynchronous := func(ctx workflow.Context) (string, error) {
		options := workflow.ActivityOptions{
			StartToCloseTimeout: 10 * time.Second, HeartbeatTimeout: 6 * time.Second, RetryPolicy: &quickRetry,
		}
		told := []string{}
		for _, id := range []string{"first", "second", "third"} {
			options.ActivityID = id
			var one string
			if err := workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, options), "pending").Get(ctx, &one); err != nil {
				one = as[*temporal.ApplicationError](err).Message()
			}
			told = append(told, one)
		}
		return strings.Join(told, ", "), nil
	}
	w := e.work(named{"asynchronous": asynchronous}, named{"pending": pending})
	defer w.Stop()
	run := e.start("asynchronous")
	started := func(id string) []byte {
		var token any
		eventually(id+" has started", func() (there bool) {
			token, there = tokens.Load(id)
			return there && len(pendingActivities(e, run)) == 1 && pendingActivities(e, run)[0].State == enumspb.PENDING_ACTIVITY_STATE_STARTED
		})
		return token.([]byte)
	}
	token := started("first")
	must(e.client.RecordActivityHeartbeat(e.ctx, token, "halfway"))
	must(e.client.CompleteActivity(e.ctx, token, "by token", nil))
	started("second")
	must(e.client.RecordActivityHeartbeatByID(e.ctx, "default", run.GetID(), "", "second", "nearly"))
	must(e.client.CompleteActivityByID(e.ctx, "default", run.GetID(), "", "second", "by id", nil))
	started("third")
	no := temporal.NewNonRetryableApplicationError("from outside", "Outside", nil)
	must(e.client.CompleteActivityByID(e.ctx, "default", run.GetID(), "", "third", nil, no))
	equal(result[string](e, run), "by token, by id, from outside")
})

func pendingActivities(e *env, run interface {
	GetID() string
	GetRunID() string
}) []*workflowpb.PendingActivityInfo {
	description, err := e.client.DescribeWorkflowExecution(e.ctx, run.GetID(), run.GetRunID())
	must(err)
	return description.PendingActivities
}

var _ = scenario("pending activity is described", func(e *env) {
	w := e.work(named{"retrying": retrying}, named{"flaky": flaky})
	defer w.Stop()
	run := e.start("retrying", 99, temporal.RetryPolicy{InitialInterval: 20 * time.Second, MaximumAttempts: 7})
	eventually("the activity waits for its next attempt", func() bool {
		pending := pendingActivities(e, run)
		return len(pending) == 1 && pending[0].LastFailure != nil
	})
	pending := pendingActivities(e, run)[0]
	equal(pending.ActivityType.Name, "flaky")
	equal(pending.State, enumspb.PENDING_ACTIVITY_STATE_SCHEDULED)
	equal(pending.MaximumAttempts, int32(7))
	if e.calm {
		equal(pending.Attempt, int32(2))
		equal(pending.LastFailure.Message, "attempt 1")
		wait := pending.NextAttemptScheduleTime.AsTime().Sub(pending.LastAttemptCompleteTime.AsTime())
		equal(wait.Round(time.Second), 20*time.Second)
	}
	e.terminate(run, "seen enough")
	closed := e.history(run).one(enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED)
	equal(closed.GetWorkflowExecutionTerminatedEventAttributes().Reason, "seen enough")
})

// An activity that beats until it hears of its cancellation, then accepts it or goes on to its end.
func untilCancelled(ctx context.Context, accept bool) (string, error) {
	for {
		select {
		case <-ctx.Done():
			if accept {
				return "", ctx.Err()
			}
			return "finished all the same", nil
		case <-time.After(50 * time.Millisecond):
			activity.RecordHeartbeat(ctx)
		}
	}
}

func cancelsActivity(ctx workflow.Context, wait, accept bool) (string, error) {
	ctx, cancel := workflow.WithCancel(ctx)
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: 20 * time.Second, HeartbeatTimeout: 10 * time.Second, WaitForCancellation: wait, RetryPolicy: &quickRetry,
	})
	future := workflow.ExecuteActivity(ctx, "until cancelled", accept)
	workflow.GetSignalChannel(ctx, "cancel").Receive(ctx, nil)
	cancel()
	var told string
	err := future.Get(ctx, &told)
	if temporal.IsCanceledError(err) {
		return "cancelled", nil
	}
	return told, err
}

func cancelActivity(e *env, wait, accept bool) (string, history) {
	// The worker hears of the cancellation by its next heartbeat. It gives an activity up when no heartbeat gets
	// through for the time between two: while nodes are killed that must be longer than an election.
	often := workerOptions{}
	if e.calm {
		often.MaxHeartbeatThrottleInterval = 200 * time.Millisecond
	}
	w := e.workWith(often, e.queue, named{"cancels activity": cancelsActivity}, named{"until cancelled": untilCancelled})
	defer w.Stop()
	run := e.start("cancels activity", wait, accept)
	var pending []*workflowpb.PendingActivityInfo
	defer func() {
		if reason := recover(); reason != nil {
			panic(fmt.Sprint(reason, "; pending: ", pending))
		}
	}()
	eventually("the activity beats", func() bool {
		pending = pendingActivities(e, run)
		return len(pending) == 1 && pending[0].LastHeartbeatTime != nil
	})
	e.signal(run, "cancel", nil)
	told := result[string](e, run)
	return told, e.history(run)
}

var _ = scenario("cancellation of an activity that is not waited for", func(e *env) {
	told, events := cancelActivity(e, false, true)
	equal(told, "cancelled")
	events.one(enumspb.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED)
})

var _ = scenario("cancellation of an activity that accepts it", func(e *env) {
	told, events := cancelActivity(e, true, true)
	equal(told, "cancelled")
	requested := events.one(enumspb.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED).EventId
	check(requested < events.one(enumspb.EVENT_TYPE_ACTIVITY_TASK_CANCELED).EventId, "wrong order: %s", events.kinds())
})

var _ = scenario("cancellation of an activity that finishes all the same", func(e *env) {
	told, events := cancelActivity(e, true, false)
	equal(told, "finished all the same")
	equal(len(events.all(enumspb.EVENT_TYPE_ACTIVITY_TASK_CANCELED)), 0)
})

var _ = scenario("activity waits for its queue", func(e *env) {
	unserved := func(ctx workflow.Context, queue string) (told int, err error) {
		ctx = workflow.WithTaskQueue(patient(ctx), queue)
		err = workflow.ExecuteActivity(ctx, "square", 3).Get(ctx, &told)
		return told, err
	}
	w := e.work(named{"unserved": unserved}, nil)
	defer w.Stop()
	run := e.start("unserved", e.id("later"))
	e.until(run, enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED, 1)
	later := e.workWith(workerOptions{}, e.id("later"), nil, named{"square": square})
	defer later.Stop()
	equal(result[int](e, run), 9)
})
