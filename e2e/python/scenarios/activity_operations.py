"""What an operator does to a pending activity: pause, unpause, reset, other options."""

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from temporalio import activity, workflow
from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import (
    PauseActivityRequest,
    ResetActivityRequest,
    UnpauseActivityRequest,
    UpdateActivityOptionsRequest,
)
from temporalio.client import WorkflowHandle
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError

from harness import Env, eventually, one_of, scenario

# Activities fail for workflows that are not in here.
HEALED: set[str] = set()
ATTEMPTS: Counter[str] = Counter()


@activity.defn
async def ailing() -> int:
    name = activity.info().workflow_id or ""
    ATTEMPTS[name] += 1
    if name not in HEALED:
        raise ApplicationError("not healed yet")
    return activity.info().attempt


@workflow.defn
class Ward:
    @workflow.run
    async def run(self, interval_ms: int) -> int:
        return await workflow.execute_activity(
            ailing,
            activity_id="patient",
            start_to_close_timeout=timedelta(seconds=5),
            retry_policy=RetryPolicy(
                initial_interval=timedelta(milliseconds=interval_ms), backoff_coefficient=1.0
            ),
        )


async def pending(handle: WorkflowHandle) -> Any:
    activities = (await handle.describe()).raw_description.pending_activities
    return activities[0] if activities else None


async def until_pending(handle: WorkflowHandle, condition: Callable[[Any], bool]) -> Any:
    async def there() -> Any:
        one = await pending(handle)
        return one if one is not None and condition(one) else None

    return await eventually(there)


def target(handle: WorkflowHandle) -> dict[str, Any]:
    execution = WorkflowExecution(workflow_id=handle.id)
    return {"namespace": "default", "execution": execution, "id": "patient", "identity": "operator"}


@scenario
async def activity_is_paused_and_unpaused(env: Env) -> None:
    service = env.client.workflow_service
    async with env.worker([Ward], [ailing]):
        handle = await env.start(Ward.run, 100)
        await until_pending(handle, lambda one: one.attempt >= 2)
        await service.pause_activity(PauseActivityRequest(**target(handle), reason="to look at it"), retry=True)
        paused = await until_pending(handle, lambda one: one.paused and one.state == 4)
        assert paused.pause_info.manual.identity == "operator"
        assert paused.pause_info.manual.reason == "to look at it"
        before = ATTEMPTS[handle.id]
        await asyncio.sleep(0.5)
        assert ATTEMPTS[handle.id] <= before + (0 if env.calm else 1)
        HEALED.add(handle.id)
        await service.unpause_activity(UnpauseActivityRequest(**target(handle)), retry=True)
        assert await handle.result() >= 2


@scenario
async def activity_is_reset(env: Env) -> None:
    service = env.client.workflow_service
    async with env.worker([Ward], [ailing]):
        # The second attempt would come in an hour.
        handle = await env.start(Ward.run, 3_600_000)
        await until_pending(handle, lambda one: one.attempt == 2)
        HEALED.add(handle.id)
        await service.reset_activity(ResetActivityRequest(**target(handle)), retry=True)
        attempt = await handle.result()
    assert one_of(await env.history(handle), "ActivityTaskStarted").attempt == attempt
    if env.calm:
        assert attempt == 1


@scenario
async def activity_gets_other_options(env: Env) -> None:
    service = env.client.workflow_service
    async with env.worker([Ward], [ailing]):
        handle = await env.start(Ward.run, 3_600_000)
        await until_pending(handle, lambda one: one.attempt == 2)
        HEALED.add(handle.id)
        options = ActivityOptions()
        options.retry_policy.initial_interval.FromTimedelta(timedelta(milliseconds=100))
        options.start_to_close_timeout.FromTimedelta(timedelta(seconds=9))
        mask = FieldMask(paths=["retry_policy.initial_interval", "start_to_close_timeout"])
        answer = await service.update_activity_options(
            UpdateActivityOptionsRequest(**target(handle), activity_options=options, update_mask=mask), retry=True
        )
        assert answer.activity_options.start_to_close_timeout.ToTimedelta() == timedelta(seconds=9)
        assert answer.activity_options.retry_policy.initial_interval.ToTimedelta() == timedelta(milliseconds=100)
        assert await handle.result() >= 2
