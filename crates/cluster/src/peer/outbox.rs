//! What waits to be written to one connection: three bounded lanes. Raft messages of one
//! group keep their order, whatever their sizes; nothing else does across lanes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{Bytes, BytesMut};
use storage::GroupId;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::wire::{LANES, Lane, put_chunk};

/// Raft messages up to this size are urgent: heartbeats, votes, answers, small appends.
const URGENT_BYTES_MAX: usize = 16 << 10;
/// What may wait per connection, for Raft and for calls each.
const QUEUE_BYTES_MAX: usize = 32 << 20;
/// Counted on top of each frame, so that a flood of tiny frames is bounded too.
const FRAME_OVERHEAD_BYTES: usize = 64;
/// Beats and cancels carry no request; past this many they are dropped.
const CONTROL_FRAMES_MAX: usize = 4096;

/// The frame was not queued and never will be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("the connection is closed")]
    Closed,
    #[error("the queue to the node is full")]
    Full,
}

struct Queued {
    frame: Bytes,
    group: Option<GroupId>,
    is_control: bool,
    /// Gives the bytes back when the last chunk is taken.
    _room: Option<OwnedSemaphorePermit>,
}

#[derive(Default)]
struct State {
    lanes: [VecDeque<Queued>; LANES],
    /// Groups with messages in the bulk lane: their small ones must queue behind.
    bulk_groups: BTreeMap<GroupId, usize>,
    control_frames: usize,
    bulk_is_next: bool,
    is_closed: bool,
}

pub(crate) struct Outbox {
    state: Mutex<State>,
    wake: Notify,
    raft_room: Arc<Semaphore>,
    call_room: Arc<Semaphore>,
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::default(),
            wake: Notify::new(),
            raft_room: Arc::new(Semaphore::new(QUEUE_BYTES_MAX)),
            call_room: Arc::new(Semaphore::new(QUEUE_BYTES_MAX)),
        }
    }

    /// Drops the frame when too many wait: the next beat says the same, and a request
    /// that is not cancelled ends at its deadline.
    pub(crate) fn push_control(&self, frame: Bytes) -> Result<(), Refused> {
        let mut state = self.open()?;
        if state.control_frames >= CONTROL_FRAMES_MAX {
            return Err(Refused::Full);
        }
        state.control_frames += 1;
        state.lanes[Lane::Urgent as usize].push_back(Queued { frame, group: None, is_control: true, _room: None });
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    /// Queues before it returns, so that the order of the calls is the order on the wire.
    pub(crate) fn push_raft(&self, group: GroupId, frame: Bytes) -> Result<(), Refused> {
        let room = Arc::clone(&self.raft_room).try_acquire_many_owned(cost(&frame)).map_err(|_| Refused::Full)?;
        let mut state = self.open()?;
        let is_bulk = frame.len() > URGENT_BYTES_MAX || state.bulk_groups.contains_key(&group);
        let lane = if is_bulk { Lane::Bulk } else { Lane::Urgent };
        if is_bulk {
            *state.bulk_groups.entry(group).or_default() += 1;
        }
        state.lanes[lane as usize].push_back(Queued {
            frame,
            group: Some(group),
            is_control: false,
            _room: Some(room),
        });
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    /// Waits for room until `deadline`.
    pub(crate) async fn push_call(&self, frame: Bytes, deadline: Instant) -> Result<(), Refused> {
        let cost = cost(&frame);
        let room = match Arc::clone(&self.call_room).try_acquire_many_owned(cost) {
            Ok(room) => room,
            Err(_) => timeout_at(deadline, Arc::clone(&self.call_room).acquire_many_owned(cost))
                .await
                .map_err(|_| Refused::Full)?
                .map_err(|_| Refused::Closed)?,
        };
        let mut state = self.open()?;
        state.lanes[Lane::Calls as usize].push_back(Queued {
            frame,
            group: None,
            is_control: false,
            _room: Some(room),
        });
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    /// Appends chunks to `out` until it holds `bytes_max` or nothing waits. Urgent frames
    /// go first; the other two lanes take turns.
    pub(crate) fn fill(&self, out: &mut BytesMut, bytes_max: usize) {
        let mut state = self.lock();
        while out.len() < bytes_max {
            let turn = if state.bulk_is_next {
                [Lane::Urgent, Lane::Bulk, Lane::Calls]
            } else {
                [Lane::Urgent, Lane::Calls, Lane::Bulk]
            };
            let Some(lane) = turn.into_iter().find(|&lane| !state.lanes[lane as usize].is_empty()) else {
                return;
            };
            state.bulk_is_next = lane == Lane::Calls;
            state.put_next(lane, out);
        }
    }

    /// Resolves when there may be something to [`Outbox::fill`].
    pub(crate) async fn ready(&self) {
        self.wake.notified().await;
    }

    /// Drops what waits and refuses everything from now on.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        let lanes = std::mem::take(&mut state.lanes);
        drop(state);
        drop(lanes);
        self.raft_room.close();
        self.call_room.close();
    }

    fn open(&self) -> Result<MutexGuard<'_, State>, Refused> {
        let state = self.lock();
        if state.is_closed { Err(Refused::Closed) } else { Ok(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while held")
    }
}

impl State {
    fn put_next(&mut self, lane: Lane, out: &mut BytesMut) {
        let queue = &mut self.lanes[lane as usize];
        let Some(next) = queue.front_mut() else { return };
        if !put_chunk(out, lane, &mut next.frame) {
            return;
        }
        let Some(done) = queue.pop_front() else { return };
        if done.is_control {
            self.control_frames -= 1;
        }
        if lane == Lane::Bulk
            && let Some(group) = done.group
            && let Some(waiting) = self.bulk_groups.get_mut(&group)
        {
            *waiting -= 1;
            if *waiting == 0 {
                self.bulk_groups.remove(&group);
            }
        }
    }
}

fn cost(frame: &Bytes) -> u32 {
    u32::try_from(frame.len() + FRAME_OVERHEAD_BYTES).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::wire::{CHUNK_BYTES_MAX, Decoder, FRAME_BYTES_MAX};
    use super::*;

    fn frame(name: u8, size: usize) -> Bytes {
        vec![name; size].into()
    }

    /// The names of the frames in the order in which a reader completes them.
    fn drain(outbox: &Outbox) -> Vec<u8> {
        let (mut bytes, mut decoder, mut names) = (BytesMut::new(), Decoder::new(FRAME_BYTES_MAX), Vec::new());
        outbox.fill(&mut bytes, usize::MAX);
        while let Some(frame) = decoder.decode(&mut bytes).unwrap() {
            names.push(frame[0]);
        }
        names
    }

    #[tokio::test]
    async fn small_messages_overtake_big_ones_of_other_groups_only() {
        let outbox = Outbox::new();
        outbox.push_raft(1, frame(1, 10 * CHUNK_BYTES_MAX)).unwrap();
        outbox.push_raft(1, frame(2, 10)).unwrap();
        outbox.push_raft(2, frame(3, 10)).unwrap();
        outbox.push_call(frame(4, 100), Instant::now()).await.unwrap();
        outbox.push_control(frame(5, 10)).unwrap();
        assert_eq!(drain(&outbox), [3, 5, 4, 1, 2]);
        // Once the big one is gone the group is urgent again.
        outbox.push_raft(2, frame(6, 10 * CHUNK_BYTES_MAX)).unwrap();
        outbox.push_raft(1, frame(7, 10)).unwrap();
        assert_eq!(drain(&outbox), [7, 6]);
    }

    #[tokio::test(start_paused = true)]
    async fn full_queues_refuse_or_wait() {
        let outbox = Arc::new(Outbox::new());
        let half = QUEUE_BYTES_MAX / 2 - FRAME_OVERHEAD_BYTES;
        let soon = || Instant::now() + std::time::Duration::from_secs(1);
        for name in [1, 2] {
            outbox.push_raft(1, frame(name, half)).unwrap();
            outbox.push_call(frame(name, half), soon()).await.unwrap();
        }
        assert_eq!(outbox.push_raft(2, frame(3, 1)), Err(Refused::Full));
        assert_eq!(outbox.push_call(frame(3, 1), soon()).await, Err(Refused::Full));
        outbox.push_control(frame(9, 1)).unwrap();
        let waiting = outbox.push_call(frame(3, 1), soon());
        let (sent, names) = tokio::join!(waiting, async { drain(&outbox) });
        sent.unwrap();
        assert_eq!(names.len(), 5);
        assert_eq!(drain(&outbox), [3]);
        outbox.close();
        assert_eq!(outbox.push_control(frame(9, 1)), Err(Refused::Closed));
        assert_eq!(outbox.push_call(frame(9, 1), soon()).await, Err(Refused::Closed));
    }
}
