//! The order of proposals, kept even when Raft refuses one for a moment.
//!
//! openraft refuses writes while its leader has no quorum lease or is handing leadership
//! over, and may accept the next write a microsecond later. The fence would then turn
//! that one, and all that follow it, into no-ops. So within a term this is a go-back-n
//! sender: what was refused, and what was appended out of turn behind it, waits and is
//! submitted again in order, as long as the term lasts.
//!
//! ```text
//! propose ─▶ in flight ─▶ committed in turn ──────▶ Ok
//!               │ ▲  └─▶ committed out of turn ─┐ (a no-op on every replica)
//!       refused ▼ │ again, in order             │
//!              waiting ◀────────────────────────┘
//! term over: waiting ─▶ NotLeader (not applied, never will be), in flight ─▶ Unknown
//! ```

use std::collections::BTreeMap;
use std::future::IntoFuture;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use base::{NodeId, Term};
use futures_util::FutureExt;
use openraft::errors::{ClientWriteError, ForwardReason};
use openraft::raft::ClientWriteResult;
use openraft::rt::WatchReceiver;
use tokio::sync::{Notify, oneshot};

use crate::types::{Command, CommittedLeader, LogId, Outcome, Raft, Receipt, TypeConfig};
use crate::{ProposeError, Proposed};

/// How long refused proposals wait before they are submitted again.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// The most proposals of one group that are in flight or waiting. A proposer that packs
/// what is ready into one proposal needs a handful.
const PROPOSALS_MAX: usize = 1024;

pub(crate) type Reply = Result<Proposed, ProposeError>;

pub(crate) struct Pipeline {
    state: Mutex<State>,
    /// Something waits to be submitted again.
    refused: Notify,
    /// Every proposal has its answer.
    settled: Notify,
    /// See [`crate::Config::planted_ack_before_quorum`].
    planted_ack_before_quorum: bool,
}

#[derive(Default)]
struct State {
    term: Term,
    over: bool,
    /// The sequence number of the newest accepted proposal of the term.
    accepted: u64,
    /// The sequence number of the newest proposal that committed in turn.
    committed: u64,
    /// The highest index that is known to be committed, of any term.
    committed_index: u64,
    in_flight: BTreeMap<u64, Waiting>,
    waiting: BTreeMap<u64, Waiting>,
}

struct Waiting {
    command: Command,
    reply: oneshot::Sender<Reply>,
}

impl State {
    fn begin(&mut self, term: Term) {
        self.end(None);
        *self = Self { term, committed_index: self.committed_index, ..Self::default() };
    }

    fn end(&mut self, leader: Option<NodeId>) {
        self.over = true;
        for waiting in std::mem::take(&mut self.waiting).into_values() {
            drop(waiting.reply.send(Err(ProposeError::NotLeader(self.term, leader))));
        }
        for waiting in std::mem::take(&mut self.in_flight).into_values() {
            drop(waiting.reply.send(Err(ProposeError::Unknown("leadership ended"))));
        }
    }
}

impl Pipeline {
    pub(crate) fn new(planted_ack_before_quorum: bool) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            refused: Notify::new(),
            settled: Notify::new(),
            planted_ack_before_quorum,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while held")
    }

    /// Hands the proposal to Raft, or puts it behind those that wait.
    pub(crate) fn submit(
        self: &Arc<Self>,
        raft: &Raft,
        seq: u64,
        command: Command,
    ) -> Result<oneshot::Receiver<Reply>, ProposeError> {
        let term = Term(command.term);
        let mut state = self.lock();
        if term > state.term {
            state.begin(term);
        }
        let has_room = state.in_flight.len() + state.waiting.len() < PROPOSALS_MAX;
        if term < state.term || state.over || seq != state.accepted + 1 || !has_room {
            return Err(ProposeError::NotLeader(term, None));
        }
        let (reply, result) = oneshot::channel();
        let waiting = Waiting { command, reply };
        if state.waiting.is_empty() {
            self.send(&mut state, raft, seq, waiting)?;
        } else {
            state.waiting.insert(seq, waiting);
        }
        state.accepted = seq;
        Ok(result)
    }

    /// Polls the write once: that is enough to place it in the queue of Raft's core. If
    /// the queue is full the proposal waits.
    fn send(self: &Arc<Self>, state: &mut State, raft: &Raft, seq: u64, waiting: Waiting) -> Result<(), ProposeError> {
        let term = waiting.command.term;
        let ticket = Ticket { pipeline: self.clone(), term: Term(term), seq };
        let write = raft
            .write(waiting.command.clone())
            .with_leader(CommittedLeader::new(term))
            .responder(Receipt(Box::new(ticket)));
        // Raft's core may answer before the poll returns, so the proposal is in its place
        // first, and the core waits for the lock.
        state.in_flight.insert(seq, waiting);
        match tokio::task::unconstrained(write.into_future()).now_or_never() {
            Some(Ok(())) => {
                if self.planted_ack_before_quorum {
                    plant_ack(state, raft, seq);
                }
                Ok(())
            }
            Some(Err(_)) => {
                state.in_flight.remove(&seq);
                Err(ProposeError::Stopped)
            }
            None => {
                let waiting = state.in_flight.remove(&seq).expect("inserted above, and the lock is held");
                state.waiting.insert(seq, waiting);
                self.refused.notify_one();
                Ok(())
            }
        }
    }

    /// Submits waiting proposals again, for ever.
    pub(crate) async fn run(self: Arc<Self>, raft: Raft) {
        loop {
            self.refused.notified().await;
            while !self.lock().waiting.is_empty() {
                tokio::time::sleep(RETRY_INTERVAL).await;
                self.retry(&raft);
            }
        }
    }

    fn retry(self: &Arc<Self>, raft: &Raft) {
        let mut state = self.lock();
        let Some((&first, _)) = state.waiting.first_key_value() else { return };
        // What was sent behind the first refused one is either refused, too, or commits
        // as a no-op. Only then is it known what has to be sent again.
        if state.in_flight.range(first..).next().is_some() {
            return;
        }
        for (seq, waiting) in std::mem::take(&mut state.waiting) {
            if state.waiting.is_empty() {
                if self.send(&mut state, raft, seq, waiting).is_err() {
                    // Raft stopped: whoever watches the role ends the term.
                    tracing::debug!(seq, "Raft stopped while proposals waited");
                }
            } else {
                state.waiting.insert(seq, waiting);
            }
        }
    }

    /// The sequence number that the next proposal of `term` must carry, once every earlier
    /// one has its answer.
    pub(crate) async fn next_seq(&self, term: Term) -> Option<u64> {
        loop {
            let settled = self.settled.notified();
            tokio::pin!(settled);
            settled.as_mut().enable();
            {
                let state = self.lock();
                if state.term < term {
                    return Some(1);
                }
                if state.term > term || state.over {
                    return None;
                }
                if state.in_flight.is_empty() && state.waiting.is_empty() {
                    return Some(state.accepted + 1);
                }
            }
            settled.await;
        }
    }

    /// This node leads `term` no longer.
    pub(crate) fn end_before(&self, term: Term, leader: Option<NodeId>) {
        let mut state = self.lock();
        if state.term < term && !state.over {
            state.end(leader);
            self.settled.notify_waiters();
        }
    }

    pub(crate) fn end(&self, leader: Option<NodeId>) {
        self.lock().end(leader);
        self.settled.notify_waiters();
    }

    /// The highest index known to be committed here.
    pub(crate) fn committed_index(&self) -> u64 {
        self.lock().committed_index
    }

    fn committed(&self, term: Term, seq: u64, at: LogId) {
        let mut state = self.lock();
        state.committed_index = state.committed_index.max(at.index);
        if state.term != term {
            return;
        }
        let Some(waiting) = state.in_flight.remove(&seq) else { return };
        if seq == state.committed + 1 {
            state.committed = seq;
            drop(waiting.reply.send(Ok(Proposed { index: at.index })));
            if state.in_flight.is_empty() {
                self.settled.notify_waiters();
            }
        } else {
            state.waiting.insert(seq, waiting);
            self.refused.notify_one();
        }
    }

    fn failed(&self, term: Term, seq: u64, error: &ClientWriteError<TypeConfig>) {
        let mut state = self.lock();
        if state.term != term {
            return;
        }
        let Some(waiting) = state.in_flight.remove(&seq) else { return };
        let reply = match error {
            ClientWriteError::ForwardToLeader(forward) if forward.reason == ForwardReason::NotLeader => {
                ProposeError::NotLeader(term, forward.leader_id.map(NodeId))
            }
            ClientWriteError::ForwardToLeader(_) => {
                state.waiting.insert(seq, waiting);
                self.refused.notify_one();
                return;
            }
            _ => ProposeError::Unknown("the log entry was discarded"),
        };
        drop(waiting.reply.send(Err(reply)));
    }
}

/// See [`crate::Config::planted_ack_before_quorum`]. The index is a guess at where the
/// entry will stand.
fn plant_ack(state: &mut State, raft: &Raft, seq: u64) {
    let last = raft.metrics().borrow_watched().last_log_index.unwrap_or(0);
    let index = last + state.in_flight.len() as u64;
    if let Some(waiting) = state.in_flight.get_mut(&seq) {
        let reply = std::mem::replace(&mut waiting.reply, oneshot::channel().0);
        drop(reply.send(Ok(Proposed { index })));
    }
}

/// Openraft's end of one submitted proposal. When the core stops it is just dropped; the
/// end of the term answers for it.
struct Ticket {
    pipeline: Arc<Pipeline>,
    term: Term,
    seq: u64,
}

impl Outcome<ClientWriteResult<TypeConfig>> for Ticket {
    fn committed(&mut self, log_id: LogId) {
        self.pipeline.committed(self.term, self.seq, log_id);
    }

    fn completed(self: Box<Self>, result: ClientWriteResult<TypeConfig>) {
        match result {
            Ok(response) => self.pipeline.committed(self.term, self.seq, response.log_id),
            Err(error) => self.pipeline.failed(self.term, self.seq, &error),
        }
    }
}

#[cfg(test)]
impl Pipeline {
    /// Submits three proposals from `first` on, as if Raft had refused the first of them
    /// and taken the other two.
    pub(crate) fn submit_refusing(
        self: &Arc<Self>,
        raft: &Raft,
        first: u64,
        command: impl Fn(u64) -> Command,
    ) -> Vec<oneshot::Receiver<Reply>> {
        let mut state = self.lock();
        let mut replies = Vec::new();
        for seq in first..first + 3 {
            let (reply, result) = oneshot::channel();
            let waiting = Waiting { command: command(seq), reply };
            if seq == first {
                state.waiting.insert(seq, waiting);
                self.refused.notify_one();
            } else {
                self.send(&mut state, raft, seq, waiting).expect("Raft runs");
            }
            state.accepted = seq;
            replies.push(result);
        }
        replies
    }
}
