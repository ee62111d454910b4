//! Wake-ups: the near window of the TIMER rows, and the soft deadlines of cached runs.
//!
//! Every row that fires up to `horizon` is in memory. Before the horizon comes near, a pass
//! over the rows moves it on; when there are too many, it is pulled back instead. Rows
//! written by batches that are not applied yet are remembered until a pass can see them.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use base::{CellRange, Timestamp};
use storage::{Kv, KvError};

use super::scan::CellScan;
use crate::run::RunKey;
use crate::table::timer;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Has a TIMER row.
    Durable,
    /// Of state that only the leader has.
    Soft,
}

/// A wake-up whose time has come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Due {
    pub(super) at: Timestamp,
    pub(super) run: RunKey,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum TimerError {
    #[error(transparent)]
    Store(#[from] KvError),
    #[error("a key of the TIMER table does not decode")]
    Key,
}

struct Pass {
    scan: CellScan,
    target: Timestamp,
}

pub(super) struct Timers {
    cells: CellRange,
    window: Duration,
    entries_max: usize,
    durable: BTreeSet<(Timestamp, RunKey)>,
    soft: BTreeSet<(Timestamp, RunKey)>,
    horizon: Timestamp,
    pass: Option<Pass>,
    unapplied: VecDeque<(u64, Timestamp, RunKey)>,
}

impl Timers {
    /// Knows nothing yet: the first pass starts at the first [`Timers::scan_slice`].
    pub(super) fn new(cells: CellRange, window: Duration, entries_max: usize) -> Self {
        Self {
            cells,
            window,
            entries_max,
            durable: BTreeSet::new(),
            soft: BTreeSet::new(),
            horizon: Timestamp::ZERO,
            pass: None,
            unapplied: VecDeque::new(),
        }
    }

    /// A row was written by proposal `seq`.
    pub(super) fn arm(&mut self, at: Timestamp, run: &RunKey, seq: u64) {
        if at <= self.reach() {
            self.insert(at, run.clone());
        } else {
            self.unapplied.push_back((seq, at, run.clone()));
        }
    }

    pub(super) fn disarm(&mut self, at: Timestamp, run: &RunKey) {
        self.durable.remove(&(at, run.clone()));
    }

    pub(super) fn arm_soft(&mut self, at: Timestamp, run: &RunKey) {
        self.soft.insert((at, run.clone()));
    }

    pub(super) fn disarm_soft(&mut self, at: Timestamp, run: &RunKey) {
        self.soft.remove(&(at, run.clone()));
    }

    pub(super) fn applied(&mut self, applied_seq: u64) {
        while self.unapplied.front().is_some_and(|(seq, ..)| *seq <= applied_seq) && self.pass.is_none() {
            self.unapplied.pop_front();
        }
    }

    /// Reads a slice of rows, if the horizon has to move. Says whether there is more.
    pub(super) fn scan_slice(&mut self, kv: &dyn Kv, now: Timestamp) -> Result<bool, TimerError> {
        if self.pass.is_none() {
            if now + self.window / 2 < self.horizon || self.durable.len() > self.entries_max / 2 {
                return Ok(false);
            }
            self.start_pass(now + self.window);
        }
        let Some(pass) = &mut self.pass else { return Ok(false) };
        let target = pass.target;
        let end = target + Duration::from_nanos(1);
        let rows = pass.scan.slice(kv, |cell| (timer::bound(cell, Timestamp::ZERO), timer::bound(cell, end)))?;
        let is_done = pass.scan.is_done();
        for (key, _) in rows {
            let (at, run) = timer::decode(&key).ok_or(TimerError::Key)?;
            if at <= self.reach() {
                self.insert(at, run);
            }
        }
        if is_done && let Some(pass) = self.pass.take() {
            self.horizon = pass.target;
        }
        Ok(!is_done)
    }

    /// The first wake-up that is due.
    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<Due> {
        for (set, kind) in [(&mut self.soft, Kind::Soft), (&mut self.durable, Kind::Durable)] {
            if set.first().is_some_and(|(at, _)| *at <= now) {
                let (at, run) = set.pop_first()?;
                return Some(Due { at, run, kind });
            }
        }
        None
    }

    /// When something is due, or the next pass.
    pub(super) fn next_wake(&self) -> Timestamp {
        let pass = Timestamp::from_nanos(self.horizon.as_nanos()) - self.window / 2;
        let due = [&self.durable, &self.soft].into_iter().filter_map(|set| set.first().map(|(at, _)| *at)).min();
        if self.durable.len() > self.entries_max / 2 {
            due.unwrap_or(pass)
        } else {
            due.map_or(pass, |at| at.min(pass))
        }
    }

    fn start_pass(&mut self, target: Timestamp) {
        self.pass = Some(Pass { scan: CellScan::new(self.cells), target });
        let near: Vec<_> = self.unapplied.iter().filter(|(_, at, _)| *at <= target).cloned().collect();
        for (_, at, run) in near {
            self.insert(at, run);
        }
    }

    /// Up to where rows are kept in memory.
    fn reach(&self) -> Timestamp {
        self.pass.as_ref().map_or(self.horizon, |pass| pass.target)
    }

    fn insert(&mut self, at: Timestamp, run: RunKey) {
        self.durable.insert((at, run));
        if self.durable.len() <= self.entries_max {
            return;
        }
        // The furthest goes; its row brings it back once there is room.
        if let Some((at, _)) = self.durable.pop_last() {
            let limit = at - Duration::from_nanos(1);
            self.horizon = self.horizon.min(limit);
            if let Some(pass) = &mut self.pass {
                pass.target = pass.target.min(limit);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use storage::{Batch, MemoryKv};

    use super::*;
    use crate::run::WorkflowKey;

    const ALL: CellRange = CellRange { start: 0, end: base::CELLS };

    fn seconds(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn run(number: u64) -> RunKey {
        WorkflowKey::new("ns", &number.to_string()).run("run")
    }

    fn store(kv: &MemoryKv, rows: impl Iterator<Item = (Timestamp, RunKey)>) {
        let mut batch = Batch::default();
        for (at, run) in rows {
            batch.put(timer::key(at, &run), Bytes::new());
        }
        kv.write(batch).unwrap();
    }

    /// Runs the clock to `until` and returns what fired, removing its rows.
    fn run_to(timers: &mut Timers, kv: &MemoryKv, from: u64, until: u64) -> Vec<(u64, RunKey)> {
        let mut fired = Vec::new();
        for second in from..=until {
            let now = seconds(second);
            loop {
                let more = timers.scan_slice(kv, now).unwrap();
                while let Some(due) = timers.pop_due(now) {
                    assert!(due.at <= now);
                    let mut batch = Batch::default();
                    batch.delete(timer::key(due.at, &due.run));
                    kv.write(batch).unwrap();
                    fired.push((second, due.run));
                }
                if !more {
                    break;
                }
            }
        }
        fired
    }

    #[test]
    fn rows_fire_in_their_second_however_many_and_however_far() {
        let kv = MemoryKv::new();
        store(&kv, (0..500).map(|number| (seconds(number), run(number))));
        let mut timers = Timers::new(ALL, Duration::from_secs(60), 50);
        let fired = run_to(&mut timers, &kv, 0, 500);
        assert_eq!(fired, (0..500).map(|number| (number, run(number))).collect::<Vec<_>>());
    }

    #[test]
    fn a_far_row_that_is_not_applied_yet_is_not_lost() {
        let kv = MemoryKv::new();
        let mut timers = Timers::new(ALL, Duration::from_secs(60), 50);
        assert_eq!(run_to(&mut timers, &kv, 0, 10), []);
        timers.arm(seconds(100), &run(1), 7);
        timers.applied(6);
        // The row never shows up in the store: only memory can know of it.
        assert_eq!(run_to(&mut timers, &kv, 11, 100), [(100, run(1))]);
    }

    #[test]
    fn rows_of_the_past_fire_at_once_after_a_start() {
        let kv = MemoryKv::new();
        store(&kv, (1..40).map(|number| (seconds(number), run(number))));
        let mut timers = Timers::new(ALL, Duration::from_secs(60), 1000);
        assert_eq!(run_to(&mut timers, &kv, 1000, 1000).len(), 39);
    }
}
