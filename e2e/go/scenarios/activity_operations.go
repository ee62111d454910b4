package main

// What an operator does to a pending activity: pause, unpause, reset, other options.

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	activitypb "go.temporal.io/api/activity/v1"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

// A workflow with one activity that fails until it is healed.
type ward struct {
	healed   atomic.Bool
	attempts atomic.Int64
	run      client.WorkflowRun
	stop     func()
}

func (e *env) ward(interval time.Duration) *ward {
	w := &ward{}
	ailing := func(ctx context.Context) (int32, error) {
		w.attempts.Add(1)
		if !w.healed.Load() {
			return 0, errors.New("not healed yet")
		}
		return activity.GetInfo(ctx).Attempt, nil
	}
	caring := func(ctx workflow.Context) (attempt int32, err error) {
		ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
			ActivityID: "patient", StartToCloseTimeout: 5 * time.Second,
			RetryPolicy: &temporal.RetryPolicy{InitialInterval: interval, BackoffCoefficient: 1},
		})
		err = workflow.ExecuteActivity(ctx, "ailing").Get(ctx, &attempt)
		return attempt, err
	}
	w.stop = e.work(named{"caring": caring}, named{"ailing": ailing}).Stop
	w.run = e.start("caring")
	return w
}

func (e *env) untilPending(w *ward, condition func(*workflowpb.PendingActivityInfo) bool) {
	eventually("the activity is as expected", func() bool {
		pending := pendingActivities(e, w.run)
		return len(pending) == 1 && condition(pending[0])
	})
}

func (w *ward) execution() *commonpb.WorkflowExecution {
	return &commonpb.WorkflowExecution{WorkflowId: w.run.GetID()}
}

var _ = scenario("activity is paused and unpaused", func(e *env) {
	w := e.ward(100 * time.Millisecond)
	defer w.stop()
	e.untilPending(w, func(one *workflowpb.PendingActivityInfo) bool { return one.Attempt >= 2 })
	service := e.client.WorkflowService()
	e.repeated(func() error {
		_, err := service.PauseActivity(e.ctx, &workflowservice.PauseActivityRequest{
			Namespace: "default", Execution: w.execution(), Identity: "operator", Reason: "to look at it",
			Activity: &workflowservice.PauseActivityRequest_Id{Id: "patient"}, RequestId: "pause",
		})
		return err
	})
	e.untilPending(w, func(one *workflowpb.PendingActivityInfo) bool {
		return one.Paused && one.State == enumspb.PENDING_ACTIVITY_STATE_PAUSED
	})
	manual := pendingActivities(e, w.run)[0].PauseInfo.GetManual()
	equal(manual.Identity+": "+manual.Reason, "operator: to look at it")
	before := w.attempts.Load()
	time.Sleep(500 * time.Millisecond)
	check(w.attempts.Load() == before || !e.calm, "it goes on though it is paused")
	w.healed.Store(true)
	e.repeated(func() error {
		_, err := service.UnpauseActivity(e.ctx, &workflowservice.UnpauseActivityRequest{
			Namespace: "default", Execution: w.execution(), Identity: "operator",
			Activity: &workflowservice.UnpauseActivityRequest_Id{Id: "patient"},
		})
		return err
	})
	check(result[int32](e, w.run) >= 2, "too few attempts")
})

var _ = scenario("activity is reset", func(e *env) {
	// The second attempt would come in an hour.
	w := e.ward(time.Hour)
	defer w.stop()
	e.untilPending(w, func(one *workflowpb.PendingActivityInfo) bool { return one.Attempt == 2 })
	w.healed.Store(true)
	e.repeated(func() error {
		_, err := e.client.WorkflowService().ResetActivity(e.ctx, &workflowservice.ResetActivityRequest{
			Namespace: "default", Execution: w.execution(), Identity: "operator",
			Activity: &workflowservice.ResetActivityRequest_Id{Id: "patient"},
		})
		return err
	})
	attempt := result[int32](e, w.run)
	if e.calm {
		equal(attempt, int32(1))
	}
})

var _ = scenario("activity gets other options", func(e *env) {
	w := e.ward(time.Hour)
	defer w.stop()
	e.untilPending(w, func(one *workflowpb.PendingActivityInfo) bool { return one.Attempt == 2 })
	w.healed.Store(true)
	var response *workflowservice.UpdateActivityOptionsResponse
	e.repeated(func() (err error) {
		response, err = e.client.WorkflowService().UpdateActivityOptions(e.ctx, &workflowservice.UpdateActivityOptionsRequest{
			Namespace: "default", Execution: w.execution(), Identity: "operator",
			Activity: &workflowservice.UpdateActivityOptionsRequest_Id{Id: "patient"},
			ActivityOptions: &activitypb.ActivityOptions{
				StartToCloseTimeout: durationpb.New(9 * time.Second),
				RetryPolicy:         &commonpb.RetryPolicy{InitialInterval: durationpb.New(100 * time.Millisecond)},
			},
			UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"retry_policy.initial_interval", "start_to_close_timeout"}},
		})
		return err
	})
	equal(response.ActivityOptions.StartToCloseTimeout.AsDuration(), 9*time.Second)
	check(result[int32](e, w.run) >= 2, "too few attempts")
})
