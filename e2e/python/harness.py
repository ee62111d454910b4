"""What every scenario stands on: own ids and queue, workers, the facts that hold for any history, and the replay.

A scenario is `async def name(env)`. It starts workflows with `env.start`, asserts what it is about, and returns. Then
every run that it made, with the runs that followed and its children, is checked by `check_history` and replayed by the
SDK's own replayer with the same workflow classes.
"""

import asyncio
import sys
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from google.protobuf import text_format
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowHandle, WorkflowHistory
from temporalio.common import RetryPolicy
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, Worker

import laws

# What an activity gets that is not about its options. A node that dies may take with it the answer to a worker's
# poll; the timeout brings such an attempt back.
QUICK_RETRY = RetryPolicy(initial_interval=timedelta(milliseconds=50), maximum_interval=timedelta(seconds=1))
PATIENT: dict[str, Any] = {"start_to_close_timeout": timedelta(seconds=5), "retry_policy": QUICK_RETRY}
# The SDK complains loudly about a local activity's timeout that comes after the end of its worker.
LOCAL_TIMEOUT = timedelta(minutes=10)

REGISTRY: dict[str, Callable[["Env"], Awaitable[None]]] = {}
THREADS = ThreadPoolExecutor(32)
# What is told of a run whose scenario failed.
TELL_SECONDS = 10
TOLD_EVENTS = 60
TOLD_CHARS = 600


def scenario(function: Callable[["Env"], Awaitable[None]]) -> Callable[["Env"], Awaitable[None]]:
    assert function.__name__ not in REGISTRY, function.__name__
    REGISTRY[function.__name__] = function
    return function


def kind(event: HistoryEvent) -> str:
    """`ActivityTaskScheduled` for an event of that type."""
    name = EventType.Name(event.event_type).removeprefix("EVENT_TYPE_")
    return "".join(part.capitalize() for part in name.split("_"))


def attributes(event: HistoryEvent) -> Any:
    return getattr(event, event.WhichOneof("attributes"))


def kinds(history: WorkflowHistory) -> list[str]:
    return [kind(event) for event in history.events]


def all_of(history: WorkflowHistory, name: str) -> list[Any]:
    """The attributes of every event of a kind."""
    return [attributes(event) for event in history.events if kind(event) == name]


def one_of(history: WorkflowHistory, name: str) -> Any:
    found = all_of(history, name)
    assert len(found) == 1, f"{len(found)} events {name} in {kinds(history)}"
    return found[0]


def without_tasks(history: WorkflowHistory) -> list[str]:
    """The kinds of events but those of workflow tasks, whose number depends on timing."""
    return [name for name in kinds(history) if not name.startswith("WorkflowTask")]


async def eventually(condition: Callable[[], Awaitable[Any]], seconds: float = 60) -> Any:
    """The first true answer of the condition."""
    deadline = time.monotonic() + seconds
    while not (answer := await condition()):
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.05)
    return answer


class Env:
    """What a scenario has to itself. `calm` is false while nodes are killed: then attempts may be lost and repeated."""

    def __init__(self, name: str, client: Client, worker_client: Client, calm: bool) -> None:
        self.name = name
        self.unique = f"{name}-{uuid.uuid4().hex[:8]}"
        self.client = client
        self.worker_client = worker_client
        self.calm = calm
        self.queue = self.unique
        self.workflows: list[type] = []
        self.replay_options: dict[str, Any] = {}
        self.handles: list[WorkflowHandle] = []
        self.runs: set[tuple[str, str]] = set()

    def id(self, suffix: str = "") -> str:
        return f"{self.unique}{'-' if suffix else ''}{suffix}"

    def worker(self, workflows: list[type] = [], activities: list[Callable] = [], **options: Any) -> Worker:
        """A worker on the scenario's queue; its workflows are those of the replay too."""
        self.workflows += [one for one in workflows if one not in self.workflows]
        options.setdefault("task_queue", self.queue)
        # The debug mode switches off the detection of slow workflow tasks: many workers share few cores here.
        return Worker(
            options.pop("client", self.worker_client),
            workflows=workflows,
            activities=activities,
            activity_executor=THREADS,
            workflow_task_executor=THREADS,
            workflow_runner=UnsandboxedWorkflowRunner(),
            debug_mode=True,
            **options,
        )

    async def start(self, workflow: Any, *args: Any, suffix: str = "", **options: Any) -> WorkflowHandle:
        options.setdefault("task_queue", self.queue)
        options.setdefault("id", self.id(suffix))
        client = options.pop("client", self.client)
        return self.track(await client.start_workflow(workflow, args=args, **options))

    def track(self, handle: WorkflowHandle) -> WorkflowHandle:
        self.handles.append(handle)
        return handle

    async def execute(self, workflow: Any, *args: Any, **options: Any) -> Any:
        return await (await self.start(workflow, *args, **options)).result()

    async def terminate(self, handle: WorkflowHandle, *details: Any, reason: str | None = None) -> None:
        """While nodes are killed the SDK's own repetition may find that the first call, unanswered, has worked."""
        try:
            await handle.terminate(*details, reason=reason)
        except RPCError as error:
            if self.calm or error.status != RPCStatusCode.NOT_FOUND:
                raise

    async def history(self, handle: WorkflowHandle) -> WorkflowHistory:
        """Of the very run that the handle was started with."""
        return await self.history_of(handle.id, handle.result_run_id or handle.run_id)

    async def history_of(self, workflow_id: str, run_id: str | None = None) -> WorkflowHistory:
        return await self.client.get_workflow_handle(workflow_id, run_id=run_id).fetch_history()

    async def until(self, handle: WorkflowHandle, name: str, count: int = 1) -> WorkflowHistory:
        """The history once it has so many events of a kind."""

        async def there() -> WorkflowHistory | None:
            history = await self.history(handle)
            return history if kinds(history).count(name) >= count else None

        return await eventually(there)

    async def tell(self) -> None:
        """Prints the histories of the runs of a scenario that failed, as far as they can be had."""
        for handle in self.handles:
            try:
                history = await asyncio.wait_for(self.history(handle), TELL_SECONDS)
            except (RPCError, TimeoutError) as error:
                print(f"{self.name}: no history of {handle.id}: {error}", file=sys.stderr, flush=True)
                continue
            lines = [f"{self.name}: {handle.id}, run {history.run_id}"]
            for event in history.events[-TOLD_EVENTS:]:
                told = text_format.MessageToString(attributes(event), as_one_line=True)[:TOLD_CHARS]
                lines.append(f"  {event.event_time.ToJsonString()} {event.event_id} {kind(event)} {told}")
            print("\n".join(lines), file=sys.stderr, flush=True)

    async def check(self) -> int:
        """Checks and replays every run. Returns how many there were."""
        todo = [(handle.id, handle.result_run_id or handle.run_id) for handle in self.handles]
        histories = []
        while todo:
            workflow_id, run_id = todo.pop()
            history = await self.history_of(workflow_id, run_id)
            run = (workflow_id, history.run_id)
            if run in self.runs:
                continue
            self.runs.add(run)
            check_history(history)
            todo += [(workflow_id, following) for following in next_runs(history)]
            for child in all_of(history, "ChildWorkflowExecutionStarted"):
                todo.append((child.workflow_execution.workflow_id, child.workflow_execution.run_id))
            histories.append(history)
        if not histories:
            return 0
        replayer = Replayer(
            workflows=self.workflows,
            workflow_runner=UnsandboxedWorkflowRunner(),
            workflow_task_executor=THREADS,
            debug_mode=True,
            **self.replay_options,
        )
        for history in histories:
            # A run that no worker ever took up has nothing to replay.
            if "WorkflowTaskCompleted" in kinds(history):
                await replayer.replay_workflow(history)
        return len(histories)


CLOSING = {
    "WorkflowExecutionCompleted",
    "WorkflowExecutionFailed",
    "WorkflowExecutionTimedOut",
    "WorkflowExecutionCanceled",
    "WorkflowExecutionTerminated",
    "WorkflowExecutionContinuedAsNew",
}
ENDS_OF_A_TASK = {"WorkflowTaskCompleted", "WorkflowTaskFailed", "WorkflowTaskTimedOut"}


def next_runs(history: WorkflowHistory) -> list[str]:
    last = history.events[-1]
    following = getattr(attributes(last), "new_execution_run_id", "")
    return [following] if following else []


def check_history(history: WorkflowHistory) -> None:
    """Facts that hold for every history."""
    names = kinds(history)
    where = f"{history.workflow_id}: {names}"
    assert [event.event_id for event in history.events] == list(range(1, len(names) + 1)), where
    assert names[0] == "WorkflowExecutionStarted" and names.count(names[0]) == 1, where
    assert not CLOSING.intersection(names[:-1]), where
    assert all(event.event_time.seconds > 0 for event in history.events), where
    check_references(history, where)
    law_names = [laws.kind(event) for event in history.events]
    laws.spans(list(history.events), law_names, lambda index: f"event {index + 1} of {where}")


def check_references(history: WorkflowHistory, where: str) -> None:
    """What closes names what it closes: it exists, is of the right kind, comes before, and is closed once."""
    by_id = {event.event_id: kind(event) for event in history.events}
    closed: Counter[tuple[str, int]] = Counter()
    for event in history.events:
        name, these = kind(event), attributes(event)
        if name in ENDS_OF_A_TASK:
            assert by_id[these.scheduled_event_id] == "WorkflowTaskScheduled", where
            closed[("workflow task", these.scheduled_event_id)] += 1
        elif name.startswith("ActivityTask") and name not in ("ActivityTaskScheduled", "ActivityTaskCancelRequested"):
            assert by_id[these.scheduled_event_id] == "ActivityTaskScheduled", where
            if name != "ActivityTaskStarted":
                closed[("activity", these.scheduled_event_id)] += 1
                if these.started_event_id:
                    assert by_id[these.started_event_id] == "ActivityTaskStarted", where
                    assert these.scheduled_event_id < these.started_event_id < event.event_id, where
        elif name in ("TimerFired", "TimerCanceled"):
            assert by_id[these.started_event_id] == "TimerStarted", where
            closed[("timer", these.started_event_id)] += 1
        elif name.startswith("ChildWorkflowExecution"):
            assert by_id[these.initiated_event_id] == "StartChildWorkflowExecutionInitiated", where
            if name != "ChildWorkflowExecutionStarted":
                closed[("child", these.initiated_event_id)] += 1
    assert all(count == 1 for count in closed.values()), f"{where}: {closed}"
