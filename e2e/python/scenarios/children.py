"""Workflows and other workflows: children with all their ends, parent close policies, signals and cancels across."""

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError
from temporalio.common import RetryPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import (
    ApplicationError,
    CancelledError,
    ChildWorkflowError,
    TerminatedError,
    WorkflowAlreadyStartedError,
)
from temporalio.workflow import ChildWorkflowCancellationType, ParentClosePolicy

from harness import Env, all_of, eventually, kinds, one_of, scenario, without_tasks


@workflow.defn
class Child:
    """Does as it is told: by its argument, or by a signal."""

    def __init__(self) -> None:
        self.order: str | None = None

    @workflow.run
    async def run(self, order: str) -> str:
        if order == "continue":
            workflow.continue_as_new("return me")
        if order == "wait":
            await workflow.wait_condition(lambda: self.order is not None)
            order = self.order or ""
        if order.startswith("fail"):
            raise ApplicationError("the child fails", order, type="ChildFailure")
        if order == "retried" and workflow.info().attempt < 3:
            raise ApplicationError("not yet")
        parent = workflow.info().parent
        assert parent is None or parent.workflow_id
        return f"did {order}"

    @workflow.signal
    def tell(self, order: str) -> None:
        self.order = order


def reason(error: BaseException) -> str:
    """What stands behind a child's failure."""
    assert isinstance(error, ChildWorkflowError), error
    cause = error.cause
    if isinstance(cause, ApplicationError):
        return f"{cause.type}: {cause.message}: {list(cause.details)}"
    return type(cause).__name__


@workflow.defn
class Parent:
    @workflow.run
    async def run(self, orders: list[str]) -> list[str]:
        async def one(order: str) -> str:
            try:
                return await workflow.execute_child_workflow(
                    Child.run,
                    order,
                    id=f"{workflow.info().workflow_id}-{order.replace(' ', '-')}",
                    retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=50)) if order == "retried" else None,
                    run_timeout=timedelta(seconds=1) if order == "wait" else None,
                    static_summary=f"to {order}",
                )
            except ChildWorkflowError as error:
                return reason(error)

        return list(await asyncio.gather(*(one(order) for order in orders)))


@scenario
async def children_succeed_fail_retry_and_time_out(env: Env) -> None:
    async with env.worker([Parent, Child]):
        handle = await env.start(Parent.run, ["work", "fail", "retried", "continue", "wait"])
        result = await handle.result()
    assert result == [
        "did work",
        "ChildFailure: the child fails: ['fail']",
        "did retried",
        "did return me",
        "TimeoutError",
    ], result
    history = await env.history(handle)
    events = kinds(history)
    assert events.count("ChildWorkflowExecutionStarted") == 5
    assert events.count("ChildWorkflowExecutionCompleted") == 3
    assert events.count("ChildWorkflowExecutionFailed") == 1
    assert events.count("ChildWorkflowExecutionTimedOut") == 1
    child = await env.history_of(f"{handle.id}-work")
    started = one_of(child, "WorkflowExecutionStarted")
    assert started.parent_workflow_execution.workflow_id == handle.id
    assert started.parent_workflow_execution.run_id == handle.result_run_id
    assert started.root_workflow_execution.workflow_id == handle.id
    initiated = all_of(history, "StartChildWorkflowExecutionInitiated")
    assert {one.parent_close_policy for one in initiated} == {1}


@scenario
async def child_starts_with_its_parent_in_order(env: Env) -> None:
    async with env.worker([Parent, Child]):
        handle = await env.start(Parent.run, ["work"])
        assert await handle.result() == ["did work"]
    assert without_tasks(await env.history(handle)) == [
        "WorkflowExecutionStarted",
        "StartChildWorkflowExecutionInitiated",
        "ChildWorkflowExecutionStarted",
        "ChildWorkflowExecutionCompleted",
        "WorkflowExecutionCompleted",
    ]


@workflow.defn
class Family:
    """Starts a child that waits, and ends it in one of several ways."""

    @workflow.run
    async def run(self, how: str) -> str:
        child = await workflow.start_child_workflow(
            Child.run,
            "wait",
            id=f"{workflow.info().workflow_id}-child",
            cancellation_type=ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
        )
        if how == "signal":
            await child.signal(Child.tell, "as signalled")
        elif how == "signal outside":
            other = workflow.get_external_workflow_handle_for(Child.run, child.id)
            await other.signal(Child.tell, "as signalled")
        elif how == "cancel":
            child.cancel()
        elif how == "cancel outside":
            await workflow.get_external_workflow_handle(child.id, run_id=child.first_execution_run_id).cancel()
        try:
            return await child
        except ChildWorkflowError as error:
            return reason(error)


@scenario
async def child_is_signalled(env: Env) -> None:
    async with env.worker([Family, Child]):
        by_child = await env.start(Family.run, "signal", suffix="child")
        by_id = await env.start(Family.run, "signal outside", suffix="id")
        assert await by_child.result() == await by_id.result() == "did as signalled"
    for handle in (by_child, by_id):
        history = await env.history(handle)
        initiated = one_of(history, "SignalExternalWorkflowExecutionInitiated")
        assert initiated.signal_name == "tell"
        assert initiated.child_workflow_only == (handle is by_child)
        assert one_of(history, "ExternalWorkflowExecutionSignaled")
    signaled = one_of(await env.history_of(f"{by_child.id}-child"), "WorkflowExecutionSignaled")
    assert signaled.external_workflow_execution.workflow_id == by_child.id


@scenario
async def child_is_cancelled(env: Env) -> None:
    async with env.worker([Family, Child]):
        by_child = await env.start(Family.run, "cancel", suffix="child")
        by_id = await env.start(Family.run, "cancel outside", suffix="id")
        assert await by_child.result() == await by_id.result() == "CancelledError"
    for handle in (by_child, by_id):
        history = await env.history(handle)
        assert one_of(history, "RequestCancelExternalWorkflowExecutionInitiated")
        assert one_of(history, "ExternalWorkflowExecutionCancelRequested")
        assert one_of(history, "ChildWorkflowExecutionCanceled")
        child = await env.history_of(f"{handle.id}-child")
        requested = one_of(child, "WorkflowExecutionCancelRequested")
        assert requested.external_workflow_execution.workflow_id == handle.id


@scenario
async def child_is_terminated_by_a_client(env: Env) -> None:
    async with env.worker([Family, Child]):
        handle = await env.start(Family.run, "do nothing")
        await env.until(handle, "ChildWorkflowExecutionStarted")
        pending = (await handle.describe()).raw_description.pending_children
        assert [child.workflow_id for child in pending] == [f"{handle.id}-child"]
        await env.terminate(env.client.get_workflow_handle(f"{handle.id}-child"), reason="by hand")
        assert await handle.result() == "TerminatedError"
    assert one_of(await env.history(handle), "ChildWorkflowExecutionTerminated")


@workflow.defn
class Twice:
    @workflow.run
    async def run(self) -> str:
        name = f"{workflow.info().workflow_id}-child"
        first = await workflow.start_child_workflow(Child.run, "wait", id=name)
        try:
            await workflow.start_child_workflow(Child.run, "again", id=name)
            told = "it started twice"
        except WorkflowAlreadyStartedError as error:
            told = f"{error.workflow_type} runs already"
        await first.signal(Child.tell, "the first")
        return f"{told}; {await first}"


@scenario
async def child_whose_id_is_taken(env: Env) -> None:
    async with env.worker([Twice, Child]):
        handle = await env.start(Twice.run)
        assert await handle.result() == "Child runs already; did the first"
    failed = one_of(await env.history(handle), "StartChildWorkflowExecutionFailed")
    assert failed.cause == 1


@workflow.defn
class Leaving:
    """Leaves children behind, one for each policy."""

    def __init__(self) -> None:
        self.go = False

    @workflow.run
    async def run(self) -> list[str]:
        names = []
        for policy in (ParentClosePolicy.TERMINATE, ParentClosePolicy.REQUEST_CANCEL, ParentClosePolicy.ABANDON):
            name = f"{workflow.info().workflow_id}-{policy.name}"
            await workflow.start_child_workflow(Child.run, "wait", id=name, parent_close_policy=policy)
            names.append(name)
        await workflow.wait_condition(lambda: self.go)
        return names

    @workflow.signal
    def leave(self) -> None:
        self.go = True


@scenario
async def parent_close_policies(env: Env) -> None:
    async with env.worker([Leaving, Child]):
        handle = await env.start(Leaving.run)
        await handle.signal(Leaving.leave)
        terminated, cancelled, abandoned = (env.client.get_workflow_handle(name) for name in await handle.result())
        for child, kind in ((terminated, TerminatedError), (cancelled, CancelledError)):
            try:
                await child.result()
                raise AssertionError("it was left alone")
            except WorkflowFailureError as error:
                assert isinstance(error.cause, kind), error.cause
        assert (await abandoned.describe()).status == WorkflowExecutionStatus.RUNNING
        await abandoned.signal(Child.tell, "its own thing")
        assert await abandoned.result() == "did its own thing"
    terminated_history = await env.history_of(terminated.id)
    assert one_of(terminated_history, "WorkflowExecutionTerminated").reason == "by parent close policy"


@scenario
async def termination_of_the_parent_reaches_the_children(env: Env) -> None:
    async with env.worker([Leaving, Child]):
        handle = await env.start(Leaving.run)
        await env.until(handle, "ChildWorkflowExecutionStarted", 3)
        await env.terminate(handle, reason="the parent goes")
        for policy, status in (
            ("TERMINATE", WorkflowExecutionStatus.TERMINATED),
            ("REQUEST_CANCEL", WorkflowExecutionStatus.CANCELED),
        ):
            child = env.client.get_workflow_handle(f"{handle.id}-{policy}")

            async def ended(child: Any = child, status: Any = status) -> bool:
                return (await child.describe()).status == status

            await eventually(ended)
        abandoned = env.client.get_workflow_handle(f"{handle.id}-ABANDON")
        await abandoned.signal(Child.tell, "go on")
        assert await abandoned.result() == "did go on"


@workflow.defn
class CancelledParent:
    @workflow.run
    async def run(self, how: int) -> str:
        try:
            return await workflow.execute_child_workflow(
                Child.run,
                "wait",
                id=f"{workflow.info().workflow_id}-child",
                cancellation_type=ChildWorkflowCancellationType(how),
                parent_close_policy=ParentClosePolicy.ABANDON,
            )
        except ChildWorkflowError as error:
            assert isinstance(error.cause, CancelledError)
            return "the child was cancelled"


async def cancel_parent(env: Env, how: ChildWorkflowCancellationType) -> tuple[list[str], WorkflowExecutionStatus]:
    async with env.worker([CancelledParent, Child]):
        handle = await env.start(CancelledParent.run, int(how))
        await env.until(handle, "ChildWorkflowExecutionStarted")
        # The parent has seen that its child runs.
        await env.until(handle, "WorkflowTaskCompleted", 2)
        await handle.cancel()
        assert await handle.result() == "the child was cancelled"
        child = env.client.get_workflow_handle(f"{handle.id}-child")
        status = (await child.describe()).status
        assert status is not None
        if how == ChildWorkflowCancellationType.ABANDON:
            await child.signal(Child.tell, "go on")
            assert await child.result() == "did go on"
    return kinds(await env.history(handle)), status


@scenario
async def cancelled_parent_waits_for_its_child(env: Env) -> None:
    events, status = await cancel_parent(env, ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED)
    assert status == WorkflowExecutionStatus.CANCELED
    assert "ChildWorkflowExecutionCanceled" in events


@scenario
async def cancelled_parent_waits_for_the_request_only(env: Env) -> None:
    events, _ = await cancel_parent(env, ChildWorkflowCancellationType.WAIT_CANCELLATION_REQUESTED)
    assert "ExternalWorkflowExecutionCancelRequested" in events


@scenario
async def cancelled_parent_abandons_its_child(env: Env) -> None:
    events, status = await cancel_parent(env, ChildWorkflowCancellationType.ABANDON)
    assert status == WorkflowExecutionStatus.RUNNING
    assert "RequestCancelExternalWorkflowExecutionInitiated" not in events


@workflow.defn
class Reaching:
    """Signals and cancels workflows that are not its own, some of which do not exist."""

    @workflow.run
    async def run(self, target: str) -> list[str]:
        other = workflow.get_external_workflow_handle(target)
        await other.signal("tell", "what a stranger says")
        nobody = workflow.get_external_workflow_handle(f"{target}-nobody")
        seen = []
        for attempt in (nobody.signal("tell", "hello?"), nobody.cancel()):
            try:
                await attempt
                seen.append("reached")
            except ApplicationError as error:
                seen.append(error.type or error.message)
        return seen


@scenario
async def workflows_reach_each_other(env: Env) -> None:
    async with env.worker([Reaching, Child]):
        target = await env.start(Child.run, "wait", suffix="target")
        handle = await env.start(Reaching.run, target.id, suffix="reaching")
        seen = await handle.result()
        assert await target.result() == "did what a stranger says"
    assert len(seen) == 2 and "reached" not in seen, seen
    history = await env.history(handle)
    assert one_of(history, "SignalExternalWorkflowExecutionFailed").cause == 1
    assert one_of(history, "RequestCancelExternalWorkflowExecutionFailed").cause == 1


@workflow.defn
class Generations:
    @workflow.run
    async def run(self, depth: int) -> int:
        if depth == 0:
            return 1
        children = [
            workflow.execute_child_workflow(
                Generations.run, depth - 1, id=f"{workflow.info().workflow_id}.{number}"
            )
            for number in range(3)
        ]
        return 1 + sum(await asyncio.gather(*children))


@scenario
async def generations_of_children(env: Env) -> None:
    async with env.worker([Generations]):
        handle = await env.start(Generations.run, 2)
        assert await handle.result() == 13
    grandchild = await env.history_of(f"{handle.id}.1.2")
    started = one_of(grandchild, "WorkflowExecutionStarted")
    assert started.root_workflow_execution.workflow_id == handle.id
    assert started.parent_workflow_execution.workflow_id == f"{handle.id}.1"


@workflow.defn
class Mourning:
    @workflow.run
    async def run(self) -> str:
        reuse = WorkflowIDReusePolicy.REJECT_DUPLICATE
        name = f"{workflow.info().workflow_id}-child"
        await workflow.execute_child_workflow(Child.run, "live", id=name)
        try:
            await workflow.execute_child_workflow(Child.run, "live again", id=name, id_reuse_policy=reuse)
        except WorkflowAlreadyStartedError:
            return "once only"
        return "twice"


@scenario
async def child_whose_id_was_used(env: Env) -> None:
    async with env.worker([Mourning, Child]):
        assert await env.execute(Mourning.run) == "once only"
