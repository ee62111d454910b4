package main

// Updates: accepted, rejected, waited for, repeated, with start, and on workflows that close.

import (
	"context"
	"fmt"
	"sync"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

func account(ctx workflow.Context) (int, error) {
	balance, released := 0, false
	must(workflow.SetQueryHandler(ctx, "balance", func() (int, error) { return balance, nil }))
	must(workflow.SetUpdateHandlerWithOptions(ctx, "deposit", func(_ workflow.Context, amount int) (int, error) {
		balance += amount
		return balance, nil
	}, workflow.UpdateHandlerOptions{Validator: func(amount int) error {
		if amount <= 0 {
			return temporal.NewApplicationError("only positive amounts", "BadAmount")
		}
		return nil
	}}))
	must(workflow.SetUpdateHandler(ctx, "deposit with approval", func(ctx workflow.Context, amount int) (string, error) {
		var told string
		if err := workflow.ExecuteActivity(patient(ctx), "approve", amount).Get(ctx, &told); err != nil {
			return "", err
		}
		if err := workflow.Sleep(ctx, 50*time.Millisecond); err != nil {
			return "", err
		}
		balance += amount
		return told, nil
	}))
	must(workflow.SetUpdateHandler(ctx, "when released", func(ctx workflow.Context) (string, error) {
		err := workflow.Await(ctx, func() bool { return released })
		return "released", err
	}))
	must(workflow.SetUpdateHandlerWithOptions(ctx, "never", func(ctx workflow.Context) error {
		return workflow.Await(ctx, func() bool { return false })
	}, workflow.UpdateHandlerOptions{UnfinishedPolicy: workflow.HandlerUnfinishedPolicyAbandon}))
	must(workflow.SetUpdateHandler(ctx, "fail", func(workflow.Context) error {
		return temporal.NewApplicationError("accepted, then failed", "Later", "detail")
	}))
	workflow.Go(ctx, func(ctx workflow.Context) {
		workflow.GetSignalChannel(ctx, "release").Receive(ctx, nil)
		released = true
	})
	workflow.GetSignalChannel(ctx, "close").Receive(ctx, nil)
	return balance, nil
}

func approve(_ context.Context, amount int) (string, error) {
	return fmt.Sprint("approved ", amount), nil
}

func (e *env) update(id, run, name string, args ...any) client.WorkflowUpdateHandle {
	return e.updateTo(client.WorkflowUpdateStageAccepted, id, run, name, args...)
}

func (e *env) updateTo(stage client.WorkflowUpdateStage, id, updateID, name string, args ...any) client.WorkflowUpdateHandle {
	handle, err := e.client.UpdateWorkflow(e.ctx, client.UpdateWorkflowOptions{
		WorkflowID: id, UpdateID: updateID, UpdateName: name, Args: args, WaitForStage: stage,
	})
	must(err)
	return handle
}

func outcome[T any](e *env, handle client.WorkflowUpdateHandle) T {
	var value T
	must(handle.Get(e.ctx, &value))
	return value
}

var _ = scenario("update returns a result", func(e *env) {
	w := e.work(named{"account": account}, nil)
	defer w.Stop()
	run := e.start("account")
	equal(outcome[int](e, e.updateTo(client.WorkflowUpdateStageCompleted, run.GetID(), "", "deposit", 10)), 10)
	equal(outcome[int](e, e.update(run.GetID(), "", "deposit", 5)), 15)
	equal(query[int](e, run, "balance"), 15)
	e.signal(run, "close", nil)
	equal(result[int](e, run), 15)
	events := e.history(run)
	equal(len(events.all(enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED)), 2)
	equal(len(events.all(enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_COMPLETED)), 2)
})

var _ = scenario("update is rejected by its validator", func(e *env) {
	w := e.work(named{"account": account}, nil)
	defer w.Stop()
	run := e.start("account")
	e.until(run, enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED, 1)
	before := len(e.history(run))
	for range 3 {
		err := e.updateTo(client.WorkflowUpdateStageCompleted, run.GetID(), "", "deposit", 0).Get(e.ctx, nil)
		equal(as[*temporal.ApplicationError](err).Type(), "BadAmount")
	}
	// A rejection leaves nothing behind.
	if e.calm {
		equal(len(e.history(run)), before)
	}
	equal(outcome[int](e, e.update(run.GetID(), "", "deposit", 1)), 1)
	e.signal(run, "close", nil)
	equal(result[int](e, run), 1)
})

var _ = scenario("update fails after it was accepted", func(e *env) {
	w := e.work(named{"account": account}, nil)
	defer w.Stop()
	run := e.start("account")
	err := e.update(run.GetID(), "", "fail").Get(e.ctx, nil)
	failed := as[*temporal.ApplicationError](err)
	equal(failed.Message(), "accepted, then failed")
	var detail string
	must(failed.Details(&detail))
	equal(detail, "detail")
	err = e.update(run.GetID(), "", "unheard of").Get(e.ctx, nil)
	check(err != nil, "nobody knows this update, and it worked")
	e.signal(run, "close", nil)
	result[int](e, run)
})

var _ = scenario("update is accepted now and completed later", func(e *env) {
	w := e.work(named{"account": account}, nil)
	defer w.Stop()
	run := e.start("account")
	update := e.update(run.GetID(), "", "when released")
	again := e.client.GetWorkflowUpdateHandle(client.GetWorkflowUpdateHandleOptions{
		WorkflowID: run.GetID(), RunID: run.GetRunID(), UpdateID: update.UpdateID(),
	})
	e.signal(run, "release", nil)
	equal(outcome[string](e, update), "released")
	equal(outcome[string](e, again), "released")
	e.signal(run, "close", nil)
	result[int](e, run)
	// The outcome outlives the workflow.
	equal(outcome[string](e, again), "released")
})

var _ = scenario("updates side by side with activities", func(e *env) {
	w := e.work(named{"account": account}, named{"approve": approve})
	defer w.Stop()
	run := e.start("account")
	var all sync.WaitGroup
	answers := make([]string, 8)
	errs := make(chan error, 8)
	for number := range 8 {
		all.Add(1)
		go func() {
			defer all.Done()
			handle, err := e.client.UpdateWorkflow(e.ctx, client.UpdateWorkflowOptions{
				WorkflowID: run.GetID(), UpdateName: "deposit with approval", Args: []any{number + 1},
				WaitForStage: client.WorkflowUpdateStageAccepted,
			})
			if err == nil {
				err = handle.Get(e.ctx, &answers[number])
			}
			errs <- err
		}()
	}
	all.Wait()
	for number := range 8 {
		must(<-errs)
		equal(answers[number], fmt.Sprint("approved ", number+1))
	}
	e.signal(run, "close", nil)
	equal(result[int](e, run), 36)
})

var _ = scenario("update is repeated by its id", func(e *env) {
	w := e.work(named{"account": account}, nil)
	defer w.Stop()
	run := e.start("account")
	equal(outcome[int](e, e.update(run.GetID(), "the one", "deposit", 10)), 10)
	equal(outcome[int](e, e.update(run.GetID(), "the one", "deposit", 10)), 10)
	equal(outcome[int](e, e.update(run.GetID(), "another", "deposit", 10)), 20)
	e.signal(run, "close", nil)
	equal(result[int](e, run), 20)
})

var _ = scenario("update waits for a worker", func(e *env) {
	run := e.start("account")
	answer := make(chan int, 1)
	errs := make(chan error, 1)
	go func() {
		handle, err := e.client.UpdateWorkflow(e.ctx, client.UpdateWorkflowOptions{
			WorkflowID: run.GetID(), UpdateName: "deposit", Args: []any{7}, WaitForStage: client.WorkflowUpdateStageCompleted,
		})
		value := 0
		if err == nil {
			err = handle.Get(e.ctx, &value)
		}
		errs <- err
		answer <- value
	}()
	select {
	case err := <-errs:
		panic(fmt.Sprint("nobody works, and yet it was answered: ", err))
	case <-time.After(300 * time.Millisecond):
	}
	w := e.work(named{"account": account}, nil)
	defer w.Stop()
	must(<-errs)
	equal(<-answer, 7)
	e.signal(run, "close", nil)
	equal(result[int](e, run), 7)
})

var _ = scenario("update of a closed workflow", func(e *env) {
	w := e.work(named{"account": account}, nil)
	defer w.Stop()
	run := e.start("account")
	e.signal(run, "close", nil)
	result[int](e, run)
	_, err := e.client.UpdateWorkflow(e.ctx, client.UpdateWorkflowOptions{
		WorkflowID: run.GetID(), UpdateName: "deposit", Args: []any{1}, WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	as[*serviceerror.NotFound](err)
})

var _ = scenario("workflow closes on an accepted update", func(e *env) {
	w := e.work(named{"account": account}, nil)
	defer w.Stop()
	run := e.start("account")
	update := e.update(run.GetID(), "", "never")
	e.signal(run, "close", nil)
	equal(result[int](e, run), 0)
	equal(as[*temporal.ApplicationError](update.Get(e.ctx, nil)).Type(), "AcceptedUpdateCompletedWorkflow")
})

var _ = scenario("update with start", func(e *env) {
	w := e.work(named{"account": account}, nil)
	defer w.Stop()
	updateWithStart := func(policy enumspb.WorkflowIdConflictPolicy, amount int) (client.WorkflowRun, int, error) {
		start := e.client.NewWithStartWorkflowOperation(
			startOptions{ID: e.unique, TaskQueue: e.queue, WorkflowIDConflictPolicy: policy}, "account")
		handle, err := e.client.UpdateWithStartWorkflow(e.ctx, client.UpdateWithStartWorkflowOptions{
			StartWorkflowOperation: start,
			UpdateOptions: client.UpdateWorkflowOptions{
				WorkflowID: e.unique, UpdateName: "deposit", Args: []any{amount}, WaitForStage: client.WorkflowUpdateStageCompleted,
			},
		})
		if err != nil {
			return nil, 0, err
		}
		run, err := start.Get(e.ctx)
		must(err)
		value := 0
		err = handle.Get(e.ctx, &value)
		return run, value, err
	}
	existing := enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING
	run, value, err := updateWithStart(existing, 3)
	must(err)
	equal(value, 3)
	e.track(run)
	same, value, err := updateWithStart(existing, 4)
	must(err)
	equal(value, 7)
	equal(same.GetRunID(), run.GetRunID())
	_, _, err = updateWithStart(existing, -4)
	equal(as[*temporal.ApplicationError](err).Type(), "BadAmount")
	_, _, err = updateWithStart(enumspb.WORKFLOW_ID_CONFLICT_POLICY_FAIL, 4)
	as[*serviceerror.WorkflowExecutionAlreadyStarted](err)
	e.signal(run, "close", nil)
	equal(result[int](e, run), 7)
})
