//! The `signals` scenario: every signal carries a number of its own to the workflow whose
//! turn it is; at the end each workflow answers with the sum of what reached it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use base::{Entropy as _, SystemEntropy};
use temporalio_protos::temporal::api::workflowservice::v1::{
    SignalWorkflowExecutionRequest, SignalWorkflowExecutionResponse,
};
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tonic::Status;

use super::load::Load;
use super::scenario::{SIGNAL_ADD, SIGNAL_FINISH, payloads};

/// A workflow that is signalled.
#[derive(Default)]
struct Target {
    started: OnceCell<()>,
    /// Of the numbers whose signals were acknowledged.
    sum: AtomicI64,
}

/// The workflows signalled so far.
pub(super) struct Targets {
    signals_per_workflow: u64,
    targets: Mutex<BTreeMap<u64, Arc<Target>>>,
}

impl Targets {
    pub(super) fn new(signals_per_workflow: u64) -> Self {
        Self { signals_per_workflow, targets: Mutex::default() }
    }

    pub(super) fn workflow_of(&self, signal: u64) -> u64 {
        signal / self.signals_per_workflow
    }

    pub(super) fn count(&self) -> u64 {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner).len() as u64
    }

    fn target(&self, workflow: u64) -> Arc<Target> {
        Arc::clone(self.targets.lock().unwrap_or_else(PoisonError::into_inner).entry(workflow).or_default())
    }

    fn all(&self) -> Vec<(u64, Arc<Target>)> {
        let targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        targets.iter().map(|(workflow, target)| (*workflow, Arc::clone(target))).collect()
    }
}

impl Load {
    /// Sends signal `number`; the first one to a workflow starts it.
    pub(super) async fn signal(&self, number: u64, deadline: Instant) -> Result<(), Status> {
        let workflow = self.targets.workflow_of(number);
        let target = self.targets.target(workflow);
        target.started.get_or_try_init(|| self.start(workflow, deadline)).await?;
        // Not from zero: a lost first signal must show.
        let value = i64::try_from(number).unwrap_or(i64::MAX).saturating_add(1);
        self.send(workflow, SIGNAL_ADD, value, deadline).await?;
        target.sum.fetch_add(value, Ordering::Relaxed);
        Ok(())
    }

    /// Ends every workflow and compares its sum with ours.
    pub(super) async fn finish_targets(&self) {
        for (workflow, target) in self.targets.all() {
            let deadline = Instant::now() + self.timeout;
            let ended = match self.send(workflow, SIGNAL_FINISH, 0, deadline).await {
                Ok(()) => self.result(workflow, deadline).await,
                Err(status) => Err(status),
            };
            let expected = target.sum.load(Ordering::Relaxed);
            match ended {
                Err(status) => self.fail(workflow, &status),
                // After a failed signal the sum may rightly be another.
                Ok(_) if self.failed().contains(&workflow) => {}
                Ok(result) if result == Some(expected) => {}
                Ok(result) => self.problem(format!(
                    "{} ended with {result:?} instead of {expected}",
                    self.remote.workflow_id(workflow)
                )),
            }
        }
    }

    async fn send(&self, workflow: u64, name: &str, value: i64, deadline: Instant) -> Result<(), Status> {
        let request = SignalWorkflowExecutionRequest {
            namespace: self.remote.namespace.clone(),
            workflow_execution: Some(self.remote.execution(workflow)),
            signal_name: name.to_owned(),
            input: Some(payloads(value)),
            identity: self.remote.identity(),
            request_id: SystemEntropy.uuid(),
            ..Default::default()
        };
        let _: SignalWorkflowExecutionResponse =
            self.remote.persist("SignalWorkflowExecution", request, deadline).await?;
        Ok(())
    }
}
