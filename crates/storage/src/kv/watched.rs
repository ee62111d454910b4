//! A store that remembers the first failure that it cannot survive, and tells whoever is
//! responsible for the process. Callers get their errors all the same.

use std::future::{Future, pending};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

use super::{Batch, Kv, KvError, KvSnapshot, Pairs, Scan};

/// Any [`Kv`] under watch. Cheap to clone.
#[derive(Clone)]
pub struct WatchedKv {
    kv: Arc<dyn Kv>,
    failure: Failure,
}

type Failure = Arc<watch::Sender<Option<KvError>>>;

impl WatchedKv {
    #[must_use]
    pub fn new(kv: Arc<dyn Kv>) -> Self {
        Self { kv, failure: Arc::new(watch::Sender::new(None)) }
    }

    /// Ready once the store has failed for good: the node must exit then. Never otherwise.
    pub fn failed(&self) -> impl Future<Output = KvError> + Send + 'static {
        let mut failure = self.failure.subscribe();
        async move {
            let failed = failure.wait_for(Option::is_some).await.ok().and_then(|failed| failed.clone());
            match failed {
                Some(error) => error,
                None => pending().await,
            }
        }
    }
}

/// After a write that failed nobody knows what the store holds. A read that failed for
/// want of handles or memory may be tried again.
fn seen<T>(failure: &Failure, is_write: bool, result: Result<T, KvError>) -> Result<T, KvError> {
    result.inspect_err(|error| {
        if is_write || !matches!(error, KvError::Busy(_)) {
            failure.send_if_modified(|first| {
                let is_first = first.is_none();
                first.get_or_insert_with(|| error.clone());
                is_first
            });
        }
    })
}

impl Kv for WatchedKv {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, KvError> {
        seen(&self.failure, false, self.kv.get(key))
    }

    fn scan(&self, scan: &Scan) -> Result<Pairs, KvError> {
        seen(&self.failure, false, self.kv.scan(scan))
    }

    fn write(&self, batch: Batch) -> Result<(), KvError> {
        seen(&self.failure, true, self.kv.write(batch))
    }

    fn snapshot(&self) -> Result<Arc<dyn KvSnapshot>, KvError> {
        let snapshot = seen(&self.failure, false, self.kv.snapshot())?;
        Ok(Arc::new(WatchedSnapshot { snapshot, failure: Arc::clone(&self.failure) }))
    }

    fn checkpoint(&self) -> Result<(), KvError> {
        seen(&self.failure, true, self.kv.checkpoint())
    }

    fn check(&self) -> Result<(), KvError> {
        seen(&self.failure, true, self.kv.check())
    }
}

struct WatchedSnapshot {
    snapshot: Arc<dyn KvSnapshot>,
    failure: Failure,
}

impl KvSnapshot for WatchedSnapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, KvError> {
        seen(&self.failure, false, self.snapshot.get(key))
    }

    fn scan(&self, scan: &Scan) -> Result<Pairs, KvError> {
        seen(&self.failure, false, self.snapshot.scan(scan))
    }
}
