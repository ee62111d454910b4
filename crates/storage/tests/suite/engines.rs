//! The engines under test.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use storage::{Engine, Kv, MemoryKv, open_kv};

pub(crate) const ENGINES: [Engine; 3] = [Engine::Fjall, Engine::Sled, Engine::Memory];

/// A store that can be closed and opened again.
pub(crate) struct Store {
    engine: Engine,
    path: PathBuf,
    memory: MemoryKv,
    kv: Option<Arc<dyn Kv>>,
    _directory: tempfile::TempDir,
}

impl Store {
    pub(crate) fn new(engine: Engine) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kv");
        let mut store = Self { engine, path, memory: MemoryKv::new(), kv: None, _directory: directory };
        store.reopen();
        store
    }

    pub(crate) fn kv(&self) -> &Arc<dyn Kv> {
        self.kv.as_ref().unwrap()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn close(&mut self) {
        self.kv = None;
    }

    pub(crate) fn reopen(&mut self) {
        self.close();
        self.kv = Some(match self.engine {
            Engine::Memory => {
                self.memory.power_cut(0);
                Arc::new(self.memory.clone())
            }
            engine => open_kv(engine, &self.path).unwrap(),
        });
    }
}
