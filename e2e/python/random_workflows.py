"""Random programs against a real server with a real SDK: results must be what the model says, every history obeys the
laws, and the SDK replays it. A seed that fails is printed with its program and can be run alone.

    random_workflows.py BINARY [--seeds 60] [--first 1] [--features children,updates]
    random_workflows.py HOST:PORT [--rough] [--seconds 60]   a server that runs already; with --rough its nodes are killed
"""

import argparse
import asyncio
import contextlib
import json
import logging
import pathlib
import random
import sys
import time
import traceback
import uuid
from collections import Counter
from datetime import timedelta

from google.protobuf import text_format
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import (
    PauseWorkflowExecutionRequest,
    ResetWorkflowExecutionRequest,
    UnpauseWorkflowExecutionRequest,
)
from temporalio.client import (
    AsyncActivityCancelledError,
    Client,
    WithStartWorkflowOperation,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowHistory,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import RetryPolicy, WorkflowIDConflictPolicy
from temporalio.exceptions import ApplicationError
from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter
from temporalio.service import RetryConfig, RPCError, RPCStatusCode
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, Worker

import laws
import programs
from servers import DevServer

# What the server can do so far, of `programs.FEATURES`.
BUILT = ["children", "external", "updates", "reset", "reset-with-children", "pauses"]
WORKERS = 3
RUN_TIMEOUT = timedelta(seconds=90)
PATIENCE_SECONDS = 120
# What is told of the history of a seed that failed.
TOLD_EVENTS = 60
TOLD_CHARS = 600
# Events that the programs of the everyday run must show; else they prove too little.
SHOWN = [
    "ACTIVITY_TASK_FAILED", "ACTIVITY_TASK_TIMED_OUT", "ACTIVITY_TASK_CANCELED", "ACTIVITY_TASK_CANCEL_REQUESTED",
    "TIMER_FIRED", "TIMER_CANCELED", "MARKER_RECORDED", "WORKFLOW_PROPERTIES_MODIFIED", "WORKFLOW_EXECUTION_SIGNALED",
    "WORKFLOW_EXECUTION_CONTINUED_AS_NEW", "WORKFLOW_EXECUTION_FAILED", "WORKFLOW_EXECUTION_CANCELED",
    "WORKFLOW_EXECUTION_TERMINATED", "WORKFLOW_EXECUTION_TIMED_OUT", "WORKFLOW_EXECUTION_COMPLETED",
    "WORKFLOW_EXECUTION_PAUSED", "WORKFLOW_EXECUTION_UNPAUSED",
]  # fmt: skip

# What the programs do on purpose is not news.
RUNTIME = Runtime(telemetry=TelemetryConfig(logging=LoggingConfig(filter=TelemetryFilter("ERROR", "ERROR"))))
for name in ("temporalio.activity", "temporalio.workflow", "temporalio.worker"):
    logging.getLogger(name).setLevel(logging.CRITICAL)


class Life:
    """One program on the server: what clients do to it while it runs, and what must be true afterwards."""

    def __init__(self, client: Client, seed: int, features: set[str], queue: str, rough: bool) -> None:
        self.client = client
        self.program = programs.Maker(seed, features).program()
        self.features = features
        self.queue = queue
        self.rough = rough
        self.rng = random.Random(f"{seed} driver")
        self.id = f"random-{seed}"
        self.histories: list[WorkflowHistory] = []
        self.kinds: Counter[str] = Counter()

    async def run(self) -> None:
        job = {**self.program, "rough": self.rough}
        if "external" in self.features:
            job["peer"] = f"{self.id}-peer"
            peer = {"steps": [{"do": "wait-signals", "count": 2}], "ending": "return"}
            await self.client.start_workflow("program", peer, id=job["peer"], task_queue=self.queue)
        handle = await self.start(job)
        # The moments are random, not the order: what is sent first arrives first.
        doings = [self.signals(handle), self.updates(handle), self.queries(handle), self.fate(handle), self.pauses()]
        await asyncio.gather(*doings)
        await self.finish(handle)
        if self.program["reset"]:
            await self.reset(handle)

    async def start(self, job: programs.Step) -> WorkflowHandle:
        options = {"id": self.id, "task_queue": self.queue}
        if self.program["ending"] == "retry":
            options["retry_policy"] = RetryPolicy(
                initial_interval=programs.ms(20), maximum_attempts=self.program["attempts"]
            )
        if self.program["ending"] == "time-out":
            options["run_timeout"] = programs.ms(self.rng.randint(300, 3000))
        match self.program["start"]:
            case "signal-with-start":
                options |= {"start_signal": "tell", "start_signal_args": [0, ""]}
            case "delayed":
                options["start_delay"] = programs.ms(300)
            case "update-with-start":
                options["id_conflict_policy"] = WorkflowIDConflictPolicy.USE_EXISTING
                start = WithStartWorkflowOperation("program", job, **options)
                update = self.client.execute_update_with_start_workflow(
                    "bump", args=[0, 0], id="update-0", start_workflow_operation=start
                )
                assert await update == 0
                return await start.workflow_handle()
        return await self.client.start_workflow("program", job, **options)

    async def moment(self) -> None:
        await asyncio.sleep(self.rng.choice([0, 0.01, 0.1, 0.3]) * self.rng.random())

    def is_over(self, error: Exception) -> bool:
        """A program may close before everything has been said to it, or answered: when it is cancelled, and when the
        only update that it waits for came with its start."""
        if isinstance(error, WorkflowUpdateFailedError):
            cause = error.cause
            closed = isinstance(cause, ApplicationError) and cause.type == "AcceptedUpdateCompletedWorkflow"
        else:
            closed = isinstance(error, RPCError) and error.status == RPCStatusCode.NOT_FOUND
        started_with_all = self.program["start"] == "update-with-start" and self.program["updates"] == 1
        return closed and (self.program["ending"] == "cancel" or started_with_all)

    async def signals(self, handle: WorkflowHandle) -> None:
        try:
            for number in range(self.program["signals"]):
                await self.moment()
                await handle.signal("tell", args=[number, "x" * self.rng.choice([0, 10, 3000])])
        except RPCError as error:
            if not self.is_over(error):
                raise

    async def updates(self, handle: WorkflowHandle) -> None:
        try:
            for number in range(self.program["updates"]):
                await self.moment()
                if self.rng.random() < 0.3:
                    await self.refused_update(handle)
                pause = self.rng.choice([0, 0, 50])
                assert await self.update(handle, number, pause) == number * 2
        except (RPCError, WorkflowUpdateFailedError) as error:
            if not self.is_over(error):
                raise

    async def update(self, handle: WorkflowHandle, number: int, pause: int) -> int:
        """Repeats an update that ended with the run that it reached: the next run takes it."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return await handle.execute_update("bump", args=[number, pause], id=f"update-{number}")
            except RPCError as error:
                aborted = error.status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.FAILED_PRECONDITION)
                if not aborted or self.is_over(error) or time.monotonic() > deadline:
                    raise
            except WorkflowUpdateRPCTimeoutOrCancelledError:
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(0.02)

    async def refused_update(self, handle: WorkflowHandle) -> None:
        try:
            await self.update(handle, -1, 0)
        except WorkflowUpdateFailedError as error:
            if self.is_over(error):
                raise
            assert isinstance(error.cause, ApplicationError) and error.cause.type == "Refused", error.cause
        else:
            raise AssertionError("the validator's refusal was lost")

    async def queries(self, handle: WorkflowHandle) -> None:
        """Signals that were acknowledged before a query are seen by it, unless a new run has begun with less."""
        for _ in range(self.rng.randint(0, 3)):
            await self.moment()
            # A paused run refuses queries, and the SDK does not know the status by which it says so.
            with contextlib.suppress(RPCError, ValueError):
                at, _, _ = await handle.query("progress", rpc_timeout=timedelta(seconds=10))
                assert 0 <= at <= len(self.program["steps"])

    async def pauses(self) -> None:
        """The current run stands still for a while, now and then; what it comes to is the same."""
        if "pauses" not in self.features:
            return
        service = self.client.workflow_service
        whole = {"namespace": self.client.namespace, "workflow_id": self.id}
        for number in range(self.rng.choice([0, 0, 1, 2, 4])):
            await self.moment()
            request = PauseWorkflowExecutionRequest(**whole, request_id=f"{self.id}-{number}", reason="random")
            if await self.worked(service.pause_workflow_execution(request, retry=True)):
                await self.moment()
                await self.worked(service.unpause_workflow_execution(UnpauseWorkflowExecutionRequest(**whole), retry=True))

    async def worked(self, call) -> bool:
        """Unless the run that it was meant for has ended: there is none, or another one that is not paused."""
        try:
            await call
            return True
        except RPCError as error:
            if error.status not in (RPCStatusCode.NOT_FOUND, RPCStatusCode.FAILED_PRECONDITION):
                raise
            return False

    async def fate(self, handle: WorkflowHandle) -> None:
        await asyncio.sleep(self.rng.random() * 3)
        if self.program["ending"] == "cancel":
            await handle.cancel()
        elif self.program["ending"] == "terminate":
            try:
                await handle.terminate("told to")
            except RPCError as error:
                # What was repeated after a lost answer finds the workflow closed.
                if not self.rough or error.status != RPCStatusCode.NOT_FOUND:
                    raise

    async def finish(self, handle: WorkflowHandle) -> None:
        status, value = programs.outcome(self.program)
        came_to: object = None
        try:
            came_to = await asyncio.wait_for(handle.result(), PATIENCE_SECONDS)
        except WorkflowFailureError as error:
            came_to = repr(error.cause)
            if isinstance(error.cause, ApplicationError):
                came_to = error.cause.type or repr(error.cause)
        description = await handle.describe()
        assert description.status.name == status, f"closed as {description.status.name}, expected {status}: {came_to}"
        if status in ("COMPLETED", "FAILED"):
            blurred = programs.blurred if self.rough else lambda sharp: sharp
            assert blurred(came_to) == blurred(value), f"came to {came_to}, expected {value}"
        if status == "COMPLETED":
            wanted = programs.memo(self.program)
            known = await description.memo()
            assert all(known.get(key) == wanted[key] for key in wanted if self.written_once(key)), (known, wanted)
        await self.check(self.id, handle.first_execution_run_id or handle.result_run_id)

    def written_once(self, key: str) -> bool:
        return json.dumps(self.program["steps"]).count(f'"do": "memo", "key": "{key}"') == 1

    async def check(self, workflow_id: str, run_id: str | None) -> None:
        """Follows the chain of runs and every child, as the histories name them."""
        while run_id:
            handle = self.client.get_workflow_handle(workflow_id, run_id=run_id)
            history = await handle.fetch_history()
            closed = laws.kind(history.events[-1]) in laws.CLOSING
            assert closed or workflow_id != self.id, f"{workflow_id} is still open"
            self.kinds += laws.check(list(history.events), closed, f"{workflow_id} {run_id}")
            self.histories.append(history)
            for event in history.events:
                if laws.kind(event) == "CHILD_WORKFLOW_EXECUTION_STARTED":
                    child = event.child_workflow_execution_started_event_attributes.workflow_execution
                    await self.check(child.workflow_id, child.run_id)
            run_id = getattr(laws.attributes(history.events[-1]), "new_execution_run_id", None)

    async def reset(self, handle: WorkflowHandle) -> None:
        """Goes back to a random workflow task of the last run; what comes out must be the same again."""
        current = self.client.get_workflow_handle(self.id)
        run_id = (await current.describe()).run_id
        history = await self.client.get_workflow_handle(self.id, run_id=run_id).fetch_history()
        points = [event.event_id for event in history.events if laws.kind(event) == "WORKFLOW_TASK_COMPLETED"]
        request = ResetWorkflowExecutionRequest(
            namespace=self.client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=self.id, run_id=run_id),
            reason="random",
            request_id=str(uuid.uuid4()),
            workflow_task_finish_event_id=self.rng.choice(points),
        )
        answer = await self.client.workflow_service.reset_workflow_execution(request, retry=True)
        again = self.client.get_workflow_handle(self.id, run_id=answer.run_id, first_execution_run_id=answer.run_id)
        # Updates that were admitted in the base run are applied again; a signal is worth nothing twice.
        await self.finish(again)


async def restart_workers(address: str, queue: str, rng: random.Random, over: asyncio.Event) -> None:
    """A few workers, of which now and then one ends and another one begins; some of them remember nothing."""

    async def one(number: int) -> None:
        client = await Client.connect(address, runtime=RUNTIME)
        while not over.is_set():
            worker = Worker(
                client,
                task_queue=queue,
                workflows=[programs.Program],
                activities=programs.ACTIVITIES,
                workflow_runner=UnsandboxedWorkflowRunner(),
                max_cached_workflows=rng.choice([0, 5, 1000]) if number else 1000,
                max_concurrent_activities=200,
                graceful_shutdown_timeout=timedelta(seconds=4),
                max_heartbeat_throttle_interval=timedelta(milliseconds=200),
            )
            async with worker:
                with contextlib.suppress(asyncio.TimeoutError):
                    # The first one stays, so that something always moves.
                    await asyncio.wait_for(over.wait(), None if number == 0 else rng.uniform(1, 6))

    await asyncio.gather(*(one(number) for number in range(WORKERS)))


async def complete_elsewhere(client: Client) -> None:
    """Completes, from outside, activities that said they would be."""
    while True:
        by, fails = await programs.elsewhere.get()
        await asyncio.sleep(0.02)
        if isinstance(by, bytes):
            handle = client.get_async_activity_handle(task_token=by)
        else:
            workflow_id, run_id, activity_id = by
            handle = client.get_async_activity_handle(workflow_id=workflow_id, run_id=run_id, activity_id=activity_id)
        try:
            await handle.heartbeat("soon")
            await (handle.fail(ApplicationError("told to fail")) if fails else handle.complete("done"))
        except (RPCError, AsyncActivityCancelledError) as error:
            # The workflow may have ended by itself or been ended from outside; anything else is news.
            if isinstance(error, RPCError) and error.status != RPCStatusCode.NOT_FOUND:
                traceback.print_exc()


async def run(address: str, first: int, seeds: int, features: set[str], rough: bool = False) -> None:
    begun = time.monotonic()
    # The SDK gives up after 10 s, which a busy machine may need to elect a leader. It is to repeat for longer.
    retries = RetryConfig(max_elapsed_time_millis=60_000, max_retries=100) if rough else None
    client = await Client.connect(address, runtime=RUNTIME, retry_config=retries)
    queue = f"random-{uuid.uuid4()}"
    over = asyncio.Event()
    workers = asyncio.create_task(restart_workers(address, queue, random.Random(first), over))
    finisher = asyncio.create_task(complete_elsewhere(client))
    lives = [Life(client, seed, features, queue, rough) for seed in range(first, first + seeds)]
    ends = await asyncio.gather(*(life.run() for life in lives), return_exceptions=True)
    over.set()
    await workers
    finisher.cancel()
    ran = time.monotonic() - begun
    failures = {life.program["seed"]: error for life, error in zip(lives, ends) if error is not None}
    await replay(lives, failures)
    kinds: Counter[str] = sum((life.kinds for life in lives), Counter())
    for seed, error in failures.items():
        with contextlib.suppress(RPCError):
            history = await client.get_workflow_handle(f"random-{seed}").fetch_history()
            print(f"the last run of seed {seed}:", file=sys.stderr)
            for event in history.events[-TOLD_EVENTS:]:
                told = text_format.MessageToString(laws.attributes(event), as_one_line=True)[:TOLD_CHARS]
                print(f"  {event.event_time.ToJsonString()} {event.event_id} {laws.kind(event)} {told}", file=sys.stderr)
        print(f"seed {seed} failed; again with --first {seed} --seeds 1. Its program:", file=sys.stderr)
        print(json.dumps(lives[seed - first].program), file=sys.stderr)
        traceback.print_exception(error, limit=3, file=sys.stderr)
    if failures:
        raise SystemExit(f"random workflows: {len(failures)} of {seeds} seeds failed: {sorted(failures)}")
    if seeds >= 60:
        missing = [kind for kind in SHOWN if not kinds[kind]]
        assert not missing, f"the programs are too dull; they never show {missing}"
    # The SDK's threads end a moment after its workers; the interpreter must still be there then.
    await asyncio.sleep(0.2)
    runs = sum(len(life.histories) for life in lives)
    took = time.monotonic() - begun
    print(f"random workflows: {seeds} programs, {runs} runs, {kinds.total()} events, {ran:.0f} s, replayed in {took - ran:.0f} s: ok")


async def replay(lives: list[Life], failures: dict[int, BaseException]) -> None:
    replayer = Replayer(workflows=[programs.Program], workflow_runner=UnsandboxedWorkflowRunner())

    async def histories():
        for life in lives:
            for history in life.histories:
                yield history

    results = await replayer.replay_workflows(histories(), raise_on_replay_failure=False)
    by_run = {h.events[0].workflow_execution_started_event_attributes.original_execution_run_id: life for life in lives for h in life.histories}
    for run_id, failure in results.replay_failures.items():
        seed = by_run[run_id].program["seed"] if run_id in by_run else -1
        failures.setdefault(seed, failure)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("server", help="a binary, or the address of a server that runs already")
    parser.add_argument("--seeds", type=int, default=60)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0, help="go on with further seeds until so much time is over")
    parser.add_argument("--features", default=",".join(BUILT), help=f"of {','.join(programs.FEATURES)}")
    parser.add_argument("--rough", action="store_true", help="nodes are being killed: attempts of activities may be lost")
    given = parser.parse_args()
    laws.prove()
    features = set(filter(None, given.features.split(",")))
    assert features <= set(programs.FEATURES), features
    begun = time.monotonic()
    first = given.first
    with DevServer(given.server) if pathlib.Path(given.server).exists() else contextlib.nullcontext() as server:
        address = server.address if server else given.server
        while first == given.first or time.monotonic() - begun < given.seconds:
            await run(address, first, given.seeds, features, given.rough)
            first += given.seeds


if __name__ == "__main__":
    asyncio.run(main())
