//! Starting a run, or joining, replacing or refusing one that has the id already.

use execution::policy::start_policy::{
    CurrentRun, Signal, StartDecision, decide_signal_with_start, decide_start, superseded,
};
use execution::workflow::{Command, Parent, Reply, Start, StartWorkflowTask, Task, WorkflowTaskStarted};
use temporalio_protos::temporal::api::common::v1::{Link, WorkflowExecution, link};
use temporalio_protos::temporal::api::enums::v1::{EventType, WorkflowExecutionStatus};
use temporalio_protos::temporal::api::workflowservice::v1::{
    PollWorkflowTaskQueueRequest, SignalWithStartWorkflowExecutionRequest, SignalWithStartWorkflowExecutionResponse,
    SignalWorkflowExecutionRequest, StartWorkflowExecutionRequest, StartWorkflowExecutionResponse,
};

use super::draft::Draft;
use super::input::Answer;
use super::leader::{Fault, Leader};
use super::requests::Caller;
use crate::error::rejected;
use crate::run::{RunKey, WorkflowKey};
use crate::wire;

/// What a request wants to begin.
pub(super) struct Begin {
    pub(super) request: StartWorkflowExecutionRequest,
    pub(super) signal: Option<SignalWorkflowExecutionRequest>,
    /// Of a child.
    pub(super) parent: Option<Parent>,
}

/// Recorded together or not at all.
pub(super) struct Begun {
    pub(super) draft: Draft,
    ended: Option<Draft>,
}

impl Leader {
    pub(super) fn start(&mut self, caller: &Caller, request: StartWorkflowExecutionRequest) -> Result<Answer, Fault> {
        let workflow = caller.workflow(&request.workflow_id);
        let current = self.current_run(&workflow)?;
        match decide_start(current.as_ref(), &request).map_err(rejected)? {
            StartDecision::ReturnExisting { run_id, started } => {
                let task = self.eager_task_again(&workflow.run(&run_id), &request)?;
                // A request that created no run was attached to this one.
                let attached = Some(request.request_id).filter(|_| !started);
                let response = self.existing_response(caller, &workflow, &run_id, started, attached)?;
                self.started_answer(&workflow.run(&run_id), &response, task)
            }
            StartDecision::UseExisting { run_id, attach } => {
                let attached = attach.as_ref().map(|attach| attach.request_id.clone()).filter(|id| !id.is_empty());
                if let Some(attach) = attach {
                    self.command(&workflow.run(&run_id), Command::Attach(Box::new(attach)))?;
                }
                self.existing(caller, &workflow, &run_id, false, attached)
            }
            StartDecision::CreateNew => {
                let begin = Begin { request, signal: None, parent: None };
                self.begin_and_answer(caller, &workflow, current, None, begin)
            }
            StartDecision::TerminateThenCreate { run_id } => {
                let begin = Begin { request, signal: None, parent: None };
                self.begin_and_answer(caller, &workflow, current, Some(run_id), begin)
            }
        }
    }

    pub(super) fn signal_with_start(
        &mut self,
        caller: &Caller,
        request: SignalWithStartWorkflowExecutionRequest,
    ) -> Result<Answer, Fault> {
        let workflow = caller.workflow(&request.workflow_id);
        let mut current = self.current_run(&workflow)?;
        let request_id = request.request_id.clone();
        if let Some(current) = &mut current
            && self.state(&workflow.run(&current.run_id)).has_seen(&request_id)
        {
            current.signal = Signal::Seen;
        }
        let (run_id, started) = match decide_signal_with_start(current.as_ref(), &request).map_err(rejected)? {
            StartDecision::ReturnExisting { run_id, started } => (run_id, started),
            StartDecision::UseExisting { run_id, .. } => {
                let mut draft = self.draft(&workflow.run(&run_id))?;
                self.step(&mut draft, Command::SignalSkippingDelay(Box::new(signal_of(&request))))?;
                self.record(draft);
                (run_id, false)
            }
            StartDecision::CreateNew => (self.begin_with_signal(caller, &workflow, current, None, request)?, true),
            StartDecision::TerminateThenCreate { run_id } => {
                (self.begin_with_signal(caller, &workflow, current, Some(run_id), request)?, true)
            }
        };
        let first_execution_run_id = self.first_execution_run_id(&workflow, &run_id)?;
        let signaled = EventType::WorkflowExecutionSignaled;
        let signal_link = Some(link_to_request(&caller.namespace, &workflow.run(&run_id), request_id, signaled));
        Ok(Answer::message(&SignalWithStartWorkflowExecutionResponse {
            run_id,
            started,
            first_execution_run_id,
            signal_link,
        }))
    }

    fn begin_with_signal(
        &mut self,
        caller: &Caller,
        workflow: &WorkflowKey,
        current: Option<CurrentRun>,
        replaced: Option<String>,
        request: SignalWithStartWorkflowExecutionRequest,
    ) -> Result<String, Fault> {
        let signal = Some(signal_of(&request));
        let begin = Begin { request: start_of(request), signal, parent: None };
        let begun = self.begin_run(caller, workflow, current, replaced, begin)?;
        let run_id = begun.draft.run.run_id.as_str().to_owned();
        self.record_begun(begun);
        Ok(run_id)
    }

    pub(super) fn begin_and_answer(
        &mut self,
        caller: &Caller,
        workflow: &WorkflowKey,
        current: Option<CurrentRun>,
        replaced: Option<String>,
        begin: Begin,
    ) -> Result<Answer, Fault> {
        let request = &begin.request;
        let eager = eager_poll(request);
        let request_id = request.request_id.clone();
        let mut begun = self.begin_run(caller, workflow, current, replaced, begin)?;
        let draft = &mut begun.draft;
        let mut task = None;
        if let Some(poll) = eager
            && let Some(Task::Workflow(reference)) = draft.tasks.first().cloned()
        {
            let start = StartWorkflowTask {
                scheduled_event_id: reference.scheduled_event_id,
                stamp: reference.stamp,
                request_id,
                poll,
            };
            if let Reply::WorkflowTaskStarted(started) =
                self.step(draft, Command::StartWorkflowTask(Box::new(start)))?
            {
                draft.tasks.retain(|task| !matches!(task, Task::Workflow(_)));
                task = Some(started);
            }
        }
        let run = draft.run.clone();
        let first_execution_run_id = draft.state.first_execution_run_id().to_owned();
        self.record_begun(begun);
        let response = StartWorkflowExecutionResponse {
            run_id: run.run_id.as_str().to_owned(),
            first_execution_run_id,
            started: true,
            status: WorkflowExecutionStatus::Running.into(),
            link: Some(link_to_start(caller, &run)),
            ..StartWorkflowExecutionResponse::default()
        };
        self.started_answer(&run, &response, task)
    }

    /// What the repetition of a request gets that started its first task along.
    fn eager_task_again(
        &mut self,
        run: &RunKey,
        request: &StartWorkflowExecutionRequest,
    ) -> Result<Option<Box<WorkflowTaskStarted>>, Fault> {
        let Some(poll) = eager_poll(request) else { return Ok(None) };
        let request_id = request.request_id.clone();
        let Some((scheduled_event_id, stamp)) = self.state(run).task_held_for(&request_id) else { return Ok(None) };
        let start = StartWorkflowTask { scheduled_event_id, stamp, request_id, poll };
        // It changes nothing, so there is nothing to record.
        let mut draft = self.draft(run)?;
        match self.step(&mut draft, Command::StartWorkflowTask(Box::new(start)))? {
            Reply::WorkflowTaskStarted(started) => Ok(Some(started)),
            _ => Ok(None),
        }
    }

    fn started_answer(
        &mut self,
        run: &RunKey,
        response: &StartWorkflowExecutionResponse,
        task: Option<Box<WorkflowTaskStarted>>,
    ) -> Result<Answer, Fault> {
        match task {
            None => Ok(Answer::message(response)),
            Some(task) => {
                let task = self.encode_workflow_task(run, *task)?;
                Ok(Answer::body(wire::with_field(response, wire::TASK_OF_START, &[task])))
            }
        }
    }

    /// Drafts of the new run and of the end of the one it replaces.
    pub(super) fn begin_run(
        &mut self,
        caller: &Caller,
        workflow: &WorkflowKey,
        current: Option<CurrentRun>,
        replaced: Option<String>,
        begin: Begin,
    ) -> Result<Begun, Fault> {
        let run_id = self.fresh_ids().run_id;
        // The copy of a node that was just restarted may be behind. Without the namespace the
        // run would have no retention: it would be gone the moment it closes.
        let namespace = self.context.namespaces.by_id(&caller.namespace_id);
        let namespace =
            namespace.ok_or_else(|| api::Error::Unavailable("the namespace is not known here yet".into()))?;
        let start = Start {
            namespace_id: workflow.namespace_id.clone(),
            workflow_id: workflow.workflow_id.clone(),
            run_id: run_id.clone(),
            namespace_name: caller.namespace.clone(),
            request: begin.request,
            signal: begin.signal,
            previous_run_id: current.map(|run| run.run_id.into()),
            retention: namespace.retention,
            parent: begin.parent,
        };
        let mut draft = Draft::new(workflow.run(run_id.as_str()), execution::workflow::State::new());
        self.step(&mut draft, Command::Start(Box::new(start)))?;
        let mut ended = None;
        if let Some(old_run_id) = replaced {
            let mut old = self.draft(&workflow.run(&old_run_id))?;
            let terminate = superseded(&old_run_id, run_id.as_str());
            self.step(&mut old, Command::Terminate(Box::new(terminate)))?;
            ended = Some(old);
        }
        Ok(Begun { draft, ended })
    }

    pub(super) fn record_begun(&mut self, begun: Begun) {
        if let Some(ended) = begun.ended {
            self.record(ended);
        }
        self.record_current(&begun.draft.run);
        self.record(begun.draft);
    }

    pub(super) fn existing(
        &mut self,
        caller: &Caller,
        workflow: &WorkflowKey,
        run_id: &str,
        started: bool,
        attached: Option<String>,
    ) -> Result<Answer, Fault> {
        Ok(Answer::message(&self.existing_response(caller, workflow, run_id, started, attached)?))
    }

    fn existing_response(
        &mut self,
        caller: &Caller,
        workflow: &WorkflowKey,
        run_id: &str,
        started: bool,
        attached: Option<String>,
    ) -> Result<StartWorkflowExecutionResponse, Fault> {
        let run = self.resolve(workflow, run_id)?;
        let state = self.state(&run);
        let link = match attached {
            Some(request_id) => {
                link_to_request(&caller.namespace, &run, request_id, EventType::WorkflowExecutionOptionsUpdated)
            }
            None => link_to_start(caller, &run),
        };
        Ok(StartWorkflowExecutionResponse {
            run_id: run_id.to_owned(),
            first_execution_run_id: state.first_execution_run_id().to_owned(),
            started,
            status: state.status().into(),
            link: Some(link),
            ..StartWorkflowExecutionResponse::default()
        })
    }

    /// What the start policy wants to know of the latest run.
    pub(super) fn current_run(&mut self, workflow: &WorkflowKey) -> Result<Option<CurrentRun>, Fault> {
        let Some(run_id) = self.current_run_id(workflow)? else { return Ok(None) };
        let run = workflow.run(&run_id);
        if !self.load(&run)? {
            return Ok(None);
        }
        let state = self.state(&run);
        Ok(Some(CurrentRun {
            run_id,
            first_execution_run_id: state.first_execution_run_id().to_owned(),
            start_request_id: state.start_request_id().to_owned(),
            attached_request_ids: state.attached_request_ids().map(ToOwned::to_owned).collect(),
            status: state.status(),
            signal: Signal::New,
        }))
    }

    fn first_execution_run_id(&mut self, workflow: &WorkflowKey, run_id: &str) -> Result<String, Fault> {
        let run = self.resolve(workflow, run_id)?;
        Ok(self.state(&run).first_execution_run_id().to_owned())
    }
}

/// The poll that a request to start asks for along with it.
fn eager_poll(request: &StartWorkflowExecutionRequest) -> Option<PollWorkflowTaskQueueRequest> {
    request.request_eager_execution.then(|| PollWorkflowTaskQueueRequest {
        namespace: request.namespace.clone(),
        task_queue: request.task_queue.clone(),
        identity: request.identity.clone(),
        deployment_options: request.eager_worker_deployment_options.clone(),
        ..PollWorkflowTaskQueueRequest::default()
    })
}

/// To the event that a request wrote, wherever it is in history.
pub(super) fn link_to_request(namespace: &str, run: &RunKey, request_id: String, event_type: EventType) -> Link {
    use link::workflow_event::{Reference, RequestIdReference};
    let reference = RequestIdReference { request_id, event_type: event_type.into() };
    Link {
        variant: Some(link::Variant::WorkflowEvent(link::WorkflowEvent {
            namespace: namespace.to_owned(),
            workflow_id: run.workflow.workflow_id.as_str().to_owned(),
            run_id: run.run_id.as_str().to_owned(),
            reference: Some(Reference::RequestIdRef(reference)),
        })),
    }
}

pub(super) fn link_to_start(caller: &Caller, run: &RunKey) -> Link {
    use link::workflow_event::{EventReference, Reference};
    let reference = EventReference { event_id: 1, event_type: EventType::WorkflowExecutionStarted.into() };
    Link {
        variant: Some(link::Variant::WorkflowEvent(link::WorkflowEvent {
            namespace: caller.namespace.clone(),
            workflow_id: run.workflow.workflow_id.as_str().to_owned(),
            run_id: run.run_id.as_str().to_owned(),
            reference: Some(Reference::EventRef(reference)),
        })),
    }
}

fn signal_of(request: &SignalWithStartWorkflowExecutionRequest) -> SignalWorkflowExecutionRequest {
    #[expect(deprecated, reason = "old clients still send it")]
    SignalWorkflowExecutionRequest {
        namespace: request.namespace.clone(),
        workflow_execution: Some(WorkflowExecution { workflow_id: request.workflow_id.clone(), run_id: String::new() }),
        signal_name: request.signal_name.clone(),
        input: request.signal_input.clone(),
        identity: request.identity.clone(),
        request_id: request.request_id.clone(),
        control: request.control.clone(),
        header: request.header.clone(),
        links: request.links.clone(),
    }
}

fn start_of(request: SignalWithStartWorkflowExecutionRequest) -> StartWorkflowExecutionRequest {
    StartWorkflowExecutionRequest {
        namespace: request.namespace,
        workflow_id: request.workflow_id,
        workflow_type: request.workflow_type,
        task_queue: request.task_queue,
        input: request.input,
        workflow_execution_timeout: request.workflow_execution_timeout,
        workflow_run_timeout: request.workflow_run_timeout,
        workflow_task_timeout: request.workflow_task_timeout,
        identity: request.identity,
        request_id: request.request_id,
        workflow_id_reuse_policy: request.workflow_id_reuse_policy,
        workflow_id_conflict_policy: request.workflow_id_conflict_policy,
        retry_policy: request.retry_policy,
        cron_schedule: request.cron_schedule,
        memo: request.memo,
        search_attributes: request.search_attributes,
        header: request.header,
        workflow_start_delay: request.workflow_start_delay,
        user_metadata: request.user_metadata,
        links: request.links,
        versioning_override: request.versioning_override,
        priority: request.priority,
        time_skipping_config: request.time_skipping_config,
        ..StartWorkflowExecutionRequest::default()
    }
}
