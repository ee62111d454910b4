//! Errands on their way: what runs of this shard have to do at other runs.
//!
//! ```text
//! committed ──push──▶ waiting ──send──▶ under way ──answer──▶ recorded in the run, forgotten
//!                        ▲                  │ unavailable, too late, exhausted
//!                        ├──────pause───────┘
//!                        └──── scan of PENDING rows ◀── too many to keep, new leader
//! ```
//! One errand per initiating event is under way at a time. What is sent is read from the
//! run's state when it is sent; an errand that is not wanted any more is dropped then.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use api::Error;
use api::internal::{HistoryRequest, HistoryResponse};
use execution::workflow::{Command, Errand, ErrandOutcome, ErrandRequest, FinishErrand};
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use super::leader::{Fault, Leader, Stop};
use crate::errand::{self, Verdict};
use crate::run::RunKey;

/// Doublings of the pause between two tries.
const DOUBLINGS_MAX: u32 = 20;

/// By initiating event.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Lane {
    run: RunKey,
    event_id: i64,
}

struct Entry {
    errand: Errand,
    place: Place,
    tries: u32,
    /// Somebody may have sent it before.
    repeated: bool,
    /// What is wanted now, if that changed meanwhile.
    next: Option<Errand>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Waiting,
    UnderWay,
    Paused(Instant),
}

/// What came of one try.
pub(super) struct Tried {
    lane: Lane,
    errand: Errand,
    result: Result<HistoryResponse, Error>,
}

/// Who asks for the errand to be done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The decision that wanted it was just committed.
    Decided,
    /// It was found again: another leader may have sent it.
    Found,
}

#[derive(Default)]
pub(super) struct Errands {
    entries: BTreeMap<Lane, Entry>,
    waiting: VecDeque<Lane>,
    paused: BTreeSet<(Instant, Lane)>,
    overflowed: bool,
    under_way: usize,
    pub(super) tries: FuturesUnordered<BoxFuture<'static, Tried>>,
}

impl Errands {
    /// Takes the errand, unless it is known already or there is no room.
    pub(super) fn push(&mut self, run: &RunKey, errand: Errand, origin: Origin, errands_max: usize) {
        let lane = Lane { run: run.clone(), event_id: errand.event_id() };
        if let Some(entry) = self.entries.get_mut(&lane) {
            if entry.errand != errand {
                entry.next = Some(errand);
            }
            return;
        }
        if self.entries.len() >= errands_max {
            self.overflowed = true;
            return;
        }
        let repeated = origin == Origin::Found;
        let entry = Entry { errand, place: Place::Waiting, tries: 0, repeated, next: None };
        self.entries.insert(lane.clone(), entry);
        self.waiting.push_back(lane);
    }

    /// Whether the PENDING rows must be read again; asked when there is room.
    pub(super) fn take_overflow(&mut self, errands_max: usize) -> bool {
        self.entries.len() < errands_max / 2 && std::mem::take(&mut self.overflowed)
    }

    pub(super) fn next_retry(&self) -> Option<Instant> {
        self.paused.first().map(|(until, _)| *until)
    }

    /// Ends the pauses that are over.
    fn wake(&mut self, now: Instant) {
        while self.paused.first().is_some_and(|(until, _)| *until <= now) {
            let (_, lane) = self.paused.pop_first().expect("just seen");
            if let Some(entry) = self.entries.get_mut(&lane) {
                entry.place = Place::Waiting;
                self.waiting.push_back(lane);
            }
        }
    }

    /// The lane goes on with what is wanted next, or ends.
    fn finish(&mut self, lane: Lane) {
        let Some(entry) = self.entries.remove(&lane) else { return };
        match entry.place {
            Place::UnderWay => self.under_way -= 1,
            Place::Paused(until) => {
                self.paused.remove(&(until, lane.clone()));
            }
            Place::Waiting => {}
        }
        if let Some(errand) = entry.next {
            let entry = Entry { errand, place: Place::Waiting, tries: 0, repeated: entry.repeated, next: None };
            self.entries.insert(lane.clone(), entry);
            self.waiting.push_back(lane);
        }
    }

    fn pause(&mut self, lane: Lane, min: std::time::Duration, max: std::time::Duration) {
        let Some(entry) = self.entries.get_mut(&lane) else { return };
        let pause = min.saturating_mul(2_u32.saturating_pow(entry.tries.min(DOUBLINGS_MAX))).min(max);
        let until = Instant::now() + pause;
        entry.tries += 1;
        entry.repeated = true;
        entry.place = Place::Paused(until);
        self.under_way -= 1;
        self.paused.insert((until, lane));
    }
}

impl Leader {
    /// Sends what may be sent now. Says whether something was decided meanwhile.
    pub(super) fn send_errands(&mut self) -> Result<bool, Stop> {
        self.errands.wake(Instant::now());
        let mut decided = false;
        while self.errands.under_way < self.context.config.errands_in_flight_max {
            let Some(lane) = self.errands.waiting.pop_front() else { break };
            let Some(entry) = self.errands.entries.get(&lane) else { continue };
            let (errand, repeated) = (entry.errand, entry.repeated);
            let request = match self.errand_request(&lane.run, errand) {
                Ok(request) => request,
                Err(Fault::Stop(stop)) => return Err(stop),
                Err(Fault::Caller(error)) => {
                    tracing::warn!(run = ?lane.run, ?errand, %error, "an errand waits for another leader");
                    None
                }
            };
            match request {
                None => self.errands.finish(lane),
                Some(ErrandRequest::Itself) => {
                    self.errands.finish(lane.clone());
                    self.finish_errand(&lane.run, errand, errand::to_itself(errand))?;
                    decided = true;
                }
                Some(request) => self.send_errand(lane, errand, request, repeated),
            }
        }
        Ok(decided)
    }

    fn send_errand(&mut self, lane: Lane, errand: Errand, request: ErrandRequest, repeated: bool) {
        let namespace_id = lane.run.workflow.namespace_id.as_str().to_owned();
        let namespace = self.context.namespaces.by_id(&namespace_id);
        let namespace = namespace.map(|namespace| namespace.name.clone()).unwrap_or_default();
        let (cell, request) = errand::wire(&namespace_id, request, repeated);
        let request = Some(request);
        let request = Box::new(HistoryRequest { namespace_id, namespace, cell, request, ..HistoryRequest::default() });
        if let Some(entry) = self.errands.entries.get_mut(&lane) {
            entry.place = Place::UnderWay;
            self.errands.under_way += 1;
        }
        let (router, deadline) = (self.context.router.clone(), Instant::now() + self.context.config.errand_timeout);
        self.errands.tries.push(Box::pin(async move {
            let answer = tokio::time::timeout_at(deadline, router.history(request, deadline)).await;
            let result = answer.unwrap_or(Err(Error::DeadlineExceeded));
            Tried { lane, errand, result }
        }));
    }

    pub(super) fn on_errand_tried(&mut self, tried: Tried) -> Result<(), Stop> {
        let Tried { lane, errand, result } = tried;
        match errand::verdict(errand, &result) {
            Verdict::Outcome(outcome) => {
                self.errands.finish(lane.clone());
                self.finish_errand(&lane.run, errand, outcome)
            }
            Verdict::Again => {
                if let Err(error) = &result {
                    tracing::debug!(run = ?lane.run, ?errand, %error, "an errand is tried again");
                }
                let config = &self.context.config;
                self.errands.pause(lane, config.errand_retry_min, config.errand_retry_max);
                Ok(())
            }
        }
    }

    /// None: it is not wanted any more.
    fn errand_request(&mut self, run: &RunKey, errand: Errand) -> Result<Option<ErrandRequest>, Fault> {
        Ok(if self.load(run)? { self.state(run).errand_request(errand) } else { None })
    }

    fn finish_errand(&mut self, run: &RunKey, errand: Errand, outcome: ErrandOutcome) -> Result<(), Stop> {
        self.begin();
        let command = Command::FinishErrand(Box::new(FinishErrand { errand, outcome }));
        let finished = self.load(run).and_then(|exists| if exists { self.command(run, command) } else { Ok(()) });
        match finished {
            Ok(()) => Ok(()),
            Err(Fault::Stop(stop)) => Err(stop),
            Err(Fault::Caller(error)) => {
                tracing::warn!(?run, ?errand, %error, "what came of an errand is not recorded");
                Ok(())
            }
        }
    }
}
