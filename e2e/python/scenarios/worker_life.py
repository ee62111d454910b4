"""Workers that come and go, fail, change their code, have no cache, or share a queue."""

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.exceptions import ApplicationError
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner
from temporalio.workflow import NondeterminismError

from harness import PATIENT, THREADS, Env, all_of, eventually, kinds, one_of, scenario


@activity.defn
async def add(a: int, b: int) -> int:
    return a + b


@workflow.defn
class Steps:
    """Activities and timers by turns, and a signal for each next step."""

    def __init__(self) -> None:
        self.go = 0
        self.reached = 0

    @workflow.run
    async def run(self, steps: int) -> int:
        total = 0
        for step in range(steps):
            await workflow.wait_condition(lambda step=step: self.go > step)
            total = await workflow.execute_activity(add, args=[total, step], **PATIENT)
            await workflow.sleep(0.01)
            self.reached = step + 1
        return total

    @workflow.signal
    def next(self) -> None:
        self.go += 1

    @workflow.query
    def where(self) -> int:
        return self.reached


@scenario
async def worker_restarts_in_the_middle(env: Env) -> None:
    handle = await env.start(Steps.run, 4)
    for step in range(4):
        # Each step has a worker of its own, which has to replay what came before.
        async with env.worker([Steps], [add]):
            await handle.signal(Steps.next)

            async def reached(step: int = step) -> bool:
                return await handle.query(Steps.where) == step + 1

            await eventually(reached)
            if step == 3:
                assert await handle.result() == 6


@scenario
async def no_cache_replays_every_task(env: Env) -> None:
    async with env.worker([Steps], [add], max_cached_workflows=0):
        handle = await env.start(Steps.run, 5)
        for _ in range(5):
            await handle.signal(Steps.next)
        assert await handle.result() == 10
        assert await handle.query(Steps.where) == 5
    history = await env.history(handle)
    queues = {scheduled.task_queue.name for scheduled in all_of(history, "WorkflowTaskScheduled")}
    assert queues == {env.queue}, queues


@scenario
async def two_workers_share_a_queue(env: Env) -> None:
    async with env.worker([Steps], [add], identity="one"), env.worker([Steps], [add], identity="two", client=env.client):
        handles = [await env.start(Steps.run, 2, suffix=str(number)) for number in range(20)]
        await asyncio.gather(*(handle.signal(Steps.next) for handle in handles for _ in range(2)))
        assert await asyncio.gather(*(handle.result() for handle in handles)) == [1] * 20
    identities = set()
    for handle in handles:
        identities |= {started.identity for started in all_of(await env.history(handle), "WorkflowTaskStarted")}
    assert identities <= {"one", "two"} and identities, identities


BROKEN: set[str] = set()


@workflow.defn(name="Repairable")
class Repairable:
    @workflow.run
    async def run(self) -> str:
        await workflow.sleep(0.05)
        if workflow.info().workflow_id in BROKEN:
            raise ValueError("a bug, not a failure of the workflow")
        return await workflow.execute_activity(name_it, **PATIENT)


@activity.defn
async def name_it() -> str:
    return "repaired"


@scenario
async def workflow_task_fails_until_the_code_is_repaired(env: Env) -> None:
    BROKEN.add(env.id())
    async with env.worker([Repairable], [name_it]):
        handle = await env.start(Repairable.run, task_timeout=timedelta(seconds=5))
        history = await env.until(handle, "WorkflowTaskFailed")
        failed = all_of(history, "WorkflowTaskFailed")[0]
        assert failed.cause == 14 and "a bug" in failed.failure.message
        BROKEN.remove(env.id())
        assert await handle.result() == "repaired"
    history = await env.history(handle)
    # However many attempts it took: those after the first few are not in the history.
    if env.calm:
        assert kinds(history).count("WorkflowTaskFailed") <= 2, kinds(history)


@workflow.defn(name="Shifting")
class ShiftingOld:
    def __init__(self) -> None:
        self.go = False

    @workflow.run
    async def run(self) -> str:
        await workflow.execute_activity(add, args=[1, 1], **PATIENT)
        await workflow.wait_condition(lambda: self.go)
        return "old"

    @workflow.signal
    def proceed(self) -> None:
        self.go = True


@workflow.defn(name="Shifting")
class ShiftingNew:
    """Not what the history says: a timer where there was an activity."""

    def __init__(self) -> None:
        self.go = False

    @workflow.run
    async def run(self) -> str:
        await workflow.sleep(1)
        await workflow.wait_condition(lambda: self.go)
        return "new"

    @workflow.signal
    def proceed(self) -> None:
        self.go = True


@scenario
async def changed_code_is_found_out(env: Env) -> None:
    async with env.worker([ShiftingOld], [add]):
        handle = await env.start(ShiftingOld.run, task_timeout=timedelta(seconds=5))
        await env.until(handle, "ActivityTaskCompleted")
        history = await env.until(handle, "WorkflowTaskCompleted", 2)
    replayer = Replayer(
        workflows=[ShiftingNew],
        workflow_runner=UnsandboxedWorkflowRunner(),
        workflow_task_executor=THREADS,
        debug_mode=True,
    )
    try:
        await replayer.replay_workflow(history)
        raise AssertionError("the replay did not notice")
    except NondeterminismError:
        pass
    env.workflows.clear()
    async with env.worker([ShiftingNew], [add]):
        await handle.signal("proceed")
        history = await env.until(handle, "WorkflowTaskFailed")
        assert all_of(history, "WorkflowTaskFailed")[-1].cause == 24
    env.workflows.clear()
    async with env.worker([ShiftingOld], [add]):
        assert await handle.result() == "old"


@workflow.defn(name="Versioned")
class VersionedOne:
    def __init__(self) -> None:
        self.go = False

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.wait_condition(lambda: self.go)
        return ["first"]

    @workflow.signal
    def proceed(self) -> None:
        self.go = True


@workflow.defn(name="Versioned")
class VersionedTwo(VersionedOne):
    @workflow.run
    async def run(self) -> list[str]:
        seen = []
        if workflow.patched("more-work"):
            seen.append(str(await workflow.execute_activity(add, args=[2, 2], **PATIENT)))
        await workflow.wait_condition(lambda: self.go)
        return [*seen, "second"]


@workflow.defn(name="Versioned")
class VersionedThree(VersionedOne):
    @workflow.run
    async def run(self) -> list[str]:
        workflow.deprecate_patch("more-work")
        number = await workflow.execute_activity(add, args=[2, 2], **PATIENT)
        await workflow.wait_condition(lambda: self.go)
        return [str(number), "third"]


@scenario
async def patched_code_runs_old_and_new(env: Env) -> None:
    async with env.worker([VersionedOne]):
        old = await env.start(VersionedOne.run, suffix="old")
        await env.until(old, "WorkflowTaskCompleted")
    env.workflows.clear()
    async with env.worker([VersionedTwo], [add]):
        new = await env.start(VersionedTwo.run, suffix="new")
        await env.until(new, "ActivityTaskCompleted")
        await old.signal("proceed")
        assert await old.result() == ["second"]
    env.workflows.clear()
    async with env.worker([VersionedThree], [add]):
        await new.signal("proceed")
        assert await new.result() == ["4", "third"]
    history = await env.history(new)
    assert one_of(history, "MarkerRecorded").marker_name == "core_patch"
    upsert = one_of(history, "UpsertWorkflowSearchAttributes")
    assert b"more-work" in upsert.search_attributes.indexed_fields["TemporalChangeVersion"].data
    assert "MarkerRecorded" not in kinds(await env.history(old))
    # The third code has no place for a history from before the patch.
    env.handles.remove(old)
    env.handles.append(new)


@workflow.defn
class Random:
    @workflow.run
    async def run(self) -> dict[str, Any]:
        first = [workflow.random().random(), str(workflow.uuid4()), workflow.now().isoformat()]
        await workflow.sleep(0.05)
        second = [workflow.random().random(), str(workflow.uuid4()), workflow.now().isoformat()]
        order = [number async for number in shuffled(second)]
        return {"first": first, "second": second, "order": order}


async def shuffled(values: list[Any]) -> Any:
    for value in values:
        yield str(value)


@scenario
async def randomness_and_time_are_replayed(env: Env) -> None:
    async with env.worker([Random], max_cached_workflows=0):
        handle = await env.start(Random.run)
        result = await handle.result()
    assert result["first"] != result["second"] and result["first"][2] < result["second"][2]


@workflow.defn
class Unserved:
    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_activity(
            "served_later", task_queue=workflow.info().workflow_id + "-later", result_type=str, **PATIENT
        )


@activity.defn(name="served_later")
async def served_later() -> str:
    if not activity.info().task_queue.endswith("-later"):
        raise ApplicationError("on the wrong queue")
    return "served"


@scenario
async def activity_waits_for_its_queue(env: Env) -> None:
    async with env.worker([Unserved]):
        handle = await env.start(Unserved.run)
        await env.until(handle, "ActivityTaskScheduled")
        async with env.worker([], [served_later], task_queue=env.id("later")):
            assert await handle.result() == "served"


@workflow.defn
class Built:
    """Tells the build that each of its tasks was made by, as it knows it after a replay."""

    def __init__(self) -> None:
        self.go = False
        self.builds: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        self.builds.append(workflow.info().get_current_build_id())
        await workflow.wait_condition(lambda: self.go)
        self.builds.append(workflow.info().get_current_build_id())
        return self.builds

    @workflow.signal
    def next(self) -> None:
        self.go = True

    @workflow.query
    def seen(self) -> list[str]:
        return self.builds


@scenario
async def history_tells_the_build_of_each_task(env: Env) -> None:
    handle = await env.start(Built.run)
    async with env.worker([Built], build_id="build-one"):

        async def reached() -> bool:
            return await handle.query(Built.seen) == ["build-one"]

        await eventually(reached)
    async with env.worker([Built], build_id="build-two"):
        await handle.signal(Built.next)
        # The second worker learns of the first build from history alone.
        assert await handle.result() == ["build-one", "build-two"]
    history = await env.history(handle)
    completed = all_of(history, "WorkflowTaskCompleted")
    builds = [task.worker_version.build_id for task in completed]
    assert builds[0] == "build-one" and builds[-1] == "build-two", builds
    assert set(builds) == {"build-one", "build-two"}, builds
    started = {event.event_id: event.workflow_task_started_event_attributes for event in history.events}
    assert [started[task.started_event_id].worker_version.build_id for task in completed] == builds
    # A build id is no checksum of a binary: nothing names it as one.
    assert not any(task.binary_checksum for task in completed)
    info = (await handle.describe()).raw_description.workflow_execution_info
    assert "BinaryChecksums" not in info.search_attributes.indexed_fields, info.search_attributes
    assert b'"unversioned:build-one"' in info.search_attributes.indexed_fields["BuildIds"].data
