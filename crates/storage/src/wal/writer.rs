//! The one writer: takes what waits, writes it in one piece, syncs once, settles the
//! groups and completes in order; then keeps the segments tidy.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::group::{GroupCell, Submitter};
use super::manifest::Manifest;
use super::queue::{Submission, Taken};
use super::record::{self, Command, Frame};
use super::recovery::Log;
use super::segment::{DATA_START, Segment, SegmentHeader, io_error};
use super::{Completion, Position, Shared, WalConfig, WalError, lock};
use crate::disk::Disk;

/// The first segment of a new log is small, so that a first start is quick.
const FIRST_SEGMENT_BYTES: u64 = 4 << 20;
/// Recycled files kept for the next segments.
const SPARES_MAX: usize = 2;
/// The most records that the tail in memory is made of.
const TAIL_RECORDS_MAX: usize = 1 << 16;
/// Old segments are cleaned when, beyond this many, less than half of the log is live.
const CLEAN_SLACK_SEGMENTS: u64 = 3;
/// How much is moved between two batches of new records.
const CLEAN_BYTES: usize = 1 << 20;

pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
    config: WalConfig,
    manifest: Manifest,
    epoch: u32,
    head: Arc<Segment>,
    /// Where the next record goes.
    end: u64,
    /// Full segments, oldest first.
    closed: VecDeque<Arc<Segment>>,
    buffer: Vec<u8>,
    /// Taken from the queue, not written yet.
    backlog: VecDeque<Submission>,
    /// The newest submission that is durable.
    durable: u64,
    /// What the groups' tails hold that is durable, oldest first.
    evictable: VecDeque<(Arc<GroupCell>, u64)>,
    /// Whether the oldest segment is being emptied.
    cleaning: bool,
}

/// One write: submissions with the place of their records.
pub(super) struct WriteBatch {
    submissions: Vec<Submission>,
    places: Vec<Option<(u32, u32)>>,
    started: Instant,
}

pub(super) enum Next {
    Batch(WriteBatch),
    Idle,
    End,
}

impl Writer {
    pub(super) fn open(shared: Arc<Shared>, log: Log, mut manifest: Manifest) -> Result<Self, WalError> {
        let Shared { disk, config, .. } = &*shared;
        let (disk, config) = (disk.clone(), config.clone());
        let epoch = log.epoch + 1;
        let mut closed = log.segments;
        for spare in log.spares {
            shared.spares.adopt(&*disk, spare, config.segment_bytes)?;
        }
        let head = match closed.pop_back() {
            Some(head) => head,
            None => {
                let len = config.segment_bytes.min(FIRST_SEGMENT_BYTES);
                let spare = shared.spares.create(&*disk, len, config.sync)?;
                let header = SegmentHeader { epoch, sequence: 1, previous_end: 0, len };
                Arc::new(Segment::activate(&*disk, &spare, header, config.sync)?)
            }
        };
        manifest.set_head(head.sequence)?;
        let mut writer = Self {
            shared,
            disk,
            config,
            manifest,
            epoch,
            head,
            end: log.end.max(DATA_START),
            closed,
            buffer: Vec::new(),
            backlog: VecDeque::new(),
            durable: 0,
            evictable: VecDeque::new(),
            cleaning: false,
        };
        writer.begin_epoch(log.epoch > 0)?;
        writer.publish_position();
        writer.collect()?;
        Ok(writer)
    }

    /// Makes the new epoch durable before anything else is written, so that what a torn
    /// write of an earlier epoch left behind is never taken for a part of the log.
    fn begin_epoch(&mut self, is_reopened: bool) -> Result<(), WalError> {
        if !is_reopened {
            return Ok(());
        }
        let len = Command::Open.record_bytes() as u64;
        if self.end + len > self.head.len {
            return self.roll(len);
        }
        let frame = self.frame();
        self.buffer.clear();
        record::encode(&mut self.buffer, frame, 0, &Command::Open);
        self.write()?;
        self.sync()?;
        self.end += len;
        Ok(())
    }

    /// Encodes what waits, up to the limits of a batch and of the segment.
    pub(super) fn next(&mut self) -> Result<Next, WalError> {
        if self.backlog.is_empty() {
            match self.shared.queue.take() {
                Taken::Submissions(submissions) => self.backlog = submissions,
                Taken::Nothing => return Ok(Next::Idle),
                Taken::End => return Ok(Next::End),
            }
        }
        let first = self.backlog.front().map_or(0, |first| first.command.record_bytes() as u64);
        if self.end + first > self.head.len {
            self.roll(first)?;
        }
        let mut batch = WriteBatch { submissions: Vec::new(), places: Vec::new(), started: Instant::now() };
        let frame = self.frame();
        self.buffer.clear();
        while let Some(submission) = self.backlog.pop_front() {
            let len = submission.command.record_bytes();
            let written = self.buffer.len() + len;
            let is_full = self.end + written as u64 > self.head.len || written > self.config.batch_bytes_max;
            if len > 0 && is_full && !batch.submissions.is_empty() {
                self.backlog.push_front(submission);
                break;
            }
            batch.places.push((len > 0).then(|| {
                let id = submission.group.id;
                (record::encode(&mut self.buffer, frame, id, &submission.command), len as u32)
            }));
            batch.submissions.push(submission);
        }
        Ok(Next::Batch(batch))
    }

    pub(super) fn write(&self) -> Result<(), WalError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let written = self.head.file.write_at(self.end, &self.buffer);
        written.map_err(|error| io_error("write", &self.head.name, &error))
    }

    pub(super) fn sync(&self) -> Result<(), WalError> {
        if self.buffer.is_empty() || !self.config.sync {
            return Ok(());
        }
        self.head.file.sync_data().map_err(|error| io_error("sync", &self.head.name, &error))
    }

    pub(super) fn sync_latency(&self) -> Duration {
        self.disk.simulated_sync_latency()
    }

    /// The batch is durable: tells the groups, then the callers.
    fn settle(&mut self, batch: WriteBatch) {
        let WriteBatch { submissions, places, started } = batch;
        if !self.buffer.is_empty() {
            let records = places.iter().flatten().count();
            self.shared.counters.add_sync(records, self.buffer.len(), started.elapsed());
        }
        self.end += self.buffer.len() as u64;
        self.publish_position();
        self.shrink_buffer();
        for (submission, place) in submissions.iter().zip(places) {
            let at = place.map(|(offset, len)| (&self.head, offset, len));
            submission.group.lock().settle(&submission.command, at);
            self.durable = submission.sequence;
            if matches!(submission.command, Command::Append { .. }) {
                self.evictable.push_back((submission.group.clone(), submission.sequence));
            }
        }
        self.shared.queue.release(&submissions);
        for done in submissions.into_iter().filter_map(|submission| submission.done) {
            done(Ok(()));
        }
    }

    /// After the write and the sync.
    pub(super) fn finish(&mut self, result: Result<(), WalError>, batch: WriteBatch) -> ControlFlow<()> {
        match result {
            Ok(()) => self.settle(batch),
            Err(error) => {
                self.fail(error, Some(batch));
                return ControlFlow::Break(());
            }
        }
        match self.tidy() {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => self.stop(error),
        }
    }

    pub(super) fn stop(&mut self, error: WalError) -> ControlFlow<()> {
        self.fail(error, None);
        ControlFlow::Break(())
    }

    /// What is due between two batches.
    fn tidy(&mut self) -> Result<(), WalError> {
        self.evict();
        self.collect()?;
        self.clean()
    }

    /// The log can not go on: every completion learns why. What becomes of the batch is
    /// unknown, it may be found when the log is opened again.
    fn fail(&mut self, error: WalError, batch: Option<WriteBatch>) {
        tracing::error!(%error, "the WAL stops");
        let in_batch = batch.map(|batch| batch.submissions).unwrap_or_default();
        let backlog = std::mem::take(&mut self.backlog);
        let waiting = self.shared.queue.stop(error.clone());
        self.shared.failure.send_replace(Some(error.clone()));
        let mut result = error.clone();
        for submission in in_batch.into_iter().chain(backlog).chain(waiting) {
            if let Some(done) = submission.done {
                done(Err(result));
                result = error.after();
            }
        }
    }

    /// Ends the epoch, so that the next start knows that everything had been synced and
    /// takes no damage at the end for a torn write.
    pub(super) fn end(&mut self) -> ControlFlow<()> {
        if self.end + Command::Open.record_bytes() as u64 <= self.head.len {
            self.epoch += 1;
            if let Err(error) = self.begin_epoch(true) {
                tracing::warn!(%error, "the WAL was not closed properly; nothing is lost");
            }
        }
        ControlFlow::Break(())
    }

    fn publish_position(&self) {
        *lock(&self.shared.position) = Position { segment: self.head.sequence, offset: self.end };
    }

    fn frame(&self) -> Frame {
        Frame { segment: self.head.sequence, epoch: self.epoch, batch_start: self.end as u32 }
    }

    fn shrink_buffer(&mut self) {
        self.buffer.clear();
        self.buffer.shrink_to(self.config.batch_bytes_max);
    }

    /// Goes on in a new segment, one with room for a record of `len` bytes.
    fn roll(&mut self, len: u64) -> Result<(), WalError> {
        let needed = DATA_START + len;
        let len = needed.max(self.config.segment_bytes);
        let spares = &self.shared.spares;
        let spare = match spares.take().filter(|_| len == self.config.segment_bytes) {
            Some(spare) => spare,
            None => spares.create(&*self.disk, len, self.config.sync)?,
        };
        let header = SegmentHeader { epoch: self.epoch, sequence: self.head.sequence + 1, previous_end: self.end, len };
        let head = Segment::activate(&*self.disk, &spare, header, self.config.sync)?;
        self.manifest.set_head(head.sequence)?;
        self.closed.push_back(std::mem::replace(&mut self.head, Arc::new(head)));
        self.end = DATA_START;
        self.cleaning |= self.is_cleaning_due();
        self.shared.spares.request();
        Ok(())
    }

    /// Gives up memory for entries that the disk has, oldest first.
    fn evict(&mut self) {
        let tail_bytes = &self.shared.tail_bytes;
        while tail_bytes.load(Ordering::Relaxed) > self.config.tail_bytes_max || self.evictable.len() > TAIL_RECORDS_MAX
        {
            let Some((group, sequence)) = self.evictable.pop_front() else {
                break;
            };
            let evicted = group.lock().evict(sequence);
            tail_bytes.fetch_sub(evicted, Ordering::Relaxed);
        }
    }

    /// Drops the oldest segments that nobody needs. Strictly in order: a truncation must
    /// not go before the entries that it truncates.
    fn collect(&mut self) -> Result<(), WalError> {
        let needless = self.closed.iter().take_while(|oldest| Arc::strong_count(oldest) == 1).count();
        if needless > 0 {
            let kept = self.closed.get(needless).unwrap_or(&self.head);
            self.manifest.set_first(kept.sequence)?;
        }
        let retired: Vec<_> = self.closed.drain(..needless).collect();
        for oldest in retired {
            self.retire(&oldest)?;
            self.cleaning = self.cleaning && self.is_cleaning_due();
        }
        self.shared.counters.set_segments(self.closed.len() + 1);
        Ok(())
    }

    /// Keeps the file for a later segment, or removes it.
    fn retire(&self, segment: &Segment) -> Result<(), WalError> {
        let spares = &self.shared.spares;
        if segment.len == self.config.segment_bytes && spares.count() < SPARES_MAX {
            let spare = spares.next_name();
            let renamed = self.disk.rename(&segment.name, &spare);
            renamed.map_err(|error| io_error("rename", &segment.name, &error))?;
            spares.put_all([spare]);
        } else {
            let removed = self.disk.remove(&segment.name);
            removed.map_err(|error| io_error("remove", &segment.name, &error))?;
        }
        if self.config.sync {
            self.disk.sync_dir().map_err(|error| io_error("directory sync", &segment.name, &error))?;
        }
        Ok(())
    }

    fn is_cleaning_due(&self) -> bool {
        let closed: u64 = self.closed.iter().map(|segment| segment.len).sum();
        let slack = CLEAN_SLACK_SEGMENTS * self.config.segment_bytes;
        if closed <= slack {
            return false;
        }
        let cells = self.shared.cells();
        let live: u64 = cells.iter().map(|cell| cell.lock().live_bytes()).sum();
        closed > slack + 2 * live
    }

    /// Moves a part of what is live in the oldest segment to the head.
    fn clean(&mut self) -> Result<(), WalError> {
        if !self.cleaning || self.shared.moves_in_flight.load(Ordering::Relaxed) > 0 {
            return Ok(());
        }
        let Some(oldest) = self.closed.front() else {
            self.cleaning = false;
            return Ok(());
        };
        let done = || -> Completion {
            let shared = self.shared.clone();
            shared.moves_in_flight.fetch_add(1, Ordering::Relaxed);
            Box::new(move |_| {
                shared.moves_in_flight.fetch_sub(1, Ordering::Relaxed);
            })
        };
        let mut bytes = 0;
        for cell in self.shared.cells() {
            let to = Submitter { queue: &self.shared.queue, cell: &cell, tail_bytes: &self.shared.tail_bytes };
            let left = CLEAN_BYTES.saturating_sub(bytes);
            bytes += match cell.lock().move_out(&to, oldest, self.durable, left, &done) {
                // Shutting down; the next start goes on with it.
                Err(WalError::Stopped(_)) => return Ok(()),
                moved => moved?,
            };
            if bytes >= CLEAN_BYTES {
                break;
            }
        }
        self.shared.counters.add_moved(bytes);
        Ok(())
    }
}
