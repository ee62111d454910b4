//! The server under load: some connections to each address, taken in turn; errors counted
//! by method and code; retries as an SDK does them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prost::Message;
use temporalio_protos::temporal::api::common::v1::WorkflowExecution;
use temporalio_protos::temporal::api::history::v1::HistoryEvent;
use temporalio_protos::temporal::api::workflowservice::v1::{
    GetSystemInfoRequest, GetSystemInfoResponse, GetWorkflowExecutionHistoryRequest,
    GetWorkflowExecutionHistoryResponse,
};
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::client::Client;

/// How long one attempt may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Waits between attempts: doubling, within these.
const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

pub(super) struct Remote {
    clients: Vec<Client>,
    turn: AtomicUsize,
    pub namespace: String,
    /// Names of everything this run makes begin with it.
    pub prefix: String,
    errors: Mutex<BTreeMap<String, u64>>,
}

impl Remote {
    pub(super) fn new(addresses: &[String], connections: u32, namespace: &str, prefix: &str) -> anyhow::Result<Self> {
        let mut clients = Vec::new();
        for _ in 0..connections {
            for address in addresses {
                clients.push(Client::lazy(address)?);
            }
        }
        Ok(Self {
            clients,
            turn: AtomicUsize::new(0),
            namespace: namespace.to_owned(),
            prefix: prefix.to_owned(),
            errors: Mutex::default(),
        })
    }

    pub(super) fn identity(&self) -> String {
        self.prefix.clone()
    }

    pub(super) fn queue(&self) -> String {
        format!("{}-queue", self.prefix)
    }

    pub(super) fn workflow_id(&self, number: u64) -> String {
        format!("{}-{number}", self.prefix)
    }

    pub(super) fn execution(&self, number: u64) -> WorkflowExecution {
        WorkflowExecution { workflow_id: self.workflow_id(number), run_id: String::new() }
    }

    /// Errors by `Method: Code`.
    pub(super) fn errors(&self) -> BTreeMap<String, u64> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until the server answers at all.
    pub(super) async fn reach(&self, patience: Duration) -> Result<(), Status> {
        let _: GetSystemInfoResponse =
            self.persist("GetSystemInfo", GetSystemInfoRequest::default(), Instant::now() + patience).await?;
        // Being there late is no error of the server.
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(())
    }

    /// One attempt at the next connection.
    pub(super) async fn once<Req, Res>(&self, method: &str, request: Req, timeout: Duration) -> Result<Res, Status>
    where
        Req: Message + 'static,
        Res: Message + Default + 'static,
    {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let client = &self.clients[turn % self.clients.len()];
        // Boxed: a call's state is large, and it is held by futures of futures.
        let result = Box::pin(client.workflow(method, request, timeout)).await;
        if let Err(status) = &result {
            let name = format!("{method}: {:?}", status.code());
            *self.errors.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default() += 1;
        }
        result
    }

    /// Tries until the deadline, as long as trying again can help. The request must be safe
    /// to repeat (by its request id, or by nature).
    pub(super) async fn persist<Req, Res>(&self, method: &str, request: Req, deadline: Instant) -> Result<Res, Status>
    where
        Req: Message + Clone + 'static,
        Res: Message + Default + 'static,
    {
        let mut backoff = BACKOFF_MIN;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let result = self.once(method, request.clone(), left.min(CALL_TIMEOUT)).await;
            match result {
                Err(status) if retryable(status.code()) && Instant::now() + backoff < deadline => {
                    tokio::time::sleep(backoff).await;
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                }
                result => return result,
            }
        }
    }

    /// All events from the page that `token` names; from the first one when it is empty.
    pub(super) async fn history(
        &self,
        execution: &WorkflowExecution,
        mut token: Vec<u8>,
        deadline: Instant,
    ) -> Result<Vec<HistoryEvent>, Status> {
        let mut events = Vec::new();
        loop {
            let request = GetWorkflowExecutionHistoryRequest {
                namespace: self.namespace.clone(),
                execution: Some(execution.clone()),
                next_page_token: token,
                ..Default::default()
            };
            let page: GetWorkflowExecutionHistoryResponse =
                self.persist("GetWorkflowExecutionHistory", request, deadline).await?;
            events.extend(page.history.unwrap_or_default().events);
            token = page.next_page_token;
            if token.is_empty() {
                return Ok(events);
            }
        }
    }
}

fn retryable(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Aborted
            | Code::ResourceExhausted
            | Code::Internal
            | Code::Unknown
    )
}
