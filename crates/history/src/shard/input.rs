//! What comes into the loop, and what goes back to the task that asked.

use api::Error;
use api::internal::{HistoryRequest, HistoryResponse, PartitionKey};
use bytes::Bytes;
use temporalio_protos::temporal::api::query::v1::WorkflowQueryResult;
use temporalio_protos::temporal::api::update::v1::Outcome;
use temporalio_protos::temporal::api::workflowservice::v1::StartWorkflowExecutionResponse;
use tokio::sync::{oneshot, watch};

use crate::run::RunKey;

pub(crate) type ReplyTo = oneshot::Sender<Result<Answer, Error>>;

/// One request and the way back. A dropped way back means that the term ended.
pub(crate) struct Input {
    pub(crate) ask: Ask,
    pub(crate) reply: ReplyTo,
}

pub(crate) struct Ask {
    pub(crate) request: Box<HistoryRequest>,
    /// Only queries look at it.
    pub(crate) queue: QueryQueue,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum QueryQueue {
    StickyFirst,
    /// The sticky queue has no worker: forget it.
    NormalOnly,
}

/// What the asking task does next.
pub(crate) enum Answer {
    Response(HistoryResponse),
    /// Nothing new for a reader of history: wait for `wake`, or answer with `empty`.
    WaitForEvents {
        run_id: String,
        empty: Bytes,
        wake: oneshot::Receiver<()>,
    },
    /// The update is on its way.
    Update(Box<UpdateWait>),
    /// The query rides on the next workflow task.
    QueryBuffered {
        run_id: String,
        outcome: oneshot::Receiver<QueryOutcome>,
    },
    /// Nothing is in progress: ask a worker directly.
    QueryNow(Box<QueryDispatch>),
}

/// How far an update is.
#[derive(Clone, Debug)]
pub(crate) enum Progress {
    Admitted,
    Accepted,
    Completed(Box<Outcome>),
    Failed(Error),
    /// It never reached the run; the request is made again.
    Lost,
}

/// An update for whose next stages somebody waits.
pub(crate) struct UpdateWait {
    pub(crate) run_id: String,
    pub(crate) now: Progress,
    pub(crate) next: Option<watch::Receiver<Progress>>,
    /// What came of the start, if one came with the update.
    pub(crate) start: Option<StartWorkflowExecutionResponse>,
}

pub(crate) enum QueryOutcome {
    Answered(Box<WorkflowQueryResult>),
    /// The answer is larger than a blob may be.
    TooLarge,
    /// No workflow task is in the way any more: ask again.
    Unblocked,
}

/// A query as a task for matching.
pub(crate) struct QueryDispatch {
    pub(crate) run_id: String,
    pub(crate) partition: PartitionKey,
    /// An encoded `PollWorkflowTaskQueueResponse` without its token.
    pub(crate) task: Bytes,
}

impl Answer {
    pub(crate) fn body(body: impl Into<Bytes>) -> Self {
        Self::Response(HistoryResponse { body: body.into(), ..HistoryResponse::default() })
    }

    pub(crate) fn message(message: &impl prost::Message) -> Self {
        Self::body(message.encode_to_vec())
    }

    pub(crate) fn task_gone() -> Self {
        Self::Response(HistoryResponse { task_gone: true, ..HistoryResponse::default() })
    }

    /// The request has to wait, and must be sent again with the run that it is about.
    pub(crate) fn bound_to(run: &RunKey) -> Self {
        let bind_run_id = run.run_id.as_str().to_owned();
        Self::Response(HistoryResponse { bind_run_id, ..HistoryResponse::default() })
    }
}
