"""Updates: accepted, rejected, waited for, repeated, with start, and on workflows that close or continue."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from temporalio import activity, workflow
from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowUpdateFailedError,
    WorkflowUpdateStage,
)
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from harness import PATIENT, Env, all_of, eventually, kinds, one_of, scenario


@activity.defn
async def approve(amount: int) -> str:
    return f"approved {amount}"


@workflow.defn
class Account:
    def __init__(self) -> None:
        self.balance = 0
        self.closed = False
        self.released = False
        self.seen: list[str] = []

    @workflow.run
    async def run(self) -> int:
        await workflow.wait_condition(lambda: self.closed and workflow.all_handlers_finished())
        return self.balance

    @workflow.update
    def deposit(self, amount: int) -> int:
        info = workflow.current_update_info()
        assert info is not None
        self.seen.append(info.id)
        self.balance += amount
        return self.balance

    @deposit.validator
    def check_deposit(self, amount: int) -> None:
        if amount <= 0:
            raise ApplicationError("only positive amounts", type="BadAmount")

    @workflow.update
    async def deposit_with_approval(self, amount: int) -> str:
        told = await workflow.execute_activity(approve, amount, **PATIENT)
        await workflow.sleep(0.05)
        self.balance += amount
        return told

    @workflow.update
    async def when_released(self) -> str:
        await workflow.wait_condition(lambda: self.released)
        return "released"

    @workflow.update
    async def fail(self) -> None:
        raise ApplicationError("accepted, then failed", "detail", type="Later")

    @workflow.signal
    def release(self) -> None:
        self.released = True

    @workflow.signal
    def close(self) -> None:
        self.closed = True

    @workflow.query
    def current(self) -> int:
        return self.balance


@scenario
async def update_returns_a_result(env: Env) -> None:
    async with env.worker([Account]):
        handle = await env.start(Account.run)
        assert await handle.execute_update(Account.deposit, 10) == 10
        assert await handle.execute_update(Account.deposit, 5) == 15
        assert await handle.query(Account.current) == 15
        await handle.signal(Account.close)
        assert await handle.result() == 15
    history = await env.history(handle)
    events = kinds(history)
    assert events.count("WorkflowExecutionUpdateAccepted") == events.count("WorkflowExecutionUpdateCompleted") == 2
    accepted = all_of(history, "WorkflowExecutionUpdateAccepted")[0]
    assert accepted.accepted_request.input.name == "deposit"
    completed = all_of(history, "WorkflowExecutionUpdateCompleted")[0]
    assert history.events[completed.accepted_event_id - 1].HasField("workflow_execution_update_accepted_event_attributes")


@scenario
async def update_is_rejected_by_its_validator(env: Env) -> None:
    async with env.worker([Account]):
        handle = await env.start(Account.run)
        assert await handle.execute_update(Account.deposit, 1) == 1
        try:
            await handle.execute_update(Account.deposit, -1)
            raise AssertionError("it was accepted")
        except WorkflowUpdateFailedError as error:
            assert isinstance(error.cause, ApplicationError)
            assert error.cause.type == "BadAmount" and error.cause.message == "only positive amounts"
        await handle.signal(Account.close)
        assert await handle.result() == 1
    # A rejection leaves nothing behind.
    history = await env.history(handle)
    assert kinds(history).count("WorkflowExecutionUpdateAccepted") == 1


@scenario
async def update_fails_after_it_was_accepted(env: Env) -> None:
    async with env.worker([Account]):
        handle = await env.start(Account.run)
        try:
            await handle.execute_update(Account.fail)
            raise AssertionError("it succeeded")
        except WorkflowUpdateFailedError as error:
            assert isinstance(error.cause, ApplicationError)
            assert error.cause.type == "Later" and list(error.cause.details) == ["detail"]
        await handle.signal(Account.close)
        await handle.result()
    completed = one_of(await env.history(handle), "WorkflowExecutionUpdateCompleted")
    assert completed.outcome.failure.message == "accepted, then failed"


@scenario
async def update_nobody_knows(env: Env) -> None:
    async with env.worker([Account]):
        handle = await env.start(Account.run)
        try:
            await handle.execute_update("unheard of")
            raise AssertionError("it was accepted")
        except WorkflowUpdateFailedError as error:
            assert "unheard of" in str(error.cause)
        await handle.signal(Account.close)
        await handle.result()


@scenario
async def update_is_accepted_now_and_completed_later(env: Env) -> None:
    async with env.worker([Account]):
        handle = await env.start(Account.run)
        update = await handle.start_update(Account.when_released, wait_for_stage=WorkflowUpdateStage.ACCEPTED)
        waiting = asyncio.create_task(update.result())
        again = handle.get_update_handle(update.id, result_type=str)
        await asyncio.sleep(0.1)
        assert not waiting.done()
        await handle.signal(Account.release)
        assert await waiting == await again.result() == "released"
        await handle.signal(Account.close)
        await handle.result()
        # The outcome outlives the workflow.
        assert await handle.get_update_handle(update.id, result_type=str).result() == "released"


@scenario
async def updates_side_by_side_with_activities(env: Env) -> None:
    async with env.worker([Account], [approve]):
        handle = await env.start(Account.run)
        told = await asyncio.gather(
            *(handle.execute_update(Account.deposit_with_approval, amount) for amount in range(1, 9))
        )
        assert told == [f"approved {amount}" for amount in range(1, 9)]
        await handle.signal(Account.close)
        assert await handle.result() == 36


@scenario
async def update_is_repeated_by_its_id(env: Env) -> None:
    async with env.worker([Account]):
        handle = await env.start(Account.run)
        first = await handle.execute_update(Account.deposit, 10, id="the-one")
        again = await handle.execute_update(Account.deposit, 10, id="the-one")
        assert first == again == 10
        assert await handle.execute_update(Account.deposit, 10, id="another") == 20
        await handle.signal(Account.close)
        assert await handle.result() == 20
    accepted = all_of(await env.history(handle), "WorkflowExecutionUpdateAccepted")
    assert [one.accepted_request.meta.update_id for one in accepted] == ["the-one", "another"]


@scenario
async def update_waits_for_a_worker(env: Env) -> None:
    handle = await env.start(Account.run)
    waiting = asyncio.create_task(handle.execute_update(Account.deposit, 7))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    async with env.worker([Account]):
        assert await waiting == 7
        await handle.signal(Account.close)
        assert await handle.result() == 7


@scenario
async def update_of_an_idle_workflow_costs_no_event_when_rejected(env: Env) -> None:
    async with env.worker([Account]):
        handle = await env.start(Account.run)
        await env.until(handle, "WorkflowTaskCompleted")
        before = len((await env.history(handle)).events)
        for _ in range(3):
            try:
                await handle.execute_update(Account.deposit, 0)
                raise AssertionError("it was accepted")
            except WorkflowUpdateFailedError:
                pass
        if env.calm:
            assert len((await env.history(handle)).events) == before
        await handle.signal(Account.close)
        await handle.result()


@scenario
async def update_of_a_closed_workflow(env: Env) -> None:
    async with env.worker([Account]):
        handle = await env.start(Account.run)
        await handle.signal(Account.close)
        await handle.result()
        try:
            await handle.execute_update(Account.deposit, 1)
            raise AssertionError("it was accepted")
        except RPCError as error:
            assert error.status == RPCStatusCode.NOT_FOUND, error


@workflow.defn
class Leaver:
    """Closes while an update that it has accepted is still going on."""

    def __init__(self) -> None:
        self.over = False

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self.over)
        return "left"

    @workflow.update(unfinished_policy=workflow.HandlerUnfinishedPolicy.ABANDON)
    async def never(self) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.signal
    def leave(self) -> None:
        self.over = True


@scenario
async def workflow_closes_on_an_accepted_update(env: Env) -> None:
    async with env.worker([Leaver]):
        handle = await env.start(Leaver.run)
        update = await handle.start_update(Leaver.never, wait_for_stage=WorkflowUpdateStage.ACCEPTED)
        await handle.signal(Leaver.leave)
        assert await handle.result() == "left"
        try:
            await update.result()
            raise AssertionError("it completed")
        except WorkflowUpdateFailedError as error:
            assert isinstance(error.cause, ApplicationError)
            assert error.cause.type == "AcceptedUpdateCompletedWorkflow", error.cause.type


@scenario
async def update_with_start(env: Env) -> None:
    def operation() -> WithStartWorkflowOperation:
        return WithStartWorkflowOperation(
            Account.run,
            id=env.id(),
            task_queue=env.queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        )

    async with env.worker([Account]):
        first = operation()
        assert await env.client.execute_update_with_start_workflow(Account.deposit, 3, start_workflow_operation=first) == 3
        handle = env.track(await first.workflow_handle())
        second = operation()
        assert await env.client.execute_update_with_start_workflow(Account.deposit, 4, start_workflow_operation=second) == 7
        assert (await second.workflow_handle()).result_run_id == handle.result_run_id
        third = operation()
        try:
            await env.client.execute_update_with_start_workflow(Account.deposit, -4, start_workflow_operation=third)
            raise AssertionError("it was accepted")
        except WorkflowUpdateFailedError:
            pass
        await handle.signal(Account.close)
        assert await handle.result() == 7
    assert kinds(await env.history(handle)).count("WorkflowExecutionUpdateAccepted") == 2


@scenario
async def update_with_start_of_what_must_not_run(env: Env) -> None:
    async with env.worker([Account]):
        handle = await env.start(Account.run)
        operation = WithStartWorkflowOperation(
            Account.run, id=env.id(), task_queue=env.queue, id_conflict_policy=WorkflowIDConflictPolicy.FAIL
        )
        try:
            await env.client.execute_update_with_start_workflow(Account.deposit, 3, start_workflow_operation=operation)
            raise AssertionError("it started twice")
        except Exception as error:  # noqa: BLE001
            assert "already" in str(error).lower(), error
        try:
            await operation.workflow_handle()
        except Exception:  # noqa: BLE001, S110
            pass
        await handle.signal(Account.close)
        assert await handle.result() == 0


@workflow.defn
class Chain:
    """Continues as new after each update."""

    def __init__(self) -> None:
        self.next: int | None = None

    @workflow.run
    async def run(self, reached: int) -> int:
        if reached >= 3:
            return reached
        await workflow.wait_condition(lambda: self.next is not None and workflow.all_handlers_finished())
        workflow.continue_as_new(self.next)

    @workflow.update
    async def go_on(self, reached: int) -> str:
        await workflow.sleep(0.01)
        self.next = reached
        return workflow.info().run_id


@scenario
async def updates_along_a_chain_of_runs(env: Env) -> None:
    async with env.worker([Chain]):
        handle = await env.start(Chain.run, 0)
        current = env.client.get_workflow_handle(handle.id)
        runs = []
        for reached in (1, 2, 3):
            before = runs[-1] if runs else ""

            async def at_next(before: str = before) -> bool:
                return (await current.describe()).run_id != before

            await eventually(at_next)
            runs.append(await current.execute_update("go_on", reached, id=f"step-{reached}", result_type=str))
        assert await handle.result() == 3
    # An update whose answer was lost with a node is repeated, and the next run knows nothing of it.
    if env.calm:
        assert len(set(runs)) == 3 and runs[0] == handle.result_run_id


@workflow.defn
class Early:
    """An update that came before the first task finds its handler, though it is set only in `run`."""

    @workflow.run
    async def run(self) -> list[Any]:
        seen: list[Any] = []

        async def handler(value: str) -> str:
            seen.append(value)
            return f"saw {value}"

        workflow.set_update_handler("added", handler)
        await workflow.wait_condition(lambda: len(seen) > 0)
        return seen


@scenario
async def update_handler_set_while_running(env: Env) -> None:
    async with env.worker([Early]):
        handle = await env.start(Early.run)
        await env.until(handle, "WorkflowTaskCompleted")
        assert await handle.execute_update("added", "this", result_type=str) == "saw this"
        assert await handle.result() == ["this"]


# More than a page of a history, which is 256 events and, of signals, more bytes than this.
MANY_SIGNALS = 300
FIRST_PAGE_BYTES = 8 * 1024


class Between:
    """Stands between a worker and its server. Once armed, it lets the first page of a history through and holds back what
    the worker sends after it, the request for the next page, until something is done."""

    def __init__(self, target: str, deed: Callable[[], Awaitable[None]]) -> None:
        self.target = target
        self.deed = deed
        self.armed = False
        self.bytes = 0
        self.connections: list[asyncio.Task] = []
        self.writers: list[asyncio.StreamWriter] = []
        self.may_send = asyncio.Event()
        self.may_send.set()

    async def __aenter__(self) -> "Between":
        self.server = await asyncio.start_server(self.connected, "127.0.0.1", 0)
        host, port = self.server.sockets[0].getsockname()
        self.address = f"{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        for writer in self.writers:
            writer.close()
        await asyncio.gather(*self.connections)

    async def connected(self, from_worker: asyncio.StreamReader, to_worker: asyncio.StreamWriter) -> None:
        host, port = self.target.rsplit(":", 1)
        from_server, to_server = await asyncio.open_connection(host, int(port))
        self.writers += [to_worker, to_server]
        ways = asyncio.gather(self.up(from_worker, to_server), self.down(from_server, to_worker), return_exceptions=True)
        self.connections.append(asyncio.current_task())
        await ways

    async def up(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            await self.may_send.wait()
            sink.write(data)
            await sink.drain()
        sink.close()

    async def down(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            if self.armed:
                self.bytes += len(data)
                if self.bytes >= FIRST_PAGE_BYTES:
                    self.armed = False
                    self.may_send.clear()
                    self.doing = asyncio.create_task(self.do())
            sink.write(data)
            await sink.drain()
        sink.close()

    async def do(self) -> None:
        try:
            await self.deed()
        finally:
            self.may_send.set()


@workflow.defn
class Counted:
    """Counts signals; its history has more than a page."""

    def __init__(self) -> None:
        self.seen = 0
        self.closed = False

    @workflow.run
    async def run(self) -> int:
        await workflow.wait_condition(lambda: self.closed)
        return self.seen

    @workflow.signal
    def count(self) -> None:
        self.seen += 1

    @workflow.signal
    def close(self) -> None:
        self.closed = True

    @workflow.update
    def counted(self) -> int:
        return self.seen


@scenario
async def update_of_a_long_workflow_with_a_signal_between_two_pages(env: Env) -> None:
    handle = await env.start(Counted.run)
    # The update's task, of which nothing was written, becomes one that is.
    async with Between(
        env.worker_client.service_client.config.target_host, lambda: handle.signal(Counted.count)
    ) as between:
        client = await Client.connect(between.address)
        # Without a cache every task comes with the whole history, page by page.
        async with env.worker([Counted], client=client, max_cached_workflows=0):
            await env.until(handle, "WorkflowTaskCompleted")
            await asyncio.gather(*(handle.signal(Counted.count) for _ in range(MANY_SIGNALS)))

            async def is_idle() -> bool:
                names = kinds(await env.history(handle))
                return names.count("WorkflowExecutionSignaled") >= MANY_SIGNALS and names[-1] == "WorkflowTaskCompleted"

            await eventually(is_idle)
            before = Counter(kinds(await env.history(handle)))
            between.armed = True
            told = await handle.execute_update(Counted.counted)
            assert not between.armed
            await handle.signal(Counted.close)
            total = await handle.result()
    if env.calm:
        # The very task that was under way answered: none timed out or failed, and the signal came after it.
        assert (told, total) == (MANY_SIGNALS, MANY_SIGNALS + 1)
        after = Counter(kinds(await env.history(handle)))
        for name in ("WorkflowTaskFailed", "WorkflowTaskTimedOut"):
            assert after[name] == before[name], after
