//! One record of the log, as bytes:
//!
//! ```text
//! 0  payload length u32 | crc32c u32        8  batch start u32 | epoch u32
//! 16 group u64                              24 index u64
//! 32 kind u8, three zeros | count u32       40 payload, zeros up to a multiple of 8
//! ```
//!
//! All little-endian. The checksum covers everything else, the padding, and what is not
//! written down: the segment's sequence number and the record's offset. So the stale
//! records of a recycled segment, or of another place, never check out. *Batch start* is
//! the offset at which the write that carried this record began: a record whose batch
//! began behind some offset proves that everything before that offset had been synced.

use bytes::Bytes;

use super::{GroupId, MetaKey};

pub(super) const HEADER_BYTES: usize = 40;
pub(super) const ALIGN_BYTES: usize = 8;
const LENGTH_BYTES: usize = size_of::<u32>();
const CRC_END: usize = 8;

/// What a record does to its group.
#[derive(Clone, Debug)]
pub(super) enum Command {
    Append {
        first: u64,
        payloads: Vec<Bytes>,
    },
    /// Entries that were appended before, written again so that their old segment can go.
    Move {
        first: u64,
        payloads: Vec<Bytes>,
    },
    Truncate {
        from: u64,
    },
    Purge {
        through: Option<u64>,
        marker: Bytes,
    },
    Meta {
        key: MetaKey,
        value: Bytes,
    },
    Remove,
    /// A new epoch: the log was opened again. Records of earlier epochs behind this one
    /// are remains of a torn write.
    Open,
    /// Nothing to write, only a place in the order.
    Barrier,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum Kind {
    Append = 1,
    Move = 2,
    Truncate = 3,
    Purge = 4,
    Meta = 5,
    Remove = 6,
    Open = 7,
}

/// Where the records of one write go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) segment: u64,
    pub(super) epoch: u32,
    pub(super) batch_start: u32,
}

/// A record that checked out.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) batch_start: u32,
    pub(super) epoch: u32,
    pub(super) group: GroupId,
    pub(super) command: Command,
    /// With header and padding.
    pub(super) len: usize,
}

impl Command {
    fn payload_bytes(&self) -> usize {
        match self {
            Self::Append { payloads, .. } | Self::Move { payloads, .. } => {
                payloads.iter().map(|payload| LENGTH_BYTES + payload.len()).sum()
            }
            Self::Purge { marker: value, .. } | Self::Meta { value, .. } => value.len(),
            Self::Truncate { .. } | Self::Remove | Self::Open | Self::Barrier => 0,
        }
    }

    /// Bytes of the record on disk.
    pub(super) fn record_bytes(&self) -> usize {
        match self {
            Self::Barrier => 0,
            _ => HEADER_BYTES + self.payload_bytes().next_multiple_of(ALIGN_BYTES),
        }
    }
}

/// Appends the record to `buffer`, which holds the write that starts at
/// `frame.batch_start`. Returns the record's offset in the segment.
pub(super) fn encode(buffer: &mut Vec<u8>, frame: Frame, group: GroupId, command: &Command) -> u32 {
    let (kind, index, count, values): (Kind, u64, usize, &[Bytes]) = match command {
        Command::Append { first, payloads } => (Kind::Append, *first, payloads.len(), payloads),
        Command::Move { first, payloads } => (Kind::Move, *first, payloads.len(), payloads),
        Command::Truncate { from } => (Kind::Truncate, *from, 0, &[]),
        Command::Purge { through, marker } => {
            (Kind::Purge, through.unwrap_or(0), usize::from(through.is_some()), std::slice::from_ref(marker))
        }
        Command::Meta { key, value } => (Kind::Meta, *key as u64, 0, std::slice::from_ref(value)),
        Command::Remove => (Kind::Remove, 0, 0, &[]),
        Command::Open => (Kind::Open, 0, 0, &[]),
        Command::Barrier => unreachable!("a barrier is not written"),
    };
    let at = buffer.len();
    let offset = frame.batch_start + at as u32;
    buffer.extend_from_slice(&(command.payload_bytes() as u32).to_le_bytes());
    buffer.extend_from_slice(&[0; LENGTH_BYTES]);
    buffer.extend_from_slice(&frame.batch_start.to_le_bytes());
    buffer.extend_from_slice(&frame.epoch.to_le_bytes());
    buffer.extend_from_slice(&group.to_le_bytes());
    buffer.extend_from_slice(&index.to_le_bytes());
    buffer.extend_from_slice(&[kind as u8, 0, 0, 0]);
    buffer.extend_from_slice(&(count as u32).to_le_bytes());
    if matches!(kind, Kind::Append | Kind::Move) {
        for value in values {
            buffer.extend_from_slice(&(value.len() as u32).to_le_bytes());
        }
    }
    for value in values {
        buffer.extend_from_slice(value);
    }
    buffer.resize(at + command.record_bytes(), 0);
    let crc = checksum(frame.segment, offset, &buffer[at..]);
    buffer[at + LENGTH_BYTES..at + CRC_END].copy_from_slice(&crc.to_le_bytes());
    offset
}

/// The record at the beginning of `bytes`, which were read at `offset` of the segment and
/// may go on behind it. `None` when it does not check out.
pub(super) fn decode(segment: u64, offset: u32, bytes: &[u8]) -> Option<Record> {
    let header: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
    let kind = Kind::of(header[32])?;
    let payload_bytes = u32_at(header, 0) as usize;
    let batch_start = u32_at(header, 8);
    if header[33..36] != [0; 3] || batch_start > offset {
        return None;
    }
    let record = bytes.get(..HEADER_BYTES + payload_bytes.checked_next_multiple_of(ALIGN_BYTES)?)?;
    if checksum(segment, offset, record) != u32_at(header, LENGTH_BYTES) {
        return None;
    }
    let index = u64_at(header, 24);
    let count = u32_at(header, 36) as usize;
    let payload = &record[HEADER_BYTES..HEADER_BYTES + payload_bytes];
    let command = match kind {
        Kind::Append => Command::Append { first: index, payloads: split(payload, count)? },
        Kind::Move => Command::Move { first: index, payloads: split(payload, count)? },
        Kind::Truncate => Command::Truncate { from: index },
        Kind::Purge => {
            Command::Purge { through: (count > 0).then_some(index), marker: Bytes::copy_from_slice(payload) }
        }
        Kind::Meta => Command::Meta { key: MetaKey::of(index)?, value: Bytes::copy_from_slice(payload) },
        Kind::Remove => Command::Remove,
        Kind::Open => Command::Open,
    };
    let (epoch, group) = (u32_at(header, 12), u64_at(header, 16));
    Some(Record { batch_start, epoch, group, command, len: record.len() })
}

fn split(payload: &[u8], count: usize) -> Option<Vec<Bytes>> {
    let (lengths, values) = payload.split_at_checked(count.checked_mul(LENGTH_BYTES)?)?;
    let mut values = Bytes::copy_from_slice(values);
    let mut payloads = Vec::with_capacity(count);
    for length in lengths.chunks_exact(LENGTH_BYTES) {
        let length = u32_at(length, 0) as usize;
        if length > values.len() {
            return None;
        }
        payloads.push(values.split_to(length));
    }
    Some(payloads)
}

fn checksum(segment: u64, offset: u32, record: &[u8]) -> u32 {
    let mut salt = [0; 12];
    salt[..8].copy_from_slice(&segment.to_le_bytes());
    salt[8..].copy_from_slice(&offset.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&salt), &record[..LENGTH_BYTES]);
    crc32c::crc32c_append(crc, &record[CRC_END..])
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut value = [0; 4];
    value.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(value)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(value)
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        const KINDS: [Kind; 7] =
            [Kind::Append, Kind::Move, Kind::Truncate, Kind::Purge, Kind::Meta, Kind::Remove, Kind::Open];
        KINDS.into_iter().find(|kind| *kind as u8 == byte)
    }
}

impl MetaKey {
    pub(super) const ALL: [Self; 3] = [Self::Vote, Self::Committed, Self::Purged];

    fn of(index: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|key| *key as u64 == index)
    }
}
