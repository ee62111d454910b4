"""Random programs: how they are made from a seed, what they must come to, and the one workflow that interprets them.

A program is plain data: {"steps": [...], ...}; a step is {"do": "sleep", ...}. What a program comes to never depends on
when signals, updates, queries, restarts and resets reach it: that is what makes a model of a few lines possible.
"""

import asyncio
import json
import random
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    ChildWorkflowError,
    TimeoutError,
    TimeoutType,
    is_cancelled_exception,
)
from temporalio.workflow import ActivityCancellationType, ChildWorkflowCancellationType, ParentClosePolicy

Step = dict[str, Any]

# What needs more than commands on activities and timers; a server that has less of it can be tested without.
FEATURES = ("children", "external", "updates", "reset", "reset-with-children", "pauses")

# How an activity can end.
ENDS = ("ok", "failed", "START_TO_CLOSE", "SCHEDULE_TO_START", "HEARTBEAT", "SCHEDULE_TO_CLOSE")

# The longest a step hangs when it is cancelled or times out on purpose.
HANG_SECONDS = 20.0


def ms(value: int) -> timedelta:
    return timedelta(milliseconds=value)


# --- making programs ---


class Maker:
    """Makes a program from a seed. `features` says which steps may be used."""

    def __init__(self, seed: int, features: set[str]) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.features = features
        # A child that completes although it was told to cancel swallows its parent's cancellation.
        self.may_start_children = "children" in features
        self.ids = 0
        self.signals = 0
        self.updates = 0

    def program(self) -> Step:
        rng = self.rng
        ending = rng.choices(["return", "fail", "cancel", "terminate", "time-out", "retry"], [12, 2, 2, 2, 2, 2])[0]
        self.may_start_children = self.may_start_children and ending != "cancel"
        steps = [self.step(0, waits=ending in ("return", "cancel")) for _ in range(rng.randint(2, 7))]
        if ending == "return" and rng.random() < 0.35:
            steps.insert(rng.randint(1, len(steps)), {"do": "continue-as-new"})
        program = {"seed": self.seed, "ending": ending, "steps": steps, "signals": self.signals, "updates": self.updates}
        if ending == "retry":
            program["attempts"] = rng.randint(2, 3)
            program["succeeds"] = rng.randint(2, 4)
        if ending == "cancel":
            # Not beside updates: when the closing command is refused because an update's timer has fired, the SDK's
            # workers never answer the next task of a run whose local activity has its marker already.
            program["cleanup"] = rng.random() < 0.5 and not self.updates
        program["start"] = rng.choices(["plain", "signal-with-start", "delayed"], [6, 3, 1])[0]
        if not self.signals and program["start"] == "signal-with-start":
            program["start"] = "plain"
        if "updates" in self.features and self.updates and rng.random() < 0.3:
            program["start"] = "update-with-start"
        program["reset"] = self.may_reset(program) and rng.random() < 0.4
        return program

    def may_reset(self, program: Step) -> bool:
        has_children = '"child"' in json.dumps(program)
        feature = "reset-with-children" if has_children else "reset"
        return feature in self.features and program["ending"] in ("return", "fail")

    def step(self, depth: int, waits: bool) -> Step:
        rng = self.rng
        kinds = {"sleep": 3, "activity": 5, "local": 2, "memo": 1, "patch": 1, "random": 1, "scope": 3, "race": 1}
        kinds["time-out"] = 1
        kinds["async-activity"] = 1
        if depth < 2:
            kinds["parallel"] = 3
        if waits:
            kinds["wait-signals"] = 3
            if "updates" in self.features:
                kinds["wait-updates"] = 3
        if self.may_start_children and depth < 2:
            kinds["child"] = 3
        if "external" in self.features:
            kinds["signal-peer"] = 1
        kind = rng.choices(list(kinds), list(kinds.values()))[0]
        return getattr(self, kind.replace("-", "_"))(depth, waits)

    def name(self) -> str:
        self.ids += 1
        return f"s{self.ids}"

    def sleep(self, depth: int, waits: bool) -> Step:
        return {"do": "sleep", "ms": self.rng.choice([0, 1, 20, 100, 400, 1100])}

    def activity(self, depth: int, waits: bool) -> Step:
        attempts = self.rng.choice([1, 1, 2, 3])
        fails = self.rng.choice([0, 0, 0, 1, 2])
        size = self.rng.choice([0, 10, 4000])
        beats = self.rng.choice([0, 0, 2])
        return {"do": "activity", "name": self.name(), "fails": fails, "attempts": attempts, "size": size, "beats": beats}

    def local(self, depth: int, waits: bool) -> Step:
        return {"do": "local", "name": self.name(), "fails": self.rng.choice([0, 0, 1, 2]), "attempts": self.rng.choice([1, 3])}

    def async_activity(self, depth: int, waits: bool) -> Step:
        return {"do": "async-activity", "name": self.name(), "by": self.rng.choice(["token", "id"]), "fails": self.rng.random() < 0.3}

    def time_out(self, depth: int, waits: bool) -> Step:
        which = self.rng.choice(["START_TO_CLOSE", "SCHEDULE_TO_START", "HEARTBEAT", "SCHEDULE_TO_CLOSE"])
        return {"do": "time-out", "which": which, "attempts": self.rng.choice([1, 2])}

    def memo(self, depth: int, waits: bool) -> Step:
        return {"do": "memo", "key": self.rng.choice("abc"), "value": self.rng.randint(0, 99)}

    def patch(self, depth: int, waits: bool) -> Step:
        return {"do": "patch", "name": self.rng.choice(["first", "second"])}

    def random(self, depth: int, waits: bool) -> Step:
        return {"do": "random"}

    def scope(self, depth: int, waits: bool) -> Step:
        kinds = ["timer", "activity"] + (["child"] if self.may_start_children else [])
        kind = self.rng.choice(kinds)
        types = ["TRY_CANCEL", "WAIT_CANCELLATION_COMPLETED", "ABANDON"]
        return {"do": "scope", "what": kind, "type": self.rng.choice(types), "ms": self.rng.choice([0, 10, 200, 600])}

    def race(self, depth: int, waits: bool) -> Step:
        return {"do": "race", "ms": self.rng.choice([0, 5, 50])}

    def parallel(self, depth: int, waits: bool) -> Step:
        return {"do": "parallel", "steps": [self.step(depth + 1, waits) for _ in range(self.rng.randint(2, 4))]}

    def wait_signals(self, depth: int, waits: bool) -> Step:
        self.signals += self.rng.randint(0, 3)
        return {"do": "wait-signals", "count": self.signals}

    def wait_updates(self, depth: int, waits: bool) -> Step:
        self.updates += self.rng.randint(0, 2)
        return {"do": "wait-updates", "count": self.updates}

    def signal_peer(self, depth: int, waits: bool) -> Step:
        return {"do": "signal-peer", "lost": self.rng.random() < 0.2}

    def child(self, depth: int, waits: bool) -> Step:
        steps = [self.step(depth + 1, waits=False) for _ in range(self.rng.randint(1, 3))]
        ending = self.rng.choices(["return", "fail", "retry"], [5, 1, 1])[0]
        program = {"steps": steps, "ending": ending, "attempts": 2, "succeeds": self.rng.choice([2, 3])}
        if ending == "return" and self.rng.random() < 0.2:
            steps.insert(1, {"do": "continue-as-new"})
        return {"do": "child", "name": self.name(), "program": program}


# --- what a program must come to ---


def outcome(program: Step) -> tuple[str, Any]:
    """The status in which the last run of a program closes, and its result."""
    results = [result(step) for step in program["steps"] if step["do"] != "continue-as-new"]
    match program["ending"]:
        case "return":
            return "COMPLETED", results
        case "fail":
            return "FAILED", "wanted"
        case "retry":
            return ("COMPLETED", results) if program["succeeds"] <= program["attempts"] else ("FAILED", "wanted")
        case "cancel":
            return "CANCELED", None
        case "terminate":
            return "TERMINATED", None
        case "time-out":
            return "TIMED_OUT", None


def result(step: Step) -> Any:
    match step["do"]:
        case "activity" | "local":
            return "ok" if step["fails"] < step["attempts"] else "failed"
        case "async-activity":
            return "failed" if step["fails"] else "ok"
        case "time-out":
            return step["which"]
        case "scope":
            return "cancelled"
        case "parallel":
            return [result(inner) for inner in step["steps"]]
        case "wait-signals" | "wait-updates":
            return step["count"]
        case "child":
            status, value = outcome(step["program"])
            return value if status == "COMPLETED" else "failed"
        case "signal-peer":
            return "lost" if step["lost"] else "sent"
        case other:
            return other


def blurred(value: Any) -> Any:
    """A value without what depends on attempts: those are lost while nodes are killed, with the worker's answer or task."""
    if isinstance(value, list):
        return [blurred(one) for one in value]
    return "an end" if value in ENDS else value


def memo(program: Step) -> dict[str, int]:
    """What the last run wrote into its memo, steps side by side aside."""
    kinds = [step["do"] for step in program["steps"]]
    begun = kinds.index("continue-as-new") if "continue-as-new" in kinds else 0
    return {step["key"]: step["value"] for step in program["steps"][begun:] if step["do"] == "memo"}


# --- activities ---

# Activities that somebody else completes: (task token or ids, fails).
elsewhere: asyncio.Queue[tuple[Any, bool]] = asyncio.Queue(maxsize=1000)


@activity.defn
async def work(step: Step) -> str:
    """Fails as often as it is told to."""
    for beat in range(step["beats"]):
        activity.heartbeat(beat)
        await asyncio.sleep(0.01)
    if activity.info().attempt <= step["fails"]:
        raise ApplicationError("told to fail", "x" * step["size"])
    return "x" * step["size"]


@activity.defn
async def local_work(step: Step) -> None:
    if activity.info().attempt <= step["fails"]:
        raise ApplicationError("told to fail")


@activity.defn
async def complete_elsewhere(step: Step) -> str:
    info = activity.info()
    by = info.task_token if step["by"] == "token" else (info.workflow_id, info.workflow_run_id, info.activity_id)
    await elsewhere.put((by, step["fails"]))
    activity.raise_complete_async()


@activity.defn
async def hang(beats: bool) -> None:
    """Goes on until it is cancelled, or nobody can still be interested."""
    for _ in range(int((HANG_SECONDS if beats else 3) / 0.1)):
        if beats:
            activity.heartbeat()
        await asyncio.sleep(0.1)


@activity.defn
async def be_late() -> None:
    await asyncio.sleep(2)


@activity.defn
async def always_fail() -> None:
    raise ApplicationError("told to fail")


ACTIVITIES = [work, local_work, complete_elsewhere, hang, be_late, always_fail]
QUICK = RetryPolicy(initial_interval=ms(20), backoff_coefficient=1.5)


# --- the interpreter ---


@workflow.defn(name="program")
class Program:
    """Runs the steps of `job`. A job is a program, where to begin in it, and what earlier runs have seen."""

    @workflow.init
    def __init__(self, job: Step) -> None:
        self.job = job
        self.signals = set(job.get("seen_signals", []))
        self.updates = set(job.get("seen_updates", []))
        self.results = job.get("results", [])
        self.at = job.get("at", 0)
        # How long an activity that was lost on its way is missed.
        self.lost_after = timedelta(seconds=5 if job.get("rough") else 60)
        # How long a heartbeat may be held up by an election.
        self.beat_after = timedelta(seconds=15 if job.get("rough") else 1)

    @workflow.run
    async def run(self, job: Step) -> list:
        try:
            while self.at < len(job["steps"]):
                step = job["steps"][self.at]
                self.at += 1
                if step["do"] == "continue-as-new":
                    await self.continue_as_new()
                self.results.append(await self.step(step))
            await self.end()
        except BaseException as error:
            if is_cancelled_exception(error) and job.get("cleanup"):
                await workflow.execute_local_activity(
                    local_work, {"fails": 0}, start_to_close_timeout=timedelta(seconds=10)
                )
            raise
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self.results

    @workflow.signal
    def tell(self, number: int, ballast: str = "") -> None:
        self.signals.add(number)

    @workflow.update
    async def bump(self, number: int, pause_ms: int) -> int:
        if pause_ms:
            await workflow.sleep(ms(pause_ms))
        self.updates.add(number)
        return number * 2

    @bump.validator
    def check_bump(self, number: int, pause_ms: int) -> None:
        if number < 0:
            raise ApplicationError("numbers are not negative", type="Refused")

    @workflow.query
    def progress(self) -> list:
        return [self.at, len(self.signals), len(self.updates)]

    async def continue_as_new(self) -> None:
        await workflow.wait_condition(workflow.all_handlers_finished)
        job = {**self.job, "at": self.at, "results": self.results}
        job["seen_signals"] = sorted(self.signals)
        job["seen_updates"] = sorted(self.updates)
        workflow.continue_as_new(job)

    async def end(self) -> None:
        match self.job["ending"]:
            case "fail":
                raise ApplicationError("told to fail", type="wanted", non_retryable=True)
            case "retry":
                if workflow.info().attempt < self.job["succeeds"]:
                    raise ApplicationError("told to fail", type="wanted")
            case "cancel" | "terminate" | "time-out":
                await workflow.wait_condition(lambda: False)

    async def step(self, step: Step) -> Any:
        return await getattr(self, step["do"].replace("-", "_"))(step)

    async def sleep(self, step: Step) -> str:
        await workflow.sleep(ms(step["ms"]))
        return "sleep"

    async def activity(self, step: Step) -> str:
        options = {"retry_policy": RetryPolicy(initial_interval=ms(20), maximum_attempts=step["attempts"])}
        if step["beats"]:
            options["heartbeat_timeout"] = timedelta(seconds=30)
        run = workflow.execute_activity(work, step, start_to_close_timeout=self.lost_after, **options)
        return await self.or_failed(run)

    async def local(self, step: Step) -> str:
        policy = RetryPolicy(initial_interval=ms(20), maximum_attempts=step["attempts"])
        run = workflow.execute_local_activity(
            local_work, step, start_to_close_timeout=timedelta(seconds=60), retry_policy=policy
        )
        return await self.or_failed(run)

    async def async_activity(self, step: Step) -> str:
        once = RetryPolicy(maximum_attempts=1)
        run = workflow.execute_activity(
            complete_elsewhere, step, start_to_close_timeout=self.lost_after, retry_policy=once
        )
        return await self.or_failed(run)

    async def or_failed(self, run) -> str:
        try:
            await run
            return "ok"
        except (ActivityError, ApplicationError) as error:
            # A local activity may fail without the wrapper.
            if is_cancelled_exception(error):
                raise
            return "failed"

    async def time_out(self, step: Step) -> str:
        policy = RetryPolicy(initial_interval=ms(20), maximum_attempts=step["attempts"])
        minute = timedelta(seconds=60)
        match step["which"]:
            case "START_TO_CLOSE":
                run = workflow.execute_activity(be_late, start_to_close_timeout=ms(300), retry_policy=policy)
            case "HEARTBEAT":
                run = workflow.execute_activity(
                    be_late, start_to_close_timeout=minute, heartbeat_timeout=ms(300), retry_policy=policy
                )
            case "SCHEDULE_TO_START":
                run = workflow.execute_activity(
                    be_late, task_queue="nobody", start_to_close_timeout=minute, schedule_to_start_timeout=ms(200)
                )
            case "SCHEDULE_TO_CLOSE":
                run = workflow.execute_activity(always_fail, schedule_to_close_timeout=ms(500), retry_policy=QUICK)
        try:
            await run
            return "ok"
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            if step["which"] == "SCHEDULE_TO_CLOSE":
                # No attempt fits any more: the last failure stands, and the reason is in the retry state.
                return "SCHEDULE_TO_CLOSE" if error.retry_state.name == "TIMEOUT" else error.retry_state.name
            assert isinstance(error.cause, TimeoutError), error.cause
            return TimeoutType(error.cause.type).name

    async def memo(self, step: Step) -> str:
        workflow.upsert_memo({step["key"]: step["value"]})
        return "memo"

    async def patch(self, step: Step) -> str:
        # Not in one go with a local activity: when that was recorded on its own, the SDK's replay asks for the patch too
        # early, against the official server too.
        await workflow.sleep(ms(1))
        return "patch" if workflow.patched(step["name"]) else "unpatched"

    async def random(self, step: Step) -> str:
        if workflow.random().random() < 0.5:
            await workflow.sleep(ms(1))
        workflow.uuid4()
        return "random"

    async def scope(self, step: Step) -> str:
        task = asyncio.create_task(self.hanging(step))
        await workflow.sleep(ms(step["ms"]))
        task.cancel()
        try:
            await task
            return "finished"
        except BaseException as error:
            # A task that was lost with a node times out, and nobody is there any more to be cancelled.
            lost = self.job.get("rough") and isinstance(error, ActivityError)
            if not (lost or is_cancelled_exception(error)) or workflow.cancellation_reason() is not None:
                raise
            return "cancelled"

    async def hanging(self, step: Step) -> None:
        kind = ActivityCancellationType[step["type"]]
        long = timedelta(seconds=HANG_SECONDS)
        match step["what"]:
            case "timer":
                await workflow.sleep(long)
            case "activity":
                await workflow.execute_activity(
                    hang,
                    kind != ActivityCancellationType.ABANDON,
                    start_to_close_timeout=3 * long,
                    heartbeat_timeout=self.beat_after if kind != ActivityCancellationType.ABANDON else None,
                    cancellation_type=kind,
                )
            case "child":
                await workflow.execute_child_workflow(
                    Program.run,
                    {"steps": [], "ending": "cancel"},
                    cancellation_type=ChildWorkflowCancellationType[step["type"]],
                    parent_close_policy=ParentClosePolicy.TERMINATE,
                )

    async def race(self, step: Step) -> str:
        """Whether the timer or its cancellation is first depends on the moment; both are right."""
        task = asyncio.create_task(workflow.sleep(ms(20)))
        await workflow.sleep(ms(step["ms"]))
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            if workflow.cancellation_reason() is not None:
                raise
        return "race"

    async def parallel(self, step: Step) -> list:
        return list(await asyncio.gather(*(self.step(inner) for inner in step["steps"])))

    async def wait_signals(self, step: Step) -> int:
        await workflow.wait_condition(lambda: len(self.signals) >= step["count"])
        return step["count"]

    async def wait_updates(self, step: Step) -> int:
        await workflow.wait_condition(lambda: len(self.updates) >= step["count"])
        return step["count"]

    async def signal_peer(self, step: Step) -> str:
        name = "nobody" if step["lost"] else self.job.get("peer", "nobody")
        try:
            await workflow.get_external_workflow_handle(name).signal("tell", 0)
            return "sent"
        except ApplicationError:
            return "lost"

    async def child(self, step: Step) -> Any:
        program = {**step["program"], "peer": self.job.get("peer", "nobody"), "rough": self.job.get("rough", False)}
        policy = RetryPolicy(initial_interval=ms(20), maximum_attempts=program["attempts"])
        try:
            return await workflow.execute_child_workflow(
                Program.run,
                program,
                id=f"{workflow.info().workflow_id}/{step['name']}",
                retry_policy=policy if program["ending"] == "retry" else None,
            )
        except ChildWorkflowError as error:
            if is_cancelled_exception(error):
                raise
            return "failed"
