//! Workflow tasks: handed out, completed, failed.

use api::internal::{
    HistoryPageToken, RespondWorkflowTaskCompleted, RespondWorkflowTaskFailed, StartWorkflowTask,
    StickyQueueUnavailable, TaskKind, TaskRef, WorkflowTaskToken,
};
use base::Timestamp;
use bytes::Bytes;
use execution::workflow::{
    AdoptWorkflowTask, Command, CompleteWorkflowTask, FailWorkflowTask, Reply, Task, WorkflowTaskRef,
    WorkflowTaskStarted,
};
use prost::Message;
use temporalio_protos::temporal::api::common::v1::WorkerVersionStamp;
use temporalio_protos::temporal::api::workflowservice::v1::{
    RespondWorkflowTaskCompletedResponse, RespondWorkflowTaskFailedResponse,
};

use super::draft::Draft;
use super::history::PageToken as _;
use super::input::Answer;
use super::leader::{Fault, Leader};
use crate::error;
use crate::run::{RunKey, WorkflowKey};
use crate::wire;

impl Leader {
    /// A worker takes the task. Soft: nothing is written until it answers or is too late.
    pub(super) fn start_workflow_task(&mut self, request: StartWorkflowTask) -> Result<Answer, Fault> {
        let StartWorkflowTask { task, request_id, poll } = request;
        let (task, poll) = (task.unwrap_or_default(), poll.unwrap_or_default());
        let run = run_of(&task);
        let queue = poll.task_queue.as_ref().map_or("", |queue| &queue.name);
        self.dispatch.started(&run, TaskKind::Workflow, &task, queue);
        if !self.load(&run)? {
            return Ok(Answer::task_gone());
        }
        let command = execution::workflow::StartWorkflowTask {
            scheduled_event_id: task.scheduled_event_id,
            stamp: task.stamp,
            request_id,
            poll,
        };
        let mut draft = self.draft(&run)?;
        let reply = self.step(&mut draft, Command::StartWorkflowTask(Box::new(command)))?;
        self.record(draft);
        match reply {
            Reply::WorkflowTaskStarted(started) => Ok(Answer::body(self.encode_workflow_task(&run, *started)?)),
            Reply::Refused(rejection) => Err(error::rejected(rejection).into()),
            _ => Ok(Answer::task_gone()),
        }
    }

    pub(super) fn complete_workflow_task(&mut self, request: RespondWorkflowTaskCompleted) -> Result<Answer, Fault> {
        let RespondWorkflowTaskCompleted { token, request } = request;
        let (token, request) = (token.unwrap_or_default(), request.unwrap_or_default());
        #[expect(deprecated, reason = "the start names it, too")]
        let author = || (request.identity.clone(), request.worker_version_stamp.clone());
        let (mut draft, core_token) = self.held_task(token, author)?;
        self.check_namespaces(&request.commands)?;
        let run = draft.run.clone();
        let fresh = self.fresh_ids();
        let query_results = request.query_results.clone();
        let command = CompleteWorkflowTask { token: core_token, request, fresh };
        let reply = self.step(&mut draft, Command::CompleteWorkflowTask(Box::new(command)))?;
        let fused = match &reply {
            Reply::Refused(_) => Vec::new(),
            _ => self.fuse_activities(&mut draft)?,
        };
        if !matches!(reply, Reply::Refused(_)) {
            self.answer_queries(&run, query_results);
        }
        self.record(draft);
        self.building.after.deliveries.extend(fused);
        let Reply::WorkflowTaskCompleted { new_task, activity_tasks, reset_history_event_id } = reply else {
            return match reply {
                Reply::Refused(rejection) => Err(error::rejected(rejection).into()),
                _ => Ok(Answer::message(&RespondWorkflowTaskCompletedResponse::default())),
            };
        };
        let activity_tasks = activity_tasks.into_iter().map(|task| self.activity_response(&run, task)).collect();
        let response =
            RespondWorkflowTaskCompletedResponse { workflow_task: None, activity_tasks, reset_history_event_id };
        match new_task {
            None => Ok(Answer::message(&response)),
            Some(task) => {
                let task = self.encode_workflow_task(&run, *task)?;
                Ok(Answer::body(wire::with_field(&response, wire::TASK_OF_COMPLETION, &[task])))
            }
        }
    }

    pub(super) fn fail_workflow_task(&mut self, request: RespondWorkflowTaskFailed) -> Result<Answer, Fault> {
        let RespondWorkflowTaskFailed { token, request } = request;
        let (token, request) = (token.unwrap_or_default(), request.unwrap_or_default());
        #[expect(deprecated, reason = "the start names it, too")]
        let author = || (request.identity.clone(), request.worker_version.clone());
        let (mut draft, core_token) = self.held_task(token, author)?;
        let command = FailWorkflowTask { token: core_token, request };
        let reply = self.step(&mut draft, Command::FailWorkflowTask(Box::new(command)))?;
        self.record(draft);
        if let Reply::Refused(rejection) = reply {
            return Err(error::rejected(rejection).into());
        }
        Ok(Answer::message(&RespondWorkflowTaskFailedResponse::default()))
    }

    /// No worker listens on the sticky queue: the task goes to the normal one. Nothing is
    /// written; the run stays sticky until a worker takes the task there or its time on a
    /// sticky queue is over.
    pub(super) fn sticky_queue_unavailable(&mut self, request: StickyQueueUnavailable) -> Result<Answer, Fault> {
        let task = request.task.unwrap_or_default();
        let run = run_of(&task);
        self.dispatch.forget(&run, TaskKind::Workflow, &task);
        if !self.load(&run)? {
            return Ok(Answer::task_gone());
        }
        let pending = self.state(&run).tasks().into_iter().find_map(|pending| match pending {
            Task::Workflow(pending) => Some(pending),
            _ => None,
        });
        let is_same = |pending: &WorkflowTaskRef| {
            pending.stamp == task.stamp && pending.scheduled_event_id == task.scheduled_event_id
        };
        let Some(mut pending) = pending.filter(is_same) else { return Ok(Answer::task_gone()) };
        if let Some(normal_queue) = pending.normal_queue.take() {
            pending.task_queue = normal_queue;
            self.dispatch.push(&run, &Task::Workflow(pending), self.context.config.dispatch_tasks_max);
        }
        Ok(Answer::Response(api::internal::HistoryResponse::default()))
    }

    /// The encoded poll response: stored history as it is, then what is not written yet.
    pub(super) fn encode_workflow_task(&mut self, run: &RunKey, started: WorkflowTaskStarted) -> Result<Bytes, Fault> {
        let WorkflowTaskStarted { mut response, history_first_event_id, history_next_event_id, tail, token } = started;
        response.task_token = self.workflow_task_token(run, &token).encode_to_vec();
        response.queries = self.attach_queries(run);
        let events_max = self.context.config.history_page_events_max;
        let mut page = self.page(run, history_first_event_id, history_next_event_id, events_max)?;
        if page.next < history_next_event_id {
            let token = HistoryPageToken::at(run, page.next, history_next_event_id);
            response.next_page_token = HistoryPageToken { unwritten: tail, ..token }.encode_to_vec();
        } else if !tail.is_empty() {
            page.pieces.push(wire::encode_history(tail.iter()));
        }
        Ok(wire::with_field(&response, wire::HISTORY_OF_TASK, &page.pieces))
    }

    fn workflow_task_token(&self, run: &RunKey, token: &execution::workflow::WorkflowTaskToken) -> WorkflowTaskToken {
        WorkflowTaskToken {
            namespace_id: run.workflow.namespace_id.as_str().to_owned(),
            workflow_id: run.workflow.workflow_id.as_str().to_owned(),
            run_id: run.run_id.as_str().to_owned(),
            scheduled_event_id: token.scheduled_event_id,
            started_event_id: token.started_event_id,
            attempt: token.attempt,
            started_time: Some(token.started_time.to_proto()),
            term: self.term.0,
            request_id: self.state(run).held_request_id().unwrap_or_default().to_owned(),
        }
    }

    /// A draft of the run, in which a worker holds the task, and the token as the core knows it.
    ///
    /// A task that a leader of another term handed out is taken as it is if its start was
    /// written, and taken over if nothing has happened since; otherwise it is lost.
    fn held_task(
        &mut self,
        token: WorkflowTaskToken,
        author: impl FnOnce() -> (String, Option<WorkerVersionStamp>),
    ) -> Result<(Draft, execution::workflow::WorkflowTaskToken), Fault> {
        let workflow = WorkflowKey::new(&token.namespace_id, &token.workflow_id);
        let run = self.resolve(&workflow, &token.run_id)?;
        let core = execution::workflow::WorkflowTaskToken {
            scheduled_event_id: token.scheduled_event_id,
            started_event_id: token.started_event_id,
            attempt: token.attempt,
            started_time: token.started_time.as_ref().map_or(Timestamp::ZERO, Timestamp::from_proto),
        };
        let mut draft = self.draft(&run)?;
        // A token without a term is none of ours, see the frontend: it is for the task that is held, or for none.
        if token.term != 0 && token.term != self.term.0 && !draft.state.is_start_kept() {
            if token.request_id.is_empty() {
                return Err(error::workflow_task_not_found().into());
            }
            let (identity, worker_version) = author();
            let worker_version = worker_version.filter(|version| !version.build_id.is_empty());
            let request_id = token.request_id;
            let adopt = AdoptWorkflowTask { token: core.clone(), request_id, identity, worker_version };
            if !matches!(self.step(&mut draft, Command::AdoptWorkflowTask(Box::new(adopt)))?, Reply::Empty) {
                return Err(error::workflow_task_not_found().into());
            }
        }
        Ok((draft, core))
    }
}

pub(super) fn run_of(task: &TaskRef) -> RunKey {
    WorkflowKey::new(&task.namespace_id, &task.workflow_id).run(&task.run_id)
}
