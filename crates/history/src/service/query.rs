//! A query from its first look at the run to the worker's answer.
//!
//! ```text
//! ask shard ─▶ rides on a workflow task ──answered──▶ done
//!    ▲                  │ no task is left
//!    ├──────────────────┘
//!    │ sticky queue silent: once more, normal queue only
//!    └─▶ dispatched through matching ──▶ done
//! ```

use api::Error;
use api::internal::matching_response::Response;
use api::internal::{
    DispatchQuery, DispatchQueryResponse, HistoryRequest, HistoryResponse, MatchingRequest, MatchingResponse,
    matching_request,
};
use cluster::bind;
use prost::Message;
use temporalio_protos::temporal::api::common::v1::Payloads;
use temporalio_protos::temporal::api::enums::v1::QueryResultType;
use temporalio_protos::temporal::api::failure::v1::Failure;
use temporalio_protos::temporal::api::query::v1::WorkflowQueryResult;
use temporalio_protos::temporal::api::workflowservice::v1::QueryWorkflowResponse;
use tokio::time::Instant;

use super::{Handle, response, within};
use crate::error;
use crate::shard::{Answer, QueryDispatch, QueryOutcome, QueryQueue};

/// How often a query may be sent back to the start: a run that is always busy keeps it in
/// its buffer, so this is only reached when tasks come and go very fast.
const TRIES_MAX: usize = 100;

const BLOB_TOO_LARGE: &str = "Blob data size exceeds limit.";

impl Handle {
    pub(super) async fn query(
        &self,
        request: Box<HistoryRequest>,
        deadline: Instant,
    ) -> Result<HistoryResponse, Error> {
        let mut request = request;
        let mut queue = QueryQueue::StickyFirst;
        for _ in 0..TRIES_MAX {
            match self.ask(request.clone(), queue, deadline).await? {
                Answer::QueryBuffered { run_id, outcome } => {
                    bind::to_run(&mut request, &run_id);
                    // The term may end while the query waits; then it is asked anew elsewhere.
                    let outcome = within(deadline, outcome).await?.map_err(|_| Error::NotLeader { hint: None })?;
                    match outcome {
                        QueryOutcome::Answered(result) => {
                            let WorkflowQueryResult { answer, error_message, failure, .. } = *result;
                            return if error_message.is_empty() {
                                answered(answer)
                            } else {
                                failed(error_message, failure)
                            };
                        }
                        QueryOutcome::TooLarge => return Err(Error::InvalidArgument(BLOB_TOO_LARGE.to_owned())),
                        QueryOutcome::Unblocked => {}
                    }
                }
                Answer::QueryNow(dispatch) => {
                    let is_sticky = dispatch.partition.sticky;
                    bind::to_run(&mut request, &dispatch.run_id);
                    match self.dispatch(&request, *dispatch, deadline).await {
                        Ok(DispatchQueryResponse { answer: Some(answer), .. }) => {
                            match answer.completed_type() {
                                QueryResultType::Answered => return answered(answer.query_result),
                                QueryResultType::Failed => return failed(answer.error_message, answer.failure),
                                // The worker did not say; another may.
                                QueryResultType::Unspecified => {}
                            }
                        }
                        Ok(_) if is_sticky => queue = QueryQueue::NormalOnly,
                        Err(Error::DeadlineExceeded) if is_sticky && Instant::now() < deadline => {
                            queue = QueryQueue::NormalOnly;
                        }
                        Ok(_) => return Err(error::no_poller()),
                        Err(error) => return Err(error),
                    }
                }
                answer => return response(answer),
            }
        }
        Err(Error::Unavailable("the workflow is too busy for queries".into()))
    }

    async fn dispatch(
        &self,
        request: &HistoryRequest,
        dispatch: QueryDispatch,
        deadline: Instant,
    ) -> Result<DispatchQueryResponse, Error> {
        let deadline = if dispatch.partition.sticky {
            deadline.min(Instant::now() + self.inner.config.limits.sticky_schedule_to_start_default)
        } else {
            deadline
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let request = MatchingRequest {
            namespace_id: request.namespace_id.clone(),
            namespace: request.namespace.clone(),
            partition: Some(dispatch.partition),
            request: Some(matching_request::Request::DispatchQuery(DispatchQuery {
                task: dispatch.task,
                timeout: prost_types::Duration::try_from(left).ok(),
            })),
        };
        match within(deadline, self.inner.router.matching(Box::new(request), deadline)).await?? {
            MatchingResponse { response: Some(Response::Query(answer)) } => Ok(answer),
            _ => Err(Error::Internal("an answer of the wrong kind".into())),
        }
    }
}

fn failed(message: String, failure: Option<Failure>) -> Result<HistoryResponse, Error> {
    let failure = failure.map(|failure| failure.encode_to_vec()).unwrap_or_default();
    Err(Error::QueryFailed { message, failure })
}

fn answered(result: Option<Payloads>) -> Result<HistoryResponse, Error> {
    let answer = QueryWorkflowResponse { query_result: result, ..QueryWorkflowResponse::default() };
    Ok(HistoryResponse { body: answer.encode_to_vec().into(), ..HistoryResponse::default() })
}
