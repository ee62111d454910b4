//! Opening a log: replays the segments in order and decides what an invalid record means.
//!
//! A segment that has a successor must check out up to the end that the successor's header
//! names. In the last one the first invalid record ends the log, if it can be a torn write:
//! the batch that it belongs to, or that would follow, was then the last one written. A
//! record further on whose batch began later proves the opposite - a batch is only written
//! once the one before is synced - and so does a record of a later epoch.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::group::{GroupCell, Recovered, cut_from, cut_through};
use super::manifest::Content;
use super::record::{self, ALIGN_BYTES, Command, Record};
use super::segment::{DATA_START, Place, Segment, SegmentHeader, io_error, segment_name, segment_sequence};
use super::spares::spare_number;
use super::{GroupId, Position, WalError};
use crate::disk::{Disk, OpenMode};

/// A log as found on disk.
pub(super) struct Log {
    pub(super) groups: BTreeMap<GroupId, Arc<GroupCell>>,
    /// In order; empty when there never was a log.
    pub(super) segments: VecDeque<Arc<Segment>>,
    /// Where the records of the last segment end.
    pub(super) end: u64,
    pub(super) epoch: u32,
    pub(super) spares: Vec<String>,
}

impl Log {
    pub(super) fn first(&self) -> Option<u64> {
        self.segments.front().map(|segment| segment.sequence)
    }

    pub(super) fn head(&self) -> Option<u64> {
        self.segments.back().map(|segment| segment.sequence)
    }

    pub(super) fn position(&self) -> Option<Position> {
        self.head().map(|segment| Position { segment, offset: self.end })
    }
}

#[derive(Default)]
struct Replay {
    groups: BTreeMap<GroupId, Group>,
    epoch: u32,
}

#[derive(Default)]
struct Group {
    places: VecDeque<Place>,
    metas: [Option<(Bytes, Arc<Segment>)>; 3],
    purged_through: Option<u64>,
}

struct Found {
    segment: Arc<Segment>,
    header: SegmentHeader,
}

/// `known` is what the manifest says of the log.
pub(super) fn open(disk: &dyn Disk, known: Option<Content>) -> Result<Log, WalError> {
    let names = disk.list().map_err(|error| io_error("list", ".", &error))?;
    let mut sequences: Vec<u64> = names.iter().filter_map(|name| segment_sequence(name)).collect();
    sequences.sort_unstable();
    if let Some(known) = known {
        check_ends(&sequences, known)?;
    }
    let mut spares: Vec<String> = names.into_iter().filter(|name| spare_number(name).is_some()).collect();
    let mut found: Vec<Found> = Vec::new();
    for (at, &sequence) in sequences.iter().enumerate() {
        if let Some(previous) = found.last().filter(|previous| previous.header.sequence + 1 != sequence) {
            return Err(previous.segment.corrupt(previous.segment.len, "the segment that follows is missing"));
        }
        let is_last = at + 1 == sequences.len();
        // A segment in the manifest had its header before.
        let may_be_unborn = is_last && known.is_none_or(|known| known.head < sequence);
        match open_segment(disk, sequence, may_be_unborn)? {
            Some(segment) => found.push(segment),
            None => remove(disk, &segment_name(sequence))?,
        }
    }
    if found.is_empty() {
        // A new log counts its segments from one: nothing old may be taken for its records.
        for spare in spares.drain(..) {
            remove(disk, &spare)?;
        }
    }
    let mut replay = Replay::default();
    let mut end = 0;
    for (at, Found { segment, header }) in found.iter().enumerate() {
        if header.epoch < replay.epoch {
            return Err(segment.corrupt(0, "the segment is older than the one before"));
        }
        replay.epoch = header.epoch;
        let successor = found.get(at + 1).map(|next| next.header.previous_end);
        end = replay.segment(segment, successor)?;
    }
    let segments: VecDeque<_> = found.into_iter().map(|found| found.segment).collect();
    let groups = replay.finish(segments.back())?;
    Ok(Log { groups, segments, end, epoch: replay.epoch, spares })
}

/// A log without a piece at one end looks whole. Pieces in the middle are missed later.
fn check_ends(sequences: &[u64], known: Content) -> Result<(), WalError> {
    let Content { first, head, .. } = known;
    if head == 0 {
        return Ok(());
    }
    let missing = match (sequences.first(), sequences.last()) {
        (Some(&found), _) if found > first => {
            format!("it begins with {}, not with {}", segment_name(found), segment_name(first))
        }
        (_, Some(&found)) if found < head => {
            format!("it ends with {}, not with {}", segment_name(found), segment_name(head))
        }
        (Some(_), _) => return Ok(()),
        (None, _) => format!("none of its segments is there, from {} to {}", segment_name(first), segment_name(head)),
    };
    Err(WalError::Missing(missing.into()))
}

/// `None` when the file became a segment by name only, which the last one may have.
fn open_segment(disk: &dyn Disk, sequence: u64, may_be_unborn: bool) -> Result<Option<Found>, WalError> {
    let name: Arc<str> = segment_name(sequence).into();
    let failed = |operation| {
        let name = name.clone();
        move |error| io_error(operation, &name, &error)
    };
    let file = disk.open(&name, OpenMode::Existing).map_err(failed("open"))?;
    let len = file.len().map_err(failed("length"))?;
    let mut bytes = [0; DATA_START as usize];
    let read = file.read_at(0, &mut bytes).map_err(failed("read"))?;
    let header = SegmentHeader::decode(&bytes[..read]).filter(|header| header.sequence == sequence);
    let segment = Arc::new(Segment { sequence, name: name.clone(), file, len });
    match header {
        Some(header) if header.len != len => {
            Err(segment.corrupt(len, &format!("the file should have {} bytes", header.len)))
        }
        Some(header) => Ok(Some(Found { segment, header })),
        None if !may_be_unborn => Err(segment.corrupt(0, "the segment header does not check out")),
        None => {
            // The header is synced before the first record is written.
            let content = read_all(&segment)?;
            let record = valid_records(&segment, &content, DATA_START).next();
            match record {
                Some(_) => Err(segment.corrupt(0, "the segment header does not check out, but records do")),
                None => Ok(None),
            }
        }
    }
}

impl Replay {
    /// Applies the segment's records and returns where they end.
    fn segment(&mut self, segment: &Arc<Segment>, end: Option<u64>) -> Result<u64, WalError> {
        let content = read_all(segment)?;
        let mut offset = DATA_START;
        loop {
            if end.is_some_and(|end| offset >= end) {
                return Ok(offset);
            }
            let bytes = content.get(offset as usize..).unwrap_or_default();
            let record = record::decode(segment.sequence, offset as u32, bytes);
            let Some(record) = record.filter(|record| self.is_of_this_epoch(record)) else {
                break;
            };
            let len = record.len as u64;
            self.apply(segment, offset as u32, record)?;
            offset += len;
        }
        if end.is_some() {
            return Err(segment.corrupt(offset, "a record does not check out, and the log goes on in the next segment"));
        }
        let later = valid_records(segment, &content, offset + ALIGN_BYTES as u64).find(|(_, record)| {
            record.epoch > self.epoch || (record.epoch == self.epoch && u64::from(record.batch_start) > offset)
        });
        if let Some((later, _)) = later {
            let reason = format!("a record does not check out, and a later one at offset {later} does");
            return Err(segment.corrupt(offset, &reason));
        }
        Ok(offset)
    }

    fn is_of_this_epoch(&self, record: &Record) -> bool {
        match record.command {
            Command::Open => record.epoch == self.epoch + 1,
            _ => record.epoch == self.epoch,
        }
    }

    fn apply(&mut self, segment: &Arc<Segment>, offset: u32, record: Record) -> Result<(), WalError> {
        let len = record.len as u32;
        let place = |first: u64, count: usize| Place {
            first,
            end: first + count as u64,
            segment: segment.clone(),
            offset,
            len,
        };
        let group = self.groups.entry(record.group).or_default();
        match record.command {
            Command::Append { first, payloads } => {
                if group.places.back().is_some_and(|last| last.end > first) {
                    let reason = format!("group {} has entry {first} already", record.group);
                    return Err(segment.corrupt(u64::from(offset), &reason));
                }
                group.places.push_back(place(first, payloads.len()));
            }
            Command::Move { first, payloads } => {
                let moved = place(first, payloads.len());
                group.places.retain(|old| old.end <= moved.first || old.first >= moved.end);
                let at = group.places.partition_point(|old| old.end <= moved.first);
                group.places.insert(at, moved);
            }
            Command::Truncate { from } => cut_from(&mut group.places, from),
            Command::Purge { through, marker } => {
                group.metas[super::MetaKey::Purged as usize] = Some((marker, segment.clone()));
                if let Some(through) = through {
                    group.purged_through = Some(through);
                    cut_through(&mut group.places, through);
                }
            }
            Command::Meta { key, value } => group.metas[key as usize] = Some((value, segment.clone())),
            Command::Remove => *group = Group::default(),
            Command::Open => self.epoch = record.epoch,
            Command::Barrier => {}
        }
        Ok(())
    }

    /// Entries that were moved may come after those that follow them, so that gaps show
    /// only in the end.
    fn finish(&mut self, last: Option<&Arc<Segment>>) -> Result<BTreeMap<GroupId, Arc<GroupCell>>, WalError> {
        let mut cells = BTreeMap::new();
        for (id, group) in std::mem::take(&mut self.groups) {
            let mut next = group.purged_through.map(|through| through + 1);
            for place in &group.places {
                if next.is_some_and(|next| next != place.first) {
                    let reason = format!("group {id} has a gap before entry {}", place.first);
                    return Err(place.segment.corrupt(u64::from(place.offset), &reason));
                }
                next = Some(place.end);
            }
            let Group { places, metas, purged_through } = group;
            if last.is_some() && (next.is_some() || metas.iter().any(Option::is_some)) {
                cells.insert(id, GroupCell::recovered(id, Recovered { places, metas, purged_through }));
            }
        }
        Ok(cells)
    }
}

/// Every record at or behind `from` that checks out, whatever lies between.
fn valid_records<'a>(segment: &'a Segment, content: &'a [u8], from: u64) -> impl Iterator<Item = (u64, Record)> + 'a {
    (from..content.len() as u64).step_by(ALIGN_BYTES).filter_map(|offset| {
        let record = record::decode(segment.sequence, offset as u32, &content[offset as usize..])?;
        Some((offset, record))
    })
}

fn read_all(segment: &Segment) -> Result<Vec<u8>, WalError> {
    let mut content = vec![0; segment.len as usize];
    let read = segment.file.read_at(0, &mut content);
    let read = read.map_err(|error| io_error("read", &segment.name, &error))?;
    content.truncate(read);
    Ok(content)
}

fn remove(disk: &dyn Disk, name: &str) -> Result<(), WalError> {
    disk.remove(name).map_err(|error| io_error("remove", name, &error))?;
    disk.sync_dir().map_err(|error| io_error("directory sync", name, &error))
}
