//! One request, one answer: which file handles what.

use api::internal::HistoryRequest;
use api::internal::history_request::Request;
use temporalio_protos::temporal::api::common::v1::WorkflowExecution;

use super::input::{Answer, Ask};
use super::leader::{Fault, Leader};
use crate::error;
use crate::run::WorkflowKey;

/// Whose request it is.
pub(super) struct Caller {
    pub(super) namespace_id: String,
    pub(super) namespace: String,
    /// Of history: nothing that is not written yet.
    pub(super) written_events_only: bool,
    /// A request that has to wait is sent again with the run that it is about.
    pub(super) can_bind: bool,
}

impl Caller {
    pub(super) fn workflow(&self, workflow_id: &str) -> WorkflowKey {
        WorkflowKey::new(&self.namespace_id, workflow_id)
    }
}

/// The execution that a request must name.
pub(super) fn named(execution: Option<WorkflowExecution>) -> Result<WorkflowExecution, Fault> {
    execution.ok_or_else(|| error::malformed("Execution").into())
}

impl Leader {
    pub(super) fn answer(&mut self, ask: Ask) -> Result<Answer, Fault> {
        let Ask { request, queue } = ask;
        let HistoryRequest { namespace_id, namespace, request, written_events_only, can_bind, .. } = *request;
        let caller = Caller { namespace_id, namespace, written_events_only, can_bind };
        let request = request.ok_or_else(|| error::malformed("Request"))?;
        match request {
            Request::Start(request) => self.start(&caller, request),
            Request::SignalWithStart(request) => self.signal_with_start(&caller, request),
            Request::Signal(request) => self.signal(&caller, request),
            Request::RequestCancel(request) => self.request_cancel(&caller, request),
            Request::Terminate(request) => self.terminate(&caller, request),
            Request::ResetSticky(request) => self.reset_sticky(&caller, request),
            Request::Describe(request) => self.describe(&caller, request),
            Request::GetHistory(request) => self.get_history(&caller, &request),
            Request::GetHistoryReverse(request) => self.get_history_reverse(&caller, request),
            Request::Query(request) => self.query(&caller, request, queue),
            Request::Update(request) => self.update(&caller, request),
            Request::PollUpdate(request) => self.poll_update(&caller, &request),
            Request::UpdateWithStart(request) => self.update_with_start(&caller, request),
            Request::StartWorkflowTask(request) => self.start_workflow_task(request),
            Request::CompleteWorkflowTask(request) => self.complete_workflow_task(request),
            Request::FailWorkflowTask(request) => self.fail_workflow_task(request),
            Request::StickyQueueUnavailable(request) => self.sticky_queue_unavailable(request),
            Request::StartActivityTask(request) => self.start_activity_task(request),
            Request::CompleteActivity(request) => self.complete_activity(&caller, request),
            Request::FailActivity(request) => self.fail_activity(&caller, request),
            Request::CancelActivity(request) => self.cancel_activity(&caller, request),
            Request::PauseActivity(request) => self.pause_activity(&caller, request),
            Request::UnpauseActivity(request) => self.unpause_activity(&caller, request),
            Request::ResetActivity(request) => self.reset_activity(&caller, request),
            Request::UpdateActivityOptions(request) => self.update_activity_options(&caller, request),
            Request::Heartbeat(request) => self.heartbeat(&caller, request),
            Request::Reset(request) => self.reset(&caller, request),
            Request::Delete(request) => self.delete(&caller, request),
            Request::UpdateOptions(request) => self.update_options(&caller, request),
            Request::Pause(request) => self.pause(&caller, request),
            Request::Unpause(request) => self.unpause(&caller, request),
            Request::StartChild(request) => self.start_child(&caller, request),
            Request::ScheduleFirstTask(request) => self.schedule_first_task(&caller, request),
            Request::SignalByWorkflow(request) => self.signal_by_workflow(&caller, request),
            Request::CancelByWorkflow(request) => self.cancel_by_workflow(&caller, request),
            Request::TerminateByWorkflow(request) => self.terminate_by_workflow(&caller, request),
            Request::DropChild(request) => self.drop_child(&caller, &request),
            Request::ChildClosed(request) => self.child_closed(&caller, request),
            Request::AskChild(request) => self.ask_child(&caller, &request),
        }
    }
}
