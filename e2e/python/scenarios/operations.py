"""What an operator does to a workflow: reset it, delete it, pause it."""

import asyncio
import random
from typing import Any

from temporalio import activity, workflow
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import (
    DeleteWorkflowExecutionRequest,
    PauseWorkflowExecutionRequest,
    ResetWorkflowExecutionRequest,
    UnpauseWorkflowExecutionRequest,
)
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError, TerminatedError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.workflow import ParentClosePolicy

from harness import PATIENT, Env, all_of, eventually, kind, kinds, one_of, scenario

WORLD: dict[str, int] = {}


@activity.defn
async def measure() -> int:
    """What it finds changes: that is why one resets workflows."""
    name = activity.info().workflow_id or ""
    WORLD[name] = WORLD.get(name, 0) + 1
    return WORLD[name]


@workflow.defn
class Survey:
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.go = False

    @workflow.run
    async def run(self) -> dict[str, Any]:
        first = await workflow.execute_activity(measure, **PATIENT)
        await workflow.wait_condition(lambda: self.go)
        second = await workflow.execute_activity(measure, **PATIENT)
        return {"grew": second > first, "first": first, "notes": self.notes}

    @workflow.signal
    def note(self, text: str) -> None:
        self.notes.append(text)

    @workflow.signal
    def proceed(self) -> None:
        self.go = True


async def reset(env: Env, handle: WorkflowHandle, event_id: int, **options: Any) -> WorkflowHandle:
    answer = await env.client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace="default",
            workflow_execution=WorkflowExecution(workflow_id=handle.id, run_id=handle.result_run_id or ""),
            workflow_task_finish_event_id=event_id,
            reason="measured badly",
            request_id=f"reset-{event_id}",
            **options,
        ),
        retry=True,
    )
    other = env.client.get_workflow_handle_for(Survey.run, handle.id, run_id=answer.run_id)
    return env.track(other)


@scenario
async def reset_of_a_running_workflow(env: Env) -> None:
    async with env.worker([Survey], [measure]):
        handle = await env.start(Survey.run)
        history = await env.until(handle, "WorkflowTaskCompleted", 2)
        await handle.signal(Survey.note, "kept")
        first_task = next(event.event_id for event in history.events if kind(event) == "WorkflowTaskCompleted")
        again = await reset(env, handle, first_task)
        assert again.run_id != handle.result_run_id
        await env.client.get_workflow_handle(handle.id).signal(Survey.proceed)
        result = await again.result()
        # The first measurement was made again, and the signal was not lost.
        assert result["notes"] == ["kept"] and result["grew"] and result["first"] >= 2, result
        try:
            await env.client.get_workflow_handle(handle.id, run_id=handle.result_run_id).result(follow_runs=False)
            raise AssertionError("the old run went on")
        except WorkflowFailureError as error:
            assert isinstance(error.cause, TerminatedError)
    history = await env.history_of(handle.id, again.run_id)
    failed = all_of(history, "WorkflowTaskFailed")[0]
    assert failed.cause == 20 and failed.base_run_id == handle.result_run_id
    assert failed.new_run_id == again.run_id


@scenario
async def reset_of_a_closed_workflow(env: Env) -> None:
    async with env.worker([Survey], [measure]):
        handle = await env.start(Survey.run)
        await handle.signal(Survey.proceed)
        assert (await handle.result())["grew"]
        history = await env.history(handle)
        last_task = [event.event_id for event in history.events if kind(event) == "WorkflowTaskCompleted"][-1]
        again = await reset(env, handle, last_task)
        assert (await again.result())["grew"]
        assert (await handle.describe()).status == WorkflowExecutionStatus.COMPLETED
    kept = await env.history_of(handle.id, again.run_id)
    assert [kind(event) for event in kept.events[: last_task - 2]] == kinds(history)[: last_task - 2]


@scenario
async def reset_without_signals(env: Env) -> None:
    async with env.worker([Survey], [measure]):
        handle = await env.start(Survey.run)
        history = await env.until(handle, "WorkflowTaskCompleted", 2)
        await handle.signal(Survey.note, "to be forgotten")
        first_task = next(event.event_id for event in history.events if kind(event) == "WorkflowTaskCompleted")
        again = await reset(env, handle, first_task, reset_reapply_exclude_types=[1])
        await again.signal(Survey.proceed)
        assert (await again.result())["notes"] == []


@scenario
async def deleted_workflow_is_gone(env: Env) -> None:
    async with env.worker([Survey], [measure]):
        handle = await env.start(Survey.run)
        await env.until(handle, "ActivityTaskCompleted")
        await env.client.workflow_service.delete_workflow_execution(
            DeleteWorkflowExecutionRequest(
                namespace="default", workflow_execution=WorkflowExecution(workflow_id=handle.id)
            ),
            retry=True,
        )

        async def gone() -> bool:
            try:
                await handle.describe()
                return False
            except RPCError as error:
                assert error.status == RPCStatusCode.NOT_FOUND, error
                return True

        await eventually(gone)
        env.handles.clear()
        # Its id is free.
        again = await env.start(Survey.run)
        await again.signal(Survey.proceed)
        assert (await again.result())["grew"]
    assert one_of(await env.history(again), "WorkflowExecutionCompleted")


async def pause(env: Env, handle: WorkflowHandle, number: int = 0) -> bool:
    """Whether the run was still open."""
    request = PauseWorkflowExecutionRequest(
        namespace="default", workflow_id=handle.id, request_id=f"{handle.id}-{number}", reason="not now"
    )
    return await was_open(env.client.workflow_service.pause_workflow_execution(request, retry=True))


async def unpause(env: Env, handle: WorkflowHandle) -> None:
    request = UnpauseWorkflowExecutionRequest(namespace="default", workflow_id=handle.id, reason="go on")
    await was_open(env.client.workflow_service.unpause_workflow_execution(request, retry=True))


async def was_open(call: Any) -> bool:
    try:
        await call
        return True
    except RPCError as error:
        # A call whose answer was lost is repeated, and finds the run going on.
        if error.status not in (RPCStatusCode.NOT_FOUND, RPCStatusCode.FAILED_PRECONDITION):
            raise
        return False


@scenario
async def paused_before_any_worker_came(env: Env) -> None:
    """The first task was scheduled and nobody took it: the history must not say that it failed."""
    handle = await env.start(Survey.run)
    assert await pause(env, handle)
    await handle.signal(Survey.note, "while paused")
    await handle.signal(Survey.proceed)
    await unpause(env, handle)
    async with env.worker([Survey], [measure]):
        result = await handle.result()
    assert result["grew"] and result["notes"] == ["while paused"], result
    history = await env.history(handle)
    assert kinds(history).count("WorkflowExecutionPaused") == 1
    assert kinds(history).count("WorkflowExecutionUnpaused") == 1


@scenario
async def paused_again_and_again(env: Env) -> None:
    """Workers are busy, with and without a cache, and operators stop and start the runs at any moment."""
    rng = random.Random(env.unique)
    forgetful = env.worker([Survey], [measure], client=env.client, max_cached_workflows=0)
    async with env.worker([Survey], [measure]), forgetful:
        handles = [await env.start(Survey.run, suffix=str(number)) for number in range(6)]

        async def disturb(handle: WorkflowHandle) -> None:
            for number in range(12):
                await pause(env, handle, number)
                await asyncio.sleep(rng.random() * 0.05)
                await handle.signal(Survey.note, str(number))
                await unpause(env, handle)
                await asyncio.sleep(rng.random() * 0.05)
            await handle.signal(Survey.proceed)

        await asyncio.gather(*(disturb(handle) for handle in handles))
        for handle in handles:
            result = await handle.result()
            assert result["grew"] and len(result["notes"]) == 12, result
    pauses = [kinds(await env.history(handle)).count("WorkflowExecutionPaused") for handle in handles]
    assert all(pauses), pauses


@workflow.defn
class Ward:
    def __init__(self) -> None:
        self.grown = False

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self.grown)
        return "grown"

    @workflow.signal
    def grow(self) -> None:
        self.grown = True


@workflow.defn
class Guardian:
    """Fails when it measures for the first time, and leaves its child behind."""

    @workflow.run
    async def run(self, ward: str) -> str:
        child = await workflow.start_child_workflow(Ward.run, id=ward, parent_close_policy=ParentClosePolicy.ABANDON)
        if await workflow.execute_activity(measure, **PATIENT) == 1:
            raise ApplicationError("measured too little", non_retryable=True)
        return await child


@scenario
async def reset_learns_of_a_child_that_ended_before(env: Env) -> None:
    ward = env.id("ward")
    async with env.worker([Guardian, Ward], [measure]):
        handle = await env.start(Guardian.run, ward)
        try:
            await handle.result()
            # While nodes are killed the measurement may have been made twice.
            assert not env.calm, "the guardian did not fail"
            return
        except WorkflowFailureError as error:
            assert isinstance(error.cause, ApplicationError), error
        child = env.client.get_workflow_handle(ward)
        await child.signal(Ward.grow)
        assert await child.result() == "grown"
        history = await env.history(handle)
        started = next(event.event_id for event in history.events if kind(event) == "ChildWorkflowExecutionStarted")
        point = next(
            event.event_id
            for event in history.events
            if kind(event) == "WorkflowTaskCompleted" and event.event_id > started
        )
        run_id = (await reset(env, handle, point)).run_id
        assert await env.client.get_workflow_handle(handle.id, run_id=run_id).result() == "grown"
    assert one_of(await env.history_of(handle.id, run_id), "ChildWorkflowExecutionCompleted")
