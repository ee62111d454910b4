//! Files that wait to become segments: zeroed ones, prepared ahead by a thread of their own
//! where threads are allowed, and recycled ones.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::segment::io_error;
use super::{Shared, WalError};
use crate::disk::{Disk, OpenMode};

const PREFIX: &str = "spare-";
/// Zeros are synced in small steps: the device makes commits wait while it takes them.
const STEP_BYTES: u64 = 2 << 20;

#[derive(Default)]
pub(super) struct Spares {
    ready: Mutex<Vec<String>>,
    /// The highest number in use.
    numbers: AtomicU64,
    preparer: Mutex<Option<SyncSender<()>>>,
}

impl Spares {
    pub(super) fn take(&self) -> Option<String> {
        lock(&self.ready).pop()
    }

    pub(super) fn count(&self) -> usize {
        lock(&self.ready).len()
    }

    pub(super) fn put_all(&self, names: impl IntoIterator<Item = String>) {
        for name in names {
            self.numbers.fetch_max(spare_number(&name).unwrap_or(0), Ordering::Relaxed);
            lock(&self.ready).push(name);
        }
    }

    /// Takes over a file that an earlier process left, if it is a whole one.
    pub(super) fn adopt(&self, disk: &dyn Disk, name: String, len: u64) -> Result<(), WalError> {
        let found = disk.open(&name, OpenMode::Existing).and_then(|file| file.len());
        if found.map_err(|error| io_error("open", &name, &error))? == len {
            self.put_all([name]);
        } else {
            self.numbers.fetch_max(spare_number(&name).unwrap_or(0), Ordering::Relaxed);
            disk.remove(&name).map_err(|error| io_error("remove", &name, &error))?;
        }
        Ok(())
    }

    pub(super) fn next_name(&self) -> String {
        format!("{PREFIX}{:08}", self.numbers.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Creates a zeroed file of that length, which is not among the ready ones.
    pub(super) fn create(&self, disk: &dyn Disk, len: u64, sync: bool) -> Result<String, WalError> {
        let name = self.next_name();
        let failed = |operation| {
            let name = name.clone();
            move |error| io_error(operation, &name, &error)
        };
        let file = disk.open(&name, OpenMode::CreateNew).map_err(failed("create"))?;
        let filled = || {
            let mut at = 0;
            while at < len {
                at = len.min(at + STEP_BYTES);
                file.set_len(at).map_err(failed("preallocate"))?;
                if sync {
                    file.sync_data().map_err(failed("sync"))?;
                }
            }
            if sync {
                disk.sync_dir().map_err(failed("directory sync"))?;
            }
            Ok(())
        };
        if let Err(error) = filled() {
            // A part of a segment is of no use, and must not be what fills a disk.
            if let Err(error) = disk.remove(&name) {
                tracing::warn!(%error, file = name, "an unfinished WAL segment could not be removed");
            }
            return Err(error);
        }
        Ok(name)
    }

    /// Asks the preparer, if there is one, to have a file ready for the next segment.
    pub(super) fn request(&self) {
        if let Some(preparer) = &*lock(&self.preparer) {
            // Full means that it is asked already.
            let _asked = preparer.try_send(());
        }
    }

    /// Lets the preparer end.
    pub(super) fn dismiss_preparer(&self) {
        lock(&self.preparer).take();
    }
}

/// Zeroing a segment takes as long as thousands of commits, so the writer does not do it.
pub(super) fn spawn_preparer(shared: &Arc<Shared>) -> std::io::Result<JoinHandle<()>> {
    let (sender, requests) = sync_channel(1);
    *lock(&shared.spares.preparer) = Some(sender);
    let shared = shared.clone();
    thread::Builder::new().name("wal-preparer".to_owned()).spawn(move || {
        let Shared { spares, disk, config, .. } = &*shared;
        for () in requests {
            if spares.count() > 0 {
                continue;
            }
            match spares.create(&**disk, config.segment_bytes, config.sync) {
                Ok(name) => spares.put_all([name]),
                // The writer will try for itself when it needs one.
                Err(error) => tracing::warn!(%error, "no WAL segment could be prepared"),
            }
        }
    })
}

pub(super) fn spare_number(name: &str) -> Option<u64> {
    name.strip_prefix(PREFIX)?.parse().ok()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
