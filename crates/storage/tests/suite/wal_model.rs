//! A dumb model of the log, a random script of calls, and a driver that runs the script
//! with the writer as a task, to the end or until the power goes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use storage::{Completion, GroupId, LogEntry, MemoryDisk, MetaKey, Wal, WalConfig, WalError};

use crate::random::Random;

pub(crate) const GROUPS: [GroupId; 3] = [0, 7, u64::MAX];

#[derive(Clone, Debug)]
pub(crate) enum Call {
    Append(Vec<LogEntry>),
    Truncate(u64),
    Purge(u64, Bytes),
    Meta(MetaKey, Bytes),
    Remove,
}

/// One group, as it should be.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct ModelGroup {
    pub(crate) entries: VecDeque<LogEntry>,
    pub(crate) metas: BTreeMap<MetaKey, Bytes>,
    /// Where the next append has to start, unless anything goes.
    next: Option<u64>,
}

/// All groups, as they should be.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Model {
    pub(crate) groups: BTreeMap<GroupId, ModelGroup>,
}

impl Model {
    pub(crate) fn apply(&mut self, group: GroupId, call: &Call) {
        let state = self.groups.entry(group).or_default();
        match call {
            Call::Append(entries) => {
                state.entries.extend(entries.iter().cloned());
                state.next = state.entries.back().map(|last| last.index + 1);
            }
            Call::Truncate(from) => {
                state.entries.retain(|entry| entry.index < *from);
                state.next = state.next.map(|next| next.min(*from));
            }
            Call::Purge(through, marker) => {
                state.entries.retain(|entry| entry.index > *through);
                state.next = state.next.max(Some(through + 1));
                state.metas.insert(MetaKey::Purged, marker.clone());
            }
            Call::Meta(key, value) => drop(state.metas.insert(*key, value.clone())),
            Call::Remove => *state = ModelGroup::default(),
        }
    }

    /// What the log looks like, in the same form. Reads every entry.
    pub(crate) fn of(wal: &Wal) -> Result<Self, WalError> {
        let mut model = Self::default();
        for group in GROUPS {
            let log = wal.group(group);
            let mut state = ModelGroup::default();
            if let Some((first, last)) = log.bounds() {
                let mut next = first;
                while next <= last {
                    let page = log.read(next..last + 1, 500)?;
                    assert_eq!(page.first().map(|entry| entry.index), Some(next), "a gap");
                    next += page.len() as u64;
                    state.entries.extend(page);
                }
            }
            for key in [MetaKey::Vote, MetaKey::Committed, MetaKey::Purged] {
                if let Some(value) = log.meta(key) {
                    state.metas.insert(key, value);
                }
            }
            model.groups.insert(group, state);
        }
        Ok(model)
    }

    pub(crate) fn summary(&self) -> String {
        let group = |(id, group): (&GroupId, &ModelGroup)| {
            let entries: Vec<_> =
                group.entries.iter().map(|entry| format!("{}:{}", entry.index, entry.payload.len())).collect();
            let metas: Vec<_> = group.metas.iter().map(|(key, value)| format!("{key:?}={:x}", value[0])).collect();
            format!("{id} [{}] {}", entries.join(" "), metas.join(" "))
        };
        self.groups.iter().map(group).collect::<Vec<_>>().join("\n")
    }

    /// Equality of what can be observed.
    pub(crate) fn shows(&self, other: &Self) -> bool {
        GROUPS.iter().all(|group| {
            let (left, right) = (self.groups.get(group), other.groups.get(group));
            let empty = ModelGroup::default();
            let (left, right) = (left.unwrap_or(&empty), right.unwrap_or(&empty));
            left.entries == right.entries && left.metas == right.metas
        })
    }
}

/// Makes up calls that a well-behaved caller could make next.
pub(crate) fn random_call(model: &Model, random: &mut Random, group: GroupId) -> Call {
    let empty = ModelGroup::default();
    let state = model.groups.get(&group).unwrap_or(&empty);
    let first = state.entries.front().map_or(state.next.unwrap_or(1), |entry| entry.index);
    let next = state.next.unwrap_or(1);
    match random.below(20) {
        0..10 => {
            let count = 1 + random.below(4);
            let entries = (next..next + count).map(|index| {
                let len = random.below(300) as usize;
                LogEntry { index, payload: random.bytes(len).into() }
            });
            Call::Append(entries.collect())
        }
        10..12 if first < next => Call::Truncate(first + random.below(next - first)),
        12..15 if first < next => Call::Purge(first + random.below(next - first), random.bytes(9).into()),
        15 => Call::Purge(next + random.below(5), random.bytes(9).into()),
        16 if random.below(4) == 0 => Call::Remove,
        17 => Call::Meta(MetaKey::Committed, random.bytes(8).into()),
        _ => Call::Meta(MetaKey::Vote, random.bytes(17).into()),
    }
}

pub(crate) fn submit(wal: &Wal, group: GroupId, call: Call, done: Completion) {
    let log = wal.group(group);
    match call {
        Call::Append(entries) => log.append(entries, done),
        Call::Truncate(from) => log.truncate(from, done),
        Call::Purge(through, marker) => log.purge(through, marker, done),
        Call::Meta(key, value) => log.save_meta(key, value, done),
        Call::Remove => wal.remove_group(group, done),
    }
}

/// What a run of random calls left behind.
pub(crate) struct Run {
    /// The state before the first call and after each.
    pub(crate) states: Vec<Model>,
    /// Calls that were acknowledged: always the first ones.
    pub(crate) acknowledged: usize,
    pub(crate) failures: Vec<WalError>,
    pub(crate) moved_bytes: u64,
}

pub(crate) fn small_config() -> WalConfig {
    WalConfig { segment_bytes: 4096, batch_bytes_max: 2048, tail_bytes_max: 1500, sync: true }
}

/// Opens the log and makes `calls` random calls, in bursts, with the writer running. Every
/// state that the log shows on the way is compared with the model.
pub(crate) fn run(disk: &MemoryDisk, before: &Model, random: &mut Random, calls: usize) -> Run {
    let mut states = vec![before.clone()];
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let failures = Arc::new(Mutex::new(Vec::new()));
    let wal = match Wal::open(Arc::new(disk.clone()), small_config()) {
        Ok(wal) => wal,
        Err(error) => return Run { states, acknowledged: 0, failures: vec![error], moved_bytes: 0 },
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let script = async {
            let mut model = before.clone();
            // In every other run one group falls silent, and has to be moved out of the way.
            let active = GROUPS.len() as u64 - random.below(2);
            // And in every other one the device takes a while, so that calls come in the
            // middle of a write.
            let latency_ms = random.below(2);
            disk.set_sync_latency(Duration::from_millis(5 * latency_ms));
            for number in 0..calls {
                let groups = if number < calls / 8 { GROUPS.len() as u64 } else { active };
                let group = GROUPS[random.below(groups) as usize];
                let call = random_call(&model, random, group);
                model.apply(group, &call);
                states.push(model.clone());
                let (count, errors) = (acknowledged.clone(), failures.clone());
                let done: Completion = Box::new(move |result| match result {
                    Ok(()) => {
                        let earlier = count.fetch_add(1, Ordering::Relaxed);
                        assert_eq!(earlier, number, "acknowledged out of order");
                    }
                    Err(error) => errors.lock().unwrap().push(error),
                });
                submit(&wal, group, call, done);
                match random.below(3) {
                    0 if latency_ms > 0 => tokio::time::sleep(Duration::from_millis(random.below(5))).await,
                    0 => tokio::task::yield_now().await,
                    _ => {}
                }
                let is_fine = failures.lock().unwrap().is_empty();
                if is_fine && random.below(8) == 0 {
                    match Model::of(&wal) {
                        Ok(found) => assert!(found.shows(&model)),
                        Err(WalError::Io { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            }
            wal.shutdown();
        };
        tokio::join!(wal.run_writer(), script);
    });
    let failures = std::mem::take(&mut *failures.lock().unwrap());
    let moved_bytes = wal.stats().moved_bytes;
    Run { states, acknowledged: acknowledged.load(Ordering::Relaxed), failures, moved_bytes }
}
