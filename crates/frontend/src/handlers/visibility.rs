//! Lists and counts of executions.

use std::sync::Arc;

use api::Error;
use api::internal::visibility_request::Ask;
use api::internal::{CountExecutions, ListExecutions, VisibilityRequest};
use bytes::Bytes;
use cluster::Namespace;
use temporalio_protos::temporal::api::enums::v1::WorkflowExecutionStatus as Status;
use temporalio_protos::temporal::api::filter::v1::{StartTimeFilter, WorkflowExecutionFilter, WorkflowTypeFilter};
use temporalio_protos::temporal::api::workflowservice::v1::{
    CountWorkflowExecutionsRequest, GetSearchAttributesRequest, GetSearchAttributesResponse,
    ListClosedWorkflowExecutionsRequest, ListOpenWorkflowExecutionsRequest, ListWorkflowExecutionsRequest,
    list_closed_workflow_executions_request as closed, list_open_workflow_executions_request as open,
};

use crate::call::{Call, encoded};
use crate::validate::invalid;

/// The most executions on a page; asking for more is not refused.
const PAGE_SIZE_MAX: i32 = 1000;

pub(super) async fn list(
    call: Call,
    namespace: Arc<Namespace>,
    request: ListWorkflowExecutionsRequest,
) -> Result<Bytes, Error> {
    page(&call, &namespace, request.query, request.page_size, request.next_page_token).await
}

pub(super) async fn count(
    call: Call,
    namespace: Arc<Namespace>,
    request: CountWorkflowExecutionsRequest,
) -> Result<Bytes, Error> {
    ask(&call, &namespace, request.query, Ask::Count(CountExecutions {})).await
}

pub(super) async fn list_open(
    call: Call,
    namespace: Arc<Namespace>,
    request: ListOpenWorkflowExecutionsRequest,
) -> Result<Bytes, Error> {
    let mut conditions = vec![condition("ExecutionStatus", "Running")];
    started(&mut conditions, "StartTime", request.start_time_filter.as_ref())?;
    match &request.filters {
        Some(open::Filters::ExecutionFilter(filter)) => conditions.extend(of_execution(filter)),
        Some(open::Filters::TypeFilter(filter)) => conditions.extend(of_type(filter)),
        None => {}
    }
    page(&call, &namespace, conditions.join(" AND "), request.maximum_page_size, request.next_page_token).await
}

pub(super) async fn list_closed(
    call: Call,
    namespace: Arc<Namespace>,
    request: ListClosedWorkflowExecutionsRequest,
) -> Result<Bytes, Error> {
    let mut conditions = vec!["ExecutionStatus != 'Running'".to_owned()];
    started(&mut conditions, "CloseTime", request.start_time_filter.as_ref())?;
    match &request.filters {
        Some(closed::Filters::ExecutionFilter(filter)) => conditions.extend(of_execution(filter)),
        Some(closed::Filters::TypeFilter(filter)) => conditions.extend(of_type(filter)),
        Some(closed::Filters::StatusFilter(filter)) => {
            if matches!(filter.status(), Status::Unspecified | Status::Running) {
                return Err(invalid("StatusFilter must be specified and must be not Running."));
            }
            conditions.push(format!("ExecutionStatus = {}", filter.status));
        }
        None => {}
    }
    page(&call, &namespace, conditions.join(" AND "), request.maximum_page_size, request.next_page_token).await
}

/// The names without a namespace: slots stand for the custom ones.
pub(super) async fn get_search_attributes(_: Call, (): (), _: GetSearchAttributesRequest) -> Result<Bytes, Error> {
    let system = base::SYSTEM_ATTRIBUTES.iter().map(|(name, kind)| ((*name).to_owned(), *kind as i32));
    let predefined = base::PREDEFINED_ATTRIBUTES.iter().map(|(name, kind, _)| ((*name).to_owned(), *kind as i32));
    let slots = base::AttributeType::ALL
        .into_iter()
        .flat_map(|kind| (1..=kind.slots()).map(move |number| (kind.slot(number), kind as i32)));
    encoded(&GetSearchAttributesResponse { keys: system.chain(predefined).chain(slots).collect() })
}

fn condition(attribute: &str, value: &str) -> String {
    format!("{attribute} = '{}'", value.replace('\\', "\\\\").replace('\'', "''"))
}

fn of_execution(filter: &WorkflowExecutionFilter) -> Vec<String> {
    let run = Some(&filter.run_id).filter(|run_id| !run_id.is_empty());
    [condition("WorkflowId", &filter.workflow_id)].into_iter().chain(run.map(|id| condition("RunId", id))).collect()
}

fn of_type(filter: &WorkflowTypeFilter) -> Option<String> {
    Some(condition("WorkflowType", &filter.name)).filter(|_| !filter.name.is_empty())
}

fn started(conditions: &mut Vec<String>, attribute: &str, filter: Option<&StartTimeFilter>) -> Result<(), Error> {
    let nanos = |time: &prost_types::Timestamp| i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos);
    let earliest = filter.and_then(|filter| filter.earliest_time.as_ref()).map(nanos);
    let latest = filter.and_then(|filter| filter.latest_time.as_ref()).map(nanos);
    if let (Some(earliest), Some(latest)) = (earliest, latest)
        && earliest > latest
    {
        return Err(invalid("EarliestTime in StartTimeFilter should not be larger than LatestTime."));
    }
    conditions.extend(earliest.map(|nanos| format!("{attribute} >= {nanos}")));
    conditions.extend(latest.map(|nanos| format!("{attribute} <= {nanos}")));
    Ok(())
}

async fn page(
    call: &Call,
    namespace: &Namespace,
    query: String,
    asked: i32,
    next_page_token: Vec<u8>,
) -> Result<Bytes, Error> {
    let size = if asked <= 0 { PAGE_SIZE_MAX } else { asked.min(PAGE_SIZE_MAX) };
    let list = ListExecutions { page_size: size.unsigned_abs(), next_page_token: next_page_token.into() };
    ask(call, namespace, query, Ask::List(list)).await
}

async fn ask(call: &Call, namespace: &Namespace, query: String, ask: Ask) -> Result<Bytes, Error> {
    let custom = base::custom_attributes(&namespace.config.custom_search_attribute_aliases);
    let request = VisibilityRequest {
        namespace_id: namespace.id.as_str().to_owned(),
        query,
        custom_attributes: custom.into_iter().map(|(name, kind)| (name, kind as i32)).collect(),
        ask: Some(ask),
    };
    Ok(call.backend().visibility(request, call.deadline).await?.body)
}
