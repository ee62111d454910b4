//! What the log consists of and whose it is, in a file beside the segments: a segment that
//! is missing at either end leaves no gap that the others could show.
//!
//! ```text
//! two slots, one page apart, written in turn, so that a torn write leaves the other one:
//! 0 magic | 8 version u32 | zeros u32 | 16 number u64 | 24 store id, 16 bytes
//! 40 first u64 | 48 head u64 | 56 crc32c u32
//! ```
//!
//! `first` is written before older segments go, `head` once a new segment is durable and
//! before anything is written to it. So a healthy log has at least `first..=head`; what a
//! crash in between leaves is more, never less. Before the first segment `head` is 0.

use std::sync::Arc;

use super::WalError;
use super::record::{u32_at, u64_at};
use super::segment::io_error;
use crate::StoreId;
use crate::disk::{Disk, DiskFile, OpenMode};

pub(super) const NAME: &str = "manifest";
const MAGIC: &[u8; 8] = b"PRPTMAN1";
const VERSION: u32 = 1;
const SLOT_BYTES: usize = 60;
const SLOTS: u64 = 2;
/// No device tears across two of these.
const SLOT_DISTANCE: u64 = 4096;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Content {
    pub(super) store: StoreId,
    /// No segment below is needed.
    pub(super) first: u64,
    /// The last segment that may hold anything.
    pub(super) head: u64,
}

/// The file, and what it says.
pub(super) struct Manifest {
    file: Arc<dyn DiskFile>,
    sync: bool,
    number: u64,
    content: Content,
}

/// What is on disk: the content and its number. `None` when none was ever written whole.
pub(super) fn read(disk: &dyn Disk) -> Result<Option<(u64, Content)>, WalError> {
    let failed = |operation| move |error| io_error(operation, NAME, &error);
    let names = disk.list().map_err(failed("list"))?;
    if !names.iter().any(|name| name == NAME) {
        return Ok(None);
    }
    let file = disk.open(NAME, OpenMode::Existing).map_err(failed("open"))?;
    let mut found = [None; SLOTS as usize];
    for slot in 0..SLOTS {
        let mut bytes = [0; SLOT_BYTES];
        file.read_at(slot * SLOT_DISTANCE, &mut bytes).map_err(failed("read"))?;
        found[slot as usize] = decode(&bytes);
    }
    Ok(found.into_iter().flatten().max_by_key(|(number, _)| *number))
}

impl Manifest {
    /// Goes on with what was found, or begins with `content`, durably.
    pub(super) fn open(
        disk: &dyn Disk,
        sync: bool,
        found: Option<(u64, Content)>,
        content: Content,
    ) -> Result<Self, WalError> {
        let failed = |operation| move |error| io_error(operation, NAME, &error);
        let exists = disk.list().map_err(failed("list"))?.iter().any(|name| name == NAME);
        let mode = if exists { OpenMode::Existing } else { OpenMode::CreateNew };
        let file = disk.open(NAME, mode).map_err(failed("open"))?;
        let Some((number, found)) = found else {
            file.set_len(SLOTS * SLOT_DISTANCE).map_err(failed("preallocate"))?;
            let mut manifest = Self { file, sync, number: 0, content };
            manifest.write(content)?;
            if sync {
                disk.sync_dir().map_err(failed("directory sync"))?;
            }
            return Ok(manifest);
        };
        Ok(Self { file, sync, number, content: found })
    }

    pub(super) fn store(&self) -> StoreId {
        self.content.store
    }

    pub(super) fn set_first(&mut self, first: u64) -> Result<(), WalError> {
        self.write(Content { first, ..self.content })
    }

    pub(super) fn set_head(&mut self, head: u64) -> Result<(), WalError> {
        if head == self.content.head {
            return Ok(());
        }
        self.write(Content { head, ..self.content })
    }

    fn write(&mut self, content: Content) -> Result<(), WalError> {
        let number = self.number + 1;
        let at = number % SLOTS * SLOT_DISTANCE;
        self.file.write_at(at, &encode(number, content)).map_err(|error| io_error("write", NAME, &error))?;
        if self.sync {
            self.file.sync_data().map_err(|error| io_error("sync", NAME, &error))?;
        }
        (self.number, self.content) = (number, content);
        Ok(())
    }
}

fn encode(number: u64, content: Content) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(SLOT_BYTES);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(&content.store.0);
    bytes.extend_from_slice(&content.first.to_le_bytes());
    bytes.extend_from_slice(&content.head.to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}

fn decode(bytes: &[u8; SLOT_BYTES]) -> Option<(u64, Content)> {
    let covered = &bytes[..SLOT_BYTES - 4];
    let is_ours = bytes.starts_with(MAGIC) && u32_at(bytes, 8) == VERSION;
    (is_ours && crc32c::crc32c(covered) == u32_at(bytes, SLOT_BYTES - 4)).then(|| {
        let mut store = [0; 16];
        store.copy_from_slice(&bytes[24..40]);
        (u64_at(bytes, 16), Content { store: StoreId(store), first: u64_at(bytes, 40), head: u64_at(bytes, 48) })
    })
}
