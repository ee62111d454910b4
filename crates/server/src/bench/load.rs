//! The load: a fixed number of loops, each doing one operation after the other.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::{Entropy as _, SystemEntropy};
use temporalio_protos::temporal::api::common::v1::WorkflowType;
use temporalio_protos::temporal::api::enums::v1::HistoryEventFilterType;
use temporalio_protos::temporal::api::history::v1::history_event::Attributes as Event;
use temporalio_protos::temporal::api::workflowservice::v1::{
    GetWorkflowExecutionHistoryRequest, GetWorkflowExecutionHistoryResponse, StartWorkflowExecutionRequest,
    StartWorkflowExecutionResponse, TerminateWorkflowExecutionRequest, TerminateWorkflowExecutionResponse,
};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::Status;

use super::meter::{Meter, Ticket};
use super::remote::Remote;
use super::scenario::{Plan, normal_queue, number, payloads};
use super::signals::Targets;
use super::verify::Verdict;

/// A little more than the server's own history long poll.
const LONG_POLL_TIMEOUT: Duration = Duration::from_secs(30);
/// Between attempts after a failed long poll.
const LONG_POLL_BACKOFF: Duration = Duration::from_millis(100);

pub(super) struct Load {
    pub(super) remote: Arc<Remote>,
    pub(super) meter: Arc<Meter>,
    plan: Plan,
    pub(super) timeout: Duration,
    pub(super) targets: Targets,
    /// Workflows whose fate is unknown to us: an operation on them failed.
    failed: Mutex<BTreeSet<u64>>,
    terminated: AtomicU64,
    verdict: Mutex<Verdict>,
}

impl Load {
    pub(super) fn new(
        remote: Arc<Remote>,
        meter: Arc<Meter>,
        plan: Plan,
        timeout: Duration,
        signals_per_workflow: u64,
    ) -> Self {
        Self {
            remote,
            meter,
            plan,
            timeout,
            targets: Targets::new(signals_per_workflow),
            failed: Mutex::default(),
            terminated: AtomicU64::new(0),
            verdict: Mutex::default(),
        }
    }

    /// Runs until the meter has issued enough and everything issued has ended.
    pub(super) async fn drive(self: Arc<Self>, in_flight: u32) {
        let mut loops = JoinSet::new();
        for _ in 0..in_flight {
            let load = Arc::clone(&self);
            loops.spawn(async move {
                while let Some(ticket) = load.meter.next() {
                    load.operate(ticket).await;
                }
            });
        }
        while loops.join_next().await.is_some() {}
    }

    async fn operate(&self, ticket: Ticket) {
        let begun = Instant::now();
        let deadline = begun + self.timeout;
        let done = match self.plan {
            Plan::Signals => self.signal(ticket.number, deadline).await,
            Plan::Nothing => self.start(ticket.number, deadline).await,
            Plan::Activities { .. } | Plan::Timer { .. } => self.round_trip(ticket.number, deadline).await,
        };
        match done {
            Ok(()) => self.meter.complete(ticket, begun.elapsed()),
            Err(status) => self.fail(self.workflow_of(ticket.number), &status),
        }
    }

    /// How many workflows there are to verify: each has a number below this.
    pub(super) fn issued(&self) -> u64 {
        match self.plan {
            Plan::Signals => self.targets.count(),
            _ => self.meter.issued(),
        }
    }

    /// How many workflows should have completed.
    pub(super) fn workflows(&self) -> u64 {
        if self.plan == Plan::Nothing { 0 } else { self.issued() - self.failed().len() as u64 }
    }

    pub(super) fn failed(&self) -> BTreeSet<u64> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends what the scenario leaves open, and returns what was found wrong on the way.
    pub(super) async fn finish(&self) -> Verdict {
        if self.plan == Plan::Signals {
            self.finish_targets().await;
        }
        std::mem::take(&mut self.verdict.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn problem(&self, problem: String) {
        self.verdict.lock().unwrap_or_else(PoisonError::into_inner).problem(problem);
    }

    pub(super) fn fail(&self, workflow: u64, status: &Status) {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).insert(workflow);
        let mut verdict = self.verdict.lock().unwrap_or_else(PoisonError::into_inner);
        verdict.failed_operations += 1;
        verdict.problem(format!("{}: {:?}: {}", self.remote.workflow_id(workflow), status.code(), status.message()));
    }

    fn workflow_of(&self, number: u64) -> u64 {
        if self.plan == Plan::Signals { self.targets.workflow_of(number) } else { number }
    }

    pub(super) async fn start(&self, workflow: u64, deadline: Instant) -> Result<(), Status> {
        let request = StartWorkflowExecutionRequest {
            namespace: self.remote.namespace.clone(),
            workflow_id: self.remote.workflow_id(workflow),
            workflow_type: Some(WorkflowType { name: "bench".to_owned() }),
            task_queue: Some(normal_queue(&self.remote.queue())),
            input: Some(payloads(seed(workflow))),
            identity: self.remote.identity(),
            request_id: SystemEntropy.uuid(),
            ..Default::default()
        };
        let _: StartWorkflowExecutionResponse =
            self.remote.persist("StartWorkflowExecution", request, deadline).await?;
        Ok(())
    }

    async fn round_trip(&self, workflow: u64, deadline: Instant) -> Result<(), Status> {
        self.start(workflow, deadline).await?;
        let result = self.result(workflow, deadline).await?;
        let expected = self.plan.expected(seed(workflow));
        if result != Some(expected) {
            self.problem(format!("{} ended with {result:?} instead of {expected}", self.remote.workflow_id(workflow)));
        }
        Ok(())
    }

    /// Waits for the end; `None` when it was no completion.
    pub(super) async fn result(&self, workflow: u64, deadline: Instant) -> Result<Option<i64>, Status> {
        let mut request = GetWorkflowExecutionHistoryRequest {
            namespace: self.remote.namespace.clone(),
            execution: Some(self.remote.execution(workflow)),
            wait_new_event: true,
            history_event_filter_type: HistoryEventFilterType::CloseEvent.into(),
            ..Default::default()
        };
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Status::deadline_exceeded("the workflow did not end in time"));
            }
            let polled: Result<GetWorkflowExecutionHistoryResponse, Status> =
                self.remote.once("GetWorkflowExecutionHistory", request.clone(), left.min(LONG_POLL_TIMEOUT)).await;
            match polled {
                Ok(page) => {
                    let events = page.history.unwrap_or_default().events;
                    if let Some(event) = events.into_iter().next_back() {
                        return Ok(match event.attributes {
                            Some(Event::WorkflowExecutionCompletedEventAttributes(done)) => {
                                Some(number(done.result.as_ref()))
                            }
                            _ => None,
                        });
                    }
                    request.next_page_token = page.next_page_token;
                }
                Err(_) => tokio::time::sleep(LONG_POLL_BACKOFF).await,
            }
        }
    }

    /// Cleans up after `start`, as well as it goes.
    pub(super) async fn terminate_all(self: &Arc<Self>, in_flight: u32) {
        let mut loops = JoinSet::new();
        for _ in 0..in_flight {
            let load = Arc::clone(self);
            loops.spawn(async move {
                loop {
                    let workflow = load.terminated.fetch_add(1, Ordering::Relaxed);
                    if workflow >= load.issued() {
                        return;
                    }
                    let request = TerminateWorkflowExecutionRequest {
                        namespace: load.remote.namespace.clone(),
                        workflow_execution: Some(load.remote.execution(workflow)),
                        reason: "the bench is over".to_owned(),
                        identity: load.remote.identity(),
                        ..Default::default()
                    };
                    let _: Result<TerminateWorkflowExecutionResponse, Status> =
                        load.remote.persist("TerminateWorkflowExecution", request, Instant::now() + load.timeout).await;
                }
            });
        }
        while loops.join_next().await.is_some() {}
    }
}

fn seed(workflow: u64) -> i64 {
    i64::try_from(workflow).unwrap_or(i64::MAX)
}
