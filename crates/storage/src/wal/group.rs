//! One group's log in memory. It keeps two views: what callers see (everything submitted)
//! and what is on disk (everything settled by the writer). The tail holds the newest
//! entries, at least all that are not durable yet; older ones are read from their place.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::queue::{Queue, Refused};
use super::record::{Command, HEADER_BYTES};
use super::segment::{Place, Segment};
use super::{Completion, GroupId, LogEntry, MetaKey, WalError};

/// A big append is split into records of about this size, so that a reader of one entry
/// does not read megabytes. A power cut may then keep a first part of the append.
const RECORD_BYTES_TARGET: usize = 256 << 10;
/// Far above what Raft proposes; a segment is addressed by 32 bits.
const ENTRY_BYTES_MAX: usize = 256 << 20;
/// What an entry in memory costs beyond its payload.
const TAIL_ENTRY_BYTES: usize = 64;
const METAS: usize = MetaKey::ALL.len();

pub(super) struct GroupCell {
    pub(super) id: GroupId,
    state: Mutex<GroupState>,
}

#[derive(Default)]
pub(super) struct GroupState {
    /// The log that callers see is `first..next`.
    first: u64,
    next: u64,
    /// Whether the next append has to start at `next`. Not so in a log that never was.
    anchored: bool,
    purged_through: Option<u64>,
    metas: [Option<Bytes>; METAS],
    /// When each meta was submitted last.
    meta_sequences: [u64; METAS],
    /// The last entries of the log, `next - tail.len()..next`.
    tail: VecDeque<TailEntry>,
    /// Submitted truncations and removals, not settled yet.
    cuts_pending: usize,
    /// Durable entries, in order.
    pub(super) places: VecDeque<Place>,
    /// Where the durable metas lie.
    pub(super) meta_places: [Option<Arc<Segment>>; METAS],
}

struct TailEntry {
    sequence: u64,
    payload: Bytes,
}

/// The part of a read that has to come from the disk, and the part that follows from memory.
struct ReadPlan {
    places: Vec<(Place, Range<u64>)>,
    entries: Vec<LogEntry>,
}

/// What the group looked like when the log was opened.
pub(super) struct Recovered {
    pub(super) places: VecDeque<Place>,
    pub(super) metas: [Option<(Bytes, Arc<Segment>)>; METAS],
    pub(super) purged_through: Option<u64>,
}

impl GroupCell {
    pub(super) fn new(id: GroupId) -> Arc<Self> {
        Arc::new(Self { id, state: Mutex::default() })
    }

    pub(super) fn recovered(id: GroupId, recovered: Recovered) -> Arc<Self> {
        let mut state =
            GroupState { purged_through: recovered.purged_through, places: recovered.places, ..GroupState::default() };
        for (key, meta) in recovered.metas.into_iter().enumerate() {
            (state.metas[key], state.meta_places[key]) = meta.unzip();
        }
        let after_purge = state.purged_through.map_or(0, |through| through + 1);
        state.first = state.places.front().map_or(after_purge, |place| place.first);
        state.next = state.places.back().map_or(after_purge, |place| place.end);
        state.anchored = state.purged_through.is_some() || !state.places.is_empty();
        Arc::new(Self { id, state: Mutex::new(state) })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, GroupState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a call needs besides the group itself.
pub(super) struct Submitter<'a> {
    pub(super) queue: &'a Queue,
    pub(super) cell: &'a Arc<GroupCell>,
    pub(super) tail_bytes: &'a AtomicUsize,
}

impl GroupState {
    pub(super) fn is_unused(&self) -> bool {
        !self.anchored && self.metas.iter().all(Option::is_none)
    }

    pub(super) fn bounds(&self) -> Option<(u64, u64)> {
        (self.first < self.next).then(|| (self.first, self.next - 1))
    }

    pub(super) fn meta(&self, key: MetaKey) -> Option<Bytes> {
        self.metas[key as usize].clone()
    }

    pub(super) fn append(
        &mut self,
        to: &Submitter<'_>,
        entries: Vec<LogEntry>,
        done: Completion,
    ) -> Result<(), Refused> {
        let Some(first) = entries.first().map(|entry| entry.index) else {
            return to.queue.submit(to.cell, [Command::Barrier], done).map(drop);
        };
        let start = if self.anchored { self.next } else { first };
        for (expected, entry) in (start..).zip(&entries) {
            if entry.index != expected {
                return Err((self.out_of_range(to.cell.id, entry.index), done));
            }
            assert!(entry.payload.len() <= ENTRY_BYTES_MAX, "an entry of {} bytes", entry.payload.len());
        }
        let sequence = to.queue.submit(to.cell, split(&entries), done)?;
        if !self.anchored {
            (self.first, self.next) = (first, first);
            self.anchored = true;
        }
        self.next += entries.len() as u64;
        let mut bytes = 0;
        for LogEntry { payload, .. } in entries {
            bytes += TAIL_ENTRY_BYTES + payload.len();
            self.tail.push_back(TailEntry { sequence, payload });
        }
        to.tail_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn truncate(&mut self, to: &Submitter<'_>, from: u64, done: Completion) -> Result<(), Refused> {
        if from >= self.next {
            return to.queue.submit(to.cell, [Command::Barrier], done).map(drop);
        }
        if from < self.first {
            return Err((self.out_of_range(to.cell.id, from), done));
        }
        to.queue.submit(to.cell, [Command::Truncate { from }], done)?;
        self.cuts_pending += 1;
        let cut = (self.next - from) as usize;
        let kept = self.tail.len().saturating_sub(cut);
        to.release_tail(self.tail.drain(kept..));
        self.next = from;
        Ok(())
    }

    pub(super) fn purge(
        &mut self,
        to: &Submitter<'_>,
        through: u64,
        marker: Bytes,
        done: Completion,
    ) -> Result<(), Refused> {
        if self.purged_through.is_some_and(|purged| through <= purged) {
            return to.queue.submit(to.cell, [Command::Barrier], done).map(drop);
        }
        let command = Command::Purge { through: Some(through), marker: marker.clone() };
        let sequence = to.queue.submit(to.cell, [command], done)?;
        self.purged_through = Some(through);
        self.set_meta(MetaKey::Purged, marker, sequence);
        let first = through + 1;
        let kept = (self.next.saturating_sub(first) as usize).min(self.tail.len());
        to.release_tail(self.tail.drain(..self.tail.len() - kept));
        self.first = self.first.max(first);
        self.next = self.next.max(first);
        self.anchored = true;
        Ok(())
    }

    pub(super) fn save_meta(
        &mut self,
        to: &Submitter<'_>,
        key: MetaKey,
        value: Bytes,
        done: Completion,
    ) -> Result<(), Refused> {
        let sequence = to.queue.submit(to.cell, [self.meta_command(key, value.clone())], done)?;
        self.set_meta(key, value, sequence);
        Ok(())
    }

    pub(super) fn remove(&mut self, to: &Submitter<'_>, done: Completion) -> Result<(), Refused> {
        to.queue.submit(to.cell, [Command::Remove], done)?;
        to.release_tail(self.tail.drain(..));
        let old = std::mem::take(self);
        self.cuts_pending = old.cuts_pending + 1;
        self.places = old.places;
        self.meta_places = old.meta_places;
        Ok(())
    }

    fn meta_command(&self, key: MetaKey, value: Bytes) -> Command {
        match key {
            MetaKey::Purged => Command::Purge { through: self.purged_through, marker: value },
            MetaKey::Vote | MetaKey::Committed => Command::Meta { key, value },
        }
    }

    fn set_meta(&mut self, key: MetaKey, value: Bytes, sequence: u64) {
        self.metas[key as usize] = Some(value);
        self.meta_sequences[key as usize] = sequence;
    }

    fn out_of_range(&self, group: GroupId, index: u64) -> WalError {
        WalError::OutOfRange { group, index, first: self.first, last: self.next.saturating_sub(1) }
    }

    fn plan_read(&self, group: GroupId, range: Range<u64>, bytes_max: usize) -> Result<ReadPlan, WalError> {
        let mut plan = ReadPlan { places: Vec::new(), entries: Vec::new() };
        let range = range.start..range.end.min(self.next);
        if range.is_empty() {
            return Ok(plan);
        }
        if range.start < self.first {
            return Err(self.out_of_range(group, range.start));
        }
        let tail_first = self.next - self.tail.len() as u64;
        let mut bytes = 0;
        if range.start < tail_first {
            let until = range.end.min(tail_first);
            let from = self.places.partition_point(|place| place.end <= range.start);
            for place in self.places.iter().skip(from).take_while(|place| place.first < until) {
                if bytes > bytes_max {
                    return Ok(plan);
                }
                bytes += place.len as usize;
                let wanted = place.first.max(range.start)..place.end.min(until);
                plan.places.push((place.clone(), wanted));
            }
        }
        for index in range.start.max(tail_first)..range.end {
            let payload = &self.tail[(index - tail_first) as usize].payload;
            bytes += payload.len();
            if bytes > bytes_max && !(plan.entries.is_empty() && plan.places.is_empty()) {
                break;
            }
            plan.entries.push(LogEntry { index, payload: payload.clone() });
        }
        Ok(plan)
    }
}

/// Reads without holding the group's lock while the disk works.
pub(super) fn read(cell: &GroupCell, range: Range<u64>, bytes_max: usize) -> Result<Vec<LogEntry>, WalError> {
    let plan = cell.lock().plan_read(cell.id, range, bytes_max)?;
    if plan.places.is_empty() {
        return Ok(plan.entries);
    }
    let mut entries: Vec<LogEntry> = Vec::new();
    let mut bytes = 0;
    for (place, wanted) in &plan.places {
        for (index, payload) in wanted.clone().zip(place.read(wanted.start, wanted.end)?) {
            bytes += payload.len();
            if bytes > bytes_max && !entries.is_empty() {
                return Ok(entries);
            }
            entries.push(LogEntry { index, payload });
        }
    }
    for entry in plan.entries {
        bytes += entry.payload.len();
        if bytes > bytes_max {
            break;
        }
        entries.push(entry);
    }
    Ok(entries)
}

/// The writer's side: what became durable.
impl GroupState {
    /// `at` is the record's segment, offset and length; a barrier has none.
    pub(super) fn settle(&mut self, command: &Command, at: Option<(&Arc<Segment>, u32, u32)>) {
        let Some((segment, offset, len)) = at else {
            return;
        };
        match command {
            Command::Append { first, payloads } => {
                let end = first + payloads.len() as u64;
                debug_assert!(self.places.back().is_none_or(|place| place.end == *first));
                self.places.push_back(Place { first: *first, end, segment: segment.clone(), offset, len });
            }
            Command::Move { first, payloads } => {
                let end = first + payloads.len() as u64;
                let at = self.places.partition_point(|place| place.end <= *first);
                // Purged or truncated in the meantime: the copy is of no use.
                if let Some(place) = self.places.get_mut(at).filter(|place| place.first >= *first && place.end <= end) {
                    (place.segment, place.offset, place.len) = (segment.clone(), offset, len);
                }
            }
            Command::Truncate { from } => {
                self.cuts_pending -= 1;
                cut_from(&mut self.places, *from);
            }
            Command::Purge { through, .. } => {
                self.meta_places[MetaKey::Purged as usize] = Some(segment.clone());
                if let Some(through) = through {
                    cut_through(&mut self.places, *through);
                }
            }
            Command::Meta { key, .. } => self.meta_places[*key as usize] = Some(segment.clone()),
            Command::Remove => {
                self.cuts_pending -= 1;
                self.places.clear();
                self.meta_places = Default::default();
            }
            Command::Open | Command::Barrier => {}
        }
    }

    /// Bytes on disk that are still needed, roughly: records count as a whole.
    pub(super) fn live_bytes(&self) -> u64 {
        let metas = self.metas.iter().flatten().map(|value| (HEADER_BYTES + value.len()) as u64);
        self.places.iter().map(|place| u64::from(place.len)).chain(metas).sum()
    }

    /// Drops entries from memory that were submitted up to `sequence`, all of them durable.
    pub(super) fn evict(&mut self, sequence: u64) -> usize {
        let evicted = self.tail.partition_point(|entry| entry.sequence <= sequence);
        self.tail.drain(..evicted).map(|entry| entry.bytes()).sum()
    }

    /// Writes again what still lies in `segment`, as far as it does so already durably and
    /// nothing that is under way touches it. Stops past `bytes_max`; returns the bytes.
    pub(super) fn move_out(
        &mut self,
        to: &Submitter<'_>,
        segment: &Arc<Segment>,
        durable: u64,
        bytes_max: usize,
        done: &dyn Fn() -> Completion,
    ) -> Result<usize, WalError> {
        let mut bytes = 0;
        if self.cuts_pending > 0 {
            return Ok(bytes);
        }
        for place in self.places.iter().filter(|place| Arc::ptr_eq(&place.segment, segment)) {
            if bytes > bytes_max {
                return Ok(bytes);
            }
            // A purge may be under way: what it takes must not come back behind it.
            let first = place.first.max(self.first);
            if first >= place.end {
                continue;
            }
            let command = Command::Move { first, payloads: place.read(first, place.end)? };
            bytes += command.record_bytes();
            to.queue.submit(to.cell, [command], done()).map_err(|(error, _)| error)?;
        }
        for key in MetaKey::ALL {
            let lies_there = self.meta_places[key as usize].as_ref().is_some_and(|place| Arc::ptr_eq(place, segment));
            let Some(value) = self.metas[key as usize].clone().filter(|_| lies_there) else {
                continue;
            };
            if self.meta_sequences[key as usize] <= durable {
                let command = self.meta_command(key, value.clone());
                bytes += command.record_bytes();
                let sequence = to.queue.submit(to.cell, [command], done()).map_err(|(error, _)| error)?;
                self.set_meta(key, value, sequence);
            }
        }
        Ok(bytes)
    }
}

impl Submitter<'_> {
    fn release_tail(&self, entries: impl Iterator<Item = TailEntry>) {
        let bytes = entries.map(|entry| entry.bytes()).sum();
        self.tail_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl TailEntry {
    fn bytes(&self) -> usize {
        TAIL_ENTRY_BYTES + self.payload.len()
    }
}

/// Forgets entries with `index >= from`.
pub(super) fn cut_from(places: &mut VecDeque<Place>, from: u64) {
    while places.back().is_some_and(|place| place.first >= from) {
        places.pop_back();
    }
    if let Some(place) = places.back_mut() {
        place.end = place.end.min(from);
    }
}

/// Forgets entries with `index <= through`.
pub(super) fn cut_through(places: &mut VecDeque<Place>, through: u64) {
    while places.front().is_some_and(|place| place.end <= through + 1) {
        places.pop_front();
    }
    if let Some(place) = places.front_mut() {
        place.first = place.first.max(through + 1);
    }
}

/// The append as records, each with at least one entry.
fn split(entries: &[LogEntry]) -> Vec<Command> {
    let mut commands = Vec::with_capacity(1);
    let mut start = 0;
    let mut bytes = 0;
    for (at, entry) in entries.iter().enumerate() {
        bytes += entry.payload.len();
        if bytes >= RECORD_BYTES_TARGET || at + 1 == entries.len() {
            let payloads = entries[start..=at].iter().map(|entry| entry.payload.clone()).collect();
            commands.push(Command::Append { first: entries[start].index, payloads });
            start = at + 1;
            bytes = 0;
        }
    }
    commands
}
