//! Random lives of a run: whatever workers, clients, clocks and failing leaders do, the laws
//! of the core hold and history makes sense. A failure prints the life as a scenario that can
//! be put into `testdata/workflow`.

#[path = "support/between.rs"]
mod between;
#[path = "support/history.rs"]
mod history;
#[path = "support/operations.rs"]
mod operations;
#[path = "support/print.rs"]
mod print;
#[path = "support/requests.rs"]
mod requests;
#[path = "support/reset.rs"]
mod reset;
#[path = "support/runner.rs"]
mod runner;
#[expect(dead_code, reason = "the scenarios come from files")]
#[path = "support/script.rs"]
mod script;
#[path = "support/update.rs"]
mod update;
#[path = "support/world.rs"]
mod world;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use execution::Rejection;
use execution::workflow::{
    ActivityTarget, Change, Command, Decision, Errand, Note, Reply, Soft, Task, UpdateStage, WorkflowTaskStarted,
    WorkflowTaskToken,
};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::Union;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use temporalio_protos::temporal::api::enums::v1::{EventType, PendingActivityState, WorkflowExecutionStatus as Status};
use temporalio_protos::temporal::api::history::v1::HistoryEvent;
use temporalio_protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_protos::temporal::api::workflow::v1::PendingActivityInfo;

use runner::Runner;
use script::Call;
use world::World;

/// Enough of them in CI; raise it with `PROPTEST_CASES` for a deep run.
const CASES: u32 = 1500;
const STEPS_MAX: usize = 60;
/// A run that wants to be woken more often than this in one wait is spinning.
const WAKE_UPS_MAX: usize = 5000;

#[test]
fn every_life_is_lawful() {
    let seen = RefCell::new(BTreeSet::new());
    let life = (limits(), start(), proptest::collection::vec(step(), 1..STEPS_MAX));
    let result = TestRunner::new(config()).run(&life, |(limits, start, steps)| {
        let mut life = Life::new();
        for step in [&limits, &start].into_iter().chain(&steps) {
            life.step(step);
        }
        life.settle();
        seen.borrow_mut().extend(life.seen);
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}\nas a scenario, with \"> \" before each step and \"+ \" before each further line");
    }
    let missing: Vec<EventType> = EVENTS.into_iter().filter(|kind| !seen.borrow().contains(kind)).collect();
    assert_eq!(missing, [], "lives are too dull to prove anything");
}

/// The same lives every time, unless `PROPTEST_CASES` asks for a deep run.
fn config() -> Config {
    let wanted = std::env::var_os("PROPTEST_CASES");
    let wanted: Option<u32> = wanted.and_then(|cases| cases.to_str()?.parse().ok());
    Config {
        cases: wanted.unwrap_or(CASES),
        rng_seed: if wanted.is_some() { RngSeed::Random } else { RngSeed::Fixed(1) },
        failure_persistence: None,
        ..Config::default()
    }
}

/// One run, what was promised about it, and what its workers have seen.
struct Life {
    runner: Runner,
    /// Signals that were acknowledged and must be in history once.
    signals: usize,
    signal_requests: BTreeSet<String>,
    /// What each workflow task showed of the future.
    shown: Vec<WorkflowTaskStarted>,
    /// The attempt that is with a worker, by scheduled event id.
    attempts: BTreeMap<i64, i32>,
    /// The number of the next attempt, by scheduled event id.
    next_attempts: BTreeMap<i64, i32>,
    /// Every reference that was asked for: scheduled event id and stamp.
    asked: BTreeSet<(i64, i64)>,
    seen: BTreeSet<EventType>,
}

impl Life {
    fn new() -> Self {
        Self {
            runner: Runner::new(),
            signals: 0,
            signal_requests: BTreeSet::new(),
            shown: Vec::new(),
            attempts: BTreeMap::new(),
            next_attempts: BTreeMap::new(),
            asked: BTreeSet::new(),
            seen: BTreeSet::new(),
        }
    }

    fn step(&mut self, text: &str) {
        let mut lines = text.lines();
        let call = Call::parse(lines.next().expect("a step has a line"));
        let more: Vec<Call> = lines.map(Call::parse).collect();
        match call.verb.as_str() {
            "wait" => self.wait(script::duration(&call.words[0])),
            "reset" => self.reset(&call),
            "oversleep" => {
                let world = &mut self.runner.world;
                world.now = world.now + script::duration(&call.words[0]);
                self.wake();
            }
            "crash" => {
                self.runner.world.crash();
                // Speculative tasks are numbered by their leader.
                self.asked.retain(|(_, stamp)| *stamp > 0);
            }
            "limit" => requests::limit(&mut self.runner.world.limits, &call),
            "follow" => {
                if let Some(next) = self.runner.next.take() {
                    self.promises_are_kept();
                    let now = self.runner.world.now;
                    let runner = std::mem::replace(&mut self.runner, Runner::new());
                    *self = Self { runner, seen: std::mem::take(&mut self.seen), ..Self::new() };
                    self.runner.world = next;
                    self.runner.world.now = now;
                }
            }
            _ => {
                let command = self.runner.command(&call, &more);
                let _ = self.send(&command);
            }
        }
    }

    fn send(&mut self, command: &Command) -> Result<Decision, Rejection> {
        let before = self.runner.world.state.clone();
        let decided = self.runner.world.step(command);
        let world = &self.runner.world;
        history::check(&world.history, &world.limits);
        assert!(!is_forgotten(world), "the worker is never told of what happened");
        if let Ok(decision) = &decided {
            if before.next_event_id() > 1 && before.status() != Status::Running {
                let is_done = |change: &Change| matches!(change, Change::Note(Note::ErrandDone { .. }));
                assert!(decision.changes.iter().all(is_done), "a closed run only does its errands");
            }
            self.acknowledged(command, decision);
            self.observe(command, decision);
            self.seen.extend(self.runner.world.history.iter().map(HistoryEvent::event_type));
            self.runner.remember(decision);
            if let Some(run) = &decision.new_run {
                let world = &self.runner.world;
                assert_eq!(world.state.new_execution_run_id(), Some(run.run_id.as_str()));
                let next = world.succeeded_by(run);
                assert_eq!(next.state.first_execution_run_id(), world.state.first_execution_run_id());
                history::check(&next.history, &next.limits);
                self.runner.next = Some(next);
            }
        }
        decided
    }

    /// The new run takes the place of the old one: what clients sent is in its history, what
    /// workers hold is worth nothing. A fork outside of a workflow task is refused.
    fn reset(&mut self, call: &Call) {
        let at: i64 = call.number("at").expect("at=<event id>");
        let world = &self.runner.world;
        let default = execution::Limits::default();
        let is_limited = world.limits.history_events_max != default.history_events_max
            || world.limits.history_size_bytes_max != default.history_size_bytes_max;
        if at <= 1 || at >= world.state.next_event_id() || is_limited {
            return;
        }
        let signals = |world: &World| {
            let is_signal = |event: &&HistoryEvent| event.event_type() == EventType::WorkflowExecutionSignaled;
            world.history.iter().filter(is_signal).count()
        };
        let run_id = world.state.execution().run_id;
        self.runner.run(call, &[]);
        let new = &self.runner.world;
        if new.state.execution().run_id == run_id {
            return;
        }
        let base = self.runner.next.as_ref().expect("the base is kept");
        assert_ne!(base.state.status(), Status::Running);
        assert_eq!(signals(new), signals(base), "every signal is sent again");
        assert_eq!(new.state.pending_workflow_task(), Some(false));
        let copied = usize::try_from(at - 1).expect("positive");
        assert_eq!(new.history[..copied], base.history[..copied]);
        let (signals, seen) = (signals(new), std::mem::take(&mut self.seen));
        let runner = std::mem::replace(&mut self.runner, Runner::new());
        *self = Self { runner, signals, seen, ..Self::new() };
        self.runner.next = None;
        self.observe_tasks();
    }

    /// The tasks of a run that begins with some.
    fn observe_tasks(&mut self) {
        for task in self.runner.world.state.tasks() {
            self.asked.insert(match task {
                Task::Workflow(task) => (task.scheduled_event_id, task.stamp),
                Task::Activity(task) => (task.scheduled_event_id, task.stamp),
                Task::Errand(errand) => (-1 - errand.event_id(), kind_of(errand)),
            });
        }
    }

    /// What the caller may now rely on.
    fn acknowledged(&mut self, command: &Command, decision: &Decision) {
        if matches!(decision.reply, Reply::Refused(_)) {
            return;
        }
        let signal = match command {
            Command::Signal(request) | Command::SignalSkippingDelay(request) => Some(request.request_id.clone()),
            Command::SignalByWorkflow(by) => Some(by.request.request_id.clone()),
            Command::Start(start) => start.signal.as_ref().map(|signal| signal.request_id.clone()),
            _ => None,
        };
        if let Some(request) = signal
            && (request.is_empty() || self.signal_requests.insert(request))
        {
            self.signals += 1;
        }
        match command {
            Command::CompleteWorkflowTask(command) => self.as_shown(&command.token),
            Command::FailWorkflowTask(command) => self.as_shown(&command.token),
            Command::CompleteActivity(command) => self.had_it(&command.target),
            Command::FailActivity(command) => self.had_it(&command.target),
            Command::CancelActivity(command) => self.had_it(&command.target),
            _ => {}
        }
    }

    /// A worker's answer counts only for the attempt that it holds, and only once.
    fn had_it(&mut self, target: &ActivityTarget) {
        if let ActivityTarget::Token { scheduled_event_id, attempt, .. } = target {
            let held = self.attempts.remove(scheduled_event_id);
            assert_eq!(held, Some(*attempt), "an answer of a worker that does not hold the activity was accepted");
        }
    }

    fn observe(&mut self, command: &Command, decision: &Decision) {
        match &decision.reply {
            Reply::WorkflowTaskStarted(started) => self.show(started),
            Reply::WorkflowTaskCompleted { new_task: Some(started), .. } => self.show(started),
            Reply::ActivityTaskStarted(started) => {
                let next = self.next_attempts.entry(started.scheduled_event_id).or_insert(1);
                assert_eq!(started.attempt, *next, "attempts are counted");
                self.attempts.insert(started.scheduled_event_id, started.attempt);
            }
            _ => {}
        }
        for change in &decision.changes {
            if let Change::Note(Note::ActivityRetried { scheduled_event_id, .. }) = change {
                self.attempts.remove(scheduled_event_id);
                *self.next_attempts.entry(*scheduled_event_id).or_insert(1) += 1;
            }
        }
        for change in &decision.changes {
            if let Change::Note(Note::ActivitySet { scheduled_event_id, row }) = change {
                self.next_attempts.insert(*scheduled_event_id, row.attempt);
                // The worker of a reset attempt goes on only if the number is still its own.
                if row.started_time == 0 || self.attempts.get(scheduled_event_id) != Some(&row.attempt) {
                    self.attempts.remove(scheduled_event_id);
                }
            }
        }
        for task in &decision.tasks {
            let reference = match task {
                Task::Workflow(task) => (task.scheduled_event_id, task.stamp),
                Task::Activity(task) => (task.scheduled_event_id, task.stamp),
                // Not to be mixed up with what has a stamp.
                Task::Errand(errand) => (-1 - errand.event_id(), kind_of(*errand)),
            };
            assert!(self.asked.insert(reference), "{task:?} was asked for before: a stale one would be taken for it");
        }
        if let Command::StartWorkflowTask(_) = command {
            let is_start = |change: &&Change| matches!(change, Change::Soft(Soft::TaskStarted(_)));
            let events = decision.changes.iter().filter(is_start).count();
            assert!(events <= 1, "one start at a time");
        }
    }

    fn show(&mut self, started: &WorkflowTaskStarted) {
        let ids: Vec<i64> = started.tail.iter().map(|event| event.event_id).collect();
        let expected: Vec<i64> = (started.history_next_event_id..=started.token.started_event_id).collect();
        assert_eq!(ids, expected, "what is shown joins what is written");
        assert!(started.history_first_event_id <= started.history_next_event_id);
        self.shown.push(started.clone());
    }

    /// What a worker was shown is what was written when its task ended. (A transient task
    /// that fails leaves nothing.)
    fn as_shown(&self, token: &WorkflowTaskToken) {
        let Some(shown) = self.shown.iter().rev().find(|shown| shown.token == *token) else { return };
        for event in &shown.tail {
            let index = usize::try_from(event.event_id - 1).expect("ids begin with 1");
            if let Some(written) = self.runner.world.history.get(index)
                && ends_with_this_task(&self.runner.world.history, token)
            {
                assert_eq!(anonymous(written), anonymous(event), "a worker saw something else than was written");
            }
        }
    }

    fn wait(&mut self, time: Duration) {
        let until = self.runner.world.now + time;
        for _ in 0..WAKE_UPS_MAX {
            let state = &self.runner.world.state;
            let wanted = [state.deadline(), state.soft_deadline()].into_iter().flatten().min();
            let Some(due) = wanted.filter(|due| *due <= until && state.status() == Status::Running) else {
                self.runner.world.now = until;
                self.wake();
                return;
            };
            if due > self.runner.world.now {
                self.not_early(due - Duration::from_nanos(1));
                self.runner.world.now = due;
            }
            self.wake();
        }
        panic!("woken {WAKE_UPS_MAX} times in {time:?}");
    }

    /// Just before its time nothing happens, but that a new leader writes what its predecessor
    /// had buffered.
    fn not_early(&mut self, time: base::Timestamp) {
        let now = self.runner.world.now;
        self.runner.world.now = time.max(now);
        let fresh = self.runner.fresh();
        let decision = self.send(&Command::FireTimers(fresh)).expect("a wake-up is never refused");
        let recovered = matches!(decision.changes.first(), Some(Change::Note(Note::Flushed { .. })));
        assert!(recovered || decision.changes.is_empty(), "before its time: {:?}", decision.changes);
        self.runner.world.now = now;
    }

    fn wake(&mut self) {
        let fresh = self.runner.fresh();
        self.send(&Command::FireTimers(fresh)).expect("a wake-up is never refused");
        let (state, now) = (&self.runner.world.state, self.runner.world.now);
        if state.status() == Status::Running {
            let next = [state.deadline(), state.soft_deadline()].into_iter().flatten().min();
            assert!(next.is_none_or(|next| next > now), "woken at {now:?} and not satisfied: {next:?}");
        }
    }

    /// Lets the worker finish what it holds, so that whatever waits is written; then looks
    /// whether everything promised is there.
    fn settle(&mut self) {
        self.step("crash");
        self.step("unpause");
        for _ in 0..3 {
            if self.runner.world.state.pending_workflow_task().is_some() {
                self.step("poll");
                self.step("complete");
            }
        }
        self.promises_are_kept();
    }

    fn promises_are_kept(&self) {
        let is_signal = |event: &&HistoryEvent| {
            matches!(event.attributes, Some(Attributes::WorkflowExecutionSignaledEventAttributes(_)))
        };
        let written = self.runner.world.history.iter().filter(is_signal).count();
        assert_eq!(written, self.signals, "an acknowledged signal is in history, once");
    }
}

/// Whether something happened that no workflow task will show to a worker.
fn is_forgotten(world: &World) -> bool {
    let description = world.state.describe(None);
    if world.state.status() != Status::Running
        || world.state.is_paused()
        || world.state.pending_workflow_task().is_some()
    {
        return false;
    }
    if UPDATES.iter().any(|id| world.state.update_stage(id) == UpdateStage::Admitted) {
        return true;
    }
    let offered = world.state.tasks().iter().any(|task| matches!(task, Task::Activity(_)));
    let waits = |activity: &PendingActivityInfo| {
        let started = activity.state() != PendingActivityState::Scheduled;
        started || offered || world.state.deadline().is_some()
    };
    let first_task = world.history.iter().any(|event| event.event_type() == EventType::WorkflowTaskScheduled);
    if !first_task {
        // A child may wait for its parent.
        return world.state.deadline().is_none() && description_has_no_parent(world);
    }
    let seen = world.history.iter().rposition(|event| event.event_type() == EventType::WorkflowTaskCompleted);
    let news = world.history[seen.map_or(0, |position| position + 1)..].iter().any(|event| {
        use EventType as E;
        matches!(
            event.event_type(),
            E::WorkflowExecutionSignaled
                | E::WorkflowExecutionCancelRequested
                | E::WorkflowTaskFailed
                | E::WorkflowTaskTimedOut
                | E::TimerFired
                | E::ActivityTaskCompleted
                | E::ActivityTaskFailed
                | E::ActivityTaskTimedOut
                | E::ActivityTaskCanceled
                | E::StartChildWorkflowExecutionFailed
                | E::ChildWorkflowExecutionStarted
                | E::ChildWorkflowExecutionCompleted
                | E::ChildWorkflowExecutionFailed
                | E::ChildWorkflowExecutionCanceled
                | E::ChildWorkflowExecutionTimedOut
                | E::ChildWorkflowExecutionTerminated
                | E::ExternalWorkflowExecutionSignaled
                | E::SignalExternalWorkflowExecutionFailed
                | E::ExternalWorkflowExecutionCancelRequested
                | E::RequestCancelExternalWorkflowExecutionFailed
        )
    });
    news || !description.pending_activities.iter().all(waits)
}

fn description_has_no_parent(world: &World) -> bool {
    world.state.describe(None).workflow_execution_info.is_none_or(|info| info.parent_execution.is_none())
}

fn kind_of(errand: Errand) -> i64 {
    match errand {
        Errand::StartChild(_) => 1,
        Errand::ScheduleChild(_) => 2,
        Errand::CloseChild(_) => 3,
        Errand::DropChild(_) => 4,
        Errand::SignalExternal(_) => 5,
        Errand::CancelExternal(_) => 6,
        Errand::Report => 7,
        Errand::AskChild(_) => 8,
    }
}

/// Whether the last task that ended in history is this one.
fn ends_with_this_task(history: &[HistoryEvent], token: &WorkflowTaskToken) -> bool {
    history.iter().rev().find_map(|event| match &event.attributes {
        Some(Attributes::WorkflowTaskCompletedEventAttributes(a)) => Some(a.started_event_id),
        Some(Attributes::WorkflowTaskFailedEventAttributes(a)) => Some(a.started_event_id),
        Some(Attributes::WorkflowTaskTimedOutEventAttributes(a)) => Some(a.started_event_id),
        _ => None,
    }) == Some(token.started_event_id)
}

/// The worker that completes a task may call itself otherwise than when it polled.
fn anonymous(event: &HistoryEvent) -> HistoryEvent {
    let mut event = event.clone();
    if let Some(Attributes::WorkflowTaskStartedEventAttributes(started)) = &mut event.attributes {
        started.identity.clear();
    }
    event
}

/// Events that the lives of one run of this test must show.
const EVENTS: [EventType; 41] = [
    EventType::WorkflowExecutionStarted,
    EventType::WorkflowExecutionCompleted,
    EventType::WorkflowExecutionFailed,
    EventType::WorkflowExecutionTimedOut,
    EventType::WorkflowExecutionCanceled,
    EventType::WorkflowExecutionTerminated,
    EventType::WorkflowExecutionContinuedAsNew,
    EventType::WorkflowExecutionSignaled,
    EventType::WorkflowExecutionCancelRequested,
    EventType::WorkflowTaskScheduled,
    EventType::WorkflowTaskStarted,
    EventType::WorkflowTaskCompleted,
    EventType::WorkflowTaskFailed,
    EventType::WorkflowTaskTimedOut,
    EventType::ActivityTaskScheduled,
    EventType::ActivityTaskStarted,
    EventType::ActivityTaskCompleted,
    EventType::ActivityTaskFailed,
    EventType::ActivityTaskTimedOut,
    EventType::ActivityTaskCancelRequested,
    EventType::ActivityTaskCanceled,
    EventType::TimerStarted,
    EventType::TimerFired,
    EventType::TimerCanceled,
    EventType::MarkerRecorded,
    EventType::StartChildWorkflowExecutionInitiated,
    EventType::StartChildWorkflowExecutionFailed,
    EventType::ChildWorkflowExecutionStarted,
    EventType::ChildWorkflowExecutionCompleted,
    EventType::ChildWorkflowExecutionFailed,
    EventType::ChildWorkflowExecutionCanceled,
    EventType::ChildWorkflowExecutionTimedOut,
    EventType::ChildWorkflowExecutionTerminated,
    EventType::SignalExternalWorkflowExecutionInitiated,
    EventType::SignalExternalWorkflowExecutionFailed,
    EventType::ExternalWorkflowExecutionSignaled,
    EventType::RequestCancelExternalWorkflowExecutionInitiated,
    EventType::RequestCancelExternalWorkflowExecutionFailed,
    EventType::ExternalWorkflowExecutionCancelRequested,
    EventType::WorkflowExecutionUpdateAccepted,
    EventType::WorkflowExecutionUpdateCompleted,
];

const UPDATES: [&str; 2] = ["u1", "u2"];

/// Most lives are far from every limit.
fn limits() -> impl Strategy<Value = String> {
    let none = Just("limit".to_owned());
    let some = select(vec![
        "limit buffered_events_max=2",
        "limit history_events_max=20",
        "limit history_size_bytes_max=1500",
        "limit pending_activities_max=1",
        "limit signals_max=2",
        "limit workflow_task_heartbeat_max=5s",
    ]);
    prop_oneof![6 => none, 1 => some.prop_map(ToOwned::to_owned)]
}

fn start() -> impl Strategy<Value = String> {
    let options = [
        "",
        "",
        "task-timeout=3s",
        "run-timeout=30s",
        "execution-timeout=1m",
        "run-timeout=20s retry=initial:2s,attempts:3",
        "retry=initial:1s",
        "cron=*/5_*_*_*_*",
        "delay=5s",
        "signal=hello",
        "signal=hello delay=5s",
        "child",
        "child delay=5s retry=initial:1s,attempts:2",
    ];
    select(options.to_vec()).prop_map(|options| format!("start {}", options.replace("*/5_*_*_*_*", "\"*/5 * * * *\"")))
}

fn step() -> impl Strategy<Value = String> {
    let weighted = |weight: u32, options: &[&str]| {
        let options: Vec<String> = options.iter().map(ToString::to_string).collect();
        (weight, select(options).boxed())
    };
    Union::new_weighted(vec![
        weighted(14, &["poll", "poll", "poll", "poll normal queue=q", "poll stamp=1 scheduled=2", "poll request=same"]),
        (20, completion().boxed()),
        weighted(2, &["complete token=1", "complete token=2", "complete token=3", "fail token=1"]),
        weighted(3, &["fail", "fail cause=NON_DETERMINISTIC_ERROR"]),
        weighted(9, &["poll-activity", "poll-activity a", "poll-activity b", "poll-activity a stamp=0"]),
        weighted(7, &["complete-activity a", "complete-activity b", "complete-activity a@1", "complete-activity id:b"]),
        weighted(
            7,
            &["fail-activity a", "fail-activity b non-retryable", "fail-activity a delay=3s", "fail-activity a@2"],
        ),
        weighted(3, &["cancel-activity a", "cancel-activity b", "cancel-activity id:a"]),
        weighted(4, &["heartbeat a details=1", "heartbeat b", "heartbeat id:a", "heartbeat a@1"]),
        weighted(8, &["signal s request=r1", "signal s request=r2", "signal s request=r3", "signal s"]),
        weighted(1, &["signal s skipping-delay", "attach request=j1", "cancel"]),
        weighted(10, &["wait 0s", "wait 100ms", "wait 1s", "wait 2s", "wait 5s", "wait 10s", "wait 70s"]),
        weighted(3, &["oversleep 1s", "oversleep 20s", "oversleep 10m", "fire"]),
        weighted(3, &["crash"]),
        weighted(3, &["fail-activity a non-retryable", "fail-activity b non-retryable"]),
        weighted(1, &["pause", "pause request=p"]),
        weighted(4, &["unpause"]),
        weighted(1, &["options mask=priority key=3", "options mask=priority key=1", "options mask=priority"]),
        weighted(2, &["reset at=3 reason=r", "reset at=4", "reset at=8", "reset at=12"]),
        weighted(1, &["clear-sticky", "terminate", "wait 1h"]),
        weighted(1, &["return-activity a request=same", "return-activity b request=same"]),
        weighted(2, &["poll-activity a request=same", "poll-activity b request=same"]),
        weighted(2, &["follow"]),
        weighted(
            4,
            &["pause-activity id:a request=p1", "pause-activity type:charge", "pause-activity id:b request=p2"],
        ),
        weighted(4, &["unpause-activity all", "unpause-activity id:a attempts heartbeat jitter=3s"]),
        weighted(
            2,
            &["reset-activity id:a", "reset-activity all heartbeat keep-paused", "reset-activity id:b restore"],
        ),
        weighted(3, OPTION_CHANGES),
        weighted(
            14,
            &[
                "errand next",
                "errand next",
                "errand next",
                "errand next",
                "errand next",
                "errand next refused",
                "errand next refused",
                "errand next refused",
                "errand next ended=completed",
            ],
        ),
        weighted(2, &["errand start-child 5", "errand signal 6", "errand cancel 5 refused", "errand report"]),
        (8, ended_child().boxed()),
        weighted(3, &["schedule-first-task", "signal-by s request=e1", "signal-by s request=e2 child-only from=x"]),
        weighted(1, &["cancel-by request=e3 event=5", "terminate-by child-only", "terminate-by from=x child-only"]),
        weighted(6, &["update u1", "update u2"]),
        weighted(3, &["complete sticky=sq sticky-timeout=3s\nreject u1 failure=no\nreject u2 failure=no"]),
        weighted(3, &["complete\naccept u1", "complete\nrespond u1 result=x"]),
        weighted(2, &["complete\naccept u2 resurrect\nrespond u2 result=x"]),
    ])
}

/// A child, often none that there is, tells of its end.
fn ended_child() -> impl Strategy<Value = String> {
    let kinds = vec!["completed", "failed", "canceled", "timed-out", "terminated"];
    let of = vec!["pending", "pending", "pending", "5"];
    (select(of), select(kinds)).prop_map(|(of, kind)| format!("child-closed {of} {kind}"))
}

fn completion() -> impl Strategy<Value = String> {
    let options = select(vec![
        "",
        "",
        "sticky=sq sticky-timeout=3s",
        "sticky=sq sticky-timeout=3s return-new",
        "force-new",
        "force-new return-new",
        "may-discard return-new sticky=sq sticky-timeout=3s",
    ]);
    let commands = proptest::collection::vec(select(COMMANDS.to_vec()), 0..4);
    let closing = proptest::option::weighted(0.12, select(CLOSING.to_vec()));
    (options, commands, closing).prop_map(|(options, mut commands, closing)| {
        commands.extend(closing);
        let commands: String = commands.iter().map(|command| format!("\n{command}")).collect();
        format!("complete {options}{commands}")
    })
}

const OPTION_CHANGES: &[&str] = &[
    "update-activity id:a mask=start_to_close_timeout start-to-close=2s",
    "update-activity all mask=task_queue.name,retry_policy.maximum_attempts queue=other retry=attempts:3",
    "update-activity id:b restore",
];

const COMMANDS: [&str; 47] = [
    "activity id=a start-to-close=5s\ncancel-activity scheduled=5",
    "activity id=a start-to-close=5s\ncancel-activity scheduled=8",
    "activity id=a start-to-close=5s",
    "activity id=a start-to-close=5s",
    "activity id=b start-to-close=60s schedule-to-start=4s",
    "activity id=a start-to-close=5s",
    "activity id=a start-to-close=5s retry=attempts:2,initial:1s",
    "activity id=a schedule-to-close=12s heartbeat=2s",
    "activity id=b start-to-close=60s schedule-to-start=4s",
    "activity id=b schedule-to-close=20s start-to-close=3s retry=initial:2s,coefficient:1",
    "activity id=c start-to-close=5s",
    "cancel-activity scheduled=5",
    "cancel-activity scheduled=5",
    "cancel-activity scheduled=6",
    "cancel-activity scheduled=7",
    "cancel-activity scheduled=8",
    "cancel-activity scheduled=11",
    "timer id=t after=3s",
    "timer id=t after=3s",
    "timer id=u after=0s",
    "timer id=u after=1m",
    "cancel-timer id=t",
    "cancel-timer id=u",
    "marker name=m",
    "upsert fields=K:v",
    "memo fields=k:v",
    "activity id=a",
    "timer",
    "child id=c",
    "child id=c",
    "child id=c",
    "child id=c policy=ABANDON",
    "child id=c policy=REQUEST_CANCEL",
    "signal-external id=x signal=s",
    "signal-external id=x signal=s",
    "signal-external id=wf signal=s child-only",
    "cancel-external id=x",
    "cancel-external id=c",
    "child id=",
    "accept u1",
    "accept u1",
    "accept u2 resurrect",
    "respond u1 result=x",
    "respond u1 result=x",
    "respond u2 failure=x",
    "reject u1 failure=no",
    "reject u2 failure=no",
];

const CLOSING: [&str; 5] =
    ["complete result=x", "fail type=E", "fail non-retryable", "cancel", "continue-as-new input=2"];
