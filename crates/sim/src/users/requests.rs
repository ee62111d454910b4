//! One request each, repeated until it is answered, and what the answer promises.

use std::time::Duration;

use temporalio_protos::temporal::api::common::v1::{WorkflowExecution, WorkflowType};
use temporalio_protos::temporal::api::enums::v1::{
    UpdateWorkflowExecutionLifecycleStage as Stage, WorkflowIdConflictPolicy, WorkflowIdReusePolicy,
};
use temporalio_protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_protos::temporal::api::update::v1 as update;
use temporalio_protos::temporal::api::workflowservice::v1 as wf;
use tonic::Code;

use super::User;
use crate::client::RETRY_PAUSE;
use crate::program::{NAMESPACE, TASK_QUEUE};
use crate::record::Event;

const IDENTITY: &str = "sim";

impl User {
    /// The run that there is now: started by this user, or by another one before.
    pub(super) async fn start(&mut self, workflow_id: &str, workflow_type: &str, rival: usize) -> Option<String> {
        let request_id = format!("start-{workflow_id}-{rival}");
        let request = wf::StartWorkflowExecutionRequest {
            namespace: NAMESPACE.to_owned(),
            workflow_id: workflow_id.to_owned(),
            workflow_type: Some(WorkflowType { name: workflow_type.to_owned() }),
            task_queue: Some(TaskQueue { name: TASK_QUEUE.to_owned(), ..Default::default() }),
            request_id: request_id.clone(),
            workflow_id_reuse_policy: WorkflowIdReusePolicy::RejectDuplicate.into(),
            identity: IDENTITY.to_owned(),
            ..Default::default()
        };
        let answer: Result<wf::StartWorkflowExecutionResponse, _> =
            self.client.insist("StartWorkflowExecution", request).await;
        let workflow_id = workflow_id.to_owned();
        match answer {
            Ok(started) => {
                let run_id = started.run_id.clone();
                self.record.push(Event::StartAcknowledged { workflow_id, request_id, run_id: started.run_id });
                return Some(run_id);
            }
            Err(status) if status.code() == Code::AlreadyExists => {
                self.record.push(Event::StartRefused { workflow_id, request_id });
            }
            Err(status) => self.denied(&workflow_id, "start", &status),
        }
        None
    }

    pub(super) async fn signal(&mut self, workflow_id: &str, name: &str) {
        let request = wf::SignalWorkflowExecutionRequest {
            namespace: NAMESPACE.to_owned(),
            workflow_execution: Some(current(workflow_id)),
            signal_name: name.to_owned(),
            request_id: format!("{workflow_id}-{name}"),
            identity: IDENTITY.to_owned(),
            ..Default::default()
        };
        let (workflow_id, name) = (workflow_id.to_owned(), name.to_owned());
        self.record.push(Event::SignalInvoked { workflow_id: workflow_id.clone(), name: name.clone() });
        let answer: Result<wf::SignalWorkflowExecutionResponse, _> =
            self.client.insist("SignalWorkflowExecution", request).await;
        match answer {
            Ok(_) => self.record.push(Event::SignalAcknowledged { workflow_id, name }),
            // An unacknowledged attempt may have got through and completed the workflow.
            Err(status) if status.code() == Code::NotFound => {
                self.record.trace(&format!("signal {name} of {workflow_id}: {}", status.message()));
            }
            Err(status) => self.denied(&workflow_id, "signal", &status),
        }
    }

    /// Signals the run that is open, else starts one.
    pub(super) async fn signal_with_start(&mut self, workflow_id: &str, workflow_type: &str, name: &str) {
        let request = wf::SignalWithStartWorkflowExecutionRequest {
            namespace: NAMESPACE.to_owned(),
            workflow_id: workflow_id.to_owned(),
            workflow_type: Some(WorkflowType { name: workflow_type.to_owned() }),
            task_queue: Some(TaskQueue { name: TASK_QUEUE.to_owned(), ..Default::default() }),
            request_id: format!("{workflow_id}-{name}"),
            workflow_id_reuse_policy: WorkflowIdReusePolicy::RejectDuplicate.into(),
            workflow_id_conflict_policy: WorkflowIdConflictPolicy::UseExisting.into(),
            signal_name: name.to_owned(),
            identity: IDENTITY.to_owned(),
            ..Default::default()
        };
        let (workflow_id, name) = (workflow_id.to_owned(), name.to_owned());
        self.record.push(Event::SignalInvoked { workflow_id: workflow_id.clone(), name: name.clone() });
        let answer: Result<wf::SignalWithStartWorkflowExecutionResponse, _> =
            self.client.insist("SignalWithStartWorkflowExecution", request).await;
        match answer {
            Ok(joined) => {
                self.record.push(Event::Joined { workflow_id: workflow_id.clone(), run_id: joined.run_id });
                self.record.push(Event::SignalAcknowledged { workflow_id, name });
            }
            Err(status) => self.denied(&workflow_id, "signal with start", &status),
        }
    }

    /// Waits until the update is completed or refused.
    pub(super) async fn update(&mut self, workflow_id: &str, update_id: &str, rival: usize) {
        let request = wf::UpdateWorkflowExecutionRequest {
            namespace: NAMESPACE.to_owned(),
            workflow_execution: Some(current(workflow_id)),
            wait_policy: Some(update::WaitPolicy { lifecycle_stage: Stage::Completed.into() }),
            request: Some(update::Request {
                meta: Some(update::Meta { update_id: update_id.to_owned(), identity: IDENTITY.to_owned() }),
                input: Some(update::Input { name: "set".to_owned(), ..Default::default() }),
                request_id: format!("{workflow_id}-{update_id}-{rival}"),
                ..Default::default()
            }),
            ..Default::default()
        };
        loop {
            let answer: Result<wf::UpdateWorkflowExecutionResponse, _> =
                self.client.insist("UpdateWorkflowExecution", request.clone()).await;
            match answer.map(|answer| answer.outcome) {
                Ok(Some(outcome)) => {
                    let (workflow_id, update_id) = (workflow_id.to_owned(), update_id.to_owned());
                    let outcome = Box::new(outcome);
                    return self.record.push(Event::UpdateAcknowledged { workflow_id, update_id, outcome });
                }
                Ok(None) => tokio::time::sleep(RETRY_PAUSE).await,
                // A refused update leaves nothing behind by which it could be found later.
                Err(status) if status.code() == Code::NotFound && update_id.starts_with(crate::workflow::REFUSED) => {
                    return self.record.trace(&format!("update {update_id}: {}", status.message()));
                }
                Err(status) => return self.denied(workflow_id, "update", &status),
            }
        }
    }

    pub(super) async fn cancel(&mut self, workflow_id: &str) {
        let request = wf::RequestCancelWorkflowExecutionRequest {
            namespace: NAMESPACE.to_owned(),
            workflow_execution: Some(current(workflow_id)),
            request_id: format!("cancel-{workflow_id}"),
            identity: IDENTITY.to_owned(),
            ..Default::default()
        };
        let answer: Result<wf::RequestCancelWorkflowExecutionResponse, _> =
            self.client.insist("RequestCancelWorkflowExecution", request).await;
        match answer {
            Ok(_) => self.record.push(Event::CancelAcknowledged { workflow_id: workflow_id.to_owned() }),
            // An unacknowledged attempt has closed it.
            Err(status) if status.code() == Code::NotFound => {
                self.record.trace(&format!("cancel {workflow_id}: {}", status.message()));
            }
            Err(status) => self.denied(workflow_id, "cancel", &status),
        }
    }

    pub(super) async fn terminate(&mut self, workflow_id: &str) {
        let request = wf::TerminateWorkflowExecutionRequest {
            namespace: NAMESPACE.to_owned(),
            workflow_execution: Some(current(workflow_id)),
            identity: IDENTITY.to_owned(),
            ..Default::default()
        };
        let answer: Result<wf::TerminateWorkflowExecutionResponse, _> =
            self.client.insist("TerminateWorkflowExecution", request).await;
        match answer {
            Ok(_) => self.record.push(Event::TerminateAcknowledged { workflow_id: workflow_id.to_owned() }),
            // An unacknowledged attempt has closed it.
            Err(status) if status.code() == Code::NotFound => {
                self.record.trace(&format!("terminate {workflow_id}: {}", status.message()));
            }
            Err(status) => self.denied(workflow_id, "terminate", &status),
        }
    }

    /// Pauses the current run and lets it go on after a while, unless it ends meanwhile.
    pub(super) async fn pause(&mut self, workflow_id: &str, number: usize, pause: Duration) {
        let request = wf::PauseWorkflowExecutionRequest {
            namespace: NAMESPACE.to_owned(),
            workflow_id: workflow_id.to_owned(),
            request_id: format!("pause-{workflow_id}-{number}"),
            identity: IDENTITY.to_owned(),
            ..Default::default()
        };
        let paused: Result<wf::PauseWorkflowExecutionResponse, _> =
            self.client.insist("PauseWorkflowExecution", request).await;
        match paused {
            Ok(_) => {}
            Err(status) if status.code() == Code::NotFound => {
                return self.record.trace(&format!("pause {workflow_id}: {}", status.message()));
            }
            Err(status) => return self.denied(workflow_id, "pause", &status),
        }
        tokio::time::sleep(pause).await;
        let request = wf::UnpauseWorkflowExecutionRequest {
            namespace: NAMESPACE.to_owned(),
            workflow_id: workflow_id.to_owned(),
            request_id: format!("unpause-{workflow_id}-{number}"),
            identity: IDENTITY.to_owned(),
            ..Default::default()
        };
        let unpaused: Result<wf::UnpauseWorkflowExecutionResponse, _> =
            self.client.insist("UnpauseWorkflowExecution", request).await;
        match unpaused {
            Ok(_) => {}
            // An unacknowledged attempt got through, and the run may have gone on to its end.
            Err(status) if matches!(status.code(), Code::FailedPrecondition | Code::NotFound) => {
                self.record.trace(&format!("unpause {workflow_id}: {}", status.message()));
            }
            Err(status) => self.denied(workflow_id, "unpause", &status),
        }
    }

    /// Resets to the task that the event completed.
    pub(super) async fn reset(&mut self, workflow_id: &str, base_run_id: &str, completed_event_id: i64) {
        let request = wf::ResetWorkflowExecutionRequest {
            namespace: NAMESPACE.to_owned(),
            workflow_execution: Some(WorkflowExecution {
                workflow_id: workflow_id.to_owned(),
                run_id: base_run_id.to_owned(),
            }),
            workflow_task_finish_event_id: completed_event_id,
            request_id: format!("reset-{workflow_id}"),
            reason: "as the program says".to_owned(),
            identity: IDENTITY.to_owned(),
            ..Default::default()
        };
        let answer: Result<wf::ResetWorkflowExecutionResponse, _> =
            self.client.insist("ResetWorkflowExecution", request).await;
        match answer {
            Ok(reset) => self.record.push(Event::ResetAcknowledged {
                workflow_id: workflow_id.to_owned(),
                base_run_id: base_run_id.to_owned(),
                run_id: reset.run_id,
            }),
            Err(status) => self.denied(workflow_id, "reset", &status),
        }
    }
}

fn current(workflow_id: &str) -> WorkflowExecution {
    WorkflowExecution { workflow_id: workflow_id.to_owned(), run_id: String::new() }
}
