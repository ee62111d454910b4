//! sled 0.34.7 as a state-machine engine, with its known hazards fenced in:
//!
//! - its `flush` does not reach the device, so that a checkpoint syncs every file itself;
//! - `flush_async` from many tasks deadlocks: never used;
//! - batches take a process-wide lock anyhow: one writer at a time, here too;
//! - iteration is no point in time: pages are read under the writer's lock, and snapshots
//!   keep what writers replace while they live;
//! - opening a damaged store may panic, or show an older or an empty one in silence: each
//!   checkpoint leaves its number in a file as well, and a store that has not got as far
//!   is [`KvError::Damaged`], like one that does not open.
//!
//! Space is several times the live data and is never returned; reinstalling the replica
//! from a peer is the only compaction. See `docs/rfd/0003-engines.md`.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, Weak};
use std::thread;
use std::time::Duration;

use ::sled::{Db, IVec, Tree};
use bytes::Bytes;

use super::resolve::{Writes, resolve};
use super::{Batch, Kv, KvError, KvSnapshot, Pairs, Scan};

const TREE: &str = "state";
/// Name of the file, and in sled's default tree the key, of the checkpoint's number.
const CHECKPOINT: &str = "checkpoint";
const CHECKPOINT_NEW: &str = "checkpoint.new";
const CACHE_BYTES: u64 = 128 << 20;
/// Threads of a store that was closed a moment ago may still hold its lock.
const OPEN_ATTEMPTS: u32 = 250;
const OPEN_RETRY_DELAY: Duration = Duration::from_millis(20);

pub(super) struct SledKv {
    shared: Arc<Shared>,
}

struct Shared {
    db: Db,
    tree: Tree,
    directory: PathBuf,
    /// Held for reading by every page and for writing by every batch.
    snapshots: RwLock<Vec<Weak<Replaced>>>,
    checkpoints: Mutex<Checkpoints>,
}

struct Checkpoints {
    number: u64,
    /// Files in the blob directory that are synced.
    blobs_synced: BTreeSet<PathBuf>,
}

/// What the store held, when a snapshot was taken, for every key written since. Grows with
/// the writes during the life of the snapshot.
type Replaced = Mutex<Writes>;

impl SledKv {
    pub(super) fn open(directory: &Path) -> Result<Self, KvError> {
        let open = || -> Result<_, ::sled::Error> {
            let db = ::sled::Config::new().path(directory).cache_capacity(CACHE_BYTES).open()?;
            let tree = db.open_tree(TREE)?;
            Ok((db, tree))
        };
        let mut opened = catch_unwind(AssertUnwindSafe(open));
        for _ in 1..OPEN_ATTEMPTS {
            if !matches!(&opened, Ok(Err(error)) if is_locked(error)) {
                break;
            }
            thread::sleep(OPEN_RETRY_DELAY);
            opened = catch_unwind(AssertUnwindSafe(open));
        }
        let (db, tree) = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(::sled::Error::Io(error))) if error.kind() != io::ErrorKind::InvalidData => {
                return Err(engine(error));
            }
            Ok(Err(error)) => return Err(KvError::Damaged(error.to_string().into())),
            Err(panic) => return Err(KvError::Damaged(panic_message(panic.as_ref()).into())),
        };
        let number = checkpoint_number(&db, directory)?;
        let shared = Shared {
            db,
            tree,
            directory: directory.to_owned(),
            snapshots: RwLock::default(),
            checkpoints: Mutex::new(Checkpoints { number, blobs_synced: BTreeSet::new() }),
        };
        Ok(Self { shared: Arc::new(shared) })
    }
}

impl Kv for SledKv {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, KvError> {
        Ok(self.shared.tree.get(key)?.map(|value| copy(&value)))
    }

    fn scan(&self, scan: &Scan) -> Result<Pairs, KvError> {
        let _page = self.shared.pause_writers();
        self.shared.scan_tree(scan, &Writes::new())
    }

    fn write(&self, batch: Batch) -> Result<(), KvError> {
        let shared = &self.shared;
        let mut snapshots = shared.snapshots.write().unwrap_or_else(PoisonError::into_inner);
        let writes = resolve(batch, |start, end, limit| {
            let keys = shared.tree.range::<&[u8], _>(&start[..]..&end[..]).keys().take(limit);
            keys.map(|key| Ok(copy(&key?))).collect()
        })?;
        snapshots.retain(|snapshot| snapshot.strong_count() > 0);
        for replaced in snapshots.iter().filter_map(Weak::upgrade) {
            let mut replaced = replaced.lock().unwrap_or_else(PoisonError::into_inner);
            for key in writes.keys() {
                if !replaced.contains_key(key) {
                    replaced.insert(key.clone(), shared.tree.get(key)?.map(|value| copy(&value)));
                }
            }
        }
        let mut batch = ::sled::Batch::default();
        for (key, value) in writes {
            match value {
                Some(value) => batch.insert(&key[..], &value[..]),
                None => batch.remove(&key[..]),
            }
        }
        Ok(shared.tree.apply_batch(batch)?)
    }

    fn snapshot(&self) -> Result<Arc<dyn KvSnapshot>, KvError> {
        let replaced = Arc::new(Replaced::default());
        let mut snapshots = self.shared.snapshots.write().unwrap_or_else(PoisonError::into_inner);
        snapshots.push(Arc::downgrade(&replaced));
        Ok(Arc::new(SledSnapshot { shared: self.shared.clone(), replaced }))
    }

    fn checkpoint(&self) -> Result<(), KvError> {
        let mut checkpoints = self.shared.checkpoints.lock().unwrap_or_else(PoisonError::into_inner);
        let number = checkpoints.number + 1;
        self.shared.db.insert(CHECKPOINT, &number.to_be_bytes())?;
        self.shared.db.flush()?;
        self.shared.sync_files(&mut checkpoints.blobs_synced).map_err(engine)?;
        self.shared.write_checkpoint_number(number).map_err(engine)?;
        checkpoints.number = number;
        Ok(())
    }
}

struct SledSnapshot {
    shared: Arc<Shared>,
    replaced: Arc<Replaced>,
}

impl KvSnapshot for SledSnapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, KvError> {
        let _page = self.shared.pause_writers();
        let replaced = self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        match replaced.get(key) {
            Some(value) => Ok(value.clone()),
            None => Ok(self.shared.tree.get(key)?.map(|value| copy(&value))),
        }
    }

    fn scan(&self, scan: &Scan) -> Result<Pairs, KvError> {
        let _page = self.shared.pause_writers();
        let replaced = self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.scan_tree(scan, &replaced)
    }
}

impl Shared {
    fn pause_writers(&self) -> RwLockReadGuard<'_, Vec<Weak<Replaced>>> {
        self.snapshots.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tree's pairs, with those in `instead` taking their place.
    fn scan_tree(&self, scan: &Scan, instead: &Writes) -> Result<Pairs, KvError> {
        let Some(bounds) = scan.bounds() else {
            return Ok(Vec::new());
        };
        let stored = self.tree.range::<&[u8], _>(bounds);
        let overlay = instead.range::<[u8], _>(bounds);
        if scan.reverse { merge(stored.rev(), overlay.rev(), scan) } else { merge(stored, overlay, scan) }
    }

    /// What sled leaves to the operating system: the log, its parameters, values too big
    /// for the log, and the names of all of them.
    fn sync_files(&self, synced: &mut BTreeSet<PathBuf>) -> io::Result<()> {
        File::open(self.directory.join("conf"))?.sync_all()?;
        let blobs = self.directory.join("blobs");
        let mut present = BTreeSet::new();
        for entry in fs::read_dir(&blobs)? {
            let path = entry?.path();
            if !synced.contains(&path) {
                match File::open(&path) {
                    Ok(file) => file.sync_all()?,
                    // Collected in the meantime.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                }
            }
            present.insert(path);
        }
        File::open(&blobs)?.sync_all()?;
        *synced = present;
        File::open(self.directory.join("db"))?.sync_all()?;
        File::open(&self.directory)?.sync_all()
    }

    fn write_checkpoint_number(&self, number: u64) -> io::Result<()> {
        let new = self.directory.join(CHECKPOINT_NEW);
        let mut file = File::create(&new)?;
        file.write_all(number.to_string().as_bytes())?;
        file.sync_all()?;
        fs::rename(new, self.directory.join(CHECKPOINT))?;
        File::open(&self.directory)?.sync_all()
    }
}

/// The number of the last checkpoint that the store shows, which must not be older than the
/// one that the file names.
fn checkpoint_number(db: &Db, directory: &Path) -> Result<u64, KvError> {
    let shown = db.get(CHECKPOINT)?.and_then(|number| Some(u64::from_be_bytes(number[..].try_into().ok()?)));
    let expected = match fs::read_to_string(directory.join(CHECKPOINT)) {
        Ok(number) => number.parse().unwrap_or(0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(engine(error)),
    };
    let shown = shown.unwrap_or(0);
    if shown < expected {
        let reason = format!("it was at checkpoint {expected} and shows {shown}");
        return Err(KvError::Damaged(reason.into()));
    }
    Ok(shown)
}

/// Merges two sequences in the scan's order; a key in `overlay` wins, `None` hides it.
fn merge<'a>(
    stored: impl Iterator<Item = Result<(IVec, IVec), ::sled::Error>>,
    overlay: impl Iterator<Item = (&'a Bytes, &'a Option<Bytes>)>,
    scan: &Scan,
) -> Result<Pairs, KvError> {
    let mut stored = stored.peekable();
    let mut overlay = overlay.peekable();
    let mut pairs = Vec::new();
    while pairs.len() < scan.limit {
        let order = match (stored.peek(), overlay.peek()) {
            (None, None) => break,
            (Some(_), None) | (Some(Err(_)), Some(_)) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(Ok((left, _))), Some((right, _))) => {
                let order = left[..].cmp(&right[..]);
                if scan.reverse { order.reverse() } else { order }
            }
        };
        if order.is_le() {
            let pair = stored.next().transpose()?;
            if let Some((key, value)) = pair.filter(|_| order.is_lt()) {
                pairs.push((copy(&key), copy(&value)));
            }
        }
        if order.is_ge()
            && let Some((key, Some(value))) = overlay.next()
        {
            pairs.push((key.clone(), value.clone()));
        }
    }
    Ok(pairs)
}

impl From<::sled::Error> for KvError {
    fn from(error: ::sled::Error) -> Self {
        match error {
            ::sled::Error::Corruption { .. } => Self::Damaged(error.to_string().into()),
            locked if is_locked(&locked) => Self::Locked,
            ::sled::Error::Io(error) => Self::of_io(&error),
            other => Self::Engine(other.to_string().into()),
        }
    }
}

/// sled does not keep the kind of the error.
fn is_locked(error: &::sled::Error) -> bool {
    matches!(error, ::sled::Error::Io(error) if error.to_string().contains("could not acquire lock"))
}

fn engine(error: io::Error) -> KvError {
    KvError::of_io(&error)
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let message = panic.downcast_ref::<&str>().map(ToString::to_string);
    message.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panic".to_owned())
}

fn copy(slice: &[u8]) -> Bytes {
    Bytes::copy_from_slice(slice)
}
