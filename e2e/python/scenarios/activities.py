"""Activities: their ways to succeed, to fail, to be tried again and to run out of time."""

import asyncio
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.client import WorkflowFailureError
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, RetryState, TimeoutError, TimeoutType

from harness import LOCAL_TIMEOUT, PATIENT, QUICK_RETRY, Env, all_of, eventually, kinds, one_of, scenario, without_tasks


@dataclass
class Order:
    item: str
    count: int
    tags: list[str] = field(default_factory=list)


@activity.defn
async def price(order: Order) -> int:
    return order.count * len(order.item)


@activity.defn
def pack(order: Order, gift: bool) -> Order:
    """A synchronous activity: it runs on a thread."""
    time.sleep(0.01)
    return Order(order.item, order.count, order.tags + ["packed"] + (["gift"] if gift else []))


@workflow.defn
class Shop:
    @workflow.run
    async def run(self, order: Order) -> dict[str, Any]:
        cost = await workflow.execute_activity(price, order, **PATIENT)
        packed = await workflow.execute_activity(pack, args=[order, True], **PATIENT)
        return {"cost": cost, "tags": packed.tags}


@scenario
async def activities_in_a_row(env: Env) -> None:
    async with env.worker([Shop], [price, pack]):
        handle = await env.start(Shop.run, Order("lamp", 3, ["new"]))
        assert await handle.result() == {"cost": 12, "tags": ["new", "packed", "gift"]}
    history = await env.history(handle)
    one = ["ActivityTaskScheduled", "ActivityTaskStarted", "ActivityTaskCompleted"]
    assert without_tasks(history) == ["WorkflowExecutionStarted", *one, *one, "WorkflowExecutionCompleted"]
    scheduled = all_of(history, "ActivityTaskScheduled")
    assert [event.activity_type.name for event in scheduled] == ["price", "pack"]
    assert scheduled[0].start_to_close_timeout.ToTimedelta() == timedelta(seconds=5)
    assert scheduled[0].retry_policy.backoff_coefficient == 2.0
    assert scheduled[0].workflow_task_completed_event_id == 4


@activity.defn
async def flaky(failures: int) -> int:
    attempt = activity.info().attempt
    if attempt <= failures:
        raise ApplicationError(f"attempt {attempt}", {"attempt": attempt}, type="Flaky")
    return attempt


@workflow.defn
class Retrying:
    @workflow.run
    async def run(self, failures: int, interval_ms: int, attempts: int, not_to_retry: list[str]) -> int:
        policy = RetryPolicy(
            initial_interval=timedelta(milliseconds=interval_ms),
            maximum_attempts=attempts,
            non_retryable_error_types=not_to_retry,
        )
        return await workflow.execute_activity(
            flaky, failures, start_to_close_timeout=timedelta(seconds=5), retry_policy=policy
        )


@scenario
async def activity_retries_until_it_succeeds(env: Env) -> None:
    async with env.worker([Retrying], [flaky]):
        handle = await env.start(Retrying.run, 3, 20, 0, [])
        assert await handle.result() >= 4
    history = await env.history(handle)
    started = one_of(history, "ActivityTaskStarted")
    assert started.attempt >= 4
    if env.calm:
        assert started.attempt == 4
        assert started.last_failure.message == "attempt 3"
        assert started.last_failure.application_failure_info.type == "Flaky"


@scenario
async def activity_runs_out_of_attempts(env: Env) -> None:
    async with env.worker([Retrying], [flaky]):
        handle = await env.start(Retrying.run, 99, 20, 3, [])
        try:
            await handle.result()
            raise AssertionError("it succeeded")
        except WorkflowFailureError as error:
            activity_error = error.cause
    assert isinstance(activity_error, ActivityError)
    assert activity_error.retry_state == RetryState.MAXIMUM_ATTEMPTS_REACHED
    assert activity_error.activity_type == "flaky"
    if env.calm:
        cause = activity_error.cause
        assert isinstance(cause, ApplicationError) and cause.type == "Flaky"
        assert cause.message == "attempt 3" and list(cause.details) == [{"attempt": 3}]
    history = await env.history(handle)
    assert one_of(history, "ActivityTaskStarted").attempt == 3


@scenario
async def activity_failure_of_a_type_not_to_retry(env: Env) -> None:
    async with env.worker([Retrying], [flaky]):
        handle = await env.start(Retrying.run, 99, 20, 0, ["Flaky"])
        try:
            await handle.result()
            raise AssertionError("it succeeded")
        except WorkflowFailureError as error:
            assert isinstance(error.cause, ActivityError)
            assert error.cause.retry_state == RetryState.NON_RETRYABLE_FAILURE
    failed = one_of(await env.history(handle), "ActivityTaskFailed")
    assert failed.failure.application_failure_info.type == "Flaky"
    if env.calm:
        assert failed.failure.message == "attempt 1"


@activity.defn
async def hopeless() -> None:
    try:
        try:
            raise ValueError("the root")
        except ValueError as root:
            raise ApplicationError("the middle", type="Middle") from root
    except ApplicationError as middle:
        raise ApplicationError("the end", "first detail", {"second": 2}, type="End", non_retryable=True) from middle


@workflow.defn
class Examine:
    @workflow.run
    async def run(self) -> dict[str, Any]:
        try:
            await workflow.execute_activity(hopeless, **PATIENT)
        except ActivityError as error:
            end = error.cause
            assert isinstance(end, ApplicationError)
            middle = end.cause
            assert isinstance(middle, ApplicationError)
            root = middle.cause
            assert isinstance(root, ApplicationError)
            return {
                "end": [end.message, end.type, end.non_retryable, *end.details],
                "middle": [middle.message, middle.type],
                "root": [root.message, root.type],
                "state": error.retry_state,
            }
        raise AssertionError("no failure")


@scenario
async def activity_failure_with_causes_and_details(env: Env) -> None:
    async with env.worker([Examine], [hopeless]):
        assert await env.execute(Examine.run) == {
            "end": ["the end", "End", True, "first detail", {"second": 2}],
            "middle": ["the middle", "Middle"],
            "root": ["the root", "ValueError"],
            "state": RetryState.NON_RETRYABLE_FAILURE,
        }


@activity.defn
async def patient() -> int:
    if activity.info().attempt == 1:
        raise ApplicationError("soon again", next_retry_delay=timedelta(milliseconds=300))
    return activity.info().attempt


@workflow.defn
class NextDelay:
    @workflow.run
    async def run(self, interval_seconds: int) -> int:
        return await workflow.execute_activity(
            patient,
            start_to_close_timeout=timedelta(seconds=5),
            retry_policy=RetryPolicy(initial_interval=timedelta(seconds=interval_seconds)),
        )


@scenario
async def activity_says_when_to_retry(env: Env) -> None:
    async with env.worker([NextDelay], [patient]):
        # By the policy the second attempt would wait for two minutes; not so long when the first may be lost.
        handle = await env.start(NextDelay.run, 120 if env.calm else 5)
        assert await handle.result() >= 2
    history = await env.history(handle)
    events = {event.event_type: event for event in history.events}
    scheduled, started = events[10].event_time.ToDatetime(), events[11].event_time.ToDatetime()
    assert started - scheduled >= timedelta(milliseconds=300)


@activity.defn
async def counting() -> list[int]:
    """Counts to six in two attempts: the second goes on where the first stopped."""
    seen = list(activity.info().heartbeat_details)
    reached = seen[0] if seen else 0
    attempt = activity.info().attempt
    while reached < 6:
        reached += 1
        activity.heartbeat(reached, "of six")
        await asyncio.sleep(0.01)
        if reached == 3 and attempt == 1:
            raise ApplicationError("three is enough for now")
    return [attempt, seen[0] if seen else 0]


@workflow.defn
class Counting:
    @workflow.run
    async def run(self) -> list[int]:
        return await workflow.execute_activity(counting, heartbeat_timeout=timedelta(seconds=3), **PATIENT)


@scenario
async def activity_resumes_from_its_heartbeat(env: Env) -> None:
    async with env.worker([Counting], [counting]):
        attempt, resumed_at = await env.execute(Counting.run)
    if env.calm:
        assert (attempt, resumed_at) == (2, 3)


@activity.defn
async def stuck() -> None:
    await asyncio.sleep(60)


@workflow.defn
class Timeouts:
    @workflow.run
    async def run(self, options: dict[str, float], queue: str | None, attempts: int) -> list[Any]:
        try:
            await workflow.execute_activity(
                stuck,
                task_queue=queue,
                retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=100), maximum_attempts=attempts),
                **{name: timedelta(seconds=seconds) for name, seconds in options.items()},
            )
        except ActivityError as error:
            assert isinstance(error.cause, TimeoutError)
            return [error.cause.type, error.retry_state]
        raise AssertionError("it did not time out")


async def times_out(
    env: Env, options: dict[str, float], queue: str | None, kind: TimeoutType, state: RetryState, attempts: int = 1
) -> None:
    async with env.worker([Timeouts], [stuck]):
        handle = await env.start(Timeouts.run, options, queue, attempts)
        begun = time.monotonic()
        answer = await handle.result()
        assert answer == [kind, state], answer
        assert time.monotonic() - begun < 20
    timed_out = one_of(await env.history(handle), "ActivityTaskTimedOut")
    assert timed_out.failure.timeout_failure_info.timeout_type == kind
    assert timed_out.retry_state == state


@scenario
async def activity_start_to_close_timeout(env: Env) -> None:
    state = RetryState.MAXIMUM_ATTEMPTS_REACHED
    await times_out(env, {"start_to_close_timeout": 1}, None, TimeoutType.START_TO_CLOSE, state)


@scenario
async def activity_heartbeat_timeout(env: Env) -> None:
    state = RetryState.MAXIMUM_ATTEMPTS_REACHED
    options = {"start_to_close_timeout": 30.0, "heartbeat_timeout": 1.0}
    await times_out(env, options, None, TimeoutType.HEARTBEAT, state)


@scenario
async def activity_schedule_to_start_timeout(env: Env) -> None:
    options = {"start_to_close_timeout": 30.0, "schedule_to_start_timeout": 1.0}
    await times_out(env, options, env.id("nobody"), TimeoutType.SCHEDULE_TO_START, RetryState.TIMEOUT)


@scenario
async def activity_schedule_to_close_timeout(env: Env) -> None:
    # The second attempt is running when the time for all of them is over.
    options = {"start_to_close_timeout": 1.2, "schedule_to_close_timeout": 2.0}
    await times_out(env, options, None, TimeoutType.SCHEDULE_TO_CLOSE, RetryState.TIMEOUT, attempts=0)


@activity.defn
async def square(number: int) -> int:
    return number * number


@workflow.defn
class Many:
    @workflow.run
    async def run(self, count: int) -> int:
        results = await asyncio.gather(
            *(workflow.execute_activity(square, number, **PATIENT) for number in range(count))
        )
        return sum(results)


@scenario
async def two_hundred_activities_at_once(env: Env) -> None:
    async with env.worker([Many], [square]):
        handle = await env.start(Many.run, 200)
        assert await handle.result() == sum(number * number for number in range(200))
    history = await env.history(handle)
    assert kinds(history).count("ActivityTaskScheduled") == 200
    assert kinds(history).count("ActivityTaskCompleted") == 200


@workflow.defn
class Local:
    @workflow.run
    async def run(self) -> list[int]:
        first = await workflow.execute_local_activity(
            square, 7, start_to_close_timeout=LOCAL_TIMEOUT, summary="seven squared"
        )
        second = await workflow.execute_local_activity(
            flaky, 2, start_to_close_timeout=LOCAL_TIMEOUT, retry_policy=QUICK_RETRY
        )
        try:
            await workflow.execute_local_activity(
                hopeless, start_to_close_timeout=LOCAL_TIMEOUT, retry_policy=QUICK_RETRY
            )
        except ApplicationError as error:
            assert error.type == "End", error
            return [first, second]
        raise AssertionError("no failure")


@scenario
async def local_activities_leave_markers(env: Env) -> None:
    async with env.worker([Local], [square, flaky, hopeless]):
        handle = await env.start(Local.run)
        assert await handle.result() == [49, 3]
    history = await env.history(handle)
    markers = all_of(history, "MarkerRecorded")
    assert [marker.marker_name for marker in markers] == ["core_local_activity"] * 3
    assert markers[2].failure.application_failure_info.type == "End" and not markers[0].HasField("failure")
    assert "ActivityTaskScheduled" not in kinds(history)


@activity.defn
async def slow_local() -> str:
    await asyncio.sleep(10)
    return "slow"


@workflow.defn
class SlowLocal:
    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_local_activity(slow_local, start_to_close_timeout=LOCAL_TIMEOUT)


@scenario
async def long_local_activity_keeps_its_workflow_task_alive(env: Env) -> None:
    async with env.worker([SlowLocal], [slow_local]):
        # With a task timeout of 10 s the worker has to ask for new tasks until the activity is over.
        handle = await env.start(SlowLocal.run, task_timeout=timedelta(seconds=10))
        assert await handle.result() == "slow"
    history = await env.history(handle)
    assert kinds(history).count("WorkflowTaskCompleted") >= 2
    if env.calm:
        assert "WorkflowTaskTimedOut" not in kinds(history)


TOKENS: dict[str, bytes] = {}


@activity.defn
async def by_someone_else() -> str:
    TOKENS[activity.info().workflow_id or ""] = activity.info().task_token
    activity.raise_complete_async()


@workflow.defn
class Asynchronous:
    @workflow.run
    async def run(self) -> list[str]:
        first = await workflow.execute_activity(by_someone_else, activity_id="first", **ASYNC)
        second = await workflow.execute_activity(by_someone_else, activity_id="second", **ASYNC)
        try:
            await workflow.execute_activity(by_someone_else, activity_id="third", **ASYNC)
        except ActivityError as error:
            return [first, second, str(error.cause)]
        raise AssertionError("no failure")


ASYNC: dict[str, Any] = {"start_to_close_timeout": timedelta(seconds=10), "heartbeat_timeout": timedelta(seconds=6)}


@scenario
async def activities_completed_from_outside(env: Env) -> None:
    async with env.worker([Asynchronous], [by_someone_else]):
        handle = await env.start(Asynchronous.run)

        async def complete_first() -> bool:
            token = TOKENS.get(handle.id)
            if token:
                outside = env.client.get_async_activity_handle(task_token=token)
                await outside.heartbeat("halfway")
                await outside.complete("by token")
            return token is not None

        async def started(activity_id: str) -> bool:
            description = await handle.describe()
            return any(
                one.activity_id == activity_id and one.state == 2 for one in description.raw_description.pending_activities
            )

        await eventually(complete_first)
        await eventually(lambda: started("second"))
        second = env.client.get_async_activity_handle(workflow_id=handle.id, run_id=None, activity_id="second")
        await second.heartbeat("nearly")
        await second.complete("by id")
        await eventually(lambda: started("third"))
        third = env.client.get_async_activity_handle(workflow_id=handle.id, run_id=None, activity_id="third")
        await third.fail(ApplicationError("from outside", type="Outside", non_retryable=True))
        result = await handle.result()
        assert result == ["by token", "by id", "Outside: from outside"], result


@scenario
async def pending_activity_is_described(env: Env) -> None:
    async with env.worker([Retrying], [flaky]):
        handle = await env.start(Retrying.run, 99, 20_000, 7, [])

        async def in_backoff() -> Any:
            pending = (await handle.describe()).raw_description.pending_activities
            return pending[0] if pending and pending[0].HasField("last_failure") else None

        pending = await eventually(in_backoff)
        assert pending.activity_type.name == "flaky" and pending.maximum_attempts == 7
        assert pending.state == 1 and pending.last_worker_identity
        if env.calm:
            assert pending.attempt == 2 and pending.last_failure.message == "attempt 1"
            wait = pending.next_attempt_schedule_time.ToDatetime() - pending.last_attempt_complete_time.ToDatetime()
            assert abs(wait - timedelta(seconds=20)) < timedelta(seconds=1), wait
            assert abs(pending.current_retry_interval.ToTimedelta() - wait) < timedelta(milliseconds=1), pending
        await env.terminate(handle, reason="seen enough")
    assert one_of(await env.history(handle), "WorkflowExecutionTerminated").reason == "seen enough"
