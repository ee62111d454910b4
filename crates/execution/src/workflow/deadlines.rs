//! When a run wants to be woken.
//!
//! Timers and activities keep an ordered index in the state; what there is only one of (the
//! run's own timeouts, the first task's delay, the sticky queue) is computed. Only durable
//! state counts, so that a timer row written by a leader is right for the next one too; the
//! single deadline of soft state is apart.

use std::time::Duration;

use base::Timestamp;
use prost_types::Timestamp as Proto;

use super::State;
use super::state::{Activity, time};
use crate::policy::duration;

/// Workflow tasks that are shorter are started again after a change of leader; the start of
/// one that is longer, most often for its local activities, is written.
const KEEP_START_AFTER: Duration = Duration::from_millis(500);

/// What is due. The order breaks ties of time, which come about because a decision takes no time
/// of its own and timeouts are filled in from each other: what ends more comes first, so that a
/// run that is over is told nothing else.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Due {
    /// The run or the execution has run out of time.
    Run,
    /// The first workflow task's delay is over.
    FirstTask,
    /// The user timer with this started event id.
    Timer(i64),
    /// The activity with this scheduled event id.
    Activity(i64, ActivityDue),
    /// Nobody picked the workflow task up from the sticky queue.
    StickyTask,
    /// The worker has held the workflow task for so long that its start is worth a write.
    KeepStart,
    /// The worker that holds the workflow task is silent.
    WorkflowTask,
    /// Nobody picked the speculative workflow task up.
    SpeculativeTask,
}

/// Among those of one activity, too, what its user asked for as a whole comes before what limits
/// an attempt and may only have been filled in from it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum ActivityDue {
    /// The next attempt may be offered.
    Ready,
    ScheduleToStart,
    ScheduleToClose,
    StartToClose,
    Heartbeat,
}

impl State {
    /// When `FireTimers` must be called next for something durable; for a closed run, when it
    /// may be removed.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        if self.is_running() { self.durable_due().map(|(time, _)| time) } else { self.removable_after() }
    }

    /// When `FireTimers` must be called next for soft state (a started or a speculative workflow task).
    #[must_use]
    pub fn soft_deadline(&self) -> Option<Timestamp> {
        self.soft_due().map(|(time, _)| time)
    }

    /// The earliest thing to do, soft state included.
    pub(crate) fn next_due(&self) -> Option<(Timestamp, Due)> {
        [self.soft_due(), self.durable_due()].into_iter().flatten().min()
    }

    fn soft_due(&self) -> Option<(Timestamp, Due)> {
        match &self.started {
            Some(_) if self.is_start_kept() => None,
            Some(started) => {
                let timeout = self.task_deadline()?;
                let keep = Some(started.time + KEEP_START_AFTER).filter(|_| self.speculative.is_none());
                Some(match keep {
                    Some(keep) if keep < timeout => (keep, Due::KeepStart),
                    _ => (timeout, Due::WorkflowTask),
                })
            }
            None => {
                let deadline = time(self.speculative?.schedule_to_start_deadline)?;
                Some((deadline, Due::SpeculativeTask))
            }
        }
    }

    /// When the worker that holds the workflow task must have answered.
    fn task_deadline(&self) -> Option<Timestamp> {
        let timeout = duration::value(self.task()?.start_to_close_timeout.as_ref());
        Some(self.started.as_ref()?.time + timeout)
    }

    fn durable_due(&self) -> Option<(Timestamp, Due)> {
        let first_task = time(self.core.first_task_time).filter(|_| !self.is_paused());
        let first_task = first_task.map(|time| (time, Due::FirstTask));
        let task = if self.is_start_kept() {
            self.task_deadline().map(|time| (time, Due::WorkflowTask))
        } else {
            let sticky = self.core.workflow_task.as_ref().and_then(|task| time(task.schedule_to_start_deadline));
            sticky.map(|time| (time, Due::StickyTask))
        };
        let run = self.run_expiration().map(|time| (time, Due::Run));
        [first_task, task, run, self.deadlines.first().copied()].into_iter().flatten().min()
    }

    /// When the run times out: its own timeout counts from the first workflow task's time,
    /// and the whole chain of runs may end earlier.
    pub(crate) fn run_expiration(&self) -> Option<Timestamp> {
        let run = duration::timeout(self.start().workflow_run_timeout.as_ref());
        let begin = time(self.run.reset_time).unwrap_or_else(|| self.execution_time());
        let run = run.map(|timeout| begin + timeout);
        [run, self.execution_expiration()].into_iter().flatten().min()
    }

    /// When the chain of runs times out.
    pub(crate) fn execution_expiration(&self) -> Option<Timestamp> {
        if let Some(reset) = time(self.run.reset_time) {
            return duration::timeout(self.start().workflow_execution_timeout.as_ref()).map(|timeout| reset + timeout);
        }
        self.start().workflow_execution_expiration_time.as_ref().and_then(set_time)
    }
}

/// An absent or zero time is none.
fn set_time(value: &Proto) -> Option<Timestamp> {
    Some(Timestamp::from_proto(value)).filter(|time| *time != Timestamp::ZERO)
}

impl Activity {
    /// Everything this activity waits for.
    pub(crate) fn deadlines(&self) -> impl Iterator<Item = (Timestamp, ActivityDue)> + use<> {
        // A paused activity waits for nothing but its worker and its operator.
        let row = &self.row;
        let running = row.pause.is_none();
        let scheduled = Timestamp::from_nanos(row.scheduled_time);
        let after = |from: Option<Timestamp>, timeout| Some(from? + duration::timeout(timeout)?);
        let started = time(row.started_time);
        let waiting = started.is_none().then_some(scheduled);
        let alive = started.map(|started| started.max(Timestamp::from_nanos(row.last_heartbeat_time)));
        [
            (waiting.filter(|_| !row.ready), ActivityDue::Ready),
            (after(started, self.start_to_close_timeout()), ActivityDue::StartToClose),
            (after(waiting, self.schedule_to_start_timeout()), ActivityDue::ScheduleToStart),
            (after(time(row.first_scheduled_time), self.schedule_to_close_timeout()), ActivityDue::ScheduleToClose),
            (after(alive, self.heartbeat_timeout()), ActivityDue::Heartbeat),
        ]
        .into_iter()
        .filter_map(move |(time, due)| Some((time.filter(|_| running)?, due)))
    }
}
