//! The matcher: who gets which task. A pure function over one partition; it knows neither
//! clock, channels nor shards, and moves the pollers' and tasks' payloads without looking.
//!
//! ```text
//!  poller:  Park ─▶ parked ─▶ Match / Reserved / End          (Leave: forgotten)
//!                     ▲            │
//!                     └── Park ────┘   again, under its old id, hence at its old place
//!
//!  task:   Offer ─▶ waiting ─▶ Match ─▶ held ─▶ Finish         (started, or gone)
//!                     ▲                  │
//!                     └── Wake ─ resting ◀┘ Return
//! ```
//!
//! Pollers are served oldest first. Most recent first would keep a few connections hot,
//! but a worker polls again the moment it gets a task, so it would collect all workflows
//! in its own sticky cache while its idle peers watch; oldest first spreads them over all
//! workers, and a sticky queue has only one worker anyway. Tasks go by rank, then age,
//! and not faster than the queue's rate.
//! Both orders are ids in a map: what is put back finds its old place by itself.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::limiter::Limiter;

/// Grows with every poll of this node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct PollerId(pub u64);

/// What goes first: a caller waits for a query, nobody for a task.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Rank(pub u8);

impl Rank {
    pub(crate) const QUERY: Self = Self(0);
    /// Tasks have priorities 1 to 5; this is the one of tasks that name none.
    pub(crate) const DEFAULT: Self = Self(3);
    pub(crate) const LAST: Self = Self(5);

    /// The rank of a task with this priority key.
    pub(crate) fn of_priority(key: i32) -> Self {
        match u8::try_from(key) {
            Ok(0) | Err(_) => Self::DEFAULT,
            Ok(key) => Self(key).min(Self::LAST),
        }
    }
}

/// Where a task stands in its partition. The number grows with every task of this node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Place {
    pub rank: Rank,
    pub number: u64,
}

/// A task as the matcher sees it. Two offers with one key are one task.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Task<K, T> {
    pub place: Place,
    pub key: K,
    pub payload: T,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Settings {
    /// `Some` for a sticky queue: how long it outlives its last poller.
    pub sticky_window: Option<Duration>,
    /// Of one rank: tasks that can wait must not shut out those that cannot.
    pub tasks_max: usize,
    /// Tasks per second; queries do not count.
    pub rate: f64,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Input<P, K, T> {
    /// A poll waits from now on, or again.
    Park {
        poller: PollerId,
        deadline: Duration,
        payload: P,
    },
    /// A poll ended without an answer from here.
    Leave {
        poller: PollerId,
    },
    /// Ends a poll with an empty answer.
    End {
        poller: PollerId,
    },
    /// Takes out the next poller, unless a task waits that is its due.
    Reserve,
    Offer(Task<K, T>),
    /// A held task could not be started: its poller left, or its shard has a problem and
    /// the task rests until the given time.
    Return {
        task: Task<K, T>,
        rest_until: Option<Duration>,
    },
    /// A held task has started, or turned out to be stale.
    Finish {
        key: K,
    },
    /// The task is no longer wanted, wherever it is.
    Withdraw {
        place: Place,
        key: K,
    },
    /// Ends all polls; the tasks stay.
    EndAll,
    /// The one worker of a sticky queue went away.
    WorkerGone,
    /// Time has passed.
    Wake,
    /// The partition is forgotten: everybody leaves.
    Close,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Output<P, K, T> {
    Match {
        poller: PollerId,
        payload: P,
        task: Task<K, T>,
    },
    Reserved {
        poller: PollerId,
        payload: P,
    },
    /// The poll ends with an empty answer.
    End {
        poller: PollerId,
        payload: P,
    },
    /// The window is full: the shard keeps the task and offers it again.
    Refused(T),
    /// Nobody listens at this sticky queue: the task returns to its normal one.
    Unavailable(T),
}

struct Parked<P> {
    deadline: Duration,
    payload: P,
}

/// One partition of one task queue. Times are counted from the start of the service.
pub(crate) struct Partition<P, K, T> {
    settings: Settings,
    pollers: BTreeMap<PollerId, Parked<P>>,
    waiting: BTreeMap<Place, (K, T)>,
    /// Tasks put aside, and until when.
    resting: BTreeMap<Place, (Duration, K, T)>,
    /// Every task that waits, rests or is held.
    known: BTreeMap<K, Rank>,
    /// How many of each rank.
    counts: [usize; Rank::LAST.0 as usize + 1],
    limiter: Limiter,
    /// When a task and a poller last had to wait for the rate.
    last_limited: Option<Duration>,
    /// When a poller was last seen; while one is parked, that is now.
    last_poll: Option<Duration>,
}

impl<P, K: Ord + Clone, T> Partition<P, K, T> {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            pollers: BTreeMap::new(),
            waiting: BTreeMap::new(),
            resting: BTreeMap::new(),
            known: BTreeMap::new(),
            counts: Default::default(),
            limiter: Limiter::new(settings.rate),
            last_limited: None,
            last_poll: None,
        }
    }

    /// Advances by one input and appends what follows from it.
    pub(crate) fn step(&mut self, input: Input<P, K, T>, now: Duration, out: &mut Vec<Output<P, K, T>>) {
        match input {
            Input::Park { poller, deadline, payload } => {
                self.last_poll = Some(now);
                self.pollers.insert(poller, Parked { deadline, payload });
            }
            Input::Leave { poller } => {
                self.note_pollers(now);
                self.pollers.remove(&poller);
            }
            Input::End { poller } => {
                self.note_pollers(now);
                let parked = self.pollers.remove(&poller);
                out.extend(parked.map(|parked| Output::End { poller, payload: parked.payload }));
            }
            Input::Reserve => self.reserve(now, out),
            Input::Offer(task) => self.offer(task, out),
            Input::Return { task, rest_until } => self.give_back(task, rest_until),
            Input::Finish { key } => self.forget(&key),
            Input::Withdraw { place, key } => {
                self.waiting.remove(&place);
                self.resting.remove(&place);
                self.forget(&key);
            }
            Input::EndAll => {
                self.note_pollers(now);
                self.end_pollers(out);
            }
            Input::WorkerGone => {
                self.end_pollers(out);
                self.last_poll = None;
            }
            Input::Wake => self.wake(now),
            Input::Close => {
                self.end_pollers(out);
                self.waiting.clear();
                self.resting.clear();
                self.known.clear();
                self.counts = Default::default();
            }
        }
        self.pair(now, out);
        self.expire_sticky(now, out);
    }

    /// Tasks per second from now on. Whoever may go now goes with the next step.
    pub(crate) fn limit(&mut self, per_second: f64, now: Duration) {
        self.limiter.set_rate(per_second, now);
    }

    /// Tasks that wait, rest or are being started.
    pub(crate) fn tasks(&self) -> usize {
        self.known.len()
    }

    /// Tasks without a poller.
    pub(crate) fn backlog(&self) -> usize {
        self.waiting.len() + self.resting.len()
    }

    /// How many more tasks without a priority of their own fit.
    pub(crate) fn credit(&self) -> usize {
        self.settings.tasks_max.saturating_sub(self.counts[usize::from(Rank::DEFAULT.0)])
    }

    /// When to say that time has passed, if a task and a poller wait for the rate.
    pub(crate) fn wake_at(&self) -> Option<Duration> {
        let is_waiting = !self.waiting.is_empty() && !self.pollers.is_empty();
        if is_waiting { self.limiter.ready_at() } else { None }
    }

    /// When the rate last held up a task and a poller.
    pub(crate) fn last_limited(&self) -> Option<Duration> {
        self.last_limited
    }

    /// The parked pollers, oldest first.
    pub(crate) fn pollers(&self) -> impl ExactSizeIterator<Item = (PollerId, &P)> {
        self.pollers.iter().map(|(poller, parked)| (*poller, &parked.payload))
    }

    /// Tasks without a poller, those that rest last.
    pub(crate) fn unmatched(&self) -> impl Iterator<Item = (Rank, &T)> {
        let waiting = self.waiting.iter().map(|(place, (_, payload))| (place.rank, payload));
        waiting.chain(self.resting.iter().map(|(place, (_, _, payload))| (place.rank, payload)))
    }

    /// Whether somebody has polled within `window`.
    pub(crate) fn polled_within(&self, window: Duration, now: Duration) -> bool {
        !self.pollers.is_empty() || self.last_poll.is_some_and(|last| now < last + window)
    }

    pub(crate) fn ever_polled(&self) -> bool {
        self.last_poll.is_some()
    }

    fn offer(&mut self, task: Task<K, T>, out: &mut Vec<Output<P, K, T>>) {
        if self.known.contains_key(&task.key) {
            // Shards offer again when in doubt; the first offer stands.
            return;
        }
        // Queries have a bound of their own: a backlog must not shut them out.
        let rank = task.place.rank;
        if self.counts[usize::from(rank.0)] >= self.settings.tasks_max && rank != Rank::QUERY {
            out.push(Output::Refused(task.payload));
            return;
        }
        self.known.insert(task.key.clone(), rank);
        self.counts[usize::from(rank.0)] += 1;
        self.waiting.insert(task.place, (task.key, task.payload));
    }

    fn give_back(&mut self, task: Task<K, T>, rest_until: Option<Duration>) {
        let Task { place, key, payload } = task;
        if !self.known.contains_key(&key) {
            // Withdrawn or closed while it was held.
            return;
        }
        match rest_until {
            Some(until) => {
                self.resting.insert(place, (until, key, payload));
            }
            None => {
                self.waiting.insert(place, (key, payload));
            }
        }
    }

    fn forget(&mut self, key: &K) {
        if let Some(rank) = self.known.remove(key) {
            self.counts[usize::from(rank.0)] -= 1;
        }
    }

    fn reserve(&mut self, now: Duration, out: &mut Vec<Output<P, K, T>>) {
        if !self.waiting.is_empty() || self.pollers.is_empty() {
            return;
        }
        if !self.limiter.is_ready(now) {
            self.last_limited = Some(now);
            return;
        }
        while let Some((poller, parked)) = self.pop_poller(now) {
            if now < parked.deadline {
                self.limiter.take(now);
                out.push(Output::Reserved { poller, payload: parked.payload });
                return;
            }
            out.push(Output::End { poller, payload: parked.payload });
        }
    }

    fn wake(&mut self, now: Duration) {
        let rested = self.resting.extract_if(.., |_, (until, _, _)| *until <= now);
        self.waiting.extend(rested.map(|(place, (_, key, payload))| (place, (key, payload))));
    }

    fn end_pollers(&mut self, out: &mut Vec<Output<P, K, T>>) {
        let pollers = std::mem::take(&mut self.pollers);
        out.extend(pollers.into_iter().map(|(poller, parked)| Output::End { poller, payload: parked.payload }));
    }

    /// Afterwards no task waits while a poller is parked, unless the rate holds them up.
    fn pair(&mut self, now: Duration, out: &mut Vec<Output<P, K, T>>) {
        while let Some((place, _)) = self.waiting.first_key_value() {
            let is_limited = place.rank != Rank::QUERY;
            if is_limited && !self.pollers.is_empty() && !self.limiter.is_ready(now) {
                self.last_limited = Some(now);
                return;
            }
            let Some((poller, parked)) = self.pop_poller(now) else { return };
            let payload = parked.payload;
            if now >= parked.deadline {
                // Its own timer is about to fire; a task given to it would only come back.
                out.push(Output::End { poller, payload });
                continue;
            }
            if let Some((place, (key, task))) = self.waiting.pop_first() {
                if is_limited {
                    self.limiter.take(now);
                }
                out.push(Output::Match { poller, payload, task: Task { place, key, payload: task } });
            }
        }
    }

    fn expire_sticky(&mut self, now: Duration, out: &mut Vec<Output<P, K, T>>) {
        let Some(window) = self.settings.sticky_window else { return };
        if self.backlog() == 0 || self.polled_within(window, now) {
            return;
        }
        let waiting = std::mem::take(&mut self.waiting).into_iter();
        let resting = std::mem::take(&mut self.resting).into_iter().map(|(place, (_, key, task))| (place, (key, task)));
        for (_, (key, task)) in waiting.chain(resting) {
            self.forget(&key);
            out.push(Output::Unavailable(task));
        }
    }

    fn pop_poller(&mut self, now: Duration) -> Option<(PollerId, Parked<P>)> {
        self.note_pollers(now);
        self.pollers.pop_first()
    }

    fn note_pollers(&mut self, now: Duration) {
        if !self.pollers.is_empty() {
            self.last_poll = Some(now);
        }
    }
}

#[cfg(test)]
mod tests;
