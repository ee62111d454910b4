//! What other runs ask of runs here: start a child, signal, cancel, terminate, hear of an end.
//!
//! Each request may come again, from the same leader or from the next one. A repetition
//! finds its request id in the run, or in an earlier run of the same chain, and does nothing.

use api::Error;
use api::internal::{
    AskChild, CancelByWorkflow, ChildClosed, ChildEnd, DropChild, HistoryResponse, ScheduleFirstTask, SignalByWorkflow,
    Source, StartChild, TerminateByWorkflow,
};
use execution::policy::start_policy::{CurrentRun, StartDecision, decide_start};
use execution::workflow::{ByWorkflow, Command, Parent};
use temporalio_protos::temporal::api::command::v1::{Command as WorkflowCommand, command};
use temporalio_protos::temporal::api::common::v1::WorkflowExecution;
use temporalio_protos::temporal::api::workflowservice::v1::{
    StartWorkflowExecutionResponse, TerminateWorkflowExecutionRequest,
};

use super::input::Answer;
use super::leader::{Fault, Leader};
use super::requests::{Caller, named};
use super::start::Begin;
use crate::error::{self, rejected};
use crate::run::{RunKey, WorkflowKey};

/// How many runs of a chain are looked at for a request that may have been carried out: more
/// cannot have followed each other while it was under way.
const EARLIER_RUNS_MAX: usize = 16;

/// How many runs of a chain are looked at for its end, if others have the workflow id now.
const CHAIN_RUNS_MAX: usize = 1000;

/// How many resets in a row the end of a child is passed on over.
const RESETS_MAX: usize = 100;

impl Leader {
    pub(super) fn start_child(&mut self, caller: &Caller, request: StartChild) -> Result<Answer, Fault> {
        let StartChild { request, parent, root, source_version_stamp, copied } = request;
        let (request, source) = (*request.unwrap_or_default(), parent.unwrap_or_default());
        let workflow = caller.workflow(&request.workflow_id);
        let current = self.current_run(&workflow)?;
        if let Some(first) = self.started_before(&workflow, current.as_ref(), &request.request_id)? {
            return self.existing(caller, &workflow, &first, true, None);
        }
        if copied && let Some(current) = &current {
            let run = workflow.run(&current.run_id);
            if self.is_child_of_old_run(&run, source.execution.as_ref())? {
                // The first run of the child may have been removed.
                return Ok(Answer::message(&StartWorkflowExecutionResponse {
                    run_id: current.first_execution_run_id.clone(),
                    first_execution_run_id: current.first_execution_run_id.clone(),
                    started: true,
                    ..StartWorkflowExecutionResponse::default()
                }));
            }
        }
        let replaced = match decide_start(current.as_ref(), &request).map_err(rejected)? {
            StartDecision::ReturnExisting { run_id, started } => {
                return self.existing(caller, &workflow, &run_id, started, None);
            }
            StartDecision::UseExisting { .. } => return Err(Error::Internal("a child joins no run".into()).into()),
            StartDecision::CreateNew => None,
            StartDecision::TerminateThenCreate { run_id } => Some(run_id),
        };
        let parent = Parent {
            namespace_id: caller.namespace_id.clone(),
            namespace: caller.namespace.clone(),
            execution: source.execution.unwrap_or_default(),
            initiated_event_id: source.event_id,
            root: root.unwrap_or_default(),
            source_version_stamp,
        };
        let begin = Begin { request, signal: None, parent: Some(parent) };
        self.begin_and_answer(caller, &workflow, current, replaced, begin)
    }

    /// Whether the run is a child of the same workflow's other run.
    fn is_child_of_old_run(&mut self, run: &RunKey, parent: Option<&WorkflowExecution>) -> Result<bool, Fault> {
        if !self.load(run)? {
            return Ok(false);
        }
        let of = self.state(run).parent_execution();
        let (Some(of), Some(parent)) = (of, parent) else { return Ok(false) };
        Ok(of.workflow_id == parent.workflow_id && of.run_id != parent.run_id)
    }

    /// The first run of the chain whose last one is `current`, if the request created it.
    fn started_before(
        &mut self,
        workflow: &WorkflowKey,
        current: Option<&CurrentRun>,
        request_id: &str,
    ) -> Result<Option<String>, Fault> {
        let Some(current) = current else { return Ok(None) };
        let first = workflow.run(&current.first_execution_run_id);
        let is_ours = self.load(&first)? && self.state(&first).start_request_id() == request_id;
        Ok(is_ours.then(|| current.first_execution_run_id.clone()))
    }

    pub(super) fn schedule_first_task(&mut self, caller: &Caller, request: ScheduleFirstTask) -> Result<Answer, Fault> {
        let execution = named(request.execution)?;
        let run = self.resolve(&caller.workflow(&execution.workflow_id), &execution.run_id)?;
        self.command(&run, Command::ScheduleFirstTask)?;
        Ok(done())
    }

    pub(super) fn signal_by_workflow(&mut self, caller: &Caller, request: SignalByWorkflow) -> Result<Answer, Fault> {
        let SignalByWorkflow { request, source } = request;
        let (request, source) = (request.unwrap_or_default(), source.unwrap_or_default());
        let run = self.target(caller, request.workflow_execution.clone())?;
        if source.repeated && self.was_carried_out(&run, &request.request_id)? {
            return Ok(done());
        }
        self.command(&run, Command::SignalByWorkflow(Box::new(by(source, request))))?;
        Ok(done())
    }

    pub(super) fn cancel_by_workflow(&mut self, caller: &Caller, request: CancelByWorkflow) -> Result<Answer, Fault> {
        let CancelByWorkflow { request, source } = request;
        let (request, source) = (request.unwrap_or_default(), source.unwrap_or_default());
        let run = self.target(caller, request.workflow_execution.clone())?;
        if source.repeated && self.was_carried_out(&run, &request.request_id)? {
            return Ok(done());
        }
        self.command(&run, Command::CancelByWorkflow(Box::new(by(source, request))))?;
        Ok(done())
    }

    pub(super) fn terminate_by_workflow(
        &mut self,
        caller: &Caller,
        request: TerminateByWorkflow,
    ) -> Result<Answer, Fault> {
        let TerminateByWorkflow { request, source } = request;
        let (request, source) = (request.unwrap_or_default(), source.unwrap_or_default());
        let run = self.target(caller, request.workflow_execution.clone())?;
        self.command(&run, Command::TerminateByWorkflow(Box::new(by(source, request))))?;
        Ok(done())
    }

    /// The parent closed before it knew of the child, which then would wait for ever.
    pub(super) fn drop_child(&mut self, caller: &Caller, request: &DropChild) -> Result<Answer, Fault> {
        let run = self.resolve(&caller.workflow(&request.workflow_id), "")?;
        let state = self.state(&run);
        if state.start_request_id() == request.request_id && state.awaits_first_task() {
            let terminate = TerminateWorkflowExecutionRequest {
                reason: "by parent close policy".into(),
                identity: "history-service".into(),
                ..TerminateWorkflowExecutionRequest::default()
            };
            self.command(&run, Command::Terminate(Box::new(terminate)))?;
        }
        Ok(done())
    }

    pub(super) fn child_closed(&mut self, caller: &Caller, request: ChildClosed) -> Result<Answer, Fault> {
        let ChildClosed { parent, initiated_event_id, child, first_execution_run_id, closing_event } = request;
        let parent = named(parent)?;
        let workflow = caller.workflow(&parent.workflow_id);
        let run = self.parent_run(&workflow, &parent.run_id, initiated_event_id, &first_execution_run_id)?;
        let closed = execution::workflow::ChildClosed {
            parent,
            initiated_event_id,
            child: child.unwrap_or_default(),
            first_execution_run_id,
            closing_event: *closing_event.unwrap_or_default(),
        };
        self.command(&run, Command::ChildClosed(Box::new(closed)))?;
        Ok(done())
    }

    /// The run that the end of a child is news to: a reset takes the children along. Old runs may
    /// have been removed meanwhile; then the current one is it, if it waits for this very child.
    fn parent_run(
        &mut self,
        workflow: &WorkflowKey,
        run_id: &str,
        initiated_event_id: i64,
        first_execution_run_id: &str,
    ) -> Result<RunKey, Fault> {
        let mut run = workflow.run(run_id);
        for _ in 0..RESETS_MAX {
            if !self.load(&run)? {
                let current = self.resolve(workflow, "")?;
                let waits = self.state(&current).awaits_end_of(initiated_event_id, first_execution_run_id);
                return if waits { Ok(current) } else { Err(error::no_such_run(&run).into()) };
            }
            let state = self.state(&run);
            let Some(next) = state.reset_run_id().filter(|_| state.delete_after().is_some()) else { break };
            run = workflow.run(next);
        }
        Ok(run)
    }

    /// A run that a reset made asks for the end of a child that an old run started.
    pub(super) fn ask_child(&mut self, caller: &Caller, request: &AskChild) -> Result<Answer, Fault> {
        let workflow = caller.workflow(&request.workflow_id);
        let last = self.last_run_of_chain(&workflow, &request.first_execution_run_id)?;
        let state = self.state(&last);
        if state.delete_after().is_none() {
            return Ok(Answer::message(&ChildEnd::default()));
        }
        let end = state.next_event_id();
        let (events, _) = self.page_back(&last, end, 1)?;
        let child =
            WorkflowExecution { workflow_id: request.workflow_id.clone(), run_id: last.run_id.as_str().to_owned() };
        Ok(Answer::message(&ChildEnd { child: Some(child), closing_event: events.into_iter().next() }))
    }

    /// The run that ended the chain, or will. It is loaded.
    fn last_run_of_chain(&mut self, workflow: &WorkflowKey, first: &str) -> Result<RunKey, Fault> {
        if let Some(current) = self.current_run(workflow)?
            && current.first_execution_run_id == first
        {
            return Ok(workflow.run(&current.run_id));
        }
        // Other workflows have taken the id since.
        let mut run = self.resolve(workflow, first)?;
        for _ in 0..CHAIN_RUNS_MAX {
            let state = self.state(&run);
            let Some(next) = state.reset_run_id().or(state.new_execution_run_id()) else { return Ok(run) };
            let next = next.to_owned();
            run = self.resolve(workflow, &next)?;
        }
        Err(error::no_such_run(&run).into())
    }

    /// A command that names a namespace which does not exist fails the whole request.
    #[expect(deprecated, reason = "old workers still send it")]
    pub(super) fn check_namespaces(&self, commands: &[WorkflowCommand]) -> Result<(), Error> {
        use command::Attributes as A;
        for command in commands {
            let namespace = match &command.attributes {
                Some(A::StartChildWorkflowExecutionCommandAttributes(a)) => &a.namespace,
                Some(A::SignalExternalWorkflowExecutionCommandAttributes(a)) => &a.namespace,
                Some(A::RequestCancelExternalWorkflowExecutionCommandAttributes(a)) => &a.namespace,
                _ => continue,
            };
            if !namespace.is_empty() && self.context.namespaces.by_name(namespace).is_none() {
                return Err(Error::NamespaceNotFound(namespace.clone()));
            }
        }
        Ok(())
    }

    fn target(&mut self, caller: &Caller, execution: Option<WorkflowExecution>) -> Result<RunKey, Fault> {
        let execution = named(execution)?;
        self.resolve(&caller.workflow(&execution.workflow_id), &execution.run_id)
    }

    /// Whether an earlier run of the chain has seen the request.
    fn was_carried_out(&mut self, run: &RunKey, request_id: &str) -> Result<bool, Fault> {
        let mut run = run.clone();
        for _ in 0..EARLIER_RUNS_MAX {
            if self.state(&run).has_seen(request_id) {
                return Ok(true);
            }
            let Some(before) = self.state(&run).continued_run_id().map(|id| run.workflow.run(id)) else { break };
            if !self.load(&before)? {
                break;
            }
            run = before;
        }
        Ok(false)
    }
}

fn by<R>(source: Source, request: R) -> ByWorkflow<R> {
    let Source { execution, event_id, child_only, repeated: _ } = source;
    ByWorkflow { source: execution.unwrap_or_default(), source_event_id: event_id, child_only, request }
}

fn done() -> Answer {
    Answer::Response(HistoryResponse::default())
}
