package main

// What an operator does to a workflow: reset it, delete it.

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// A workflow that measures a changing world, waits for a signal and measures again.
func surveying(e *env) (stop func()) {
	var world atomic.Int64
	survey := func(ctx workflow.Context) (string, error) {
		notes := []string{}
		measure := func() (value int64) {
			must(workflow.ExecuteActivity(patient(ctx), "measure").Get(ctx, &value))
			return value
		}
		first := measure()
		for proceed := false; !proceed; {
			selector := workflow.NewSelector(ctx)
			selector.AddReceive(workflow.GetSignalChannel(ctx, "note"), func(channel workflow.ReceiveChannel, _ bool) {
				var note string
				channel.Receive(ctx, &note)
				notes = append(notes, note)
			})
			selector.AddReceive(workflow.GetSignalChannel(ctx, "proceed"), func(channel workflow.ReceiveChannel, _ bool) {
				channel.Receive(ctx, nil)
				proceed = true
			})
			selector.Select(ctx)
		}
		return fmt.Sprint(first > 1, measure() > first, notes), nil
	}
	measure := func(context.Context) (int64, error) { return world.Add(1), nil }
	return e.work(named{"survey": survey}, named{"measure": measure}).Stop
}

func (e *env) reset(run client.WorkflowRun, event int64, exclude ...enumspb.ResetReapplyExcludeType) client.WorkflowRun {
	response, err := e.client.ResetWorkflowExecution(e.ctx, &workflowservice.ResetWorkflowExecutionRequest{
		Namespace:                 "default",
		WorkflowExecution:         &commonpb.WorkflowExecution{WorkflowId: run.GetID(), RunId: run.GetRunID()},
		WorkflowTaskFinishEventId: event,
		Reason:                    "measured badly",
		RequestId:                 "reset",
		ResetReapplyExcludeTypes:  exclude,
	})
	must(err)
	again := e.client.GetWorkflow(e.ctx, run.GetID(), response.RunId)
	e.track(again)
	return again
}

func firstTask(events history) int64 {
	return events.all(enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED)[0].EventId
}

var _ = scenario("reset of a running workflow", func(e *env) {
	defer surveying(e)()
	run := e.start("survey")
	events := e.until(run, enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED, 2)
	e.signal(run, "note", "kept")
	again := e.reset(run, firstTask(events))
	check(again.GetRunID() != run.GetRunID(), "no new run")
	e.signal(again, "proceed", nil)
	// The first measurement was made again, and the signal was not lost.
	equal(result[string](e, again), "true true [kept]")
	as[*temporal.TerminatedError](e.failure(e.client.GetWorkflow(e.ctx, run.GetID(), run.GetRunID())))
	failed := e.history(again).all(enumspb.EVENT_TYPE_WORKFLOW_TASK_FAILED)[0].GetWorkflowTaskFailedEventAttributes()
	equal(failed.Cause, enumspb.WORKFLOW_TASK_FAILED_CAUSE_RESET_WORKFLOW)
	equal(failed.BaseRunId, run.GetRunID())
	equal(failed.NewRunId, again.GetRunID())
})

var _ = scenario("reset of a closed workflow", func(e *env) {
	defer surveying(e)()
	run := e.start("survey")
	e.signal(run, "proceed", nil)
	equal(result[string](e, run), "false true []")
	tasks := e.history(run).all(enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED)
	again := e.reset(run, tasks[len(tasks)-1].EventId)
	equal(result[string](e, again), "false true []")
	description, err := e.client.DescribeWorkflowExecution(e.ctx, run.GetID(), run.GetRunID())
	must(err)
	equal(description.WorkflowExecutionInfo.Status, enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED)
})

var _ = scenario("reset without signals", func(e *env) {
	defer surveying(e)()
	run := e.start("survey")
	events := e.until(run, enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED, 2)
	e.signal(run, "note", "to be forgotten")
	again := e.reset(run, firstTask(events), enumspb.RESET_REAPPLY_EXCLUDE_TYPE_SIGNAL)
	e.signal(again, "proceed", nil)
	equal(result[string](e, again), "true true []")
})

var _ = scenario("deleted workflow is gone", func(e *env) {
	defer surveying(e)()
	run := e.start("survey")
	e.until(run, enumspb.EVENT_TYPE_ACTIVITY_TASK_COMPLETED, 1)
	e.repeated(func() error {
		_, err := e.client.WorkflowService().DeleteWorkflowExecution(e.ctx, &workflowservice.DeleteWorkflowExecutionRequest{
			Namespace: "default", WorkflowExecution: &commonpb.WorkflowExecution{WorkflowId: run.GetID()},
		})
		return err
	})
	eventually("it is gone", func() bool {
		_, err := e.client.DescribeWorkflowExecution(e.ctx, run.GetID(), "")
		var missing *serviceerror.NotFound
		check(err == nil || errors.As(err, &missing), "unexpected: %v", err)
		return err != nil
	})
	e.todo = nil
	// Its id is free.
	again := e.start("survey")
	e.signal(again, "proceed", nil)
	equal(result[string](e, again), "true true []")
})
