//! What waits to be written, in order. Submitters push, the one writer takes everything
//! there is: under load batches grow by themselves.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use tokio::sync::Notify;

use super::group::GroupCell;
use super::record::Command;
use super::{Completion, WalError};

/// Above this, submitters wait for the writer thread. Generous: Raft bounds what it has in
/// flight, so that only a stuck device gets here.
const QUEUE_BYTES_MAX: usize = 256 << 20;
/// Bookkeeping of a submission, counted with its bytes.
const SUBMISSION_BYTES: usize = 128;

pub(super) struct Submission {
    pub(super) sequence: u64,
    pub(super) group: Arc<GroupCell>,
    pub(super) command: Command,
    pub(super) done: Option<Completion>,
}

impl Submission {
    fn bytes(&self) -> usize {
        SUBMISSION_BYTES + self.command.record_bytes()
    }
}

/// A submission that came too late, with the completion to tell.
pub(super) type Refused = (WalError, Completion);

#[derive(Default)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    thread_wake: Condvar,
    task_wake: Notify,
    space: Condvar,
}

#[derive(Default)]
struct Inner {
    submissions: VecDeque<Submission>,
    /// Of everything submitted and not yet settled.
    bytes: usize,
    sequence: u64,
    state: State,
    sleeper: Sleeper,
    /// Set when a thread writes. Only then may submitters wait for space: where the writer
    /// is a task of the same runtime, waiting would keep it from running.
    writer_thread: Option<ThreadId>,
}

#[derive(Clone, Default)]
enum State {
    #[default]
    Running,
    Draining,
    Stopped(WalError),
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Sleeper {
    #[default]
    None,
    Thread,
    Task,
}

/// What the writer finds.
pub(super) enum Taken {
    Submissions(VecDeque<Submission>),
    Nothing,
    End,
}

impl Queue {
    /// Blocks while the queue is full and another thread is there to empty it. To be called
    /// without locks.
    pub(super) fn wait_for_space(&self) {
        let mut inner = self.lock();
        while inner.bytes > QUEUE_BYTES_MAX
            && inner.writer_thread.is_some_and(|writer| writer != thread::current().id())
            && matches!(inner.state, State::Running)
        {
            inner = self.space.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Queues the commands, of which there is at least one, and returns the sequence number
    /// of the last. `done` is called after it.
    pub(super) fn submit(
        &self,
        group: &Arc<GroupCell>,
        commands: impl IntoIterator<Item = Command>,
        done: Completion,
    ) -> Result<u64, Refused> {
        let mut inner = self.lock();
        match &inner.state {
            State::Running => {}
            State::Draining => return Err((WalError::Stopped("shut down".into()), done)),
            State::Stopped(error) => return Err((error.after(), done)),
        }
        for command in commands {
            inner.push(group, command);
        }
        if let Some(last) = inner.submissions.back_mut() {
            last.done = Some(done);
        }
        let sequence = inner.sequence;
        let sleeper = std::mem::take(&mut inner.sleeper);
        drop(inner);
        match sleeper {
            Sleeper::None => {}
            Sleeper::Thread => self.thread_wake.notify_one(),
            Sleeper::Task => self.task_wake.notify_one(),
        }
        Ok(sequence)
    }

    /// For the writer: everything that waits.
    pub(super) fn take(&self) -> Taken {
        let mut inner = self.lock();
        if !inner.submissions.is_empty() {
            return Taken::Submissions(std::mem::take(&mut inner.submissions));
        }
        match inner.state {
            State::Running => Taken::Nothing,
            State::Draining | State::Stopped(_) => Taken::End,
        }
    }

    /// For the writer: these bytes are written, or never will be.
    pub(super) fn release(&self, submissions: &[Submission]) {
        let bytes: usize = submissions.iter().map(Submission::bytes).sum();
        let mut inner = self.lock();
        let was_full = inner.bytes > QUEUE_BYTES_MAX;
        inner.bytes -= bytes;
        drop(inner);
        if was_full {
            self.space.notify_all();
        }
    }

    pub(super) fn wait_as_thread(&self) {
        let mut inner = self.lock();
        while inner.is_idle() {
            inner.sleeper = Sleeper::Thread;
            inner = self.thread_wake.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        inner.sleeper = Sleeper::None;
    }

    pub(super) async fn wait_as_task(&self) {
        {
            let mut inner = self.lock();
            if !inner.is_idle() {
                return;
            }
            inner.sleeper = Sleeper::Task;
        }
        self.task_wake.notified().await;
    }

    pub(super) fn set_writer_thread(&self) {
        self.lock().writer_thread = Some(thread::current().id());
    }

    /// Lets the writer end once the queue is empty; refuses what comes later.
    pub(super) fn drain(&self) {
        let mut inner = self.lock();
        if matches!(inner.state, State::Running) {
            inner.state = State::Draining;
        }
        drop(inner);
        self.wake_all();
    }

    /// Refuses everything from now on and returns what was still waiting.
    pub(super) fn stop(&self, error: WalError) -> VecDeque<Submission> {
        let mut inner = self.lock();
        inner.state = State::Stopped(error);
        let waiting = std::mem::take(&mut inner.submissions);
        drop(inner);
        self.wake_all();
        waiting
    }

    pub(super) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    fn wake_all(&self) {
        self.thread_wake.notify_all();
        self.task_wake.notify_one();
        self.space.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn push(&mut self, group: &Arc<GroupCell>, command: Command) {
        self.sequence += 1;
        let submission = Submission { sequence: self.sequence, group: group.clone(), command, done: None };
        self.bytes += submission.bytes();
        self.submissions.push_back(submission);
    }

    fn is_idle(&self) -> bool {
        self.submissions.is_empty() && matches!(self.state, State::Running)
    }
}
