//! The users of the simulated cluster: they start workflows, interfere with them, read
//! histories and write down what they were promised.

mod requests;
mod stories;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use temporalio_protos::temporal::api::common::v1::WorkflowExecution;
use temporalio_protos::temporal::api::history::v1::HistoryEvent;
use temporalio_protos::temporal::api::workflowservice::v1 as wf;
use tokio::task::LocalSet;
use tonic::{Code, Status};

use crate::client::{CALL_TIMEOUT, Client, RETRY_PAUSE, definite, is_close, pages};
use crate::nemesis::CHAOS;
use crate::program::{NAMESPACE, Script};
use crate::record::{Event, Record};
use crate::worker::{self, Worker};

const OBSERVE_PAUSE: Duration = Duration::from_millis(700);
/// Two users try to start each workflow.
const RIVALS: usize = 2;
const WORKERS: u64 = 2;

/// One user and what it writes to.
pub(super) struct User {
    client: Client,
    record: Record,
}

/// All users and the workers. Sets `done` when every workflow is closed and read.
pub(crate) async fn run(seed: u64, record: Record, done: Rc<Cell<bool>>) -> turmoil::Result {
    let local = LocalSet::new();
    let script = Rc::new(Script::new(seed));
    let mut count = 0;
    let mut user = || {
        count += 1;
        User { client: Client::user(seed ^ (count << 8) ^ 0x7573_6572), record: record.clone() }
    };
    let mut users = Vec::new();
    for program in &script.programs {
        for rival in 0..RIVALS {
            users.push(local.spawn_local(user().works(program.clone(), rival)));
        }
    }
    for rival in 0..RIVALS {
        users.push(local.spawn_local(user().updates(Rc::clone(&script), rival)));
        users.push(local.spawn_local(user().joins(Rc::clone(&script), rival)));
    }
    users.push(local.spawn_local(user().has_children(Rc::clone(&script))));
    users.push(local.spawn_local(user().cancels(Rc::clone(&script))));
    users.push(local.spawn_local(user().terminates(Rc::clone(&script))));
    users.push(local.spawn_local(user().resets(Rc::clone(&script))));
    for index in 0..WORKERS {
        let worker = Worker::new(seed, index, Rc::clone(&script), record.clone());
        local.spawn_local(worker.clone().workflow_tasks(Client::worker(seed ^ 0x7774_0000 ^ index), false));
        local.spawn_local(worker.workflow_tasks(Client::worker(seed ^ 0x7374_0000 ^ index), true));
        let client = Client::worker(seed ^ 0x6174_0000 ^ index);
        local.spawn_local(worker::activity_tasks(client, Rc::clone(&script), record.clone()));
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

impl User {
    /// Reads until the workflow is closed and nothing breaks any more, then for the last
    /// time. Says whether it is still there.
    async fn follow(&mut self, workflow_id: &str) -> bool {
        let mut closed = false;
        while !closed || turmoil::sim_elapsed().unwrap_or_default() < CHAOS {
            tokio::time::sleep(OBSERVE_PAUSE).await;
            match self.read(workflow_id).await {
                Ok((run_id, events)) => {
                    closed = events.last().is_some_and(is_close);
                    self.record.push(Event::Observed { workflow_id: workflow_id.to_owned(), run_id, events });
                }
                Err(status) if self.denies(workflow_id, &status) => return false,
                Err(_) => {}
            }
        }
        self.conclude(workflow_id, "").await
    }

    /// Writes down what is left of a run, the current one if `run_id` is empty.
    async fn conclude(&mut self, workflow_id: &str, run_id: &str) -> bool {
        loop {
            let read = match run_id {
                "" => self.read(workflow_id).await,
                run_id => self.read_run(workflow_id, run_id).await.map(|events| (run_id.to_owned(), events)),
            };
            match read {
                Ok((run_id, events)) => {
                    self.record.push(Event::Final { workflow_id: workflow_id.to_owned(), run_id, events });
                    return true;
                }
                Err(status) if self.denies(workflow_id, &status) => return false,
                Err(_) => tokio::time::sleep(RETRY_PAUSE).await,
            }
        }
    }

    /// Whether the answer to a reader denies a workflow that was started.
    fn denies(&self, workflow_id: &str, status: &Status) -> bool {
        let denied = definite(status) || matches!(status.code(), Code::Internal | Code::DataLoss);
        if denied {
            self.denied(workflow_id, "read", status);
        }
        denied
    }

    fn denied(&self, workflow_id: &str, what: &str, status: &Status) {
        let answer = format!("{what}: {:?} {}", status.code(), status.message());
        self.record.push(Event::Denied { workflow_id: workflow_id.to_owned(), answer });
    }

    /// The whole history of the current run.
    async fn read(&mut self, workflow_id: &str) -> Result<(String, Vec<HistoryEvent>), Status> {
        let describe = wf::DescribeWorkflowExecutionRequest {
            namespace: NAMESPACE.to_owned(),
            execution: Some(WorkflowExecution { workflow_id: workflow_id.to_owned(), run_id: String::new() }),
        };
        let described: wf::DescribeWorkflowExecutionResponse =
            self.client.call("DescribeWorkflowExecution", describe, CALL_TIMEOUT).await?;
        let execution = described
            .workflow_execution_info
            .and_then(|info| info.execution)
            .ok_or_else(|| Status::internal("an answer without an execution"))?;
        let events = self.read_run(workflow_id, &execution.run_id).await?;
        Ok((execution.run_id, events))
    }

    async fn read_run(&mut self, workflow_id: &str, run_id: &str) -> Result<Vec<HistoryEvent>, Status> {
        let execution = WorkflowExecution { workflow_id: workflow_id.to_owned(), run_id: run_id.to_owned() };
        pages(&mut self.client, execution, Vec::new()).await
    }
}
