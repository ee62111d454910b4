//! The users of the simulated cluster: they start workflows, send signals, read histories
//! and write down what they were promised.

use std::cell::Cell;
use std::rc::Rc;
use std::str::FromStr as _;
use std::time::Duration;

use http::Uri;
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use prost::Message;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use temporalio_protos::temporal::api::common::v1::{WorkflowExecution, WorkflowType};
use temporalio_protos::temporal::api::enums::v1::WorkflowIdReusePolicy;
use temporalio_protos::temporal::api::history::v1::HistoryEvent;
use temporalio_protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_protos::temporal::api::workflowservice::v1 as wf;
use tokio::task::LocalSet;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use crate::nemesis::CHAOS;
use crate::program::{NAMESPACE, Program, TASK_QUEUE, programs};
use crate::record::{Event, Record};
use crate::run::{GRPC_PORT, NODES, node_name};
use crate::worker::{self, Worker};

const CALL_TIMEOUT: Duration = Duration::from_secs(3);
const RETRY_PAUSE: Duration = Duration::from_millis(150);
const OBSERVE_PAUSE: Duration = Duration::from_millis(700);
/// Two users try to start each workflow.
const RIVALS: usize = 2;

/// Calls a node drawn at random, over a fresh connection after each failure: a TCP
/// connection of the simulation does not survive a cut link.
pub(crate) struct Client {
    rng: StdRng,
    channels: Vec<Option<Channel>>,
    name: Option<&'static str>,
}

impl Client {
    pub(crate) fn worker(seed: u64) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), channels: vec![None; NODES], name: None }
    }

    /// Under this name a reader is shown nothing that is not written.
    fn user(seed: u64) -> Self {
        Self { name: Some("temporal-cli"), ..Self::worker(seed) }
    }

    pub(crate) async fn call<Req, Res>(&mut self, method: &str, request: Req, timeout: Duration) -> Result<Res, Status>
    where
        Req: Message + 'static,
        Res: Message + Default + 'static,
    {
        let node = self.rng.random_range(0..NODES);
        let channel = self.channels[node].get_or_insert_with(|| channel(node)).clone();
        let result = tokio::time::timeout(timeout, unary(channel, method, request, self.name, timeout)).await;
        let result = result.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")));
        if result.as_ref().is_err_and(|status| !definite(status)) {
            self.channels[node] = None;
        }
        result
    }

    /// The same request again and again, until there is a definite answer.
    async fn insist<Req, Res>(&mut self, method: &str, request: Req) -> Result<Res, Status>
    where
        Req: Message + Clone + 'static,
        Res: Message + Default + 'static,
    {
        loop {
            match self.call(method, request.clone(), CALL_TIMEOUT).await {
                Err(status) if !definite(&status) => tokio::time::sleep(RETRY_PAUSE).await,
                answer => return answer,
            }
        }
    }
}

/// Whether the cluster has decided: neither busy, nor lost, nor late.
fn definite(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::AlreadyExists | Code::NotFound | Code::InvalidArgument | Code::FailedPrecondition | Code::Unimplemented
    )
}

fn channel(node: usize) -> Channel {
    let connector = tower::service_fn(move |_: Uri| async move {
        let stream = turmoil::net::TcpStream::connect((node_name(node), GRPC_PORT)).await?;
        Ok::<_, std::io::Error>(TokioIo::new(stream))
    });
    Endpoint::from_static("http://perpetuo").connect_timeout(CALL_TIMEOUT).connect_with_connector_lazy(connector)
}

async fn unary<Req, Res>(
    channel: Channel,
    method: &str,
    request: Req,
    name: Option<&'static str>,
    timeout: Duration,
) -> Result<Res, Status>
where
    Req: Message + 'static,
    Res: Message + Default + 'static,
{
    let path = format!("/temporal.api.workflowservice.v1.WorkflowService/{method}");
    let path = PathAndQuery::from_str(&path).map_err(|_| Status::internal("malformed path"))?;
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let mut request = Request::new(request);
    request.set_timeout(timeout);
    if let Some(name) = name {
        request.metadata_mut().insert("client-name", MetadataValue::from_static(name));
    }
    Ok(grpc.unary(request, path, ProstCodec::<Req, Res>::default()).await?.into_inner())
}

/// All users and the worker. Sets `done` when every workflow is closed and read.
pub(crate) async fn run(seed: u64, record: Record, done: Rc<Cell<bool>>) -> turmoil::Result {
    let local = LocalSet::new();
    let mut users = Vec::new();
    for (index, program) in programs(seed).into_iter().enumerate() {
        for rival in 0..RIVALS {
            let client = Client::user(seed ^ ((index as u64) << 8) ^ ((rival as u64) << 16) ^ 0x7573_6572);
            users.push(local.spawn_local(user(client, program.clone(), rival, record.clone())));
        }
    }
    for index in 0..2 {
        let worker = Worker::new(seed, index, record.clone());
        local.spawn_local(worker.clone().workflow_tasks(Client::worker(seed ^ 0x7774_0000 ^ index), false));
        local.spawn_local(worker.workflow_tasks(Client::worker(seed ^ 0x7374_0000 ^ index), true));
        local.spawn_local(worker::activity_tasks(Client::worker(seed ^ 0x6174_0000 ^ index), seed, record.clone()));
    }
    local
        .run_until(async {
            for user in users {
                user.await?;
            }
            Ok::<_, tokio::task::JoinError>(())
        })
        .await?;
    done.set(true);
    Ok(())
}

async fn user(mut client: Client, program: Program, rival: usize, record: Record) {
    tokio::time::sleep(program.start_after).await;
    start(&mut client, &program, rival, &record).await;
    if rival == 0 {
        for index in 0..program.signals {
            tokio::time::sleep(program.signal_pause).await;
            signal(&mut client, &program, index, &record).await;
        }
    }
    let mut closed = false;
    let mut denied = false;
    while !denied && (!closed || turmoil::sim_elapsed().unwrap_or_default() < CHAOS) {
        tokio::time::sleep(OBSERVE_PAUSE).await;
        match read(&mut client, &program.workflow_id).await {
            Ok((run_id, events)) => {
                closed = events.last().is_some_and(is_close);
                record.push(Event::Observed { workflow_id: program.workflow_id.clone(), run_id, events });
            }
            Err(status) => denied = deny(&program, &status, &record),
        }
    }
    while !denied {
        match read(&mut client, &program.workflow_id).await {
            Ok((run_id, events)) => {
                record.push(Event::Final { workflow_id: program.workflow_id, run_id, events });
                return;
            }
            Err(status) => denied = deny(&program, &status, &record),
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

/// Whether the answer to a reader denies a workflow that was started.
fn deny(program: &Program, status: &Status, record: &Record) -> bool {
    let denied = definite(status) || matches!(status.code(), Code::Internal | Code::DataLoss);
    if denied {
        let answer = format!("{:?} {}", status.code(), status.message());
        record.push(Event::Denied { workflow_id: program.workflow_id.clone(), answer });
    }
    denied
}

async fn start(client: &mut Client, program: &Program, rival: usize, record: &Record) {
    let request_id = format!("start-{}-{rival}", program.workflow_id);
    let workflow_id = program.workflow_id.clone();
    let request = wf::StartWorkflowExecutionRequest {
        namespace: NAMESPACE.to_owned(),
        workflow_id: workflow_id.clone(),
        workflow_type: Some(WorkflowType { name: "Sim".to_owned() }),
        task_queue: Some(TaskQueue { name: TASK_QUEUE.to_owned(), ..Default::default() }),
        request_id: request_id.clone(),
        workflow_id_reuse_policy: WorkflowIdReusePolicy::RejectDuplicate.into(),
        identity: "sim".to_owned(),
        ..Default::default()
    };
    let answer: Result<wf::StartWorkflowExecutionResponse, _> = client.insist("StartWorkflowExecution", request).await;
    match answer {
        Ok(started) => record.push(Event::StartAcknowledged { workflow_id, request_id, run_id: started.run_id }),
        Err(status) if status.code() == Code::AlreadyExists => {
            record.push(Event::StartRefused { workflow_id, request_id })
        }
        Err(status) => record
            .push(Event::Denied { workflow_id, answer: format!("start: {:?} {}", status.code(), status.message()) }),
    }
}

async fn signal(client: &mut Client, program: &Program, index: usize, record: &Record) {
    let workflow_id = program.workflow_id.clone();
    let name = format!("signal-{index}");
    let request = wf::SignalWorkflowExecutionRequest {
        namespace: NAMESPACE.to_owned(),
        workflow_execution: Some(WorkflowExecution { workflow_id: workflow_id.clone(), run_id: String::new() }),
        signal_name: name.clone(),
        request_id: format!("{workflow_id}-{name}"),
        identity: "sim".to_owned(),
        ..Default::default()
    };
    record.push(Event::SignalInvoked { workflow_id: workflow_id.clone(), name: name.clone() });
    let answer: Result<wf::SignalWorkflowExecutionResponse, _> =
        client.insist("SignalWorkflowExecution", request).await;
    match answer {
        Ok(_) => record.push(Event::SignalAcknowledged { workflow_id, name }),
        // An unacknowledged attempt may have got through and completed the workflow.
        Err(status) if status.code() == Code::NotFound => {
            record.trace(&format!("signal {name} of {workflow_id}: {}", status.message()))
        }
        Err(status) => record
            .push(Event::Denied { workflow_id, answer: format!("signal: {:?} {}", status.code(), status.message()) }),
    }
}

/// The whole history of the current run.
async fn read(client: &mut Client, workflow_id: &str) -> Result<(String, Vec<HistoryEvent>), Status> {
    let describe = wf::DescribeWorkflowExecutionRequest {
        namespace: NAMESPACE.to_owned(),
        execution: Some(WorkflowExecution { workflow_id: workflow_id.to_owned(), run_id: String::new() }),
    };
    let described: wf::DescribeWorkflowExecutionResponse =
        client.call("DescribeWorkflowExecution", describe, CALL_TIMEOUT).await?;
    let execution = described
        .workflow_execution_info
        .and_then(|info| info.execution)
        .ok_or_else(|| Status::internal("an answer without an execution"))?;
    let run_id = execution.run_id.clone();
    Ok((run_id, pages(client, execution, Vec::new()).await?))
}

/// The events from `next_page_token` on, the beginning if it is empty.
pub(crate) async fn pages(
    client: &mut Client,
    execution: WorkflowExecution,
    next_page_token: Vec<u8>,
) -> Result<Vec<HistoryEvent>, Status> {
    let mut request = wf::GetWorkflowExecutionHistoryRequest {
        namespace: NAMESPACE.to_owned(),
        execution: Some(execution),
        next_page_token,
        ..Default::default()
    };
    let mut events = Vec::new();
    loop {
        let page: wf::GetWorkflowExecutionHistoryResponse =
            client.call("GetWorkflowExecutionHistory", request.clone(), CALL_TIMEOUT).await?;
        events.extend(page.history.unwrap_or_default().events);
        if page.next_page_token.is_empty() {
            return Ok(events);
        }
        request.next_page_token = page.next_page_token;
    }
}

pub(crate) fn is_close(event: &HistoryEvent) -> bool {
    use temporalio_protos::temporal::api::enums::v1::EventType as E;
    matches!(
        event.event_type(),
        E::WorkflowExecutionCompleted
            | E::WorkflowExecutionFailed
            | E::WorkflowExecutionTimedOut
            | E::WorkflowExecutionCanceled
            | E::WorkflowExecutionTerminated
            | E::WorkflowExecutionContinuedAsNew
    )
}
