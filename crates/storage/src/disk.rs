//! The disk as a seam. A [`Disk`] is one directory; names are flat. What is written is
//! durable only after [`DiskFile::sync_data`], and a new or removed name only after
//! [`Disk::sync_dir`]. A simulated disk loses the rest at a power cut.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

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
}

/// One file, addressed by offset.
pub trait DiskFile: Send + Sync + 'static {
    /// Reads up to `buf.len()` bytes; short only at the end of the file.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Makes all earlier writes to this file durable.
    fn sync_data(&self) -> io::Result<()>;
    fn len(&self) -> io::Result<u64>;
    /// Cuts or zero-extends, allocating the space.
    fn set_len(&self, len: u64) -> io::Result<()>;
}

/// A directory of the machine's file system.
#[derive(Debug)]
pub struct RealDisk {
    root: PathBuf,
}
