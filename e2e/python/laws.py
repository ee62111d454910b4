"""What is true of every history, whatever the workflow did. Raises AssertionError naming the law and the event."""

from collections import Counter

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

CLOSING = {"COMPLETED", "FAILED", "TIMED_OUT", "CANCELED", "TERMINATED", "CONTINUED_AS_NEW"}
CLOSING = {f"WORKFLOW_EXECUTION_{kind}" for kind in CLOSING}

# What begins, what ends it, and the field by which the end names the beginning.
SPANS = {
    "WORKFLOW_TASK_SCHEDULED": ("scheduled_event_id", ["WORKFLOW_TASK_COMPLETED", "WORKFLOW_TASK_FAILED", "WORKFLOW_TASK_TIMED_OUT"]),
    "ACTIVITY_TASK_SCHEDULED": (
        "scheduled_event_id",
        ["ACTIVITY_TASK_COMPLETED", "ACTIVITY_TASK_FAILED", "ACTIVITY_TASK_TIMED_OUT", "ACTIVITY_TASK_CANCELED"],
    ),
    "TIMER_STARTED": ("started_event_id", ["TIMER_FIRED", "TIMER_CANCELED"]),
    "START_CHILD_WORKFLOW_EXECUTION_INITIATED": (
        "initiated_event_id",
        ["START_CHILD_WORKFLOW_EXECUTION_FAILED"]
        + [f"CHILD_WORKFLOW_EXECUTION_{end}" for end in ("COMPLETED", "FAILED", "CANCELED", "TIMED_OUT", "TERMINATED")],
    ),
    "SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED": (
        "initiated_event_id",
        ["SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED", "EXTERNAL_WORKFLOW_EXECUTION_SIGNALED"],
    ),
    "REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED": (
        "initiated_event_id",
        ["REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_FAILED", "EXTERNAL_WORKFLOW_EXECUTION_CANCEL_REQUESTED"],
    ),
    "WORKFLOW_EXECUTION_UPDATE_ACCEPTED": ("accepted_event_id", ["WORKFLOW_EXECUTION_UPDATE_COMPLETED"]),
}
ENDS = {end: (begin, field) for begin, (field, ends) in SPANS.items() for end in ends}

# What stands between a beginning and its end, at most once.
STARTS = {
    "WORKFLOW_TASK_STARTED": ("WORKFLOW_TASK_SCHEDULED", "scheduled_event_id"),
    "ACTIVITY_TASK_STARTED": ("ACTIVITY_TASK_SCHEDULED", "scheduled_event_id"),
    "CHILD_WORKFLOW_EXECUTION_STARTED": ("START_CHILD_WORKFLOW_EXECUTION_INITIATED", "initiated_event_id"),
    "ACTIVITY_TASK_CANCEL_REQUESTED": ("ACTIVITY_TASK_SCHEDULED", "scheduled_event_id"),
}

# What must have happened before, or the state machines of the SDKs on the core refuse the event and the run is lost.
# `execution::workflow::replay` says the same of more.
NEEDED = {
    **{f"WORKFLOW_TASK_{end}": "WORKFLOW_TASK_STARTED" for end in ("COMPLETED", "FAILED")},
    **{f"ACTIVITY_TASK_{end}": "ACTIVITY_TASK_STARTED" for end in ("COMPLETED", "FAILED")},
    "ACTIVITY_TASK_CANCELED": "ACTIVITY_TASK_CANCEL_REQUESTED",
    **{
        f"CHILD_WORKFLOW_EXECUTION_{end}": "CHILD_WORKFLOW_EXECUTION_STARTED"
        for end in ("COMPLETED", "FAILED", "CANCELED", "TIMED_OUT", "TERMINATED")
    },
}
# What workers know nothing of says that they may ignore it.
IGNORED = {"WORKFLOW_EXECUTION_PAUSED", "WORKFLOW_EXECUTION_UNPAUSED"}


def kind(event: HistoryEvent) -> str:
    return EventType.Name(event.event_type).removeprefix("EVENT_TYPE_")


def attributes(event: HistoryEvent):
    return getattr(event, event.WhichOneof("attributes"))


def check(events: list[HistoryEvent], closed: bool = True, name: str = "") -> Counter[str]:
    """All laws; returns how often each kind of event occurs."""
    kinds = [kind(event) for event in events]
    about = lambda index: f"{name}: event {index + 1} {kinds[index]} of {kinds}"
    assert [event.event_id for event in events] == list(range(1, len(events) + 1)), f"{name}: ids have gaps"
    assert kinds[0] == "WORKFLOW_EXECUTION_STARTED" and kinds.count(kinds[0]) == 1, f"{name}: one start, first: {kinds}"
    times(events, kinds, about)
    closings = [index for index, one in enumerate(kinds) if one in CLOSING]
    if closed:
        assert closings == [len(events) - 1], f"{name}: one close event, the last: {kinds}"
    else:
        assert closings == [], f"{name}: a running workflow has no close event: {kinds}"
    spans(events, kinds, about)
    tasks(events, kinds, about)
    for index, event in enumerate(events):
        assert kinds[index] not in IGNORED or event.worker_may_ignore, f"workers do not know it: {about(index)}"
    return Counter(kinds)


def prove() -> None:
    """The laws can be broken: this is what a pause wrote once, and no SDK on the core can read."""
    begun = [HistoryEvent(event_id=1, event_type=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED)]
    begun[0].workflow_execution_started_event_attributes.SetInParent()
    begun.append(HistoryEvent(event_id=2, event_type=EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED))
    begun[1].workflow_task_scheduled_event_attributes.SetInParent()
    failed = HistoryEvent(event_id=3, event_type=EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED)
    failed.workflow_task_failed_event_attributes.scheduled_event_id = 2
    paused = HistoryEvent(event_id=3, event_type=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_PAUSED)
    paused.workflow_execution_paused_event_attributes.SetInParent()
    check(begun, closed=False)
    for poison in (failed, paused):
        try:
            check([*begun, poison], closed=False)
        except AssertionError:
            continue
        raise AssertionError(f"no law forbids {kind(poison)}")


def times(events: list[HistoryEvent], kinds: list[str], about) -> None:
    """Time runs forward over workflow tasks and commands. Other events say when they happened; they may be written later."""
    latest = 0
    for index, event in enumerate(events):
        # What failed at another workflow names the command's task, but may have been buffered.
        by_command = hasattr(attributes(event), "workflow_task_completed_event_id") and not kinds[index].endswith("FAILED")
        if kinds[index].startswith("WORKFLOW_TASK") or by_command:
            now = event.event_time.ToNanoseconds()
            assert now >= latest, f"time runs back: {about(index)}"
            latest = now


def spans(events: list[HistoryEvent], kinds: list[str], about) -> None:
    """Everything has a beginning before it, one end at most, and no start after its end."""
    ended: set[int] = set()
    started: set[tuple[str, int]] = set()
    for index, event in enumerate(events):
        begin, field = ENDS.get(kinds[index]) or STARTS.get(kinds[index]) or (None, None)
        if begin is None:
            continue
        named = getattr(attributes(event), field)
        if named == 0 and kinds[index].startswith("WORKFLOW_EXECUTION_UPDATE"):
            continue
        assert 0 < named <= index and kinds[named - 1] == begin, f"no beginning, {field}={named}: {about(index)}"
        assert named not in ended, f"it had ended: {about(index)}"
        needed = NEEDED.get(kinds[index])
        assert needed is None or (needed, named) in started, f"not without {needed}: {about(index)}"
        if kinds[index] in ENDS:
            ended.add(named)
        else:
            assert (kinds[index], named) not in started, f"it had been started: {about(index)}"
            started.add((kinds[index], named))
    for name, (begin, _) in STARTS.items():
        for starter, named in started:
            assert starter != name or kinds[named - 1] == begin


def tasks(events: list[HistoryEvent], kinds: list[str], about) -> None:
    """One workflow task at a time; nothing is written between its start and its end; commands follow a completion."""
    open_task = None
    for index, event in enumerate(events):
        one = kinds[index]
        if one == "WORKFLOW_TASK_SCHEDULED":
            assert open_task is None, f"a second workflow task: {about(index)}"
            open_task = index + 1
        elif one in ENDS and ENDS[one][0] == "WORKFLOW_TASK_SCHEDULED":
            assert open_task == attributes(event).scheduled_event_id, f"another task ended: {about(index)}"
            open_task = None
            started = attributes(event).started_event_id
            if started:
                assert started == index and kinds[index - 1] == "WORKFLOW_TASK_STARTED", f"not after its start: {about(index)}"
        elif index and kinds[index - 1] == "WORKFLOW_TASK_STARTED":
            assert one in CLOSING, f"written while a worker held the task: {about(index)}"
        source = getattr(attributes(event), "workflow_task_completed_event_id", 0)
        if source:
            assert source <= index and kinds[source - 1] == "WORKFLOW_TASK_COMPLETED", f"no such completion {source}: {about(index)}"
            between = {getattr(attributes(e), "workflow_task_completed_event_id", source) for e in events[source : index]}
            assert between <= {source, 0}, f"commands of two tasks are mixed: {about(index)}"
