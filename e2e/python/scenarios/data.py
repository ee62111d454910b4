"""What travels with workflows: payloads, codecs, headers, memos, search attributes, summaries, priorities."""

import asyncio
import dataclasses
import zlib
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from temporalio import activity, workflow
from temporalio.api.common.v1 import Payload
from temporalio.client import (
    Client,
    Interceptor as ClientInterceptor,
    OutboundInterceptor,
    SignalWorkflowInput,
    StartWorkflowInput,
    WorkflowFailureError,
    WorkflowHandle,
)
from temporalio.common import Priority, SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.converter import DataConverter, DefaultPayloadConverter, PayloadCodec
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    ExecuteWorkflowInput,
    HandleSignalInput,
    Interceptor as WorkerInterceptor,
    StartActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

from harness import PATIENT, Env, all_of, eventually, kinds, one_of, scenario

BIG_BYTES = 1_000_000


@activity.defn
async def reverse(text: str) -> str:
    return text[::-1]


@workflow.defn
class Carrier:
    @workflow.run
    async def run(self, text: str) -> str:
        return await workflow.execute_activity(reverse, text, **PATIENT)


@scenario
async def payload_of_a_megabyte(env: Env) -> None:
    text = "0123456789" * (BIG_BYTES // 10)
    async with env.worker([Carrier], [reverse]):
        handle = await env.start(Carrier.run, text)
        assert await handle.result() == text[::-1]
    started = one_of(await env.history(handle), "WorkflowExecutionStarted")
    assert len(started.input.payloads[0].data) == BIG_BYTES + 2


@scenario
async def payload_beyond_the_limit_is_refused(env: Env) -> None:
    try:
        await env.start(Carrier.run, "x" * (2 * 1024 * 1024 + 1))
        raise AssertionError("it was accepted")
    except RPCError as error:
        assert error.status == RPCStatusCode.INVALID_ARGUMENT, error


@workflow.defn
class Types:
    @workflow.run
    async def run(self, raw: bytes, nothing: None, pairs: dict[str, list[int]], when: datetime) -> list[Any]:
        return [len(raw), nothing, pairs, when.isoformat(), "äöü ✓"]


@scenario
async def payloads_of_many_types(env: Env) -> None:
    when = datetime(2031, 2, 3, 4, 5, 6, tzinfo=timezone.utc)
    async with env.worker([Types]):
        handle = await env.start(Types.run, bytes(range(256)), None, {"a": [1, 2], "": []}, when)
        assert await handle.result() == [256, None, {"a": [1, 2], "": []}, when.isoformat(), "äöü ✓"]
    payloads = one_of(await env.history(handle), "WorkflowExecutionStarted").input.payloads
    assert [payload.metadata["encoding"] for payload in payloads] == [
        b"binary/plain",
        b"binary/null",
        b"json/plain",
        b"json/plain",
    ]
    assert payloads[0].data == bytes(range(256))


class Zipped(PayloadCodec):
    """Compresses every payload, and refuses what somebody else wrote."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [
            Payload(metadata={"encoding": b"binary/zlib"}, data=zlib.compress(payload.SerializeToString()))
            for payload in payloads
        ]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        decoded = []
        for payload in payloads:
            if payload.metadata["encoding"] != b"binary/zlib":
                raise ValueError("not a payload of this codec")
            decoded.append(Payload.FromString(zlib.decompress(payload.data)))
        return decoded


def with_codec(client: Client) -> Client:
    config = client.config()
    config["data_converter"] = dataclasses.replace(DataConverter.default, payload_codec=Zipped())
    return Client(**config)


@scenario
async def codec_on_both_sides(env: Env) -> None:
    client = with_codec(env.client)
    async with env.worker([Carrier], [reverse], client=with_codec(env.worker_client)):
        handle = await env.start(Carrier.run, "plain text", client=client, memo={"secret": "hidden"})
        assert await handle.result() == "txet nialp"
        assert await (await handle.describe()).memo() == {"secret": "hidden"}
    history = await env.history(handle)
    started = one_of(history, "WorkflowExecutionStarted")
    assert started.input.payloads[0].metadata["encoding"] == b"binary/zlib"
    assert b"plain text" not in started.input.payloads[0].data
    env.replay_options["data_converter"] = client.data_converter


@workflow.defn
class Undecodable:
    @workflow.run
    async def run(self, number: int) -> int:
        return number


@scenario
async def undecodable_input_fails_the_task_not_the_workflow(env: Env) -> None:
    async with env.worker([Undecodable]):
        handle = await env.start("Undecodable", {"not": "a number"}, task_timeout=timedelta(seconds=5))
        history = await env.until(handle, "WorkflowTaskFailed")
        assert "Failed decoding arguments" in all_of(history, "WorkflowTaskFailed")[0].failure.message
        await env.terminate(handle)
    env.handles.clear()


class Unreadable(DefaultPayloadConverter):
    """Cannot be asked for anything that says `unreadable`."""

    def from_payloads(self, payloads: Sequence[Payload], type_hints: list[type] | None = None) -> list[Any]:
        if any(b"unreadable" in payload.data for payload in payloads):
            raise RuntimeError("this converter does not read that")
        return super().from_payloads(payloads, type_hints)


@workflow.defn
class ReadsUnreadable:
    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_activity(reverse, "elbadaernu", **PATIENT)


@scenario
async def converter_failure_in_the_client(env: Env) -> None:
    config = env.client.config()
    config["data_converter"] = dataclasses.replace(DataConverter.default, payload_converter_class=Unreadable)
    client = Client(**config)
    async with env.worker([ReadsUnreadable], [reverse]):
        handle = await env.start(ReadsUnreadable.run, client=client)
        try:
            await handle.result()
            raise AssertionError("it was read")
        except RuntimeError as error:
            assert "does not read that" in str(error)
        assert await env.client.get_workflow_handle(handle.id).result() == "unreadable"


TRACE_HEADER = "trace"


class TracingClient(ClientInterceptor):
    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        return TracingOutbound(next)


class TracingOutbound(OutboundInterceptor):
    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
        input.headers = {**input.headers, TRACE_HEADER: trace_payload("client")}
        return await super().start_workflow(input)

    async def signal_workflow(self, input: SignalWorkflowInput) -> None:
        input.headers = {**input.headers, TRACE_HEADER: trace_payload("signaller")}
        return await super().signal_workflow(input)


def trace_payload(text: str) -> Payload:
    return DataConverter.default.payload_converter.to_payload(text)


def trace_of(headers: Any) -> str:
    return DataConverter.default.payload_converter.from_payload(headers[TRACE_HEADER], str)


class TracingWorker(WorkerInterceptor):
    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return TracingActivity(next)

    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        return TracingWorkflow


class TracingActivity(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        return f"{await super().execute_activity(input)} < {trace_of(input.headers)}"


class TracingWorkflow(WorkflowInboundInterceptor):
    trace = ""

    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(TracingCalls(outbound, self))

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        self.trace = trace_of(input.headers)
        return await super().execute_workflow(input)

    async def handle_signal(self, input: HandleSignalInput) -> None:
        input.args = [trace_of(input.headers)]
        await super().handle_signal(input)


class TracingCalls(WorkflowOutboundInterceptor):
    def __init__(self, next: WorkflowOutboundInterceptor, inbound: TracingWorkflow) -> None:
        super().__init__(next)
        self.inbound = inbound

    def start_activity(self, input: StartActivityInput) -> Any:
        input.headers = {**input.headers, TRACE_HEADER: trace_payload(f"workflow < {self.inbound.trace}")}
        return super().start_activity(input)


@workflow.defn
class Traced:
    def __init__(self) -> None:
        self.signalled_by = ""

    @workflow.run
    async def run(self) -> list[str]:
        told = await workflow.execute_activity(reverse, "abc", **PATIENT)
        await workflow.wait_condition(lambda: self.signalled_by != "")
        return [told, self.signalled_by]

    @workflow.signal
    def knock(self, who: str) -> None:
        self.signalled_by = who


@scenario
async def headers_travel_with_every_call(env: Env) -> None:
    config = env.client.config()
    config["interceptors"] = [TracingClient()]
    client = Client(**config)
    async with env.worker([Traced], [reverse], interceptors=[TracingWorker()]):
        handle = await env.start(Traced.run, client=client)
        await handle.signal(Traced.knock, "nobody")
        assert await handle.result() == ["cba < workflow < client", "signaller"]
    history = await env.history(handle)
    assert trace_of(one_of(history, "WorkflowExecutionSignaled").header.fields) == "signaller"
    assert trace_of(one_of(history, "ActivityTaskScheduled").header.fields) == "workflow < client"
    env.replay_options["interceptors"] = [TracingWorker()]


@workflow.defn
class Remembering:
    @workflow.run
    async def run(self) -> dict[str, Any]:
        before = dict(workflow.memo())
        workflow.upsert_memo({"kept": "changed", "dropped": None, "added": [1]})
        await workflow.sleep(0.01)
        return {"before": before, "after": dict(workflow.memo())}


@scenario
async def memo_upsert(env: Env) -> None:
    async with env.worker([Remembering]):
        handle = await env.start(Remembering.run, memo={"kept": 1, "dropped": 2})
        assert await handle.result() == {
            "before": {"kept": 1, "dropped": 2},
            "after": {"kept": "changed", "added": [1]},
        }
        assert await (await handle.describe()).memo() == {"kept": "changed", "added": [1]}
    assert one_of(await env.history(handle), "WorkflowPropertiesModified")


# Both are predefined, and free for clients to set.
BATCHER_USER = SearchAttributeKey.for_keyword("BatcherUser")
BUILD_IDS = SearchAttributeKey.for_keyword_list("BuildIds")


@workflow.defn
class Searchable:
    @workflow.run
    async def run(self) -> list[Any]:
        before = workflow.info().typed_search_attributes.get(BATCHER_USER)
        workflow.upsert_search_attributes([BATCHER_USER.value_set("grace"), BUILD_IDS.value_set(["one", "two"])])
        await workflow.sleep(0.01)
        middle = workflow.info().typed_search_attributes
        seen = [before, middle.get(BATCHER_USER), list(middle.get(BUILD_IDS) or [])]
        workflow.upsert_search_attributes([BUILD_IDS.value_unset()])
        return seen


@scenario
async def search_attributes_upsert(env: Env) -> None:
    given = TypedSearchAttributes([SearchAttributePair(BATCHER_USER, "ada")])
    async with env.worker([Searchable]):
        handle = await env.start(Searchable.run, search_attributes=given)
        assert await handle.result() == ["ada", "grace", ["one", "two"]]

        async def described() -> bool:
            attributes = (await handle.describe()).typed_search_attributes
            return attributes.get(BATCHER_USER) == "grace" and not attributes.get(BUILD_IDS)

        await eventually(described)
    assert len(all_of(await env.history(handle), "UpsertWorkflowSearchAttributes")) == 2


@workflow.defn
class Labelled:
    @workflow.run
    async def run(self) -> str:
        workflow.set_current_details("on its way")
        await workflow.sleep(0.01, summary="a short nap")
        await workflow.execute_activity(reverse, "abc", summary="turn it round", **PATIENT)
        return workflow.get_current_details()


@scenario
async def summaries_and_details(env: Env) -> None:
    async with env.worker([Labelled], [reverse]):
        handle = await env.start(Labelled.run, static_summary="in short", static_details="at length\n\nwith lines")
        assert await handle.result() == "on its way"
        description = await handle.describe()
        assert await description.static_summary() == "in short"
        assert await description.static_details() == "at length\n\nwith lines"
        assert await handle.query("__temporal_workflow_metadata", result_type=dict)
    history = await env.history(handle)
    labels = {event.event_type: event.user_metadata.summary.data for event in history.events if event.HasField("user_metadata")}
    assert labels == {1: b'"in short"', 17: b'"a short nap"', 10: b'"turn it round"'}, labels


@workflow.defn
class Prioritised:
    @workflow.run
    async def run(self) -> int | None:
        await workflow.execute_activity(reverse, "a", priority=Priority(priority_key=1), **PATIENT)
        await workflow.execute_activity(reverse, "b", **PATIENT)
        return workflow.info().priority.priority_key


@scenario
async def priorities_are_recorded(env: Env) -> None:
    priority = Priority(priority_key=4, fairness_key="tenant", fairness_weight=2.5)
    async with env.worker([Prioritised], [reverse]):
        handle = await env.start(Prioritised.run, priority=priority)
        assert await handle.result() == 4
    history = await env.history(handle)
    started = one_of(history, "WorkflowExecutionStarted").priority
    assert (started.priority_key, started.fairness_key, started.fairness_weight) == (4, "tenant", 2.5)
    assert [scheduled.priority.priority_key for scheduled in all_of(history, "ActivityTaskScheduled")] == [1, 0]


@workflow.defn
class Long:
    @workflow.run
    async def run(self) -> None:
        for _ in range(120):
            await workflow.execute_activity(reverse, "a", **PATIENT)
        for _ in range(2):
            await asyncio.gather(*(workflow.sleep(0.001) for _ in range(130)))


@scenario
async def history_of_a_thousand_events_in_pages(env: Env) -> None:
    async with env.worker([Long], [reverse]):
        handle = await env.start(Long.run)
        await handle.result()
    history = await env.history(handle)
    assert len(history.events) > 1000
    assert kinds(history).count("TimerFired") == 260
    paged, pages = [], 0
    events = handle.fetch_history_events()
    await events.fetch_next_page()
    while True:
        pages += 1
        paged += events.current_page or []
        if not events.next_page_token:
            break
        await events.fetch_next_page()
    assert pages >= 2 and [event.event_id for event in paged] == [event.event_id for event in history.events]


@activity.defn
async def fail_with_big_details() -> None:
    raise ApplicationError("big", "d" * 3000, type="Big", non_retryable=True)


@workflow.defn
class BigFailure:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(fail_with_big_details, **PATIENT)


@scenario
async def failure_with_large_details(env: Env) -> None:
    async with env.worker([BigFailure], [fail_with_big_details]):
        try:
            await env.execute(BigFailure.run)
            raise AssertionError("it succeeded")
        except WorkflowFailureError as error:
            cause = error.cause.__cause__ if error.cause else None
            assert isinstance(cause, ApplicationError), cause
            assert cause.type == "Big" and list(cause.details) == ["d" * 3000]
