"""An unmodified Python worker against the real binary: one node, one node that is killed again and again, three nodes
whose leader dies and stays dead, and the SDK's own test environment."""

import asyncio
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.common import RetryPolicy, WorkflowIDConflictPolicy
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, Worker

from servers import Cluster, DevServer

QUEUE = "orders"
# Every order's first attempt fails on purpose; the SDK would print a traceback for each.
logging.getLogger("temporalio.activity").setLevel(logging.CRITICAL)
attempts: Counter[str] = Counter()


@activity.defn
async def charge(order: str) -> str:
    """Fails once for each order, so that every workflow shows a retry."""
    attempts[order] += 1
    if activity.info().attempt == 1:
        raise ApplicationError("the first attempt always fails")
    return f"charged {order}"


@workflow.defn
class Order:
    def __init__(self) -> None:
        self.approvals: list[str] = []
        self.stage = "new"

    @workflow.run
    async def run(self, order: str) -> dict:
        self.stage = "charging"
        receipt = await workflow.execute_activity(
            charge,
            order,
            start_to_close_timeout=timedelta(seconds=10),
            retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=100)),
        )
        self.stage = "waiting"
        await workflow.sleep(timedelta(milliseconds=500))
        self.stage = "approval"
        await workflow.wait_condition(lambda: len(self.approvals) > 0)
        self.stage = "done"
        return {"receipt": receipt, "approvals": self.approvals}

    @workflow.signal
    def approve(self, who: str) -> None:
        self.approvals.append(who)

    @workflow.query
    def get_stage(self) -> str:
        return self.stage


def worker(client: Client) -> Worker:
    return Worker(
        client, task_queue=QUEUE, workflows=[Order], activities=[charge], workflow_runner=UnsandboxedWorkflowRunner()
    )


async def stubbornly(what, seconds: float = 60):
    """Repeats a call until it is answered: what a client does while its server is down."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return await what()
        except RPCError as error:
            if time.monotonic() > deadline:
                raise
            if error.status.name in ("NOT_FOUND", "INVALID_ARGUMENT", "ALREADY_EXISTS", "UNIMPLEMENTED"):
                raise
            await asyncio.sleep(0.05)


async def check_history(handle: WorkflowHandle, signals: list[str]) -> None:
    """Gapless ids, one start, one close, every acknowledged signal once; and the SDK can replay it."""
    history = await stubbornly(handle.fetch_history)
    ids = [event.event_id for event in history.events]
    assert ids == list(range(1, len(ids) + 1)), f"{handle.id}: event ids have gaps: {ids}"
    kinds = Counter(event.WhichOneof("attributes") for event in history.events)
    assert kinds["workflow_execution_started_event_attributes"] == 1, kinds
    assert kinds["workflow_execution_completed_event_attributes"] == 1, kinds
    assert kinds["workflow_execution_signaled_event_attributes"] >= len(set(signals)), (handle.id, kinds, signals)
    await Replayer(workflows=[Order], workflow_runner=UnsandboxedWorkflowRunner()).replay_workflow(history)


async def one_order(client: Client, name: str) -> WorkflowHandle:
    # A repeated call is a new request: the one before may have got through unacknowledged.
    handle = await stubbornly(
        lambda: client.start_workflow(
            Order.run, name, id=name, task_queue=QUEUE, id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING
        )
    )
    await stubbornly(lambda: handle.signal(Order.approve, f"{name}-first"))
    return handle


async def finish(handle: WorkflowHandle) -> None:
    result = await stubbornly(handle.result, 180)
    assert result["receipt"] == f"charged {handle.id}", result
    assert set(result["approvals"]) == {f"{handle.id}-first"}, result
    await check_history(handle, [f"{handle.id}-first"])


async def normally(binary: str) -> None:
    with DevServer(binary) as server:
        client = await Client.connect(server.address)
        async with worker(client):
            handle = await client.start_workflow(Order.run, "plain", id="plain", task_queue=QUEUE)
            while await handle.query(Order.get_stage) != "approval":
                await asyncio.sleep(0.02)
            await handle.signal(Order.approve, "plain-first")
            await finish(handle)
            assert await handle.query(Order.get_stage) == "done"
            description = await handle.describe()
            assert description.status == WorkflowExecutionStatus.COMPLETED
            assert attempts["plain"] == 2, attempts
        took = server.stop()
        assert took < 2, f"the server took {took:.1f} s to stop"
    print("python: an order with activity, retry, timer, signal and query: ok")


async def killed_again_and_again(binary: str, orders: int = 200, kills: int = 20, seed: int = 1) -> None:
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="perpetuo-kill-") as data:
        with DevServer(binary, data=data) as server:
            client = await Client.connect(server.address)
            async with worker(client):
                async def killer() -> None:
                    for _ in range(kills):
                        await asyncio.sleep(rng.uniform(0.05, 0.8))
                        await asyncio.to_thread(server.kill)
                        await asyncio.to_thread(server.start)

                async def client_side() -> list[WorkflowHandle]:
                    handles = []
                    for number in range(orders):
                        handles.append(await one_order(client, f"kill-{number}"))
                    return handles

                handles, _ = await asyncio.gather(client_side(), killer())
                for handle in handles:
                    await finish(handle)
    print(f"python: {orders} orders through {kills} SIGKILLs of the only node: ok")


async def leader_dies(binary: str) -> None:
    with Cluster(binary) as cluster:
        clients = [await Client.connect(address) for address in cluster.addresses]
        leader = cluster.leader_of("leader-dies")
        others = [index for index, node in enumerate(cluster.description["nodes"]) if node["id"] != leader]
        # The client and the worker talk to different nodes, neither of them the leader's.
        async with worker(clients[others[0]]):
            client = clients[others[1]]
            handle = await client.start_workflow(Order.run, "leader-dies", id="leader-dies", task_queue=QUEUE)
            while await handle.query(Order.get_stage) == "new":
                await asyncio.sleep(0.02)
            cluster.kill(leader)
            await stubbornly(lambda: handle.signal(Order.approve, "leader-dies-first"))
            await finish(handle)
            new_leader = cluster.leader_of("leader-dies")
            assert new_leader != leader
    print(f"python: three nodes, leader {leader} killed for good, {new_leader} took over: ok")


async def sdk_environment(binary: str) -> None:
    begun = time.monotonic()
    async with await WorkflowEnvironment.start_local(dev_server_existing_path=binary) as environment:
        ready = time.monotonic() - begun
        async with worker(environment.client):
            handle = await one_order(environment.client, "environment")
            await finish(handle)
        begun = time.monotonic()
    took = time.monotonic() - begun
    assert took < 2, f"shutdown took {took:.1f} s"
    print(f"python: the SDK's test environment, ready in {ready:.2f} s, ended in {took:.2f} s: ok")


async def main() -> None:
    binary = sys.argv[1]
    await normally(binary)
    await sdk_environment(binary)
    await leader_dies(binary)
    await killed_again_and_again(binary)


asyncio.run(main())
