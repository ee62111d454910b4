//! What is asked of other runs to get an errand done, and what came of it.

use temporalio_protos::temporal::api::common::v1::{Priority, WorkerVersionStamp, WorkflowExecution};
use temporalio_protos::temporal::api::enums::v1::{
    CancelExternalWorkflowExecutionFailedCause, ParentClosePolicy, SignalExternalWorkflowExecutionFailedCause,
    StartChildWorkflowExecutionFailedCause,
};
use temporalio_protos::temporal::api::history::v1::HistoryEvent;
use temporalio_protos::temporal::api::workflowservice::v1 as wf;

use super::command::{ByWorkflow, ChildClosed, FinishErrand, Parent};
use super::errand::Errand;
use super::outgoing::Child;
use super::step::Step;
use super::workflow_task::SERVER_IDENTITY;
use super::{Note, Reply, State, child, external};
use crate::policy::versioning_override::has_target;

/// The incumbent leaves it to a workflow of its own to close this many children or more, and
/// the events of the children say so.
const MANY_CHILDREN: usize = 10;
const CLOSER_IDENTITY: &str = "temporal-sys-parent-close-policy-workflow";

/// What another run, or the shard that would have it, is asked for.
#[derive(Clone, Debug)]
pub enum ErrandRequest {
    StartChild(Box<StartChild>),
    ScheduleFirstTask(WorkflowExecution),
    AskChild {
        workflow_id: String,
        first_execution_run_id: String,
    },
    Terminate(Box<ByWorkflow<wf::TerminateWorkflowExecutionRequest>>),
    RequestCancel(Box<ByWorkflow<wf::RequestCancelWorkflowExecutionRequest>>),
    Signal(Box<ByWorkflow<wf::SignalWorkflowExecutionRequest>>),
    DropChild {
        workflow_id: String,
        /// That the child would have been created with.
        request_id: String,
    },
    Report(Box<ChildClosed>),
    /// The workflow means itself, which it must not.
    Itself,
}

#[derive(Clone, Debug)]
pub struct StartChild {
    pub request: wf::StartWorkflowExecutionRequest,
    pub parent: Parent,
    /// A reset copied the initiation: what an old run started is the child.
    pub copied: bool,
}

/// What came of a request. Only errands with an event of their own tell more than `Done`.
#[derive(Clone, PartialEq, Debug)]
pub enum ErrandOutcome {
    Done,
    /// The first run of the child.
    ChildStarted {
        run_id: String,
    },
    ChildRefused(StartChildWorkflowExecutionFailedCause),
    /// The last run of the child, and the event that closed it.
    ChildEnded {
        child: WorkflowExecution,
        closing_event: Box<HistoryEvent>,
    },
    /// The child is not there any more: it has ended, nobody knows how.
    ChildGone,
    SignalRefused(SignalExternalWorkflowExecutionFailedCause),
    CancelRefused(CancelExternalWorkflowExecutionFailedCause),
}

impl State {
    /// How to get the errand done; none when it is not wanted any more.
    #[must_use]
    pub fn errand_request(&self, errand: Errand) -> Option<ErrandRequest> {
        if !self.outgoing.errands.contains(&errand) {
            return None;
        }
        let outgoing = &self.outgoing;
        let request = match errand {
            Errand::StartChild(id) => {
                ErrandRequest::StartChild(Box::new(self.start_child(id, outgoing.children.get(&id)?)))
            }
            Errand::ScheduleChild(id) => {
                let child = outgoing.children.get(&id)?;
                ErrandRequest::ScheduleFirstTask(WorkflowExecution {
                    workflow_id: child.input.workflow_id.clone(),
                    run_id: child.row.started_run_id.clone(),
                })
            }
            Errand::AskChild(id) => {
                let child = outgoing.children.get(&id)?;
                ErrandRequest::AskChild {
                    workflow_id: child.input.workflow_id.clone(),
                    first_execution_run_id: child.row.started_run_id.clone(),
                }
            }
            Errand::CloseChild(id) => self.close_child(outgoing.children.get(&id)?),
            Errand::DropChild(id) => ErrandRequest::DropChild {
                workflow_id: outgoing.children.get(&id)?.input.workflow_id.clone(),
                request_id: self.child_request_id(id),
            },
            Errand::SignalExternal(id) => self.signal_external(id)?,
            Errand::CancelExternal(id) => self.cancel_external(id)?,
            Errand::Report => ErrandRequest::Report(Box::new(self.report()?)),
        };
        Some(request)
    }

    fn start_child(&self, initiated_event_id: i64, child: &Child) -> StartChild {
        let input = &child.input;
        let start = self.start();
        let inherits = input.versioning_override.is_none();
        let same_queue = input.task_queue.as_ref().is_some_and(|queue| queue.name == self.normal_queue());
        // Pinned overrides go to children of the same queue; others choose a version anew.
        let pinned = self.versioning_override().cloned();
        let pinned = pinned.filter(|over| inherits && same_queue && has_target(over));
        let stamp = self.core.most_recent_worker_version_stamp.clone();
        let request = wf::StartWorkflowExecutionRequest {
            namespace: self.run.namespace_name.clone(),
            workflow_id: input.workflow_id.clone(),
            workflow_type: input.workflow_type.clone(),
            task_queue: input.task_queue.clone(),
            input: input.input.clone(),
            header: input.header.clone(),
            workflow_execution_timeout: input.workflow_execution_timeout,
            workflow_run_timeout: input.workflow_run_timeout,
            workflow_task_timeout: input.workflow_task_timeout,
            request_id: self.child_request_id(initiated_event_id),
            workflow_id_reuse_policy: input.workflow_id_reuse_policy,
            retry_policy: input.retry_policy.clone(),
            cron_schedule: input.cron_schedule.clone(),
            memo: input.memo.clone(),
            search_attributes: input.search_attributes.clone(),
            user_metadata: child.user_metadata.as_deref().cloned(),
            versioning_override: input.versioning_override.clone().or(pinned),
            priority: merged(start.priority.as_ref(), input.priority.as_ref()),
            time_skipping_config: input.time_skipping_config.clone(),
            ..wf::StartWorkflowExecutionRequest::default()
        };
        let parent = Parent {
            namespace_id: self.run.namespace_id.clone(),
            namespace: self.run.namespace_name.clone(),
            execution: self.execution(),
            initiated_event_id,
            root: start.root_workflow_execution.clone().unwrap_or_else(|| self.execution()),
            source_version_stamp: stamp
                .filter(|stamp: &WorkerVersionStamp| inherits && input.inherit_build_id && stamp.use_versioning),
        };
        StartChild { request, parent, copied: child.row.copied }
    }

    /// The child is meant whatever run of its chain is the current one.
    fn close_child(&self, child: &Child) -> ErrandRequest {
        let execution = Some(WorkflowExecution { workflow_id: child.input.workflow_id.clone(), run_id: String::new() });
        let namespace = self.run.namespace_name.clone();
        let first_execution_run_id = child.row.started_run_id.clone();
        let many = self.outgoing.children.size() >= MANY_CHILDREN;
        let identity = if many { CLOSER_IDENTITY } else { SERVER_IDENTITY }.to_owned();
        if child.input.parent_close_policy() == ParentClosePolicy::RequestCancel {
            let request = wf::RequestCancelWorkflowExecutionRequest {
                namespace,
                workflow_execution: execution,
                identity,
                first_execution_run_id,
                ..wf::RequestCancelWorkflowExecutionRequest::default()
            };
            return ErrandRequest::RequestCancel(Box::new(self.by_me(0, true, request)));
        }
        let request = wf::TerminateWorkflowExecutionRequest {
            namespace,
            workflow_execution: execution,
            reason: child::PARENT_CLOSED.to_owned(),
            identity,
            first_execution_run_id,
            ..wf::TerminateWorkflowExecutionRequest::default()
        };
        ErrandRequest::Terminate(Box::new(self.by_me(0, true, request)))
    }

    fn signal_external(&self, id: i64) -> Option<ErrandRequest> {
        let signal = self.outgoing.signals.get(&id)?;
        if self.is_me(signal.workflow_execution.as_ref()) {
            return Some(ErrandRequest::Itself);
        }
        let request = wf::SignalWorkflowExecutionRequest {
            namespace: self.run.namespace_name.clone(),
            workflow_execution: signal.workflow_execution.clone(),
            signal_name: signal.signal_name.clone(),
            input: signal.input.clone(),
            identity: SERVER_IDENTITY.to_owned(),
            request_id: self.external_request_id(id),
            control: signal.control.clone(),
            header: signal.header.clone(),
            ..wf::SignalWorkflowExecutionRequest::default()
        };
        Some(ErrandRequest::Signal(Box::new(self.by_me(id, signal.child_workflow_only, request))))
    }

    fn cancel_external(&self, id: i64) -> Option<ErrandRequest> {
        let cancel = self.outgoing.cancels.get(&id)?;
        if self.is_me(cancel.workflow_execution.as_ref()) {
            return Some(ErrandRequest::Itself);
        }
        let request = wf::RequestCancelWorkflowExecutionRequest {
            namespace: self.run.namespace_name.clone(),
            workflow_execution: cancel.workflow_execution.clone(),
            identity: SERVER_IDENTITY.to_owned(),
            request_id: self.external_request_id(id),
            reason: cancel.reason.clone(),
            ..wf::RequestCancelWorkflowExecutionRequest::default()
        };
        Some(ErrandRequest::RequestCancel(Box::new(self.by_me(id, cancel.child_workflow_only, request))))
    }

    fn report(&self) -> Option<ChildClosed> {
        let start = self.start();
        Some(ChildClosed {
            parent: start.parent_workflow_execution.clone()?,
            initiated_event_id: start.parent_initiated_event_id,
            child: self.execution(),
            first_execution_run_id: start.first_execution_run_id.clone(),
            closing_event: (**self.outgoing.report.as_ref()?).clone(),
        })
    }

    fn by_me<R>(&self, source_event_id: i64, child_only: bool, request: R) -> ByWorkflow<R> {
        ByWorkflow { source: self.execution(), source_event_id, child_only, request }
    }

    fn is_me(&self, execution: Option<&WorkflowExecution>) -> bool {
        execution.is_some_and(|execution| execution.workflow_id == self.run.workflow_id)
    }

    /// The same for every try: whoever has seen it does nothing more.
    fn child_request_id(&self, initiated_event_id: i64) -> String {
        format!("{}:{initiated_event_id}:0", self.run.run_id)
    }

    fn external_request_id(&self, initiated_event_id: i64) -> String {
        child::request_id(&self.run.run_id, initiated_event_id)
    }
}

/// What came of it, in this run.
pub(crate) fn finish(step: &mut Step<'_>, command: FinishErrand) -> Reply {
    let FinishErrand { errand, outcome } = command;
    if !step.state.outgoing.errands.contains(&errand) {
        return Reply::Empty;
    }
    match (errand, outcome) {
        (Errand::StartChild(id), ErrandOutcome::ChildStarted { run_id }) => child::started(step, id, &run_id),
        (Errand::StartChild(id), ErrandOutcome::ChildRefused(cause)) => child::refused(step, id, cause),
        (Errand::SignalExternal(id), ErrandOutcome::Done) => external::signaled(step, id),
        (Errand::SignalExternal(id), ErrandOutcome::SignalRefused(cause)) => external::signal_refused(step, id, cause),
        (Errand::CancelExternal(id), ErrandOutcome::Done) => external::cancel_requested(step, id),
        (Errand::CancelExternal(id), ErrandOutcome::CancelRefused(cause)) => external::cancel_refused(step, id, cause),
        (Errand::AskChild(id), ErrandOutcome::ChildEnded { child, closing_event }) => {
            child::ended(step, id, child, *closing_event);
        }
        (Errand::AskChild(id), ErrandOutcome::ChildGone) => child::gone(step, id),
        (
            Errand::ScheduleChild(_)
            | Errand::AskChild(_)
            | Errand::CloseChild(_)
            | Errand::DropChild(_)
            | Errand::Report,
            ErrandOutcome::Done,
        ) => step.note(Note::ErrandDone { errand }),
        (errand, outcome) => panic!("{errand:?} does not end with {outcome:?}"),
    }
    Reply::Empty
}

/// What the command sets wins, field by field.
fn merged(base: Option<&Priority>, over: Option<&Priority>) -> Option<Priority> {
    let (Some(base), Some(over)) = (base, over) else { return over.or(base).cloned() };
    let is_set = over.fairness_weight != 0.0;
    Some(Priority {
        priority_key: if over.priority_key == 0 { base.priority_key } else { over.priority_key },
        fairness_key: if over.fairness_key.is_empty() { &base.fairness_key } else { &over.fairness_key }.clone(),
        fairness_weight: if is_set { over.fairness_weight } else { base.fairness_weight },
    })
}
