"""Signals and queries: their order, their handlers, and when they come early, late or to nobody."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.client import (
    WorkflowExecutionStatus,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
)
from temporalio.common import QueryRejectCondition, RawValue
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from harness import LOCAL_TIMEOUT, Env, all_of, eventually, kinds, one_of, scenario


@workflow.defn
class Mailbox:
    def __init__(self) -> None:
        self.letters: list[Any] = []
        self.closed = False

    @workflow.run
    async def run(self) -> list[Any]:
        await workflow.wait_condition(lambda: self.closed)
        return self.letters

    @workflow.signal
    def letter(self, text: str) -> None:
        self.letters.append(text)

    @workflow.signal
    async def slow_letter(self, text: str) -> None:
        await workflow.sleep(0.2)
        self.letters.append(text)

    @workflow.signal(name="renamed")
    def other_name(self, first: int, second: str) -> None:
        self.letters.append([first, second])

    @workflow.signal
    def close(self) -> None:
        self.closed = True

    @workflow.signal(dynamic=True)
    def anything(self, name: str, args: Sequence[RawValue]) -> None:
        values = [workflow.payload_converter().from_payload(arg.payload, str) for arg in args]
        self.letters.append({"signal": name, "args": values})

    @workflow.query
    def count(self) -> int:
        return len(self.letters)

    @workflow.query(name="filtered", description="letters that contain a text")
    def with_text(self, text: str) -> list[Any]:
        return [letter for letter in self.letters if text in str(letter)]

    @workflow.query
    def failing(self) -> None:
        raise ApplicationError("this query fails on purpose", type="Unasked")

    @workflow.query(dynamic=True)
    def any_query(self, name: str, args: Sequence[RawValue]) -> str:
        return f"{name} with {len(args)}"


@scenario
async def signals_in_order(env: Env) -> None:
    async with env.worker([Mailbox]):
        handle = await env.start(Mailbox.run)
        for number in range(20):
            await handle.signal(Mailbox.letter, str(number))
        await handle.signal("renamed", args=[7, "seven"])
        await handle.signal("unheard of", "a")
        await handle.signal(Mailbox.close)
        expected = [str(number) for number in range(20)] + [[7, "seven"], {"signal": "unheard of", "args": ["a"]}]
        assert await handle.result() == expected
    signals = all_of(await env.history(handle), "WorkflowExecutionSignaled")
    assert [signal.signal_name for signal in signals] == ["letter"] * 20 + ["renamed", "unheard of", "close"]


# The workflows whose thinking may end.
THOUGHT: set[str] = set()


@activity.defn
async def think() -> None:
    while activity.info().workflow_id not in THOUGHT:
        await asyncio.sleep(0.02)


@workflow.defn
class Busy(Mailbox):
    """Its first workflow task is long: whatever comes meanwhile is buffered."""

    @workflow.run
    async def run(self) -> list[Any]:
        await workflow.execute_local_activity(think, start_to_close_timeout=LOCAL_TIMEOUT)
        await workflow.wait_condition(lambda: self.closed)
        return self.letters


@scenario
async def signals_during_a_workflow_task_are_buffered(env: Env) -> None:
    async with env.worker([Busy], [think]):
        handle = await env.start(Busy.run, task_timeout=timedelta(minutes=1))

        async def started() -> bool:
            pending = (await handle.describe()).raw_description.pending_workflow_task
            return pending.state == 2

        await eventually(started)
        for number in range(5):
            await handle.signal(Mailbox.letter, str(number))
        await handle.signal(Mailbox.close)
        THOUGHT.add(handle.id)
        assert await handle.result() == ["0", "1", "2", "3", "4"]
    history = await env.history(handle)
    events = kinds(history)
    if env.calm:
        first_signal = events.index("WorkflowExecutionSignaled")
        assert events.index("WorkflowTaskCompleted") < first_signal, events
        assert events[first_signal : first_signal + 6] == ["WorkflowExecutionSignaled"] * 6, events


@scenario
async def signal_with_start_starts_once(env: Env) -> None:
    # Nobody works yet: the signals must wait.
    first = await env.start(Mailbox.run, start_signal="letter", start_signal_args=["one"])
    second = await env.start(Mailbox.run, start_signal="letter", start_signal_args=["two"])
    assert first.first_execution_run_id == second.first_execution_run_id
    await first.signal(Mailbox.close)
    async with env.worker([Mailbox]):
        assert await first.result() == ["one", "two"]
        # The id is free again: this starts another run.
        third = await env.start(Mailbox.run, start_signal="letter", start_signal_args=["three"])
        assert third.first_execution_run_id != first.first_execution_run_id
        await third.signal(Mailbox.close)
        assert await third.result() == ["three"]
    history = await env.history(first)
    assert kinds(history)[:3] == ["WorkflowExecutionStarted", "WorkflowExecutionSignaled", "WorkflowTaskScheduled"]


@scenario
async def async_signal_handlers_interleave(env: Env) -> None:
    async with env.worker([Mailbox]):
        handle = await env.start(Mailbox.run)
        await handle.signal(Mailbox.slow_letter, "slow")
        await handle.signal(Mailbox.letter, "fast")

        async def both() -> bool:
            return await handle.query(Mailbox.count) == 2

        await eventually(both)
        await handle.signal(Mailbox.close)
        assert await handle.result() == ["fast", "slow"]


@scenario
async def signal_to_nobody(env: Env) -> None:
    async with env.worker([Mailbox]):
        handle = await env.start(Mailbox.run)
        await handle.signal(Mailbox.close)
        await handle.result()
        for target in (handle, env.client.get_workflow_handle(env.id("never-was"))):
            try:
                await target.signal(Mailbox.letter, "late")
                raise AssertionError("it was accepted")
            except RPCError as error:
                assert error.status == RPCStatusCode.NOT_FOUND, error


@scenario
async def queries_running_and_closed(env: Env) -> None:
    async with env.worker([Mailbox]):
        handle = await env.start(Mailbox.run)
        assert await handle.query(Mailbox.count) == 0
        await handle.signal(Mailbox.letter, "an apple")
        await handle.signal(Mailbox.letter, "a pear")
        # A query sees every signal that was acknowledged before it was sent.
        assert await handle.query(Mailbox.count) == 2
        assert await handle.query("filtered", "pear") == ["a pear"]
        assert await handle.query("who knows", "x") == "who knows with 1"
        answers = await asyncio.gather(*(handle.query(Mailbox.count) for _ in range(10)))
        assert answers == [2] * 10
        await handle.signal(Mailbox.close)
        await handle.result()
        assert await handle.query(Mailbox.count) == 2
    events = kinds(await env.history(handle))
    assert events.count("WorkflowExecutionSignaled") == 3


@scenario
async def queries_that_fail(env: Env) -> None:
    async with env.worker([Mailbox]):
        handle = await env.start(Mailbox.run)
        try:
            await handle.query(Mailbox.failing)
            raise AssertionError("it answered")
        except WorkflowQueryFailedError as error:
            assert "this query fails on purpose" in str(error)
        missing = env.client.get_workflow_handle(env.id("never-was"))
        try:
            await missing.query("count")
            raise AssertionError("it answered")
        except RPCError as error:
            assert error.status == RPCStatusCode.NOT_FOUND
        await handle.signal(Mailbox.close)
        await handle.result()


@scenario
async def queries_rejected_by_status(env: Env) -> None:
    async with env.worker([Mailbox]):
        clean = await env.start(Mailbox.run, suffix="clean")
        assert await clean.query(Mailbox.count, reject_condition=QueryRejectCondition.NOT_OPEN) == 0
        await clean.signal(Mailbox.close)
        await clean.result()
        condition = QueryRejectCondition.NOT_COMPLETED_CLEANLY
        assert await clean.query(Mailbox.count, reject_condition=condition) == 0
        killed = await env.start(Mailbox.run, suffix="killed")
        assert await killed.query(Mailbox.count) == 0
        await env.terminate(killed)
        cases = [
            (clean, QueryRejectCondition.NOT_OPEN, WorkflowExecutionStatus.COMPLETED),
            (killed, QueryRejectCondition.NOT_OPEN, WorkflowExecutionStatus.TERMINATED),
            (killed, condition, WorkflowExecutionStatus.TERMINATED),
        ]
        for handle, reject, status in cases:
            try:
                await handle.query(Mailbox.count, reject_condition=reject)
                raise AssertionError("it answered")
            except WorkflowQueryRejectedError as error:
                assert error.status == status
        assert await killed.query(Mailbox.count) == 0


@workflow.defn(dynamic=True)
class Anything:
    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> str:
        values = [workflow.payload_converter().from_payload(arg.payload) for arg in args]
        return f"{workflow.info().workflow_type} {values}"


@scenario
async def dynamic_workflow(env: Env) -> None:
    async with env.worker([Anything]):
        assert await env.execute("made up", 1, "two") == "made up [1, 'two']"


@scenario
async def many_signals_at_once(env: Env) -> None:
    async with env.worker([Mailbox]):
        handle = await env.start(Mailbox.run)
        await asyncio.gather(*(handle.signal(Mailbox.letter, str(number)) for number in range(60)))
        await handle.signal(Mailbox.close)
        assert sorted(await handle.result()) == sorted(str(number) for number in range(60))
    history = await env.history(handle)
    assert len(all_of(history, "WorkflowExecutionSignaled")) == 61
    assert one_of(history, "WorkflowExecutionCompleted")
