//! The one loop of a shard while this node leads it in one term.
//!
//! ```text
//! inputs ─▶ evaluate ─▶ building ──propose──▶ in flight ──commit──▶ replies, tasks, readers
//! due timers ─┘             (≤ pipeline_depth)               └─▶ applied: cache entries may go
//! ```
//! It ends with the term, with a proposal that was not committed, or with a store that
//! fails; everything it knew ends with it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::mem;
use std::sync::Arc;

use api::Error;
use base::{Term, Timestamp};
use consensus::{Fence, Proposal, ProposeError, Proposed, Role};
use execution::workflow::{FreshIds, Task};
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesOrdered, FuturesUnordered, StreamExt};
use storage::KvError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Context;
use super::batch::{AfterCommit, Building, InFlight, Pending, Proof};
use super::cache::Cache;
use super::dispatch::Dispatch;
use super::errands::{Errands, Origin};
use super::input::{Answer, Input, ReplyTo};
use super::limits::NamespaceLimits;
use super::query::BufferedQuery;
use super::reclaim::Reclaim;
use super::scan::CellScan;
use super::timers::{TimerError, Timers};
use super::update::{UpdateNews, Updates};
use crate::error;
use crate::run::RunKey;

/// The clock is looked at again at least this often, so that a jump of it is noticed.
const SLEEP_MAX: std::time::Duration = std::time::Duration::from_secs(1);

/// Why a term ended.
pub(super) enum Stop {
    Shutdown,
    Role,
    Propose(ProposeError),
    Store(KvError),
    Corrupt(&'static str),
}

/// How a term ended here.
pub(super) struct Ended {
    pub(super) stop: Stop,
    /// Where the sequence of the term goes on, if that is known.
    pub(super) next_seq: Option<u64>,
    /// Only for [`Leader::plant`].
    pub(super) cache: Cache,
}

/// Why a request could not be answered as asked.
pub(super) enum Fault {
    Caller(Error),
    Stop(Stop),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Caller(error)
    }
}

impl From<KvError> for Fault {
    fn from(error: KvError) -> Self {
        Self::Stop(Stop::Store(error))
    }
}

impl From<KvError> for Stop {
    fn from(error: KvError) -> Self {
        Self::Store(error)
    }
}

impl From<TimerError> for Stop {
    fn from(error: TimerError) -> Self {
        match error {
            TimerError::Store(error) => Self::Store(error),
            TimerError::Key => Self::Corrupt("a key of the TIMER table"),
        }
    }
}

type Commit = BoxFuture<'static, Result<Proposed, ProposeError>>;
type Barrier = BoxFuture<'static, (Result<(), ProposeError>, Vec<Pending>)>;

pub(super) struct Leader {
    pub(super) context: Arc<Context>,
    pub(super) term: Term,
    pub(super) cache: Cache,
    pub(super) timers: Timers,
    pub(super) dispatch: Dispatch,
    pub(super) errands: Errands,
    // Ordered, so that callers are woken in one order when a term ends.
    pub(super) queries: BTreeMap<RunKey, Vec<BufferedQuery>>,
    pub(super) waiters: BTreeMap<RunKey, Vec<oneshot::Sender<()>>>,
    pub(super) limits: NamespaceLimits,
    pub(super) reclaim: Reclaim,
    pub(super) updates: Updates,
    pub(super) building: Building,
    /// The sequence number of `building`.
    pub(super) next_seq: u64,
    pub(super) committed_seq: u64,
    pub(super) applied_seq: u64,
    /// Sequence and log index of batches that are committed but not known to be applied.
    unapplied: VecDeque<(u64, u64)>,
    in_flight: VecDeque<InFlight>,
    commits: FuturesOrdered<Commit>,
    barriers: FuturesUnordered<Barrier>,
    /// Answers that show only committed state.
    ready: Vec<Pending>,
    /// Runs with tasks that are still to be offered, by a scan.
    pending_scan: Option<CellScan>,
    /// Until then workflow tasks that a scan finds are left to the workers that may have them.
    patient_until: Instant,
    /// Such tasks were left.
    left_some: bool,
    now: Timestamp,
    /// Runs written since the last check, if anybody checks.
    pub(super) written: BTreeSet<RunKey>,
    /// Of the request being evaluated: the last proposal whose effects its answer shows.
    pub(super) depends: u64,
    /// Of the request being evaluated: it added to the batch.
    pub(super) wrote: bool,
    /// Of the request being evaluated: it changed state that only the leader has.
    pub(super) is_soft: bool,
}

impl Leader {
    /// `next_seq` is 1 at the start of the term.
    pub(super) fn new(context: Arc<Context>, term: Term, next_seq: u64) -> Self {
        let config = &context.config;
        Self {
            term,
            cache: Cache::new(config),
            timers: Timers::new(context.cells, config.timer_window, config.timers_max),
            dispatch: Dispatch::new(),
            errands: Errands::default(),
            queries: BTreeMap::new(),
            waiters: BTreeMap::new(),
            limits: NamespaceLimits::new(config.limits.clone()),
            reclaim: Reclaim::default(),
            updates: BTreeMap::new(),
            building: Building::default(),
            next_seq,
            committed_seq: next_seq - 1,
            applied_seq: next_seq - 1,
            unapplied: VecDeque::new(),
            in_flight: VecDeque::new(),
            commits: FuturesOrdered::new(),
            barriers: FuturesUnordered::new(),
            ready: Vec::new(),
            pending_scan: Some(CellScan::new(context.cells)),
            patient_until: Instant::now() + config.adoption_window,
            left_some: false,
            now: Timestamp::ZERO,
            written: BTreeSet::new(),
            depends: 0,
            wrote: false,
            is_soft: false,
            context,
        }
    }

    /// See [`crate::Config::planted_forget_fence`].
    pub(super) fn plant(&mut self, mut cache: Cache) {
        cache.forget_term();
        self.cache = cache;
    }

    pub(super) async fn run(mut self, mut inputs: mpsc::Receiver<Input>, shutdown: &CancellationToken) -> Ended {
        let stop = self.turns(&mut inputs, shutdown).await;
        let next_seq = match stop {
            Stop::Store(_) | Stop::Corrupt(_) => self.finish_commits().await.then_some(self.next_seq),
            Stop::Shutdown | Stop::Role | Stop::Propose(_) => None,
        };
        let cache = mem::replace(&mut self.cache, Cache::new(&self.context.config));
        self.fail(inputs);
        Ended { stop, next_seq, cache }
    }

    /// Waits for what is in flight. Says whether all of it was committed; then it is in the
    /// KV, too, where the next loop of the term looks for it.
    async fn finish_commits(&mut self) -> bool {
        while let Some(commit) = self.commits.next().await {
            if self.on_commit(commit).is_err() {
                return false;
            }
        }
        if let Some((_, index)) = self.unapplied.back() {
            self.context.group.applied(*index).await;
        }
        true
    }

    async fn turns(&mut self, inputs: &mut mpsc::Receiver<Input>, shutdown: &CancellationToken) -> Stop {
        let mut role = self.context.group.role();
        let mut members = self.context.router.membership_version();
        let mut namespaces = self.context.namespaces.version();
        let mut pulled = Vec::with_capacity(self.context.config.batch_inputs_max);
        loop {
            let wake = match self.turn(&mut pulled) {
                Ok(wake) => wake,
                Err(stop) => return stop,
            };
            let is_leading = |role: &Role| matches!(role, Role::Leader { term, ready: true } if *term == self.term);
            if !is_leading(&role.borrow()) {
                return Stop::Role;
            }
            let may_pull = self.in_flight.len() < self.context.config.pipeline_depth;
            let pull_max = self.context.config.batch_inputs_max;
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Stop::Shutdown,
                changed = role.changed() => if changed.is_err() { return Stop::Role },
                Some(commit) = self.commits.next(), if !self.commits.is_empty() => {
                    if let Err(stop) = self.on_commit(commit) {
                        return stop;
                    }
                }
                Some((result, answers)) = self.barriers.next(), if !self.barriers.is_empty() => {
                    proved(&result, answers);
                }
                Some(offered) = self.dispatch.offers.next(), if !self.dispatch.offers.is_empty() => {
                    self.dispatch.on_offered(offered, &self.context);
                }
                Some(tried) = self.errands.tries.next(), if !self.errands.tries.is_empty() => {
                    if let Err(stop) = self.on_errand_tried(tried) {
                        return stop;
                    }
                }
                Ok(()) = members.changed() => {
                    self.dispatch.forget_accepted();
                    self.pending_scan = Some(CellScan::new(self.context.cells));
                }
                Ok(()) = namespaces.changed() => self.reclaim.wake(),
                _ = inputs.recv_many(&mut pulled, pull_max), if may_pull => {}
                () = sleep_until(wake) => {}
            }
        }
    }

    /// Everything that can be done now. Returns when to look again at the latest.
    fn turn(&mut self, pulled: &mut Vec<Input>) -> Result<Option<Instant>, Stop> {
        self.note_applied();
        self.verify().or_else(|fault| match fault {
            Fault::Stop(stop) => Err(stop),
            Fault::Caller(_) => Ok(()),
        })?;
        let mut has_more = false;
        for input in pulled.drain(..) {
            self.evaluate(input)?;
            if self.building.bytes >= self.context.config.batch_bytes_max {
                self.propose();
            }
        }
        if self.in_flight.len() < self.context.config.pipeline_depth {
            let now = self.read_clock();
            has_more |= self.timers.scan_slice(&*self.context.kv, now)?;
            if self.left_some && self.pending_scan.is_none() && Instant::now() >= self.patient_until {
                self.left_some = false;
                self.pending_scan = Some(CellScan::new(self.context.cells));
            }
            has_more |= self.scan_pending()?;
            has_more |= self.fire_due()?;
            self.send_errands()?;
            has_more |= self.reclaim()?;
        }
        self.propose();
        self.flush_ready();
        self.dispatch.pump(&self.context);
        if self.dispatch.take_lost() {
            self.dispatch.forget_accepted();
            self.pending_scan = Some(CellScan::new(self.context.cells));
        }
        let overflowed = self.dispatch.take_overflow(self.context.config.dispatch_tasks_max)
            | self.errands.take_overflow(self.context.config.errands_max);
        if overflowed && self.pending_scan.is_none() {
            self.pending_scan = Some(CellScan::new(self.context.cells));
        }
        self.cache.evict(self.applied_seq);
        Ok(if has_more { None } else { Some(self.next_wake()) })
    }

    fn evaluate(&mut self, input: Input) -> Result<(), Stop> {
        let Input { ask, reply } = input;
        if reply.is_closed() {
            // Nobody waits for it any more, and nothing was promised.
            return Ok(());
        }
        self.begin();
        match self.answer(ask) {
            Ok(answer) => self.settle(reply, Ok(answer)),
            Err(Fault::Caller(error)) => self.settle(reply, Err(error)),
            Err(Fault::Stop(stop)) => {
                let _ = reply.send(Err(Error::Unavailable("shard is restarting".into())));
                return Err(stop);
            }
        }
        Ok(())
    }

    /// Starts the books of one request.
    pub(super) fn begin(&mut self) {
        self.depends = 0;
        self.wrote = false;
        self.is_soft = false;
    }

    /// Answers once everything that the answer shows is committed.
    fn settle(&mut self, reply: ReplyTo, result: Result<Answer, Error>) {
        let proof = if self.wrote || self.is_soft { Proof::None } else { Proof::Leadership };
        let pending = Pending { reply, result, proof };
        if self.depends <= self.committed_seq {
            self.ready.push(pending);
        } else {
            self.after(self.depends).replies.push(pending);
        }
    }

    /// What is done after the proposal `seq` is committed; it is not yet.
    pub(super) fn after(&mut self, seq: u64) -> &mut AfterCommit {
        if seq == self.next_seq {
            return &mut self.building.after;
        }
        let index = usize::try_from(seq - self.committed_seq - 1).expect("only a few are in flight");
        &mut self.in_flight[index].after
    }

    pub(super) fn propose(&mut self) {
        if self.building.is_empty() {
            // Soft decisions have nothing to wait for.
            let after = mem::take(&mut self.building.after);
            self.act(after);
            return;
        }
        let Building { batch, after, .. } = mem::take(&mut self.building);
        let fence = Fence { term: self.term, seq: self.next_seq, shard_epoch: self.context.group.shard_epoch() };
        self.commits.push_back(Box::pin(self.context.group.propose(Proposal { fence, batch })));
        self.in_flight.push_back(InFlight { seq: self.next_seq, after });
        self.next_seq += 1;
    }

    fn on_commit(&mut self, commit: Result<Proposed, ProposeError>) -> Result<(), Stop> {
        let proposed = commit.map_err(Stop::Propose)?;
        let InFlight { seq, after } = self.in_flight.pop_front().expect("one commit for each proposal");
        self.committed_seq = seq;
        self.unapplied.push_back((seq, proposed.index));
        self.act(after);
        Ok(())
    }

    /// The effects of what is committed now.
    fn act(&mut self, after: AfterCommit) {
        let AfterCommit { replies, tasks, found, changed, deliveries, queries, updates } = after;
        self.ready.extend(replies);
        for (run, task) in tasks {
            self.push_task(&run, &task, Origin::Decided);
        }
        for (run, errand) in found {
            self.push_task(&run, &Task::Errand(errand), Origin::Found);
        }
        for run in changed {
            // Dropping the other end wakes the reader.
            self.waiters.remove(&run);
        }
        for delivery in deliveries {
            self.deliver(delivery);
        }
        for (query, outcome) in queries {
            // The asking task may have given up.
            let _ = query.send(outcome);
        }
        for UpdateNews { waiting, progress } in updates {
            waiting.send_replace(progress);
        }
    }

    fn push_task(&mut self, run: &RunKey, task: &Task, origin: Origin) {
        let config = &self.context.config;
        match task {
            Task::Errand(errand) => self.errands.push(run, *errand, origin, config.errands_max),
            task => self.dispatch.push(run, task, config.dispatch_tasks_max),
        }
    }

    /// Sends what needs no proof, and asks for one proof of leadership for all the rest.
    fn flush_ready(&mut self) {
        let mut unproved = Vec::new();
        for pending in self.ready.drain(..) {
            match pending.proof {
                Proof::None => {
                    let _ = pending.reply.send(pending.result);
                }
                Proof::Leadership => unproved.push(pending),
            }
        }
        if !unproved.is_empty() {
            let (group, term) = (self.context.group.clone(), self.term);
            self.barriers.push(Box::pin(async move { (group.read_barrier(term).await, unproved) }));
        }
    }

    fn note_applied(&mut self) {
        if self.unapplied.is_empty() {
            return;
        }
        let applied_index = self.context.group.status().applied_index;
        while let Some((seq, index)) = self.unapplied.front()
            && *index <= applied_index
        {
            self.applied_seq = *seq;
            self.unapplied.pop_front();
        }
        self.timers.applied(self.applied_seq);
    }

    /// Never goes back within a term.
    pub(super) fn read_clock(&mut self) -> Timestamp {
        self.now = self.now.max(self.context.clock.now());
        self.now
    }

    pub(super) fn fresh_ids(&mut self) -> FreshIds {
        let now = self.read_clock();
        FreshIds { run_id: self.context.entropy.uuid_at(now).into(), jitter: self.context.entropy.next_u64() }
    }

    /// Offers the tasks of runs whose PENDING rows were read.
    fn scan_pending(&mut self) -> Result<bool, Stop> {
        let Some(scan) = &mut self.pending_scan else { return Ok(false) };
        let rows = scan.slice(&*self.context.kv, |cell| {
            let prefix = crate::table::pending::prefix(cell);
            let end = crate::table::key::after_prefix(&prefix);
            (prefix, end)
        })?;
        let is_done = scan.is_done();
        for (key, _) in rows {
            let run = crate::table::pending::decode(&key).ok_or(Stop::Corrupt("a key of the PENDING table"))?;
            match self.load(&run) {
                Ok(true) => {}
                Ok(false) | Err(Fault::Caller(_)) => continue,
                Err(Fault::Stop(stop)) => return Err(stop),
            }
            // A task that is not committed may be among them: its start waits for the commit. An
            // errand would not.
            let last_seq = self.cache.get(&run).map_or(0, |entry| entry.last_seq);
            for task in self.state(&run).tasks() {
                match task {
                    Task::Errand(errand) if last_seq > self.committed_seq => {
                        self.after(last_seq).found.push((run.clone(), errand));
                    }
                    // The last leader may have handed it out. Who has it answers us, see `held_task`;
                    // a second copy would only disturb.
                    Task::Workflow(_) if Instant::now() < self.patient_until => self.left_some = true,
                    task => self.push_task(&run, &task, Origin::Found),
                }
            }
        }
        if is_done {
            self.pending_scan = None;
        }
        Ok(!is_done)
    }

    fn next_wake(&self) -> Instant {
        if self.in_flight.len() >= self.context.config.pipeline_depth {
            // Nothing is evaluated before a commit, which wakes the loop.
            return Instant::now() + SLEEP_MAX;
        }
        let now = self.context.clock.now();
        let timer = Instant::now() + self.timers.next_wake().since(now).min(SLEEP_MAX);
        let left = Some(self.patient_until).filter(|_| self.left_some);
        let retries = [self.dispatch.next_retry(), self.errands.next_retry(), left];
        retries.into_iter().flatten().fold(timer, Instant::min)
    }

    /// Nothing of this term is worth anything now.
    fn fail(self, mut inputs: mpsc::Receiver<Input>) {
        // What was not proposed, or was surely not appended, did not happen.
        let not_leader = Error::NotLeader { hint: None };
        for pending in self.building.after.replies {
            let _ = pending.reply.send(Err(not_leader.clone()));
        }
        for pending in self.ready {
            let is_committed = pending.proof == Proof::None;
            let _ = pending.reply.send(if is_committed { pending.result } else { Err(not_leader.clone()) });
        }
        for in_flight in self.in_flight {
            for pending in in_flight.after.replies {
                let _ = pending.reply.send(Err(error::outcome_unknown()));
            }
        }
        inputs.close();
        while let Ok(input) = inputs.try_recv() {
            let _ = input.reply.send(Err(not_leader.clone()));
        }
    }
}

/// The node led after these answers were made, or it may not say.
fn proved(result: &Result<(), ProposeError>, answers: Vec<Pending>) {
    for pending in answers {
        let answer = match result {
            Ok(()) => pending.result,
            Err(ProposeError::NotLeader(_, hint)) => Err(Error::NotLeader { hint: *hint }),
            Err(_) => Err(Error::NotLeader { hint: None }),
        };
        let _ = pending.reply.send(answer);
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(at) => tokio::time::sleep_until(at).await,
        None => tokio::task::yield_now().await,
    }
}
