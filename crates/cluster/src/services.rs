//! What this node offers to its peers and to its own router. Filled in while the node
//! starts; until then a caller is told to come again.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};

use api::Error;
use api::internal::frame::Body;
use consensus::RaftHandler;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::join::Joining;
use crate::liveness::Liveness;
use crate::metadata::Proposer;
use crate::{HistoryService, MatchingService, VisibilityService};

/// Set once, read often, emptied at the end: services hold the router, which holds them.
pub(crate) struct Slot<T: ?Sized>(RwLock<Option<Arc<T>>>);

impl<T: ?Sized> Slot<T> {
    fn new() -> Self {
        Self(RwLock::new(None))
    }

    pub(crate) fn set(&self, value: Arc<T>) {
        *self.0.write().expect("no panic while held") = Some(value);
    }

    pub(crate) fn get(&self) -> Option<Arc<T>> {
        self.0.read().expect("no panic while held").clone()
    }

    fn clear(&self) {
        let value = self.0.write().expect("no panic while held").take();
        // Not under the lock: it may own a router, and with it this slot.
        drop(value);
    }
}

pub(crate) struct Services {
    pub(crate) raft: Slot<dyn RaftHandler>,
    pub(crate) history: Slot<dyn HistoryService>,
    pub(crate) matching: Slot<dyn MatchingService>,
    pub(crate) visibility: Slot<dyn VisibilityService>,
    pub(crate) metadata: Slot<Proposer>,
    pub(crate) joining: Slot<Joining>,
    pub(crate) liveness: Arc<Liveness>,
    served: Arc<AtomicUsize>,
}

impl Services {
    pub(crate) fn new(liveness: Arc<Liveness>) -> Arc<Self> {
        Arc::new(Self {
            raft: Slot::new(),
            history: Slot::new(),
            matching: Slot::new(),
            visibility: Slot::new(),
            metadata: Slot::new(),
            joining: Slot::new(),
            liveness,
            served: Arc::default(),
        })
    }

    /// Hands a request to the service it is for. [`Error::NotLeader`] means that nothing
    /// was done; without a hint, that it may be tried here again.
    pub(crate) fn start(&self, body: Body, deadline: Instant) -> BoxFuture<'static, Result<Body, Error>> {
        match body {
            Body::History(request) => match self.history.get() {
                Some(service) => {
                    Box::pin(async move { service.call(request, deadline).await.map(Body::HistoryResponse) })
                }
                None => not_yet(),
            },
            Body::Matching(request) => match self.matching.get() {
                Some(service) => {
                    Box::pin(async move { service.call(request, deadline).await.map(Body::MatchingResponse) })
                }
                None => not_yet(),
            },
            Body::Metadata(request) => match self.metadata.get() {
                Some(proposer) => {
                    Box::pin(async move { proposer.serve(request, deadline).await.map(Body::MetadataResponse) })
                }
                None => not_yet(),
            },
            _ => Box::pin(async { Err(Error::Unimplemented("the node does not know this request".to_owned())) }),
        }
    }

    /// Forgets the services, so that nothing keeps itself alive in a circle.
    pub(crate) fn clear(&self) {
        self.raft.clear();
        self.history.clear();
        self.matching.clear();
        self.visibility.clear();
        self.metadata.clear();
        self.joining.clear();
    }

    /// How many calls of peers are in progress.
    pub(crate) fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }

    pub(crate) fn count_served(&self) -> InProgress {
        self.served.fetch_add(1, Ordering::Relaxed);
        InProgress(Arc::clone(&self.served))
    }
}

fn not_yet() -> BoxFuture<'static, Result<Body, Error>> {
    Box::pin(std::future::ready(Err(Error::NotLeader { hint: None })))
}

/// One call in progress, until dropped.
pub(crate) struct InProgress(Arc<AtomicUsize>);

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
