//! Looks at the room on the disk, every second and more often when there is little, and
//! tells the node what it means: a thin loop around `storage::DiskReserve`. Nothing looks at
//! the disk for a request.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use base::NodeId;
use cluster::{DiskShortage, Node};
use storage::{DiskReserve, Kv, Space, SpaceLevel, Volume, WatchedKv};

use crate::assembly::Writer;

const INTERVAL_MAX: Duration = Duration::from_secs(1);
const INTERVAL_MIN: Duration = Duration::from_millis(10);
/// In a second no disk takes more. So what is left when one looks is not gone at the next look.
const FILLED_PER_SECOND_MAX: u64 = 1 << 30;

/// What a look at a volume showed: nothing to speak of where it has no bound.
type Seen = io::Result<Option<Space>>;

/// What is watched, and who is told.
pub(crate) struct Watch {
    pub(crate) node_id: NodeId,
    pub(crate) volumes: Vec<Arc<dyn Volume>>,
    pub(crate) reserve: DiskReserve,
    pub(crate) kv: WatchedKv,
    pub(crate) node: Node,
    pub(crate) frontend: frontend::Service,
    pub(crate) writer: Writer,
}

impl Watch {
    /// For ever.
    pub(crate) async fn run(self) {
        let mut shortages: Vec<Option<DiskShortage>> = vec![None; self.volumes.len()];
        let mut before = SpaceLevel::Ample;
        loop {
            let spaces = self.measure().await;
            let interval = interval(&spaces);
            for ((volume, seen), shortage) in self.volumes.iter().zip(spaces).zip(&mut shortages) {
                *shortage = judge(self.node_id, self.reserve, &**volume, seen, shortage.take());
            }
            let shortage = shortages.iter().flatten().max_by_key(|shortage| shortage.level).cloned();
            let level = shortage.as_ref().map_or(SpaceLevel::Ample, |shortage| shortage.level);
            if level != before {
                tell(level, shortage.as_ref());
                before = level;
            }
            self.node.report_disk(shortage);
            self.frontend.report_disk(level).await;
            tokio::time::sleep(interval).await;
        }
    }

    /// A device may let everybody wait who looks at it, the runtime's threads excepted.
    async fn measure(&self) -> Vec<Seen> {
        let (volumes, kv) = (self.volumes.clone(), self.kv.clone());
        let look = move || {
            // What it finds, the store itself remembers.
            let _failed = kv.check();
            volumes.iter().map(|volume| measure(&**volume)).collect::<Vec<_>>()
        };
        match self.writer {
            Writer::Task => look(),
            Writer::Thread => tokio::task::spawn_blocking(look).await.unwrap_or_default(),
        }
    }
}

/// What `volume` is short of now, and was `before`. What cannot be measured is as it was: that the disk
/// works is not seen here.
fn judge(
    node: NodeId,
    reserve: DiskReserve,
    volume: &dyn Volume,
    seen: Seen,
    before: Option<DiskShortage>,
) -> Option<DiskShortage> {
    let Ok(space) = seen else { return before };
    let space = space?;
    let level = reserve.level(before.map_or(SpaceLevel::Ample, |shortage| shortage.level), space);
    (level > SpaceLevel::Ample).then(|| DiskShortage {
        node,
        level,
        place: volume.place(),
        free_bytes: space.free,
        needed_bytes: reserve.ample_again(space.total),
    })
}

/// Until the next look: shorter than it takes to fill what is left.
fn interval(spaces: &[Seen]) -> Duration {
    let seen = spaces.iter().filter_map(|seen| seen.as_ref().ok()?.as_ref());
    let Some(free) = seen.map(|space| space.free).min() else { return INTERVAL_MAX };
    let millis = free.saturating_mul(1000) / FILLED_PER_SECOND_MAX;
    Duration::from_millis(millis).clamp(INTERVAL_MIN, INTERVAL_MAX)
}

fn measure(volume: &dyn Volume) -> Seen {
    let seen = volume.space();
    seen.inspect_err(|error| tracing::warn!(%error, place = volume.place(), "cannot see how much room is left"))
}

fn tell(level: SpaceLevel, shortage: Option<&DiskShortage>) {
    let Some(DiskShortage { place, free_bytes, needed_bytes, .. }) = shortage else {
        tracing::warn!("there is room on the disk again, everything is served");
        return;
    };
    match level {
        SpaceLevel::Critical => {
            tracing::error!(
                place,
                free_bytes,
                needed_bytes,
                "the disk is all but full: only reads, ends and deletions"
            );
        }
        _ => tracing::warn!(place, free_bytes, needed_bytes, "the disk is nearly full: nothing new begins"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_that_cannot_be_seen_is_as_it_was() {
        let volume = storage::Directory::new(std::path::Path::new("/data"));
        let judge = |seen: Seen, before| judge(NodeId(1), DiskReserve::Bytes(100), &volume, seen, before);
        let free = |free| Ok(Some(Space { free, total: 1000 }));
        let unseen = || Err(io::Error::other("injected"));
        assert_eq!(judge(unseen(), None), None);
        let low = judge(free(99), None);
        assert_eq!(low.as_ref().map(|shortage| (shortage.level, shortage.free_bytes)), Some((SpaceLevel::Low, 99)));
        assert_eq!(judge(unseen(), low.clone()), low);
        assert_eq!(judge(free(200), low.clone()), None);
        // There is no bound any more.
        assert_eq!(judge(Ok(None), low), None);
    }

    #[test]
    fn the_less_is_left_the_more_often_one_looks() {
        let space = |free| Ok(Some(Space { free, total: 1 << 40 }));
        assert_eq!(interval(&[]), INTERVAL_MAX);
        assert_eq!(interval(&[Ok(None), Err(io::Error::other("injected")), space(1 << 38)]), INTERVAL_MAX);
        assert_eq!(interval(&[space(1 << 38), space(256 << 20)]), Duration::from_millis(250));
        assert_eq!(interval(&[space(0)]), INTERVAL_MIN);
    }
}
