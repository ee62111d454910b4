//! A disk in memory, for simulation and for development servers without a data
//! directory. It knows what was synced and what was not, so that a power cut can lose,
//! keep or tear each unsynced write, and it fails on request.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Disk, DiskFile, OpenMode};
use crate::space::{Space, Volume};

/// Too many open files, on every Unix.
const EMFILE: i32 = 24;
/// What the device writes as a whole or not at all.
const SECTOR_BYTES: u64 = 512;
/// Content is kept in shared pages, so that the synced and the current version of a file
/// cost memory only where they differ.
const PAGE_BYTES: u64 = 4096;

/// Like an operating system, the disk writes back by itself what has waited for a sync for
/// too long. So memory stays bounded where nobody ever syncs.
const WRITEBACK_BYTES: usize = 1 << 20;
const WRITEBACK_DIRECTORY_CHANGES: usize = 16;

/// A directory of files in memory. Clones share the content: a node that restarts opens a
/// clone of the disk it had before.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Clone, Debug, Default)]
struct Inner {
    files: BTreeMap<u64, FileState>,
    file_ids: u64,
    names: BTreeMap<String, u64>,
    names_synced: BTreeMap<String, u64>,
    directory_unsynced: Vec<DirectoryWrite>,
    /// Handles opened before a power cut are dead: their process is.
    power_cuts: u64,
    faults: Faults,
    writes: u64,
    syncs: u64,
    /// How long all files together may be.
    capacity: Option<u64>,
    sync_latency: Duration,
}

#[derive(Clone, Debug, Default)]
struct Faults {
    /// Counts down with each sync; the one that finds 1 fails.
    sync_fails_in: u64,
    disk_full: bool,
    read_only: bool,
    handles_exhausted: bool,
    directory_sync_fails: bool,
    sync_skipped: bool,
    /// The number of writes after which nothing works until the power cut.
    writes_max: Option<u64>,
}

#[derive(Clone, Debug, Default)]
struct Content {
    /// Absent pages are zero.
    pages: BTreeMap<u64, Arc<[u8]>>,
    len: u64,
}

#[derive(Clone, Debug, Default)]
struct FileState {
    current: Content,
    synced: Content,
    unsynced: Vec<Write>,
    unsynced_bytes: usize,
    /// Writes that a failed sync was to cover. No later sync brings them back: the kernel
    /// has marked their pages clean.
    dropped: Vec<Write>,
    handles: u32,
}

#[derive(Clone, Debug)]
enum Write {
    Data { offset: u64, data: Vec<u8> },
    SetLen(u64),
}

#[derive(Clone, Debug)]
enum DirectoryWrite {
    Create { name: String, id: u64 },
    Remove { name: String },
    Rename { from: String, to: String },
}

impl MemoryDisk {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Drops what was not synced. Each unsynced write is, by the random numbers given,
    /// kept, lost, or torn at sector boundaries; unsynced directory changes survive up to
    /// some point in their order. Files opened before are dead afterwards.
    pub fn power_cut(&self, random: &mut dyn FnMut() -> u64) {
        let mut guard = self.lock();
        let inner = &mut *guard;
        inner.power_cuts += 1;
        inner.faults = Faults { sync_skipped: inner.faults.sync_skipped, ..Faults::default() };
        let directory = std::mem::take(&mut inner.directory_unsynced);
        let kept = (random() % (directory.len() as u64 + 1)) as usize;
        for write in &directory[..kept] {
            write.apply(&mut inner.names_synced);
        }
        inner.names = inner.names_synced.clone();
        for file in inner.files.values_mut() {
            let dropped = std::mem::take(&mut file.dropped);
            file.unsynced_bytes = 0;
            for write in dropped.into_iter().chain(std::mem::take(&mut file.unsynced)) {
                write.survive(&mut file.synced, random);
            }
            file.current = file.synced.clone();
        }
        inner.forget_unused();
    }

    /// Another disk with the same content, synced or not.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self { inner: Arc::new(Mutex::new(self.lock().clone())) }
    }

    /// A new, empty disk in the place of this one. Files opened before are dead afterwards.
    pub fn wipe(&self) {
        let mut inner = self.lock();
        let Inner { power_cuts, writes, syncs, sync_latency, .. } = *inner;
        let faults = Faults { sync_skipped: inner.faults.sync_skipped, ..Faults::default() };
        *inner = Inner { power_cuts: power_cuts + 1, faults, writes, syncs, sync_latency, ..Inner::default() };
    }

    /// Changes to files and to the directory so far, syncs not included. Together with
    /// [`MemoryDisk::stop_after_writes`] a test can cut the power at every one of them.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.lock().writes
    }

    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// Every operation after the given number of writes (as [`MemoryDisk::writes`] counts
    /// them) fails, until the next power cut.
    pub fn stop_after_writes(&self, writes: u64) {
        self.lock().faults.writes_max = Some(writes);
    }

    /// The n-th sync from now fails, 1 being the next. The writes it was to cover stay
    /// unsynced, also when a later sync of the file succeeds.
    pub fn fail_sync(&self, nth: u64) {
        self.lock().faults.sync_fails_in = nth;
    }

    /// While full, writes and file creation fail with `StorageFull`.
    pub fn set_full(&self, full: bool) {
        self.lock().faults.disk_full = full;
    }

    /// While read-only, as a file system becomes after an error, no write and no sync works.
    pub fn set_read_only(&self, read_only: bool) {
        self.lock().faults.read_only = read_only;
    }

    /// While set, no file can be opened or created: the process has all the handles it may.
    pub fn set_handles_exhausted(&self, exhausted: bool) {
        self.lock().faults.handles_exhausted = exhausted;
    }

    /// While set, no change of a name can be made durable.
    pub fn fail_directory_sync(&self, fails: bool) {
        self.lock().faults.directory_sync_fails = fails;
    }

    /// Files may together become this long; what would go beyond fails with `StorageFull`.
    /// Without a capacity there is always room.
    pub fn set_capacity(&self, capacity: Option<u64>) {
        self.lock().capacity = capacity;
    }

    /// The length of all files.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.lock().used()
    }

    /// While set, syncs report success and do nothing: a planted bug that tests of the
    /// tests should find.
    pub fn set_sync_skipped(&self, skipped: bool) {
        self.lock().faults.sync_skipped = skipped;
    }

    /// How long the writer task of a simulated node waits for each sync.
    pub fn set_sync_latency(&self, latency: Duration) {
        self.lock().sync_latency = latency;
    }

    /// Flips the bits of `mask` in one stored byte, as a decaying medium does.
    pub fn corrupt(&self, name: &str, offset: u64, mask: u8) -> io::Result<()> {
        let mut inner = self.lock();
        let id = inner.id_of(name)?;
        let file = inner.file(id)?;
        for content in [&mut file.current, &mut file.synced] {
            let mut byte = [0];
            content.read(offset, &mut byte);
            content.write(offset, &[byte[0] ^ mask]);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for MemoryDisk {
    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut inner = self.lock();
        if inner.faults.handles_exhausted {
            return Err(io::Error::from_raw_os_error(EMFILE));
        }
        let id = match (mode, inner.names.get(name)) {
            (OpenMode::Existing, Some(&id)) => {
                inner.check_power()?;
                id
            }
            (OpenMode::Existing, None) => return Err(io::ErrorKind::NotFound.into()),
            (OpenMode::CreateNew, Some(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
            (OpenMode::CreateNew, None) => {
                inner.begin_write()?;
                inner.file_ids += 1;
                let id = inner.file_ids;
                inner.files.insert(id, FileState::default());
                inner.change_directory(DirectoryWrite::Create { name: name.to_owned(), id });
                id
            }
        };
        inner.file(id)?.handles += 1;
        let power_cuts = inner.power_cuts;
        Ok(Arc::new(MemoryFile { disk: self.clone(), id, power_cuts }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let inner = self.lock();
        inner.check_power()?;
        Ok(inner.names.keys().cloned().collect())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut inner = self.lock();
        inner.id_of(name)?;
        inner.begin_write()?;
        inner.change_directory(DirectoryWrite::Remove { name: name.to_owned() });
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.lock();
        inner.id_of(from)?;
        inner.begin_write()?;
        inner.change_directory(DirectoryWrite::Rename { from: from.to_owned(), to: to.to_owned() });
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut guard = self.lock();
        let inner = &mut *guard;
        if inner.faults.directory_sync_fails {
            return Err(io::Error::other("injected directory sync failure"));
        }
        if inner.begin_sync()? {
            inner.sync_directory();
        }
        Ok(())
    }

    fn simulated_sync_latency(&self) -> Duration {
        self.lock().sync_latency
    }
}

impl Volume for MemoryDisk {
    fn space(&self) -> io::Result<Option<Space>> {
        let inner = self.lock();
        Ok(inner.capacity.map(|total| Space { free: total.saturating_sub(inner.used()), total }))
    }

    fn place(&self) -> String {
        "memory".to_owned()
    }
}

struct MemoryFile {
    disk: MemoryDisk,
    id: u64,
    power_cuts: u64,
}

impl MemoryFile {
    fn lock(&self) -> io::Result<MutexGuard<'_, Inner>> {
        let inner = self.disk.lock();
        if inner.power_cuts != self.power_cuts {
            return Err(io::Error::other("opened before a power cut"));
        }
        inner.check_power()?;
        Ok(inner)
    }

    fn write(&self, write: Write) -> io::Result<()> {
        let mut inner = self.lock()?;
        let now = inner.file(self.id)?.current.len;
        let len = match &write {
            Write::Data { offset, data } => now.max(offset + data.len() as u64),
            Write::SetLen(len) => *len,
        };
        let room = inner.capacity.map(|capacity| capacity.saturating_sub(inner.used()));
        if room.is_some_and(|room| len.saturating_sub(now) > room) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        inner.begin_write()?;
        inner.file(self.id)?.write(write);
        Ok(())
    }
}

impl DiskFile for MemoryFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        Ok(self.lock()?.file(self.id)?.current.read(offset, buf))
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.write(Write::Data { offset, data: data.to_vec() })
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut inner = self.lock()?;
        let synced = inner.begin_sync();
        let file = inner.file(self.id)?;
        match synced {
            Ok(true) => file.sync(),
            Ok(false) => {}
            Err(error) => {
                file.dropped.append(&mut file.unsynced);
                return Err(error);
            }
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.lock()?.file(self.id)?.current.len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.write(Write::SetLen(len))
    }
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        let mut inner = self.disk.lock();
        if let Some(file) = inner.files.get_mut(&self.id) {
            file.handles -= 1;
            if file.handles == 0 {
                inner.forget_unused();
            }
        }
    }
}

impl Inner {
    /// A file that is removed goes on using its space while it is open.
    fn used(&self) -> u64 {
        self.files.values().map(|file| file.current.len).sum()
    }

    fn id_of(&self, name: &str) -> io::Result<u64> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn file(&mut self, id: u64) -> io::Result<&mut FileState> {
        self.files.get_mut(&id).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn check_power(&self) -> io::Result<()> {
        if self.faults.writes_max.is_some_and(|max| self.writes >= max) {
            return Err(io::Error::other("the power is off"));
        }
        Ok(())
    }

    fn begin_write(&mut self) -> io::Result<()> {
        self.check_power()?;
        if self.faults.read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        if self.faults.disk_full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.writes += 1;
        Ok(())
    }

    /// Whether the sync is to be done; not when it is skipped.
    fn begin_sync(&mut self) -> io::Result<bool> {
        self.check_power()?;
        if self.faults.read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        self.syncs += 1;
        if self.faults.sync_fails_in > 0 {
            self.faults.sync_fails_in -= 1;
            if self.faults.sync_fails_in == 0 {
                return Err(io::Error::other("injected sync failure"));
            }
        }
        Ok(!self.faults.sync_skipped)
    }

    fn change_directory(&mut self, write: DirectoryWrite) {
        write.apply(&mut self.names);
        self.directory_unsynced.push(write);
        if self.directory_unsynced.len() > WRITEBACK_DIRECTORY_CHANGES {
            self.sync_directory();
        }
    }

    fn sync_directory(&mut self) {
        self.directory_unsynced.clear();
        self.names_synced = self.names.clone();
        self.forget_unused();
    }

    fn forget_unused(&mut self) {
        let named: BTreeSet<u64> = self.names.values().chain(self.names_synced.values()).copied().collect();
        self.files.retain(|id, file| file.handles > 0 || named.contains(id));
    }
}

impl FileState {
    fn write(&mut self, write: Write) {
        write.apply(&mut self.current);
        self.unsynced_bytes += size_of::<Write>();
        if let Write::Data { data, .. } = &write {
            self.unsynced_bytes += data.len();
        }
        self.unsynced.push(write);
        if self.unsynced_bytes > WRITEBACK_BYTES {
            self.sync();
        }
    }

    fn sync(&mut self) {
        self.unsynced_bytes = 0;
        for write in std::mem::take(&mut self.unsynced) {
            if !self.dropped.is_empty() {
                write.apply(&mut self.synced);
                continue;
            }
            match write {
                Write::SetLen(len) => self.synced.set_len(len),
                Write::Data { offset, data } => {
                    let end = offset + data.len() as u64;
                    for page in offset / PAGE_BYTES..end.div_ceil(PAGE_BYTES) {
                        match self.current.pages.get(&page) {
                            Some(content) => self.synced.pages.insert(page, content.clone()),
                            None => self.synced.pages.remove(&page),
                        };
                    }
                }
            }
        }
        if self.dropped.is_empty() {
            self.synced.len = self.current.len;
        }
    }
}

impl Content {
    fn read(&self, offset: u64, buf: &mut [u8]) -> usize {
        let end = self.len.min(offset.saturating_add(buf.len() as u64));
        let mut at = offset;
        while at < end {
            let page = at / PAGE_BYTES;
            let within = (at % PAGE_BYTES) as usize;
            let count = ((end - at) as usize).min(PAGE_BYTES as usize - within);
            let target = &mut buf[(at - offset) as usize..][..count];
            match self.pages.get(&page) {
                Some(content) => target.copy_from_slice(&content[within..][..count]),
                None => target.fill(0),
            }
            at += count as u64;
        }
        end.saturating_sub(offset) as usize
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        let mut at = offset;
        let mut rest = data;
        while !rest.is_empty() {
            let within = (at % PAGE_BYTES) as usize;
            let count = rest.len().min(PAGE_BYTES as usize - within);
            let page = self.pages.entry(at / PAGE_BYTES).or_insert_with(|| Arc::from(vec![0; PAGE_BYTES as usize]));
            Arc::make_mut(page)[within..][..count].copy_from_slice(&rest[..count]);
            rest = &rest[count..];
            at += count as u64;
        }
        self.len = self.len.max(at);
    }

    fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.pages.split_off(&len.div_ceil(PAGE_BYTES));
            let within = (len % PAGE_BYTES) as usize;
            if within > 0
                && let Some(page) = self.pages.get_mut(&(len / PAGE_BYTES))
            {
                Arc::make_mut(page)[within..].fill(0);
            }
        }
        self.len = len;
    }
}

impl Write {
    fn apply(&self, content: &mut Content) {
        match self {
            Self::Data { offset, data } => content.write(*offset, data),
            Self::SetLen(len) => content.set_len(*len),
        }
    }

    /// Applies what a power cut leaves of this write.
    fn survive(&self, content: &mut Content, random: &mut dyn FnMut() -> u64) {
        let fate = random() % 4;
        match self {
            _ if fate == 0 => {}
            _ if fate == 1 => self.apply(content),
            Self::SetLen(_) => {
                if random() & 1 == 0 {
                    self.apply(content);
                }
            }
            Self::Data { offset, data } => {
                let end = offset + data.len() as u64;
                let sectors = end.div_ceil(SECTOR_BYTES) - offset / SECTOR_BYTES;
                let torn_at = offset / SECTOR_BYTES + random() % (sectors + 1);
                for sector in offset / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES) {
                    let kept = if fate == 2 { sector < torn_at } else { random() & 1 == 0 };
                    if kept {
                        let from = (sector * SECTOR_BYTES).max(*offset);
                        let to = ((sector + 1) * SECTOR_BYTES).min(end);
                        content.write(from, &data[(from - offset) as usize..(to - offset) as usize]);
                    }
                }
            }
        }
    }
}

impl DirectoryWrite {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Create { name, id } => {
                names.insert(name.clone(), *id);
            }
            Self::Remove { name } => {
                names.remove(name);
            }
            Self::Rename { from, to } => {
                if let Some(id) = names.remove(from) {
                    names.insert(to.clone(), id);
                }
            }
        }
    }
}
