//! Answers lists and counts from the rows of this node's replicas.
//!
//! Every row of the namespace is looked at; an index will do better for many of them. The
//! rows are read a page at a time, and others run in between.

use std::sync::Arc;

use api::Error;
use api::internal::visibility_request::Ask;
use api::internal::{VisibilityRequest, VisibilityResponse};
use async_trait::async_trait;
use base::{AttributeType, CustomAttributes};
use bytes::Bytes;
use cluster::VisibilityService;
use prost::Message;
use temporalio_protos::temporal::api::common::v1::Payload;
use temporalio_protos::temporal::api::workflow::v1::WorkflowExecutionInfo;
use temporalio_protos::temporal::api::workflowservice::v1::{
    CountWorkflowExecutionsResponse, ListWorkflowExecutionsResponse, count_workflow_executions_response,
};
use tokio::time::Instant;

use crate::document::Document;
use crate::list::{Counts, Page};
use crate::query::Query;

/// Encoded executions (`WorkflowExecutionInfo`), a bounded number at a time.
pub trait Rows: Send + Sync + 'static {
    /// Goes on behind `cursor`; no next cursor means that these were the last.
    fn page(&self, namespace_id: &str, cursor: Option<Bytes>) -> Result<RowsPage, Error>;
}

/// Some rows, and where to go on.
#[derive(Clone, Debug, Default)]
pub struct RowsPage {
    pub rows: Vec<Bytes>,
    pub next: Option<Bytes>,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    rows: Arc<dyn Rows>,
}

impl Service {
    #[must_use]
    pub fn new(rows: Arc<dyn Rows>) -> Self {
        Self { rows }
    }

    async fn each(&self, namespace_id: &str, deadline: Instant, mut visit: impl FnMut(Document)) -> Result<(), Error> {
        let mut cursor = None;
        loop {
            let page = self.rows.page(namespace_id, cursor)?;
            for row in page.rows {
                let info = WorkflowExecutionInfo::decode(row)
                    .map_err(|error| Error::Internal(format!("a visibility row: {error}")))?;
                visit(Document { info });
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(Error::DeadlineExceeded);
            }
            tokio::task::yield_now().await;
        }
    }

    async fn list(
        &self,
        namespace_id: &str,
        query: &Query,
        custom: &CustomAttributes,
        ask: api::internal::ListExecutions,
        deadline: Instant,
    ) -> Result<Vec<u8>, Error> {
        let size = usize::try_from(ask.page_size).unwrap_or(usize::MAX);
        let mut page = Page::new(query, size, &ask.next_page_token)
            .map_err(|_| Error::InvalidArgument("invalid page token".to_owned()))?;
        self.each(namespace_id, deadline, |document| page.offer(document)).await?;
        let (documents, next_page_token) = page.finish();
        let executions = documents.into_iter().map(|document| shown(document.info, custom)).collect();
        Ok(ListWorkflowExecutionsResponse { executions, next_page_token }.encode_to_vec())
    }

    async fn count(&self, namespace_id: &str, query: &Query, deadline: Instant) -> Result<Vec<u8>, Error> {
        let mut counts = Counts::new(query);
        self.each(namespace_id, deadline, |document| counts.offer(&document)).await?;
        let groups = counts.groups().into_iter().flatten().map(|(name, count)| {
            count_workflow_executions_response::AggregationGroup { group_values: vec![keyword(name)], count }
        });
        Ok(CountWorkflowExecutionsResponse { groups: groups.collect(), count: counts.total }.encode_to_vec())
    }
}

#[async_trait]
impl VisibilityService for Service {
    async fn call(&self, request: VisibilityRequest, deadline: Instant) -> Result<VisibilityResponse, Error> {
        let custom: CustomAttributes = request
            .custom_attributes
            .into_iter()
            .filter_map(|(name, kind)| Some((name, AttributeType::from_number(kind)?)))
            .collect();
        let query = if request.query.trim().is_empty() {
            Query::all()
        } else {
            Query::parse(&request.query, &custom).map_err(|error| Error::InvalidArgument(error.to_string()))?
        };
        let namespace_id = &request.namespace_id;
        let body = match request.ask {
            Some(Ask::List(ask)) => self.list(namespace_id, &query, &custom, ask, deadline).await?,
            Some(Ask::Count(_)) => self.count(namespace_id, &query, deadline).await?,
            None => return Err(Error::Internal("a visibility request without a question".to_owned())),
        };
        Ok(VisibilityResponse { body: body.into() })
    }
}

/// SDKs decode search attributes by their type, which the server tells them.
fn shown(mut info: WorkflowExecutionInfo, custom: &CustomAttributes) -> WorkflowExecutionInfo {
    if let Some(attributes) = &mut info.search_attributes {
        attributes.indexed_fields.retain(|name, value| {
            let kind = base::shown_type(name, &value.data, custom);
            if let Some(kind) = kind {
                value.metadata.insert("type".to_owned(), kind.name().into());
            }
            kind.is_some()
        });
    }
    info
}

fn keyword(name: &str) -> Payload {
    let metadata = [("encoding", "json/plain"), ("type", AttributeType::Keyword.name())];
    Payload {
        metadata: metadata.into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect(),
        data: serde_json::Value::from(name).to_string().into(),
        ..Payload::default()
    }
}
