//! One run of a workflow: what can be asked of it, what follows, and how its state changes.
//!
//! Reading order: the contract (`command`, `decision`, `state`), then how a decision is made
//! (`step`, `apply`), then one machine per file.

#![allow(deprecated, reason = "old workers still send the fields that the protocol calls deprecated")]

mod command;
mod decision;
mod state;

mod apply;
mod deadlines;
mod draft;
mod rows;
mod step;
mod stored;

mod start;
mod workflow_task;

mod complete;

mod commands;

mod activity;
mod attach;
mod buffer;
mod callback;
mod close;
mod close_command;
mod describe;
mod fire;
mod marker;
mod options;
mod pause;
mod predefined;
mod reset;
mod reset_point;
mod signal;
mod size;
mod successor;
mod timer;
mod update;
mod upsert;
mod visible;

mod errand;
mod outgoing;

mod by_workflow;
mod child;
mod errand_request;
mod external;

pub mod replay;

pub use apply::apply;
pub use command::{
    ActivityTarget, AdoptWorkflowTask, ByWorkflow, CancelActivity, ChildClosed, Command, CompleteActivity,
    CompleteWorkflowTask, FailActivity, FailWorkflowTask, FinishErrand, FreshIds, Heartbeat, Parent,
    ReturnActivityTask, Start, StartActivityTask, StartWorkflowTask, WorkflowTaskToken,
};
pub use decision::{
    ActivityStarted, ActivityTaskRef, ActivityTaskStarted, Change, Decision, NewRun, Note, Reply, Soft, Task,
    UpdateEnd, UpdateStage, WorkflowTaskRef, WorkflowTaskStarted,
};
pub use errand::Errand;
pub use errand_request::{ErrandOutcome, ErrandRequest, StartChild};
pub use options::{UpdateOptions, check_mask};
pub use reset::{Excluded, Fork, RESETTER_IDENTITY, Rebuild, Rebuilt, Reset};
pub use rows::RowKey;
pub use state::{Started, State};
pub use stored::{Activity as StoredActivity, Run, WorkflowTask};
pub use update::{aborted_by_closing, aborted_by_continuing};

use base::Timestamp;

use crate::{Limits, Rejection};
use step::Step;

#[cfg(test)]
mod tests;

/// What `command` does to the run: nothing but the returned decision.
pub fn decide(state: &State, command: Command, now: Timestamp, limits: &Limits) -> Result<Decision, Rejection> {
    let completes_task = matches!(command, Command::CompleteWorkflowTask(_));
    let mut step = Step::new(state, now, limits);
    buffer::recover(&mut step);
    let reply = match command {
        Command::Start(command) => start::start(&mut step, *command)?,
        Command::StartWorkflowTask(command) => workflow_task::start(&mut step, &command),
        Command::AdoptWorkflowTask(command) => workflow_task::adopt(&mut step, *command),
        Command::CompleteWorkflowTask(command) => {
            let before = step.state.clone();
            complete::complete(&mut step, &before, *command)?
        }
        Command::FailWorkflowTask(command) => workflow_task::fail_by_worker(&mut step, *command)?,
        Command::StartActivityTask(command) => activity::start(&mut step, &command),
        Command::ReturnActivityTask(command) => activity::give_back(&mut step, &command),
        Command::CompleteActivity(command) => activity::complete(&mut step, *command)?,
        Command::FailActivity(command) => activity::fail(&mut step, *command)?,
        Command::CancelActivity(command) => activity::cancel(&mut step, *command)?,
        Command::Heartbeat(command) => activity::heartbeat(&mut step, *command)?,
        Command::Signal(request) => signal::signal(&mut step, *request, signal::Delay::Respected)?,
        Command::SignalSkippingDelay(request) => signal::signal(&mut step, *request, signal::Delay::Skipped)?,
        Command::Attach(attach) => attach::attach(&mut step, *attach)?,
        Command::RequestCancel(request) => signal::request_cancel(&mut step, *request)?,
        Command::Terminate(request) => close::terminate(&mut step, *request)?,
        Command::PauseActivity(request) => activity::pause(&mut step, *request)?,
        Command::UnpauseActivity(request, jitter) => activity::unpause(&mut step, *request, jitter)?,
        Command::ResetActivity(request, jitter) => activity::reset(&mut step, *request, jitter)?,
        Command::UpdateActivityOptions(request) => activity::update_options(&mut step, *request)?,
        Command::AdmitUpdate(request) => update::admit(&mut step, *request)?,
        Command::FireTimers(fresh) => {
            fire::fire(&mut step, &fresh);
            Reply::Empty
        }
        Command::ClearSticky => workflow_task::clear_sticky(&mut step),
        Command::UpdateOptions(command) => options::update(&mut step, *command)?,
        Command::Pause(request) => pause::pause(&mut step, *request)?,
        Command::Unpause(request) => pause::unpause(&mut step, *request)?,
        Command::Delete => close::delete(&mut step),
        Command::Reset(command) => reset::begin(&mut step, *command)?,
        Command::Reapply(events) => reset::reapply(&mut step, events),
        Command::FinishReset => reset::finish(&mut step),
        Command::ResetTo(run_id) => {
            step.note(Note::ResetTo { run_id });
            Reply::Empty
        }
        Command::SignalByWorkflow(command) => by_workflow::signal(&mut step, *command)?,
        Command::CancelByWorkflow(command) => by_workflow::request_cancel(&mut step, *command)?,
        Command::TerminateByWorkflow(command) => by_workflow::terminate(&mut step, *command)?,
        Command::ScheduleFirstTask => by_workflow::schedule_first_task(&mut step),
        Command::ChildClosed(command) => child::closed(&mut step, &command)?,
        Command::FinishErrand(command) => errand_request::finish(&mut step, *command),
    };
    Ok(close::within_limits(state, step, completes_task, reply))
}
