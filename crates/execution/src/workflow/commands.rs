//! What a worker decided: its commands, in order, each with the event it writes.
//!
//! ```text
//!  command accepted      ─▶ its event, with the command's user metadata and group markers
//!  bad attributes        ─▶ nothing of the whole completion counts; the task fails with a cause
//!  payload over a limit  ─▶ the same, and the run is terminated
//!  close command while events are buffered ─▶ the task fails with UnhandledCommand
//!  command not last      ─▶ the request is refused, nothing is written
//! ```

use std::collections::BTreeSet;

use temporalio_protos::temporal::api::command::v1::Command;
use temporalio_protos::temporal::api::command::v1::command::Attributes as A;
use temporalio_protos::temporal::api::enums::v1::{CommandType, WorkflowTaskFailedCause as Cause};
use temporalio_protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_protos::temporal::api::protocol::v1 as protocol;
use temporalio_protos::temporal::api::sdk::v1::{EventGroupMarker, UserMetadata};

use super::command::FreshIds;
use super::draft::draft;
use super::step::Step;
use super::{activity, child, close_command, external, marker, timer, update, upsert, workflow_task};
use crate::Rejection;

/// One completion's way through its commands.
pub(crate) struct Turn<'step, 'limits> {
    pub(crate) step: &'step mut Step<'limits>,
    pub(crate) completed_event_id: i64,
    pub(crate) identity: String,
    pub(crate) fresh: FreshIds,
    /// Events wait that the worker has not seen.
    pub(crate) has_buffered: bool,
    /// An activity that nobody had taken was cancelled: the workflow must hear of it.
    pub(crate) cancelled_unstarted: bool,
    /// Activities that the worker wants to run itself, by scheduled event id.
    pub(crate) eager_activities: Vec<i64>,
    /// Workflow ids of the children that this completion starts.
    pub(crate) initiated_children: BTreeSet<String>,
    /// About updates; carried out at their place among the commands, or after them.
    messages: Vec<protocol::Message>,
    user_metadata: Option<UserMetadata>,
    event_group_markers: Vec<EventGroupMarker>,
}

/// Why the whole completion does not count.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Fail {
    pub(crate) cause: Cause,
    message: Option<String>,
    pub(crate) terminates: bool,
    /// The request is no answer at all: it is refused, and the task goes on.
    pub(crate) request: Option<Box<Rejection>>,
}

impl Fail {
    /// The workflow task fails.
    pub(crate) fn task(cause: Cause, message: impl Into<String>) -> Self {
        Self { cause, message: Some(message.into()), terminates: false, request: None }
    }

    /// The request is refused.
    pub(crate) fn request(rejection: Rejection) -> Self {
        Self { cause: Cause::Unspecified, message: None, terminates: false, request: Some(Box::new(rejection)) }
    }

    /// The run is terminated.
    pub(crate) fn run(cause: Cause, message: impl Into<String>) -> Self {
        Self { cause, message: Some(message.into()), terminates: true, request: None }
    }

    /// A worker that does not know of buffered events wants to close the run.
    pub(crate) fn unhandled() -> Self {
        Self { cause: Cause::UnhandledCommand, message: None, terminates: false, request: None }
    }

    /// The command does not fit what the run is doing; `action` in the incumbent's terms.
    pub(crate) fn action(cause: Cause, action: &str, details: &str) -> Self {
        Self::task(cause, format!("invalid history builder state for action: {action}, {details}"))
    }

    pub(crate) fn too_many_pending(cause: Cause, what: &str, count: usize, limit: usize) -> Self {
        let message = format!("the number of {what}, {count}, has reached the per-workflow limit of {limit}");
        Self::task(cause, message)
    }

    /// What the worker and the history are told.
    pub(crate) fn message(&self) -> String {
        let cause = workflow_task::cause_name(self.cause);
        match &self.message {
            Some(message) => format!("{cause}: {message}"),
            None => cause,
        }
    }
}

impl<'step, 'limits> Turn<'step, 'limits> {
    pub(crate) fn new(
        step: &'step mut Step<'limits>,
        completed_event_id: i64,
        identity: String,
        fresh: FreshIds,
        messages: Vec<protocol::Message>,
    ) -> Self {
        let has_buffered = !step.state.buffered.is_empty();
        Self {
            step,
            completed_event_id,
            identity,
            fresh,
            has_buffered,
            cancelled_unstarted: false,
            eager_activities: Vec::new(),
            initiated_children: BTreeSet::new(),
            messages,
            user_metadata: None,
            event_group_markers: Vec::new(),
        }
    }

    /// Writes the event of the current command.
    pub(crate) fn event(&mut self, attributes: Attributes) -> i64 {
        let mut event = draft(self.step.now, attributes);
        event.user_metadata = self.user_metadata.take();
        event.event_group_markers = std::mem::take(&mut self.event_group_markers);
        self.step.write(event)
    }

    pub(crate) fn run(&mut self, commands: Vec<Command>) -> Result<(), Fail> {
        for command in commands {
            self.user_metadata.clone_from(&command.user_metadata);
            self.event_group_markers.clone_from(&command.event_group_markers);
            self.execute(command)?;
        }
        for message in std::mem::take(&mut self.messages) {
            update::handle(self, &message)?;
        }
        Ok(())
    }

    fn execute(&mut self, command: Command) -> Result<(), Fail> {
        let kind = command.command_type();
        match (kind, command.attributes) {
            (CommandType::ScheduleActivityTask, Some(A::ScheduleActivityTaskCommandAttributes(a))) => {
                activity::schedule(self, a)
            }
            (CommandType::RequestCancelActivityTask, Some(A::RequestCancelActivityTaskCommandAttributes(a))) => {
                activity::request_cancel(self, &a)
            }
            (CommandType::StartTimer, Some(A::StartTimerCommandAttributes(a))) => timer::start(self, a),
            (CommandType::CancelTimer, Some(A::CancelTimerCommandAttributes(a))) => timer::cancel(self, &a),
            (CommandType::RecordMarker, Some(A::RecordMarkerCommandAttributes(a))) => marker::record(self, a),
            (
                CommandType::UpsertWorkflowSearchAttributes,
                Some(A::UpsertWorkflowSearchAttributesCommandAttributes(a)),
            ) => upsert::upsert_search_attributes(self, a),
            (CommandType::ModifyWorkflowProperties, Some(A::ModifyWorkflowPropertiesCommandAttributes(a))) => {
                upsert::modify_properties(self, a)
            }
            (CommandType::StartChildWorkflowExecution, Some(A::StartChildWorkflowExecutionCommandAttributes(a))) => {
                child::start(self, a)
            }
            (
                CommandType::SignalExternalWorkflowExecution,
                Some(A::SignalExternalWorkflowExecutionCommandAttributes(a)),
            ) => external::signal(self, a),
            (
                CommandType::RequestCancelExternalWorkflowExecution,
                Some(A::RequestCancelExternalWorkflowExecutionCommandAttributes(a)),
            ) => external::request_cancel(self, a),
            (CommandType::ProtocolMessage, Some(A::ProtocolMessageCommandAttributes(a))) => self.message(&a.message_id),
            (kind, attributes) if is_close(kind) => close_command::execute(self, kind, attributes),
            (kind, None) => Err(not_set(kind)),
            (kind, Some(_)) => Err(not_built(kind)),
        }
    }
}

impl Turn<'_, '_> {
    /// Carries out a message at the place of its command.
    fn message(&mut self, id: &str) -> Result<(), Fail> {
        let cause = Cause::BadUpdateWorkflowExecutionMessage;
        if id.is_empty() {
            return Err(Fail::task(cause, "MessageID is not set on ProtocolMessageCommand."));
        }
        let Some(index) = self.messages.iter().position(|message| message.id == id) else {
            return Err(Fail::task(cause, format!("ProtocolMessageCommand referenced absent message ID {id}")));
        };
        let message = self.messages.remove(index);
        update::handle(self, &message)
    }
}

/// What holds for the sequence as a whole.
pub(crate) fn check_sequence(commands: &[Command]) -> Result<(), Rejection> {
    let mut last = None;
    for command in commands {
        if let Some(kind) = last {
            let types: Vec<_> = commands.iter().map(|command| type_name(command.command_type())).collect();
            return Err(Rejection::InvalidArgument(format!(
                "invalid command sequence: [{}], command {} must be the last command.",
                types.join(", "),
                type_name(kind)
            )));
        }
        match CommandType::try_from(command.command_type) {
            Ok(CommandType::Unspecified) => {
                return Err(Rejection::InvalidArgument("unknown command type: Unspecified".into()));
            }
            Err(_) => {
                return Err(Rejection::InvalidArgument(format!("unknown command type: {}", command.command_type)));
            }
            Ok(kind) if is_close(kind) => last = Some(kind),
            Ok(_) => {}
        }
    }
    Ok(())
}

pub(crate) fn is_close(kind: CommandType) -> bool {
    matches!(
        kind,
        CommandType::CompleteWorkflowExecution
            | CommandType::FailWorkflowExecution
            | CommandType::CancelWorkflowExecution
            | CommandType::ContinueAsNewWorkflowExecution
    )
}

/// `COMMAND_TYPE_START_TIMER` as the incumbent prints it: `StartTimer`.
pub(crate) fn type_name(kind: CommandType) -> String {
    let name = kind.as_str_name().trim_start_matches("COMMAND_TYPE_");
    name.split('_').map(|word| format!("{}{}", &word[..1], word[1..].to_lowercase())).collect()
}

pub(crate) fn not_set(kind: CommandType) -> Fail {
    let name = type_name(kind);
    Fail::task(bad_attributes(kind), format!("{name}CommandAttributes is not set on {name}Command."))
}

/// A command of the API that this server does not carry out yet.
fn not_built(kind: CommandType) -> Fail {
    Fail::task(bad_attributes(kind), format!("command {} is not supported yet", type_name(kind)))
}

fn bad_attributes(kind: CommandType) -> Cause {
    match kind {
        CommandType::Unspecified => Cause::Unspecified,
        CommandType::ScheduleActivityTask => Cause::BadScheduleActivityAttributes,
        CommandType::RequestCancelActivityTask => Cause::BadRequestCancelActivityAttributes,
        CommandType::StartTimer => Cause::BadStartTimerAttributes,
        CommandType::CompleteWorkflowExecution => Cause::BadCompleteWorkflowExecutionAttributes,
        CommandType::FailWorkflowExecution => Cause::BadFailWorkflowExecutionAttributes,
        CommandType::CancelTimer => Cause::BadCancelTimerAttributes,
        CommandType::CancelWorkflowExecution => Cause::BadCancelWorkflowExecutionAttributes,
        CommandType::RequestCancelExternalWorkflowExecution => {
            Cause::BadRequestCancelExternalWorkflowExecutionAttributes
        }
        CommandType::RecordMarker => Cause::BadRecordMarkerAttributes,
        CommandType::ContinueAsNewWorkflowExecution => Cause::BadContinueAsNewAttributes,
        CommandType::StartChildWorkflowExecution => Cause::BadStartChildExecutionAttributes,
        CommandType::SignalExternalWorkflowExecution => Cause::BadSignalWorkflowExecutionAttributes,
        CommandType::UpsertWorkflowSearchAttributes => Cause::BadSearchAttributes,
        CommandType::ProtocolMessage => Cause::BadUpdateWorkflowExecutionMessage,
        CommandType::ModifyWorkflowProperties => Cause::BadModifyWorkflowPropertiesAttributes,
        CommandType::ScheduleNexusOperation => Cause::BadScheduleNexusOperationAttributes,
        CommandType::RequestCancelNexusOperation => Cause::BadRequestCancelNexusOperationAttributes,
    }
}
