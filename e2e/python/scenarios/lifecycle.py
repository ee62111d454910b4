"""How workflows begin and end: starts with their policies, runs that follow runs, timeouts, termination."""

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError
from temporalio.common import RetryPolicy, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import (
    ApplicationError,
    TerminatedError,
    TimeoutError,
    TimeoutType,
    WorkflowAlreadyStartedError,
)
from temporalio.service import RPCError, RPCStatusCode

from harness import PATIENT, Env, all_of, eventually, kinds, one_of, scenario, without_tasks


@workflow.defn
class Counter:
    """Counts to a number, one run each, and carries memo and search attributes along."""

    @workflow.run
    async def run(self, reached: int, goal: int) -> dict[str, Any]:
        info = workflow.info()
        if reached < goal:
            workflow.continue_as_new(args=[reached + 1, goal])
        return {
            "reached": reached,
            "memo": dict(workflow.memo()),
            "continued": info.continued_run_id is not None,
            "first": info.first_execution_run_id,
        }


@scenario
async def continue_as_new_carries_the_memo(env: Env) -> None:
    async with env.worker([Counter]):
        handle = await env.start(Counter.run, 0, 3, memo={"colour": "red", "size": 4})
        result = await handle.result()
    assert result == {
        "reached": 3,
        "memo": {"colour": "red", "size": 4},
        "continued": True,
        "first": handle.first_execution_run_id,
    }
    first = await env.history(handle)
    continued = one_of(first, "WorkflowExecutionContinuedAsNew")
    second = await env.history_of(handle.id, continued.new_execution_run_id)
    started = one_of(second, "WorkflowExecutionStarted")
    assert started.continued_execution_run_id == handle.first_execution_run_id
    assert started.first_execution_run_id == handle.first_execution_run_id
    assert started.initiator == 1
    last = await env.history_of(handle.id)
    assert kinds(last)[-1] == "WorkflowExecutionCompleted"


@workflow.defn
class Changed:
    @workflow.run
    async def run(self, stage: int) -> dict[str, Any]:
        if stage == 0:
            workflow.continue_as_new(
                1,
                memo={"colour": "blue"},
                run_timeout=timedelta(seconds=77),
                task_timeout=timedelta(seconds=7),
                retry_policy=RetryPolicy(maximum_attempts=2),
            )
        info = workflow.info()
        policy = info.retry_policy
        return {
            "memo": dict(workflow.memo()),
            "run_timeout": info.run_timeout.total_seconds() if info.run_timeout else None,
            "task_timeout": info.task_timeout.total_seconds(),
            "attempts": policy.maximum_attempts if policy else None,
        }


@scenario
async def continue_as_new_with_changes(env: Env) -> None:
    async with env.worker([Changed]):
        result = await env.execute(Changed.run, 0, memo={"colour": "red"})
    assert result == {"memo": {"colour": "blue"}, "run_timeout": 77.0, "task_timeout": 7.0, "attempts": 2}


@workflow.defn
class Persistent:
    @workflow.run
    async def run(self, succeed_at: int) -> int:
        attempt = workflow.info().attempt
        if attempt < succeed_at:
            raise ApplicationError(f"run {attempt} fails", type="NotYet")
        return attempt


@scenario
async def workflow_retries(env: Env) -> None:
    policy = RetryPolicy(initial_interval=timedelta(milliseconds=100), maximum_attempts=5)
    async with env.worker([Persistent]):
        handle = await env.start(Persistent.run, 3, retry_policy=policy)
        assert await handle.result() == 3
    first = await env.history(handle)
    failed = one_of(first, "WorkflowExecutionFailed")
    assert failed.new_execution_run_id and failed.retry_state == 1
    second = await env.history_of(handle.id, failed.new_execution_run_id)
    started = one_of(second, "WorkflowExecutionStarted")
    assert started.attempt == 2 and started.initiator == 2
    assert started.continued_failure.message == "run 1 fails"
    assert started.first_workflow_task_backoff.ToTimedelta() > timedelta(0)


@scenario
async def workflow_runs_out_of_retries(env: Env) -> None:
    policy = RetryPolicy(
        initial_interval=timedelta(milliseconds=100), maximum_attempts=2, non_retryable_error_types=["Other"]
    )
    async with env.worker([Persistent]):
        handle = await env.start(Persistent.run, 9, retry_policy=policy)
        try:
            await handle.result()
            raise AssertionError("it succeeded")
        except WorkflowFailureError as error:
            assert isinstance(error.cause, ApplicationError)
            assert error.cause.message == "run 2 fails" and error.cause.type == "NotYet"
    last = await env.history_of(handle.id)
    assert one_of(last, "WorkflowExecutionFailed").retry_state == 4


@workflow.defn
class Ticking:
    @workflow.run
    async def run(self) -> int:
        before = workflow.get_last_completion_result(int) if workflow.has_last_completion_result() else 0
        if before == 1 and workflow.get_last_failure() is None:
            raise ApplicationError("the second run fails")
        return (before or 0) + 1


@scenario
async def cron_carries_the_last_result(env: Env) -> None:
    async with env.worker([Ticking]):
        handle = await env.start(Ticking.run, cron_schedule="@every 1s")

        async def third_result() -> Any:
            """The chain is at its fourth run: two succeeded around one that failed."""
            history = await env.history_of(handle.id)
            started = one_of(history, "WorkflowExecutionStarted")
            result = started.last_completion_result.payloads
            return started if result and result[0].data == b"2" else None

        started = await eventually(third_result)
        assert started.cron_schedule == "@every 1s" and started.initiator == 3
        assert not started.HasField("continued_failure")
        await env.terminate(env.client.get_workflow_handle(handle.id), reason="enough ticks")
    first = await env.history(handle)
    assert one_of(first, "WorkflowExecutionStarted").first_workflow_task_backoff.ToTimedelta() > timedelta(0)
    second = await env.history_of(handle.id, one_of(first, "WorkflowExecutionCompleted").new_execution_run_id)
    assert one_of(second, "WorkflowExecutionFailed").failure.message == "the second run fails"


@workflow.defn
class Brief:
    @workflow.run
    async def run(self) -> str:
        return workflow.info().run_id


@scenario
async def start_delay(env: Env) -> None:
    async with env.worker([Brief]):
        handle = await env.start(Brief.run, start_delay=timedelta(seconds=1))
        await handle.result()
    history = await env.history(handle)
    started, scheduled = history.events[0], history.events[1]
    assert one_of(history, "WorkflowExecutionStarted").first_workflow_task_backoff.ToTimedelta() == timedelta(seconds=1)
    assert scheduled.event_time.ToDatetime() - started.event_time.ToDatetime() >= timedelta(seconds=1)


@workflow.defn
class Open:
    def __init__(self) -> None:
        self.answer: str | None = None

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self.answer is not None)
        if self.answer == "fail":
            raise ApplicationError("as told")
        return self.answer or ""

    @workflow.signal
    def finish(self, answer: str) -> None:
        self.answer = answer


@scenario
async def id_while_it_is_running(env: Env) -> None:
    async with env.worker([Open]):
        first = await env.start(Open.run)
        try:
            await env.start(Open.run)
            raise AssertionError("it started twice")
        except WorkflowAlreadyStartedError as error:
            assert error.workflow_id == first.id and error.run_id == first.first_execution_run_id
        same = await env.start(Open.run, id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING)
        assert same.result_run_id == first.result_run_id
        other = await env.start(Open.run, id_conflict_policy=WorkflowIDConflictPolicy.TERMINATE_EXISTING)
        assert other.result_run_id != first.result_run_id
        await other.signal(Open.finish, "over")
        assert await other.result() == "over"
    terminated = one_of(await env.history(first), "WorkflowExecutionTerminated")
    assert terminated.reason == "TerminateIfRunning WorkflowIdReusePolicy"


@scenario
async def id_after_it_has_closed(env: Env) -> None:
    reuse = WorkflowIDReusePolicy
    async with env.worker([Open]):
        first = await env.start(Open.run)
        await first.signal(Open.finish, "fail")
        try:
            await first.result()
            raise AssertionError("it did not fail")
        except WorkflowFailureError:
            pass
        try:
            await env.start(Open.run, id_reuse_policy=reuse.REJECT_DUPLICATE)
            raise AssertionError("the id was used again")
        except WorkflowAlreadyStartedError:
            pass
        second = await env.start(Open.run, id_reuse_policy=reuse.ALLOW_DUPLICATE_FAILED_ONLY)
        await second.signal(Open.finish, "well")
        assert await second.result() == "well"
        try:
            await env.start(Open.run, id_reuse_policy=reuse.ALLOW_DUPLICATE_FAILED_ONLY)
            raise AssertionError("the id of a success was used again")
        except WorkflowAlreadyStartedError:
            pass
        third = await env.start(Open.run, id_reuse_policy=reuse.ALLOW_DUPLICATE)
        await third.signal(Open.finish, "again")
        assert await third.result() == "again"
    assert len({first.result_run_id, second.result_run_id, third.result_run_id}) == 3


@scenario
async def termination_with_details(env: Env) -> None:
    async with env.worker([Open]):
        handle = await env.start(Open.run)
        await env.until(handle, "WorkflowTaskCompleted")
        await env.terminate(handle, "a detail", 2, reason="no longer needed")
        try:
            await handle.result()
            raise AssertionError("it succeeded")
        except WorkflowFailureError as error:
            assert isinstance(error.cause, TerminatedError)
            assert error.cause.message == "no longer needed"
            assert list(error.cause.details) == ["a detail", 2]
        try:
            await handle.terminate()
            raise AssertionError("it was terminated twice")
        except RPCError as error:
            assert error.status == RPCStatusCode.NOT_FOUND, error
        description = await handle.describe()
        assert description.status == WorkflowExecutionStatus.TERMINATED and description.close_time
    assert one_of(await env.history(handle), "WorkflowExecutionTerminated").identity


async def runs_out_of_time(env: Env, **options: Any) -> Any:
    async with env.worker([Open]):
        handle = await env.start(Open.run, **options)
        try:
            await handle.result()
            raise AssertionError("it succeeded")
        except WorkflowFailureError as error:
            assert isinstance(error.cause, TimeoutError)
            assert error.cause.type == TimeoutType.START_TO_CLOSE
        description = await handle.describe()
        assert description.status == WorkflowExecutionStatus.TIMED_OUT
    return one_of(await env.history_of(handle.id), "WorkflowExecutionTimedOut")


@scenario
async def run_timeout(env: Env) -> None:
    timed_out = await runs_out_of_time(env, run_timeout=timedelta(seconds=1))
    assert timed_out.retry_state == 5 and not timed_out.new_execution_run_id


@scenario
async def execution_timeout_ends_all_retries(env: Env) -> None:
    await runs_out_of_time(
        env,
        run_timeout=timedelta(seconds=1),
        execution_timeout=timedelta(milliseconds=2500),
        retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=100)),
    )


@workflow.defn
class Failing:
    @workflow.run
    async def run(self) -> None:
        try:
            raise ApplicationError("inside", {"part": "inner"}, type="Inner")
        except ApplicationError as inner:
            raise ApplicationError("outside", 1, "two", type="Outer", non_retryable=True) from inner


@scenario
async def workflow_failure_with_cause_and_details(env: Env) -> None:
    # The failure must not be retried whatever the policy says.
    async with env.worker([Failing]):
        handle = await env.start(Failing.run, retry_policy=RetryPolicy(maximum_attempts=4))
        try:
            await handle.result()
            raise AssertionError("it succeeded")
        except WorkflowFailureError as error:
            outer = error.cause
            assert isinstance(outer, ApplicationError)
            assert (outer.message, outer.type, list(outer.details)) == ("outside", "Outer", [1, "two"])
            inner = outer.cause
            assert isinstance(inner, ApplicationError)
            assert (inner.message, inner.type, list(inner.details)) == ("inside", "Inner", [{"part": "inner"}])
    history = await env.history(handle)
    assert without_tasks(history) == ["WorkflowExecutionStarted", "WorkflowExecutionFailed"]
    assert one_of(history, "WorkflowExecutionFailed").retry_state == 2


@scenario
async def eager_start(env: Env) -> None:
    async with env.worker([Brief], client=env.client):
        handle = await env.start(Brief.run, request_eager_start=True)
        assert await handle.result() == handle.result_run_id
    history = await env.history(handle)
    if env.calm:
        assert getattr(handle, "__temporal_eagerly_started")
        assert kinds(history)[:4] == [
            "WorkflowExecutionStarted",
            "WorkflowTaskScheduled",
            "WorkflowTaskStarted",
            "WorkflowTaskCompleted",
        ]


@activity.defn
async def who() -> str:
    info = activity.info()
    return f"{info.workflow_type} {info.activity_type} {info.attempt > 0} {info.workflow_run_id == info.workflow_run_id}"


@workflow.defn
class Describes:
    @workflow.run
    async def run(self, name: str) -> dict[str, Any]:
        info = workflow.info()
        told = await workflow.execute_activity(who, **PATIENT)
        await asyncio.sleep(0.01)
        return {
            "type": info.workflow_type,
            "id": info.workflow_id == name,
            "queue": info.task_queue == name,
            "namespace": info.namespace,
            "attempt": info.attempt,
            "told": told,
            "length": info.get_current_history_length() > 3,
        }


@scenario
async def workflow_knows_itself(env: Env) -> None:
    async with env.worker([Describes], [who]):
        handle = await env.start(Describes.run, env.unique, execution_timeout=timedelta(minutes=5))
        assert await handle.result() == {
            "type": "Describes",
            "id": True,
            "queue": True,
            "namespace": "default",
            "attempt": 1,
            "told": "Describes who True True",
            "length": True,
        }
        description = await handle.describe()
    assert description.status == WorkflowExecutionStatus.COMPLETED
    assert description.workflow_type == "Describes" and description.task_queue == env.queue
    history = await env.history(handle)
    assert description.history_length == len(history.events)
    assert description.start_time <= description.close_time
    assert len(all_of(history, "TimerFired")) == 1
