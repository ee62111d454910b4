//! A segment: one preallocated file of the log. Its first sector is a header, written and
//! synced before the first record; the records follow without gaps.
//!
//! ```text
//! 0 magic | 8 version u32 | epoch u32 | 16 sequence u64 | 24 previous segment's end u64
//! 32 length u64 | 40 crc32c u32
//! ```
//!
//! A file becomes a segment by renaming a spare one (zeroed, or recycled), and goes back
//! to the spares, or away, once nothing in it is needed.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::WalError;
use super::record::{self, Record, u32_at, u64_at};
use crate::disk::{Disk, DiskFile, OpenMode};

/// Records begin behind one sector, so that no batch ever rewrites the header.
pub(super) const DATA_START: u64 = 512;
const MAGIC: &[u8; 8] = b"PRPTWAL1";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 44;
const SUFFIX: &str = ".wal";

pub(super) struct Segment {
    pub(super) sequence: u64,
    pub(super) name: Arc<str>,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) len: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct SegmentHeader {
    pub(super) epoch: u32,
    pub(super) sequence: u64,
    /// Where the records of the segment before end. Nothing was written behind it.
    pub(super) previous_end: u64,
    pub(super) len: u64,
}

impl Segment {
    /// Makes a segment of the spare file. The header is written only once the new name is
    /// durable: a file that a power cut turned back into a spare would keep it otherwise,
    /// and pass for a segment when a later life gives it the same name.
    pub(super) fn activate(disk: &dyn Disk, spare: &str, header: SegmentHeader, sync: bool) -> Result<Self, WalError> {
        let name: Arc<str> = segment_name(header.sequence).into();
        let failed = |operation| move |error| io_error(operation, spare, &error);
        disk.rename(spare, &name).map_err(failed("rename"))?;
        if sync {
            disk.sync_dir().map_err(failed("directory sync"))?;
        }
        let file = disk.open(&name, OpenMode::Existing).map_err(failed("open"))?;
        file.write_at(0, &header.encode()).map_err(failed("header write"))?;
        if sync {
            file.sync_data().map_err(failed("header sync"))?;
        }
        Ok(Self { sequence: header.sequence, name, file, len: header.len })
    }

    /// Reads one record again.
    pub(super) fn read(&self, offset: u32, len: u32) -> Result<Record, WalError> {
        let mut bytes = vec![0; len as usize];
        let read = self.file.read_at(u64::from(offset), &mut bytes);
        let read = read.map_err(|error| io_error("read", &self.name, &error))?;
        record::decode(self.sequence, offset, &bytes[..read])
            .ok_or_else(|| self.corrupt(u64::from(offset), "a record that was valid does not check out any more"))
    }

    pub(super) fn corrupt(&self, offset: u64, reason: &str) -> WalError {
        WalError::Corrupt { file: self.name.clone(), offset, reason: reason.into() }
    }
}

impl SegmentHeader {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(DATA_START as usize);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.epoch.to_le_bytes());
        bytes.extend_from_slice(&self.sequence.to_le_bytes());
        bytes.extend_from_slice(&self.previous_end.to_le_bytes());
        bytes.extend_from_slice(&self.len.to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        bytes.resize(DATA_START as usize, 0);
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        let covered = &bytes[..HEADER_BYTES - 4];
        let is_ours = bytes.starts_with(MAGIC) && u32_at(bytes, 8) == VERSION;
        (is_ours && crc32c::crc32c(covered) == u32_at(bytes, HEADER_BYTES - 4)).then(|| Self {
            epoch: u32_at(bytes, 12),
            sequence: u64_at(bytes, 16),
            previous_end: u64_at(bytes, 24),
            len: u64_at(bytes, 32),
        })
    }
}

pub(super) fn segment_name(sequence: u64) -> String {
    format!("{sequence:016x}{SUFFIX}")
}

pub(super) fn segment_sequence(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX).filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok()
}

pub(super) fn io_error(operation: &'static str, file: &str, error: &io::Error) -> WalError {
    WalError::Io { operation, file: file.into(), reason: error.to_string().into() }
}

/// Where a record lies, and which of its entries are still of use.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) first: u64,
    /// Behind the last entry.
    pub(super) end: u64,
    pub(super) segment: Arc<Segment>,
    pub(super) offset: u32,
    pub(super) len: u32,
}

impl Place {
    /// Payloads of the entries `from..to`, read from the disk and checked again.
    pub(super) fn read(&self, from: u64, to: u64) -> Result<Vec<Bytes>, WalError> {
        let (first, mut payloads) = match self.segment.read(self.offset, self.len)?.command {
            record::Command::Append { first, payloads } | record::Command::Move { first, payloads } => {
                (first, payloads)
            }
            _ => return Err(self.segment.corrupt(u64::from(self.offset), "not a record of entries")),
        };
        payloads.truncate((to - first) as usize);
        payloads.drain(..(from - first) as usize);
        Ok(payloads)
    }
}
