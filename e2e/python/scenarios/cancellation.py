"""Cancellation: of workflows, of activities in each of the three ways, and of timers; and what cleans up after it."""

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError
from temporalio.exceptions import ActivityError, CancelledError, is_cancelled_exception
from temporalio.workflow import ActivityCancellationType

from harness import PATIENT, Env, all_of, eventually, kinds, one_of, scenario

CLEANED: list[str] = []


@activity.defn
async def until_cancelled(accept: bool) -> str:
    """Beats until it hears of the cancellation, then accepts it or goes on to its end."""
    try:
        while True:
            activity.heartbeat()
            await asyncio.sleep(0.05)
    except asyncio.CancelledError:
        if accept:
            raise
        return "finished all the same"


@activity.defn
async def clean_up(what: str) -> str:
    CLEANED.append(what)
    return f"cleaned {what}"


@workflow.defn
class CancelActivity:
    @workflow.run
    async def run(self, how: int, accept: bool) -> str:
        running = workflow.start_activity(
            until_cancelled,
            accept,
            start_to_close_timeout=timedelta(seconds=20),
            heartbeat_timeout=timedelta(seconds=10),
            cancellation_type=ActivityCancellationType(how),
            retry_policy=PATIENT["retry_policy"],
        )
        await workflow.wait_condition(lambda: self.told)
        running.cancel()
        try:
            return await running
        except ActivityError as error:
            assert isinstance(error.cause, CancelledError)
            return "cancelled"

    def __init__(self) -> None:
        self.told = False

    @workflow.signal
    def now(self) -> None:
        self.told = True


async def cancel_activity(env: Env, how: ActivityCancellationType, accept: bool) -> tuple[str, list[str]]:
    async with env.worker(
        [CancelActivity],
        [until_cancelled],
        default_heartbeat_throttle_interval=timedelta(milliseconds=100),
        max_heartbeat_throttle_interval=timedelta(milliseconds=100),
    ):
        handle = await env.start(CancelActivity.run, args_of(how), accept)

        async def beating() -> bool:
            pending = (await handle.describe()).raw_description.pending_activities
            return bool(pending) and pending[0].HasField("last_heartbeat_time")

        await eventually(beating)
        await handle.signal(CancelActivity.now)
        result = await handle.result()
    return result, kinds(await env.history(handle))


def args_of(how: ActivityCancellationType) -> int:
    return int(how)


@scenario
async def try_cancel_does_not_wait_for_the_activity(env: Env) -> None:
    result, events = await cancel_activity(env, ActivityCancellationType.TRY_CANCEL, accept=True)
    assert result == "cancelled"
    assert "ActivityTaskCancelRequested" in events


@scenario
async def wait_cancellation_waits_for_the_activity(env: Env) -> None:
    result, events = await cancel_activity(env, ActivityCancellationType.WAIT_CANCELLATION_COMPLETED, accept=True)
    assert result == "cancelled"
    assert events.index("ActivityTaskCancelRequested") < events.index("ActivityTaskCanceled")


@scenario
async def activity_may_finish_in_spite_of_its_cancellation(env: Env) -> None:
    how = ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
    result, events = await cancel_activity(env, how, accept=False)
    assert result == "finished all the same"
    assert "ActivityTaskCanceled" not in events and "ActivityTaskCompleted" in events


@scenario
async def abandoned_activity_hears_nothing(env: Env) -> None:
    result, events = await cancel_activity(env, ActivityCancellationType.ABANDON, accept=True)
    assert result == "cancelled"
    assert "ActivityTaskCancelRequested" not in events and "ActivityTaskCanceled" not in events


@workflow.defn
class NeverStarted:
    @workflow.run
    async def run(self, nobody: str) -> str:
        waiting = workflow.start_activity(
            clean_up,
            "nothing",
            task_queue=nobody,
            start_to_close_timeout=timedelta(seconds=20),
            cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )
        await workflow.sleep(0.1)
        waiting.cancel()
        try:
            return await waiting
        except ActivityError as error:
            return type(error.cause).__name__


@scenario
async def activity_cancelled_before_it_starts(env: Env) -> None:
    async with env.worker([NeverStarted]):
        handle = await env.start(NeverStarted.run, env.id("nobody"))
        assert await handle.result() == "CancelledError"
    history = await env.history(handle)
    assert one_of(history, "ActivityTaskCanceled").started_event_id == 0
    assert "ActivityTaskStarted" not in kinds(history)


@workflow.defn
class Cleaning:
    @workflow.run
    async def run(self, name: str) -> None:
        try:
            await workflow.sleep(3600)
        except asyncio.CancelledError:
            await asyncio.shield(workflow.execute_activity(clean_up, name, **PATIENT))
            raise


@scenario
async def cancelled_workflow_cleans_up(env: Env) -> None:
    async with env.worker([Cleaning], [clean_up]):
        handle = await env.start(Cleaning.run, env.unique)
        await env.until(handle, "TimerStarted")
        await handle.cancel(reason="enough of it")
        # A second request changes nothing.
        await handle.cancel()
        try:
            await handle.result()
            raise AssertionError("it was not cancelled")
        except WorkflowFailureError as error:
            assert isinstance(error.cause, CancelledError)
        assert (await handle.describe()).status == WorkflowExecutionStatus.CANCELED
        # Nor does a request to a workflow that is closed.
        await handle.cancel()
    assert env.unique in CLEANED
    history = await env.history(handle)
    events = kinds(history)
    assert one_of(history, "WorkflowExecutionCancelRequested").cause == "enough of it"
    assert events[-1] == "WorkflowExecutionCanceled" and "TimerCanceled" in events
    assert events.index("TimerCanceled") < events.index("ActivityTaskScheduled")


@workflow.defn
class Stubborn:
    @workflow.run
    async def run(self) -> str:
        try:
            await workflow.wait_condition(lambda: False)
        except asyncio.CancelledError as error:
            assert is_cancelled_exception(error)
        return f"done; {workflow.cancellation_reason()}"


@scenario
async def workflow_may_complete_in_spite_of_its_cancellation(env: Env) -> None:
    async with env.worker([Stubborn]):
        handle = await env.start(Stubborn.run)
        await env.until(handle, "WorkflowTaskCompleted")
        await handle.cancel(reason="please")
        assert await handle.result() == "done; please"


@scenario
async def workflow_cancelled_before_its_first_task(env: Env) -> None:
    handle = await env.start(Stubborn.run)
    await handle.cancel(reason="early")
    async with env.worker([Stubborn]):
        assert await handle.result() == "done; early"
    history = await env.history(handle)
    assert kinds(history)[:3] == ["WorkflowExecutionStarted", "WorkflowTaskScheduled", "WorkflowExecutionCancelRequested"]


@workflow.defn
class Timers:
    @workflow.run
    async def run(self) -> dict[str, Any]:
        begun = workflow.now()
        order: list[int] = []

        async def nap(number: int, seconds: float) -> None:
            await workflow.sleep(seconds, summary=f"nap {number}")
            order.append(number)

        await asyncio.gather(nap(3, 0.6), nap(1, 0.2), nap(2, 0.4))
        loser = asyncio.create_task(workflow.sleep(3600))
        done, _ = await workflow.wait([loser, asyncio.create_task(nap(4, 0.1))], return_when=asyncio.FIRST_COMPLETED)
        loser.cancel()
        try:
            await workflow.wait_condition(lambda: False, timeout=0.1)
            timed_out = False
        except asyncio.TimeoutError:
            timed_out = True
        await workflow.sleep(0)
        took = (workflow.now() - begun).total_seconds()
        # Timers that are close to each other may fire in any order.
        return {"order": sorted(order), "done": len(done), "timed_out": timed_out, "took": took}


@scenario
async def timers_never_fire_early(env: Env) -> None:
    async with env.worker([Timers]):
        handle = await env.start(Timers.run)
        result = await handle.result()
    took = result.pop("took")
    assert result == {"order": [1, 2, 3, 4], "done": 1, "timed_out": True}
    assert took >= 0.8
    history = await env.history(handle)
    starts = {event.event_id: event for event in history.events if event.event_type == 17}
    for event in history.events:
        if event.event_type == 18:
            start = starts[event.timer_fired_event_attributes.started_event_id]
            asked = start.timer_started_event_attributes.start_to_fire_timeout.ToTimedelta()
            assert event.event_time.ToDatetime() - start.event_time.ToDatetime() >= asked
    assert len(all_of(history, "TimerCanceled")) == 1
