//! Looks at the files again and again. What changed and is good is used by the next
//! connection; those that are open keep what they have.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::load::{Content, LoadError, load};
use super::{Files, Loaded, Role};

pub(crate) struct Reload {
    files: Files,
    role: Role,
    /// What was there the last time.
    seen: Result<Content, LoadError>,
    current: watch::Sender<Arc<Loaded>>,
}

impl Reload {
    pub(super) fn new(files: Files, role: Role, content: Content, current: watch::Sender<Arc<Loaded>>) -> Self {
        Self { files, role, seen: Ok(content), current }
    }

    /// For ever.
    pub(crate) async fn run(mut self, every: Duration) {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look();
        }
    }

    /// Compares contents, not times: a secret that is mounted keeps its times across changes.
    pub(crate) fn look(&mut self) {
        let found = Content::read(&self.files);
        // The same trouble is told once.
        if found == self.seen {
            return;
        }
        match found.as_ref().map_err(Clone::clone).and_then(|content| load(&self.files, self.role, content)) {
            Ok(loaded) => {
                tracing::info!(certificate = loaded.shown, "a certificate was loaded anew");
                self.current.send_replace(Arc::new(loaded));
            }
            Err(error) => tracing::error!(%error, "a changed certificate cannot be used, the old one stays"),
        }
        self.seen = found;
    }
}
