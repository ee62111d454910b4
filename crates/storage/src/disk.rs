//! The disk as a seam. A [`Disk`] is one directory; names are flat. What is written is
//! durable only after [`DiskFile::sync_data`], and a new or removed name only after
//! [`Disk::sync_dir`]. A simulated disk loses the rest at a power cut.

mod memory;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use memory::MemoryDisk;

/// Zeros are written in pieces of this size when a file is extended.
const ZERO_CHUNK_BYTES: usize = 64 << 10;
static ZEROS: [u8; ZERO_CHUNK_BYTES] = [0; ZERO_CHUNK_BYTES];
/// Held for as long as the directory is open, so that no second process writes to it.
const LOCK_NAME: &str = "lock";

/// How [`Disk::open`] treats an existing or missing file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenMode {
    /// Fails when the file exists.
    CreateNew,
    /// Fails when the file is missing.
    Existing,
}

/// One directory of files.
pub trait Disk: Send + Sync + 'static {
    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;
    /// Names in the directory, sorted.
    fn list(&self) -> io::Result<Vec<String>>;
    fn remove(&self, name: &str) -> io::Result<()>;
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    fn sync_dir(&self) -> io::Result<()>;
    /// How long a simulated device takes to sync. A real one just takes its time.
    fn simulated_sync_latency(&self) -> Duration {
        Duration::ZERO
    }
}

/// One file, addressed by offset.
pub trait DiskFile: Send + Sync + 'static {
    /// Reads up to `buf.len()` bytes; short only at the end of the file.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Makes all earlier writes to this file durable.
    fn sync_data(&self) -> io::Result<()>;
    fn len(&self) -> io::Result<u64>;
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Cuts or zero-extends, allocating the space.
    fn set_len(&self, len: u64) -> io::Result<()>;
}

/// A directory of the machine's file system.
#[derive(Debug)]
pub struct RealDisk {
    root: PathBuf,
    _lock: File,
}

impl RealDisk {
    /// Creates the directory when it is missing, and locks it. A directory that another
    /// process (or another `RealDisk` of this one) holds open is `WouldBlock`.
    pub fn open(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path.join(LOCK_NAME))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let reason = format!("{} is in use by another process", path.display());
                return Err(io::Error::new(io::ErrorKind::WouldBlock, reason));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            File::open(parent)?.sync_all()?;
        }
        Ok(Self { root: path.to_owned(), _lock: lock })
    }
}

impl Disk for RealDisk {
    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        if mode == OpenMode::CreateNew {
            options.create_new(true);
        }
        Ok(Arc::new(RealFile { file: options.open(self.root.join(name))? }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string()
                && name != LOCK_NAME
                && entry.file_type()?.is_file()
            {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.root.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.root.join(from), self.root.join(to))
    }

    fn sync_dir(&self) -> io::Result<()> {
        File::open(&self.root)?.sync_all()
    }
}

struct RealFile {
    file: File,
}

impl DiskFile for RealFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match self.file.read_at(&mut buf[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Writes zeros instead of punching a hole: a later write in place then changes
    /// neither the size nor the extents, so that its sync needs no journal commit.
    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut at = self.len()?;
        if len <= at {
            return self.file.set_len(len);
        }
        while at < len {
            let chunk = (len - at).min(ZERO_CHUNK_BYTES as u64);
            self.file.write_all_at(&ZEROS[..chunk as usize], at)?;
            at += chunk;
        }
        Ok(())
    }
}
