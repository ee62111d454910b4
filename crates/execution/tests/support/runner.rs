//! From a scenario's words to commands, and from decisions back to text.

use std::collections::BTreeMap;
use std::time::Duration;

use base::{RunId, Timestamp};
use execution::Rejection;
use execution::workflow::{
    ActivityTarget, ActivityTaskStarted, AdoptWorkflowTask, Change, Command, Decision, FreshIds, NewRun, Note, Reply,
    ReturnActivityTask, Soft, Start, StartActivityTask, StartWorkflowTask, State, StoredActivity, Task, UpdateEnd,
    UpdateStage, WorkflowTaskStarted, WorkflowTaskToken,
};
use temporalio_protos::temporal::api::common::v1::WorkflowExecution;
use temporalio_protos::temporal::api::enums::v1::{TaskQueueKind, WorkflowExecutionStatus};
use temporalio_protos::temporal::api::history::v1::HistoryEvent;
use temporalio_protos::temporal::api::protocol::v1::message::SequencingId;
use temporalio_protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_protos::temporal::api::workflowservice::v1 as wf;

use super::between;
use super::operations;
use super::print;
use super::requests::{self, payloads};
use super::reset;
use super::script::{self, Call};
use super::update;
use super::world::World;

/// More wake-ups than this at one time: the run does not do what it wanted to be woken for.
const WAKE_UPS_MAX: usize = 100;
/// The randomness of every jitter.
const JITTER: u64 = 3;
/// What a token names that was made up.
const NEVER_SCHEDULED: i64 = 9999;
const RETENTION: Duration = Duration::from_secs(24 * 3600);

pub(crate) struct Runner {
    pub(crate) world: World,
    /// The run that followed on this one.
    pub(crate) next: Option<World>,
    runs: usize,
    requests: usize,
    workflow_tokens: Vec<WorkflowTaskToken>,
    activity_tokens: BTreeMap<String, ActivityTarget>,
}

impl Runner {
    pub(crate) fn new() -> Self {
        Self {
            world: World::new(),
            next: None,
            runs: 1,
            requests: 0,
            workflow_tokens: Vec::new(),
            activity_tokens: BTreeMap::new(),
        }
    }

    /// The text of what came out; none for a command that is marked `quiet`, because it only
    /// leads up to what the scenario is about.
    pub(crate) fn run(&mut self, call: &Call, more: &[Call]) -> String {
        let text = self.run_aloud(call, more);
        if call.has("quiet") { String::new() } else { text }
    }

    fn run_aloud(&mut self, call: &Call, more: &[Call]) -> String {
        match call.verb.as_str() {
            "new" => {
                *self = Self::new();
                String::new()
            }
            "wait" => self.wait(script::duration(&call.words[0])),
            "crash" => {
                self.world.crash();
                self.tasks()
            }
            "follow" => {
                self.world = self.next.take().expect("a run that followed");
                self.tasks()
            }
            "tasks" => self.tasks(),
            "requests" => between::requests(&self.world.state),
            "tail" => lines(self.world.state.unwritten_tail().iter().map(|event| self.event(event))),
            "history" => lines(self.world.history.iter().map(|event| self.event(event))),
            "reset" => self.reset(call),
            "describe" => describe(&self.world.state),
            "limit" => {
                requests::limit(&mut self.world.limits, call);
                String::new()
            }
            _ => {
                let command = self.command(call, more);
                self.step(&command)
            }
        }
    }

    fn step(&mut self, command: &Command) -> String {
        match self.world.step(command) {
            Err(rejection) => refused(&rejection),
            Ok(decision) => {
                self.remember(&decision);
                let text = self.decision(&decision);
                if let Some(run) = &decision.new_run {
                    self.next = Some(self.world.succeeded_by(run));
                }
                text
            }
        }
    }

    /// Resets the run to before event `at`. The new run takes its place; `follow` returns to
    /// the base.
    fn reset(&mut self, call: &Call) -> String {
        let run_id = self.fresh().run_id;
        match reset::reset(&mut self.world, call, run_id.as_str()) {
            Err(rejection) => refused(&rejection),
            Ok(outcome) => {
                let base = self.changes(&outcome.base_changes);
                self.next = Some(std::mem::replace(&mut self.world, outcome.new));
                // What workers hold is for a run that is gone.
                self.workflow_tokens.clear();
                self.activity_tokens.clear();
                let new = self.changes(&outcome.new_changes) + &self.tasks();
                format!("{base}new run {run_id}\n{}", lines(new.lines().map(|line| format!("  {line}"))))
            }
        }
    }

    /// Lets time pass and wakes the run whenever it asked for it.
    fn wait(&mut self, time: Duration) -> String {
        let until = self.world.now + time;
        let mut text = String::new();
        for _ in 0..WAKE_UPS_MAX {
            let wanted = [self.world.state.deadline(), self.world.state.soft_deadline()];
            let Some(due) = wanted.into_iter().flatten().min().filter(|due| *due <= until) else {
                self.world.now = until;
                return text;
            };
            if self.world.state.status() != WorkflowExecutionStatus::Running {
                text += &format!("at {}: may be removed\n", print::time(due));
                self.world.now = until;
                return text;
            }
            self.world.now = due.max(self.world.now);
            let fresh = self.fresh();
            text += &format!("at {}:\n{}", print::time(self.world.now), self.step(&Command::FireTimers(fresh)));
        }
        panic!("woken {WAKE_UPS_MAX} times without end:\n{text}");
    }

    fn tasks(&self) -> String {
        lines(self.world.state.tasks().iter().map(task))
    }

    /// Keeps the tokens that a decision hands out.
    pub(crate) fn remember(&mut self, decision: &Decision) {
        let mut activities = Vec::new();
        match &decision.reply {
            Reply::WorkflowTaskStarted(started) => self.workflow_tokens.push(started.token.clone()),
            Reply::WorkflowTaskCompleted { new_task, activity_tasks, .. } => {
                self.workflow_tokens.extend(new_task.iter().map(|started| started.token.clone()));
                activities.extend(activity_tasks.iter());
            }
            Reply::ActivityTaskStarted(started) => activities.push(started),
            _ => {}
        }
        for ActivityTaskStarted { response, scheduled_event_id, started_event_id, attempt, .. } in activities {
            let token = ActivityTarget::Token {
                scheduled_event_id: *scheduled_event_id,
                attempt: *attempt,
                started_event_id: *started_event_id,
            };
            let id = &response.activity_id;
            self.activity_tokens.insert(format!("{id}@{attempt}"), token.clone());
            self.activity_tokens.insert(id.clone(), token);
        }
    }

    pub(crate) fn command(&mut self, call: &Call, more: &[Call]) -> Command {
        match call.verb.as_str() {
            "start" => Command::Start(Box::new(self.start(call))),
            "poll" => Command::StartWorkflowTask(Box::new(self.poll(call))),
            "adopt" => Command::AdoptWorkflowTask(Box::new(AdoptWorkflowTask {
                token: self.workflow_token(call),
                request_id: "adopted".into(),
                identity: call.text_or("worker", "worker"),
                worker_version: None,
            })),
            "complete" => Command::CompleteWorkflowTask(Box::new(requests::complete_task(
                self.workflow_token(call),
                self.fresh(),
                call,
                more,
            ))),
            "fail" => Command::FailWorkflowTask(Box::new(requests::fail_task(self.workflow_token(call), call))),
            "poll-activity" => Command::StartActivityTask(Box::new(self.poll_activity(call))),
            "return-activity" => {
                let started = self.poll_activity(call);
                Command::ReturnActivityTask(Box::new(ReturnActivityTask {
                    scheduled_event_id: started.scheduled_event_id,
                    request_id: started.request_id,
                }))
            }
            "complete-activity" => {
                Command::CompleteActivity(Box::new(requests::complete_activity(self.activity(call), call)))
            }
            "fail-activity" => Command::FailActivity(Box::new(requests::fail_activity(self.activity(call), call))),
            "cancel-activity" => {
                Command::CancelActivity(Box::new(requests::cancel_activity(self.activity(call), call)))
            }
            "heartbeat" => Command::Heartbeat(Box::new(requests::heartbeat(self.activity(call), call))),
            "pause-activity" => Command::PauseActivity(Box::new(operations::pause(call))),
            "unpause-activity" => Command::UnpauseActivity(Box::new(operations::unpause(call)), JITTER),
            "reset-activity" => Command::ResetActivity(Box::new(operations::reset(call)), JITTER),
            "update-activity" => Command::UpdateActivityOptions(Box::new(operations::update_options(call))),
            "signal" if call.has("skipping-delay") => Command::SignalSkippingDelay(Box::new(requests::signal(call))),
            "signal" => Command::Signal(Box::new(requests::signal(call))),
            "update" => Command::AdmitUpdate(Box::new(update::admit(call))),
            "attach" => Command::Attach(Box::new(requests::attach(call))),
            "cancel" => Command::RequestCancel(Box::new(wf::RequestCancelWorkflowExecutionRequest {
                identity: "client".into(),
                request_id: call.text("request"),
                reason: call.text("reason"),
                ..Default::default()
            })),
            "terminate" => Command::Terminate(Box::new(wf::TerminateWorkflowExecutionRequest {
                identity: "client".into(),
                reason: call.text("reason"),
                details: call.get("details").map(payloads),
                first_execution_run_id: call.text("first-run"),
                ..Default::default()
            })),
            "fire" => Command::FireTimers(self.fresh()),
            "clear-sticky" => Command::ClearSticky,
            "delete" => Command::Delete,
            "pause" => Command::Pause(Box::new(requests::pause(call))),
            "unpause" => Command::Unpause(Box::new(requests::unpause(call))),
            "options" => Command::UpdateOptions(Box::new(requests::update_options(call))),
            verb => between::command(call, &self.world.state).unwrap_or_else(|| panic!("unknown command {verb}")),
        }
    }

    fn start(&self, call: &Call) -> Start {
        Start {
            namespace_id: "namespace-id".into(),
            workflow_id: "wf".into(),
            run_id: "run-1".into(),
            namespace_name: "default".into(),
            request: requests::start(call),
            signal: call.get("signal").map(|name| wf::SignalWorkflowExecutionRequest {
                workflow_execution: Some(WorkflowExecution { workflow_id: "wf".into(), run_id: String::new() }),
                signal_name: name.into(),
                identity: "starter".into(),
                request_id: call.text_or("request", "start-request"),
                ..Default::default()
            }),
            previous_run_id: call.get("previous").map(RunId::from),
            retention: RETENTION,
            parent: between::parent(call),
        }
    }

    /// Takes the pending task as matching would: by the reference, or by what is given of it.
    fn poll(&mut self, call: &Call) -> StartWorkflowTask {
        let pending = self.world.state.tasks().into_iter().find_map(|task| match task {
            Task::Workflow(task) => Some(task),
            Task::Activity(_) | Task::Errand(_) => None,
        });
        let request_id = self.request_id(call);
        let (queue, normal) = match &pending {
            Some(task) => (task.task_queue.clone(), task.normal_queue.clone()),
            None => ("q".into(), None),
        };
        let queue = call.text_or("queue", &queue);
        let kind = if normal.is_some() || call.has("sticky") { TaskQueueKind::Sticky } else { TaskQueueKind::Normal };
        let kind = if call.has("normal") { TaskQueueKind::Normal } else { kind };
        StartWorkflowTask {
            scheduled_event_id: call
                .number("scheduled")
                .unwrap_or_else(|| pending.as_ref().map_or(0, |task| task.scheduled_event_id)),
            stamp: call.number("stamp").unwrap_or_else(|| pending.as_ref().map_or(0, |task| task.stamp)),
            request_id,
            poll: wf::PollWorkflowTaskQueueRequest {
                task_queue: Some(TaskQueue { name: queue, kind: kind.into(), normal_name: normal.unwrap_or_default() }),
                identity: call.text_or("worker", "worker"),
                ..Default::default()
            },
        }
    }

    fn poll_activity(&mut self, call: &Call) -> StartActivityTask {
        let pending = self.world.state.tasks().into_iter().find_map(|task| match task {
            Task::Activity(task) => Some(task),
            Task::Workflow(_) | Task::Errand(_) => None,
        });
        let from_id = call.words.iter().find(|word| *word != "quiet").map(|id| self.scheduled_event_id(id));
        let pending = self
            .world
            .state
            .tasks()
            .into_iter()
            .find_map(|task| match task {
                Task::Activity(task) if Some(task.scheduled_event_id) == from_id => Some(task),
                _ => None,
            })
            .or(pending);
        StartActivityTask {
            scheduled_event_id: call
                .number("scheduled")
                .or(from_id)
                .unwrap_or_else(|| pending.as_ref().map_or(0, |task| task.scheduled_event_id)),
            stamp: call.number("stamp").unwrap_or_else(|| pending.as_ref().map_or(0, |task| task.stamp)),
            request_id: self.request_id(call),
            poll: wf::PollActivityTaskQueueRequest {
                task_queue: Some(TaskQueue { name: "q".into(), ..Default::default() }),
                identity: call.text_or("worker", "activity-worker"),
                ..Default::default()
            },
        }
    }

    fn scheduled_event_id(&self, activity_id: &str) -> i64 {
        use temporalio_protos::temporal::api::history::v1::history_event::Attributes;
        let id_of = |event: &HistoryEvent| match &event.attributes {
            Some(Attributes::ActivityTaskScheduledEventAttributes(a)) if a.activity_id == activity_id => {
                Some(event.event_id)
            }
            _ => None,
        };
        self.world.history.iter().rev().find_map(id_of).unwrap_or(NEVER_SCHEDULED)
    }

    fn workflow_token(&self, call: &Call) -> WorkflowTaskToken {
        let number: usize = call.number("token").unwrap_or(self.workflow_tokens.len());
        let token = self.workflow_tokens.get(number.wrapping_sub(1)).cloned().unwrap_or(WorkflowTaskToken {
            scheduled_event_id: 2,
            started_event_id: 3,
            attempt: 1,
            started_time: self.world.now,
        });
        // Whoever holds a token can change it.
        match call.get("ahead") {
            Some(ahead) => WorkflowTaskToken { started_time: self.world.now + script::duration(ahead), ..token },
            None if call.has("by-hand") => {
                WorkflowTaskToken { started_event_id: 0, started_time: Timestamp::ZERO, ..token }
            }
            None => token,
        }
    }

    /// `a`: the last start of activity a. `a@1`: its first attempt. `id:a`: by its id.
    fn activity(&self, call: &Call) -> ActivityTarget {
        let name = &call.words[0];
        if let Some(id) = name.strip_prefix("id:") {
            return ActivityTarget::Id(id.to_owned());
        }
        self.activity_tokens.get(name).cloned().unwrap_or(ActivityTarget::Token {
            scheduled_event_id: NEVER_SCHEDULED,
            attempt: 1,
            started_event_id: 0,
        })
    }

    pub(crate) fn fresh(&mut self) -> FreshIds {
        self.runs += 1;
        FreshIds { run_id: format!("run-{}", self.runs).into(), jitter: 0 }
    }

    fn request_id(&mut self, call: &Call) -> String {
        self.requests += 1;
        call.get("request").map_or_else(|| format!("poll-{}", self.requests), str::to_owned)
    }

    fn decision(&self, decision: &Decision) -> String {
        let mut text = reply(&decision.reply);
        text += &self.changes(&decision.changes);
        text += &lines(decision.tasks.iter().map(task));
        if let Some(run) = &decision.new_run {
            text += &self.new_run(run);
        }
        if text.is_empty() { "nothing\n".into() } else { text }
    }

    fn new_run(&self, run: &NewRun) -> String {
        let body = self.changes(&run.changes) + &lines(run.tasks.iter().map(task));
        format!("new run {}\n{}", run.run_id, lines(body.lines().map(|line| format!("  {line}"))))
    }

    fn changes(&self, changes: &[Change]) -> String {
        // Only a count that the description shows.
        let is_telling = |change: &&Change| !matches!(change, Change::Note(Note::Transition));
        lines(changes.iter().filter(is_telling).map(|change| match change {
            Change::Event(event) => self.event(event),
            Change::Note(note) => self.note(note),
            Change::Soft(soft) => soft_change(soft),
        }))
    }

    fn note(&self, note: &Note) -> String {
        match note {
            Note::Buffered { event, .. } => {
                let (kind, attributes) = print::event(event);
                format!("note Buffered {kind} {attributes}").trim_end().to_owned()
            }
            Note::StickySet { queue, .. } => format!("note StickySet {queue}"),
            Note::SignalRequested { request_id } => format!("note SignalRequested {request_id}"),
            Note::ActivityRetried { scheduled_event_id, scheduled_time, failure, .. } => {
                let time = print::time(Timestamp::from_nanos(*scheduled_time));
                let failure = failure.as_deref().map(|failure| print::message("failure.v1.Failure", failure));
                format!("note ActivityRetried #{scheduled_event_id} next={time} {{{}}}", failure.unwrap_or_default())
            }
            Note::ActivityRescheduled { scheduled_event_id, .. } => {
                format!("note ActivityRescheduled #{scheduled_event_id}")
            }
            Note::ResetTo { run_id } => format!("note ResetTo {run_id}"),
            Note::DeleteRequested { time } => {
                format!("note DeleteRequested from={}", print::time(Timestamp::from_nanos(*time)))
            }
            Note::ActivityReady { scheduled_event_id } => format!("note ActivityReady #{scheduled_event_id}"),
            Note::ActivitySet { scheduled_event_id, row } => activity_set(*scheduled_event_id, row),
            Note::SearchAttribute { name, value } => {
                let value = value.as_deref().map(|value| String::from_utf8_lossy(&value.data).into_owned());
                format!("note SearchAttribute {name}={}", value.unwrap_or_default())
            }
            Note::ErrandDone { errand } => format!("note ErrandDone {errand:?}"),
            note => format!("note {}", variant(&format!("{note:?}"))),
        }
    }

    fn event(&self, event: &HistoryEvent) -> String {
        let time = event.event_time.as_ref().map(Timestamp::from_proto).unwrap_or_default();
        let time = if time == self.world.now { String::new() } else { format!(" @{}", print::time(time)) };
        let (kind, attributes) = print::event(event);
        format!("{} {kind}{time} {attributes}", event.event_id).trim_end().to_owned()
    }
}

fn activity_set(scheduled_event_id: i64, row: &StoredActivity) -> String {
    let at = print::time(Timestamp::from_nanos(row.scheduled_time));
    let mut text = format!("note ActivitySet #{scheduled_event_id} attempt={} scheduled={at}", row.attempt);
    for (word, is) in [
        ("started", row.started_time != 0),
        ("ready", row.ready),
        ("paused", row.pause.is_some()),
        ("reset", row.was_reset),
        ("heartbeat-reset-pending", row.heartbeat_reset_pending),
        ("options", row.options.is_some()),
    ] {
        if is {
            text = text + " " + word;
        }
    }
    text
}

fn describe(state: &State) -> String {
    let response = state.describe(None);
    let text = print::message("workflowservice.v1.DescribeWorkflowExecutionResponse", &response);
    text + "\n"
}

fn refused(rejection: &Rejection) -> String {
    let kind = variant(&format!("{rejection:?}")).to_owned();
    let detail = match rejection {
        Rejection::AlreadyStarted { start_request_id, run_id, first_execution_run_id, .. } => {
            format!(" start_request_id={start_request_id} run_id={run_id} first={first_execution_run_id}")
        }
        Rejection::ResourceExhausted { cause, scope, .. } => format!(" cause={cause} scope={scope}"),
        _ => String::new(),
    };
    format!("refused {kind}{detail} {rejection}\n")
}

fn reply(reply: &Reply) -> String {
    match reply {
        Reply::Empty => String::new(),
        Reply::WorkflowStarted { run_id } => format!("reply started {run_id}\n"),
        Reply::WorkflowTaskStarted(started) => format!("reply {}", workflow_task(started)),
        Reply::WorkflowTaskCompleted { new_task, activity_tasks, reset_history_event_id } => {
            let mut text = String::new();
            if let Some(started) = new_task {
                text += &format!("reply {}", workflow_task(started));
            }
            text += &lines(activity_tasks.iter().map(activity_task));
            if *reset_history_event_id != 0 {
                text += &format!("reply reset_history_event_id={reset_history_event_id}\n");
            }
            text
        }
        Reply::ActivityTaskStarted(started) => activity_task(started) + "\n",
        Reply::Heartbeat { cancel_requested, activity_paused, activity_reset } => {
            let flags =
                [("cancel-requested", cancel_requested), ("paused", activity_paused), ("reset", activity_reset)];
            let flags: Vec<&str> = flags.into_iter().filter(|(_, is)| **is).map(|(name, _)| name).collect();
            format!("reply heartbeat {}\n", flags.join(" ")).replace(" \n", "\n")
        }
        Reply::ActivityOptions(options) => {
            format!("reply {}\n", print::message("activity.v1.ActivityOptions", &**options))
        }
        Reply::Update(UpdateStage::Failed(failure)) => {
            format!("reply update Failed {{{}}}\n", print::message("failure.v1.Failure", &**failure))
        }
        Reply::Update(UpdateStage::Completed { event_id }) => format!("reply update Completed #{event_id}\n"),
        Reply::Update(stage) => format!("reply update {stage:?}\n"),
        Reply::Options(options) => {
            format!("reply {}\n", print::message("workflow.v1.WorkflowExecutionOptions", &**options))
        }
        Reply::TaskGone => "reply task gone\n".into(),
        Reply::Refused(rejection) => refused(rejection),
    }
}

fn workflow_task(started: &WorkflowTaskStarted) -> String {
    let token = &started.token;
    let last = started.history_next_event_id - 1;
    let tail: Vec<String> = started.tail.iter().map(|event| format!("{}", event.event_id)).collect();
    let updates = started.response.messages.iter().map(|message| match &message.sequencing_id {
        Some(SequencingId::EventId(id)) => format!(" update {}@{id}", message.protocol_instance_id),
        other => format!(" update {} {other:?}", message.protocol_instance_id),
    });
    let updates: String = updates.collect();
    format!(
        "workflow task scheduled=#{} started=#{} attempt={} previous=#{} history=#{}..#{last} tail=[{}]{updates}\n",
        token.scheduled_event_id,
        token.started_event_id,
        token.attempt,
        started.response.previous_started_event_id,
        started.history_first_event_id,
        tail.join(" "),
    )
}

fn activity_task(started: &ActivityTaskStarted) -> String {
    let response = print::message("workflowservice.v1.PollActivityTaskQueueResponse", &started.response);
    format!("reply activity task #{} {response}", started.scheduled_event_id)
}

fn task(task: &Task) -> String {
    match task {
        Task::Workflow(task) => {
            let normal = task.normal_queue.as_ref().map_or_else(String::new, |name| format!("(sticky of {name})"));
            format!("task workflow #{} on {}{normal} stamp={}", task.scheduled_event_id, task.task_queue, task.stamp)
        }
        Task::Activity(task) => {
            format!("task activity #{} on {} stamp={}", task.scheduled_event_id, task.task_queue, task.stamp)
        }
        Task::Errand(errand) => format!("task {errand:?}"),
    }
}

fn soft_change(soft: &Soft) -> String {
    match soft {
        Soft::UpdateEnded { id, end: UpdateEnd::Rejected(failure) } => {
            format!("soft UpdateRejected {id} {{{}}}", print::message("failure.v1.Failure", &**failure))
        }
        Soft::UpdateEnded { id, end: UpdateEnd::Refused(rejection) } => {
            format!("soft UpdateRefused {id} {}", refused(rejection).trim_end())
        }
        Soft::UpdateEnded { id, end: UpdateEnd::Lost } => format!("soft UpdateLost {id}"),
        soft => format!("soft {}", variant(&format!("{soft:?}"))),
    }
}

/// The name of an enum's variant, from its debug form.
fn variant(debug: &str) -> &str {
    debug.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default()
}

fn lines<S: AsRef<str>>(lines: impl IntoIterator<Item = S>) -> String {
    lines.into_iter().map(|line| format!("{}\n", line.as_ref())).collect()
}
