//! Runs in memory: the state as of the last evaluated decision, committed or not, and the
//! history that readers are likely to want next.
//!
//! An entry may be dropped only when the KV has all that was written to it and it holds
//! nothing that lives in memory alone; otherwise a reload would show the past.

use std::collections::{BTreeMap, HashMap, VecDeque};

use base::Timestamp;
use bytes::Bytes;
use execution::workflow::{RowKey, State};

use crate::Config;
use crate::run::{RunKey, WorkflowKey};

/// Entries looked at in one eviction, so that a cache full of pinned runs costs little.
const EVICTION_PROBES: usize = 32;
/// A run that was used this many uses ago is near enough to the end of the order.
const TOUCH_SLACK: u64 = 32;
/// What an entry costs beside its rows.
const ENTRY_BYTES: usize = 2048;
/// A row in memory is larger than its encoding.
const ROW_FACTOR: usize = 4;

/// The events of one decision.
#[derive(Clone, Debug)]
pub(super) struct EventBatch {
    pub(super) first: i64,
    pub(super) next: i64,
    pub(super) bytes: Bytes,
    /// The proposal it is in.
    pub(super) seq: u64,
}

pub(super) struct Entry {
    /// `None`: deleted by a batch that may not be applied yet.
    pub(super) state: Option<State>,
    /// The last proposal that wrote to the run; 0 when none of this term did.
    pub(super) last_seq: u64,
    /// The newest batches of history, without a gap up to the state's next event id.
    pub(super) recent: VecDeque<EventBatch>,
    recent_bytes: usize,
    row_bytes: BTreeMap<RowKey, usize>,
    rows_bytes: usize,
    /// The durable wake-up written by this term.
    pub(super) armed: Option<Timestamp>,
    pub(super) soft_armed: Option<Timestamp>,
    /// Whether the run has a PENDING row.
    pub(super) is_pending: bool,
    pub(super) is_quarantined: bool,
    used: u64,
}

impl Entry {
    pub(super) fn new(state: Option<State>) -> Self {
        Self {
            state,
            last_seq: 0,
            recent: VecDeque::new(),
            recent_bytes: 0,
            row_bytes: BTreeMap::new(),
            rows_bytes: 0,
            armed: None,
            soft_armed: None,
            is_pending: false,
            is_quarantined: false,
            used: 0,
        }
    }

    /// Whether the row is stored, or will be.
    pub(super) fn has(&self, row: &RowKey) -> bool {
        self.row_bytes.contains_key(row)
    }

    /// The size of a stored row; none: it is deleted.
    pub(super) fn size(&mut self, row: RowKey, bytes: Option<usize>) {
        let before = match bytes {
            Some(bytes) => self.row_bytes.insert(row, bytes),
            None => self.row_bytes.remove(&row),
        };
        self.rows_bytes = self.rows_bytes + bytes.unwrap_or(0) - before.unwrap_or(0);
    }

    /// Keeps the batch, and forgets old ones beyond `bytes_max` that the KV has.
    pub(super) fn remember(&mut self, batch: EventBatch, applied_seq: u64, bytes_max: usize) {
        self.recent_bytes += batch.bytes.len();
        self.recent.push_back(batch);
        while self.recent_bytes > bytes_max
            && let Some(oldest) = self.recent.front()
            && oldest.seq <= applied_seq
        {
            self.recent_bytes -= oldest.bytes.len();
            self.recent.pop_front();
        }
    }

    fn bytes(&self) -> usize {
        ENTRY_BYTES + self.recent_bytes + ROW_FACTOR * self.rows_bytes
    }

    fn may_go(&self, applied_seq: u64) -> bool {
        self.last_seq <= applied_seq && self.state.as_ref().is_none_or(|state| !state.is_soft())
    }
}

/// The current run of a workflow id as of the last evaluated decision.
struct Current {
    run_id: Option<String>,
    last_seq: u64,
}

pub(super) struct Cache {
    runs_max: usize,
    closed_runs_max: usize,
    bytes_max: usize,
    /// Boxed: entries are large, and a map that grows moves all of them.
    runs: HashMap<RunKey, Box<Entry>>,
    /// By the time of the last use.
    order: BTreeMap<u64, RunKey>,
    bytes: usize,
    clock: u64,
    /// Runs that closed, oldest first. Some may be gone.
    closed: VecDeque<RunKey>,
    currents: HashMap<WorkflowKey, Current>,
    currents_order: VecDeque<(u64, WorkflowKey)>,
}

impl Cache {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            runs_max: config.cache_runs_max,
            closed_runs_max: config.cache_closed_runs_max,
            bytes_max: config.cache_bytes_max,
            runs: HashMap::new(),
            order: BTreeMap::new(),
            bytes: 0,
            clock: 0,
            closed: VecDeque::new(),
            currents: HashMap::new(),
            currents_order: VecDeque::new(),
        }
    }

    /// For [`crate::Config::planted_forget_fence`]: as if all of it were committed and applied.
    pub(super) fn forget_term(&mut self) {
        for entry in self.runs.values_mut() {
            (entry.last_seq, entry.armed, entry.soft_armed) = (0, None, None);
            for batch in &mut entry.recent {
                batch.seq = 0;
            }
        }
        for current in self.currents.values_mut() {
            current.last_seq = 0;
        }
    }

    pub(super) fn contains(&self, run: &RunKey) -> bool {
        self.runs.contains_key(run)
    }

    pub(super) fn get(&self, run: &RunKey) -> Option<&Entry> {
        self.runs.get(run).map(|entry| &**entry)
    }

    /// Marks the run as used now.
    pub(super) fn touch(&mut self, run: &RunKey) {
        self.clock += 1;
        if let Some(entry) = self.runs.get_mut(run)
            && self.clock - entry.used > TOUCH_SLACK
        {
            self.order.remove(&entry.used);
            entry.used = self.clock;
            self.order.insert(self.clock, run.clone());
        }
    }

    /// Changes the entry, which must be there, and keeps the books.
    pub(super) fn update<T>(&mut self, run: &RunKey, change: impl FnOnce(&mut Entry) -> T) -> T {
        let entry = self.runs.get_mut(run).expect("callers load the run first");
        let before = entry.bytes();
        let result = change(entry);
        self.bytes = self.bytes + entry.bytes() - before;
        result
    }

    pub(super) fn insert(&mut self, run: RunKey, mut entry: Entry) {
        self.remove(&run);
        self.clock += 1;
        entry.used = self.clock;
        self.bytes += entry.bytes();
        self.order.insert(self.clock, run.clone());
        self.runs.insert(run, Box::new(entry));
    }

    /// The run has closed: hardly anybody will ask for it for long.
    pub(super) fn note_closed(&mut self, run: &RunKey) {
        self.closed.push_back(run.clone());
    }

    /// `Some(None)`: there is surely no current run.
    pub(super) fn current(&self, workflow: &WorkflowKey) -> Option<(Option<&str>, u64)> {
        self.currents.get(workflow).map(|current| (current.run_id.as_deref(), current.last_seq))
    }

    pub(super) fn set_current(&mut self, workflow: &WorkflowKey, run_id: Option<String>, seq: u64) {
        self.currents.insert(workflow.clone(), Current { run_id, last_seq: seq });
        self.currents_order.push_back((seq, workflow.clone()));
    }

    /// Drops what was not used for long until the limits hold, or nothing more may go.
    pub(super) fn evict(&mut self, applied_seq: u64) {
        let mut probes = EVICTION_PROBES;
        while (self.runs.len() > self.runs_max || self.bytes > self.bytes_max) && probes > 0 {
            probes -= 1;
            let Some((_, run)) = self.order.first_key_value() else { break };
            let run = run.clone();
            if self.runs.get(&run).is_some_and(|entry| entry.may_go(applied_seq)) {
                self.remove(&run);
            } else {
                self.touch(&run);
            }
        }
        for _ in 0..EVICTION_PROBES.min(self.closed.len().saturating_sub(self.closed_runs_max)) {
            let Some(run) = self.closed.pop_front() else { break };
            match self.runs.get(&run) {
                Some(entry) if entry.may_go(applied_seq) => self.remove(&run),
                Some(_) => self.closed.push_back(run),
                None => {}
            }
        }
        // The rows of applied batches say the same.
        while let Some((seq, _)) = self.currents_order.front()
            && *seq <= applied_seq
        {
            let (_, workflow) = self.currents_order.pop_front().expect("just seen");
            if self.currents.get(&workflow).is_some_and(|current| current.last_seq <= applied_seq) {
                self.currents.remove(&workflow);
            }
        }
    }

    fn remove(&mut self, run: &RunKey) {
        if let Some(entry) = self.runs.remove(run) {
            self.order.remove(&entry.used);
            self.bytes -= entry.bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(number: usize) -> RunKey {
        WorkflowKey::new("ns", &format!("w{number}")).run("r")
    }

    fn kept(cache: &Cache, runs: usize) -> Vec<usize> {
        (0..runs).filter(|number| cache.contains(&run(*number))).collect()
    }

    #[test]
    fn closed_runs_go_before_open_ones() {
        let mut cache = Cache::new(&Config { cache_closed_runs_max: 2, ..Config::default() });
        for number in 0..6 {
            let mut entry = Entry::new(Some(State::new()));
            // The last write to run 2 is not applied yet.
            entry.last_seq = if number == 2 { 9 } else { 1 };
            cache.insert(run(number), entry);
        }
        for number in 1..6 {
            cache.note_closed(&run(number));
        }
        for _ in 0..3 {
            cache.evict(8);
        }
        assert_eq!(kept(&cache, 6), [0, 2, 5]);
        cache.evict(9);
        assert_eq!(kept(&cache, 6), [0, 2, 5], "two may stay");
        cache.note_closed(&run(6));
        cache.evict(9);
        assert_eq!(cache.closed.len(), 2);
    }
}
