//! Who owns a workflow id: what a start request does when the id is already known.
//!
//! | current run | same request id | other request id |
//! |---|---|---|
//! | none | - | create |
//! | any, request id created it | return it, `started` | - |
//! | any, request id attached to it | return it, not `started` | - |
//! | running | | conflict policy: FAIL rejects, USE_EXISTING joins, TERMINATE_EXISTING replaces |
//! | closed | | reuse policy: ALLOW_DUPLICATE creates, FAILED_ONLY creates unless it went well, REJECT rejects |
//!
//! The deprecated reuse policy TERMINATE_IF_RUNNING is TERMINATE_EXISTING with
//! ALLOW_DUPLICATE. A signal-with-start joins by default and cannot be told to FAIL.
//! (`reference/protocol.md` 2.5, rows "Id reuse default" to "Request id dedupe".)

use temporalio_protos::temporal::api::common::v1::{Callback, Link, Payload, Payloads};
use temporalio_protos::temporal::api::enums::v1::{
    WorkflowExecutionStatus, WorkflowIdConflictPolicy, WorkflowIdReusePolicy,
};
use temporalio_protos::temporal::api::workflowservice::v1::{
    SignalWithStartWorkflowExecutionRequest, StartWorkflowExecutionRequest, TerminateWorkflowExecutionRequest,
};

use crate::Rejection;

/// The name under which the server itself terminates and cancels.
pub const SERVER_IDENTITY: &str = "history-service";

/// The latest run of the workflow id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CurrentRun {
    pub run_id: String,
    pub first_execution_run_id: String,
    /// The request that created it.
    pub start_request_id: String,
    /// Requests that joined it by `on_conflict_options.attach_request_id`.
    pub attached_request_ids: Vec<String>,
    pub status: WorkflowExecutionStatus,
    /// Whether the signal of the request has reached it.
    pub signal: Signal,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// Or there is none.
    New,
    Seen,
}

#[derive(Clone, PartialEq, Debug)]
pub enum StartDecision {
    CreateNew,
    /// The request was served before: answer as then. Nothing changes.
    ReturnExisting {
        run_id: String,
        /// What the answer says about who created the run.
        started: bool,
    },
    /// Answer with the running run, not `started`. With `attach`, after writing a
    /// `WorkflowExecutionOptionsUpdated` event. A signal-with-start signals it (the signal's
    /// own request id dedupes).
    UseExisting {
        run_id: String,
        attach: Option<Attach>,
    },
    /// Terminate the running run (see [`superseded`]) and create a new one, in one batch.
    TerminateThenCreate {
        run_id: String,
    },
}

/// What `on_conflict_options` adds to the running run.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Attach {
    /// Empty: none.
    pub request_id: String,
    pub completion_callbacks: Vec<Callback>,
    pub links: Vec<Link>,
}

/// Both policies after defaults and migration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policies {
    reuse: WorkflowIdReusePolicy,
    conflict: WorkflowIdConflictPolicy,
}

impl Policies {
    pub fn of_start(request: &StartWorkflowExecutionRequest) -> Result<Self, Rejection> {
        if let Some(options) = &request.on_conflict_options
            && options.attach_completion_callbacks
            && !options.attach_request_id
        {
            return Err(invalid("attaching request ID is required for attaching completion callbacks"));
        }
        let (reuse, conflict) = (request.workflow_id_reuse_policy, request.workflow_id_conflict_policy);
        Self::new(reuse, conflict, WorkflowIdConflictPolicy::Fail)
    }

    pub fn of_signal_with_start(request: &SignalWithStartWorkflowExecutionRequest) -> Result<Self, Rejection> {
        let (reuse, conflict) = (request.workflow_id_reuse_policy, request.workflow_id_conflict_policy);
        let policies = Self::new(reuse, conflict, WorkflowIdConflictPolicy::UseExisting)?;
        if policies.conflict == WorkflowIdConflictPolicy::Fail {
            return Err(invalid(
                "Invalid WorkflowIDConflictPolicy: WORKFLOW_ID_CONFLICT_POLICY_FAIL is not supported for this operation.",
            ));
        }
        Ok(policies)
    }

    fn new(reuse: i32, conflict: i32, default: WorkflowIdConflictPolicy) -> Result<Self, Rejection> {
        use {WorkflowIdConflictPolicy as Conflict, WorkflowIdReusePolicy as Reuse};
        let reuse = Reuse::try_from(reuse).map_err(|_| invalid("Invalid WorkflowIDReusePolicy."))?;
        let conflict = Conflict::try_from(conflict).map_err(|_| invalid("Invalid WorkflowIDConflictPolicy."))?;
        #[expect(deprecated, reason = "old clients still send it")]
        let (reuse, conflict) = match (reuse, conflict) {
            (Reuse::TerminateIfRunning, Conflict::Unspecified) => (Reuse::AllowDuplicate, Conflict::TerminateExisting),
            (Reuse::TerminateIfRunning, _) => {
                return Err(invalid(
                    "Invalid WorkflowIDReusePolicy: WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING cannot be used together with a WorkflowIDConflictPolicy",
                ));
            }
            (Reuse::RejectDuplicate, Conflict::TerminateExisting) => {
                return Err(invalid(
                    "Invalid WorkflowIDReusePolicy: WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE cannot be used together with WorkflowIdConflictPolicy WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING",
                ));
            }
            (Reuse::Unspecified, conflict) => (Reuse::AllowDuplicate, conflict),
            policies => policies,
        };
        Ok(Self { reuse, conflict: if conflict == Conflict::Unspecified { default } else { conflict } })
    }
}

/// What a start request does, given the latest run of its workflow id.
pub fn decide_start(
    current: Option<&CurrentRun>,
    request: &StartWorkflowExecutionRequest,
) -> Result<StartDecision, Rejection> {
    let policies = Policies::of_start(request)?;
    let Some(current) = current else { return Ok(StartDecision::CreateNew) };
    if let Some(started) = current.served(&request.request_id) {
        return Ok(StartDecision::ReturnExisting { run_id: current.run_id.clone(), started });
    }
    let mut decision = decide(current, policies, &request.workflow_id)?;
    if let StartDecision::UseExisting { attach, .. } = &mut decision {
        *attach = attachments(request);
    }
    Ok(decision)
}

/// What a signal-with-start does, given the latest run of its workflow id. Unless it is
/// `ReturnExisting`, the signal goes to the run that the decision names or creates.
pub fn decide_signal_with_start(
    current: Option<&CurrentRun>,
    request: &SignalWithStartWorkflowExecutionRequest,
) -> Result<StartDecision, Rejection> {
    let policies = Policies::of_signal_with_start(request)?;
    let Some(current) = current else { return Ok(StartDecision::CreateNew) };
    let decision = decide(current, policies, &request.workflow_id);
    let joins = matches!(decision, Ok(StartDecision::UseExisting { .. }));
    if !joins && current.signal == Signal::Seen && current.served(&request.request_id).is_some() {
        // A retry must neither start twice nor terminate what it started itself.
        return Ok(StartDecision::ReturnExisting { run_id: current.run_id.clone(), started: false });
    }
    decision
}

/// How the old run is terminated by TERMINATE_EXISTING.
#[must_use]
pub fn superseded(old_run_id: &str, new_run_id: &str) -> TerminateWorkflowExecutionRequest {
    TerminateWorkflowExecutionRequest {
        reason: "TerminateIfRunning WorkflowIdReusePolicy".into(),
        details: Some(json_string(&format!("terminated by new runID: {new_run_id}"))),
        identity: SERVER_IDENTITY.into(),
        first_execution_run_id: String::new(),
        workflow_execution: Some(temporalio_protos::temporal::api::common::v1::WorkflowExecution {
            workflow_id: String::new(),
            run_id: old_run_id.into(),
        }),
        ..TerminateWorkflowExecutionRequest::default()
    }
}

impl CurrentRun {
    /// Whether the request was served by this run before, and if so whether it created it.
    fn served(&self, request_id: &str) -> Option<bool> {
        if request_id.is_empty() {
            None
        } else if self.start_request_id == request_id {
            Some(true)
        } else {
            self.attached_request_ids.iter().any(|attached| attached == request_id).then_some(false)
        }
    }

    fn is_running(&self) -> bool {
        matches!(self.status, WorkflowExecutionStatus::Running | WorkflowExecutionStatus::Paused)
    }

    fn went_wrong(&self) -> bool {
        use WorkflowExecutionStatus as Status;
        matches!(self.status, Status::Failed | Status::Canceled | Status::Terminated | Status::TimedOut)
    }

    fn already_started(&self, message: String) -> Rejection {
        Rejection::AlreadyStarted {
            message,
            start_request_id: self.start_request_id.clone(),
            run_id: self.run_id.clone(),
            first_execution_run_id: self.first_execution_run_id.clone(),
        }
    }
}

/// For a request that this run has not seen.
fn decide(current: &CurrentRun, policies: Policies, workflow_id: &str) -> Result<StartDecision, Rejection> {
    let run_id = current.run_id.clone();
    let ids = format!("WorkflowId: {workflow_id}, RunId: {run_id}.");
    if current.is_running() {
        return match policies.conflict {
            WorkflowIdConflictPolicy::UseExisting => Ok(StartDecision::UseExisting { run_id, attach: None }),
            WorkflowIdConflictPolicy::TerminateExisting => Ok(StartDecision::TerminateThenCreate { run_id }),
            WorkflowIdConflictPolicy::Fail | WorkflowIdConflictPolicy::Unspecified => {
                Err(current.already_started(format!("Workflow execution is already running. {ids}")))
            }
        };
    }
    match policies.reuse {
        WorkflowIdReusePolicy::AllowDuplicateFailedOnly if !current.went_wrong() => {
            Err(current.already_started(format!(
                "Workflow execution already finished successfully. {ids} Workflow Id reuse policy: allow duplicate workflow Id if last run failed."
            )))
        }
        WorkflowIdReusePolicy::RejectDuplicate => Err(current.already_started(format!(
            "Workflow execution already finished. {ids} Workflow Id reuse policy: reject duplicate workflow Id."
        ))),
        _ => Ok(StartDecision::CreateNew),
    }
}

fn attachments(request: &StartWorkflowExecutionRequest) -> Option<Attach> {
    let options = request.on_conflict_options.as_ref()?;
    let mut attach = Attach::default();
    if options.attach_request_id {
        attach.request_id.clone_from(&request.request_id);
    }
    if options.attach_completion_callbacks {
        attach.completion_callbacks.clone_from(&request.completion_callbacks);
    }
    if options.attach_links {
        attach.links.clone_from(&request.links);
    }
    Some(attach)
}

/// A payload as the SDKs' default converter would write a string without special characters.
fn json_string(text: &str) -> Payloads {
    let payload = Payload {
        metadata: [("encoding".to_owned(), b"json/plain".to_vec())].into_iter().collect(),
        data: format!("\"{text}\"").into_bytes(),
        ..Payload::default()
    };
    Payloads { payloads: vec![payload] }
}

fn invalid(message: &str) -> Rejection {
    Rejection::InvalidArgument(message.into())
}

#[cfg(test)]
mod tests;
