//! Openraft's own suite for log storages and state machines, over ours.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use storage::{Engine, MemoryDisk, RealDisk, Wal, open_kv};

use super::harness::{GROUP, range, wal_config};
use crate::log::Log;
use crate::machine::{Machine, Store};
use crate::types::TypeConfig;

struct Builder {
    engine: Engine,
    directory: Option<tempfile::TempDir>,
    built: AtomicU64,
}

/// Keeps the writer of the WAL running as long as a test of the suite does.
struct Guard {
    wal: Wal,
    writer: Option<JoinHandle<()>>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.wal.shutdown();
        if let Some(writer) = self.writer.take() {
            writer.join().unwrap();
        }
    }
}

impl Builder {
    fn new(engine: Engine) -> Self {
        let directory = (engine != Engine::Memory).then(|| tempfile::tempdir().unwrap());
        Self { engine, directory, built: AtomicU64::new(0) }
    }
}

impl StoreBuilder<TypeConfig, Log, Machine, Guard> for Builder {
    async fn build(&self) -> Result<(Guard, Log, Machine), StorageError<TypeConfig>> {
        let number = self.built.fetch_add(1, Ordering::Relaxed);
        let path = |name: &str| {
            self.directory.as_ref().map_or_else(PathBuf::new, |root| root.path().join(format!("{number}-{name}")))
        };
        let wal = match &self.directory {
            Some(_) => {
                std::fs::create_dir(path("wal")).unwrap();
                Wal::open(Arc::new(RealDisk::open(&path("wal")).unwrap()), wal_config()).unwrap()
            }
            None => Wal::open(Arc::new(MemoryDisk::new()), wal_config()).unwrap(),
        };
        let writer = Some(wal.spawn_writer_thread().unwrap());
        let kv = open_kv(self.engine, &path("kv")).unwrap();
        let store = Store::open(GROUP, kv, vec![range()], None).unwrap();
        let log = Log::new(wal.group(GROUP), 1 << 20);
        Ok((Guard { wal, writer }, log, Machine::new(store)))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_memory() {
    Suite::test_all(Builder::new(Engine::Memory)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_disk_with_fjall() {
    Suite::test_all(Builder::new(Engine::Fjall)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_disk_with_sled() {
    Suite::test_all(Builder::new(Engine::Sled)).await.unwrap();
}
