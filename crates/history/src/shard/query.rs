//! Queries: answered by a worker, never written.
//!
//! | the run | what happens |
//! |---|---|
//! | no workflow task pending, one was completed before | asked directly, sticky queue first |
//! | workflow task pending or started | waits and rides on the next task that is handed out |
//! | closed | asked directly |

use std::collections::HashMap;

use api::internal::{HistoryPageToken, PartitionKey, TaskKind};
use execution::workflow::Command;
use prost::Message;
use temporalio_protos::temporal::api::common::v1::WorkflowType;
use temporalio_protos::temporal::api::enums::v1::{
    QueryRejectCondition, QueryResultType, TaskQueueKind, WorkflowExecutionStatus,
};
use temporalio_protos::temporal::api::query::v1::{QueryRejected, WorkflowQuery, WorkflowQueryResult};
use temporalio_protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_protos::temporal::api::workflowservice::v1::{
    PollWorkflowTaskQueueResponse, QueryWorkflowRequest, QueryWorkflowResponse,
};
use tokio::sync::oneshot;

use super::history::PageToken as _;
use super::input::{Answer, QueryDispatch, QueryOutcome, QueryQueue};
use super::leader::{Fault, Leader};
use super::requests::{Caller, named};
use crate::error;
use crate::run::RunKey;
use crate::wire;

/// From this attempt on a workflow task counts as failing, and queries fail at once.
const FAILING_ATTEMPT: i32 = 3;

/// A query that waits for a workflow task.
pub(super) struct BufferedQuery {
    id: String,
    query: WorkflowQuery,
    pub(super) result: oneshot::Sender<QueryOutcome>,
}

impl Leader {
    pub(super) fn query(
        &mut self,
        caller: &Caller,
        request: QueryWorkflowRequest,
        queue: QueryQueue,
    ) -> Result<Answer, Fault> {
        let condition = request.query_reject_condition();
        let execution = named(request.execution)?;
        let run = self.resolve(&caller.workflow(&execution.workflow_id), &execution.run_id)?;
        let state = self.state(&run);
        let (status, is_open) = (state.status(), state.delete_after().is_none());
        let status = if state.is_paused() { WorkflowExecutionStatus::Paused } else { status };
        if state.is_paused() || is_rejected(status, is_open, condition) {
            return Ok(Answer::message(&QueryWorkflowResponse {
                query_rejected: Some(QueryRejected { status: status.into() }),
                ..QueryWorkflowResponse::default()
            }));
        }
        let has_task = is_open && state.pending_workflow_task().is_some();
        if !state.completed_any_workflow_task() {
            if !is_open {
                return Err(error::closed_before_first_task().into());
            }
            if !has_task {
                return Err(error::no_workflow_task_yet().into());
            }
        }
        if state.workflow_task_attempt() >= FAILING_ATTEMPT {
            return Err(error::workflow_task_keeps_failing().into());
        }
        let query = request.query.unwrap_or_default();
        if has_task && caller.can_bind && execution.run_id.is_empty() {
            return Ok(Answer::bound_to(&run));
        }
        if has_task {
            return self.buffer_query(&run, query);
        }
        if queue == QueryQueue::NormalOnly && is_open && state.query_queues().0.is_some() {
            self.command(&run, Command::ClearSticky)?;
        }
        self.query_now(&run, query, queue)
    }

    fn buffer_query(&mut self, run: &RunKey, query: WorkflowQuery) -> Result<Answer, Fault> {
        let id = self.context.entropy.uuid();
        let buffered = self.queries.entry(run.clone()).or_default();
        buffered.retain(|query| !query.result.is_closed());
        if buffered.len() >= self.context.config.buffered_queries_max {
            return Err(error::query_buffer_full().into());
        }
        let (result, answer) = oneshot::channel();
        buffered.push(BufferedQuery { id, query, result });
        Ok(Answer::QueryBuffered { run_id: run.run_id.as_str().to_owned(), outcome: answer })
    }

    /// The query as a task of its own, with the history that the worker needs for it.
    fn query_now(&mut self, run: &RunKey, query: WorkflowQuery, queue: QueryQueue) -> Result<Answer, Fault> {
        let state = self.state(run);
        let (sticky, normal) = state.query_queues();
        let sticky = sticky.filter(|_| queue == QueryQueue::StickyFirst);
        let end = state.next_event_id();
        let first = if sticky.is_some() { state.previous_started_event_id() + 1 } else { 1 };
        let mut task = PollWorkflowTaskQueueResponse {
            workflow_execution: Some(state.execution()),
            workflow_type: Some(WorkflowType { name: state.workflow_type().to_owned() }),
            previous_started_event_id: state.previous_started_event_id(),
            attempt: 1,
            query: Some(query),
            workflow_execution_task_queue: Some(TaskQueue {
                name: normal.clone(),
                kind: TaskQueueKind::Normal.into(),
                ..TaskQueue::default()
            }),
            ..PollWorkflowTaskQueueResponse::default()
        };
        let page = self.page(run, first, end, self.context.config.history_page_events_max)?;
        if page.next < end {
            task.next_page_token = HistoryPageToken::at(run, page.next, end).encode_to_vec();
        }
        let partition = PartitionKey {
            namespace_id: run.workflow.namespace_id.as_str().to_owned(),
            sticky: sticky.is_some(),
            task_queue: sticky.unwrap_or(normal),
            kind: TaskKind::Workflow.into(),
            partition: 0,
        };
        let task = wire::with_field(&task, wire::HISTORY_OF_TASK, &page.pieces);
        let run_id = run.run_id.as_str().to_owned();
        Ok(Answer::QueryNow(Box::new(QueryDispatch { run_id, partition, task })))
    }

    /// The queries that ride on a workflow task that is handed out now.
    pub(super) fn attach_queries(&self, run: &RunKey) -> HashMap<String, WorkflowQuery> {
        let waiting = self.queries.get(run).map(Vec::as_slice).unwrap_or_default();
        waiting.iter().map(|query| (query.id.clone(), query.query.clone())).collect()
    }

    /// The worker's answers, given when its completion is committed: they show what it did.
    /// What it left out, or answered without an answer, waits for the next task.
    pub(super) fn answer_queries(&mut self, run: &RunKey, mut results: HashMap<String, WorkflowQueryResult>) {
        let Some(waiting) = self.queries.remove(run) else { return };
        let mut left = Vec::new();
        for query in waiting {
            match results.remove(&query.id).filter(says_something) {
                Some(result) => {
                    let bytes = result.answer.as_ref().map_or(0, Message::encoded_len);
                    let is_too_large = bytes > self.context.config.limits.blob_bytes_max;
                    let outcome =
                        if is_too_large { QueryOutcome::TooLarge } else { QueryOutcome::Answered(Box::new(result)) };
                    self.building.after.queries.push((query.result, outcome));
                }
                None => left.push(query),
            }
        }
        if !left.is_empty() {
            self.queries.insert(run.clone(), left);
        }
    }
}

/// Either an answer or a reason why there is none.
fn says_something(result: &WorkflowQueryResult) -> bool {
    match result.result_type() {
        QueryResultType::Answered => result.answer.is_some() && result.error_message.is_empty(),
        QueryResultType::Failed => result.answer.is_none() && !result.error_message.is_empty(),
        QueryResultType::Unspecified => false,
    }
}

fn is_rejected(status: WorkflowExecutionStatus, is_open: bool, condition: QueryRejectCondition) -> bool {
    if status == WorkflowExecutionStatus::Paused {
        return true;
    }
    !is_open
        && match condition {
            QueryRejectCondition::NotOpen => true,
            QueryRejectCondition::NotCompletedCleanly => status != WorkflowExecutionStatus::Completed,
            QueryRejectCondition::Unspecified | QueryRejectCondition::None => false,
        }
}
