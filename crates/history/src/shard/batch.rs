//! The batch being put together, and those that are proposed.

use bytes::Bytes;
use storage::Batch;
use tokio::sync::oneshot;

use super::input::{Answer, QueryOutcome, ReplyTo};
use super::update::UpdateNews;
use crate::run::RunKey;
use api::Error;
use execution::workflow::{Errand, Task};

/// An answer that waits for something to be committed or proved.
pub(super) struct Pending {
    pub(super) reply: ReplyTo,
    pub(super) result: Result<Answer, Error>,
    pub(super) proof: Proof,
}

/// What an answer needs beside the commit of what it shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Proof {
    None,
    /// It says how things are, so this node must still be the leader.
    Leadership,
}

/// A task that was handed to a reserved poller in the batch that started it.
pub(super) struct Delivery {
    pub(super) run: RunKey,
    pub(super) scheduled_event_id: i64,
    /// Of its start.
    pub(super) request_id: String,
    pub(super) poller: oneshot::Sender<Bytes>,
    pub(super) response: Bytes,
}

/// What is done once a batch is committed.
#[derive(Default)]
pub(super) struct AfterCommit {
    pub(super) replies: Vec<Pending>,
    pub(super) tasks: Vec<(RunKey, Task)>,
    /// Errands that a scan found in a run that was just written.
    pub(super) found: Vec<(RunKey, Errand)>,
    /// Runs with new events.
    pub(super) changed: Vec<RunKey>,
    pub(super) deliveries: Vec<Delivery>,
    /// Results of queries that rode on a task.
    pub(super) queries: Vec<(oneshot::Sender<QueryOutcome>, QueryOutcome)>,
    pub(super) updates: Vec<UpdateNews>,
}

/// The batch being put together.
#[derive(Default)]
pub(super) struct Building {
    pub(super) batch: Batch,
    pub(super) bytes: usize,
    pub(super) deletions: usize,
    pub(super) after: AfterCommit,
}

impl Building {
    pub(super) fn put(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        let (key, value) = (key.into(), value.into());
        self.bytes += key.len() + value.len();
        self.batch.put(key, value);
    }

    pub(super) fn delete(&mut self, key: impl Into<Bytes>) {
        let key = key.into();
        self.bytes += key.len();
        self.batch.delete(key);
    }

    pub(super) fn delete_prefix(&mut self, prefix: Vec<u8>) {
        let end = crate::table::key::after_prefix(&prefix);
        self.bytes += prefix.len() + end.len();
        self.batch.delete_range(prefix, end);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batch.ops.is_empty()
    }
}

/// A proposed batch.
pub(super) struct InFlight {
    pub(super) seq: u64,
    pub(super) after: AfterCommit,
}
