//! Queries: asked of the shard, answered by a worker to the node whose matcher waits.

use std::sync::Arc;

use api::Error;
use api::internal::{MatchingRequest, QueryTaskToken, RespondQuery, history_request, matching_request};
use base::NodeId;
use bytes::Bytes;
use cluster::Namespace;
use prost::Message as _;
use temporalio_protos::temporal::api::enums::v1::{QueryRejectCondition, QueryResultType};
use temporalio_protos::temporal::api::workflowservice::v1::{
    QueryWorkflowRequest, RespondQueryTaskCompletedRequest, RespondQueryTaskCompletedResponse,
};

use super::workflows::workflow_id;
use crate::call::{Call, encoded};
use crate::request::Task;
use crate::validate;

const TIMED_OUT: &str = "query timed out before a worker could process it";
const NO_SUCH_TASK: &str = "query task not found, or already expired";

pub(super) async fn query(
    call: Call,
    namespace: Arc<Namespace>,
    mut request: QueryWorkflowRequest,
) -> Result<Bytes, Error> {
    let workflow_id = workflow_id(request.execution.as_ref())?;
    let query = request.query.as_ref().ok_or_else(|| validate::invalid("WorkflowQuery is not set on request."))?;
    if query.query_type.is_empty() {
        return Err(validate::invalid("QueryType is not set on request."));
    }
    validate::blob(query.query_args.as_ref().map_or(0, |args| args.encoded_len()), call.limits().blob_bytes_max)?;
    if request.query_reject_condition() == QueryRejectCondition::Unspecified {
        request.set_query_reject_condition(QueryRejectCondition::None);
    }
    let answer = call.history(&namespace, &workflow_id, history_request::Request::Query(request));
    match tokio::time::timeout_at(call.deadline, answer).await {
        Err(_) | Ok(Err(Error::DeadlineExceeded)) => Err(Error::TimedOut(TIMED_OUT.to_owned())),
        Ok(answer) => answer,
    }
}

pub(super) async fn respond(
    call: Call,
    task: Task<QueryTaskToken>,
    mut request: RespondQueryTaskCompletedRequest,
) -> Result<Bytes, Error> {
    let Task { namespace, token } = task;
    if token.query_id.is_empty() {
        return Err(validate::invalid("Invalid TaskToken."));
    }
    // The one who asked is told why, instead of waiting for an answer that cannot come.
    let result_bytes = request.query_result.as_ref().map_or(0, |result| result.encoded_len());
    if let Err(error) = validate::blob(result_bytes, call.limits().blob_bytes_max) {
        request = RespondQueryTaskCompletedRequest {
            task_token: request.task_token,
            completed_type: QueryResultType::Failed as i32,
            error_message: error.to_string(),
            ..RespondQueryTaskCompletedRequest::default()
        };
    }
    let node = NodeId(token.node_id);
    let request = MatchingRequest {
        namespace_id: namespace.id.as_str().to_owned(),
        namespace: namespace.name.clone(),
        partition: None,
        request: Some(matching_request::Request::RespondQuery(RespondQuery {
            token: Some(token),
            request: Some(request),
        })),
    };
    if let Err(error) = call.backend().matching_at(node, Box::new(request), call.deadline).await {
        // Who asked was cut off together with that node. A worker that repeats its answer would only
        // hold up its other work.
        let gone = !call.backend().live_nodes().contains(&node);
        return Err(if gone { Error::NotFound(NO_SUCH_TASK.to_owned()) } else { error });
    }
    encoded(&RespondQueryTaskCompletedResponse::default())
}
