//! What clients ask of a run: signal, cancel, terminate, forget the sticky queue.

use api::Error;
use execution::workflow::Command;
use temporalio_protos::temporal::api::enums::v1::EventType;
use temporalio_protos::temporal::api::workflowservice::v1::{
    DeleteWorkflowExecutionRequest, DeleteWorkflowExecutionResponse, RequestCancelWorkflowExecutionRequest,
    RequestCancelWorkflowExecutionResponse, ResetStickyTaskQueueRequest, ResetStickyTaskQueueResponse,
    SignalWorkflowExecutionRequest, SignalWorkflowExecutionResponse, TerminateWorkflowExecutionRequest,
    TerminateWorkflowExecutionResponse,
};

use super::input::Answer;
use super::leader::{Fault, Leader};
use super::requests::{Caller, named};
use super::start::link_to_request;
use crate::run::RunKey;

impl Leader {
    pub(super) fn signal(&mut self, caller: &Caller, request: SignalWorkflowExecutionRequest) -> Result<Answer, Fault> {
        let execution = named(request.workflow_execution.clone())?;
        let run = self.resolve(&caller.workflow(&execution.workflow_id), &execution.run_id)?;
        let signaled = EventType::WorkflowExecutionSignaled;
        let link = link_to_request(&caller.namespace, &run, request.request_id.clone(), signaled);
        self.command(&run, Command::Signal(Box::new(request)))?;
        Ok(Answer::message(&SignalWorkflowExecutionResponse { link: Some(link) }))
    }

    pub(super) fn request_cancel(
        &mut self,
        caller: &Caller,
        request: RequestCancelWorkflowExecutionRequest,
    ) -> Result<Answer, Fault> {
        let execution = named(request.workflow_execution.clone())?;
        let run = self.resolve(&caller.workflow(&execution.workflow_id), &execution.run_id)?;
        self.check_chain(&run, &request.first_execution_run_id)?;
        self.command(&run, Command::RequestCancel(Box::new(request)))?;
        Ok(Answer::message(&RequestCancelWorkflowExecutionResponse::default()))
    }

    pub(super) fn terminate(
        &mut self,
        caller: &Caller,
        request: TerminateWorkflowExecutionRequest,
    ) -> Result<Answer, Fault> {
        let execution = named(request.workflow_execution.clone())?;
        let run = self.resolve(&caller.workflow(&execution.workflow_id), &execution.run_id)?;
        self.check_chain(&run, &request.first_execution_run_id)?;
        self.command(&run, Command::Terminate(Box::new(request)))?;
        Ok(Answer::message(&TerminateWorkflowExecutionResponse::default()))
    }

    pub(super) fn reset_sticky(
        &mut self,
        caller: &Caller,
        request: ResetStickyTaskQueueRequest,
    ) -> Result<Answer, Fault> {
        let execution = named(request.execution)?;
        let run = self.resolve(&caller.workflow(&execution.workflow_id), &execution.run_id)?;
        if self.state(&run).delete_after().is_some() {
            return Err(crate::error::execution_completed().into());
        }
        self.command(&run, Command::ClearSticky)?;
        Ok(Answer::message(&ResetStickyTaskQueueResponse::default()))
    }

    pub(super) fn delete(&mut self, caller: &Caller, request: DeleteWorkflowExecutionRequest) -> Result<Answer, Fault> {
        let execution = named(request.workflow_execution)?;
        let run = self.resolve(&caller.workflow(&execution.workflow_id), &execution.run_id)?;
        self.command(&run, Command::Delete)?;
        Ok(Answer::message(&DeleteWorkflowExecutionResponse::default()))
    }

    /// One command whose reply says nothing.
    pub(super) fn command(&mut self, run: &RunKey, command: Command) -> Result<(), Fault> {
        let mut draft = self.draft(run)?;
        let reply = self.step(&mut draft, command)?;
        self.record(draft);
        match reply {
            execution::workflow::Reply::Refused(rejection) => Err(crate::error::rejected(rejection).into()),
            _ => Ok(()),
        }
    }

    /// The caller may name the run that its chain of runs began with.
    fn check_chain(&self, run: &RunKey, first_execution_run_id: &str) -> Result<(), Fault> {
        if first_execution_run_id.is_empty() || self.state(run).first_execution_run_id() == first_execution_run_id {
            return Ok(());
        }
        Err(Error::NotFound("workflow execution not found".into()).into())
    }
}
